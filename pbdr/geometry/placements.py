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


def placement_of(shapes: Sequence[mi.Shape], index: mi.UInt32, active: mi.Bool = True) -> Placement:
    """The placement of each lane's shape.

    Args:
        shapes: Those that have a ``to_world``; None stands for a shape whose object space is the world's.
        index: Into ``shapes``. [N]
    """
    identity = mi.AffineTransform4f()
    matrices = [identity.matrix if s is None else mi.traverse(s)["to_world"].matrix for s in shapes]
    entries = [[_pick([matrix[i, j] for matrix in matrices], index, active) for j in range(4)] for i in range(3)]
    linear = mi.Matrix3f([row[:3] for row in entries])
    return Placement(linear, mi.Vector3f(*[row[3] for row in entries]))


def _pick(values: list, index: mi.UInt32, active: mi.Bool) -> mi.Float:
    values = [mi.Float(v) for v in values]
    return values[0] if len(values) == 1 else dr.gather(mi.Float, dr.concat(values), index, active)
