"""The film's adjoint from known filter weights is the adjoint that automatic differentiation finds."""

from __future__ import annotations

import drjit as dr
import mitsuba as mi
import numpy as np
import pytest

from pbdr.interior import Primal
from pbdr.transport import film as films


@pytest.mark.parametrize("rfilter", ["box", "tent", "gaussian", "mitchell", "catmullrom", "lanczos"])
@pytest.mark.parametrize(
    "film",
    [
        {"pixel_format": "rgb"},
        {"pixel_format": "rgba", "sample_border": True},
        {"crop_width": 7, "crop_height": 5, "crop_offset_x": 3, "crop_offset_y": 4, "sample_border": True},
        {"pixel_format": "luminance"},
    ],
)
def test_the_adjoint_with_known_weights(rfilter: str, film: dict) -> None:
    box = mi.cornell_box()
    box["sensor"]["film"].update(width=12, height=10, rfilter={"type": rfilter}, **film)
    scene, integrator = mi.load_dict(box), mi.load_dict({"type": "pbdr", "max_depth": 2})
    with dr.suspend_grad():
        camera = integrator.camera(scene.sensors()[0], films.Pass(4, dr.opaque(mi.UInt32, 1), 1.0), 2)
        images, weights = films.develop_sets(camera, integrator.trace(scene, camera, Primal()))
        rng = np.random.default_rng(0)
        adjoints = [mi.TensorXf(rng.uniform(-1, 1, image.shape).astype(np.float32)) for image in images]
        found = np.array(films.adjoint_of_sets(camera, adjoints, weights))
        expected = np.array(films.adjoint_of_sets(camera, adjoints))
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(found, expected, atol=1e-6)
