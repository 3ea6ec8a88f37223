"""Field by one step of a walk on spherical caps: an average over the disk that reaches to the closest silhouette.

Let c be the direction of the silhouette point closest to q, A the angle between them and w(p) the velocity of the
silhouette closest to p, seen from the origin. The field is the mean of w over the cap of half angle A around q. One
direction y in the cap and one z on its rim estimate it and its divergence without bias [Wu et al. 2025, walk on
spherical caps]. With τ and m the unit tangents at q towards c and z,

    V = w(y),    ∇·V = cot(A/2) [τ·(w(y) − w(z)) + m·(w(z) − w(c))] − 2 q·w(y)

w(c) adds nothing to the mean, since that of m is 0, but it keeps the noise finite next to silhouettes. The field takes
the share (1 − (A/R)²)², and the motion of the visible surface the rest.
"""

from __future__ import annotations

import dataclasses

import drjit as dr
import mitsuba as mi

from ...errors import InputError
from ...transport.velocity import Velocity, VelocityField
from . import register
from .edge_list import EdgeList, EdgeTables, closest_on_segment
from .random_numbers import disk_direction, uniform_pair

#: Smallest angle to a silhouette, in radians, that is told from 0
TINY = 1e-4

#: Below minus the largest squared chord
NONE = -5.0


@dataclasses.dataclass
class _Point:
    """A point of an edge, seen from an origin."""

    index: mi.UInt32
    t: mi.Float  #: where along the edge
    to: mi.Vector3f  #: direction, unit length
    rcp_distance: mi.Float

    def seen(self, motion: mi.Vector3f) -> mi.Vector3f:
        """Velocity of the direction, given that of the point relative to the origin; its own transpose."""
        return (motion - self.to * dr.dot(self.to, motion)) * self.rcp_distance


@dataclasses.dataclass
class _Sample:
    """Points whose velocities the field is made of, and by which factors."""

    inner: _Point  #: closest to y; gives the velocity
    points: list[_Point]
    factors: list[mi.Vector3f]  #: ∇·s is the sum of their products with the points' velocities
    share: mi.Float
    slope: mi.Vector3f  #: gradient of −log(1 − share)
    active: mi.Bool


@register("caps")
class Caps(VelocityField):
    """Mean velocity of the closest silhouettes over a cap, from two random directions."""

    def __init__(self, props: mi.Properties):
        self.reach = props.get("warp_reach", 0.2)
        if not 0 < self.reach <= 0.7:
            raise InputError(
                f"'warp_reach' must be greater than 0 and, with warp_field = 'caps', at most 0.7, got {self.reach:g}"
            )
        self._edges: EdgeList | None = None
        self._tables = EdgeTables()

    def obstacle(self, scene: mi.Scene) -> str | None:
        for shape in scene.shapes():
            if (kind := shape.class_name()) in ("Sphere", "Cylinder"):
                return (
                    f"shape '{shape.id()}' is a {kind}, whose outline warp_field = 'caps' does not know; "
                    "use warp_field = 'blend'"
                )
        return None

    def prepare(self, scene: mi.Scene, sensor: mi.Sensor, *, camera_only: bool) -> None:
        # From inside a cap, the edge that its rim touches is at most a diameter away
        self._edges = EdgeList(scene, self._tables.of(scene), 2 * self.reach)
        self._edges.prepare_search()

    def clear(self, *, forward: bool) -> None:
        if forward:
            self._edges.receive_tangents()
        else:
            self._edges.clear()

    def send_adjoints(self) -> None:
        self._edges.send_adjoints()

    @dr.syntax
    def _closest(self, origin, direction, active):
        """The silhouette point closest to a direction, and whether there is one in reach. [N]"""
        E = self._edges
        best, found_t = mi.UInt32(0), mi.Float(0)
        found_x = mi.Vector3f(direction)
        closeness = mi.Float(NONE)
        todo = mi.Bool(active) & (E.size > 0)
        cursor = E.first(origin, direction, todo)
        while dr.hint(todo, exclude=[E, self], label="closest silhouette"):
            index, here = E.at_edge(cursor)
            todo &= here
            a, b, counts = E.silhouette(index, origin, todo)
            t, _ = closest_on_segment(a, b - a, direction)
            x = a + (b - a) * t
            # Squared chords tell small angles apart, which cosines do not
            score = -dr.squared_norm(x * dr.rsqrt(dr.squared_norm(x)) - direction)
            better = counts & (score > closeness)
            closeness = dr.select(better, score, closeness)
            best, found_t, found_x = (
                dr.select(better, index, best),
                dr.select(better, t, found_t),
                dr.select(better, x, found_x),
            )
            cursor = E.following(cursor, origin, direction, todo)
        rcp_distance = dr.rsqrt(dr.squared_norm(found_x))
        return _Point(best, found_t, found_x * rcp_distance, rcp_distance), active & (closeness > NONE)

    def _sample(self, origin: mi.Point3f, q: mi.Vector3f, stream: mi.UInt32, active: mi.Bool) -> _Sample:
        """Draw y and z and find the points closest to q, y and z; equal streams give equal samples."""
        touched, found = self._closest(origin, q, active)
        chord = dr.norm(q - touched.to)
        angle = dr.maximum(2 * dr.safe_asin(0.5 * chord), TINY)
        active = active & found & (angle < self.reach)
        τ = touched.to - q * dr.dot(q, touched.to)
        τ = dr.select(active, τ * dr.rsqrt(dr.maximum(dr.squared_norm(τ), 1e-24)), mi.Vector3f(0))

        frame = mi.Frame3f(q)
        sin, cos = dr.sincos(0.5 * angle)
        (u, v), (rim, _) = (uniform_pair(stream, k) for k in range(2))
        height = 2 * dr.square(sin) * u
        y = q * (1 - height) + disk_direction(frame, v) * dr.safe_sqrt(height * (2 - height))
        m = disk_direction(frame, rim)
        z = q * (cos * cos - sin * sin) + m * (2 * sin * cos)
        inner, inner_found = self._closest(origin, dr.normalize(y), active)
        outer, outer_found = self._closest(origin, dr.normalize(z), active)
        active &= inner_found & outer_found

        x = angle / self.reach
        left = 1 - dr.square(x)
        share = dr.select(active, dr.square(left), 0)
        # −f′(A) τ, the gradient of the share
        gain = τ * dr.select(active, 4 * x * left / self.reach, 0)
        slope = dr.select(active, gain / dr.maximum(1 - share, 1e-12), mi.Vector3f(0))
        cot = share * cos / sin
        factors = [τ * cot - q * (2 * share) + gain, (m - τ) * cot, m * -cot]
        return _Sample(inner, [inner, outer, touched], factors, share, slope, active)

    def evaluate(self, origin, direction, stream, active, forward):
        q = direction
        sample = self._sample(origin, q, stream, mi.Bool(active))
        velocity, divergence = mi.Vector3f(0), mi.Float(0)
        by_origin, divergence_by_origin = mi.Matrix3f(0), mi.Vector3f(0)
        for point, factor in zip(sample.points, sample.factors, strict=True):
            divergence_by_origin -= point.seen(factor)
            if forward:
                start = dr.gather(mi.Vector3f, self._edges.start_grad, point.index, sample.active)
                end = dr.gather(mi.Vector3f, self._edges.end_grad, point.index, sample.active)
                w = point.seen(dr.lerp(start, end, point.t))
                divergence += dr.dot(factor, w)
                if point is sample.inner:
                    velocity = w * sample.share
        columns = [sample.inner.seen(mi.Vector3f(*row)) * -sample.share for row in ((1, 0, 0), (0, 1, 0), (0, 0, 1))]
        by_origin = mi.Matrix3f(*(mi.Vector3f(*(column[i] for column in columns)) for i in range(3)))
        return Velocity(q, 1 - sample.share, sample.slope, velocity, divergence, by_origin, divergence_by_origin)

    def deposit(self, field, origin, adjoints, stream, active):
        δs, δdivergence = adjoints
        sample = self._sample(origin, field.direction, stream, mi.Bool(active))
        for point, factor in zip(sample.points, sample.factors, strict=True):
            δw = factor * δdivergence
            if point is sample.inner:
                δw += δs * sample.share
            δX = point.seen(δw)
            dr.scatter_add(self._edges.start_grad, δX * (1 - point.t), point.index, sample.active)
            dr.scatter_add(self._edges.end_grad, δX * point.t, point.index, sample.active)
