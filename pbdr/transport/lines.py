"""Lines of light that touch the edge of an occluder, with their far end: an emitter, or a surface that reflects."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import drjit as dr
import mitsuba as mi

from ..geometry.motion import material_point
from ..sobol import SobolSampler
from .emitter import emitters_move, follow_emitter, is_distant

if TYPE_CHECKING:
    from .context import Context

#: Offset of boundary rays from their edge, relative to the size of coordinates
EDGE_OFFSET = 1e-4


@dataclasses.dataclass(frozen=True)
class CurvePoint:
    """A point on a curve where an occluder can end."""

    point: mi.Point3f  #: attached to the occluder's motion [N]
    along: mi.Vector3f  #: unit tangent of the curve, detached [N]
    occluder: mi.Vector3f  #: any vector from the curve toward the occluder's surface, detached [N]


@dataclasses.dataclass(frozen=True)
class Line:
    """A line through a curve point that passes the occluder on its open side, detached."""

    forward: mi.Ray3f  #: from the edge toward the light [N]
    backward: mi.Ray3f  #: from the edge toward the lit surface [N]
    inward: mi.Vector3f  #: unit normal of tangent and line, into the occluder [N]
    sine: mi.Float  #: ‖t × ω‖ [N]
    active: mi.Bool  #: whether light can arrive [N]


def line_through(
    curve: CurvePoint, ω: mi.Vector3f, wavelengths: mi.Wavelength, extent: mi.Float, active: mi.Bool
) -> Line:
    """The line through a curve point along ω, moved off the occluder by a hair.

    Args:
        ω: Toward the light, unit length. [N]
        extent: Of the scene. [1]
    """
    b = dr.detach(curve.point)
    m = dr.cross(curve.along, ω)
    sine = dr.norm(m)
    m *= dr.sign(dr.dot(m, curve.occluder)) * dr.rcp(sine)
    origin = b - m * (EDGE_OFFSET * dr.maximum(dr.minimum(1, extent), dr.max(dr.abs(b))))
    return Line(
        mi.Ray3f(origin, ω, 0, wavelengths), mi.Ray3f(origin, -ω, 0, wavelengths), m, sine, active & (sine > 1e-6)
    )


@dataclasses.dataclass(frozen=True)
class EmitterEnd:
    """The far end of a line on an emitter."""

    ds: mi.DirectionSample3f  #: as seen from the curve point [N]

    def fields(self, *, moves: bool) -> dict:
        """What the speed of a boundary needs of it. [N]

        Args:
            moves: Whether emitters carry motion.
        """
        names = ("p", "dist", "emitter", *(("n", "uv", "delta", "pdf") if moves else ()))
        return {name: getattr(self.ds, name) for name in names}

    @classmethod
    def of(cls, fields: dict, ω: mi.Vector3f) -> EmitterEnd:
        """The end that :meth:`fields` took apart.

        Args:
            ω: Direction from the curve point. [N]
        """
        ds = dr.zeros(mi.DirectionSample3f, dr.width(ω))
        ds.d = ω
        for name, value in fields.items():
            setattr(ds, name, value)
        return cls(ds)

    def view(self) -> tuple[mi.Vector3f, mi.Bool]:
        """From where the occluder is seen: a point, or a direction, and which of the two. [N]"""
        distant = is_distant(self.ds.emitter)
        return mi.Vector3f(dr.select(distant, self.ds.d, self.ds.p)), ~distant

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
        return dr.select(is_distant(ds.emitter), near.p + ds.d * r, dr.lerp(near.p, ds.p, t))


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


def sample_emitter_end(context: Context, sampler: SobolSampler, count: int) -> EmitterEnd:
    """Points on emitters, or directions to distant ones, for occluders that are not yet chosen.

    The density does not depend on where the light goes, so that points which are hidden from one occluder but not from
    another are not missed. ``ds.pdf`` is per area for surfaces, per solid angle for distant light.
    """
    scene, setting = context.scene, context.setting
    index, rcp_pmf = _choose_emitter(scene, sampler.next_1d(), setting.unsampled)
    emitter = dr.gather(mi.EmitterPtr, scene.emitters_dr(), index)
    on_surface = mi.has_flag(emitter.flags(), mi.EmitterFlags.Surface)
    sample = sampler.next_2d()
    anywhere = dr.zeros(mi.Interaction3f, count)
    anywhere.p = setting.centre
    ds, _ = emitter.sample_direction(anywhere, sample, ~on_surface)
    ps, _ = emitter.sample_position(0, sample, on_surface)
    for name in ("p", "n", "uv", "pdf"):
        setattr(ds, name, dr.select(on_surface, getattr(ps, name), getattr(ds, name)))
    ds.delta &= ~on_surface
    ds.pdf /= rcp_pmf
    ds.emitter = emitter
    return EmitterEnd(ds)


def _choose_emitter(scene: mi.Scene, u: mi.Float, unsampled: mi.UInt32 | None) -> tuple[mi.UInt32, mi.Float]:
    """Emitters, and the reciprocals of their probabilities. [N]

    Args:
        u: Uniform in [0, 1). [N]
        unsampled: Emitters that the scene never chooses; they get their share of the samples all the same. [K]
    """
    if unsampled is None:
        return scene.sample_emitter(u)[:2]
    count, total = dr.width(unsampled), len(scene.emitters())
    share = count / total
    index, rcp_pmf, _ = scene.sample_emitter((u - share) / (1 - share))
    k = dr.minimum(mi.UInt32(u * total), count - 1)
    index = dr.select(u < share, dr.gather(mi.UInt32, unsampled, k), index)
    return index, dr.select(u < share, total, rcp_pmf / (1 - share))


def arriving_light(
    scene: mi.Scene, end: EmitterEnd, b: mi.Point3f, wavelengths: mi.Wavelength
) -> tuple[EmitterEnd, mi.Spectrum]:
    """The end of :func:`sample_emitter_end` as seen from a curve point, and its light there.

    Returns:
        The end, and radiance over its density per solid angle. [N]
    """
    ds = dr.detach(end.ds, True)
    distant = is_distant(ds.emitter)
    offset = ds.p - b
    distance = dr.norm(offset)
    ds.d = dr.select(distant, ds.d, offset / distance)
    ds.dist = dr.select(distant, ds.dist, distance)
    on_surface = mi.has_flag(ds.emitter.flags(), mi.EmitterFlags.Surface)
    ds.pdf *= dr.select(on_surface, dr.square(distance) / dr.abs_dot(ds.n, ds.d), 1)
    it = dr.zeros(mi.SurfaceInteraction3f, dr.width(b))
    it.p, it.wavelengths = b, wavelengths
    emission = scene.eval_emitter_direction(it, ds)
    return EmitterEnd(ds), dr.select((ds.pdf > 0) & dr.isfinite(ds.pdf), emission / ds.pdf, 0)


def is_lit(scene: mi.Scene, line: Line, end: EmitterEnd) -> mi.Bool:
    """Whether nothing stands between the open side of the edge and the emitter."""
    ray = mi.Ray3f(line.forward)
    ray.maxt = end.ds.dist * (1 - 1e-3)
    return line.active & (end.ds.pdf > 0) & ~scene.ray_test(ray, line.active)


def reflected_light(
    context: Context, end: SurfaceEnd, sampler: SobolSampler, max_depth: mi.UInt32, active: mi.Bool
) -> mi.Spectrum:
    """What the line sees toward the light, without what emitters send themselves. [N]

    Args:
        max_depth: Segments that the path may have from the edge on. [N]
    """
    si = end.pi.compute_surface_interaction(end.ray, mi.RayFlags.All, active)
    emitted = si.emitter(context.scene).eval(si, active)
    limits = dataclasses.replace(context.limits, max_depth=max_depth, hide_emitters=False)
    return context.paths(sampler, end.ray, active, limits).L - emitted
