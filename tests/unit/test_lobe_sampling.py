"""Directions drawn by the derivative of a lobe: their density, and the materials that are known."""

from __future__ import annotations

import math

import drjit as dr
import mitsuba as mi
import numpy as np
import pytest

from pbdr.errors import InputError
from pbdr.geometry.rough_lobes import RoughLobes
from pbdr.transport.lobe_sampling import RoughLobe

SIDE = 1024


def lobe_of(distribution: str, α: float) -> RoughLobe:
    return RoughLobe(mi.Float(1), mi.Float(α), mi.Bool(distribution == "beckmann"))


def grid() -> mi.Point2f:
    """Stratified random numbers."""
    index = dr.arange(mi.UInt32, SIDE**2)
    return (mi.Point2f(index % SIDE, index // SIDE) + 0.5) / SIDE


def scene_with(bsdf: dict, *keys: str) -> mi.Scene:
    scene = mi.load_dict({"type": "scene", "ball": {"type": "sphere", "bsdf": bsdf | {"id": "coat"}}}, optimize=False)
    params = mi.traverse(scene)
    for key in keys:
        dr.enable_grad(params[f"ball.bsdf.{key}"])
    params.update()
    return scene


@pytest.mark.parametrize("distribution", ["ggx", "beckmann"])
@pytest.mark.parametrize("inclination", [0.0, 0.5, -0.9])
@pytest.mark.parametrize("α", [0.05, 0.4])
@pytest.mark.parametrize("s", [0.0, 2.0])
def test_density_is_that_of_the_directions(distribution, inclination, α, s):
    """Integrals over directions, drawn ones over their density against a fine grid."""
    height = math.copysign(math.cos(inclination), inclination)
    wi = mi.Vector3f(math.sin(inclination), 0, height)
    lobe, sample = lobe_of(distribution, α), grid()
    wo = lobe.reflect(wi, sample)
    half = dr.normalize(mi.Normal3f(0, α * math.sqrt(s), math.copysign(1, inclination)))
    centre = mi.reflect(wi, half)

    def function(direction: mi.Vector3f) -> mi.Float:
        """Narrower than the lobe, around one half vector, and lopsided."""
        near = dr.exp((dr.dot(direction, centre) - 1) * 10 / α**2)
        return dr.select(direction.z * wi.z > 0, near * (1 + direction.x + direction.y), 0)

    density = lobe.mixed(mi.Float(0), wi, wo)
    drawn = dr.mean(dr.select(wo.z * wi.z > 0, function(wo) / density, 0))
    # Around the centre, equal areas in the logarithm of the height
    z = 1 - 2 * dr.square(dr.square(sample.x))
    sin, (sin_φ, cos_φ) = dr.safe_sqrt(1 - z * z), dr.sincos(dr.two_pi * sample.y)
    around = mi.Frame3f(centre).to_world(mi.Vector3f(sin * cos_φ, sin * sin_φ, z))
    exact = dr.mean(function(around) * 8 * sample.x * dr.square(sample.x)) * dr.two_pi
    assert drawn[0] == pytest.approx(exact[0], rel=3e-3)


@pytest.mark.parametrize(("distribution", "share"), [("ggx", 0.5), ("beckmann", 0.75 - 0.5 / math.e)])
def test_small_first_numbers_are_the_negative_side(distribution, share):
    wi, lobe = mi.Vector3f(0, 0, 1), lobe_of(distribution, 0.1)
    half = dr.normalize(wi + lobe.reflect(wi, grid()))
    inside = np.array(dr.square(half.x) + dr.square(half.y) < dr.square(0.1 * half.z))
    np.testing.assert_array_equal(inside, np.array(grid().x < share))


def test_other_points_keep_their_density():
    lobe = RoughLobe(mi.Float(0), mi.Float(1e-4), mi.Bool(False))
    up, aslant, below = mi.Vector3f(0, 0, 1), mi.Vector3f(0.6, 0, 0.8), mi.Vector3f(0.6, 0, -0.8)
    assert lobe.mixed(mi.Float(0.7), up, aslant)[0] == lobe.mixed(mi.Float(0.7), up, below)[0] == np.float32(0.7)


@pytest.mark.parametrize(
    ("bsdf", "key", "share", "beckmann"),
    [
        ({"type": "roughconductor", "distribution": "ggx"}, "alpha.value", 1, 0),
        ({"type": "twosided", "metal": {"type": "roughconductor"}}, "brdf_0.alpha.value", 1, 1),
        ({"type": "principled"}, "roughness.value", 0.75, 0),
    ],
)
def test_known_materials(bsdf, key, share, beckmann):
    lobes = RoughLobes.of(scene_with(bsdf, key))
    assert (max(lobes.share), max(lobes.beckmann)) == (share, beckmann)
    assert lobes.names == ("roughness" if "roughness" in key else "alpha",)


def test_nothing_to_follow():
    assert RoughLobes.of(scene_with({"type": "roughconductor"})) is None
    assert RoughLobes.of(scene_with({"type": "roughconductor"}, "eta.value")) is None


@pytest.mark.parametrize(
    ("bsdf", "key"),
    [
        ({"type": "roughconductor", "alpha_u": 0.1, "alpha_v": 0.2}, "alpha_v.value"),
        ({"type": "roughdielectric"}, "alpha.value"),
        ({"type": "roughplastic"}, "alpha"),
        ({"type": "mask", "opacity": 0.5, "metal": {"type": "roughconductor"}}, "nested_bsdf.alpha.value"),
        (
            {"type": "twosided", "a": {"type": "roughconductor"}, "b": {"type": "principled"}},
            "brdf_1.roughness.value",
        ),
    ],
)
def test_unknown_lobes_are_refused(bsdf, key):
    with pytest.raises(InputError, match=rf"'derivative_sampling' does not know the lobe of 'coat\.{key}'"):
        RoughLobes.of(scene_with(bsdf, key))
