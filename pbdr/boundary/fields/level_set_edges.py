"""Edges of polyhedra that stand for level sets.

Where a level set looks like a silhouette depends on the viewpoint, and its outline has no closed form. A polyhedron
with vertices on the surface has an outline within κ h²/8 of it (h: length of edges, κ: curvature), next to which
weights are so large (about 1e8) that a field does not tell the two apart. What matters is that the polyhedron's outline
moves like the surface's: vertices follow it along its normals, and normals of neighbours differ by κ h, which is wrong
by (κ h)²/2.
"""

from __future__ import annotations

import math

import drjit as dr
import mitsuba as mi
import numpy as np

from ...geometry.edges import mesh_edges
from ...geometry.level_sets import LevelSet, level_sets
from ...geometry.surface_net import refined, surface_net

#: Edges nearer to a viewpoint than this, in lengths of the edge, belong to the surface that the viewpoint lies on
OWN = 2.0

#: Grids are refined up to about so many values along their longest side
RESOLUTION = 32


class LevelSetEdges:
    """Edges of nets on all level sets of a scene."""

    def __init__(self, sets: list[LevelSet]):
        self._sets, self._vertices, self._edges = sets, [], []
        for one in sets:
            net = surface_net(refined(one.array(), max(1, math.ceil(RESOLUTION / max(one.size)))))
            self._vertices.append(mi.Point3f(net[0].T.astype(np.float32)))
            self._edges.append(mesh_edges(*net))

    @classmethod
    def of(cls, scene: mi.Scene) -> LevelSetEdges | None:
        """The edges of a scene's level sets; None if it has none."""
        sets = level_sets(scene)
        return cls(sets) if sets else None

    def _corners(self) -> list[mi.Point3f]:
        """Vertices of each net, attached. [V] each"""
        pairs = zip(self._sets, self._vertices, strict=True)
        return [mi.Point3f(one.to_world @ one.project(vertices)) for one, vertices in pairs]

    def columns(self) -> tuple[np.ndarray, ...]:
        """Ends and normals on both sides [E, 3], whether edges always count, whether they ever do. [E]"""
        parts = []
        for corners, edges in zip(self._corners(), self._edges, strict=True):
            start, end, *beside = np.array(corners, np.float64).T[edges].transpose(1, 0, 2)
            normals = [np.cross(end - start, p - start) for p in beside]
            parts.append((start, end, *normals, edges[:, 2] == edges[:, 3], np.ones(len(edges), bool)))
        return tuple(np.concatenate(column) for column in zip(*parts, strict=True))

    def ends(self) -> tuple[mi.Point3f, mi.Point3f]:
        """Both ends of the edges, attached. [E] each"""
        joined = [
            [dr.gather(mi.Point3f, corners, mi.UInt32(edges[:, k].astype(np.uint32))) for k in (0, 1)]
            for corners, edges in zip(self._corners(), self._edges, strict=True)
        ]
        start, end = (mi.Point3f(*(dr.concat([p[k][i] for p in joined]) for i in range(3))) for k in (0, 1))
        return start, end
