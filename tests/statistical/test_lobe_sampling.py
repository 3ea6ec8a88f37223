"""Directions drawn by the derivatives of lobes: right means, transposes, images as before, and less noise."""

from __future__ import annotations

import drjit as dr
import mitsuba as mi
import numpy as np
import pytest

import pbdr
from pbdr.compare.estimators import forward_gradient, reverse_gradient, smooth_adjoint
from pbdr.compare.perturbations import Perturbation
from pbdr.compare.references import central_differences
from pbdr.compare.statistics import Estimate, assert_unbiased
from pbdr.errors import InputError
from pbdr.scene import load_scene
from pbdr.transport.tangents import attached_copy
from pbdr.transport.vertices import KINDS

from .interior_cases import _ball

_GGX = {"type": "roughconductor", "alpha": 0.2, "distribution": "ggx", "material": "Au"}

#: name → (scene, parameter)
CASES = {
    "ggx": (lambda: _ball(_GGX), "ball.bsdf.alpha.value"),
    "beckmann": (lambda: _ball({"type": "roughconductor", "alpha": 0.25}), "ball.bsdf.alpha.value"),
    "two sides": (lambda: _ball({"type": "twosided", "metal": _GGX}), "ball.bsdf.brdf_0.alpha.value"),
    "principled": (
        lambda: _ball({"type": "principled", "roughness": 0.4, "metallic": 0.5, "clearcoat": 0.5}),
        "ball.bsdf.roughness.value",
    ),
    "principled glass": (
        lambda: _ball({"type": "principled", "roughness": 0.5, "spec_trans": 0.7}),
        "ball.bsdf.roughness.value",
    ),
    "textured": (
        lambda: _ball(
            _GGX
            | {
                "alpha": {
                    "type": "bitmap",
                    "bitmap": mi.Bitmap(np.float32([[[0.1], [0.4]], [[0.3], [0.2]]])),
                    "raw": True,
                }
            }
        ),
        "ball.bsdf.alpha.data",
    ),
}


def integrator(**properties) -> mi.Integrator:
    return mi.load_dict({"type": "pbdr", "max_depth": 4, "derivative_sampling": True, **properties})


@pytest.mark.parametrize("name", CASES)
def test_mean_equals_central_differences(name):
    build, key = CASES[name]
    scene, direction = build(), Perturbation.uniform(key)
    reference = central_differences(scene, direction, integrator={"type": "path", "max_depth": 4}, spp=256, repeats=8)
    estimator = integrator()
    samples = [forward_gradient(scene, direction, estimator, spp=64, seed=seed) for seed in range(8)]
    assert_unbiased(np.stack(samples), reference)


@pytest.mark.parametrize("name", ["ggx", "principled"])
def test_forward_and_backward_are_transposes(name):
    build, key = CASES[name]
    scene, direction = build(), Perturbation.uniform(key)
    image = forward_gradient(scene, direction, integrator(), spp=16, seed=3)
    adjoint = smooth_adjoint(image.shape)
    backward = reverse_gradient(scene, direction, integrator(), adjoint, spp=16, seed=3)
    assert backward == pytest.approx(np.vdot(adjoint, image), abs=1e-4 * np.abs(adjoint * image).sum())
    taped = forward_gradient(scene, direction, integrator(interior="taped"), spp=16, seed=3)
    np.testing.assert_allclose(taped, image, rtol=1e-3, atol=1e-4 * np.abs(image).max())


def test_images_stay_as_they_are():
    """Also while a roughness carries derivatives."""
    build, key = CASES["ggx"]
    scene = build()
    attach(scene, key)
    images = [np.array(integrator(derivative_sampling=on).render(scene, seed=5, spp=4)) for on in (False, True)]
    np.testing.assert_array_equal(*images)


def attach(scene: mi.Scene, key: str) -> dr.ArrayBase:
    """A fresh copy of a parameter that carries derivatives."""
    params = mi.traverse(scene)
    leaf, params[key] = attached_copy(params[key])
    params.update()
    return leaf


@pytest.mark.parametrize(
    ("name", "memory_budget"), [("ggx", 1), ("principled", 1), ("ggx", 20 * 16 * 16 * 140 / 2**30)]
)
def test_recordings_follow_lobes_as_well(name, memory_budget):
    """At equal seed their derivatives are those of replay, frozen or not, also where vertices are too many to keep."""
    build, key = CASES[name]
    scene, estimators = build(), [integrator(), integrator(memory_budget=memory_budget)]
    adjoint = mi.TensorXf(smooth_adjoint((16, 20, 3)).astype(np.float32))
    plain = integrator(derivative_sampling=False)
    for k in range(3):
        seed = dr.opaque(mi.UInt32, 70 + k)
        estimators[1].experience.densities = dict.fromkeys(KINDS, 0.01)
        found = []
        for estimator in (*estimators, plain):
            leaf = attach(scene, key)
            if estimator is estimators[0]:
                estimator.render_backward(scene, mi.traverse(scene), adjoint, 0, seed, 16)
            else:
                pbdr.record(estimator, scene, 0, seed=seed, spp=16).backward([adjoint])
            found.append(float(dr.grad(leaf)[0]))
        assert found[1] == pytest.approx(found[0], rel=1e-4)
        assert found[2] != pytest.approx(found[0], rel=1e-4)


@pytest.mark.parametrize("name", ["ggx", "beckmann", "principled glass"])
def test_recorded_images_are_unbiased(name):
    """Where lamps are found by both strategies, and where lobes end at a horizon."""
    build, key = CASES[name]
    scene, estimator, found = build(), integrator(), {}
    attach(scene, key)
    for k in range(16):
        recording = pbdr.record(estimator, scene, 0, spp=512, seed=k)
        found.setdefault("recorded", []).append(np.array(recording.images[0]).sum())
        found.setdefault("usual", []).append(np.array(estimator.render(scene, seed=100 + k, spp=512)).sum())
    usual = found["usual"]
    assert_unbiased(found["recorded"], Estimate(np.mean(usual), np.std(usual, ddof=1) / 4))


def test_recordings_can_be_evaluated_again():
    build, key = CASES["principled"]
    scene = build()
    attach(scene, key)
    recording = pbdr.record(integrator(), scene, 0, spp=16, seed=3, reusable=True)
    (same,) = recording.reevaluate({key: dr.detach(mi.traverse(scene)[key])})
    np.testing.assert_allclose(same, recording.images[0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("boundary", [pytest.param("silhouettes", marks=pytest.mark.slow), "warped_area"])
def test_something_moves_besides(boundary):
    """The derivative by a roughness is what it is at equal seed where nothing moves."""
    scene, key = _ball(_GGX), "ball.bsdf.alpha.value"
    adjoint = mi.TensorXf(smooth_adjoint((16, 20, 3)).astype(np.float32))

    def gradient(**properties) -> float:
        leaf = attach(scene, key)
        integrator(**properties).render_backward(scene, mi.traverse(scene), adjoint, 0, 3, 32)
        return float(dr.grad(leaf)[0])

    alone, usual = gradient(), gradient(derivative_sampling=False)
    attach(scene, "ball.to_world")
    assert gradient(boundary=boundary) == pytest.approx(alone, rel=1e-3)
    assert usual != pytest.approx(alone, rel=1e-2)


def test_noise_of_derivatives_falls():
    """To about half for the unknown roughness of the bundled material ball."""
    scene, key = load_scene("material_ball"), "ball.bsdf.roughness.value"
    params = mi.traverse(scene)
    params[key] = 0.4
    params["front.film.size"] = mi.ScalarVector2u(24)
    params.update()
    variances = []
    for on in (False, True):
        estimator = integrator(derivative_sampling=on)
        images = [forward_gradient(scene, Perturbation.uniform(key), estimator, spp=16, seed=k) for k in range(12)]
        variances.append(np.var(images, axis=0).sum())
    assert variances[1] < 0.65 * variances[0]


def test_unknown_lobes_are_refused_before_rendering():
    scene = _ball({"type": "roughconductor", "alpha_u": 0.1, "alpha_v": 0.2})
    attach(scene, "ball.bsdf.alpha_u.value")
    with pytest.raises(InputError, match="'derivative_sampling' does not know the lobe of"):
        pbdr.record(integrator(), scene, 0, spp=1, seed=0)
    with pytest.raises(InputError, match="'derivative_sampling' does not know the lobe of"):
        integrator().render_backward(scene, mi.traverse(scene), mi.TensorXf(1), 0, 0, 1)
