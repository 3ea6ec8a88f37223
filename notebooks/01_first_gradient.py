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
# # 1. A first gradient
#
# **What you will learn**
#
# - how to ask a rendered image for its derivative with respect to a material or a light,
# - the two directions in which derivatives are computed, and when to use which,
# - how to check a gradient against finite differences,
# - how a few steps of descent recover a colour from a photograph, and how to save and resume that.
#
# You need `pip install ".[notebooks]"` and less than two minutes.

# %%
import os

import pbdr  # first: it points Dr.Jit at LLVM

import drjit as dr
import matplotlib.pyplot as plt
import mitsuba as mi
import numpy as np

from pbdr.scene import describe_parameters, load_scene, scene_parameters

mi.set_variant("llvm_ad_rgb")
plt.rcParams["figure.dpi"] = 80
QUICK = bool(os.environ.get("PBDR_QUICK"))  # the tests set it: few samples, few steps
SPP = 4 if QUICK else 64


def show(axes, image, title):
    """A linear image as a screen shows it."""
    axes.imshow(np.clip(np.array(image), 0, 1) ** (1 / 2.2), interpolation="nearest")
    axes.set_title(title, fontsize=10)
    axes.set_axis_off()


def show_signed(axes, image, title):
    """A derivative image: red where the pixel gets brighter, blue where it gets darker."""
    values = np.array(image).mean(axis=-1)
    limit = max(np.percentile(np.abs(values), 95), 1e-6)  # the brightest spots may saturate
    picture = axes.imshow(values, cmap="RdBu_r", vmin=-limit, vmax=limit, interpolation="nearest")
    axes.set_title(title, fontsize=10)
    axes.set_axis_off()
    axes.figure.colorbar(picture, ax=axes, shrink=0.75)


# %% [markdown]
# ## A scene is a function
#
# A scene takes numbers (colours, roughness, power, positions) and returns an image. pbdr brings a few scenes along; a
# path to an XML file of your own works in the same place. `describe_parameters` says which numbers there are and which
# of them can be differentiated.

# %%
scene = load_scene("cornell_box", {"size": "48"})
integrator = mi.load_dict({"type": "pbdr", "max_depth": 5})
infos = describe_parameters(scene)
for info in infos:
    if info.differentiable and not info.discontinuous and "value" in info.key:
        print(f"{info.key:42} {info.type:10} {info.minimum:5.2f} … {info.maximum:.2f}")

# %%
image = mi.render(scene, integrator=integrator, spp=SPP)
figure, axes = plt.subplots(figsize=(3, 3))
show(axes, image, "grey walls, a dim lamp: the first guess")

# %% [markdown]
# ## Backwards: one number, many parameters
#
# Reverse mode answers: *how does one number that I compute from the image depend on everything in the scene?* The price
# does not grow with the number of parameters. The number here is the mean brightness. Four lines are all of it: enable,
# update, render, `dr.backward`.

# %%
params = scene_parameters(scene)
keys = ["wall_left.brdf_0.reflectance.value", "metal.alpha.value", "panel.emitter.radiance.value"]
for key in keys:
    dr.enable_grad(params[key])
params.update()
image = mi.render(scene, params, integrator=integrator, spp=SPP, seed=1)
dr.backward(dr.mean(image, axis=None))
gradients = {key: np.ravel(dr.grad(params[key])) for key in keys}
for key, value in gradients.items():
    print(f"d brightness / d {key:36} {value.round(4)}")

# %% [markdown]
# Brightness is proportional to the lamp's radiance, so that the last derivative can be told without a renderer: it is
# the brightness divided by the radiance, if the lamp itself and all that it lights are counted.

# %%
radiance = float(np.ravel(params["panel.emitter.radiance.value"])[0])
print(f"brightness / radiance = {np.array(image).mean() / radiance:.4f}")
print(f"derivative            = {gradients['panel.emitter.radiance.value'][0]:.4f}")

# %% [markdown]
# ## Forwards: one parameter, all pixels
#
# Forward mode answers: *how does every pixel change when I turn this one knob?* The answer is an image. `Perturbation`
# says what the knob is.

# %%
from pbdr.compare import Perturbation, central_differences
from pbdr.compare.estimators import forward_gradient

scene = load_scene("cornell_box", {"size": "48"})
knobs = {
    "red of the left wall": Perturbation.component("wall_left.brdf_0.reflectance.value", 0),
    "roughness of the ball": Perturbation.uniform("metal.alpha.value"),
    "power of the lamp": Perturbation.uniform("panel.emitter.radiance.value"),
}
derivatives = {name: forward_gradient(scene, knob, integrator, spp=4 * SPP, seed=2) for name, knob in knobs.items()}

figure, axes = plt.subplots(1, 3, figsize=(11, 3), layout="constrained")
for place, (name, derivative) in zip(axes, derivatives.items(), strict=True):
    show_signed(place, derivative, f"d pixel / d ({name})")

# %% [markdown]
# The wall brightens itself most, and everything that it lights a little: its edge of the block, the ball, the ceiling.
# A rougher ball loses its highlight and the reflections at its rim, its dark middle gains a little, and the room
# darkens because this model of rough metal reflects less in total. The lamp brightens every pixel, itself most.
#
# ## Is it right?
#
# The definition of a derivative is a check: render with the knob a bit up and a bit down, subtract, divide. Repeating
# that with other random numbers gives an error bar.

# %%
print(f"{'mean over the image':24}{'pbdr':>10}{'differences':>14}{'± 2 se':>10}")
references = {}
for name, knob in knobs.items():
    references[name] = central_differences(
        scene, knob, integrator={"type": "path", "max_depth": 5}, spp=SPP, repeats=4 if QUICK else 8
    )
    each = references[name].fine.mean(axis=(1, 2, 3))
    deviation = 2 * each.std(ddof=1) / np.sqrt(len(each))
    print(f"{name:24}{derivatives[name].mean():10.5f}{each.mean():14.5f}{deviation:10.5f}")

# %%
figure, axes = plt.subplots(1, 3, figsize=(11, 3.3), layout="constrained")
for place, name in zip(axes, knobs, strict=True):
    truth, ours = references[name].fine.mean(axis=0).mean(axis=-1), derivatives[name].mean(axis=-1)
    ends = [min(truth.min(), ours.min()), max(truth.max(), ours.max())]
    place.plot(ends, ends, color="0.6", lw=1)
    place.plot(truth.ravel(), ours.ravel(), ".", ms=2)
    place.set(title=name, xlabel="finite differences, each pixel", ylabel="pbdr")

# %% [markdown]
# Every pixel lies on the diagonal up to noise; the noise is that of both renders.
#
# ## Descend
#
# Now the other way round: the colour of the left wall and the lamp's power are unknown, a photograph is given. The loss
# is the squared difference between render and photograph, relative to the brightness of each pixel so that the lamp
# does not outshine the rest; its gradient says where to go, and Adam goes there. `pbdr.optimize` does all of it:
# bounds, seeds, checkpoints.

# %%
truth = load_scene("cornell_box", {"size": "48"})
true_values = {"wall_left.brdf_0.reflectance.value": [0.6, 0.12, 0.06], "panel.emitter.radiance.value": 12.0}
true_params = scene_parameters(truth)
for key, value in true_values.items():
    true_params[key] = value
true_params.update()
photo = np.array(mi.render(truth, integrator=mi.load_dict({"type": "path", "max_depth": 5}), spp=16 * SPP))

unknown = {
    "wall_left.brdf_0.reflectance.value": {"initial": 0.5, "learning_rate": 0.03, "true": [0.6, 0.12, 0.06]},
    "panel.emitter.radiance.value": {"initial": 5.0, "learning_rate": 0.6, "true": 12.0},
}
problem = pbdr.Problem.from_scene(
    scene,
    unknown,
    targets=[photo],
    views=[{"sensor": "front"}],
    integrator={"type": "pbdr", "max_depth": 5},
    optimizer={"type": "adam", "beta_1": 0.8, "beta_2": 0.99},
    steps=4 if QUICK else 40,
    spp=SPP // 4,
)
result = pbdr.optimize(problem, out="runs/first", overwrite=True)
print(f"loss {result.loss_initial:.4f} → {result.loss_final:.6f} after {result.steps} steps")

# %% [markdown]
# ## Save and resume
#
# The run folder (`out=`) holds images, a line for each step, checkpoints and a report; if the problem came from a
# [job file](../docs/jobs.md), also the recovered scene as XML. The same call with `resume=True` goes on from the last
# checkpoint: after Ctrl-C, a crash, or, as here, because more steps are wanted.

# %%
result = pbdr.optimize(problem, steps=8 if QUICK else 80, out="runs/first", resume=True)
print(f"loss {result.loss_initial:.4f} → {result.loss_final:.6f} after {result.steps} steps")
for key, values in result.parameters.items():
    print(f"{key:36} recovered {np.round(values['final'], 3)}, true {values['true']}")

# %%
import json
from pathlib import Path

history = [json.loads(line) for line in Path("runs/first/history.jsonl").read_text().splitlines()]
recovered = mi.render(scene, integrator=integrator, spp=4 * SPP)
figure, axes = plt.subplots(1, 4, figsize=(13, 3), layout="constrained")
show(axes[0], image, "first guess")
show(axes[1], recovered, "recovered")
show(axes[2], photo, "photograph")
axes[3].semilogy([line["loss"] for line in history])
axes[3].set(title="loss", xlabel="step")
plt.show()

# %% [markdown]
# The loss ends on a plateau that is the noise of its images (16 samples per pixel), not the error of the parameters:
# the run reports `loss_final` from many more samples, and it is lower.
#
# ## What can go wrong
#
# - **`import mitsuba` before `import pbdr`.** Dr.Jit looks for LLVM when it is imported; `pbdr doctor` says what it
#   found.
# - **A gradient of zero.** `dr.enable_grad` without `params.update()`, or a render without `params` as its second
#   argument: Mitsuba then does not know that something is attached, and says nothing.
# - **The gradient of a second step is zero.** A backward pass forgets how the scene was built from the parameters:
#   enable, update and render anew in each step, as `pbdr.optimize` does.
# - **Noise.** A gradient is an average of random paths, as an image is. If repeated gradients differ by more than their
#   mean, raise `spp`; see [comparing estimators](09_comparing_estimators.ipynb).
# - **Something moves.** Colours, roughness and light are easy: they do not move outlines. What does needs a second
#   term, which [the next tutorial](02_why_boundaries_matter.ipynb) explains.
