"""What can be wrong with the triangles of a mesh, counted."""

from __future__ import annotations

import dataclasses

import numpy as np

from .surface import Surface, edge_lengths

#: Height of a triangle over its longest side, below which it is degenerate
DEGENERATE = 1e-3
#: Triangle corners by side: the two ends
_SIDES = ((0, 1), (1, 2), (2, 0))


@dataclasses.dataclass(frozen=True)
class Health:
    """Counts of triangles.

    Example:
        >>> str(measure_health(surface, surface.points()))
        '162 vertices, 320 triangles: 0 flipped, 0 degenerate, 0 self-intersecting'
    """

    vertices: int  #: as the scene stores them, seams twice
    triangles: int
    flipped: int  #: turned against the mean of its neighbours
    degenerate: int  #: thinner than a thousandth of its longest side
    self_intersecting: int  #: crossed by an edge of a triangle that it shares no point with, or crossing one

    def __str__(self) -> str:
        return (
            f"{self.vertices} vertices, {self.triangles} triangles: {self.flipped} flipped, "
            f"{self.degenerate} degenerate, {self.self_intersecting} self-intersecting"
        )


def measure_health(surface: Surface, points: np.ndarray) -> Health:
    """Count what is wrong with a mesh.

    Args:
        surface: Its topology.
        points: Where the points are now. [W, 3]
    """
    corners = points[surface.triangles]
    n = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    area = np.linalg.norm(n, axis=1)
    longest = np.max([np.linalg.norm(corners[:, i] - corners[:, j], axis=1) for i, j in _SIDES], axis=0, initial=0)
    return Health(
        vertices=len(surface.positions),
        triangles=len(surface.faces),
        flipped=int(_flipped(surface, n).sum()),
        # Triangles that welding made lines are degenerate, too
        degenerate=int((area <= DEGENERATE * longest**2).sum()) + len(surface.faces) - len(surface.triangles),
        self_intersecting=len(self_intersections(surface, points)),
    )


def _flipped(surface: Surface, normals: np.ndarray) -> np.ndarray:
    """Triangles that face away from the sum of their neighbours' normals. [T]"""
    around = np.zeros_like(normals)
    for here, there in (surface.neighbours.T, surface.neighbours.T[::-1]):
        np.add.at(around, here, normals[there])
    return np.sum(normals * around, axis=1) < 0


def self_intersections(surface: Surface, points: np.ndarray) -> np.ndarray:
    """Triangles that intersect another one which they share no point with, in ascending order. [K]

    Two triangles intersect where an edge of one crosses the other; edges and triangles that come near each other are
    found in a grid.

    Args:
        points: [W, 3]
    """
    if not len(surface.triangles):
        return np.zeros(0, np.int64)
    edge, triangle = _near_pairs(surface, points)
    ends, corners = surface.edges[edge], surface.triangles[triangle]
    apart = (ends[:, :, None] != corners[:, None, :]).all(axis=(1, 2))
    edge, triangle, ends, corners = edge[apart], triangle[apart], ends[apart], corners[apart]
    crossed = _crosses(*points[ends.T], *points[corners.T])
    # The triangles at a crossing edge intersect as well
    crossing = np.isin(_side_edges(surface), edge[crossed]).any(axis=1)
    return np.union1d(triangle[crossed], np.flatnonzero(crossing))


def _side_edges(surface: Surface) -> np.ndarray:
    """Index of the edge at each side of each triangle. [T, 3]"""
    count = surface.point_count
    codes = surface.edges[:, 0] * count + surface.edges[:, 1]
    sides = np.sort(np.stack([surface.triangles[:, list(side)] for side in _SIDES], axis=1), axis=2)
    return np.searchsorted(codes, sides[..., 0] * count + sides[..., 1])


def _near_pairs(surface: Surface, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Edges and triangles whose bounding boxes meet; pairs can come several times. [N] each"""
    ends, corners = points[surface.edges], points[surface.triangles]
    cell = max(2 * float(edge_lengths(surface, points).mean()), 1e-6 * float(np.ptp(points, axis=0).max()), 1e-30)
    origin = points.min(axis=0)
    edge_box, triangle_box = ((x.min(axis=1), x.max(axis=1)) for x in (ends, corners))
    edge_cell, edge = _cells(*edge_box, origin, cell)
    triangle_cell, triangle = _cells(*triangle_box, origin, cell)
    # For each entry of an edge in a cell, all triangles of that cell
    order = np.argsort(triangle_cell, kind="stable")
    triangle_cell, triangle = triangle_cell[order], triangle[order]
    begin = np.searchsorted(triangle_cell, edge_cell, "left")
    count = np.searchsorted(triangle_cell, edge_cell, "right") - begin
    row = np.repeat(np.arange(len(edge)), count)
    within = np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count)
    edge, triangle = edge[row], triangle[begin[row] + within]
    near = np.ones(len(edge), bool)
    for axis in range(3):
        near &= edge_box[0][edge, axis] <= triangle_box[1][triangle, axis]
        near &= edge_box[1][edge, axis] >= triangle_box[0][triangle, axis]
    return edge[near], triangle[near]


def _cells(low: np.ndarray, high: np.ndarray, origin: np.ndarray, cell: float) -> tuple[np.ndarray, np.ndarray]:
    """Number of each grid cell that boxes reach into, and the box. [N] each

    Args:
        low: Corners of the boxes. [B, 3]
        high: [B, 3]
    """
    first = np.floor((low - origin) / cell).astype(np.int64)
    last = np.floor((high - origin) / cell).astype(np.int64)
    sizes = last - first + 1
    count = sizes.prod(axis=1)
    box = np.repeat(np.arange(len(low)), count)
    k = np.arange(len(box)) - np.repeat(np.cumsum(count) - count, count)
    y, z = sizes[box, 1], sizes[box, 2]
    place = first[box] + np.stack([k // (y * z), k // z % y, k % z], axis=1)
    # Distinct as long as there are fewer than two million cells along an axis
    return (place[:, 0] << 42) + (place[:, 1] << 21) + place[:, 2], box


def _crosses(p: np.ndarray, q: np.ndarray, a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    """Whether segments from p to q cross triangles a, b, c or their borders; ends that touch do not. [N, 3] each"""

    def volume(u: np.ndarray, v: np.ndarray, w: np.ndarray, x: np.ndarray) -> np.ndarray:
        return np.einsum("ni,ni->n", np.cross(v - u, w - u), x - u)

    sides = volume(a, b, c, p) * volume(a, b, c, q) < 0
    turns = np.stack([volume(p, q, a, b), volume(p, q, b, c), volume(p, q, c, a)])
    return sides & ((turns >= 0).all(axis=0) | (turns <= 0).all(axis=0))
