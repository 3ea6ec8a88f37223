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

#: Smallest squared chord that is told from 0
TINY = 1e-11


@dataclasses.dataclass
class _Visit:
    """One edge as seen from one origin in one direction."""

    index: mi.UInt32
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
        self._topology: tuple | None = None
        self._table: EdgeTable | None = None

    def prepare(self, scene: mi.Scene) -> None:
        topology = tuple((s.id(), s.class_name(), s.is_mesh() and s.face_count()) for s in scene.shapes())
        if topology != self._topology:
            self._topology, self._table = topology, build_edges(scene)
        self._edges = EdgeList(self._table, 2 * math.asin(min(0.5 * self.reach**0.5, 1)))

    def clear(self, *, forward: bool) -> None:
        if forward:
            self._edges.receive_tangents()
        else:
            self._edges.clear()

    def send_adjoints(self) -> None:
        self._edges.send_adjoints()

    def _visit(self, o: mi.Point3f, q: mi.Vector3f, index: mi.UInt32, active: mi.Bool) -> _Visit:
        a, b, active = self._edges.silhouette(index, o, active)
        e = b - a
        α, β = dr.dot(q, a), dr.dot(q, e)
        γ, δ, ε = dr.dot(a, a), dr.dot(a, e), dr.dot(e, e)
        numerator, denominator = β * γ - α * δ, α * ε - β * δ
        inside = (denominator > 0) & (numerator > 0) & (numerator < denominator)
        # Outside, the better end: the direction's cosine decides
        at_end = (α + β) * dr.rsqrt(γ + 2 * δ + ε) > α * dr.rsqrt(γ)
        t = dr.select(inside, numerator / denominator, dr.select(at_end, mi.Float(1), mi.Float(0)))
        x = a + e * t
        rcp_distance = dr.rsqrt(dr.squared_norm(x))
        to = x * rcp_distance
        D = dr.maximum(dr.squared_norm(q - to), TINY)
        root = self.reach / D - 1
        active &= root > 0
        weight = dr.select(active, dr.square(root), 0)
        # dK/dD · ∇D with ∇D = −2 to, without its part along q
        slope = dr.select(active, 4 * root * self.reach / dr.square(D), 0)
        across = to - q * dr.dot(q, to)
        t_slope = (e * α - a * β) * ((γ * ε - dr.square(δ)) / dr.square(denominator))
        t_slope = dr.select(inside & active, t_slope - q * dr.dot(q, t_slope), 0)
        stretch = dr.dot(x, e) * dr.square(rcp_distance)
        return _Visit(index, t, t_slope, rcp_distance, stretch, weight, across * slope, active)

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
            v = self._visit(origin, q, index, todo)
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
            v = self._visit(origin, q, index, todo)
            δdW = v.t_slope * (v.weight * δT)
            δX = (δS * v.weight + v.weight_slope * δT - δdW * v.stretch) * v.rcp_distance
            δe = δdW * v.rcp_distance
            dr.scatter_add(E.start_grad, δX * (1 - v.t) - δe, index, v.active)
            dr.scatter_add(E.end_grad, δX * v.t + δe, index, v.active)
            cursor = E.following(cursor, origin, q, todo)
