"""Curves that lie on each other: the rim of a cylinder and that of the disk which closes it, two boxes side by side."""

from __future__ import annotations

import dataclasses

import drjit as dr
import mitsuba as mi
import numpy as np

#: Curves whose middles are this close, as a share of the largest coordinate, may be one curve
MIDDLE_TOLERANCE = 4e-6

#: How far the points of one curve may be apart, relative to their coordinates
POINT_TOLERANCE = 1e-5


@dataclasses.dataclass(frozen=True)
class Rings:
    """Groups of curves that may coincide, each a ring: following ``next`` leads through the group and back."""

    next: mi.UInt32  #: itself for curves that lie alone [K]
    most: int  #: members of the largest group


@dataclasses.dataclass(frozen=True)
class Sibling:
    """Surfaces of another shape that end at the same curve, detached."""

    left: mi.Vector3f  #: from the curve to one of its faces [N]
    right: mi.Vector3f  #: to the other one; equals ``left`` on open borders [N]
    coincides: mi.Bool  #: whether it does at present [N]

    def is_beside(self, tangent: mi.Vector3f, ω: mi.Vector3f, occluder: mi.Vector3f) -> mi.Bool:
        """Whether both faces lie on the same side of the plane through curve and line as an occluder does. [N]"""
        normal = dr.cross(tangent, ω)
        side = dr.dot(normal, occluder)
        return ~self.coincides | ((dr.dot(normal, self.left) * side > 0) & (dr.dot(normal, self.right) * side > 0))


def build_rings(middles: np.ndarray, candidates: np.ndarray) -> Rings | None:
    """Group curves by their middles; None if none lies near another.

    Whether the members of a group coincide is for whoever knows their points: shapes move, and crossing curves share
    their middles, too.

    Args:
        middles: World space. [K, 3]
        candidates: Which curves can have siblings. [K]
    """
    following = np.arange(len(middles), dtype=np.uint32)
    index = np.flatnonzero(candidates)
    if len(index) < 2:
        return None
    cell = MIDDLE_TOLERANCE * max(float(np.abs(middles[index]).max()), 1e-30)
    # Two grids, since a wall of the one may run between two middles that are equal but for rounding
    for shift in (0.0, 0.5):
        cells = np.floor(middles[index] / cell + shift).astype(np.int64)
        hashed = cells @ np.array([73856093, 19349663, 83492791], np.int64)
        order = np.argsort(hashed, kind="stable")
        for a in np.flatnonzero(np.diff(hashed[order]) == 0):
            _link(following, index[order[a]], index[order[a + 1]])
    sizes = [len(_ring(following, i)) for i in np.flatnonzero(following != np.arange(len(following)))]
    return Rings(mi.UInt32(following), max(sizes)) if sizes else None


def _ring(following: np.ndarray, start: int) -> list[int]:
    ring = [int(start)]
    while (after := int(following[ring[-1]])) != start:
        ring.append(after)
    return ring


def _link(following: np.ndarray, a: int, b: int) -> None:
    """Join the rings of two curves, unless they are one already."""
    if b not in _ring(following, a):
        following[[a, b]] = following[[b, a]]
