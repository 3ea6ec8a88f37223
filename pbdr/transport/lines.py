"""Lines of light that touch the edge of an occluder, with their far end: an emitter, or a surface that reflects."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import drjit as dr
import mitsuba as mi

from ..geometry.motion import material_point
from .emitter import emitters_move, follow_emitter

if TYPE_CHECKING:
    from .film import Context

#: Offset of boundary rays from their edge, relative to the size of coordinates
EDGE_OFFSET = 1e-4


@dataclasses.dataclass(frozen=True)
class CurvePoint:
    """A point on a curve where an occluder can end."""

    point: mi.Point3f  #: attached to the occluder's motion [N]
    along: mi.Vector3f  #: unit tangent of the curve, detached [N]
    occluder: mi.Vector3f  #: any vector from the curve toward the occluder's surface, detached [N]
    rcp_density: mi.Float  #: reciprocal of the point's density per length of the curve [N]


@dataclasses.dataclass(frozen=True)
class Line:
    """A line through a curve point that passes the occluder on its open side, detached."""

    forward: mi.Ray3f  #: from the edge toward the light [N]
    backward: mi.Ray3f  #: from the edge toward the lit surface [N]
    inward: mi.Vector3f  #: unit normal of tangent and line, into the occluder [N]
    sine: mi.Float  #: ‖t × ω‖ [N]
    active: mi.Bool  #: whether light can arrive [N]


def line_through(curve: CurvePoint, ω: mi.Vector3f, wavelengths: mi.Wavelength, active: mi.Bool) -> Line:
    """The line through a curve point along ω, moved off the occluder by a hair.

    Args:
        ω: Toward the light, unit length. [N]
    """
    b = dr.detach(curve.point)
    m = dr.cross(curve.along, ω)
    sine = dr.norm(m)
    m *= dr.sign(dr.dot(m, curve.occluder)) * dr.rcp(sine)
    origin = b - m * (EDGE_OFFSET * dr.maximum(1, dr.max(dr.abs(b))))
    return Line(
        mi.Ray3f(origin, ω, 0, wavelengths), mi.Ray3f(origin, -ω, 0, wavelengths), m, sine, active & (sine > 1e-6)
    )


@dataclasses.dataclass(frozen=True)
class EmitterEnd:
    """The far end of a line on an emitter."""

    ds: mi.DirectionSample3f  #: as seen from the curve point [N]
    light: mi.Spectrum  #: emitted radiance over its density per solid angle at the curve point [N]

    @property
    def is_distant(self) -> mi.Bool:
        """Whether the light comes from a direction instead of a point. [N]"""
        kind = self.ds.emitter.flags()
        return mi.has_flag(kind, mi.EmitterFlags.Infinite) | mi.has_flag(kind, mi.EmitterFlags.DeltaDirection)

    def view(self) -> tuple[mi.Vector3f, mi.Bool]:
        """From where the occluder is seen: a point, or a direction, and which of the two. [N]"""
        distant = self.is_distant
        return mi.Vector3f(dr.select(distant, self.ds.d, self.ds.p)), ~distant

    def seen_from(self, scene: mi.Scene, b: mi.Point3f, wavelengths: mi.Wavelength) -> EmitterEnd:
        """The same emitter point for another curve point than the one that it was sampled for."""
        ds = dr.detach(self.ds, True)
        offset = ds.p - b
        distance = dr.norm(offset)
        distant = self.is_distant
        on_surface = mi.has_flag(ds.emitter.flags(), mi.EmitterFlags.Surface)
        d = dr.select(distant, ds.d, offset / distance)
        per_area = dr.abs_dot(ds.n, ds.d) / dr.square(ds.dist)
        per_solid_angle = dr.square(distance) / dr.abs_dot(ds.n, d)
        ds.pdf = dr.select(on_surface, ds.pdf * per_area * per_solid_angle, ds.pdf)
        ds.d, ds.dist = d, dr.select(distant, ds.dist, distance)
        it = dr.zeros(mi.SurfaceInteraction3f, dr.width(b))
        it.p, it.wavelengths = b, wavelengths
        emission = scene.eval_emitter_direction(it, ds)
        visible = (ds.pdf > 0) & dr.isfinite(ds.pdf)
        return EmitterEnd(ds, dr.select(visible, emission / ds.pdf, 0))

    def middle(self, scene: mi.Scene, near: mi.SurfaceInteraction3f, r: mi.Float, active: mi.Bool) -> mi.Point3f:
        """Where the line between two material points passes the edge, attached to both.

        Args:
            near: Lit material points. [N]
            r: Distance from the edge to them. [N]
        """
        ds = self.ds
        if emitters_move(scene):
            ds = follow_emitter(scene, near, ds, moving=True, active=active)[0]
        t = r / (r + dr.detach(ds.dist))
        return dr.select(self.is_distant, near.p + ds.d * r, dr.lerp(near.p, ds.p, t))


@dataclasses.dataclass(frozen=True)
class SurfaceEnd:
    """The far end of a line on a surface that reflects light toward the edge, or in the environment."""

    pi: mi.PreliminaryIntersection3f
    ray: mi.Ray3f  #: from the edge toward the light

    def view(self) -> tuple[mi.Vector3f, mi.Bool]:
        """From where the occluder is seen: a direction. [N]"""
        return self.ray.d, mi.Bool(False)

    def middle(self, scene: mi.Scene, near: mi.SurfaceInteraction3f, r: mi.Float, active: mi.Bool) -> mi.Point3f:
        """Where the line between two material points passes the edge; fixed directions end in the environment."""
        far = material_point(self.pi, self.ray, mi.RayFlags.Minimal, active)
        distance = dr.detach(far.t)
        return dr.select(far.is_valid(), dr.lerp(near.p, far.p, r / (r + distance)), near.p)


def sample_emitter_end(
    context: Context, reference: mi.Point3f, wavelengths: mi.Wavelength, sampler: mi.Sampler
) -> EmitterEnd:
    """An emitter point for a point at or near the edge, not tested for visibility."""
    it = dr.zeros(mi.Interaction3f, dr.width(reference))
    it.p, it.wavelengths = reference, wavelengths
    ds, light = context.scene.sample_emitter_direction(it, sampler.next_2d(), False)
    return EmitterEnd(ds, light)


def is_lit(scene: mi.Scene, line: Line, end: EmitterEnd) -> mi.Bool:
    """Whether nothing stands between the open side of the edge and the emitter."""
    ray = mi.Ray3f(line.forward)
    ray.maxt = end.ds.dist * (1 - 1e-3)
    return line.active & (end.ds.pdf > 0) & ~scene.ray_test(ray, line.active)


def reflected_light(context: Context, end: SurfaceEnd, sampler: mi.Sampler, max_depth: mi.UInt32) -> mi.Spectrum:
    """What the line sees toward the light, without what emitters send themselves. [N]

    Args:
        max_depth: Segments that the path may have from the edge on. [N]
    """
    si = end.pi.compute_surface_interaction(end.ray, mi.RayFlags.All)
    emitted = si.emitter(context.scene).eval(si)
    limits = dataclasses.replace(context.limits, max_depth=max_depth, hide_emitters=False)
    return context.radiance(sampler, end.ray, mi.Bool(True), limits) - emitted
