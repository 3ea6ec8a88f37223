"""Which silhouettes of a view are near a direction, and sums over all others on a grid.

All camera rays start at one point, so that what counts as a silhouette is known for all of them. A grid over the film
lists, for each of its cells, the silhouettes within a cell or two; what the others contribute is smooth, and is summed
up at the nodes of the grid and interpolated between them.
"""

from __future__ import annotations

import dataclasses
import math

import drjit as dr
import mitsuba as mi
import numpy as np

from ...transport.sensor import Window
from .weighted_mean import WeightedMean

#: Cells along each side of the film between whose corners sums are interpolated, with few silhouettes and with many
COARSE = (64, 32)

#: More silhouettes than this are many
MANY = 4096

#: Radius within which silhouettes are visited one by one, in cells
NEAR = 1.5

#: Cells that list silhouettes become smaller until those that list any list so many on average
LENGTH = 64

#: Most cells along each side of the film
FINEST = 512

#: Smallest depth of a point in front of the camera, relative to its distance
FRONT = 1e-3


@dataclasses.dataclass(frozen=True)
class Corners:
    """Nodes around a direction: index, bilinear weight and its gradient by the direction. [N] each"""

    nodes: list[mi.UInt32]
    weights: list[mi.Float]
    slopes: list[mi.Vector3f]


class _Lattice:
    """Square cells over the film."""

    def __init__(self, window: Window, count: int):
        self.window, self.count = window, count
        self.low = np.array(window.low)
        self.cell = (np.array(window.high) - self.low) / count
        # Literals would make new kernels for each view
        self._low, self._cell = ([dr.opaque(mi.Float, float(x)) for x in pair] for pair in (self.low, self.cell))
        self._count = dr.opaque(mi.UInt32, count)

    def index(self, column: mi.UInt32, row: mi.UInt32, *, nodes: bool) -> mi.UInt32:
        """Index of a cell, or of the node where it begins. [N]"""
        return column + (self._count + 1 if nodes else self._count) * row

    def place(self, q: mi.Vector3f) -> tuple[list[mi.UInt32], list[mi.Float], list[mi.Vector3f]]:
        """Cell of a direction, by column and row, where in it, and the gradient of that. [N] each"""
        slope, *gradients = self.window.slope(q)
        cells, shares, slopes = [], [], []
        for axis in range(2):
            at = (slope[axis] - self._low[axis]) / self._cell[axis]
            cell = dr.clip(mi.Int(dr.floor(at)), 0, mi.Int(self._count) - 1)
            cells.append(mi.UInt32(cell))
            shares.append(at - mi.Float(cell))
            slopes.append(gradients[axis] / self._cell[axis])
        return cells, shares, slopes

    def node_directions(self) -> mi.Vector3f:
        """Directions of all nodes, world space."""
        node = dr.arange(mi.UInt32, (self.count + 1) ** 2)
        places = zip(self._low, self._cell, (node % (self.count + 1), node // (self.count + 1)), strict=True)
        return self.window.direction(mi.Point2f(*(low + mi.Float(i) * cell for low, cell, i in places)))


class CameraGrid:
    """A grid over the film of a view.

    Attributes:
        near: Chord on the unit sphere up to which each cell lists silhouettes.
        softness: Chord that cells between nodes can resolve.
        node_count: Number of nodes.
    """

    def __init__(self, window: Window, ends: tuple[np.ndarray, np.ndarray], silhouettes: np.ndarray):
        """Sort silhouettes into cells.

        Args:
            ends: Both ends of the silhouettes, world space. [S, 3] each
            silhouettes: Their indices in the list of edges. [S]
        """
        self.window = window
        self._coarse = _Lattice(window, COARSE[len(silhouettes) > MANY])
        self.node_count = (self._coarse.count + 1) ** 2
        self.softness = self._sort(self._coarse.count, ends, silhouettes)
        length = len(self._entries) / max(1, np.count_nonzero(np.diff(np.array(self._first, np.int64))))
        if length > LENGTH:
            finer = 2 ** math.ceil(math.log2((length / LENGTH) ** 0.5))
            self._sort(min(FINEST, self._coarse.count * finer), ends, silhouettes)

    def _sort(self, count: int, ends: tuple[np.ndarray, np.ndarray], silhouettes: np.ndarray) -> float:
        """Make lists of the silhouettes near each cell, and return how near."""
        self._fine = _Lattice(self.window, count)
        # Slopes change fastest with the angle where the film is farthest from the axis
        extent = np.maximum(np.abs(self.window.low), np.abs(self.window.high))
        steepest = math.atan(float(np.linalg.norm(extent)))
        angle = min(NEAR * float(self._fine.cell.mean()) * math.cos(steepest) ** 2, (math.pi / 2 - steepest) / 2)
        first, entries = self._lists(ends, silhouettes, math.tan(steepest + angle) - math.tan(steepest))
        self._first, self._entries = mi.UInt32(first), mi.UInt32(entries)
        self.near = 2 * math.sin(angle / 2)
        return self.near

    def _lists(self, ends, silhouettes, reach: float) -> tuple[np.ndarray, np.ndarray]:
        """Where the list of each cell begins [cells + 1], and all lists.

        Args:
            reach: Slope up to which silhouettes belong to a cell.
        """
        corner, side, cells = self._fine.low, self._fine.cell, self._fine.count
        a, b, index = self._project(ends, silhouettes)
        low = np.floor((np.minimum(a, b) - reach - corner) / side).astype(int)
        high = np.floor((np.maximum(a, b) + reach - corner) / side).astype(int)
        seen = np.flatnonzero((high >= 0).all(1) & (low < cells).all(1))
        low, high = np.maximum(low[seen], 0), np.minimum(high[seen], cells - 1)
        size = high - low + 1
        count = size.prod(1)
        owner = np.repeat(np.arange(len(seen)), count)
        turn = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
        cell = np.stack([low[owner, 0] + turn % size[owner, 0], low[owner, 1] + turn // size[owner, 0]], axis=1)
        # Long edges pass few of the cells in their bounds
        centre = corner + (cell + 0.5) * side
        which = seen[owner]
        close = _distance(centre, a[which], b[which]) <= reach + np.linalg.norm(side) / 2 * (1 + 1e-4)
        cell, which = cell[close, 0] + cells * cell[close, 1], index[which[close]]
        order = np.argsort(cell, kind="stable")
        first = np.searchsorted(cell[order], np.arange(cells**2 + 1))
        return first.astype(np.uint32), np.append(which[order], 0).astype(np.uint32)

    def _project(self, ends, silhouettes) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Slopes of both ends of what is in front of the camera [K, 2], and the silhouettes that it belongs to. [K]"""
        origin = np.array(self.window.origin, np.float64).reshape(3)
        to_local = np.array(self.window.to_local, np.float64).reshape(3, 3)
        a, b = ((p - origin) @ to_local.T for p in ends)
        least = FRONT * np.maximum(np.linalg.norm(a, axis=1), np.linalg.norm(b, axis=1))
        front = np.flatnonzero(np.maximum(a[:, 2], b[:, 2]) > least)
        a, b, least = a[front], b[front], least[front]
        # Cut off what lies behind
        along, low = b - a, least[:, None]
        cut = a + along * ((least - a[:, 2]) / np.where(along[:, 2] == 0, 1, along[:, 2]))[:, None]
        a, b = np.where(a[:, 2:] < low, cut, a), np.where(b[:, 2:] < low, cut, b)
        return a[:, :2] / a[:, 2:], b[:, :2] / b[:, 2:], silhouettes[front]

    def node_directions(self) -> mi.Vector3f:
        """Directions of all nodes, world space."""
        return self._coarse.node_directions()

    def listed(self, q: mi.Vector3f, active: mi.Bool) -> tuple[mi.UInt32, mi.UInt32]:
        """Where the list of a direction's cell begins and ends. [N] each"""
        cell = self._fine.index(*self._fine.place(q)[0], nodes=False)
        first, last = (dr.gather(mi.UInt32, self._first, cell + k, active) for k in (0, 1))
        return first, dr.select(active, last, first)

    def entry(self, cursor: mi.UInt32, active: mi.Bool) -> mi.UInt32:
        """The edge at a place in the lists. [N]"""
        return dr.gather(mi.UInt32, self._entries, cursor, active)

    def corners(self, q: mi.Vector3f) -> Corners:
        """The nodes around a direction."""
        (column, row), (u, v), (du, dv) = self._coarse.place(q)
        return Corners(
            [self._coarse.index(column + i, row + j, nodes=True) for j in (0, 1) for i in (0, 1)],
            [(1 - u) * (1 - v), u * (1 - v), (1 - u) * v, u * v],
            [-du * (1 - v) - dv * (1 - u), du * (1 - v) - dv * u, dv * (1 - u) - du * v, du * v + dv * u],
        )


@dataclasses.dataclass
class NodeSums:
    """Sums at the nodes of a grid, as of a weighted mean; a function of the direction between them."""

    weights: mi.Float  #: Σ K and Σ K/|X−o| of each node [2 · nodes]
    motion: mi.Float  #: Σ K Ẋ/|X−o|, or its adjoint [3 · nodes]

    def add_to(self, mean: WeightedMean, corners: Corners, active: mi.Bool, *, forward: bool) -> None:
        """Add what is interpolated at a direction."""
        for node, weight, slope in zip(corners.nodes, corners.weights, corners.slopes, strict=True):
            Z, C = dr.gather(mi.Vector2f, self.weights, node, active)
            mean.Z += Z * weight
            mean.dZ += slope * Z
            mean.C += C * weight
            mean.c += slope * C
            if forward:
                S = dr.gather(mi.Vector3f, self.motion, node, active)
                mean.S += S * weight
                mean.T += dr.dot(slope, S)

    def deposit(self, corners: Corners, δS: mi.Vector3f, δT: mi.Float, active: mi.Bool) -> None:
        """Add to the adjoints of the nodes; the transpose of :meth:`add_to`."""
        for node, weight, slope in zip(corners.nodes, corners.weights, corners.slopes, strict=True):
            dr.scatter_add(self.motion, δS * weight + slope * δT, node, active)


def _distance(p: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Distances of points from segments in the plane. [K]"""
    along = b - a
    t = ((p - a) * along).sum(1) / np.maximum((along**2).sum(1), 1e-30)
    return np.linalg.norm(a + along * np.clip(t, 0, 1)[:, None] - p, axis=1)
