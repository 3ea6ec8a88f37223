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
# # 6. The pose of an object and of the camera
#
# **What you will learn**
#
# - how to recover where an object stands and how it is turned, from two photographs,
# - how to recover from where a photograph was taken,
# - what a run folder knows about the way there, and how to resume,
# - from how far away this works.

# %%
import json
import os
from pathlib import Path

import pbdr  # first: it points Dr.Jit at LLVM

import drjit as dr
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
    axes.set_xticks([])
    axes.set_yticks([])


def read(file):
    """An image of a run folder."""
    return np.array(mi.Bitmap(str(file)))


# %% [markdown]
# ## The teapot
#
# A pose is three numbers for a rotation and three for a translation, on top of what the scene file says. Outlines,
# shadows and reflections move with it, so that the gradient needs its [boundary term](02_why_boundaries_matter.ipynb),
# which `pbdr` has by default. A `job.toml` states the problem; this one is bundled. Its core is
#
# ```toml
# [[parameters]]
# kind = "pose"
# key = "teapot"
# rotation = { learning_rate = 1.5, true = [10, -25, -8] }
# translation = { learning_rate = 0.03, true = [0.25, 0.15, -0.3] }
# ```
#
# Rotations are in degrees around an axis through the teapot's middle; `true` is only there to be compared with.

# %%
settings = {"steps": "4" if QUICK else "48", "spp": "4" if QUICK else "16", "spp_evaluation": "16" if QUICK else "144"}
problem = pbdr.Problem.from_job("pose_from_image", settings)
result = pbdr.optimize(problem, out="runs/teapot", overwrite=True)
for part, values in result.parameters.items():
    unit = values.get("unit", "")
    print(f"{part:20} found {np.round(values['final'], 2)}, true {values['true']}, error {values['error']:.3f} {unit}")

# %% [markdown]
# The run folder holds the images before and after, the targets, and a line for each step. The last column shows what is
# left when the photograph is subtracted: red where the render is too bright.

# %%
images = Path("runs/teapot/images")
figure, axes = plt.subplots(2, 5, figsize=(12, 5), layout="constrained")
for row, view in zip(axes, ["0_front", "1_side"], strict=True):
    before, after, target = (read(images / f"{what}_{view}.exr") for what in ("before", "after", "target"))
    show(row[0], before, "first guess")
    show(row[1], after, "recovered")
    show(row[2], target, "photograph")
    for place, image, title in [(row[3], before, "error before"), (row[4], after, "error after")]:
        shown = place.imshow((image - target).mean(axis=-1), cmap="RdBu_r", vmin=-0.3, vmax=0.3)
        place.set(title=title, xticks=[], yticks=[])
    figure.colorbar(shown, ax=row, shrink=0.8)
plt.show()

# %%


def draw_history(folder, result):
    """Each number of a pose on its way to the truth (dashed), and the loss."""
    history = [json.loads(line) for line in Path(folder, "history.jsonl").read_text().splitlines()]
    _, axes = plt.subplots(1, 3, figsize=(12, 3), layout="constrained")
    for place, (part, values) in zip(axes, result.parameters.items(), strict=False):
        path = np.array([values["initial"]] + [line["parameters"][part] for line in history])
        for axis, color in enumerate(["tab:red", "tab:green", "tab:blue"]):
            place.plot(path[:, axis], color=color, label="xyz"[axis])
            place.axhline(values["true"][axis], color=color, ls="--", lw=1)
        place.set(title=f"{part}, {values['unit']}", xlabel="step")
        place.legend(fontsize=8)
    axes[2].semilogy([line["loss"] for line in history])
    axes[2].set(title="loss", xlabel="step")
    plt.show()


draw_history("runs/teapot", result)

# %% [markdown]
# ## The camera
#
# A camera is moved in the same way: its id is the key. Moving it moves every outline in the image at once. Here it
# turns around a point on the table (`pivot`), because around its own place a turn and a sidestep look nearly alike, and
# descent is slow along what looks alike. One photograph is enough, as long as things at several depths are in it.
#
# ```toml
# [[parameters]]
# kind = "pose"
# key = "front"
# pivot = [0.0, 0.4, 0.0]
# rotation = { learning_rate = 1.5, true = [-5, 16, 5] }
# translation = { learning_rate = 0.04, true = [-0.05, 0.0, -0.4] }
# ```

# %%
folder = pbdr.resources.folder("scenes") / "pose_from_image"
problem = pbdr.Problem.from_job(folder / "job_camera.toml", {**settings, "steps": "3" if QUICK else "60"})
first = pbdr.optimize(problem, out="runs/camera", overwrite=True)
for part, values in first.parameters.items():
    print(f"{part:20} error {values['error']:.3f} {values['unit']} after {first.steps} steps")

# %% [markdown]
# ### Saving and resuming
#
# Everything is in `runs/camera` already: checkpoints, history, and the scene with the camera where it was found. Not
# close enough? `resume=True` goes on with the optimizer's state, and more steps. It does the same after Ctrl-C or a
# crash.

# %%
result = pbdr.optimize(problem, steps=5 if QUICK else 100, out="runs/camera", resume=True)
for part, values in result.parameters.items():
    print(f"{part:20} error {values['error']:.3f} {values['unit']} after {result.steps} steps")

# %%
found = load_scene("runs/camera/scene")
figure, axes = plt.subplots(1, 3, figsize=(8, 2.9), layout="constrained")
show(axes[0], read("runs/camera/images/before_0_front.exr"), "first guess")
show(axes[1], mi.render(found, spp=16 if QUICK else 144), "from the saved scene")
show(axes[2], read("runs/camera/images/target_0_front.exr"), "photograph")
plt.show()
draw_history("runs/camera", result)

# %% [markdown]
# ## From how far away?
#
# Descent finds the nearest valley. How wide is it? We turn the teapot of the first guess once around its vertical axis
# and compare with the photograph of a teapot that is turned by 0°: no gradients, only renders.

# %%
scene = load_scene("pose_from_image", {"size": "48"})
params = scene_parameters(scene)
key = "teapot.vertex_positions"
rest = dr.unravel(mi.Point3f, mi.Float(params[key]))
middle = mi.Point3f(*np.array(rest).reshape(3, -1).mean(axis=1).tolist())


def turned(degrees):
    turn = mi.Transform4f().translate(middle) @ mi.Transform4f().rotate([0, 1, 0], degrees)
    params[key] = dr.ravel(turn @ mi.Transform4f().translate(-middle) @ rest)
    params.update()
    return np.array(mi.render(scene, spp=16))


target = turned(0)
angles = np.linspace(-180, 180, 9 if QUICK else 37)
losses = [np.mean((turned(float(angle)) - target) ** 2) for angle in angles]
figure, axes = plt.subplots(figsize=(6, 2.8), layout="constrained")
axes.plot(angles, losses, "o-", ms=3)
axes.set(xlabel="teapot turned by, degrees", ylabel="loss", xticks=range(-180, 181, 60))
plt.show()

# %% [markdown]
# ## What can go wrong
#
# - **Another valley.** The curve above falls towards 0° from within about 40° on either side. Beyond are other valleys;
#   the lowest is at 180°, where handle and spout have changed places. Start from several guesses and keep the run with
#   the lowest loss.
# - **No overlap.** If the render's object and the photograph's do not overlap at all, no small motion lowers the loss.
#   Blur helps: a loss with [`pyramid = 4`](../docs/losses.md) compares small versions of the images, too.
# - **Symmetry.** A ball's rotation, or a cup's around its axis when the handle is hidden, leaves no trace in the image.
# - **`boundary = "none"`** sees shading only. pbdr refuses poses with it where it knows that outlines move.
# - **Surfaces that pass through each other.** Where the teapot dips into the table, the curve in which they meet moves,
#   and no edge of a mesh says so: keep a small gap.
