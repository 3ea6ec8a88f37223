"""Finite-difference steps: motions of a fraction of a pixel, values of a fraction of themselves."""

from __future__ import annotations

import mitsuba as mi
import numpy as np

from ..scene_parameters import scene_parameters

#: Motion in the image, in pixels: below the width of the reconstruction filter, far above rounding.
_PIXELS = 0.4
#: Relative step of a value.
_SHARE = 0.02
#: Change of the polynomial that stands for a reflectance in spectral variants; the reflectance changes by half at most
_POLYNOMIAL = 0.04
#: The longest wavelength that is sampled, nm.
_LONGEST = 830.0
#: Steps where the size of a pixel is not known: share of the scene's diagonal, radians, factor.
_FALLBACK = {"translate": 0.002, "rotate": 0.01, "scale": 0.01}
_LARGEST_TURN = 0.05


def value_step(values: np.ndarray, tangent: np.ndarray) -> float:
    """Step of a parameter that is added to.

    Args:
        values: Entries of the parameter. [size]
        tangent: Their derivatives with respect to t. [size]
    """
    moving = np.abs(values[tangent != 0])
    typical = float(np.mean(moving)) if moving.size else 0.0
    return _SHARE * (typical if typical > 1e-6 else 1.0) / float(np.max(np.abs(tangent)))


def coefficient_step(tangent: np.ndarray) -> float:
    """Step of a spectral reflectance, which is held as a polynomial of the wavelength [Jakob and Hanika 2019].

    Args:
        tangent: Derivatives of the coefficients with respect to t, highest power first. [3 n]
    """
    powers = np.array([_LONGEST**2, _LONGEST, 1.0])
    return _POLYNOMIAL / float((np.abs(tangent, dtype=np.float64).reshape(-1, 3) @ powers).max())


def motion_step(scene: mi.Scene, key: str, kind: str, *, center: np.ndarray, radius: float, length: float) -> float:
    """Step of a motion that shifts edges by a fraction of a pixel of the first sensor.

    Args:
        scene: The scene.
        key: The parameter that moves.
        kind: ``translate``, ``rotate`` or ``scale``.
        center: Of the object, world space. [3]
        radius: Of the object, scene units.
        length: Of the translation's vector.
    """
    bounds = scene.bbox()
    low, high = np.array(bounds.min).reshape(3), np.array(bounds.max).reshape(3)
    sensor = scene.sensors()[0]
    angle = pixel_angle(scene, sensor)
    if angle is None:
        diagonal = float(np.linalg.norm(high - low))
        size = diagonal if np.isfinite(diagonal) and diagonal > 0 else 1.0
        return _FALLBACK[kind] * (size / length if kind == "translate" else 1.0)
    is_sensor = key.startswith(f"{sensor.id()}.")
    if is_sensor and kind == "rotate":
        return _PIXELS * angle
    eye = np.array(sensor.world_transform().translation()).reshape(3)
    target = (low + high) / 2 if is_sensor and np.all(np.isfinite(low + high)) else center
    shift = _PIXELS * angle * max(float(np.linalg.norm(target - eye)), 1e-3)
    if kind == "translate":
        return shift / length
    return min(shift / max(radius, 1e-6), _LARGEST_TURN)


def pixel_angle(scene: mi.Scene, sensor: mi.Sensor) -> float | None:
    """Angle that one pixel of a perspective sensor covers, radians; ``None`` for other sensors."""
    params = scene_parameters(scene)
    key = f"{sensor.id()}.x_fov"
    if key not in params:
        return None
    width = int(np.array(sensor.film().size()).ravel()[0])
    return float(np.deg2rad(np.array(params[key]).ravel()[0])) / width
