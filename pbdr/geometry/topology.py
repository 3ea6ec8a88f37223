"""Whether the shapes of a scene and their triangles are those of before."""

from __future__ import annotations

import mitsuba as mi

from . import mesh
from .flags import all_shapes


class Topology:
    """Remembers the shapes of a scene and their triangles; both are kept, so that none is mistaken for a later one."""

    def __init__(self) -> None:
        self._shapes: list[mi.Shape] = []
        self._faces: list[mi.UInt32] = []

    def has_changed(self, scene: mi.Scene) -> bool:
        """Whether this is another scene than that of the last call, or one with other triangles."""
        shapes = all_shapes(scene)
        faces = [mesh.face_buffer(shape) for shape in shapes]
        same = len(shapes) == len(self._shapes) and all(a is b for a, b in zip(shapes, self._shapes, strict=True))
        same = same and [f.index for f in faces] == [f.index for f in self._faces]
        self._shapes, self._faces = shapes, faces
        return not same
