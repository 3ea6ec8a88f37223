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
# # 2. Why boundaries matter
#
# **What you will learn**
#
# - why the derivative of an image has two parts as soon as something moves,
# - what a renderer returns that knows only one of them, for outlines and for shadows,
# - how to tell, with finite differences beside each,
# - what that does to descent, and how to find a pose with both.

# %%
import os

import pbdr  # first: it points Dr.Jit at LLVM

import drjit as dr
import matplotlib.pyplot as plt
import mitsuba as mi
import numpy as np

from pbdr.scene import load_scene, scene_parameters

mi.set_variant("llvm_ad_rgb")
plt.rcParams["figure.dpi"] = 80
QUICK = bool(os.environ.get("PBDR_QUICK"))  # the tests set it: few samples, few steps
SPP = 4 if QUICK else 64

# %% [markdown]
# ## The equation
#
# A pixel is an integral of the light $f(x, \theta)$ that arrives over the pixel's area $A$. Here $\theta$ is what we
# turn: a colour, a position. Where an outline runs through the pixel, $f$ jumps along a curve $\Gamma(\theta)$, and the
# curve moves with $\theta$. Reynolds' transport theorem then says
#
# $$
# \frac{d}{d\theta} \int_A f(x, \theta)\, dx
# = \underbrace{\int_A \frac{\partial f}{\partial \theta}(x, \theta)\, dx}_{\text{interior}}
# + \underbrace{\int_{\Gamma(\theta)} \bigl(f^-(x) - f^+(x)\bigr)\, v_n(x)\, d\ell(x)}_{\text{boundary}}
# $$
#
# where $f^-$ and $f^+$ are the light on both sides of the curve, and $v_n$ is the speed with which the curve moves from
# the $-$ side to the $+$ side. Differentiating a renderer line by line yields the first term alone, because sampled
# points almost never lie *on* the curve.
#
# ### In one dimension
#
# A pixel from 0 to 1 sees an object from 0 to $\theta$ that gets brighter with $\theta$, before a darker background.

# %%
BACKGROUND = 0.3


def light(x, theta):
    return np.where(x < theta, 1 + 0.5 * theta, BACKGROUND)


def pixel(theta):
    return theta * (1 + 0.5 * theta) + (1 - theta) * BACKGROUND


theta, step = 0.4, 0.12
x = np.linspace(0, 1, 1001)
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3), layout="constrained")
before, after = light(x, theta), light(x, theta + step)
left.plot(x, before, "k", label="θ")
left.plot(x, after, "k--", label="θ + h")
left.fill_between(x, before, after, where=x < theta, color="tab:blue", alpha=0.5, label="interior: got brighter")
left.fill_between(x, before, after, where=x >= theta, color="tab:red", alpha=0.5, label="boundary: the edge moved")
left.set(xlabel="x in the pixel", ylabel="light f", ylim=(0, 1.9))
left.legend(fontsize=8, ncol=2)

interior = 0.5 * theta
boundary = 1 + 0.5 * theta - BACKGROUND
difference = (pixel(theta + 1e-4) - pixel(theta - 1e-4)) / 2e-4
right.bar(
    ["interior\nalone", "interior +\nboundary", "finite\ndifference"], [interior, interior + boundary, difference]
)
right.bar(["interior +\nboundary"], [boundary], bottom=[interior], color="tab:red")
right.set(ylabel="d pixel / dθ")
plt.show()

# %% [markdown]
# ## In a scene
#
# A teapot before a wall, with a lamp that throws a shadow. We turn three knobs: the colour of the glaze, which moves
# nothing; the teapot's position, which moves its outline and its shadow; and the lamp's, which moves the shadow alone.
#
# `pbdr` computes both terms by default (`boundary="auto"`). With `boundary="none"` it computes the interior alone,
# which is what a renderer that is differentiated as it stands returns.

# %%
from pbdr.compare import Perturbation, central_differences
from pbdr.compare.estimators import forward_gradient

scene = load_scene("pose_from_image", {"size": "64"})
interior_only = mi.load_dict({"type": "pbdr", "max_depth": 3, "boundary": "none"})
both = mi.load_dict({"type": "pbdr", "max_depth": 3})
knobs = {
    "glaze: more red": Perturbation.component("teapot.bsdf.brdf_0.diffuse_reflectance.value", 0),
    "teapot: to the right": Perturbation.translate("teapot.vertex_positions", (1, 0, 0)),
    "lamp: to the right": Perturbation.translate("panel.to_world", (1, 0, 0)),
}
columns = {}
for name, knob in knobs.items():
    truth = central_differences(
        scene, knob, integrator={"type": "path", "max_depth": 3}, spp=SPP, repeats=2 if QUICK else 8
    )
    columns[name] = {
        "finite differences": truth.image,
        "interior alone": forward_gradient(scene, knob, interior_only, spp=4 * SPP, seed=1),
        "interior + boundary": forward_gradient(scene, knob, both, spp=4 * SPP, seed=1),
    }
image = mi.render(scene, integrator=both, spp=4 * SPP)

# %%
figure, axes = plt.subplots(3, 4, figsize=(10, 7.6), layout="constrained")
for row, (name, pictures) in zip(axes, columns.items(), strict=True):
    row[0].imshow(np.clip(np.array(image), 0, 1) ** (1 / 2.2))
    row[0].set_ylabel(name, fontsize=11)
    limit = np.percentile(np.abs(pictures["finite differences"].mean(axis=-1)), 98)
    for place, (title, picture) in zip(row[1:], pictures.items(), strict=True):
        shown = place.imshow(picture.mean(axis=-1), cmap="RdBu_r", vmin=-limit, vmax=limit, interpolation="nearest")
        place.set_title(title, fontsize=10)
    figure.colorbar(shown, ax=row, shrink=0.8, label="d pixel / d knob")
    for place in row:
        place.set(xticks=[], yticks=[])
plt.show()

# %% [markdown]
# First row: all three agree; nothing moves, and there is no boundary term. Second row: the interior knows how the
# shading of the teapot changes, steeply at its rim, where the surface turns away. It knows nothing of the background
# that is covered on one side and uncovered on the other, nor of the shadow. Third row: the light on wall and table
# changes smoothly, which the interior knows; the edges of the shadow are missing. None of this is noise that more
# samples would remove.
#
# In numbers: how much of the truth is left over when each estimate is subtracted (0 is perfect but for noise, 1 is as
# bad as answering zero). Small blocks of pixels are averaged first, so that noise counts less.

# %%


def blocks(picture, size=8):
    height, width = picture.shape[:2]
    return picture.reshape(height // size, size, width // size, size, -1).mean(axis=(1, 3, 4))


print(f"{'left over':24}{'interior alone':>16}{'interior + boundary':>22}")
for name, pictures in columns.items():
    truth = blocks(pictures["finite differences"])
    rest = [np.linalg.norm(blocks(pictures[k]) - truth) / np.linalg.norm(truth) for k in list(pictures)[1:]]
    print(f"{name:24}{rest[0]:16.2f}{rest[1]:22.2f}")

# %% [markdown]
# ## What it means for descent
#
# Let the teapot's sideways position be unknown and a photograph be given in which it stands at 0.25. We draw the loss
# for many positions, and at some of them the slope that each gradient claims.

# %%
params = scene_parameters(scene)
key = "teapot.vertex_positions"
rest = dr.unravel(mi.Point3f, mi.Float(params[key]))


def render_at(shift, integrator, seed, spp):
    """The image with the teapot moved to the right by `shift`, attached to it."""
    params[key] = dr.ravel(rest + mi.Vector3f(shift, 0, 0))
    params.update()
    return mi.render(scene, params, integrator=integrator, spp=spp, seed=seed)


def loss_and_slope(position, integrator):
    shift = mi.Float(position)
    dr.enable_grad(shift)
    loss = dr.mean(dr.square(render_at(shift, integrator, seed=2, spp=SPP) - photo), axis=None)
    dr.backward(loss)
    return float(np.array(loss)), float(dr.grad(shift)[0])


photo = mi.TensorXf(render_at(mi.Float(0.25), both, seed=7, spp=4 * SPP))
positions = np.linspace(-0.2, 0.6, 5 if QUICK else 17)
losses = [float(np.mean(np.array(render_at(mi.Float(p), both, 2, SPP) - photo) ** 2)) for p in positions]
places = [-0.1, 0.05, 0.4, 0.5]

figure, axes = plt.subplots(1, 2, figsize=(10, 3.2), sharey=True, layout="constrained")
for place, (title, integrator) in zip(
    axes, {"interior alone": interior_only, "interior + boundary": both}.items(), strict=True
):
    place.plot(positions, losses, "0.6", lw=3, label="loss")
    for position in places:
        loss, slope = loss_and_slope(position, integrator)
        ends = np.array([position - 0.06, position + 0.06])
        place.plot(ends, loss + slope * (ends - position), "r", lw=2, label="claimed slope" if position < 0 else None)
    place.axvline(0.25, color="k", ls=":", lw=1, label="truth")
    place.set(title=title, xlabel="position of the teapot")
axes[0].set_ylabel("loss")
axes[0].legend()
plt.show()

# %% [markdown]
# The slopes of the full gradient are tangents of the curve. Those of the interior alone are much too flat: here they
# still point to the truth, because rim and shading happen to agree about the direction. Of a shadow whose object is not
# in view the interior knows nothing at all: [tutorial 9](09_comparing_estimators.ipynb) has that case.
#
# So this is the whole program for finding the teapot, and it saves and resumes: the run folder `out=` has checkpoints,
# and `resume=True` goes on from the last one, here with more steps.

# %%
scene = load_scene("pose_from_image", {"size": "64"})
problem = pbdr.Problem.from_scene(
    scene,
    {"teapot": {"kind": "pose", "translation": {"learning_rate": 0.03, "true": [0.25, 0, 0]}}},
    targets=[np.array(photo)],
    views=[{"sensor": "front"}],
    integrator={"type": "pbdr", "max_depth": 3},
    optimizer={"type": "adam", "beta_1": 0.8, "beta_2": 0.95},
    loss="l2",
    steps=3 if QUICK else 20,
)
pbdr.optimize(problem, out="runs/teapot", overwrite=True)
result = pbdr.optimize(problem, steps=5 if QUICK else 40, out="runs/teapot", resume=True)
print("found", np.round(result.parameters["teapot.translation"]["final"], 3), "· true [0.25, 0, 0]")

# %% [markdown]
# ## What can go wrong
#
# - **No error message.** A gradient without its boundary term is a plausible number. `pbdr check SCENE --param KEY`
#   compares it with finite differences, and `pbdr compare` does so for several methods at
#   once.
# - **`boundary="none"` where something moves.** It is right for colours, textures and lights that stay, and cheaper.
#   With `"auto"`, which is the default, nothing is paid as long as nothing moves.
# - **A surface that pbdr does not know.** Perfect mirrors, curves and grids have boundaries that no term covers yet;
#   the integrator refuses them in one sentence instead of returning half of a gradient.
# - **Finite differences lie, too.** A step too small drowns in noise, a step too large leaves the tangent.
#   `central_differences` uses the same random numbers on both sides and two steps, and says how far they disagree.
