"""Factors that carry the motion of material points."""

from __future__ import annotations

import drjit as dr
import mitsuba as mi
import pytest

from pbdr.geometry.motion import GRAZING, relative_cosine


def turned(angle: float) -> tuple[float, float]:
    """Value and derivative by the angle between normal and direction."""
    θ = mi.Float(angle)
    dr.enable_grad(θ)
    factor = relative_cosine(mi.Normal3f(0, 0, 1), 3 * mi.Vector3f(dr.sin(θ), 0, dr.cos(θ)))
    value = float(factor[0])
    dr.backward(factor)
    return value, float(dr.grad(θ)[0])


@pytest.mark.parametrize("angle", [0.3, 1.2, 1.5, 2.0, 3.0])
def test_carries_the_relative_change(angle: float):
    value, derivative = turned(angle)
    assert value == 1
    # d ln |cos θ| / dθ
    assert derivative == pytest.approx(-dr.tan(angle), rel=1e-4)


@pytest.mark.parametrize("offset", [0.0, 1e-7, -1e-7, 1e-5])
def test_is_bounded_where_rays_graze(offset: float):
    value, derivative = turned(dr.pi / 2 + offset)
    assert value == pytest.approx(1)
    assert abs(derivative) <= 1.001 / GRAZING
