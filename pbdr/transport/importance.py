"""Light toward the sensor: what a surface point that is lit from a given direction sends to the film.

The importance side of a path; `path.py` is the radiance side.
"""

from __future__ import annotations

import dataclasses

import drjit as dr
import mitsuba as mi

from ..sobol import SobolSampler
from .camera_hits import is_visible
from .context import Context
from .film import in_sampled_area
from .sensor import film_area_density, project, sensor_vertex


@dataclasses.dataclass(frozen=True)
class Connection:
    """A surface point joined to the sensor, detached."""

    position: mi.Point2f  #: film position, pixels [N]
    weight: mi.Spectrum  #: film response per perpendicular area and solid angle of the light that arrives [N]
    active: mi.Bool  #: whether the sensor sees the point [N]


def connect_to_sensor(
    context: Context, si: mi.SurfaceInteraction3f, incident: mi.Vector3f, active: mi.Bool
) -> Connection:
    """Join surface points to a pinhole: C(x) f_s(ω, ω_o) |n_s·ω| / |n_g·ω|, with C the film area per surface area.

    Multiplied by radiance and by the perpendicular area and solid angle dA⊥ dω of the lines that carry it, this is
    their contribution to the film integral ∫ L du, in pixels².

    Args:
        si: Lit points. [N]
        incident: Direction from them to where light comes from, unit length, world space. [N]
    """
    sensor = context.sensor
    # A pinhole's vertex does not depend on the ray; any ray from the sensor's origin stands for it
    forward = mi.Ray3f(sensor.world_transform() @ mi.Point3f(0), sensor.world_transform() @ mi.Vector3f(0, 0, 1))
    x0 = dr.detach(sensor_vertex(sensor, forward))
    offset = si.p - x0
    projected = project(sensor, x0, offset)

    # In front of the camera, on the film, and not hidden by what the near clip leaves
    u = projected.position
    active = active & si.is_valid() & (projected.depth > sensor.near_clip())
    active &= in_sampled_area(sensor.film(), u)
    clipped = x0 + offset * (sensor.near_clip() / dr.select(active, projected.depth, 1))
    active = is_visible(context.scene, si, clipped, context.limits, active)

    si = mi.SurfaceInteraction3f(si)
    si.wi = si.to_local(-dr.normalize(offset))
    f = si.bsdf().eval(mi.BSDFContext(), si, si.to_local(incident), active)
    density = film_area_density(projected, offset, si.n)
    cosine = dr.abs_dot(si.n, incident)
    active &= cosine > 1e-6
    return Connection(u, dr.select(active, f * (density / cosine), 0), active)


@dr.syntax
def carry_to_sensor(
    context: Context,
    sampler: SobolSampler,
    si: mi.SurfaceInteraction3f,
    incident: mi.Vector3f,
    bounces: mi.UInt32,
    active: mi.Bool,
) -> Connection:
    """Scatter light a given number of times on its way to the sensor, then connect.

    Each step samples a direction ω_o toward the sensor's side and carries the factor
    f_s(ω_o, ω) |n_s·ω| |n_g·ω_o| / (|n_g·ω| p(ω_o)), which is the integrand of a camera path read from its other end.

    Args:
        si: Points where light arrives, detached. [N]
        incident: Direction from them to where light comes from, unit length, world space. [N]
        bounces: Surfaces between these points and the one that the sensor sees. [N]
    """
    scene, ctx = context.scene, mi.BSDFContext()
    weight = mi.Spectrum(1)
    step = mi.UInt32(0)
    active = mi.Bool(active) & si.is_valid()
    si = mi.SurfaceInteraction3f(si)
    ω = mi.Vector3f(incident)
    walking = active & (step < bounces)
    while dr.hint(walking, label="importance", exclude=[context, scene, ctx]):
        bsdf = si.bsdf()
        si.wi = si.to_local(ω)
        bs, _ = bsdf.sample(ctx, si, sampler.next_1d(), sampler.next_2d(), walking)
        ωo = si.to_world(bs.wo)
        onward = si.spawn_ray(ωo)

        # The same scattering as a camera path would evaluate it
        to_light = mi.Vector3f(si.wi)
        si.wi = bs.wo
        f = bsdf.eval(ctx, si, to_light, walking)
        cosine = dr.abs_dot(si.n, ω)
        factor = f * (dr.abs_dot(si.n, ωo) / (cosine * bs.pdf))
        scattered = walking & (bs.pdf > 0) & (cosine > 1e-6) & ~mi.has_flag(bs.sampled_type, mi.BSDFFlags.Delta)
        weight *= dr.select(scattered, factor, 0)

        si = scene.ray_intersect(onward, mi.RayFlags.All, False, scattered)
        ω = -ωo
        active &= scattered & si.is_valid()
        step += 1
        walking = active & (step < bounces)

    connected = connect_to_sensor(context, si, ω, active)
    return Connection(connected.position, connected.weight * weight, connected.active)
