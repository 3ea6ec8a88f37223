"""Derivatives that are known exactly, for the flat camera and its Gaussian filter."""

from __future__ import annotations

import math

import mitsuba as mi
import numpy as np

from pbdr.compare.references import Reference, analytic

from .builders import SIZE

#: Mitsuba's Gaussian reconstruction filter: standard deviation and radius in pixels.
_DEVIATION, _RADIUS = 0.5, 2.0


def constant_scene(derivative, radiance):
    """The truth of an image that is the same in every pixel: both per channel. [3]"""

    def truth(scene: mi.Scene) -> Reference:
        return analytic(np.broadcast_to(derivative, (SIZE, SIZE, 3)), np.broadcast_to(radiance, (SIZE, SIZE, 3)))

    return truth


def no_derivative(primal):
    """The truth of an image that does not depend on the parameter.

    Args:
        primal: Function from scene to image. [H, W, C]
    """

    def truth(scene: mi.Scene) -> Reference:
        image = primal(scene)
        return analytic(np.zeros_like(image), image)

    return truth


def gaussian_filter(offset: np.ndarray) -> np.ndarray:
    """Mitsuba's one-dimensional Gaussian, cut off at its radius, with integral one. Offsets in pixels."""
    edge = math.exp(-(_RADIUS**2) / (2 * _DEVIATION**2))
    weight = np.maximum(np.exp(-(offset**2) / (2 * _DEVIATION**2)) - edge, 0)
    area = _DEVIATION * math.sqrt(2 * math.pi) * math.erf(_RADIUS / (_DEVIATION * math.sqrt(2))) - 2 * _RADIUS * edge
    return np.where(np.abs(offset) < _RADIUS, weight, 0) / area


def filtered(function, half_width: float, *, nodes: int = 12) -> np.ndarray:
    """A smooth function of the plane z = 0 as the flat camera images it, by Gauss-Legendre quadrature. [H, W]

    Args:
        function: Of world x and y. Its values outside of the view count as if they were inside.
        half_width: Of the camera.
        nodes: Quadrature points in each direction, per pixel of the filter's support.
    """
    point, weight = np.polynomial.legendre.leggauss(nodes)
    # The filter is smooth on each side of its centre
    offsets = np.concatenate([(point - 1) * _RADIUS / 2, (point + 1) * _RADIUS / 2])
    weights = np.concatenate([weight, weight]) * _RADIUS / 2 * gaussian_filter(offsets)
    columns = np.arange(SIZE)[:, None] + 0.5 + offsets[None, :]
    # Samples are only drawn inside the film; the weights of those are normalized
    is_inside = (columns > 0) & (columns < SIZE)
    weights = np.where(is_inside, weights, 0)
    weights = weights / weights.sum(axis=1, keepdims=True)
    # Columns run along world x, rows against world y
    x = half_width * (2 * columns / SIZE - 1)
    y = half_width * (1 - 2 * columns / SIZE)
    values = function(x[None, None, :, :], y[:, :, None, None])
    return np.einsum("ijkl,ij,kl->ik", values, weights, weights)


def moving_disk(radius: float, half_width: float, *, jump: float, points: int = 4096) -> np.ndarray:
    """Derivative of a disk's image when the disk moves along world x. [H, W]

    Only the rim contributes: d/dt ∫ filter · L = jump · ∮ filter · (normal · motion) dl, area measured in pixels.

    Args:
        radius: Of the disk, which is centred and at least two pixels away from the edge of the image.
        half_width: Of the camera.
        jump: Radiance inside less radiance outside.
        points: Quadrature points of the rim.
    """
    angle = 2 * np.pi * (np.arange(points) + 0.5) / points
    pixels = SIZE / (2 * half_width)
    x, y = SIZE / 2 + radius * pixels * np.cos(angle), SIZE / 2 - radius * pixels * np.sin(angle)
    centers = np.arange(SIZE) + 0.5
    across = gaussian_filter(centers[:, None] - x)
    along = gaussian_filter(centers[:, None] - y)
    speed = pixels * np.cos(angle)
    length = 2 * np.pi * radius * pixels / points
    return jump * np.einsum("ip,jp,p->ij", along, across, speed * length)


def disk_image(radius: float, half_width: float, *, samples: int = 32) -> np.ndarray:
    """Share of every pixel's filter that a centred disk covers, on a fine grid. [H, W]"""
    fine = (np.arange(SIZE * samples) + 0.5) / samples
    weights = gaussian_filter(np.arange(SIZE)[:, None] + 0.5 - fine) / samples
    weights /= weights.sum(axis=1, keepdims=True)
    position = half_width * (1 - 2 * fine / SIZE)
    inside = (position[:, None] ** 2 + position[None, :] ** 2 < radius**2).astype(float)
    return weights @ inside @ weights.T
