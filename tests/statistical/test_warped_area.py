"""Gradients of moving geometry, cameras and lights with warped-area reparameterization, against central differences."""

from __future__ import annotations

import mitsuba as mi
import numpy as np
import pytest

from pbdr.capabilities import automatic_boundary
from pbdr.compare.estimators import forward_gradient
from pbdr.compare.perturbations import Perturbation
from pbdr.errors import InputError

from .silhouette_cases import CASES, area, assert_mean, assert_transposes, fine_mesh, green, sky, stage


def level_set(radius: float = 0.35, **changes) -> dict:
    """A ball as a level set that floats."""
    axis = np.linspace(-0.5, 0.5, 16)
    distance = np.linalg.norm(np.meshgrid(axis, axis, axis, indexing="ij"), axis=0) - radius
    to_world = mi.ScalarTransform4f().translate([-0.6, -0.6, 0.3]).scale(1.2)
    grid = mi.TensorXf(np.float32(distance[..., None]))
    return {"box": {"type": "sdfgrid", "grid": grid, "to_world": to_world, "bsdf": green(), **changes}}


P = Perturbation
CASES = {
    **CASES,
    "level set": (lambda: stage(area(), level_set()), P.translate("box.to_world", (1, 0.2, 0.1))),
    "level set, sky": (lambda: stage(sky(), level_set()), P.translate("box.to_world", (1, 0.2, 0.1))),
    "level set is scaled": (lambda: stage(area(), level_set()), P.scale("box.to_world", (1, 0.5, 1))),
    "level set shrinks": (lambda: stage(area(), level_set()), P.uniform("box.grid", step=0.02)),
    "level set at rest, moving light": (
        lambda: stage(area(), level_set()),
        P.translate("lamp.to_world", (1, 0.5, 0.2)),
    ),
    "level set, camera": (lambda: stage(area(), level_set()), P.translate("camera.to_world", (1, 0, 0.3))),
}
FAST = ("occluder, area light", "camera", "sampled border", "level set shrinks")
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
    assert_mean(scene, direction, integrator())


@pytest.mark.parametrize("name", marked(CASES))
def test_forward_and_backward_are_transposes(name):
    build, direction = CASES[name]
    scene = build()
    assert_transposes(scene, direction, integrator, spp=16, tolerance=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("smooth", [True, False])
def test_camera_rays_see_seventy_thousand_triangles(smooth):
    scene = stage(sky(), fine_mesh(133, smooth=smooth))
    assert scene.shapes()[1].face_count() > 70_000
    direction = P.translate("box.vertex_positions", (1, 0.2, 0.1))
    warped = integrator(max_depth=1)
    assert_mean(scene, direction, warped)
    assert_transposes(scene, direction, lambda: warped, spp=16, tolerance=1e-3)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"normals": "analytic"}, "use normals = 'smooth'"),
        ({"radius": 0.55}, "border of its grid"),
    ],
)
def test_level_sets_without_an_outline_are_refused(changes, words):
    scene = stage(area(), level_set(**changes))
    for boundary in ("warped_area", "auto"):
        with pytest.raises(InputError, match=words):
            forward_gradient(scene, P.translate("box.to_world", (1, 0, 0)), integrator(boundary), spp=4)


def test_auto_takes_warped_area_for_level_sets():
    automatic = integrator("auto", max_depth=2)
    forward_gradient(stage(area(), level_set()), P.translate("box.to_world", (1, 0, 0)), automatic, spp=1)
    assert automatic_boundary(automatic) == "warped_area"


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
    assert_mean(scene, direction, integrator(warp_field="caps"))


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
    assert_mean(scene, direction, ratio())
