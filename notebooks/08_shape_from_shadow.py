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
# # 8. Shape from shadow
#
# **What you will learn**
#
# - how to recover the shape of an object that no camera sees, from the shadows that it casts,
# - what it means that all 2562 vertices are unknown, and why the surface stays smooth all the same,
# - what shadows do not tell, however well they fit; how to save and resume.
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
import trimesh

mi.set_variant("llvm_ad_rgb")
plt.rcParams["figure.dpi"] = 80
QUICK = bool(os.environ.get("PBDR_QUICK"))  # the tests set it: few samples, few steps
move = mi.ScalarTransform4f


def show(axes, image, title):
    """A linear image as a screen shows it."""
    axes.imshow(np.clip(np.array(image)[..., :3], 0, 1) ** (1 / 2.2), interpolation="nearest")
    axes.set_title(title, fontsize=10)
    axes.set_axis_off()


# %% [markdown]
# ## The puppet
#
# A round thing with three lobes. We begin with a ball, and the true shape is known to the picture below and to the
# numbers that judge the result, not to the optimization.

# %%
ball = trimesh.creation.icosphere(subdivisions=4, radius=1.0)
x, y, z = np.array(ball.vertices).T
lobes = 1 + 0.35 * np.cos(3 * np.arctan2(y, x)) * (x**2 + y**2) + 0.15 * z
puppet = trimesh.Trimesh(ball.vertices * lobes[:, None] * [1, 1, 0.8], ball.faces, process=False)
for mesh, file in [(ball, "ball.ply"), (puppet, "puppet.ply")]:
    mesh.apply_scale(0.36)
    mesh.apply_translation([0, 0, 1.5])
    mesh.export(file)


def portrait(file, origin):
    """A picture of a mesh alone, for us."""
    view = move().look_at(origin=origin, target=[0, 0, 1.5], up=[0, 1, 0.1])
    film = {"type": "hdrfilm", "width": 120, "height": 120, "pixel_format": "rgba"}
    scene = mi.load_dict(
        {
            "type": "scene",
            "integrator": {"type": "path", "max_depth": 2, "hide_emitters": True},
            "camera": {"type": "perspective", "fov": 29, "to_world": view, "film": film},
            "light": {"type": "constant", "radiance": 0.3},
            "sun": {"type": "directional", "direction": [-1, -2, -1.5], "irradiance": 3.0},
            "shape": {"type": "ply", "filename": str(file), "bsdf": {"type": "diffuse"}},
        }
    )
    image = np.array(mi.render(scene, spp=36))
    return image[..., :3] + (1 - image[..., 3:])  # before white


sides = {"front": [0, 0, 3.5], "above": [0, 2, 1.5], "right": [2, 0, 1.5]}


def show_portraits(meshes):
    _, axes = plt.subplots(len(meshes), 3, figsize=(6.5, 2.2 * len(meshes)), layout="constrained", squeeze=False)
    for row, (name, file) in zip(axes, meshes.items(), strict=True):
        for place, (side, origin) in zip(row, sides.items(), strict=True):
            show(place, portrait(file, origin), f"{name}: {side}")
    plt.show()


show_portraits({"truth": "puppet.ply"})

# %% [markdown]
# ## The photograph
#
# The camera looks at a white wall and nothing else: the puppet hangs behind it. Three lamps, red, green and blue, throw
# three shadows on the wall, each in the colours of the other two. So one photograph holds three outlines, each in a
# channel of its own.

# %%
lamps = {"red": [-2.0, 0.3, 4.6], "green": [0.1, 2.0, 4.6], "blue": [2.0, -0.3, 4.6]}
size = 24 if QUICK else 64


def shadow_play(file, chosen=("red", "green", "blue")):
    camera = move().look_at(origin=[0, 0, 1.05], target=[0, 0, 0], up=[0, 1, 0])
    scene = {
        "type": "scene",
        "integrator": {"type": "path", "max_depth": 2},
        "camera": {
            "type": "perspective",
            "fov": 120,
            "to_world": camera,
            "film": {"type": "hdrfilm", "width": size, "height": size, "rfilter": {"type": "gaussian"}},
            "sampler": {"type": "multijitter"},
        },
        "wall": {"type": "rectangle", "to_world": move().scale(3), "bsdf": {"type": "diffuse", "reflectance": 0.8}},
        "puppet": {"type": "ply", "filename": file, "bsdf": {"type": "diffuse"}},
    }
    for name in chosen:
        place = move().look_at(origin=lamps[name], target=[0, 0, 1.5], up=[0, 1, 0]) @ move().scale(0.15)
        color = [1000.0 * (name == other) for other in ("red", "green", "blue")]
        light = {"type": "area", "radiance": {"type": "rgb", "value": color}}
        scene[name] = {"type": "rectangle", "to_world": place, "emitter": light}
    return mi.load_dict(scene, optimize=False)


scene = shadow_play("ball.ply")
photo = np.array(mi.render(shadow_play("puppet.ply"), spp=576))
guess = np.array(mi.render(scene, spp=576))
figure, axes = plt.subplots(1, 2, figsize=(6, 3), layout="constrained")
show(axes[0], photo, "photograph of the wall")
show(axes[1], guess, "with the ball")
plt.show()

# %% [markdown]
# ## All vertices are unknown
#
# The whole problem is the id of a mesh and the photograph. A shadow moves only where its outline moves: there is no
# shading to be seen, all of the gradient is the [boundary term](02_why_boundaries_matter.ipynb), and it acts on the
# few vertices at the rim of the mesh as a lamp sees it. `smoothness` says how far each takes its surroundings along.
# `true` is only there to be compared with.

# %%
entry = {"kind": "mesh", "learning_rate": 0.03, "smoothness": 30, "true": "puppet.ply"}
settings = {
    "integrator": {"type": "pbdr", "boundary": "silhouettes", "max_depth": 2},
    "loss": "l2",
    "spp": 4 if QUICK else 16,
    "spp_evaluation": 16 if QUICK else 64,
}
problem = pbdr.Problem.from_scene(scene, {"puppet": entry}, [photo], steps=3 if QUICK else 50, **settings)
result = pbdr.optimize(problem, out="runs/puppet", overwrite=True)
key, vertices = "puppet.vertex_positions", problem.variables[0]
print(f"the ball's mean distance from the true surface: {vertices.error(vertices.initial, vertices.truth):.4f}")
print(f"loss {result.loss_initial:.6f} → {result.loss_final:.6f} after {result.steps} steps")
print(f"now {result.parameters[key]['error']:.4f}")

# %% [markdown]
# ### Save and resume
#
# `runs/puppet` holds checkpoints, a line for each step and the mesh as PLY. The same call with `resume=True` goes on.

# %%
result = pbdr.optimize(problem, steps=5 if QUICK else 120, out="runs/puppet", resume=True)
recovered = "runs/puppet/scene/meshes/puppet.ply"
print(f"loss {result.loss_initial:.6f} → {result.loss_final:.6f} after {result.steps} steps")
print(f"mean distance from the true surface: {result.parameters[key]['error']:.4f}")
for name, size_of_box in result.parameters[key].items():
    if name in ("initial", "final", "true"):
        print(f"size in x, y, z, {name:8} {np.round(size_of_box, 3)}")
health = result.meshes["puppet"]
print(f"triangles: {health['triangles']}, of which {health['flipped']} are flipped")

# %%
fit = np.array(mi.render(shadow_play(recovered), spp=576))
figure, axes = plt.subplots(1, 4, figsize=(13, 2.9), layout="constrained", width_ratios=[1, 1, 1, 1.4])
for place, (image, title) in zip(axes, [(guess, "ball"), (fit, "recovered"), (photo, "photograph")], strict=False):
    show(place, image, title)
truth = np.array(mi.render(shadow_play("puppet.ply"), spp=settings["spp_evaluation"], seed=1))
print(f"loss of the true shape, by noise alone: {np.mean((truth - photo) ** 2):.6f}")
history = [json.loads(line) for line in Path("runs/puppet/history.jsonl").read_text().splitlines()]
axes[3].semilogy([line["loss"] for line in history])
axes[3].set(title="loss", xlabel="step")
plt.show()
show_portraits({"recovered": recovered, "truth": "puppet.ply"})

# %% [markdown]
# The three shadows are those of the photograph: what is left of the loss is the noise that the true shape has, too.
# Seen from the front, the puppet is right within a hundredth of a unit, in width and in height. But it is too thick,
# and from the right it has an edge that the true one does not have. All three lamps stand in front, at about 30° from
# its axis. What lies within all three of their shadows may be there or not: no shadow tells, the ball was there at the
# start, and nothing has taken it away. A fourth lamp, more from the side, would.
#
# ## What can go wrong: one lamp
#
# The same with the green lamp alone. The loss does not know what it does not see.

# %%
photo_green = np.array(mi.render(shadow_play("puppet.ply", ["green"]), spp=576))
scene_green = shadow_play("ball.ply", ["green"])
steps = 5 if QUICK else 80
problem_green = pbdr.Problem.from_scene(scene_green, {"puppet": entry}, [photo_green], steps=steps, **settings)
green = pbdr.optimize(problem_green, out="runs/green", overwrite=True)
print(f"loss {green.loss_initial:.6f} → {green.loss_final:.6f}; mean distance {green.parameters[key]['error']:.4f}")
show_portraits({"one lamp": "runs/green/scene/meshes/puppet.ply", "truth": "puppet.ply"})

# %% [markdown]
# The loss has fallen by more than a hundred times, and the shape is wrong: the outline fits in one direction, and along
# it nothing was learned. A small loss says that the shadow is right, not the shape.
#
# ### A surface that does not hold together
#
# `identity` moves each vertex for itself. Only vertices at a rim get a gradient, and they run away from the others.

# %%
rough = {**entry, "reparameterization": "identity", "smoothness": 0}
problem_rough = pbdr.Problem.from_scene(shadow_play("ball.ply"), {"puppet": rough}, [photo], steps=steps, **settings)
ragged = pbdr.optimize(problem_rough, out="runs/ragged", overwrite=True)
health = ragged.meshes["puppet"]
print(f"loss {ragged.loss_final:.6f}, mean distance {ragged.parameters[key]['error']:.4f}")
print(f"flipped triangles: {health['flipped']}, intersecting ones: {health['self_intersecting']}")
show_portraits({"vertices alone": "runs/ragged/scene/meshes/puppet.ply", "truth": "puppet.ply"})

# %% [markdown]
# Also:
#
# - **The shadow is out of the picture.** What casts no shadow into the picture has a gradient of zero and stays where
#   it is. So do dents that no lamp sees at a rim: they do not exist for this loss.
# - **The lamp's size.** The smaller the lamp, the sharper the shadow, and the more exact its outline. With a large lamp
#   the gradient stays right, but the photograph tells less.
# - **Where the lamps stand is taken as known.** A wrong lamp makes a wrong shape. It can be an unknown as well, by its
#   [pose](06_pose.ipynb).
# - **Noise.** Dark shadows of bright lamps are noisy; the loss stops at its noise. More `spp`, or `learning_rate_final`
#   below 0.1, average longer.
