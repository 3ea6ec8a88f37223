"""Field by inverse-distance blending: a sum over all edges near a direction, without random numbers.

Every edge e that is a silhouette from the origin has a closest point X(t) to the direction q, at the squared chord
D = |q − (X−o)/|X−o||², and a weight

    K_e = (max(0, R/D − 1))²        V = (ẋ + Σ K_e (Ẋ_e − ȯ)/|X_e−o|) / (1 + Σ K_e)

The weight is infinite on the edge, so that V takes its velocity there, and 0 beyond the chord √R, so that V is the
motion of the visible surface itself far from edges. It is continuous, and its divergence is known in closed form: no
ratio of random sums, hence no bias [Shepard 1968, inverse-distance interpolation, on the sphere of directions].
"""

from __future__ import annotations

import dataclasses
import math

import drjit as dr
import mitsuba as mi

from ...errors import InputError
from ...transport.velocity import VelocityField
from . import register
from .edge_list import EdgeList, Topology, closest_on_segment
from .round_list import OUTLINES, RoundList
from .weighted_mean import WeightedMean

#: Smallest squared chord that is told from 0
TINY = 1e-11

#: Points less than half of this times the radius above a round shape lie on it and do not see its outline
ON_SURFACE = 1e-4


@dataclasses.dataclass
class _Visit:
    """One edge as seen from one origin in one direction."""

    t: mi.Float  #: closest point along the edge
    t_slope: mi.Vector3f  #: its gradient by the direction
    rcp_distance: mi.Float  #: 1/|X−o|
    stretch: mi.Float  #: (X−o)·e / |X−o|²
    weight: mi.Float  #: K
    weight_slope: mi.Vector3f  #: its gradient by the direction
    active: mi.Bool

    def add_weight(self, mean: WeightedMean) -> None:
        """Add the edge's weight to the sums of a mean."""
        mean.Z += self.weight
        mean.dZ += self.weight_slope
        mean.C += self.weight * self.rcp_distance
        mean.c += (self.weight_slope - self.t_slope * (self.weight * self.stretch)) * self.rcp_distance

    def add_motion(self, mean: WeightedMean, Ẋ: mi.Vector3f, ė: mi.Vector3f) -> None:
        """Add the edge's motion.

        Args:
            Ẋ: Velocity of the closest point. [N]
            ė: Its slope along the edge. [N]
        """
        W = Ẋ * self.rcp_distance
        dW = ė * self.rcp_distance - W * self.stretch
        mean.S += W * self.weight
        mean.T += dr.dot(self.weight_slope, W) + self.weight * dr.dot(self.t_slope, dW)

    def adjoints(self, δS: mi.Vector3f, δT: mi.Float) -> tuple[mi.Vector3f, mi.Vector3f]:
        """Adjoints of the arguments of :meth:`add_motion`, given those of the sums."""
        δdW = self.t_slope * (self.weight * δT)
        δX = (δS * self.weight + self.weight_slope * δT - δdW * self.stretch) * self.rcp_distance
        return δX, δdW * self.rcp_distance


@register("blend")
class Blend(VelocityField):
    """Deterministic interpolation between the silhouettes within reach of a ray."""

    def __init__(self, props: mi.Properties):
        reach = props.get("warp_reach", 0.2)
        if not 0 < reach <= 1:
            raise InputError(f"'warp_reach' must be greater than 0 and at most 1, got {reach:g}")
        #: squared chord of the reach
        self.reach = reach**2
        self._edges: EdgeList | None = None
        self._rounds: RoundList | None = None
        self._topology = Topology()

    def prepare(self, scene: mi.Scene) -> None:
        self._rounds = RoundList(scene, OUTLINES)
        self._edges = EdgeList(scene, self._topology.edges(scene), 2 * math.asin(min(0.5 * self.reach**0.5, 1)))

    def clear(self, *, forward: bool) -> None:
        for curves in (self._edges, self._rounds):
            if forward:
                curves.receive_tangents()
            else:
                curves.clear()

    def send_adjoints(self) -> None:
        self._edges.send_adjoints()
        self._rounds.send_adjoints()

    def _visit(self, a: mi.Vector3f, b: mi.Vector3f, q: mi.Vector3f, active: mi.Bool) -> _Visit:
        """The point of a straight edge that is closest to a direction.

        Args:
            a: Where the edge begins, relative to the origin. [N]
            b: Where it ends. [N]
        """
        e = b - a
        t, t_slope = closest_on_segment(a, e, q)
        x = a + e * t
        return self._weigh(q, x, e, t, t_slope, active)

    def _weigh(self, q, x, e, t, t_slope, active) -> _Visit:
        """Weight of the closest point x of a curve, whose tangent is e."""
        rcp_distance = dr.rsqrt(dr.squared_norm(x))
        to = x * rcp_distance
        D = dr.maximum(dr.squared_norm(q - to), TINY)
        root = self.reach / D - 1
        active = active & (root > 0)
        weight = dr.select(active, dr.square(root), 0)
        # dK/dD · ∇D with ∇D = −2 to, without its part along q
        slope = dr.select(active, 4 * root * self.reach / dr.square(D), 0)
        across = to - q * dr.dot(q, to)
        stretch = dr.select(active, dr.dot(x, e) * dr.square(rcp_distance), 0)
        rcp_distance, t_slope = dr.select(active, rcp_distance, 0), dr.select(active, t_slope, 0)
        return _Visit(t, t_slope, rcp_distance, stretch, weight, dr.select(active, across * slope, 0), active)

    def _visit_round(
        self, o: mi.Point3f, q: mi.Vector3f, index: mi.UInt32, active: mi.Bool
    ) -> tuple[_Visit, mi.Vector3f, mi.Vector3f]:
        """The closest point of an outline; also that point and the outline's tangent in object space."""
        M, t, ball, side = self._rounds.place(index, active)
        to_object = dr.rcp(M)
        view = to_object @ (mi.Vector3f(o) - t)

        # Cylinders: normals n with n·view = 1, across the axis
        flat = mi.Vector3f(view.x, view.y, 0)
        rcp_2 = dr.rcp(dr.squared_norm(flat))
        n = flat * rcp_2 + mi.Vector3f(-flat.y, flat.x, 0) * (side * rcp_2 * dr.safe_sqrt(dr.rcp(rcp_2) - 1))
        offset = t - mi.Vector3f(o)
        a = M @ n + offset
        axis = M @ mi.Vector3f(0, 0, 1)
        line = self._visit(a, a + axis, q, active & ~ball & (rcp_2 < 1 - ON_SURFACE))

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
        circle = self._weigh(
            q, x, tangent, mi.Float(0), around * dr.rcp(sin_θ), active & ball & (cos2 > ON_SURFACE) & (sin_θ > 0)
        )

        p = dr.select(ball, to_object @ (x - offset), n + mi.Vector3f(0, 0, line.t))
        onward = dr.select(ball, to_object @ tangent, mi.Vector3f(0, 0, 1))
        return dr.select(ball, circle, line), p, onward

    @dr.syntax
    def evaluate(self, origin, direction, stream, active, forward):
        E, q, mean = self._edges, direction, WeightedMean.zero()
        todo = mi.Bool(active) & (E.size > 0)
        cursor = E.first(origin, q, todo)
        while dr.hint(todo, exclude=[E, self], label="field"):
            index, here = E.at_edge(cursor)
            todo &= here
            a, b, counts = E.silhouette(index, origin, todo)
            v = self._visit(a, b, q, counts)
            v.add_weight(mean)
            if dr.hint(forward, mode="scalar"):
                ȧ = dr.gather(mi.Vector3f, E.start_grad, index, v.active)
                ḃ = dr.gather(mi.Vector3f, E.end_grad, index, v.active)
                v.add_motion(mean, dr.lerp(ȧ, ḃ, v.t), ḃ - ȧ)
            cursor = E.following(cursor, origin, q, todo)

        index = mi.UInt32(0)
        todo = mi.Bool(active) & (self._rounds.size > 0)
        while dr.hint(todo, exclude=[self], label="field, round shapes"):
            v, p, onward = self._visit_round(origin, q, index, todo)
            v.add_weight(mean)
            if dr.hint(forward, mode="scalar"):
                Ṁ, ṫ = self._rounds.motion(index, v.active)
                v.add_motion(mean, Ṁ @ p + ṫ, Ṁ @ onward)
            index += 1
            todo &= self._rounds.has(index)
        return dataclasses.replace(mean.velocity(q, 1), kept=(mean,))

    @dr.syntax
    def deposit(self, field, origin, adjoints, stream, active):
        E, q = self._edges, field.direction
        δS, δT = field.kept[0].adjoints(q, 1, adjoints)
        todo = mi.Bool(active) & (field.rest < 1)
        cursor = E.first(origin, q, todo)
        while dr.hint(todo, exclude=[E, self], label="field, adjoint"):
            index, here = E.at_edge(cursor)
            todo &= here
            a, b, counts = E.silhouette(index, origin, todo)
            v = self._visit(a, b, q, counts)
            δX, δe = v.adjoints(δS, δT)
            dr.scatter_add(E.start_grad, δX * (1 - v.t) - δe, index, v.active)
            dr.scatter_add(E.end_grad, δX * v.t + δe, index, v.active)
            cursor = E.following(cursor, origin, q, todo)

        index = mi.UInt32(0)
        todo = mi.Bool(active) & (field.rest < 1) & (self._rounds.size > 0)
        while dr.hint(todo, exclude=[self], label="field, adjoint, round shapes"):
            v, p, onward = self._visit_round(origin, q, index, todo)
            δX, δe = v.adjoints(δS, δT)
            rows = [p * δX[i] + onward * δe[i] for i in range(3)]
            self._rounds.add(index, rows, δX, v.active)
            index += 1
            todo &= self._rounds.has(index)
