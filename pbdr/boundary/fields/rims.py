"""Rims of disks and cylinders as polygons; a kernel that is infinite on the rim does not see the difference."""

from __future__ import annotations

import mitsuba as mi
import numpy as np

from ...geometry.placements import Placements

#: Edges of the polygon that stands for a rim
RIM_EDGES = 64


class Rims:
    """Rims of all disks and cylinders of a scene."""

    def __init__(self, rows: list[tuple], shapes: list[mi.Shape]):
        """Place the polygons' corners.

        Args:
            rows: Height in object space and index of the shape for each rim.
        """
        self._shapes = shapes
        angle = np.linspace(0, 2 * np.pi, RIM_EDGES + 1)
        circle = np.column_stack([np.cos(angle), np.sin(angle)])
        points = [np.column_stack([circle, np.full(len(circle), height)]) for height, _ in rows]
        self._start, self._end = (
            mi.Point3f(np.concatenate(p).T.astype(np.float32))
            for p in ([p[:-1] for p in points], [p[1:] for p in points])
        )
        self._owner = mi.UInt32(np.repeat(np.uint32([owner for _, owner in rows]), RIM_EDGES))

    @classmethod
    def of(cls, scene: mi.Scene) -> Rims | None:
        """The rims of a scene; None if it has none."""
        shapes, rows = [], []
        for shape in scene.shapes():
            heights = {"Disk": (0.0,), "Cylinder": (0.0, 1.0)}.get(shape.class_name(), ())
            rows += [(height, len(shapes)) for height in heights]
            if heights:
                shapes.append(shape)
        return cls(rows, shapes) if rows else None

    def columns(self) -> tuple[np.ndarray, ...]:
        """Ends and normals on both sides [E, 3], whether edges always count, whether they ever do. [E]"""
        start, end = (np.array(p, np.float64).T for p in self.ends())
        # Rims always count: any normals that no viewpoint is likely to see at a right angle
        toward = np.tile([0.5773, 0.5773, 0.5775], (len(start), 1))
        yes = np.ones(len(start), bool)
        return start, end, toward, toward, yes, yes

    def ends(self) -> tuple[mi.Point3f, mi.Point3f]:
        """Both ends of the edges, attached. [E] each"""
        placement = Placements.of(self._shapes).pick(self._owner)
        return placement.point(self._start), placement.point(self._end)
