"""Presets with the names and properties of Mitsuba's former reparameterized integrators."""

from __future__ import annotations

import mitsuba as mi
import numpy as np
import pytest

from pbdr.compare.estimators import forward_gradient
from pbdr.compare.perturbations import Perturbation
from pbdr.integrators import make_integrator

FORMER = {
    "reparam_rays": 16,
    "reparam_kappa": 1e5,
    "reparam_exp": 3.0,
    "reparam_antithetic": True,
    "reparam_unroll": True,
}


def scene() -> mi.Scene:
    transform = mi.ScalarTransform4f()
    camera = {
        "type": "perspective",
        "to_world": transform.look_at([0, -4, 2], [0, 0, 0.4], [0, 0, 1]),
        "film": {"type": "hdrfilm", "width": 8, "height": 8, "rfilter": {"type": "gaussian"}},
    }
    box = {"type": "cube", "to_world": transform.translate([0, 0, 1]).scale(0.4)}
    floor = {"type": "rectangle", "to_world": transform.scale(3)}
    sky = {"type": "constant"}
    return mi.load_dict({"type": "scene", "c": camera, "box": box, "floor": floor, "sky": sky}, optimize=False)


def image(integrator: mi.Integrator) -> np.ndarray:
    return forward_gradient(scene(), Perturbation.translate("box.vertex_positions", (1, 0, 0)), integrator, spp=4)


@pytest.mark.parametrize(
    "former",
    [
        {
            "type": "prb_reparam",
            "max_depth": 2,
            "reparam_max_depth": 2,
            "rr_depth": 5,
            "hide_emitters": False,
            **FORMER,
        },
        {"type": "direct_reparam", **FORMER},
        {"type": "path_reparam", "max_depth": 2},
    ],
)
def test_presets_are_warped_area(former):
    reference = image(mi.load_dict({"type": "pbdr", "boundary": "warped_area", "max_depth": 2}))
    assert np.abs(reference).max() > 0
    np.testing.assert_allclose(image(mi.load_dict(former)), reference, rtol=1e-3, atol=1e-4 * np.abs(reference).max())


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("direct_reparam:max_depth=3", "'max_depth' of 'direct_reparam' is 2"),
        ("prb_reparam:reparam_rays=0", "'reparam_rays' must be greater than 0"),
        ("pbdr:boundary=warped_area,warp_field=blnd", "did you mean 'blend'"),
        ("pbdr:boundary=warped_area,max_depth=-1", "'max_depth' must be finite"),
        ("pbdr:boundary=warped_area,warp_reach=3", "'warp_reach' must be greater than 0"),
        ("pbdr:boundary=warped_area,warp_depth=-2", "'warp_depth' must be at least 0"),
        ("pbdr:boundary=warped_area,warp_field=ratio,warp_kappa=0", "'warp_kappa' must be greater than 0"),
        ("pbdr:boundary=warped_area,warp_field=ratio,warp_rays=7", "multiple of 2 with warp_antithetic"),
        ("pbdr:boundary=warped_area,warp_field=ratio,warp_jackknife=true,warp_rays=2", "multiple of 4 with"),
    ],
)
def test_wrong_properties_are_named(spec, words):
    with pytest.raises(Exception, match=words):
        make_integrator(spec)


def test_auxiliary_rays_have_their_effect_on_the_ratio():
    former = mi.load_dict({"type": "prb_reparam", "max_depth": 2, "warp_field": "ratio", **FORMER})
    now = {"warp_rays": 16, "warp_kappa": 1e5, "warp_exponent": 3.0, "warp_antithetic": True}
    expected = image(
        mi.load_dict({"type": "pbdr", "boundary": "warped_area", "warp_field": "ratio", "max_depth": 2, **now})
    )
    np.testing.assert_allclose(image(former), expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())
    fewer = mi.load_dict({"type": "prb_reparam", "max_depth": 2, "warp_field": "ratio", **FORMER, "reparam_rays": 4})
    assert np.abs(image(fewer) - expected).max() > 0.01 * np.abs(expected).max()
