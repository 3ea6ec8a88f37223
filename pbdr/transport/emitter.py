"""Light arriving from emitters: detached samples, attached contributions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import drjit as dr
import mitsuba as mi

from ..geometry.motion import area_jacobian, carries_motion, material_point, relative_cosine
from ..geometry.sliding import meet_tangent_plane, slide

if TYPE_CHECKING:
    from .velocity import Bend


def power_heuristic(pdf_a: mi.Float, pdf_b: mi.Float) -> mi.Float:
    """Weight of strategy a against strategy b, detached [Veach 1997, eq. 9.13]."""
    a2 = dr.square(pdf_a)
    b2 = dr.square(pdf_b)
    weight = dr.select(a2 > 0, a2 / (a2 + b2), 0)
    return dr.detach(dr.select(dr.isfinite(weight), weight, 0))


def emitters_move(scene: mi.Scene) -> bool:
    """Whether surface, position or single direction of an emitter carries derivatives.

    Environments are integrated over fixed directions, so that their rotation moves no path.
    """
    return any(
        carries_motion(owner)
        for emitter in scene.emitters()
        if not emitter.is_environment()
        for owner in (emitter, emitter.get_shape())
        if owner is not None
    )


def textured_meshes(scene: mi.Scene) -> list[mi.Mesh]:
    """Meshes that shine with a texture: Mitsuba finds emitter samples on them by their texture coordinates.

    Points of rectangles are found without.
    """
    return [
        shape
        for shape in scene.shapes()
        if shape.is_mesh()
        and shape.class_name() != "Rectangle"
        and shape.is_emitter()
        and mi.has_flag(shape.emitter().flags(), mi.EmitterFlags.SpatiallyVarying)
    ]


def prepare_textured_lamps(scene: mi.Scene) -> None:
    """Have Mitsuba make what finds points on lamps that shine with a texture: else the first sample does."""
    for emitter in scene.emitters():
        if emitter.get_shape() is not None and mi.has_flag(emitter.flags(), mi.EmitterFlags.SpatiallyVarying):
            emitter.sample_direction(dr.zeros(mi.SurfaceInteraction3f), mi.Point2f(0.5))


def is_distant(emitter: mi.EmitterPtr) -> mi.Bool:
    """Whether light comes from a direction instead of a point. [N]"""
    kind = emitter.flags()
    return mi.has_flag(kind, mi.EmitterFlags.Infinite) | mi.has_flag(kind, mi.EmitterFlags.DeltaDirection)


def emission_toward(
    scene: mi.Scene,
    si: mi.SurfaceInteraction3f,
    ds: mi.DirectionSample3f,
    active: mi.Bool,
    *,
    by_direction: bool = False,
) -> mi.Spectrum:
    """Radiance of emitter samples at the points that they light, attached.

    An environment is looked up by direction: Mitsuba takes the sample's texture coordinates, which follow neither the
    rotation of the environment nor a direction that moves.

    Args:
        si: The lit points. [N]
        ds: Samples, attached where their direction moves. [N]
        by_direction: Whether an environment may have turned since the samples were taken.
    """
    emission = scene.eval_emitter_direction(si, ds, active)
    environment = scene.environment()
    if environment is None or not (by_direction or dr.grad_enabled(ds.d) or carries_motion(environment)):
        return emission
    on = active & (ds.emitter == mi.EmitterPtr(environment))
    seen = sky(environment, ds.d, si.wavelengths, ds.time, on)
    return dr.select(on, seen if by_direction else dr.replace_grad(emission, seen), emission)


def sky(
    environment: mi.Emitter, d: mi.Vector3f, wavelengths: mi.Wavelength, time: mi.Float, active: mi.Bool
) -> mi.Spectrum:
    """Radiance of an environment in directions, attached. [N]"""
    away = dr.zeros(mi.SurfaceInteraction3f, dr.width(d))
    away.wi, away.wavelengths, away.time = -d, wavelengths, time
    return environment.eval(away, active)


def follow_emitter(
    scene: mi.Scene,
    si: mi.SurfaceInteraction3f,
    ds: mi.DirectionSample3f,
    *,
    moving: bool,
    active: mi.Bool,
    bend: Bend | None = None,
) -> tuple[mi.DirectionSample3f, mi.Float]:
    """Attach an emitter sample to the motion of its emitter and of the point that it lights.

    Area lights: the sampled point follows the light's surface and the density per unit area is fixed, which leaves the
    factor |n_L·ω|/r² J. Point and spot lights: their position. Distant emitters: the direction is fixed.

    Args:
        si: The lit material points, attached. [N]
        ds: Detached emitter samples. [N]
        moving: Whether emitters carry motion (costs one short ray per sample).
        bend: Lets the ray to the light follow a velocity field instead of the sampled point; needs ``moving``.

    Returns:
        The attached samples and a factor of value 1 that carries the change of measure. [N]
    """
    # A point of a lamp can be lit by itself, but for rounding: nothing moves between the two
    apart = ds.dist > 1e-6 * dr.max(dr.abs(ds.p))
    on_surface = active & apart & mi.has_flag(ds.emitter.flags(), mi.EmitterFlags.Surface)
    distant = is_distant(ds.emitter)

    followed = dr.detach(ds, True)
    jacobian = mi.Float(1)
    single_d = ds.d
    if moving:
        pi, light = _sampled_point(scene, si, ds, on_surface)
        on_light = on_surface & light.is_valid()
        # Lights without extent have one sample, which follows them
        single = ds.emitter.sample_direction(si, mi.Point2f(0.5), active & ds.delta)[0]
        single_p = dr.select(ds.delta & ~distant, single.p, dr.detach(ds.p))
        single_d = dr.select(ds.delta & distant, single.d, dr.detach(ds.d))
        followed.p = dr.replace_grad(ds.p, dr.select(on_light, light.p, single_p))
        followed.n = dr.replace_grad(ds.n, dr.select(on_light, light.n, dr.detach(ds.n)))
        jacobian = area_jacobian(pi, light, on_light)

    # Recompute what depends on both ends
    offset = dr.select(apart, followed.p - si.p, dr.detach(ds.d))
    distance = dr.norm(offset)
    followed.d = dr.replace_grad(ds.d, dr.select(distant, single_d, offset * dr.rcp(distance)))
    followed.dist = dr.replace_grad(ds.dist, dr.select(distant, ds.dist, distance))
    solid_angle = relative_cosine(followed.n, followed.d) * dr.relative_grad(dr.rcp(dr.square(distance)))
    measure = jacobian * dr.select(on_surface, solid_angle, 1)
    if bend is not None:
        followed.d, measure = bend(si.p, followed.d, measure, active & ~ds.delta)
        reached = slide(pi, light, meet_tangent_plane(si.p, followed.d, light, on_light), on_light)
        for name in ("p", "n", "uv"):
            kept = dr.detach(getattr(followed, name))
            setattr(followed, name, dr.replace_grad(kept, dr.select(on_light, getattr(reached, name), kept)))
    return followed, measure


def _sampled_point(
    scene: mi.Scene, si: mi.SurfaceInteraction3f, ds: mi.DirectionSample3f, active: mi.Bool
) -> tuple[mi.PreliminaryIntersection3f, mi.SurfaceInteraction3f]:
    """The sampled points of area lights as hits, and as material points that follow the lights. [N] each"""
    # By a short ray along the light's normal: along the sampled direction grazing rays miss, and each miss near a
    # corner weighs 1/r
    with dr.suspend_grad():
        ε = 1e-5 * (1 + dr.max(dr.abs(ds.p)))
        ray = mi.Ray3f(ds.p + ds.n * ε, -ds.n, 2 * ε, ds.time, si.wavelengths)
        pi = scene.ray_intersect_preliminary(ray, coherent=False, active=active)
    return pi, material_point(pi, ray, mi.RayFlags.All | mi.RayFlags.dNSdUV, active)
