"""Shapes without vertices: outlines of spheres and cylinders, which depend on the viewpoint, and whole surfaces.

Object space has radius 1 and, for cylinders, z from 0 to 1. A material point p moves with Ṁ p + ṫ, where x = M p + t
places the shape; so the transforms' entries play the part that ends play for edges.
"""

from __future__ import annotations

import drjit as dr
import mitsuba as mi
import numpy as np

from ...geometry.placements import Placements

#: Outlines of each kind: whether a sphere's circle, and which of a cylinder's two lines
OUTLINES = {"Sphere": [(True, 0)], "Cylinder": [(False, 1), (False, -1)]}

#: Surfaces of each kind: whether a sphere, and 1 for cylinders
SURFACES = {"Sphere": [(True, 0)], "Cylinder": [(False, 1)], "Disk": [(False, 0)]}


class RoundList:
    """Outlines or surfaces of a scene's shapes without vertices.

    Attributes:
        size: Number of outlines or surfaces R.
        shapes: Those that they belong to.
        gradients: Tangents or adjoints of the entries of each one's transform, rows of M and then t. [12 R]
    """

    def __init__(self, scene: mi.Scene, kinds: dict[str, list[tuple[bool, int]]]):
        """Evaluate the transforms.

        Args:
            kinds: ``OUTLINES`` or ``SURFACES``.
        """
        shapes = [shape for shape in scene.shapes() if shape.class_name() in kinds]
        rows = [(*row, k) for k, shape in enumerate(shapes) for row in kinds[shape.class_name()]]
        self.size, self.shapes = len(rows), shapes
        self._owner = mi.UInt32([row[2] for row in rows])
        with dr.suspend_grad():
            entries = np.zeros((max(self.size, 1), 16), np.float32)
            if self.size:
                entries[: self.size, :12] = np.array(self._entries()).reshape(self.size, 12)
                entries[: self.size, 12:14] = [row[:2] for row in rows]
            self._rows = mi.Float(entries.ravel())
            self._count = dr.opaque(mi.UInt32, self.size)
        self.clear()

    def _entries(self) -> mi.Float:
        """Rows of M and then t of each row, attached. [12 R]"""
        placement = Placements.of(self.shapes).pick(self._owner)
        numbers = [placement.linear[i, j] for i in range(3) for j in range(3)] + list(placement.origin)
        joined = dr.concat([n + dr.zeros(mi.Float, self.size) for n in numbers])
        index = dr.arange(mi.UInt32, 12 * self.size)
        return dr.gather(mi.Float, joined, (index % 12) * self.size + index // 12)

    def clear(self) -> None:
        """Start reverse mode with adjoints of 0."""
        self.gradients = dr.zeros(mi.Float, 12 * max(self.size, 1))
        dr.make_opaque(self.gradients)

    def receive_tangents(self) -> None:
        """Fill the gradient array from the tangents of the scene's parameters."""
        if not self.size:
            return
        entries = self._entries()
        if dr.grad_enabled(entries):
            dr.forward_to(entries, flags=dr.ADFlag.ClearEdges)
        self.gradients = dr.detach(dr.grad(entries), True)
        dr.make_opaque(self.gradients)

    def send_adjoints(self) -> None:
        """Queue the adjoints for the next reverse traversal."""
        entries = self._entries() if self.size else mi.Float(0)
        if dr.grad_enabled(entries):
            dr.set_grad(entries, self.gradients)
            dr.enqueue(dr.ADMode.Backward, entries)

    def has(self, index: mi.UInt32) -> mi.Bool:
        """Whether there is a row of this index. [N]"""
        return index < self._count

    def place(self, index: mi.UInt32, active: mi.Bool) -> tuple[mi.Matrix3f, mi.Vector3f, mi.Bool, mi.Float]:
        """M, t, whether it is a sphere, and the second entry of its kind, detached. [N] each"""
        r = [dr.gather(mi.Vector4f, self._rows, 4 * index + k, active) for k in range(4)]
        linear = mi.Matrix3f(
            [r[0].x, r[0].y, r[0].z], [r[0].w, r[1].x, r[1].y], [r[1].z, r[1].w, r[2].x]
        )  # fmt: skip
        return linear, mi.Vector3f(r[2].y, r[2].z, r[2].w), r[3].x > 0, r[3].y

    def motion(self, index: mi.UInt32, active: mi.Bool) -> tuple[mi.Matrix3f, mi.Vector3f]:
        """Ṁ and ṫ. [N] each"""
        g = [dr.gather(mi.Vector4f, self.gradients, 3 * index + k, active) for k in range(3)]
        linear = mi.Matrix3f(
            [g[0].x, g[0].y, g[0].z], [g[0].w, g[1].x, g[1].y], [g[1].z, g[1].w, g[2].x]
        )  # fmt: skip
        return linear, mi.Vector3f(g[2].y, g[2].z, g[2].w)

    def add(self, index: mi.UInt32, δM: list[mi.Vector3f], δt: mi.Vector3f, active: mi.Bool) -> None:
        """Add to the adjoints of M, given by rows, and of t."""
        numbers = [δM[i][j] for i in range(3) for j in range(3)] + list(δt)
        for k, number in enumerate(numbers):
            dr.scatter_add(self.gradients, number, 12 * index + k, active)
