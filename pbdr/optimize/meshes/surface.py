"""What belongs together on a mesh: points, edges and neighbouring triangles, once seams are welded."""

from __future__ import annotations

import dataclasses

import numpy as np

from ...geometry.mesh import weld


@dataclasses.dataclass(frozen=True)
class Surface:
    """A mesh and its topology after welding.

    Example:
        >>> surface = make_surface(positions, faces)
        >>> surface.positions[surface.first].shape == (surface.point_count, 3)
        True
    """

    positions: np.ndarray  #: of the vertices as the scene stores them, scene units [V, 3]
    faces: np.ndarray  #: triangles of vertices [F, 3]
    first: np.ndarray  #: one vertex of each point [W]
    point: np.ndarray  #: point of each vertex [V]
    triangles: np.ndarray  #: triangles of points, without those that welding made lines [T, 3]
    edges: np.ndarray  #: pairs of points, each once [E, 2]
    counts: np.ndarray  #: triangles at each edge [E]
    neighbours: np.ndarray  #: pairs of triangles on both sides of an edge that has exactly two [P, 2]

    @property
    def point_count(self) -> int:
        return len(self.first)

    @property
    def is_manifold(self) -> bool:
        """Whether no edge has more than two triangles."""
        return bool((self.counts <= 2).all())

    def points(self, positions: np.ndarray | None = None) -> np.ndarray:
        """Positions of the points. [W, 3]

        Args:
            positions: Of the vertices; by default those of the surface. [V, 3]
        """
        return (self.positions if positions is None else positions)[self.first]


def make_surface(positions: np.ndarray, faces: np.ndarray) -> Surface:
    """Find the points, edges and neighbours of a mesh.

    Args:
        positions: [V, 3]
        faces: [F, 3]
    """
    positions, faces = np.asarray(positions, np.float64), np.asarray(faces, np.int64)
    first, point = weld(positions)
    triangles = point[faces]
    a, b, c = triangles.T
    triangles = triangles[(a != b) & (b != c) & (c != a)]
    # Three half-edges a triangle, sorted so that those of one edge become neighbours
    ends = np.sort(np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]]), axis=1)
    owner = np.tile(np.arange(len(triangles)), 3)
    order = np.lexsort((ends[:, 1], ends[:, 0]))
    edges, start, counts = np.unique(ends[order], axis=0, return_index=True, return_counts=True)
    inner = start[counts == 2]
    neighbours = np.stack([owner[order[inner]], owner[order[inner + 1]]], axis=1)
    return Surface(positions, faces, first, point, triangles, edges, counts, neighbours)


def edge_lengths(surface: Surface, points: np.ndarray) -> np.ndarray:
    """Lengths of all edges. [E]

    Args:
        points: [W, 3]
    """
    return np.linalg.norm(points[surface.edges[:, 0]] - points[surface.edges[:, 1]], axis=1)
