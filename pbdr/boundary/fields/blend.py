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
from ...geometry.edges import EdgeTable, build_edges
from ...transport.velocity import Velocity, VelocityField
from . import register
from .edge_list import EdgeList
from .round_list import RoundList

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
        self._topology: tuple | None = None
        self._table: EdgeTable | None = None

    def prepare(self, scene: mi.Scene) -> None:
        topology = tuple((s.id(), s.class_name(), s.is_mesh() and s.face_count()) for s in scene.shapes())
        if topology != self._topology:
            self._topology, self._table = topology, build_edges(scene)
        self._rounds = RoundList(scene)
        self._edges = EdgeList(scene, self._table, 2 * math.asin(min(0.5 * self.reach**0.5, 1)))

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
        α, β = dr.dot(q, a), dr.dot(q, e)
        γ, δ, ε = dr.dot(a, a), dr.dot(a, e), dr.dot(e, e)
        numerator, denominator = β * γ - α * δ, α * ε - β * δ
        inside = (denominator > 0) & (numerator > 0) & (numerator < denominator)
        # Outside, the better end: the direction's cosine decides
        at_end = (α + β) * dr.rsqrt(γ + 2 * δ + ε) > α * dr.rsqrt(γ)
        t = dr.select(inside, numerator / denominator, dr.select(at_end, mi.Float(1), mi.Float(0)))
        x = a + e * t
        t_slope = (e * α - a * β) * ((γ * ε - dr.square(δ)) / dr.square(denominator))
        t_slope = dr.select(inside, t_slope - q * dr.dot(q, t_slope), 0)
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
        E, q = self._edges, direction
        Z, dZ = mi.Float(0), mi.Vector3f(0)
        C, c = mi.Float(0), mi.Vector3f(0)
        S, T = mi.Vector3f(0), mi.Float(0)
        todo = mi.Bool(active) & (E.size > 0)
        cursor = E.first(origin, q, todo)
        while dr.hint(todo, exclude=[E, self], label="field"):
            index, here = E.at_edge(cursor)
            todo &= here
            a, b, counts = E.silhouette(index, origin, todo)
            v = self._visit(a, b, q, counts)
            Z += v.weight
            dZ += v.weight_slope
            C += v.weight * v.rcp_distance
            c += (v.weight_slope - v.t_slope * (v.weight * v.stretch)) * v.rcp_distance
            if dr.hint(forward, mode="scalar"):
                ȧ = dr.gather(mi.Vector3f, E.start_grad, index, v.active)
                ḃ = dr.gather(mi.Vector3f, E.end_grad, index, v.active)
                W = dr.lerp(ȧ, ḃ, v.t) * v.rcp_distance
                S += W * v.weight
                dW = (ḃ - ȧ) * v.rcp_distance - W * v.stretch
                T += dr.dot(v.weight_slope, W) + v.weight * dr.dot(v.t_slope, dW)
            cursor = E.following(cursor, origin, q, todo)

        index = mi.UInt32(0)
        todo = mi.Bool(active) & (self._rounds.size > 0)
        while dr.hint(todo, exclude=[self], label="field, round shapes"):
            v, p, onward = self._visit_round(origin, q, index, todo)
            Z += v.weight
            dZ += v.weight_slope
            C += v.weight * v.rcp_distance
            c += (v.weight_slope - v.t_slope * (v.weight * v.stretch)) * v.rcp_distance
            if dr.hint(forward, mode="scalar"):
                Ṁ, ṫ = self._rounds.motion(index, v.active)
                W = (Ṁ @ p + ṫ) * v.rcp_distance
                S += dr.select(v.active, W * v.weight, 0)
                dW = (Ṁ @ onward) * v.rcp_distance - W * v.stretch
                T += dr.select(v.active, dr.dot(v.weight_slope, W) + v.weight * dr.dot(v.t_slope, dW), 0)
            index += 1
            todo &= self._rounds.has(index)

        norm = dr.rcp(1 + Z)
        slope = dZ * norm
        s, by_origin = S * norm, C * norm
        divergence = T * norm - dr.dot(s, slope) - 2 * dr.dot(q, s)
        divergence_by_origin = (slope + 2 * q) * by_origin - c * norm
        return Velocity(q, norm, slope, s, divergence, mi.Matrix3f(1) * -by_origin, divergence_by_origin)

    @dr.syntax
    def deposit(self, field, origin, adjoints, stream, active):
        E, q = self._edges, field.direction
        δs, δdiv = adjoints
        δS = (δs - (2 * q + field.slope) * δdiv) * field.rest
        δT = δdiv * field.rest
        todo = mi.Bool(active) & (field.rest < 1)
        cursor = E.first(origin, q, todo)
        while dr.hint(todo, exclude=[E, self], label="field, adjoint"):
            index, here = E.at_edge(cursor)
            todo &= here
            a, b, counts = E.silhouette(index, origin, todo)
            v = self._visit(a, b, q, counts)
            δdW = v.t_slope * (v.weight * δT)
            δX = (δS * v.weight + v.weight_slope * δT - δdW * v.stretch) * v.rcp_distance
            δe = δdW * v.rcp_distance
            dr.scatter_add(E.start_grad, δX * (1 - v.t) - δe, index, v.active)
            dr.scatter_add(E.end_grad, δX * v.t + δe, index, v.active)
            cursor = E.following(cursor, origin, q, todo)

        index = mi.UInt32(0)
        todo = mi.Bool(active) & (field.rest < 1) & (self._rounds.size > 0)
        while dr.hint(todo, exclude=[self], label="field, adjoint, round shapes"):
            v, p, onward = self._visit_round(origin, q, index, todo)
            δdW = v.t_slope * (v.weight * δT)
            δX = (δS * v.weight + v.weight_slope * δT - δdW * v.stretch) * v.rcp_distance
            δe = δdW * v.rcp_distance
            rows = [p * δX[i] + onward * δe[i] for i in range(3)]
            self._rounds.add(index, rows, δX, v.active)
            index += 1
            todo &= self._rounds.has(index)
