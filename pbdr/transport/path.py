"""The path loop: emitter sampling, BSDF sampling, multiple importance sampling, Russian roulette."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import drjit as dr
import mitsuba as mi

from ..geometry.edges import has_instances
from ..geometry.level_sets import is_level_set
from ..geometry.motion import area_jacobian, material_point
from ..geometry.sliding import meet_tangent_plane
from .emitter import emission_toward, emitters_move, follow_emitter, power_heuristic
from .lobe_sampling import RoughLobe, sample_bsdf
from .lobes import LobeSample
from .memory import LightSample, Vertex

if TYPE_CHECKING:
    from ..geometry.rough_lobes import RoughLobes
    from ..interior.base import Rule
    from .velocity import Bend


@dataclasses.dataclass(frozen=True)
class Limits:
    """Where paths end."""

    max_depth: int  #: longest path in segments; 2³² − 1 stands for no limit
    rr_depth: int  #: segment after which Russian roulette starts
    hide_emitters: bool  #: directly visible emitters are transparent


@dataclasses.dataclass(frozen=True)
class Traits:
    """What a scene contains, as far as it decides which code a kernel needs."""

    moving_emitters: bool  #: positions of emitters carry derivatives
    delta_bsdfs: bool  #: perfectly specular or index-matched lobes exist

    @classmethod
    def of(cls, scene: mi.Scene, attached: bool) -> Traits:
        """Look at a scene; primal passes need none of it."""
        if not attached:
            return cls(moving_emitters=False, delta_bsdfs=False)
        flags = [shape.bsdf().flags() for shape in scene.shapes() if shape.bsdf() is not None]
        special = int(mi.BSDFFlags.Delta) | int(mi.BSDFFlags.Null)
        return cls(emitters_move(scene), has_instances(scene) or any(int(f) & special for f in flags))


@dataclasses.dataclass(frozen=True)
class PathResult:
    """What one pass over all paths leaves."""

    L: mi.Spectrum  #: radiance along the first ray (attached when taped) [N]
    δL: mi.Spectrum  #: its derivative (forward replay), the unchanged adjoint (backward replay) or 0 [N]
    valid: mi.Bool  #: whether the ray counts as covered in the alpha channel [N]
    memory: dict  #: the rule's record of the path
    count: mi.UInt32  #: vertices of the path, with the last one in the environment [N]


def background_covers(scene: mi.Scene, limits: Limits) -> bool:
    """Whether rays that meet nothing count as covered in the alpha channel: if they show an environment."""
    return not limits.hide_emitters and scene.environment() is not None


@dr.syntax
def first_hit(
    scene: mi.Scene, ray: mi.Ray3f, limits: Limits, active: mi.Bool
) -> tuple[mi.PreliminaryIntersection3f, mi.Ray3f]:
    """Trace camera rays, through directly visible emitters if those are hidden.

    Returns:
        The hits, and the rays that they belong to: those that passed an emitter start behind it.
    """
    ray = mi.Ray3f(ray)
    pi = scene.ray_intersect_preliminary(ray, coherent=True, active=active)
    if dr.hint(limits.hide_emitters, mode="scalar"):
        passing = active & pi.is_valid() & (pi.shape.emitter() != None)  # noqa: E711 (element-wise)
        while dr.hint(passing, exclude=[scene, limits]):
            # Detached: the ray stays on its line wherever the emitter goes
            si = dr.detach(pi.compute_surface_interaction(ray, mi.RayFlags.Minimal, passing), True)
            ray = mi.Ray3f(si.spawn_ray(ray.d))
            pi = scene.ray_intersect_preliminary(ray, coherent=True, active=passing)
            passing &= pi.is_valid() & (pi.shape.emitter() != None)  # noqa: E711 (element-wise)
    return pi, ray


@dr.syntax
def is_visible(
    scene: mi.Scene, si: mi.SurfaceInteraction3f, x0: mi.Point3f, limits: Limits, active: mi.Bool
) -> mi.Bool:
    """Whether the camera sees surface points, through directly visible emitters if those are hidden.

    Args:
        si: The points. [N]
        x0: Where camera rays to them begin: on the near clip. [N]
    """
    ray = si.spawn_ray_to(x0)
    if dr.hint(not limits.hide_emitters, mode="scalar"):
        return active & ~scene.ray_test(ray, active)
    active = active & (si.shape.emitter() == None)  # noqa: E711 (element-wise)
    hit = scene.ray_intersect(ray, mi.RayFlags.Minimal, False, active)
    passing = active & hit.is_valid() & (hit.shape.emitter() != None)  # noqa: E711 (element-wise)
    while dr.hint(passing, exclude=[scene, limits]):
        hit = scene.ray_intersect(hit.spawn_ray_to(x0), mi.RayFlags.Minimal, False, passing)
        passing &= hit.is_valid() & (hit.shape.emitter() != None)  # noqa: E711 (element-wise)
    return active & ~hit.is_valid()


def direct_light(
    scene: mi.Scene,
    si: mi.SurfaceInteraction3f,
    bsdf: mi.BSDFPtr,
    sample: mi.Point2f,
    *,
    attached: bool,
    moving_emitters: bool,
    active: mi.Bool,
    lobe: RoughLobe | None = None,
    bend: Bend | None = None,
) -> tuple[mi.Spectrum, LightSample]:
    """Light that one emitter sample sends over a vertex: f_s |n·ω| Le / p(ω) × MIS weight [Veach 1997, section 8.2].

    Attached: BSDF, emission, and with moving geometry the geometry term. Detached: the sample, its density, the weight.

    Args:
        lobe: Of points at which directions are drawn by the derivative of a lobe.

    Returns:
        The light, and the sample that it comes from.
    """
    active = active & mi.has_flag(bsdf.flags(), mi.BSDFFlags.Smooth)
    with dr.suspend_grad():
        ds, weight = scene.sample_emitter_direction(si, sample, True, active)
    active &= ds.pdf != 0

    with dr.resume_grad(when=attached):
        if attached:
            measure = mi.Float(1)
            if moving_emitters or dr.grad_enabled(si.p):
                ds, measure = follow_emitter(scene, si, ds, moving=moving_emitters, active=active, bend=bend)
            emission = emission_toward(scene, si, ds, active)
            rcp_pdf = dr.select(ds.pdf != 0, dr.rcp(dr.detach(ds.pdf)), 0)
            weight = dr.replace_grad(weight, emission * rcp_pdf * measure)
        f, pdf_bsdf = bsdf.eval_pdf(mi.BSDFContext(), si, si.to_local(ds.d), active)
        if lobe is not None:
            with dr.suspend_grad():
                pdf_bsdf = lobe.mixed(pdf_bsdf, si.wi, si.to_local(ds.d))
        mis = dr.select(ds.delta, 1, power_heuristic(dr.detach(ds.pdf), pdf_bsdf))
        light = LightSample(
            dr.detach(ds, True),
            dr.detach(dr.select(active, mis * weight, 0)),
            dr.select(active, mis * dr.rcp(dr.detach(ds.pdf)), 0),
        )
        return dr.select(active, mis * f * weight, 0), light


def vertex_weight(
    si: mi.SurfaceInteraction3f,
    bsdf: mi.BSDFPtr,
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
        geometry = dr.abs_dot(next_si.n, wo) * dr.rcp(distance2)
        measure = dr.relative_grad(dr.select(follows, geometry, 1)) * area_jacobian(pi_next, next_si, follows)
        if bend is not None:
            wo, measure = bend(si.p, wo, measure, active)
            ahead = dr.select(on_surface, meet_tangent_plane(si.p, wo, next_si, on_surface), si.p + wo)

    f = bsdf.eval(mi.BSDFContext(), si, si.to_local(wo), active)
    factor = dr.relative_grad(f) * measure
    if sampled:
        factor = sampled.carry(si, bsdf, factor, active)
    return dr.select(active, factor, 1), ahead


@dr.syntax
def trace_path(
    scene: mi.Scene,
    sampler: mi.Sampler,
    ray: mi.Ray3f,
    *,
    rule: Rule,
    limits: Limits,
    traits: Traits,
    origin: mi.Point3f,
    lobes: RoughLobes | None,
    active: mi.Bool,  # (`dr.syntax` forgets defaults of keyword-only arguments)
) -> PathResult:
    """Trace paths from camera rays and let ``rule`` accumulate what they carry.

    Every rule consumes the same random numbers in the same order, so that passes with equal seeds follow equal paths.

    Args:
        sampler: Seeded for all lanes.
        ray: Camera rays, detached, world space. [N]
        origin: Vertex on the sensor, attached where the sensor moves. [N]
        lobes: Materials whose directions are drawn by the derivative of a lobe.
        active: Lanes to trace. [N]
    """
    active = mi.Bool(active) & (limits.max_depth > 0)
    pi, ray = first_hit(scene, mi.Ray3f(dr.detach(ray, True)), limits, active)
    ray_prev = mi.Ray3f(ray)
    pi_prev = dr.zeros(mi.PreliminaryIntersection3f, dr.width(ray))
    it_prev = dr.zeros(mi.Interaction3f)
    pdf_prev = mi.Float(1)  # density of the last BSDF sample, solid angle
    delta_prev = mi.Bool(True)  # whether that sample was specular
    β = mi.Spectrum(1)  # throughput
    η = mi.Float(1)  # relative index of refraction along the path
    L, δL = rule.start()
    depth = mi.UInt32(0)
    count = mi.UInt32(0)
    memory = rule.allocate(limits.max_depth)
    valid = mi.Bool(background_covers(scene, limits))

    # Symbolic loop over the active lanes, or one copy of the body for each vertex if the rule asks for it
    passed = 0
    more = rule.unrolled or active
    while dr.hint(
        more,
        mode="scalar" if rule.unrolled else None,
        label=f"path ({rule.name})",
        exclude=[rule, limits, traits, lobes, scene],
    ):
        # Material point of this vertex, seen from the attached vertex before it
        with dr.resume_grad(when=rule.attached):
            si = material_point(pi, ray, mi.RayFlags.All, active)
            if dr.hint(dr.grad_enabled(si.p) or dr.grad_enabled(origin), mode="scalar"):
                before = material_point(pi_prev, ray_prev, mi.RayFlags.Minimal, active & (depth > 0))
                ω = dr.normalize(dr.select(depth > 0, before.p, origin) - si.p)
                si.wi = dr.replace_grad(si.wi, dr.select(si.is_valid(), si.to_local(ω), si.wi))
        bsdf = si.bsdf(ray)
        lobe = RoughLobe.at(lobes, bsdf, si, active)

        # Emission toward the previous vertex, weighted against emitter sampling there
        with dr.suspend_grad():
            ds = mi.DirectionSample3f(scene, si, it_prev)
            mis = power_heuristic(pdf_prev, scene.pdf_emitter_direction(it_prev, ds, active & ~delta_prev))
        with dr.resume_grad(when=rule.attached):
            Le = β * mis * ds.emitter.eval(si, active)

        # Light from one sampled emitter
        active_next = active & (depth + 1 < limits.max_depth) & si.is_valid()
        sample = sampler.next_2d()
        with dr.resume_grad(when=rule.attached):
            Ld, light = direct_light(
                scene, si, bsdf, sample,
                attached=rule.attached, moving_emitters=traits.moving_emitters, active=active_next,
                lobe=lobe,
            )  # fmt: skip
            Ld = β * Ld

        # Continue in a direction sampled from the BSDF
        with dr.suspend_grad():
            sample_1, sample_2 = sampler.next_1d(), sampler.next_2d()
            bs, bsdf_weight = sample_bsdf(bsdf, si, lobe, (sample_1, sample_2), active_next)
            ray_next = dr.detach(si.spawn_ray(si.to_world(bs.wo)), True)
            valid |= active & si.is_valid() & ~mi.has_flag(bs.sampled_type, mi.BSDFFlags.Null)
            η *= bs.eta
            weight = dr.detach(bsdf_weight)

            # Russian roulette on the detached throughput; η² cancels the solid-angle compression
            β_max = dr.max(dr.detach(β) * weight)
            active_next &= β_max != 0
            survival = dr.minimum(β_max * dr.square(η), 0.95)
            roulette = depth >= limits.rr_depth
            weight[roulette] *= dr.rcp(survival)
            active_next &= ~roulette | (sampler.next_1d() < survival)

            pi_next = scene.ray_intersect_preliminary(ray_next, coherent=False, active=active_next)

        # Hand over to the rule
        with dr.resume_grad(when=rule.attached):
            L = rule.gather(L, Le + Ld)
            vertex = Vertex(
                pi, active, ray.o, ray.d, β, mis, sample, L,
                emitter=ds.emitter, light=light, ahead=ray_next.d, lobe=bs.sampled_type,
                lobe_samples=(sample_1, sample_2), weight=dr.select(active_next, weight, 0),
            )  # fmt: skip
            rule.record(memory, count, vertex, active)
            β *= weight
            if dr.hint(rule.attached, mode="scalar"):
                sampled = LobeSample(scene, bs.sampled_type, sample_1, sample_2) if traits.delta_bsdfs else None
                factor, _ = vertex_weight(si, bsdf, sampled, (pi_next, ray_next), active=active_next)
                δL = rule.differentiate(L, δL, Le + Ld, factor)
                β = rule.extend(β, factor)

        it_prev = dr.detach(mi.Interaction3f(si), True)
        pdf_prev = dr.detach(bs.pdf, True)
        delta_prev = mi.has_flag(bs.sampled_type, mi.BSDFFlags.Delta)
        ray_prev = ray
        pi_prev = pi
        ray = ray_next
        pi = pi_next
        depth[si.is_valid()] += 1
        count[active] += 1
        active = rule.proceeds(count, active_next)
        if dr.hint(rule.unrolled, mode="scalar"):
            passed += 1
            more = passed < limits.max_depth
        else:
            more = active

    # A path that meets no surface but transparent ones sees hidden emitters only
    return PathResult(dr.select(valid, L, 0) if limits.hide_emitters else L, δL, valid, memory, count)
