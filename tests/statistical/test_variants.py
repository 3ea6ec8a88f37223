"""Gradients in the variants that other tests leave out."""

from __future__ import annotations

import mitsuba as mi
import numpy as np
import pytest

from pbdr.compare.estimators import reverse_gradient
from pbdr.compare.perturbations import Perturbation

from .silhouette_cases import assert_mean, assert_transposes, sky, stage

VARIANTS = ["llvm_ad_spectral", "llvm_ad_mono"]


@pytest.mark.parametrize(
    ("boundary", "variant"),
    [
        ("silhouettes", "llvm_ad_mono"),
        ("warped_area", "llvm_ad_spectral"),
        pytest.param("silhouettes", "llvm_ad_spectral", marks=pytest.mark.slow),
        pytest.param("warped_area", "llvm_ad_mono", marks=pytest.mark.slow),
    ],
)
def test_motion(boundary, variant):
    mi.set_variant(variant)
    direction = Perturbation.translate("box.vertex_positions", (1, 0.2, 0.1))
    assert_right(direction, {"type": "pbdr", "max_depth": 3, "boundary": boundary})


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("plugin", ["pbdr", "path_taped"])
def test_materials(variant, plugin):
    mi.set_variant(variant)
    assert_right(Perturbation.uniform("floor.bsdf.reflectance.value"), {"type": plugin, "max_depth": 3})


def assert_right(direction: Perturbation, description: dict) -> None:
    """Both modes agree, and their mean equals central differences."""
    scene, integrator = stage(sky()), mi.load_dict(description)
    assert_transposes(scene, direction, lambda: integrator, spp=16, tolerance=1e-3)
    assert_mean(scene, direction, integrator, spp=32, seeds=8)


def test_response_of_a_sensor():
    """Gradients see with the response function of the sensor, as images do, and leave it as it was."""
    mi.set_variant("llvm_ad_spectral")
    response = {"type": "irregular", "wavelengths": "400, 560, 600, 700", "values": "0, 0, 2, 1"}
    film = {"type": "hdrfilm", "width": 8, "height": 8, "pixel_format": "rgb"}
    to_world = mi.ScalarTransform4f().look_at(origin=[0, 0, 3], target=[0, 0, 0], up=[0, 1, 0])
    camera = {"type": "perspective", "to_world": to_world, "film": film, "srf": response}
    grey = {"type": "diffuse", "reflectance": {"type": "uniform", "value": 0.5}}
    floor = {"type": "rectangle", "to_world": mi.ScalarTransform4f().scale(3), "bsdf": grey}
    scene = mi.load_dict({"type": "scene", "camera": camera, "floor": floor, "sky": sky()}, optimize=False)
    direction, adjoint = Perturbation.uniform("floor.bsdf.reflectance.value"), np.ones((8, 8, 3))
    integrators = [mi.load_dict({"type": kind, "max_depth": 2}) for kind in ("pbdr", "prb")]
    for seed in range(3):
        found, expected = (reverse_gradient(scene, direction, one, adjoint, spp=64, seed=seed) for one in integrators)
        assert found == pytest.approx(expected, rel=0.02)
    images = [mi.render(scene, integrator=one, spp=64, seed=1).numpy().mean() for one in integrators]
    assert images[0] == pytest.approx(images[1], rel=0.02)
