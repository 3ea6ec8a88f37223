"""Object-to-world transforms of many shapes as arrays, so that each lane can pick its own."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import drjit as dr
import mitsuba as mi


@dataclasses.dataclass(frozen=True)
class Placement:
    """Affine maps from object to world space, attached to the shapes' transforms."""

    linear: mi.Matrix3f  #: [N]
    origin: mi.Vector3f  #: where the object's origin lies [N]

    def point(self, p: mi.Point3f) -> mi.Point3f:
        """World-space points. [N]"""
        return mi.Point3f(self.linear @ mi.Vector3f(p) + self.origin)

    def vector(self, v: mi.Vector3f) -> mi.Vector3f:
        """World-space displacements. [N]"""
        return self.linear @ mi.Vector3f(v)

    def detached(self) -> Placement:
        """The same maps without derivatives."""
        return Placement(dr.detach(self.linear, True), dr.detach(self.origin, True))


@dataclasses.dataclass(frozen=True)
class Placements:
    """The placements of several shapes, attached to their transforms."""

    entries: list[list[mi.Float]]  #: 3 rows of the matrices, 4 columns [K] each
    count: int  #: K

    @classmethod
    def of(cls, shapes: Sequence[mi.Shape | None]) -> Placements:
        """Look shapes up.

        Args:
            shapes: Those that have a ``to_world``; None stands for a shape whose object space is the world's.
        """
        identity = mi.AffineTransform4f()
        matrices = [identity.matrix if s is None else mi.traverse(s)["to_world"].matrix for s in shapes]
        columns = [[[mi.Float(matrix[i, j]) for matrix in matrices] for j in range(4)] for i in range(3)]
        return cls([[_joined(values) for values in row] for row in columns], len(matrices))

    def pick(self, index: mi.UInt32, active: mi.Bool = True) -> Placement:
        """The placement of each lane's shape.

        Args:
            index: Into the shapes. [N]
        """
        rows = self.entries
        if self.count > 1:
            rows = [[dr.gather(mi.Float, values, index, active) for values in row] for row in rows]
        return Placement(mi.Matrix3f([row[:3] for row in rows]), mi.Vector3f(*[row[3] for row in rows]))


def _joined(values: list[mi.Float]) -> mi.Float:
    return values[0] if len(values) == 1 else dr.concat(values)
