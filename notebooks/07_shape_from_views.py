# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 7. Shape from many views
#
# **What you will learn**
#
# - how to turn a sphere into a figure from eight photographs,
# - what *large steps* and *remeshing* are for, and what happens without the first,
# - what the views that are missing leave open; how to save and resume.
#
# You need `pip install ".[notebooks,mesh]"`.

# %%
import json
import os
from pathlib import Path

import pbdr  # first: it points Dr.Jit at LLVM

import matplotlib.pyplot as plt
import mitsuba as mi
import numpy as np

from pbdr.scene import load_scene

mi.set_variant("llvm_ad_rgb")
plt.rcParams["figure.dpi"] = 80
QUICK = bool(os.environ.get("PBDR_QUICK"))  # the tests set it: few samples, few steps
move = mi.ScalarTransform4f


def show(axes, image, title):
    """A linear image as a screen shows it."""
    axes.imshow(np.clip(np.array(image)[..., :3], 0, 1) ** (1 / 2.2), interpolation="nearest")
    axes.set_title(title, fontsize=10)
    axes.set_axis_off()


def read(file):
    """An image as an array."""
    return np.array(mi.Bitmap(str(file)))


def portrait(mesh, origin):
    """A picture of a mesh alone, with flat triangles, before white."""
    film = {"type": "hdrfilm", "width": 150, "height": 150, "pixel_format": "rgba"}
    view = move().look_at(origin=origin, target=[0, 0.08, 0], up=[0, 1, 0])
    scene = mi.load_dict(
        {
            "type": "scene",
            "integrator": {"type": "path", "max_depth": 2, "hide_emitters": True},
            "camera": {"type": "perspective", "fov": 31, "to_world": view, "film": film},
            "light": {"type": "constant", "radiance": 0.3},
            "sun": {"type": "directional", "direction": [-1, -2, -1.5], "irradiance": 3.0},
            "shape": {"type": "ply", "filename": str(mesh), "face_normals": True, "bsdf": {"type": "diffuse"}},
        }
    )
    image = np.array(mi.render(scene, spp=16))
    return image[..., :3] + (1 - image[..., 3:])


def show_portraits(meshes):
    """Each mesh from a side of the photographs, and from one between them."""
    _, axes = plt.subplots(2, len(meshes), figsize=(2.6 * len(meshes), 5.2), layout="constrained")
    for column, (name, mesh) in zip(axes.T, meshes.items(), strict=True):
        show(column[0], portrait(mesh, [-0.239, 2.046, 1.356]), name)
        show(column[1], portrait(mesh, [-1.1, 0.5, 2.1]), "")
    plt.show()


# %% [markdown]
# ## Eight photographs and a sphere
#
# A clay figure in a studio whose light is known: the bundled scene `bunny_like`, here with photographs of 48 × 48
# pixels to save time. The first guess is a sphere of 2562 vertices. All their coordinates are unknown.

# %%
folder = pbdr.resources.folder("scenes") / "bunny_like"
names = [f"view_{number}" for number in range(8)]
photos = [read(folder / "targets" / f"{name}.exr")[..., :3] for name in names]
photos = [photo.reshape(48, 2, 48, 2, 3).mean(axis=(1, 3)) for photo in photos]
figure, axes = plt.subplots(1, 8, figsize=(14, 1.9), layout="constrained")
for place, photo, name in zip(axes, photos, names, strict=True):
    show(place, photo, name)
plt.show()

# %% [markdown]
# ## Sphere to figure
#
# The outline of a mesh pulls at the few vertices that lie on it, shading at all that are seen. If each vertex went its
# own way, the surface would crumple. *Large steps* [Nicolet et al. 2021] give the optimizer other variables, through
# which each vertex takes its surroundings along; `smoothness` says how far. And triangles that are right for a sphere
# are too large for ears: `remesh` gives the surface new ones on the way. `true` is only there to be compared with.

# %%
figure_entry = {
    "kind": "mesh",
    "learning_rate": 0.05,
    "smoothness": 15,
    "regularization": {"normal_consistency": 0.004},
    "remesh": [{"step": 1, "edge_length": 0.06}]
    if QUICK
    else [{"step": 30, "edge_length": 0.03}, {"step": 50, "edge_length": 0.018}],
    "true": str(folder / "meshes" / "bunny.ply"),
}
settings = {
    "integrator": {"type": "pbdr", "max_depth": 2, "hide_emitters": True},
    "loss": "l2",
    "batch": 2,
    "spp": 2 if QUICK else 8,
    "spp_evaluation": 2 if QUICK else 32,
}


def pose_problem(entry, chosen=range(8)):
    """The sphere, and some of the photographs."""
    scene = load_scene("bunny_like", {"size": 48})
    views = [{"sensor": names[k]} for k in chosen]
    return pbdr.Problem.from_scene(scene, {"bunny": entry}, [photos[k] for k in chosen], views=views, **settings)


problem = pose_problem(figure_entry)
result = pbdr.optimize(problem, steps=2 if QUICK else 60, out="runs/bunny", overwrite=True)
key, vertices = "bunny.vertex_positions", problem.variables[0]
print(f"loss {result.loss_initial:.5f} → {result.loss_final:.5f} after {result.steps} steps")
print(f"mean distance from the true surface: sphere {vertices.error(vertices.initial, vertices.truth):.4f}, ", end="")
print(f"now {result.parameters[key]['error']:.4f}; the figure is {result.parameters[key]['true'][1]:.2f} tall")

# %% [markdown]
# ### Save and resume
#
# `runs/bunny` holds checkpoints, triangles included, and the mesh as PLY. More steps go on where these ended:

# %%
result = pbdr.optimize(problem, steps=3 if QUICK else 100, out="runs/bunny", resume=True)
recovered = "runs/bunny/scene/meshes/bunny.ply"
print(f"loss {result.loss_final:.5f} after {result.steps} steps, mean distance {result.parameters[key]['error']:.4f}")
print(result.meshes["bunny"])
show_portraits({"start": folder / "meshes/start.ply", "recovered": recovered, "truth": folder / "meshes/bunny.ply"})

# %%
history = [json.loads(line) for line in Path("runs/bunny/history.jsonl").read_text().splitlines()]
figure, axes = plt.subplots(1, 5, figsize=(14, 2.7), layout="constrained", width_ratios=[1, 1, 1, 1, 2])
pictures = [f"runs/bunny/images/{what}_4_view_4.exr" for what in ("before", "after", "target")]
for place, picture, title in zip(axes, pictures, ["start", "fit", "photograph"], strict=False):
    show(place, read(picture), title)
difference = (read(pictures[1])[..., :3] - read(pictures[2])[..., :3]).mean(axis=-1)
axes[3].imshow(difference, cmap="RdBu_r", vmin=-0.3, vmax=0.3)
axes[3].set_title("fit minus photograph", fontsize=10)
axes[3].set_axis_off()
axes[4].semilogy([line["loss"] for line in history])
for change in figure_entry["remesh"]:
    axes[4].axvline(change["step"], color="0.6", ls="--", lw=1)
axes[4].set(title="loss (dashed: new triangles)", xlabel="step")
plt.show()

# %% [markdown]
# Ears, head and feet have grown out of the sphere, and the surface is within half a hundredth of the figure's height
# on average. What is not there yet: the bottom of the gap between the ears, where the sphere had to open and triangles
# went through each other (the dark spot, and `self_intersecting` above), and the bumps of the fur, which are finer
# than these photographs. The loss jumps from step to step because each step sees two of the views.
#
# ## What can go wrong
#
# Three times the same with something changed: without new triangles; besides, with each vertex alone, as plain gradient
# descent on coordinates would have it; and without new triangles from two photographs only.

# %%
alone = {**figure_entry, "reparameterization": "identity", "smoothness": 0, "remesh": [], "regularization": {}}
variants = {
    "same triangles": (pose_problem({**figure_entry, "remesh": []}), 100),
    "each vertex alone": (pose_problem(alone), 40),
    "two views": (pose_problem({**figure_entry, "remesh": []}, [1, 3]), 100),
}
portraits = {"as above": recovered}
print(f"{'as above':18} error {result.parameters[key]['error']:.4f}, loss {result.loss_final:.5f}, ", end="")
print(f"flipped triangles {result.meshes['bunny']['flipped']}")
for name, (other, steps) in variants.items():
    run = pbdr.optimize(other, steps=2 if QUICK else steps, out=f"runs/{name}", overwrite=True)
    portraits[name] = f"runs/{name}/scene/meshes/bunny.ply"
    print(f"{name:18} error {run.parameters[key]['error']:.4f}, loss {run.loss_final:.5f}, ", end="")
    print(f"flipped triangles {run.meshes['bunny']['flipped']}")
show_portraits(portraits)

# %% [markdown]
# - *Same triangles*: the figure is there, coarser; the error is larger by a third.
# - *Each vertex alone*: the sphere bristles and has hardly moved. Only the vertices at an outline are pulled
#   far, out of a surface that stays behind.
# - *Two views*: the loss is as small as with eight and the same triangles, and the shape is wrong where no photograph
#   looks. A small loss says that the views are right, not the shape.
#
# Also:
#
# - **Steps too large.** A mesh that shrinks, folds or turns inside out wants a smaller `learning_rate` or more
#   `smoothness`. `flipped` in the history counts such triangles ([failure modes](../docs/failure_modes.md)).
# - **Too smooth.** Ears that never sharpen want less `smoothness`, or finer triangles: it counts in edges.
# - **Topology.** A sphere stays a sphere: a handle's hole does not open by itself. Start with a shape that has it.
# - **The light is taken as known.** If it is not, shading pulls the surface in wrong directions; outlines alone, with
#   the [`silhouette` loss](../docs/losses.md), do not depend on it.
