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
# # 10. Writing your own estimator
#
# **What you will learn**
#
# - how to write a Mitsuba integrator with a gradient, in one class,
# - how pbdr tells whether it is right, and which mistake it makes if it is not,
# - how a correct estimator can still be improved, and how to see that it was.
#
# Nothing in pbdr is edited: whatever Mitsuba knows by name can be judged. [The page in the
# manual](../docs/writing_an_estimator.md) has the same for the command line, and the definitions.

# %%
import os

import pbdr  # first: it points Dr.Jit at LLVM

import drjit as dr
import matplotlib.pyplot as plt
import mitsuba as mi
import numpy as np

mi.set_variant("llvm_ad_rgb")
plt.rcParams["figure.dpi"] = 80
QUICK = bool(os.environ.get("PBDR_QUICK"))  # the tests set it: few samples, few seeds

# %% [markdown]
# ## The integrator
#
# Direct light: at the point that a camera ray meets, choose a point on an emitter, and multiply material and emission.
# The two methods that matter are `radiance`, the estimate itself, and `sample`, which Mitsuba's base class calls for
# images and derivatives alike. Dr.Jit differentiates `radiance`; `dr.suspend_grad` says what is *not* differentiated:
# where the emitter is sampled. The base class must come from exactly this module.

# %%
from mitsuba.python.ad.integrators.common import RBIntegrator


class DirectByEmitters(RBIntegrator):
    """Direct light by emitter sampling, differentiated by Dr.Jit."""

    def __init__(self, props):
        super().__init__(props)
        self.count = props.get("emitter_samples", 1)

    def material(self, si, ray, ds, lit):
        """The part of the integrand that the material contributes, attached."""
        return si.bsdf(ray).eval(mi.BSDFContext(), si, si.to_local(ds.d), lit)

    def radiance(self, scene, sampler, ray, active):
        """Emission towards the camera, and light that is reflected once."""
        si = scene.ray_intersect(ray, active)
        L = si.emitter(scene, active).eval(si, active)
        active &= si.is_valid()
        for _ in range(self.count):
            with dr.suspend_grad():
                ds, _ = scene.sample_emitter_direction(si, sampler.next_2d(active), True, active)
                lit = active & (ds.pdf > 0)
            Le = scene.eval_emitter_direction(si, ds, lit)
            L += dr.select(lit, self.material(si, ray, ds, lit) * Le / (ds.pdf * self.count), 0)
        return L

    def sample(self, mode, scene, sampler, ray, δL, state_in, active, **kwargs):
        """One primary ray: its radiance, or the derivative of it in either direction."""
        active = mi.Bool(active)
        if mode == dr.ADMode.Primal:
            L = self.radiance(scene, sampler, ray, active)
            return L, active, [], L
        with dr.resume_grad():
            L = self.radiance(scene, sampler, ray, active)
            if mode == dr.ADMode.Backward:
                dr.backward_from(δL * L)
                return None, active, [], None
            return dr.forward_to(L), active, [], None


mi.register_integrator("direct_by_emitters", lambda props: DirectByEmitters(props))

# %% [markdown]
# From here on it is an integrator like any other. Does it render the right image? A scene with a floor, a lamp, and a
# cube that is out of view but throws a shadow:

# %%
move = mi.ScalarTransform4f
film = {"type": "hdrfilm", "width": 48, "height": 48, "rfilter": {"type": "gaussian"}}
description = {
    "type": "scene",
    "integrator": {"type": "path", "max_depth": 2},
    "sensor": {
        "type": "perspective",
        "fov": 35,
        "to_world": move().look_at(origin=[0, -2, 2.5], target=[0, 0, 0], up=[0, 0, 1]),
        "film": film,
    },
    "floor": {
        "type": "rectangle",
        "to_world": move().scale(4),
        "bsdf": {"type": "diffuse", "reflectance": {"type": "rgb", "value": [0.6, 0.5, 0.4]}},
    },
    "cube": {
        "type": "cube",
        "to_world": move().translate([0.85, 0, 1.6]).rotate([1, 1, 0], 30).scale(0.2),
    },
    "lamp": {
        "type": "rectangle",
        "to_world": move().look_at(origin=[1.5, 0, 3], target=[0, 0, 0], up=[0, 1, 0]).scale(0.5),
        "emitter": {"type": "area", "radiance": {"type": "rgb", "value": 12.0}},
    },
}
scene = mi.load_dict(description, optimize=False)
spp = 16 if QUICK else 256
ours = np.array(mi.render(scene, integrator=mi.load_dict({"type": "direct_by_emitters"}), spp=spp))
mitsuba = np.array(mi.render(scene, integrator=mi.load_dict({"type": "path", "max_depth": 2}), spp=spp))
figure, axes = plt.subplots(1, 3, figsize=(8, 2.7), layout="constrained")
for place, image, title in [(axes[0], ours, "direct_by_emitters"), (axes[1], mitsuba, "path")]:
    place.imshow(np.clip(image, 0, 1) ** (1 / 2.2), interpolation="nearest")
    place.set_title(title, fontsize=10)
shown = axes[2].imshow((ours - mitsuba).mean(axis=-1), cmap="RdBu_r", vmin=-1e-4, vmax=1e-4, interpolation="nearest")
axes[2].set_title("difference: noise", fontsize=10)
figure.colorbar(shown, ax=axes, shrink=0.8)
for place in axes:
    place.set_axis_off()
plt.show()

# %% [markdown]
# ## Is its gradient right?
#
# Two questions: the derivative along the floor's albedo, where nothing moves, and along the position of the cube.

# %%
from pbdr.compare import Perturbation

effort = {"seeds": 2 if QUICK else 8, "spp": 16 if QUICK else 64, "budget": 1 if QUICK else 4}
questions = [
    Perturbation.uniform("floor.bsdf.reflectance.value"),
    Perturbation.translate("cube.vertex_positions", (1, 0, 0)),
]
result = pbdr.compare(scene, questions, ["direct_by_emitters", "pbdr:max_depth=2"], **effort)
for row in result.rows:
    print(f"{row.case:46}{row.estimator:20}{row.word:14}{row.reason}")

# %%
result.figure()

# %% [markdown]
# The albedo is right. The moving shadow is exactly zero where it should not be: the visibility stands under
# `dr.suspend_grad()`, and even if it did not, it is 0 or 1 and has no derivative at any sampled point. It is the
# [boundary term](02_why_boundaries_matter.ipynb) that is missing. No warning would have told; the comparison does.
#
# ## A mistake of the other kind
#
# Suppose that half of a factor is detached by mistake. Here is an estimator that renders the same image, with a
# gradient that is too small by a half.

# %%


class HalfAttached(DirectByEmitters):
    """Wrong on purpose: the same image, half of the derivative."""

    def material(self, si, ray, ds, lit):
        value = super().material(si, ray, ds, lit)
        return 0.5 * value + 0.5 * dr.detach(value)


mi.register_integrator("half_attached", lambda props: HalfAttached(props))
result = pbdr.compare(scene, questions[0], ["direct_by_emitters", "half_attached"], **effort)
for row in result.rows:
    bias = f"bias {100 * row.relative_bias:+.1f} %"
    print(f"{row.estimator:20}{row.word:12}{bias:16}transposition {row.transposition:.0e}")
result.figure()

# %% [markdown]
# An error in proportion to the gradient itself is a wrong factor; an error along outlines is a missing boundary.
# *Transposition* compares forward with reverse mode at equal seed: the mistake is in both, so they agree, and only the
# finite difference tells.
#
# ## Correct, and better
#
# More emitter samples for each camera ray cost less than as many camera rays. Whether that pays is a question about
# variance *times* seconds: efficiency is 1 / (variance · seconds), here relative to one sample.

# %%
counts = [1, 2, 4, 8]
estimators = [f"direct_by_emitters:emitter_samples={count}" for count in counts]
result = pbdr.compare(scene, questions[0], estimators, folder="runs/counts", **{**effort, "seeds": 2 if QUICK else 32})
deviation = np.array([row.relative_deviation for row in result.rows])
seconds = np.array([row.seconds for row in result.rows])
work = deviation**2 * seconds
figure, axes = plt.subplots(1, 3, figsize=(10, 2.7), layout="constrained")
columns = {"deviation": deviation / deviation[0], "seconds": seconds / seconds[0], "efficiency": work[0] / work}
for place, (title, values) in zip(axes, columns.items(), strict=True):
    place.plot(counts, values, "o-")
    place.set(title=f"{title} of a gradient", xlabel="emitter samples", xscale="log", ylim=(0, None))
    place.set_xticks(counts, counts)
    place.minorticks_off()
plt.show()
print(*(f"{row.estimator}: {row.word}" for row in result.rows), sep="\n")

# %% [markdown]
# Eight samples more than halve the noise and cost far less than eight times as much, so that they pay. The deviation is
# itself estimated, from 32 seeds: good to about an eighth; seconds depend on what else the machine does.
#
# ## Save and resume
#
# `folder="runs/counts"` has kept every cell: the same call goes on where it stopped, and computes nothing twice. But a
# class in a notebook has no file that could be watched: after a change of the class, take another folder. An estimator
# in a module of its own is measured again by itself when the file changes: `pbdr compare … --import my_estimators.py`.
#
# ## What can go wrong
#
# - **Another base class.** `from mitsuba.ad.integrators.common import …` makes a second copy of the module, which goes
#   stale when the variant is changed.
# - **A new variant.** `mi.register_integrator` holds for the variant that is set; after `mi.set_variant` the class has
#   to be made and registered again.
# - **Unsupported.** The integrator renders another image than the reference, e.g. because it knows one bounce only and
#   the scene has more. Compare on a scene, or at a `max_depth`, where the images agree.
# - **Python's `if` on a pixel's value.** Kernels are recorded once for all pixels: use `dr.select` and masks.
