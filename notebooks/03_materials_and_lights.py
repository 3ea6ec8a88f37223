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
# # 3. Materials and lights of a room
#
# **What you will learn**
#
# - how to pose a problem on a scene that you built in Python: two colours, two lights and the camera are unknown at
#   once,
# - what each of them does to each pixel (gradient images), and why that makes them recoverable from one photograph,
# - how to see that a problem is *not* well posed: light against albedo,
# - how to save and resume.

# %%
import json
import os
from pathlib import Path

import pbdr  # first: it points Dr.Jit at LLVM

import matplotlib.pyplot as plt
import mitsuba as mi
import numpy as np

from pbdr.scene import scene_parameters

mi.set_variant("llvm_ad_rgb")
plt.rcParams["figure.dpi"] = 80
QUICK = bool(os.environ.get("PBDR_QUICK"))  # the tests set it: few samples, few steps
SPP = 4 if QUICK else 16


def show(axes, image, title):
    """A linear image as a screen shows it."""
    axes.imshow(np.clip(np.array(image)[..., :3], 0, 1) ** (1 / 2.2), interpolation="nearest")
    axes.set_title(title, fontsize=10)
    axes.set_axis_off()


# %% [markdown]
# ## The room
#
# A table in a room with a ceiling lamp and a window on the left: ordinary Mitsuba. What stands here is the first guess.
# `optimize=False` keeps objects apart and their names stable.

# %%
move = mi.ScalarTransform4f


def box(low, high, material):
    """A box between two corners."""
    low, high = np.array(low), np.array(high)
    to_world = move().translate(((low + high) / 2).tolist()).scale(((high - low) / 2).tolist())
    return {"type": "cube", "to_world": to_world, "bsdf": {"type": "ref", "id": material}}


def wall(turn, place, size, material="paint", **more):
    to_world = move().translate(place) @ turn @ move().scale([*size, 1])
    return {"type": "rectangle", "to_world": to_world, "bsdf": {"type": "ref", "id": material}, **more}


def matte(*color):
    return {"type": "twosided", "bsdf": {"type": "diffuse", "reflectance": {"type": "rgb", "value": color}}}


def light(*radiance):
    return {"type": "area", "radiance": {"type": "rgb", "value": radiance}}


down, up = move().rotate([1, 0, 0], 90), move().rotate([1, 0, 0], -90)
right, left = move().rotate([0, 1, 0], 90), move().rotate([0, 1, 0], -90)
room = {
    "type": "scene",
    "integrator": {"type": "path", "max_depth": 4},
    "camera": {
        "type": "perspective",
        "fov": 60,
        "to_world": move().look_at(origin=[0.3, 1.5, 3.4], target=[0, 0.8, 0], up=[0, 1, 0]),
        "film": {"type": "hdrfilm", "width": 64, "height": 48, "rfilter": {"type": "gaussian"}},
        "sampler": {"type": "multijitter"},
    },
    "paint": matte(0.5, 0.5, 0.5),
    "wood": matte(0.5, 0.5, 0.5),
    "boards": matte(0.35, 0.3, 0.25),
    "floor": wall(up, [0, 0, 0.5], [2, 2.5], "boards"),
    "ceiling": wall(down, [0, 2.5, 0.5], [2, 2.5]),
    "back": wall(move(), [0, 1.25, -2], [2, 1.25]),
    "left_side": wall(right, [-2, 1.25, 0.5], [2.5, 1.25]),
    "right_side": wall(left, [2, 1.25, 0.5], [2.5, 1.25]),
    "table": box([-0.9, 0.75, -0.8], [0.9, 0.85, 0.3], "wood"),
    "lamp": wall(down, [0.6, 2.48, -0.4], [0.3, 0.3], emitter=light(8, 8, 8)),
    "window": wall(right, [-1.98, 1.4, 0.6], [0.6, 0.6], emitter=light(3, 3, 3)),
}
for number, (x, z) in enumerate([(-0.8, -0.7), (0.8, -0.7), (-0.8, 0.2), (0.8, 0.2)]):
    room[f"leg_{number}"] = box([x - 0.06, 0.01, z - 0.06], [x + 0.06, 0.74, z + 0.06], "wood")
scene = mi.load_dict(room, optimize=False)

# %% [markdown]
# ## The photograph
#
# It is rendered with other colours and lights, and from a camera that stands elsewhere. In your own work it is a file:
# `pbdr` reads EXR, PNG and JPEG (`color_space`, `exposure` and masks are [entries of a view](../docs/views.md)).

# %%
wood, paint = "wood.brdf_0.reflectance.value", "paint.brdf_0.reflectance.value"
lamp, window = "lamp.emitter.radiance.value", "window.emitter.radiance.value"
true_values = {wood: [0.45, 0.2, 0.08], paint: [0.35, 0.5, 0.55], lamp: [20.0, 15.0, 9.0], window: [4.0, 6.0, 9.0]}
true_camera = [-0.3, 0.1, 0.2]

truth = mi.load_dict(room, optimize=False)
params = scene_parameters(truth)
for key, value in true_values.items():
    params[key] = value
params["camera.to_world"] = mi.Transform4f().translate(true_camera) @ params["camera.to_world"]
params.update()
photo = np.array(mi.render(truth, spp=16 * SPP))
guess = np.array(mi.render(scene, spp=16 * SPP))

# %% [markdown]
# ## What each unknown does to each pixel
#
# Before anything is optimized, three gradient images: how does every pixel of the guess change when the camera steps to
# the right, when the table gets redder, when the lamp gets brighter? Red pixels get brighter, blue ones darker.

# %%
from pbdr.compare import Perturbation
from pbdr.compare.estimators import forward_gradient

integrator = mi.load_dict({"type": "pbdr", "max_depth": 4})
knobs = {
    "camera to the right": Perturbation.translate("camera.to_world", (1, 0, 0)),
    "redder table": Perturbation.component(wood, 0),
    "brighter lamp": Perturbation.uniform(lamp),
}
gradients = {name: forward_gradient(scene, knob, integrator, spp=16 * SPP, seed=1) for name, knob in knobs.items()}


def show_signed(axes, picture, title):
    values = picture.mean(axis=-1)
    limit = np.percentile(np.abs(values), 97)
    shown = axes.imshow(values, cmap="RdBu_r", vmin=-limit, vmax=limit, interpolation="nearest")
    axes.set_title(title, fontsize=10)
    axes.set_axis_off()
    axes.figure.colorbar(shown, ax=axes, shrink=0.7)


figure, axes = plt.subplots(1, 3, figsize=(12, 2.9), layout="constrained")
for place, (name, gradient) in zip(axes, gradients.items(), strict=True):
    show_signed(place, gradient, f"d pixel / d ({name})")
plt.show()

# %% [markdown]
# The three do not look alike, and that is why one photograph can tell them apart. The camera acts along every outline
# (its gradient needs the [boundary term](02_why_boundaries_matter.ipynb)); the table's colour acts on the table and,
# faintly, on what the table lights; the lamp, which this camera does not see, acts everywhere, most on the walls beside
# it and the table below.
#
# ## The problem, and its solution
#
# Keys, first steps, the photograph: that is all. Colours stay between 0 and 1 by themselves; radiance is not bounded
# above, and `positive` makes its learning rate relative.

# %%
glow = {"learning_rate": 0.06, "reparameterization": "positive"}
unknown = {
    wood: {"learning_rate": 0.02, "true": true_values[wood]},
    paint: {"learning_rate": 0.02, "true": true_values[paint]},
    lamp: {**glow, "true": true_values[lamp]},
    window: {**glow, "true": true_values[window]},
    "camera": {"kind": "pose", "translation": {"learning_rate": 0.02, "true": true_camera}},
}
settings = {
    "integrator": {"type": "pbdr", "max_depth": 4},
    "optimizer": {"type": "adam", "beta_1": 0.8, "beta_2": 0.95},
}
problem = pbdr.Problem.from_scene(scene, unknown, targets=[photo], spp=SPP, steps=3 if QUICK else 50, **settings)
result = pbdr.optimize(problem, out="runs/room", overwrite=True)
print(f"loss {result.loss_initial:.4f} → {result.loss_final:.5f} after {result.steps} steps")

# %% [markdown]
# ### Save and resume
#
# `runs/room` has checkpoints. The same call with `resume=True` goes on where the last one ended, after Ctrl-C as well
# as after its last step; more steps prolong it.

# %%
result = pbdr.optimize(problem, steps=5 if QUICK else 90, out="runs/room", resume=True)
print(f"loss {result.loss_initial:.4f} → {result.loss_final:.5f} after {result.steps} steps")
for key, values in result.parameters.items():
    print(f"{key:32} found {np.round(values['final'], 2)!s:20} true {values['true']}")

# %%
fit = np.array(mi.render(scene, spp=16 * SPP))  # the scene holds what was found
figure, axes = plt.subplots(2, 3, figsize=(11, 5.3), layout="constrained")
for place, (image, title) in zip(axes[0], [(guess, "guess"), (photo, "photograph"), (fit, "fit")], strict=True):
    show(place, image, title)
for place, (image, title) in zip(axes[1], [(guess, "guess"), (fit, "fit")], strict=False):
    shown = place.imshow((image - photo).mean(axis=-1), cmap="RdBu_r", vmin=-0.3, vmax=0.3, interpolation="nearest")
    place.set_title(f"{title} minus photograph", fontsize=10)
    place.set_axis_off()
figure.colorbar(shown, ax=axes[1, :2], location="bottom", shrink=0.5)

history = [json.loads(line) for line in Path("runs/room/history.jsonl").read_text().splitlines()]
axes[1, 2].semilogy([line["loss"] for line in history])
axes[1, 2].set(title="loss", xlabel="step")
plt.show()

# %%
figure, axes = plt.subplots(1, 5, figsize=(14, 2.8), layout="constrained")
for place, (key, values) in zip(axes, result.parameters.items(), strict=True):
    path = np.array([np.ravel(values["initial"]) * np.ones(3)] + [line["parameters"][key] for line in history])
    for channel, color in enumerate(["tab:red", "tab:green", "tab:blue"]):
        place.plot(path[:, channel], color=color)
        place.axhline(values["true"][channel], color=color, ls="--", lw=1)
    place.set_title(key.split(".")[0] + (" position" if "translation" in key else ""), fontsize=10)
    place.set_xlabel("step")
plt.show()

# %% [markdown]
# Solid: the numbers (red, green, blue; for the camera x, y, z) on their way; dashed: the truth. The window is in the
# picture from the start. The lamp comes into it only when the camera has found its place, about step 20, and is the
# last to be right; until then it is known only by what it lights. What is left of the difference is at the edges of the
# lights, which are many times brighter than everything else.
#
# ## What can go wrong: light against albedo
#
# Suppose that no light were in the picture. Then a brighter lamp and darker surfaces make nearly the same image, and
# only light that is reflected twice tells them apart. To see it, the window is switched off, and all surfaces share one
# albedo. The loss over albedo and power is drawn once with all pixels, once without those that see the lamp.

# %%
boards = "boards.brdf_0.reflectance.value"
view = move().look_at(origin=[0.3, 1.5, 3.4], target=[0, 1.5, 0], up=[0, 1, 0])
film = {"type": "hdrfilm", "width": 32, "height": 24}
small = {**room, "camera": {**room["camera"], "film": film, "to_world": view}}
scene_small = mi.load_dict(small, optimize=False)
params = scene_parameters(scene_small)
params[window] = [0.0, 0.0, 0.0]


def image_of(albedo, power):
    for key in (paint, wood, boards):
        params[key] = [float(albedo)] * 3
    params[lamp] = [float(power)] * 3
    params.update()
    return np.array(mi.render(scene_small, spp=16))


center = image_of(0.5, 12)
pixels = {"all pixels": np.ones((24, 32, 1)), "lamp not seen": center.max(axis=-1, keepdims=True) < 1}
albedos, powers = np.linspace(0.3, 0.7, 5 if QUICK else 11), 12 * np.geomspace(0.4, 2.5, 5 if QUICK else 11)
squares = np.array([[(image_of(a, p) - center) ** 2 for p in powers] for a in albedos])
figure, axes = plt.subplots(1, 3, figsize=(12, 3), layout="constrained", width_ratios=[1, 1.2, 1.2])
show(axes[0], center, "the picture")
for place, (title, weight) in zip(axes[1:], pixels.items(), strict=True):
    loss = (squares * weight).sum(axis=(2, 3, 4)) / (3 * weight.sum())
    shown = place.contourf(powers, albedos, np.log10(loss + 1e-7), levels=12, cmap="viridis")
    place.plot(12, 0.5, "w*", ms=12)
    place.set(title=title, xlabel="power of the lamp", ylabel="albedo of everything", xscale="log")
    place.set_xticks([6, 12, 24], [6, 12, 24])
    place.minorticks_off()
    figure.colorbar(shown, ax=place, label="log₁₀ loss")
plt.show()

# %% [markdown]
# With the lamp in the picture, its power is known at once, and the valley is upright. Without it the valley is a long
# diagonal: descent slides into it quickly and crawls along it.
#
# What helps: a picture in which the light is seen, a grey card of known albedo in the scene, another exposure, a bound
# on what albedos are plausible. Also:
#
# - **Baking.** Give every texel of a wall its own colour and shadows may end in the texture, lights too dim. Fewer
#   unknowns, more photographs, and a [prior](../docs/losses.md#priors) on the texture help.
# - **The loss is led by bright pixels.** `l2` sees little but the lamp. `relative_l2`, the default, divides by
#   brightness.
# - **A photograph is not linear.** PNG and JPEG need `color_space = "srgb"`; an unknown exposure is one more unknown,
#   which is itself ambiguous with the lights' power unless one of them is known.
