"""Polyhedra that follow the zero set of a function on a grid."""

from __future__ import annotations

import numpy as np


def surface_net(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A surface net: a vertex in each voxel that the surface passes, a quadrilateral for each grid edge that it cuts.

    Vertices are means of the points where the surface cuts the voxel's edges [Gibson 1998, "Constrained elastic surface
    nets"].

    Args:
        values: Negative on one side of the surface. [Z, Y, X]

    Returns:
        Positions (x, y, z) in the unit cube [V, 3] and triangles [F, 3].

    Example:
        >>> z, y, x = np.mgrid[-1:1:9j, -1:1:9j, -1:1:9j]
        >>> positions, faces = surface_net(np.sqrt(x**2 + y**2 + z**2) - 0.6)
    """
    values = np.ascontiguousarray(values.transpose(2, 1, 0))
    voxels = np.array(values.shape) - 1
    sums, counts = np.zeros((voxels.prod(), 3)), np.zeros(voxels.prod(), np.int64)
    quads = []
    for axis in range(3):
        cut, points = _cuts(values, axis)
        # The four voxels around a grid edge, in a circle; edges on the border have fewer and get no face
        others = [a for a in range(3) if a != axis]
        inner = np.all([(cut[:, a] > 0) & (cut[:, a] < voxels[a]) for a in others], axis=0)
        around = []
        for steps in ((-1, -1), (0, -1), (0, 0), (-1, 0)):
            voxel = cut[inner].copy()
            voxel[:, others] += steps
            index = np.ravel_multi_index(tuple(voxel.T), tuple(voxels))
            np.add.at(sums, index, points[inner])
            np.add.at(counts, index, 1)
            around.append(index)
        quads.append(np.stack(around, axis=1))
    used = np.flatnonzero(counts)
    positions = sums[used] / counts[used, None] / voxels
    quads = np.searchsorted(used, np.concatenate(quads))
    return positions, _split(positions, quads)


def _cuts(values: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Grid edges along an axis that the surface cuts: their first node [C, 3], and where, in units of voxels. [C, 3]"""
    low, high = (np.take(values, range(i, values.shape[axis] - 1 + i), axis=axis) for i in (0, 1))
    node = np.argwhere((low < 0) != (high < 0))
    a, b = low[tuple(node.T)], high[tuple(node.T)]
    points = node.astype(np.float64)
    points[:, axis] += a / (a - b)
    return node, points


def _split(positions: np.ndarray, quads: np.ndarray) -> np.ndarray:
    """Quadrilaterals as triangles, along their shorter diagonals. [2 Q, 3]"""
    a, b, c, d = (positions[quads[:, k]] for k in range(4))
    first = np.linalg.norm(a - c, axis=1) <= np.linalg.norm(b - d, axis=1)
    one = np.where(first[:, None], quads[:, [0, 1, 2]], quads[:, [0, 1, 3]])
    other = np.where(first[:, None], quads[:, [0, 2, 3]], quads[:, [1, 2, 3]])
    return np.concatenate([one, other])


def refined(values: np.ndarray, factor: int) -> np.ndarray:
    """The trilinear function of a grid on one with more nodes. [Z, Y, X]"""
    for axis in range(3):
        at = np.arange((values.shape[axis] - 1) * factor + 1) / factor
        low = np.minimum(at.astype(int), values.shape[axis] - 2)
        share = (at - low).reshape([-1 if a == axis else 1 for a in range(3)])
        values = np.take(values, low, axis) * (1 - share) + np.take(values, low + 1, axis) * share
    return values


def is_closed(values: np.ndarray) -> bool:
    """Whether the surface stays within the grid."""
    sides = [np.take(values, i, axis) for axis in range(3) for i in (0, -1)]
    return all((side >= 0).all() for side in sides) or all((side < 0).all() for side in sides)
