"""Gradients of moving geometry, cameras and lights with warped-area reparameterization, against central differences."""

from __future__ import annotations

import mitsuba as mi
import numpy as np
import pytest

from pbdr.compare.estimators import forward_gradient
from pbdr.compare.references import central_differences
from pbdr.compare.statistics import assert_unbiased
from pbdr.errors import InputError

from .test_silhouettes import CASES, assert_transposes

FAST = ("occluder, area light", "camera")
UNSUPPORTED = ("point light", "sphere grows", "receiver below an instance", "stacked boxes")


def marked(names) -> list:
    known = [name for name in names if not any(word in name for word in UNSUPPORTED)]
    return [pytest.param(name, marks=[] if name in FAST else pytest.mark.slow) for name in known]


def integrator(boundary: str = "warped_area", max_depth: int = 3, **properties) -> mi.Integrator:
    return mi.load_dict({"type": "pbdr", "boundary": boundary, "max_depth": max_depth, **properties})


@pytest.mark.parametrize("name", marked(CASES))
def test_mean_equals_central_differences(name):
    build, direction = CASES[name]
    scene = build()
    reference = central_differences(scene, direction, integrator=integrator("none"), spp=512, repeats=12)
    samples = [forward_gradient(scene, direction, integrator(), spp=64, seed=seed) for seed in range(10)]
    assert_unbiased(np.stack(samples), reference)


@pytest.mark.parametrize("name", marked(CASES))
def test_forward_and_backward_are_transposes(name):
    build, direction = CASES[name]
    scene = build()
    assert_transposes(scene, direction, integrator, spp=16, tolerance=1e-3)


def test_caps_refuse_round_shapes():
    build, direction = CASES["sphere"]
    with pytest.raises(InputError, match="use warp_field = 'blend'"):
        forward_gradient(build(), direction, integrator(warp_field="caps"), spp=4)


def test_auxiliary_rays_refuse_instances():
    build, direction = CASES["instance"]
    with pytest.raises(InputError, match="use warp_field = 'blend'"):
        forward_gradient(build(), direction, ratio(), spp=4)


def test_point_lights_are_refused():
    build, direction = CASES["occluder, point light"]
    with pytest.raises(InputError, match="hard shadows"):
        forward_gradient(build(), direction, integrator(), spp=4)


def test_auto_takes_silhouettes():
    build, direction = CASES["camera"]
    scene = build()
    auto = forward_gradient(scene, direction, integrator("auto", max_depth=2), spp=4)
    named = forward_gradient(build(), direction, integrator("silhouettes", max_depth=2), spp=4)
    np.testing.assert_allclose(auto, named, rtol=1e-3, atol=1e-3 * np.abs(named).max())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["occluder, sky", "receiver slides", "moving area light", "camera"])
def test_mean_with_caps_equals_central_differences(name):
    build, direction = CASES[name]
    scene = build()
    reference = central_differences(scene, direction, integrator=integrator("none"), spp=512, repeats=12)
    caps = integrator(warp_field="caps")
    samples = [forward_gradient(scene, direction, caps, spp=64, seed=seed) for seed in range(10)]
    assert_unbiased(np.stack(samples), reference)


def ratio(**properties) -> mi.Integrator:
    return integrator(max_depth=2, warp_field="ratio", **properties)


@pytest.mark.parametrize(
    "name", ["occluder, area light", *(pytest.param(n, marks=pytest.mark.slow) for n in ("sphere", "disk", "camera"))]
)
def test_ratio_is_a_transpose_too(name):
    build, direction = CASES[name]
    scene = build()
    assert_transposes(scene, direction, ratio, spp=8, tolerance=1e-3)


@pytest.mark.slow
@pytest.mark.xfail(strict=True, raises=AssertionError, reason="warp_field='ratio' divides one random sum by another")
def test_ratio_is_biased():
    build, direction = CASES["disk"]
    scene = build()
    reference = central_differences(scene, direction, integrator=integrator("none", max_depth=2), spp=512, repeats=12)
    samples = [forward_gradient(scene, direction, ratio(), spp=64, seed=seed) for seed in range(10)]
    assert_unbiased(np.stack(samples), reference)
