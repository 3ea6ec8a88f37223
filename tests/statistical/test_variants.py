"""Gradients in the variants that other tests leave out."""

from __future__ import annotations

import mitsuba as mi
import numpy as np
import pytest

from pbdr.compare.estimators import forward_gradient, reverse_gradient, smooth_adjoint
from pbdr.compare.perturbations import Perturbation
from pbdr.compare.references import central_differences
from pbdr.compare.statistics import assert_unbiased

MOTION = Perturbation.translate("box.vertex_positions", (1, 0.2, 0.1))


def stage() -> mi.Scene:
    """A cube that floats over a painted floor, below a coloured sky."""
    to_world = mi.ScalarTransform4f()
    paint = np.float32(np.linspace(0.1, 0.8, 12)).reshape(2, 2, 3)
    return mi.load_dict(
        {
            "type": "scene",
            "camera": {
                "type": "perspective",
                "fov": 40,
                "to_world": to_world.look_at(origin=[0.5, -4, 2.5], target=[0, 0, 0.3], up=[0, 0, 1]),
                "film": {"type": "hdrfilm", "width": 24, "height": 24, "pixel_format": "rgb"},
            },
            "floor": {
                "type": "rectangle",
                "to_world": to_world.scale(3),
                "bsdf": {"type": "diffuse", "reflectance": {"type": "bitmap", "bitmap": mi.Bitmap(paint)}},
            },
            "box": {
                "type": "cube",
                "to_world": to_world.translate([0, 0, 0.9]).rotate([0, 0, 1], 25).scale(0.4),
                "bsdf": {"type": "diffuse", "reflectance": 0.4},
            },
            "sky": {"type": "constant", "radiance": {"type": "rgb", "value": [0.5, 0.8, 1.0]}},
        },
        optimize=False,
    )


@pytest.mark.parametrize("variant", ["llvm_ad_spectral", "llvm_ad_mono"])
@pytest.mark.parametrize("boundary", ["silhouettes", "warped_area"])
def test_motion(variant, boundary):
    mi.set_variant(variant)
    assert_right(stage(), MOTION, {"type": "pbdr", "max_depth": 3, "boundary": boundary})


@pytest.mark.parametrize("variant", ["llvm_ad_spectral", "llvm_ad_mono"])
@pytest.mark.parametrize("plugin", ["pbdr", "path_taped"])
def test_materials(variant, plugin):
    mi.set_variant(variant)
    assert_right(stage(), Perturbation.uniform("box.bsdf.reflectance.value"), {"type": plugin, "max_depth": 3})


def assert_right(scene: mi.Scene, direction: Perturbation, description: dict) -> None:
    """Both modes agree, and their mean equals central differences."""
    integrator = mi.load_dict(description)
    images = [forward_gradient(scene, direction, integrator, spp=64, seed=seed) for seed in range(8)]
    adjoint = smooth_adjoint(images[0].shape)
    backward = reverse_gradient(scene, direction, integrator, adjoint, spp=64, seed=7)
    assert backward == pytest.approx(np.vdot(adjoint, images[7]), abs=1e-3 * np.abs(adjoint * images[7]).sum())
    reference = central_differences(scene, direction, integrator=integrator, spp=256, repeats=8)
    assert_unbiased(np.stack(images), reference)
