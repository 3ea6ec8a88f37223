"""Light at one vertex of a path: what arrives from an emitter, and how the throughput depends on the vertex."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import drjit as dr
import mitsuba as mi

from ..geometry.level_sets import is_level_set
from ..geometry.motion import area_jacobian, material_point, relative_cosine
from ..geometry.sliding import meet_tangent_plane
from .emitter import emission_toward, follow_emitter, power_heuristic
from .memory import LightSample

if TYPE_CHECKING:
    from .lobe_sampling import RoughLobe
    from .lobes import LobeSample
    from .velocity import Bend


@dataclasses.dataclass(frozen=True)
class SurfacePoint:
    """Surface points and what they are made of."""

    si: mi.SurfaceInteraction3f  #: attached where they move [N]
    bsdf: mi.BSDFPtr  #: [N]
    lobe: RoughLobe | None = None  #: at which directions are drawn by the derivative of a lobe [N]


def direct_light(
    scene: mi.Scene,
    surface: SurfacePoint,
    sample: mi.Point2f,
    *,
    attached: bool,
    moving_emitters: bool,
    active: mi.Bool,
    bend: Bend | None = None,
) -> tuple[mi.Spectrum, LightSample]:
    """Light that one emitter sample sends over a vertex: f_s |n·ω| Le / p(ω) × MIS weight [Veach 1997, section 8.2].

    Attached: BSDF, emission, and with moving geometry the geometry term. Detached: the sample, its density, the weight.

    Returns:
        The light, and the sample that it comes from.
    """
    si, bsdf, lobe = surface.si, surface.bsdf, surface.lobe
    active = active & mi.has_flag(bsdf.flags(), mi.BSDFFlags.Smooth)
    with dr.suspend_grad():
        ds, weight = scene.sample_emitter_direction(si, sample, False, active)
        turned_away = mi.has_flag(ds.emitter.flags(), mi.EmitterFlags.Surface) & (dr.dot(ds.d, ds.n) >= 0)
        active &= (ds.pdf != 0) & ~turned_away
        f, pdf_bsdf = bsdf.eval_pdf(mi.BSDFContext(), si, si.to_local(ds.d), active)
        # No ray is cast where no light can turn, as below the horizon; black materials may have a derivative
        active &= (pdf_bsdf > 0) | (dr.max(f) > 0)
        active &= ~scene.ray_test(si.spawn_ray_to(ds.p), active)
        if lobe is not None:
            pdf_bsdf = lobe.mixed(pdf_bsdf, si.wi, si.to_local(ds.d))

    with dr.resume_grad(when=attached):
        if attached:
            measure = mi.Float(1)
            if moving_emitters or dr.grad_enabled(si.p):
                ds, measure = follow_emitter(scene, si, ds, moving=moving_emitters, active=active, bend=bend)
            emission = emission_toward(scene, si, ds, active)
            rcp_pdf = dr.select(ds.pdf != 0, dr.rcp(dr.detach(ds.pdf)), 0)
            weight = dr.replace_grad(weight, emission * rcp_pdf * measure)
            f = bsdf.eval(mi.BSDFContext(), si, si.to_local(ds.d), active)
        mis = dr.select(ds.delta, 1, power_heuristic(dr.detach(ds.pdf), pdf_bsdf))
        scale = dr.select(active, mis * dr.rcp(dr.detach(ds.pdf)), 0)
        light = LightSample(
            dr.detach(ds, True), dr.detach(dr.select(active, mis * weight, 0)), scale, dr.detach(scale * f)
        )
        return dr.select(active, mis * f * weight, 0), light


def vertex_weight(
    surface: SurfacePoint,
    sampled: LobeSample | None,
    following: tuple[mi.PreliminaryIntersection3f, mi.Ray3f],
    *,
    active: mi.Bool,
    bend: Bend | None = None,
) -> tuple[mi.Spectrum, mi.Point3f]:
    """A factor of value 1 that carries the derivative of one vertex's share of the path throughput.

    In surface variables it is f_s |n·ω| |n'·ω|/r² J', with ω and r between the attached vertices [Zhang et al. 2020];
    f_s |n·ω| alone if the path leaves the scene. Specular lobes carry what they reflect or transmit.

    Args:
        sampled: The lobe taken here, where a scene has specular ones.
        following: The next hit and the ray to it, detached.
        bend: Lets the direction follow a velocity field instead of the next material point.

    Returns:
        The factor, and where the next vertex is if ``bend`` is given.
    """
    si, bsdf = surface.si, surface.bsdf
    pi_next, ray_next = following
    wo = ray_next.d
    ahead = mi.Point3f(0)
    measure = mi.Float(1)
    if dr.grad_enabled(si.p):
        next_si = material_point(pi_next, ray_next, mi.RayFlags.Minimal | mi.RayFlags.dPdUV, active)
        on_surface = active & next_si.is_valid()
        # Rays that follow a field do not follow level sets, whose points have no identity of their own
        follows = on_surface if bend is None else on_surface & ~is_level_set(pi_next.shape)
        offset = next_si.p - si.p
        distance2 = dr.squared_norm(offset)
        wo = dr.replace_grad(wo, dr.select(follows, offset * dr.rsqrt(distance2), wo))
        geometry = relative_cosine(next_si.n, wo) * dr.relative_grad(dr.rcp(distance2))
        measure = dr.select(follows, geometry, 1) * area_jacobian(pi_next, next_si, follows)
        if bend is not None:
            wo, measure = bend(si.p, wo, measure, active)
            ahead = dr.select(on_surface, meet_tangent_plane(si.p, wo, next_si, on_surface), si.p + wo)

    f = bsdf.eval(mi.BSDFContext(), si, si.to_local(wo), active)
    factor = dr.relative_grad(f) * measure
    if sampled:
        factor = sampled.carry(si, bsdf, factor, active)
    return dr.select(active, factor, 1), ahead
