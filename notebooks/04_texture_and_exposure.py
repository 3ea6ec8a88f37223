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
# # 4. A texture from photographs of unknown exposure
#
# **What you will learn**
#
# - how to recover a texture of 64 × 64 texels from two ordinary photographs (8 bits, sRGB),
# - what an unknown exposure does to it, and how to recover that too,
# - what it brings to begin with few texels,
# - how overexposed pixels and too many unknown exposures go wrong; how to save and resume.

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
SIZE = 32 if QUICK else 64


def show(axes, image, title):
    """A linear image as a screen shows it."""
    axes.imshow(np.clip(np.array(image)[..., :3], 0, 1) ** (1 / 2.2), interpolation="nearest")
    axes.set_title(title, fontsize=10)
    axes.set_axis_off()


def show_error(axes, texture, title):
    """Recovered minus true texture: red where it is too bright."""
    shown = axes.imshow((texture - true_albedo).mean(axis=-1), cmap="RdBu_r", vmin=-0.15, vmax=0.15)
    axes.set_title(title, fontsize=10)
    axes.set_axis_off()
    return shown


# %% [markdown]
# ## The wall and its photographs
#
# A painted wall, two lamps, two cameras: the bundled scene `textured_wall`. To have a known answer, the photographs are
# renders of the true painting, written as a camera writes them: multiplied with an exposure, cut off at white, with the
# curve of sRGB, in 8 bits. The exposure of `front` is known to be 0.7; `side` was taken with automatic exposure, and
# nobody wrote down that it was 0.4.

# %%


def linear(file):
    """A file with 8 bits and the curve of sRGB as linear numbers."""
    return np.array(mi.Bitmap(str(file)).convert(mi.Bitmap.PixelFormat.RGB, mi.Struct.Type.Float32, srgb_gamma=False))


painting = linear(pbdr.resources.folder("scenes") / "textured_wall" / "textures" / "albedo.png")
true_albedo = painting.reshape(64, 2, 64, 2, 3).mean(axis=(1, 3))
mi.Bitmap(true_albedo).write("true_albedo.exr")
mi.Bitmap(np.full((64, 64, 3), 0.5, np.float32)).write("grey.exr")


def wall(albedo, size=SIZE):
    return load_scene("textured_wall", {"size": size, "albedo": Path(albedo).resolve()})


def radiance(sensor, size=SIZE):
    return np.array(mi.render(wall("true_albedo.exr", size), sensor=sensor, spp=16 if QUICK else 256))


def photograph(sensor, exposure, file):
    """Render the true wall and write it as a camera does."""
    photo = mi.Bitmap(radiance(sensor) * exposure)
    photo.convert(mi.Bitmap.PixelFormat.RGB, mi.Struct.Type.UInt8, srgb_gamma=True).write(file)


photograph(0, 0.7, "front.png")
photograph(1, 0.4, "side.png")
figure, axes = plt.subplots(1, 3, figsize=(10, 3.3), layout="constrained")
show(axes[0], true_albedo, "the painting: 64 × 64 colours")
for place, name in zip(axes[1:], ["front", "side"], strict=True):
    place.imshow(mi.Bitmap(f"{name}.png"))
    place.set_title(f"photograph {name}.png", fontsize=10)
    place.set_axis_off()
plt.show()

# %% [markdown]
# ## The exposure taken for granted
#
# First as if both photographs had been taken with the same exposure. `color_space = "srgb"` undoes the curve. The
# texture begins uniformly grey.

# %%
texture = "wall.bsdf.reflectance.data"
front = {"sensor": "front", "target": "front.png", "color_space": "srgb", "exposure": 0.7}
side = {"sensor": "side", "target": "side.png", "color_space": "srgb", "exposure": 0.7}
settings = {
    "integrator": {"type": "pbdr", "max_depth": 4},
    "optimizer": {"type": "adam", "beta_1": 0.8, "beta_2": 0.95},
    "loss": "l2",
    "spp": 4 if QUICK else 9,
    "spp_evaluation": 16 if QUICK else 64,
    "steps": 3 if QUICK else 60,
}
unknown = {texture: {"learning_rate": 0.03}}
naive = pbdr.optimize(pbdr.Problem.from_scene(wall("grey.exr"), unknown, views=[front, side], **settings))


def rms(albedo):
    return np.sqrt(np.mean((np.array(albedo) - true_albedo) ** 2))


print(f"loss {naive.loss_initial:.4f} → {naive.loss_final:.5f}, error of the texture {rms(naive.values[texture]):.3f}")

# %% [markdown]
# ## The exposure as one more unknown
#
# One entry makes it so. Colours stay between 0 and 1 by themselves.

# %%
unknown_exposure = {"initial": 0.7, "learning_rate": 0.03, "true": 0.4}
views = [front, {**side, "exposure": unknown_exposure}]
problem = pbdr.Problem.from_scene(wall("grey.exr"), unknown, views=views, **settings)
errors = []
result = pbdr.optimize(
    problem, out="runs/wall", overwrite=True, progress=lambda _: errors.append(rms(problem.parameters[texture]))
)
exposure = result.parameters["1_side.exposure"]
print(
    f"loss {result.loss_initial:.4f} → {result.loss_final:.5f}, error of the texture {rms(result.values[texture]):.3f}"
)
print(f"exposure of side: found {exposure['final']:.4f}, true {exposure['true']}")

# %%
figure, axes = plt.subplots(1, 5, figsize=(14, 2.8), layout="constrained")
show(axes[0], true_albedo, "true")
show(axes[1], naive.values[texture], "same exposure assumed")
show(axes[2], result.values[texture], "exposure recovered")
show_error(axes[3], naive.values[texture], "error, same exposure assumed")
figure.colorbar(show_error(axes[4], result.values[texture], "error, exposure recovered"), ax=axes, shrink=0.8)
plt.show()

# %% [markdown]
# With the wrong exposure the texture is a compromise between two photographs that contradict each other: too dark
# almost everywhere, except along the top and the right, which `side` does not show. With the exposure recovered, little
# is left: noise, and the glitter on the lake, whose stripes are finer than pixels.
#
# ### Save and resume
#
# The exposure has not arrived yet: exposure and texture pull at the same brightness, and only what is known, the other
# exposure and the colour of the floor, tells them apart. `runs/wall` has checkpoints, and the same call with
# `resume=True` goes on. The texture is an array; a file of it fits into any scene.

# %%
result = pbdr.optimize(
    problem,
    steps=5 if QUICK else 160,
    out="runs/wall",
    resume=True,
    progress=lambda _: errors.append(rms(problem.parameters[texture])),
)
print(
    f"loss {result.loss_final:.6f} after {result.steps} steps, error of the texture {rms(result.values[texture]):.3f}"
)
print(f"exposure of side: found {result.parameters['1_side.exposure']['final']:.4f}, true {exposure['true']}")
mi.Bitmap(result.values[texture].astype(np.float32)).write("recovered.exr")
again = np.array(mi.render(wall("recovered.exr"), sensor=1, spp=64)) * 0.4
print(f"a new scene with that file differs from the photograph by {np.abs(again - linear('side.png')).mean():.4f}")

# %%
history = [json.loads(line)["parameters"] for line in Path("runs/wall/history.jsonl").read_text().splitlines()]
figure, axes = plt.subplots(1, 2, figsize=(9, 2.8), layout="constrained")
axes[0].plot([line["1_side.exposure"] for line in history])
axes[0].axhline(0.4, color="0.5", ls="--", lw=1)
axes[0].set(title="exposure of side (dashed: the truth)", xlabel="step")
axes[1].semilogy(errors)
axes[1].set(title="error of the texture", xlabel="step")
plt.show()

# %% [markdown]
# ## From coarse to fine
#
# Photographs often have fewer pixels than the texture has texels. Then many textures make the same images, and some of
# them are rough. `refine` lets the optimizer see few texels first, here a quarter of the rows and columns, and doubles
# them at the given steps: what the photographs do not tell stays smooth. To see it, both ways get photographs of
# 32 × 32 pixels and one sample per pixel.

# %%
small_photos = [radiance(k, 32) * exposure for k, exposure in [(0, 0.7), (1, 0.4)]]
small_views = [{"sensor": "front", "exposure": 0.7}, {"sensor": "side", "exposure": 0.4}]
hurried = {**settings, "spp": 1, "steps": 4 if QUICK else 40}
fits, curves = {}, {}
for name, refine in {"all texels at once": [], "from coarse to fine": [2, 3] if QUICK else [20, 30]}.items():
    entry = {texture: {"learning_rate": 0.05, "refine": refine}}
    coarse = pbdr.Problem.from_scene(wall("grey.exr", 32), entry, small_photos, views=small_views, **hurried)
    curves[name] = []
    watch = lambda _, curve=curves[name], p=coarse: curve.append(rms(p.parameters[texture]))  # noqa: E731
    fits[name] = pbdr.optimize(coarse, progress=watch)
    print(f"{name}: loss {fits[name].loss_final:.5f}, error of the texture {rms(fits[name].values[texture]):.3f}")

figure, axes = plt.subplots(1, 4, figsize=(13, 2.9), layout="constrained", width_ratios=[1, 1, 1, 1.5])
show(axes[0], small_photos[0], "photograph of 32 × 32")
for place, (name, fit) in zip(axes[1:], fits.items(), strict=False):
    show(place, fit.values[texture], name)
    axes[3].plot(curves[name], label=name)
axes[3].set(xlabel="step", title="error of the texture", ylim=(0, None))
axes[3].legend(fontsize=8)
plt.show()

# %% [markdown]
# Both fit their photographs equally well; one of them is more than twice as close to the painting.
#
# ## What can go wrong
#
# ### Nothing is known
#
# Now both exposures are unknown, and masks hide the floor, whose colour was known. From a smaller and from a larger
# first exposure:

# %%
for name, end in [("front", 0.94), ("side", 0.76)]:
    mask = np.ones((SIZE, SIZE, 3), np.float32)
    mask[int(end * SIZE) :] = 0
    mi.Bitmap(mask).write(f"no_floor_{name}.exr")
figure, axes = plt.subplots(1, 3, figsize=(8.5, 2.9), layout="constrained")
show(axes[0], true_albedo, "true, exposures 0.7 and 0.4")
for place, initial in zip(axes[1:], [0.45, 0.8], strict=True):
    free_exposure = {"exposure": {"initial": initial, "learning_rate": 0.03}}
    blind = [{**view, **free_exposure, "mask": f"no_floor_{view['sensor']}.exr"} for view in (front, side)]
    free = pbdr.optimize(pbdr.Problem.from_scene(wall("grey.exr"), unknown, views=blind, **settings))
    found = [free.parameters[f"{name}.exposure"]["final"] for name in ("0_front", "1_side")]
    show(place, free.values[texture], f"from {initial}: {found[0]:.2f} and {found[1]:.2f}")
    upper = free.values[texture][:40].mean() / true_albedo[:40].mean()
    print(
        f"from {initial}: loss {free.loss_final:.5f}, exposures × {found[0] / 0.7:.2f} and × {found[1] / 0.4:.2f}, ",
        end="",
    )
    print(f"texture × {upper:.2f}")
plt.show()

# %% [markdown]
# Both fit their photographs equally well, and the exposures have nearly the right ratio. But the product of exposure
# and texture is all that the photographs tell. One known exposure settles it, or something of known colour.
#
# ### Overexposed pixels
#
# A camera cuts off at white, a render does not. Here `front` was exposed with 1.6; the exposure of `side` is known,
# too, to have one difficulty at a time. A mask leaves out what has reached white.

# %%
photograph(0, 1.6, "bright.png")
white = (linear("bright.png") > 0.99).any(axis=-1, keepdims=True)
mi.Bitmap(np.where(white, 0, np.ones(3, np.float32)).astype(np.float32)).write("not_white.exr")
bright, known = {**front, "target": "bright.png", "exposure": 1.6}, {**side, "exposure": 0.4}
pairs = {"all pixels": [bright, known], "white ones masked": [{**bright, "mask": "not_white.exr"}, known]}
figure, axes = plt.subplots(1, 3, figsize=(9.5, 2.9), layout="constrained")
show(axes[0], linear("bright.png"), f"bright.png: {white.mean():.0%} white")
for place, (name, pair) in zip(axes[1:], pairs.items(), strict=True):
    fit = pbdr.optimize(pbdr.Problem.from_scene(wall("grey.exr"), unknown, views=pair, **settings))
    shown = show_error(place, fit.values[texture], f"error, {name}")
    print(f"{name}: error of the texture {rms(fit.values[texture]):.3f}")
figure.colorbar(shown, ax=axes, shrink=0.8)
plt.show()

# %% [markdown]
# A white pixel says "at least as bright as this"; taken literally, it makes the sky too dark. Masked, those texels come
# from `side` alone, with a little more noise.
#
# Also:
#
# - **The curve is not undone.** Without `color_space = "srgb"` a PNG is refused; with `"linear"` for one that is not,
#   all middle tones come out too bright.
# - **Shadows in the texture.** Light that is taken as known and is not ends up in the texture
#   ([failure modes](../docs/failure_modes.md)).
# - **Parts that no photograph shows** keep about their first value, or with `refine` take that of their
#   surroundings. A [prior](../docs/losses.md#priors) such as `total_variation` says what is plausible there.
