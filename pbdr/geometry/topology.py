"""Whether the shapes of a scene, their triangles, and what vertices lie on each other are those of before."""

from __future__ import annotations

import dataclasses

import mitsuba as mi
import numpy as np

from . import mesh
from .edges import edge_junctions
from .flags import all_shapes
from .junctions import ROUNDING

#: Vertices have parted at this many times the distance within which they are one point: motion rounds
_PARTED = 10.0


class Topology:
    """Remembers the shapes of a scene and their triangles; both are kept, so that none is mistaken for a later one."""

    def __init__(self) -> None:
        self._shapes: list[mi.Shape] = []
        self._faces: list[mi.UInt32] = []
        self._positions: list[mi.Float] = []
        self._contacts: list[_Contacts] = []

    def has_changed(self, scene: mi.Scene) -> bool:
        """Whether this is another scene than that of the last call, or other vertices are joined by its triangles."""
        shapes = all_shapes(scene)
        faces, positions = ([buffer(shape) for shape in shapes] for buffer in (mesh.face_buffer, mesh.position_buffer))
        same = len(shapes) == len(self._shapes) and all(a is b for a, b in zip(shapes, self._shapes, strict=True))
        same = same and [f.index for f in faces] == [f.index for f in self._faces]
        if not same:
            self._contacts = [_Contacts.of(*buffers) for buffers in zip(positions, faces, strict=True)]
        else:
            for k, (now, before) in enumerate(zip(positions, self._positions, strict=True)):
                if now.index != before.index and not self._contacts[k].hold(_points(now)):
                    same, self._contacts[k] = False, _Contacts.of(now, faces[k])
        self._shapes, self._faces, self._positions = shapes, faces, positions
        return not same


@dataclasses.dataclass(frozen=True)
class _Contacts:
    """Vertices of a mesh that lie on other vertices, or on edges."""

    copies: np.ndarray  #: vertices, and the one that stands for all in their place [P, 2]
    junctions: np.ndarray  #: vertices, and both ends of the edge in the middle of which they lie [J, 3]
    point_count: int

    @classmethod
    def of(cls, positions: mi.Float, faces: mi.UInt32) -> _Contacts:
        """Look at a mesh.

        Args:
            positions: Its buffer. [3V]
            faces: Its buffer. [3F]
        """
        points = _points(positions)
        first, point = mesh.weld(points)
        stands = first[point]
        copies = np.flatnonzero(stands != np.arange(len(points)))
        junctions = edge_junctions(points, np.array(faces, np.int64).reshape(-1, 3))
        return cls(np.column_stack([copies, stands[copies]]), junctions, len(first))

    def hold(self, points: np.ndarray) -> bool:
        """Whether all of them are in contact still, and no others. New contacts of vertices with edges are not seen.

        Args:
            points: Positions. [V, 3]
        """
        if not len(points):
            return True
        reach = _PARTED * (mesh.WELDING_TOLERANCE * mesh.extent(points) + ROUNDING * np.abs(points).max())
        a, b = points[self.copies.T]
        vertex, start, end = points[self.junctions.T]
        along = end - start
        s = np.einsum("ij,ij->i", vertex - start, along) / np.maximum(np.einsum("ij,ij->i", along, along), 1e-30)
        beside = vertex - start - np.clip(s, 0, 1)[:, None] * along
        parted = max(np.abs(apart).max(initial=0) for apart in (a - b, beside)) > reach
        if parted or mesh.point_count(points) >= self.point_count:
            return not parted
        return len(mesh.weld(points)[0]) >= self.point_count


def _points(buffer: mi.Float) -> np.ndarray:
    """[V, 3]"""
    return np.array(buffer, np.float64).reshape(-1, 3)
