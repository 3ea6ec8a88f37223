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
from ...transport.sensor import window
from ...transport.velocity import RayField, VelocityField
from . import register
from .camera_blend import CameraBlend
from .edge_list import EdgeList, EdgeTables
from .inverse_distance import Kernel
from .round_list import OUTLINES, RoundList
from .round_outlines import RoundOutlines
from .weighted_mean import WeightedMean

#: Up to so many silhouettes of a view are visited by every camera ray, of more only those nearby
FEW_IN_VIEW = 32


@register("blend")
class Blend(VelocityField):
    """Deterministic interpolation between the silhouettes within reach of a ray."""

    def __init__(self, props: mi.Properties):
        reach = props.get("warp_reach", 0.2)
        if not 0 < reach <= 1:
            raise InputError(f"'warp_reach' must be greater than 0 and at most 1, got {reach:g}")
        self._kernel = Kernel(reach**2)
        self._edges: EdgeList | None = None
        self._rounds: RoundList | None = None
        self._outlines: RoundOutlines | None = None
        self._view: CameraBlend | None = None
        self._tables = EdgeTables()

    def prepare(self, scene: mi.Scene, sensor: mi.Sensor, *, camera_only: bool) -> None:
        reach = 2 * math.asin(min(0.5 * self._kernel.reach**0.5, 1))
        self._rounds = RoundList(scene, OUTLINES)
        self._outlines = RoundOutlines(self._rounds, self._kernel)
        self._edges = EdgeList(scene, self._tables.of(scene), reach)
        self._view = None
        if sensor.class_name() == "PerspectiveCamera":
            view = window(sensor)
            with dr.suspend_grad():
                silhouettes = self._edges.seen_from(view.origin)
            if dr.width(silhouettes) > FEW_IN_VIEW:
                self._view = CameraBlend(self._edges, self._outlines, self._kernel, view, silhouettes)
        if not (self._view and camera_only):
            self._edges.prepare_search()

    def for_camera(self) -> RayField:
        return self._view or self

    def clear(self, *, forward: bool) -> None:
        for curves in (self._edges, self._rounds):
            if forward:
                curves.receive_tangents()
            else:
                curves.clear()
        if self._view:
            self._view.clear(forward=forward)

    def send_adjoints(self) -> None:
        if self._view:
            self._view.send_adjoints()
        self._edges.send_adjoints()
        self._rounds.send_adjoints()

    @dr.syntax
    def evaluate(self, origin, direction, stream, active, forward):
        E, q, mean = self._edges, direction, WeightedMean.zero()
        todo = mi.Bool(active) & (E.size > 0)
        cursor = E.first(origin, q, todo)
        while dr.hint(todo, exclude=[E, self], label="field"):
            index, here = E.at_edge(cursor)
            todo &= here
            a, b, counts = E.silhouette(index, origin, todo)
            v = self._kernel.visit(a, b, q, counts)
            v.add_weight(mean)
            if dr.hint(forward, mode="scalar"):
                v.add_motion(mean, *E.motion(index, v.t, v.active))
            cursor = E.following(cursor, origin, q, todo)
        mean = self._outlines.add_to(mean, origin, q, active, forward)
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
            v = self._kernel.visit(a, b, q, counts)
            E.add(index, v.t, v.adjoints(δS, δT), v.active)
            cursor = E.following(cursor, origin, q, todo)
        self._outlines.deposit(origin, q, δS, δT, mi.Bool(active) & (field.rest < 1))
