"""The path loop: emitter sampling, BSDF sampling, multiple importance sampling, Russian roulette."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import drjit as dr
import mitsuba as mi

from ..geometry.edges import has_instances
from ..geometry.motion import material_point
from .camera_hits import background_covers, first_hit
from .emitter import emitters_move, power_heuristic
from .lobe_sampling import RoughLobe, sample_bsdf
from .lobes import LobeSample
from .memory import Vertex
from .scattering import SurfacePoint, direct_light, vertex_weight
from .sensor import sensor_vertex

if TYPE_CHECKING:
    from ..geometry.rough_lobes import RoughLobes
    from ..interior.base import Rule
    from .memory import LightSample
    from .samplers import Sampler


@dataclasses.dataclass(frozen=True)
class Limits:
    """Where paths end."""

    max_depth: int | mi.UInt32  #: longest path in segments; 2³² − 1 stands for no limit [1] or [N]
    rr_depth: int  #: segment after which Russian roulette starts
    hide_emitters: bool  #: directly visible emitters are transparent

    @property
    def has_roulette(self) -> bool:
        """Whether paths may be long enough for it."""
        return not isinstance(self.max_depth, int) or self.rr_depth + 1 < self.max_depth


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
class Start:
    """Where paths begin."""

    ray: mi.Ray3f  #: camera rays, detached, world space [N]
    origin: mi.Point3f  #: vertex on the sensor, detached [N]
    active: mi.Bool  #: lanes to trace [N]
    sensor: mi.Sensor | None = None  #: if it moves: its vertex is attached within the loop, whose state cannot carry it


@dataclasses.dataclass(frozen=True)
class PathResult:
    """What one pass over all paths leaves."""

    L: mi.Spectrum  #: radiance along the first ray (attached when taped) [N]
    δL: mi.Spectrum  #: its derivative (forward replay), the unchanged adjoint (backward replay) or 0 [N]
    valid: mi.Bool  #: whether the ray counts as covered in the alpha channel [N]
    memory: dict  #: the rule's record of the path
    count: mi.UInt32  #: vertices of the path, with the last one in the environment [N]


@dataclasses.dataclass
class _State:
    """What the loop carries from vertex to vertex, detached but for L and β of taped paths. [N] each"""

    pi: mi.PreliminaryIntersection3f  #: hit of this vertex
    ray: mi.Ray3f  #: that found it
    pi_prev: mi.PreliminaryIntersection3f  #: hit of the vertex before
    ray_prev: mi.Ray3f
    it_prev: mi.Interaction3f  #: that vertex
    pdf_prev: mi.Float  #: density of the BSDF sample taken there, solid angle
    delta_prev: mi.Bool  #: whether that sample was specular
    β: mi.Spectrum  #: throughput
    η: mi.Float  #: relative index of refraction along the path
    L: mi.Spectrum  #: radiance, as the rule counts it
    δL: mi.Spectrum  #: its derivative, likewise
    depth: mi.UInt32  #: surfaces met
    count: mi.UInt32  #: vertices passed
    valid: mi.Bool  #: whether the ray counts as covered
    active: mi.Bool  #: whether there is a vertex to look at
    memory: dict  #: the rule's record


@dataclasses.dataclass(frozen=True)
class _Light:
    """Light that a vertex adds. [N] each"""

    total: mi.Spectrum  #: toward the sensor, attached if the rule asks for it
    mis: mi.Float  #: weight of emission found by BSDF sampling
    emitter: mi.EmitterPtr  #: that was hit
    sample: mi.Point2f  #: random numbers of the emitter sample
    sampled: LightSample  #: that sample


@dataclasses.dataclass(frozen=True)
class _Bounce:
    """Where paths go after a vertex, detached. [N] each"""

    pi: mi.PreliminaryIntersection3f  #: next hit
    ray: mi.Ray3f  #: that finds it
    active: mi.Bool  #: whether the path goes on
    weight: mi.Spectrum  #: of the throughput: f_s |n·ω| over density and survival
    bs: mi.BSDFSample3f  #: direction, density and lobe
    samples: tuple[mi.Float, mi.Point2f]  #: its random numbers
    η: mi.Float  #: relative index of refraction along the path


@dr.syntax
def trace_path(
    scene: mi.Scene,
    sampler: Sampler,
    start: Start,
    *,
    rule: Rule,
    limits: Limits,
    traits: Traits,
    lobes: RoughLobes | None,  # (`dr.syntax` forgets defaults of keyword-only arguments)
) -> PathResult:
    """Trace paths from camera rays and let ``rule`` accumulate what they carry.

    Every rule consumes the same random numbers in the same order, so that passes with equal seeds follow equal paths.

    Args:
        sampler: Seeded for all lanes.
        lobes: Materials whose directions are drawn by the derivative of a lobe.
    """
    state, origin, sensor = _begin(scene, start, rule, limits), start.origin, start.sensor

    # Symbolic loop over the active lanes, or one copy of the body for each vertex if the rule asks for it
    passed = 0
    more = rule.unrolled or state.active
    while dr.hint(
        more,
        mode="scalar" if rule.unrolled else None,
        label=f"path ({rule.name})",
        exclude=[rule, limits, traits, lobes, scene, sensor],
    ):
        with dr.resume_grad(when=rule.attached):
            surface = _arrive(state, origin, sensor, lobes)
            goes_on = state.active & (state.depth + 1 < limits.max_depth) & surface.si.is_valid()
            light = _light(scene, sampler, state, surface, goes_on, attached=rule.attached, traits=traits)
        bounce = _bounce(scene, sampler, state, surface, goes_on, limits)

        # Hand over to the rule
        with dr.resume_grad(when=rule.attached):
            state.L = rule.gather(state.L, light.total)
            rule.record(state.memory, state.count, _vertex(state, surface, light, bounce), state.active)
            state.β *= bounce.weight
            if dr.hint(rule.attached, mode="scalar"):
                sampled = LobeSample(scene, bounce.bs.sampled_type, *bounce.samples) if traits.delta_bsdfs else None
                following = bounce.pi, bounce.ray
                factor, _ = vertex_weight(surface, sampled, following, active=bounce.active)
                state.δL = rule.differentiate(state.L, state.δL, light.total, factor)
                state.β = rule.extend(state.β, factor)

        _move_on(state, surface, light, bounce, limits)
        state.active = rule.proceeds(state.count, bounce.active)
        if dr.hint(rule.unrolled, mode="scalar"):
            passed += 1
            more = passed < limits.max_depth
        else:
            more = state.active

    # A path that meets no surface but transparent ones sees hidden emitters only
    L = dr.select(state.valid, state.L, 0) if limits.hide_emitters else state.L
    return PathResult(L, state.δL, state.valid, state.memory, state.count)


def _begin(scene: mi.Scene, start: Start, rule: Rule, limits: Limits) -> _State:
    """Trace the camera rays to their first hits."""
    active = mi.Bool(start.active) & (limits.max_depth > 0)
    pi, ray = first_hit(scene, mi.Ray3f(dr.detach(start.ray, True)), limits, active)
    L, δL = rule.start()
    return _State(
        pi=pi,
        ray=ray,
        pi_prev=dr.zeros(mi.PreliminaryIntersection3f, dr.width(ray)),
        ray_prev=mi.Ray3f(ray),
        it_prev=dr.zeros(mi.Interaction3f),
        pdf_prev=mi.Float(1),
        delta_prev=mi.Bool(True),
        β=mi.Spectrum(1),
        η=mi.Float(1),
        L=L,
        δL=δL,
        depth=mi.UInt32(0),
        count=mi.UInt32(0),
        valid=mi.Bool(background_covers(scene, limits)),
        active=active,
        memory=rule.allocate(limits.max_depth),
    )


def _arrive(state: _State, origin: mi.Point3f, sensor: mi.Sensor | None, lobes: RoughLobes | None) -> SurfacePoint:
    """Material points of this vertex, seen from the attached vertex before it. [N]"""
    si = material_point(state.pi, state.ray, mi.RayFlags.All, state.active)
    is_later = state.depth > 0
    if sensor is not None:
        origin = dr.replace_grad(origin, sensor_vertex(sensor, state.ray, ~is_later))
    if dr.grad_enabled(si.p) or dr.grad_enabled(origin):
        before = material_point(state.pi_prev, state.ray_prev, mi.RayFlags.Minimal, state.active & is_later)
        ω = dr.normalize(dr.select(is_later, before.p, origin) - si.p)
        si.wi = dr.replace_grad(si.wi, dr.select(si.is_valid(), si.to_local(ω), si.wi))
    bsdf = si.bsdf(state.ray)
    return SurfacePoint(si, bsdf, RoughLobe.at(lobes, bsdf, si, state.active))


def _light(
    scene: mi.Scene,
    sampler: Sampler,
    state: _State,
    surface: SurfacePoint,
    active: mi.Bool,
    *,
    attached: bool,
    traits: Traits,
) -> _Light:
    """Light that this vertex adds to the path.

    Args:
        active: Where emitters are sampled. [N]
    """
    # Emission toward the previous vertex, weighted against emitter sampling there
    with dr.suspend_grad():
        ds = mi.DirectionSample3f(scene, surface.si, state.it_prev)
        pdf = scene.pdf_emitter_direction(state.it_prev, ds, state.active & ~state.delta_prev)
        mis = power_heuristic(state.pdf_prev, pdf)
    Le = state.β * mis * ds.emitter.eval(surface.si, state.active)

    # Light from one sampled emitter
    sample = sampler.next_2d()
    moving = traits.moving_emitters
    Ld, sampled = direct_light(scene, surface, sample, attached=attached, moving_emitters=moving, active=active)
    return _Light(Le + state.β * Ld, mis, ds.emitter, sample, sampled)


def _bounce(
    scene: mi.Scene, sampler: Sampler, state: _State, surface: SurfacePoint, active: mi.Bool, limits: Limits
) -> _Bounce:
    """Continue in a direction sampled from the BSDF."""
    with dr.suspend_grad():
        samples = sampler.next_1d(), sampler.next_2d()
        bs, weight = sample_bsdf(surface.bsdf, surface.si, surface.lobe, samples, active)
        ray = dr.detach(surface.si.spawn_ray(surface.si.to_world(bs.wo)), True)
        η, weight = state.η * bs.eta, dr.detach(weight)

        # Russian roulette on the detached throughput; η² cancels the solid-angle compression
        β_max = dr.max(dr.detach(state.β) * weight)
        active = active & (β_max != 0)
        if limits.has_roulette:
            survival = dr.minimum(β_max * dr.square(η), 0.95)
            roulette = state.depth >= limits.rr_depth
            weight[roulette] *= dr.rcp(survival)
            active &= ~roulette | (sampler.next_1d() < survival)

        pi = scene.ray_intersect_preliminary(ray, coherent=False, active=active)
        return _Bounce(pi, ray, active, weight, bs, samples, η)


def _vertex(state: _State, surface: SurfacePoint, light: _Light, bounce: _Bounce) -> Vertex:
    """What rules may keep of this vertex."""
    return Vertex(
        state.pi, state.active, state.ray.o, state.ray.d, state.β, light.mis, light.sample, state.L,
        emitter=light.emitter, light=light.sampled, ahead=bounce.ray.d, lobe=bounce.bs.sampled_type,
        lobe_samples=bounce.samples, si=surface.si, weight=dr.select(bounce.active, bounce.weight, 0),
    )  # fmt: skip


def _move_on(state: _State, surface: SurfacePoint, light: _Light, bounce: _Bounce, limits: Limits) -> None:
    """Make the next vertex this one."""
    si, bs = surface.si, bounce.bs
    seen = ~mi.has_flag(bs.sampled_type, mi.BSDFFlags.Null)
    if not limits.hide_emitters:
        # A transparent lamp is seen as well
        seen |= light.emitter != None  # noqa: E711 (element-wise)
    state.valid |= state.active & si.is_valid() & seen
    state.η = bounce.η
    state.it_prev = dr.detach(mi.Interaction3f(si), True)
    state.pdf_prev = dr.detach(bs.pdf, True)
    state.delta_prev = mi.has_flag(bs.sampled_type, mi.BSDFFlags.Delta)
    state.ray_prev, state.pi_prev = state.ray, state.pi
    state.ray, state.pi = bounce.ray, bounce.pi
    state.depth[si.is_valid()] += 1
    state.count[state.active] += 1
