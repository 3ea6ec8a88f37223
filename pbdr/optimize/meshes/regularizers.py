"""Priors on the shape of a mesh, without units: their size depends on neither scale nor number of triangles."""

from __future__ import annotations

from collections.abc import Callable

import drjit as dr
import mitsuba as mi
import numpy as np

from .surface import Surface, edge_lengths


class Regularizer:
    """Weighted sum of priors on one mesh.

    Args:
        surface: Start and topology.
        weights: By the names in :data:`TERMS`.

    Example:
        >>> Regularizer(surface, {"laplacian": 0.1})(positions)
    """

    def __init__(self, surface: Surface, weights: dict[str, float]):
        self._weights = {name: weight for name, weight in weights.items() if weight > 0}
        self._vertex = mi.UInt32(surface.first.astype(np.uint32))
        self._edges = tuple(mi.UInt32(column.astype(np.uint32)) for column in surface.edges.T)
        self._triangles = tuple(mi.UInt32(column.astype(np.uint32)) for column in surface.triangles.T)
        self._neighbours = tuple(mi.UInt32(column.astype(np.uint32)) for column in surface.neighbours.T)
        degree = np.bincount(surface.edges.ravel(), minlength=surface.point_count)
        self._inverse_degree = mi.Float((np.minimum(degree, 1) / np.maximum(degree, 1)).astype(np.float32))
        lengths = edge_lengths(surface, surface.points())
        self._length = float(lengths.mean()) if len(lengths) else 1.0

    def __bool__(self) -> bool:
        return bool(self._weights)

    def __call__(self, positions: mi.Float) -> mi.Float:
        """The weighted sum, attached. [1]

        Args:
            positions: Of the vertices. [3V]
        """
        x = mi.Point3f(*(dr.gather(mi.Float, positions, 3 * self._vertex + k) for k in range(3)))
        total = mi.Float(0)
        for name, weight in self._weights.items():
            total += weight * TERMS[name](self, x)
        return total

    def _laplacian(self, x: mi.Point3f) -> mi.Float:
        """Mean squared distance of a point from the mean of its neighbours, in mean edge lengths of the start."""
        i, j = self._edges
        around = [dr.zeros(mi.Float, dr.width(x)) for _ in range(3)]
        for here, there in ((i, j), (j, i)):
            for total, coordinate in zip(around, x, strict=True):
                dr.scatter_add(total, dr.gather(mi.Float, coordinate, there), here)
        difference = (mi.Vector3f(*around) * self._inverse_degree - x) / self._length
        return dr.mean(dr.select(self._inverse_degree > 0, dr.squared_norm(difference), 0))

    def _normal_consistency(self, x: mi.Point3f) -> mi.Float:
        """Mean of 1 − cos of the angle between the normals of neighbouring triangles."""
        a, b, c = (dr.gather(mi.Point3f, x, index) for index in self._triangles)
        n = mi.Vector3f(dr.cross(b - a, c - a))
        # A triangle without area has no normal, and no derivative of one
        n *= dr.rsqrt(dr.maximum(dr.squared_norm(n), dr.smallest(mi.Float)))
        left, right = (dr.gather(mi.Vector3f, n, index) for index in self._neighbours)
        return dr.mean(1 - dr.dot(left, right))

    def _edge_length(self, x: mi.Point3f) -> mi.Float:
        """Variance of the edge lengths over the square of their mean."""
        begin, end = (dr.gather(mi.Point3f, x, index) for index in self._edges)
        length = dr.sqrt(dr.maximum(dr.squared_norm(end - begin), dr.smallest(mi.Float)))
        return dr.mean(dr.square(length / dr.mean(length) - 1))


#: By the name of the job's entry
TERMS: dict[str, Callable[[Regularizer, mi.Point3f], mi.Float]] = {
    "laplacian": Regularizer._laplacian,
    "normal_consistency": Regularizer._normal_consistency,
    "edge_length": Regularizer._edge_length,
}
