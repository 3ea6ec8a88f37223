"""Gradients of the alpha channel, against central differences."""

from __future__ import annotations

import dataclasses

import mitsuba as mi
import numpy as np
import pytest

from pbdr.compare.estimators import forward_gradient
from pbdr.compare.perturbations import Perturbation
from pbdr.compare.references import central_differences
from pbdr.compare.statistics import assert_unbiased

from .silhouette_cases import area, assert_transposes, floating, green, of, sky

P = Perturbation


def stage(thing: dict, light: dict | None = None, *, rfilter: str = "gaussian") -> mi.Scene:
    """Something in front of a ball and of nothing."""
    transform = mi.ScalarTransform4f()
    film = {"type": "hdrfilm", "width": 24, "height": 24, "pixel_format": "rgba", "rfilter": {"type": rfilter}}
    look_at = transform.look_at(origin=[0.5, -4, 2.5], target=[0, 0, 0.5], up=[0, 0, 1])
    return mi.load_dict(
        {
            "type": "scene",
            "camera": {"type": "perspective", "fov": 40, "to_world": look_at, "film": film},
            "ball": {"type": "sphere", "center": [0.5, 1, 0.6], "radius": 0.5, "bsdf": green()},
            **thing,
            "lamp": light or area(),
        },
        optimize=False,
    )


def box() -> dict:
    return {"box": {"type": "cube", "to_world": floating(), "bsdf": green()}}


CASES = {
    "box": (lambda: stage(box()), P.translate("box.vertex_positions", (1, 0.2, 0.1)), {}),
    "disk": (lambda: stage(of("disk")), P.rotate("box.to_world", (1, 0.3, 0)), {}),
    "camera": (lambda: stage(box()), P.translate("camera.to_world", (1, 0, 0.3)), {}),
    # Differences of covered pixels are rough: at the usual step they are off by a tenth
    "camera, box filter": (
        lambda: stage(box(), rfilter="box"),
        P.translate("camera.to_world", (1, 0, 0.3), step=0.02),
        {},
    ),
    "hidden sky": (lambda: stage(box(), sky()), P.translate("camera.to_world", (1, 0, 0.3)), {"hide_emitters": True}),
    "warped area": (
        lambda: stage(box()),
        P.translate("box.vertex_positions", (1, 0.2, 0.1)),
        {"boundary": "warped_area"},
    ),
    "warped area, camera": (
        lambda: stage(box()),
        P.translate("camera.to_world", (1, 0, 0.3)),
        {"boundary": "warped_area"},
    ),
    "taped": (
        lambda: stage(box()),
        P.translate("box.vertex_positions", (1, 0.2, 0.1)),
        {"interior": "taped"},
    ),
}
#: The others are slow
FAST = ("box", "camera, box filter")


def alpha_of(reference):
    """The alpha channel of a reference alone."""
    parts = {name: getattr(reference, name)[..., 3:] for name in ("fine", "coarse", "primals")}
    return dataclasses.replace(reference, **parts)


@pytest.mark.parametrize("name", [pytest.param(n, marks=[] if n in FAST else pytest.mark.slow) for n in CASES])
def test_mean_equals_central_differences(name):
    build, direction, options = CASES[name]
    scene, one = build(), mi.load_dict({"type": "pbdr", "max_depth": 2, **options})
    spp = 2048 if "box filter" in name else 512
    reference = alpha_of(central_differences(scene, direction, integrator=one, spp=spp, repeats=12))
    samples = [forward_gradient(scene, direction, one, spp=64, seed=seed)[..., 3:] for seed in range(10)]
    assert np.abs(reference.image).sum() > 1
    assert_unbiased(np.stack(samples), reference)


@pytest.mark.parametrize("name", [pytest.param(n, marks=[] if n in FAST else pytest.mark.slow) for n in CASES])
def test_forward_and_backward_are_transposes(name):
    build, direction, options = CASES[name]
    one = mi.load_dict({"type": "pbdr", "max_depth": 2, **options})
    assert_transposes(build(), direction, lambda: one, spp=16, tolerance=1e-4)


def test_a_visible_sky_covers_everything():
    scene, direction = stage(box(), sky()), P.translate("box.vertex_positions", (1, 0.2, 0.1))
    one = mi.load_dict({"type": "pbdr", "max_depth": 2})
    image = forward_gradient(scene, direction, one, spp=16, seed=0)
    assert np.abs(image[..., :3]).max() > 0.1
    assert np.abs(image[..., 3]).max() == 0
