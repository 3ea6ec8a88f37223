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
# # 5. An environment map from a glossy ball
#
# **What you will learn**
#
# - how to recover the light from all directions, 32 × 64 colours, from two photographs of a ball,
# - how to use it: another object under the recovered sky,
# - what the ball does not tell, and why a rough ball tells less; how to save and resume.

# %%
import json
import os
from pathlib import Path

import pbdr  # first: it points Dr.Jit at LLVM

import matplotlib.pyplot as plt
import mitsuba as mi
import numpy as np

from pbdr.scene import load_scene, scene_parameters

mi.set_variant("llvm_ad_rgb")
plt.rcParams["figure.dpi"] = 80
QUICK = bool(os.environ.get("PBDR_QUICK"))  # the tests set it: few samples, few steps


def show(axes, image, title):
    """A linear image as a screen shows it."""
    axes.imshow(np.clip(np.array(image)[..., :3], 0, 1) ** (1 / 2.2), interpolation="nearest")
    axes.set_title(title, fontsize=10)
    axes.set_axis_off()


def read(file):
    """An image as an array."""
    return np.array(mi.Bitmap(str(file)))


# %% [markdown]
# ## The probe
#
# A silver ball and a smaller white one float under an evening sky. The ball is not quite a mirror (roughness 0.03), and
# reflects nearly every direction into the camera. Two photographs, from opposite sides, are given; the sky is not. The
# job is bundled, and its core is
#
# ```toml
# [[parameters]]
# key = "environment.data"
# initial = 0.5
# learning_rate = 0.1
# reparameterization = "positive"
# true = "textures/sky.exr"
# ```
#
# `positive` optimizes the logarithm: the sun is a hundred times as bright as the meadow, and a step changes both by the
# same share.

# %%
folder = pbdr.resources.folder("scenes") / "envmap_probe"
true_sky = read(folder / "textures" / "sky.exr")
targets = [read(folder / "targets" / f"{name}.exr") for name in ("front", "back")]
figure, axes = plt.subplots(1, 3, figsize=(11, 2.9), layout="constrained", width_ratios=[1, 1, 2])
for place, target, name in zip(axes, targets, ["front", "back"], strict=False):
    show(place, target, f"photograph: {name}")
show(axes[2], true_sky, "the sky: what is to be found")
plt.show()

# %%
settings = {"spp": "4"} if QUICK else {}
problem = pbdr.Problem.from_job("envmap_probe", {**settings, "steps": "3" if QUICK else "60"})
result = pbdr.optimize(problem, out="runs/probe", overwrite=True)


def relative_error(sky):
    """Root mean square error over all directions, as a share of the sky's root mean square radiance."""
    area = np.sin(np.pi * (np.arange(32) + 0.5) / 32)[:, None, None]  # texels near the poles are small
    return np.sqrt((area * (sky - true_sky) ** 2).sum() / (area * true_sky**2).sum())


def found_sky(result):
    """The recovered map, without the column that Mitsuba repeats on each side."""
    return result.values["environment.data"][:, 1:-1]


print(f"loss {result.loss_initial:.4f} → {result.loss_final:.6f} after {result.steps} steps")
print(f"error of the sky {relative_error(found_sky(result)):.1%}")

# %% [markdown]
# ### Save and resume
#
# The run folder has checkpoints, and a scene with the recovered sky as an EXR file. `resume=True` and more steps go on
# from there.

# %%
result = pbdr.optimize(problem, steps=5 if QUICK else 150, out="runs/probe", resume=True)
sky = found_sky(result)
print(f"loss {result.loss_initial:.4f} → {result.loss_final:.6f} after {result.steps} steps")
print(f"error of the sky {relative_error(sky):.1%}; brightest texel {sky.max():.1f}, true {true_sky.max():.1f}")
sky_file = next(Path("runs/probe/scene/textures").glob("*.exr"))
print("file of the sky:", sky_file)

# %%
figure, axes = plt.subplots(1, 3, figsize=(13, 2.5), layout="constrained", width_ratios=[1, 1, 1.15])
show(axes[0], true_sky, "true sky")
show(axes[1], sky, "recovered sky")


def show_error(axes, sky, title):
    """Red where the recovered sky is too bright, as a share of its local brightness."""
    error = (sky - true_sky).mean(axis=-1) / true_sky.mean(axis=-1)
    shown = axes.imshow(error, cmap="RdBu_r", vmin=-0.5, vmax=0.5, interpolation="nearest")
    axes.set_title(title, fontsize=10)
    axes.set_axis_off()
    return shown


figure.colorbar(show_error(axes[2], sky, "relative error"), ax=axes[2], shrink=0.9)
plt.show()
history = [json.loads(line) for line in Path("runs/probe/history.jsonl").read_text().splitlines()]
figure, axes = plt.subplots(1, 3, figsize=(11, 2.6), layout="constrained")
show(axes[0], read("runs/probe/images/before_0_front.exr"), "first guess")
show(axes[1], read("runs/probe/images/after_0_front.exr"), "fit")
axes[2].semilogy([line["loss"] for line in history])
axes[2].set(title="loss", xlabel="step")
plt.show()

# %% [markdown]
# Sky, sun and clouds are right within a few percent. The dark stripes of the meadow are too bright, by half near the
# bottom: they contribute so little to the squared error that their last part takes longest. The rows at top and bottom
# are rough, because their texels are tiny; few rays meet them, and little depends on them.
#
# ## Use it
#
# Another object under the recovered sky. If the sky is right, it looks the same as under the true one.

# %%


def teapot(sky):
    """A copper teapot under a sky from a file."""
    move = mi.ScalarTransform4f
    mesh = pbdr.resources.folder("scenes") / "pose_from_image" / "meshes" / "teapot.ply"
    metal = {"type": "twosided", "bsdf": {"type": "roughconductor", "material": "Cu", "alpha": 0.15}}
    scene = {
        "type": "scene",
        "integrator": {"type": "path", "max_depth": 4},
        "camera": {
            "type": "perspective",
            "fov": 32,
            "to_world": move().look_at(origin=[2.5, 1.2, 3], target=[0, 0.4, 0], up=[0, 1, 0]),
            "film": {"type": "hdrfilm", "width": 120, "height": 90},
        },
        "sky": {"type": "envmap", "filename": str(sky)},
        "pot": {"type": "ply", "filename": str(mesh), "bsdf": metal},
    }
    return np.array(mi.render(mi.load_dict(scene), spp=16 if QUICK else 256))


true_pot, our_pot = teapot(folder / "textures" / "sky.exr"), teapot(sky_file)
figure, axes = plt.subplots(1, 3, figsize=(11, 2.8), layout="constrained", width_ratios=[1, 1, 1.2])
show(axes[0], true_pot, "under the true sky")
show(axes[1], our_pot, "under the recovered sky")
shown = axes[2].imshow((our_pot - true_pot).mean(axis=-1), cmap="RdBu_r", vmin=-0.05, vmax=0.05)
axes[2].set_title("difference", fontsize=10)
axes[2].set_axis_off()
figure.colorbar(shown, ax=axes[2], shrink=0.9)
plt.show()
print(f"mean difference {np.abs(our_pot - true_pot).mean() / true_pot.mean():.1%} of the mean radiance")

# %% [markdown]
# ## What can go wrong
#
# ### A rough ball
#
# What does one spot of the sky do to the photograph? Forward mode draws it, for the ball as it is and for one of
# roughness 0.3.

# %%
from pbdr.compare import Perturbation
from pbdr.compare.estimators import forward_gradient

size = 32 if QUICK else 64
integrator = mi.load_dict({"type": "pbdr", "max_depth": 4})
spot = np.zeros((32, 66, 3))
spot[11:15, 47:51] = 1


def probe(roughness, sky):
    scene = load_scene("envmap_probe", {"size": size, "sky": sky})
    params = scene_parameters(scene)
    params["glossy_ball.bsdf.alpha.value"] = roughness
    params.update()
    return scene


figure, axes = plt.subplots(1, 3, figsize=(10, 2.7), layout="constrained", width_ratios=[2, 1, 1])
show(axes[0], spot[:, 1:-1], "a spot of the sky")
for place, roughness in zip(axes[1:], [0.03, 0.3], strict=True):
    scene = probe(roughness, folder / "textures" / "constant.exr")
    gradient = forward_gradient(scene, Perturbation.along("environment.data", spot), integrator, spp=64, seed=1)
    show(place, gradient, f"d pixel / d spot, roughness {roughness}")
plt.show()

# %% [markdown]
# On the rough ball, the spot is spread over a large part of the ball; so is each of its neighbours, and the photograph
# hardly tells one from the other. The same recovery with both balls, from photographs of 64 × 64 pixels:

# %%
entry = {"reparameterization": "positive", "learning_rate": 0.1}


def recover(roughness, sensors=(0, 1), **more):
    """The sky from new photographs of a ball."""
    truth, scene = (probe(roughness, folder / "textures" / file) for file in ("sky.exr", "constant.exr"))
    photos = [np.array(mi.render(truth, sensor=k, spp=16 if QUICK else 256)) for k in sensors]
    options = {"integrator": {"type": "pbdr", "max_depth": 4}, "loss": "l2", "spp": 16, "spp_evaluation": 64}
    options["optimizer"] = {"type": "adam", "beta_1": 0.8, "beta_2": 0.99}
    views, unknown = [{"sensor": k} for k in sensors], {"environment.data": {**entry, **more}}
    problem = pbdr.Problem.from_scene(scene, unknown, photos, views=views, steps=3 if QUICK else 80, **options)
    return pbdr.optimize(problem)


runs = {
    "0.03": recover(0.03),
    "0.3": recover(0.3),
    "0.3, refine": recover(0.3, refine=[1, 2] if QUICK else [30, 60]),
    "0.03, front alone": recover(0.03, sensors=[0]),
}
figure, axes = plt.subplots(2, 4, figsize=(13, 3.8), layout="constrained")
for (name, run), place, below in zip(runs.items(), axes[0], axes[1], strict=True):
    show(place, found_sky(run), f"{name}: {relative_error(found_sky(run)):.0%}")
    shown = show_error(below, found_sky(run), f"loss {run.loss_final:.5f}")
figure.colorbar(shown, ax=axes[1], shrink=0.9)
plt.show()

# %% [markdown]
# Above each sky is its roughness and its error, below, how far each direction is off. With the rough ball the loss is
# as low as with the smooth one, and the sky is wrong: the sun melts, the stripes vanish, the blue is speckled. Many
# skies give these photographs. `refine` picks a smooth one among them, which is a little closer and still does not know
# the stripes. The photograph `front` alone is nearly as good as both, except for an orange spot: there the white ball
# hides the meadow from the silver one.
#
# Also:
#
# - **The ball's material is taken as known.** A ball that is darker than assumed makes a darker sky, and a tint of the
#   silver becomes a tint of the light. Something of known colour in the picture decides, as does one known light.
# - **The sun is cut off.** In a photograph of 8 bits a sun is white, not 11 times as bright as white, and the
#   recovered light is too dim. Take several exposures, or [mask](04_texture_and_exposure.ipynb) what is white.
# - **The photographer is in the picture.** A ball shows the camera, too; mask it, or take one more from elsewhere.
# - **Far away means infinitely far.** Walls of a room are not: then recover lights as shapes, as in [the
#   room](03_materials_and_lights.ipynb).
