"""Outlines of spheres and cylinders as parts of an inverse-distance mean."""

from __future__ import annotations

import drjit as dr
import mitsuba as mi

from .inverse_distance import Kernel, Visit
from .round_list import RoundList
from .weighted_mean import WeightedMean

#: Points less than half of this times the radius above a round shape lie on it and do not see its outline
ON_SURFACE = 1e-4


class RoundOutlines:
    """Visits all outlines of a list, from any origin."""

    def __init__(self, outlines: RoundList, kernel: Kernel):
        self._list, self._kernel = outlines, kernel

    def _visit(
        self, o: mi.Point3f, q: mi.Vector3f, index: mi.UInt32, active: mi.Bool
    ) -> tuple[Visit, mi.Vector3f, mi.Vector3f]:
        """The closest point of an outline; also that point and the outline's tangent in object space."""
        kernel = self._kernel
        M, t, ball, side = self._list.place(index, active)
        to_object = dr.rcp(M)
        view = to_object @ (mi.Vector3f(o) - t)

        # Cylinders: normals n with n·view = 1, across the axis
        flat = mi.Vector3f(view.x, view.y, 0)
        rcp_2 = dr.rcp(dr.squared_norm(flat))
        n = flat * rcp_2 + mi.Vector3f(-flat.y, flat.x, 0) * (side * rcp_2 * dr.safe_sqrt(dr.rcp(rcp_2) - 1))
        offset = t - mi.Vector3f(o)
        a = M @ n + offset
        axis = M @ mi.Vector3f(0, 0, 1)
        line = kernel.visit(a, a + axis, q, active & ~ball & (rcp_2 < 1 - ON_SURFACE))

        # Spheres: turn the direction toward the cone of tangents, around the centre
        distance2 = dr.squared_norm(offset)
        centre = offset * dr.rsqrt(distance2)
        cos_θ = dr.dot(q, centre)
        across = q - centre * cos_θ
        sin_θ = dr.norm(across)
        across *= dr.rcp(sin_θ)
        cos2 = 1 - dr.rcp(dr.squared_norm(view))
        cos_φ, sin_φ = dr.safe_sqrt(cos2), dr.rsqrt(dr.squared_norm(view))
        x = (centre * cos_φ + across * sin_φ) * (dr.sqrt(distance2) * cos_φ)
        around = dr.cross(centre, across)
        tangent = around * (dr.sqrt(distance2) * cos_φ * sin_φ)
        circle = kernel.weigh(
            q, x, tangent, mi.Float(0), around * dr.rcp(sin_θ), active & ball & (cos2 > ON_SURFACE) & (sin_θ > 0)
        )

        p = dr.select(ball, to_object @ (x - offset), n + mi.Vector3f(0, 0, line.t))
        onward = dr.select(ball, to_object @ tangent, mi.Vector3f(0, 0, 1))
        return dr.select(ball, circle, line), p, onward

    @dr.syntax
    def add_to(self, mean: WeightedMean, origin: mi.Point3f, q: mi.Vector3f, active: mi.Bool, forward: bool):
        """Add all outlines to a mean, with their motion in forward mode."""
        index = mi.UInt32(0)
        todo = mi.Bool(active) & (self._list.size > 0)
        while dr.hint(todo, exclude=[self], label="field, round shapes"):
            v, p, onward = self._visit(origin, q, index, todo)
            v.add_weight(mean)
            if dr.hint(forward, mode="scalar"):
                Ṁ, ṫ = self._list.motion(index, v.active)
                v.add_motion(mean, Ṁ @ p + ṫ, Ṁ @ onward)
            index += 1
            todo &= self._list.has(index)
        return mean

    @dr.syntax
    def deposit(self, origin: mi.Point3f, q: mi.Vector3f, δS: mi.Vector3f, δT: mi.Float, active: mi.Bool):
        """Add to the adjoints of the outlines' shapes, given those of the mean's sums."""
        index = mi.UInt32(0)
        todo = mi.Bool(active) & (self._list.size > 0)
        while dr.hint(todo, exclude=[self], label="field, adjoint, round shapes"):
            v, p, onward = self._visit(origin, q, index, todo)
            δX, δe = v.adjoints(δS, δT)
            rows = [p * δX[i] + onward * δe[i] for i in range(3)]
            self._list.add(index, rows, δX, v.active)
            index += 1
            todo &= self._list.has(index)
