"""Gradients in the variants that other tests leave out."""

from __future__ import annotations

import mitsuba as mi
import pytest

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
