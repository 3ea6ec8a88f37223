"""Light toward the sensor: what a surface point that is lit from a given direction sends to the film."""

from __future__ import annotations

import dataclasses

import drjit as dr
import mitsuba as mi

from .sensor import film_area_density, project, sensor_vertex


@dataclasses.dataclass(frozen=True)
class Connection:
    """A surface point joined to the sensor, detached."""

    position: mi.Point2f  #: film position, pixels [N]
    weight: mi.Spectrum  #: film response per perpendicular area and solid angle of the light that arrives [N]
    active: mi.Bool  #: whether the sensor sees the point [N]


def connect_to_sensor(
    scene: mi.Scene, sensor: mi.Sensor, si: mi.SurfaceInteraction3f, incident: mi.Vector3f, active: mi.Bool
) -> Connection:
    """Join surface points to a pinhole: C(x) f_s(ω, ω_o) |n_s·ω| / |n_g·ω|, with C the film area per surface area.

    Multiplied by radiance and by the perpendicular area and solid angle dA⊥ dω of the lines that carry it, this is
    their contribution to the film integral ∫ L du, in pixels².

    Args:
        si: Lit points. [N]
        incident: Direction from them to where light comes from, unit length, world space. [N]
    """
    # A pinhole's vertex does not depend on the ray; any ray from the sensor's origin stands for it
    forward = mi.Ray3f(sensor.world_transform() @ mi.Point3f(0), sensor.world_transform() @ mi.Vector3f(0, 0, 1))
    x0 = dr.detach(sensor_vertex(sensor, forward))
    offset = si.p - x0
    projected = project(sensor, x0, offset)

    # Inside the film's sampled area and in front of the camera
    film = sensor.film()
    border = film.rfilter().border_size() if film.sample_border() else 0
    low = mi.ScalarVector2f(film.crop_offset()) - border
    high = low + mi.ScalarVector2f(film.crop_size()) + 2 * border
    u = projected.position
    active = active & si.is_valid() & (projected.depth > sensor.near_clip())
    active &= dr.all((u >= low) & (u < high))
    active &= ~scene.ray_test(si.spawn_ray_to(x0), active)

    si = mi.SurfaceInteraction3f(si)
    si.wi = si.to_local(-dr.normalize(offset))
    f = si.bsdf().eval(mi.BSDFContext(), si, si.to_local(incident), active)
    density = film_area_density(projected, offset, si.n, active)
    cosine = dr.abs_dot(si.n, incident)
    active &= cosine > 1e-6
    return Connection(u, dr.select(active, f * (density / cosine), 0), active)
