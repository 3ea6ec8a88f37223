"""How a variable of the optimizer moves the vertices of a mesh."""

from __future__ import annotations

import drjit as dr
import mitsuba as mi
import numpy as np

from .smoothing import Smoothing
from .surface import Surface


class Deformation:
    """x = x₀ + (I + λL)⁻¹ z, or x = x₀ + n₀ (I + λL)⁻¹ z along the normals of the start.

    Variables belong to points, so that vertices that are one point stay together. Zero is the start, exactly.

    Args:
        surface: x₀ and its topology.
        smoothness: λ; 0 moves each point by itself.
        along_normals: Whether the variable is one number for each point.

    Example:
        >>> deformation = Deformation(surface, smoothness=19.0, along_normals=False)
        >>> deformation.positions(dr.zeros(mi.Float, deformation.size))
    """

    def __init__(self, surface: Surface, *, smoothness: float, along_normals: bool):
        self.surface = surface
        self.channels = 1 if along_normals else 3
        self._smoothing = Smoothing(surface.point_count, surface.edges, smoothness) if smoothness > 0 else None
        self._normals = point_normals(surface) if along_normals else None
        self._base = mi.Float(surface.positions.astype(np.float32).ravel())
        self._point = mi.UInt32(surface.point.astype(np.uint32))

    @property
    def size(self) -> int:
        """Numbers of the variable."""
        return self.surface.point_count * self.channels

    def positions(self, latent: mi.Float) -> mi.Float:
        """Vertex positions, attached to the variable, scene units. [3V]

        Args:
            latent: z [W] or [3W]
        """
        if self._smoothing is not None:
            shape = (self.surface.point_count, self.channels)
            latent = self._smoothing.solve(mi.TensorXf(latent, shape)).array
        point = self._point
        if self._normals is None:
            offset = mi.Vector3f(*(dr.gather(mi.Float, latent, 3 * point + k) for k in range(3)))
        else:
            normal = mi.Vector3f(self._normals.T.astype(np.float32))
            offset = dr.gather(mi.Vector3f, normal, point) * dr.gather(mi.Float, latent, point)
        return self._base + dr.ravel(offset)

    def latent(self, positions: np.ndarray) -> np.ndarray:
        """The variable that gives positions, or what comes closest to them along the normals. [size]

        Args:
            positions: [3V] or [V, 3]
        """
        surface = self.surface
        offset = surface.points(np.reshape(positions, (-1, 3)) - surface.positions)
        if self._normals is not None:
            offset = np.sum(offset * self._normals, axis=1, keepdims=True)
        return (self._smoothing.multiply(offset) if self._smoothing is not None else offset).ravel()


def point_normals(surface: Surface) -> np.ndarray:
    """Unit normals of the points, triangles weighted by area; zero where there are none. [W, 3]"""
    a, b, c = (surface.points()[surface.triangles[:, k]] for k in range(3))
    n = np.zeros((surface.point_count, 3))
    for k in range(3):
        np.add.at(n, surface.triangles[:, k], np.cross(b - a, c - a))
    length = np.linalg.norm(n, axis=1, keepdims=True)
    return np.divide(n, length, out=np.zeros_like(n), where=length > 0)
