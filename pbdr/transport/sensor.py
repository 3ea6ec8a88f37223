"""Camera rays seen as paths that end on the film: attached sensor vertex and film position."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import drjit as dr
import mitsuba as mi
import numpy as np

from ..errors import InputError
from ..geometry.level_sets import is_level_set
from ..geometry.motion import area_jacobian, material_point, relative_cosine
from ..geometry.sliding import meet_tangent_plane

if TYPE_CHECKING:
    from .samplers import Sampler
    from .velocity import Bend

#: Sensors whose film position is known as a function of the first vertex
PROJECTIVE_SENSORS = ("PerspectiveCamera", "ThinLensCamera")


@dataclasses.dataclass(frozen=True)
class FilmPoint:
    """Where the first vertices of paths appear on the film, attached."""

    position: mi.Point2f  #: pixels, including the crop offset [N]
    measure: mi.Float  #: value 1; carries the change of film area per area of the moving surface [N]
    origin: mi.Point3f  #: sensor vertex [N]
    vertex: mi.Point3f  #: first vertex; at unit distance for directions that leave the scene [N]


def sensor_parameters(sensor: mi.Sensor) -> dict:
    """The sensor's own parameters that decide where a point appears on the film."""
    keys = ("to_world", "x_fov", "principal_point_offset_x", "principal_point_offset_y", "focus_distance")
    parameters = mi.traverse(sensor)
    return {key: parameters[key] for key in keys if key in parameters}


def sensor_moves(sensor: mi.Sensor) -> bool:
    """Whether pose or intrinsics of a sensor carry derivatives."""
    return any(dr.grad_enabled(value) for value in sensor_parameters(sensor).values())


def require_projective(sensor: mi.Sensor) -> None:
    """Refuse derivatives of motion for sensors without a film projection."""
    kind = sensor.class_name()
    if kind not in PROJECTIVE_SENSORS:
        raise InputError(
            f"sensor '{sensor.id()}': derivatives of moving geometry or cameras need a 'perspective' or 'thinlens' "
            f"sensor, got a {kind}"
        )


def sensor_vertex(sensor: mi.Sensor, ray: mi.Ray3f, active: mi.Bool = True) -> mi.Point3f:
    """The point on the pinhole or aperture through which camera rays pass, attached to the sensor's pose.

    Args:
        ray: Detached camera rays; they start on the near plane. [N]
        active: Which of the rays are camera rays. [N]
    """
    to_world = sensor.world_transform()
    to_local = dr.detach(to_world).inverse()
    o, d = to_local @ ray.o, to_local @ ray.d
    return to_world @ dr.detach(dr.select(active, mi.Point3f(o - d * (o.z / d.z)), 0))


@dataclasses.dataclass(frozen=True)
class Window:
    """Which directions a pinhole sees, by their slopes x/z and y/z in its frame; detached."""

    origin: mi.Point3f  #: world space [1]
    to_local: mi.Matrix3f  #: from world space to the camera's frame [1]
    low: tuple[float, float]
    high: tuple[float, float]

    def slope(self, q: mi.Vector3f) -> tuple[mi.Point2f, mi.Vector3f, mi.Vector3f]:
        """Slopes of directions and the gradients of both by the direction, for unit length. [N] each"""
        local = self.to_local @ q
        rcp_z = dr.rcp(local.z)
        u, v = local.x * rcp_z, local.y * rcp_z
        gradients = (mi.Vector3f(rcp_z, 0, -u * rcp_z), mi.Vector3f(0, rcp_z, -v * rcp_z))
        return mi.Point2f(u, v), *(mi.Vector3f(self.to_local.T @ g) for g in gradients)

    def direction(self, slope: mi.Point2f) -> mi.Vector3f:
        """The direction of a slope, unit length, world space. [N]"""
        return mi.Vector3f(self.to_local.T @ dr.normalize(mi.Vector3f(slope.x, slope.y, 1)))


def window(sensor: mi.Sensor) -> Window:
    """The window of a perspective sensor's film, with the border that filters need."""
    film = sensor.film()
    with dr.suspend_grad():
        to_world = dr.detach(sensor.world_transform())
        matrix = to_world.matrix
        columns = [dr.normalize(mi.Vector3f(matrix[0, k], matrix[1, k], matrix[2, k])) for k in range(3)]
        origin = to_world @ mi.Point3f(0)
        ends = [project(sensor, origin, to_world @ mi.Vector3f(s, s, 1)).position for s in (0, 1)]
        at_0, at_1 = (np.array(p, np.float64).reshape(2) for p in ends)
    corner, border = np.array(film.crop_offset(), float).reshape(2), film.rfilter().border_size()
    pixels = np.stack([corner - border, corner + np.array(film.crop_size(), float).reshape(2) + border])
    slopes = (pixels - at_0) / (at_1 - at_0)
    to_local = mi.Matrix3f([[c.x, c.y, c.z] for c in columns])
    # Literals would make new kernels for each view
    dr.make_opaque(origin, to_local)
    return Window(origin, to_local, tuple(slopes.min(0)), tuple(slopes.max(0)))


@dataclasses.dataclass(frozen=True)
class Projection:
    """Where directions from the sensor vertex appear on the film, attached to pose and intrinsics."""

    position: mi.Point2f  #: pixels, including the crop offset [N]
    slope: mi.Point2f  #: x/z and y/z of the direction in the camera's frame [N]
    depth: mi.Float  #: z of the offset in the camera's frame, scene units [N]
    scale: mi.Vector2f  #: pixels per unit of slope [1]

    @property
    def area_scale(self) -> mi.Float:
        """Film area per surface area over n·offset, pixels² per cubed scene unit. [N]"""
        return dr.abs(self.scale.x * self.scale.y / (self.depth * dr.square(self.depth)))


def project(sensor: mi.Sensor, x0: mi.Point3f, offset: mi.Vector3f) -> Projection:
    """Project points onto the film through a pinhole or through points of the aperture.

    Args:
        x0: Sensor vertex, world space. [N]
        offset: From ``x0`` to the points; any length for points at infinity. [N]
    """
    values = sensor_parameters(sensor)
    film = sensor.film()
    to_local = sensor.world_transform().inverse()
    q = to_local @ mi.Vector3f(offset)

    # Slope of the ray in the camera's frame; behind a lens, that of the point in focus
    slope = mi.Point2f(q.x, q.y) / q.z
    on_film = mi.Point3f(slope.x, slope.y, 1)
    if "focus_distance" in values:
        aperture = to_local @ x0
        on_film += mi.Vector3f(aperture.x, aperture.y, 0) / values["focus_distance"]
    to_film = sensor.projection_transform()
    sample = to_film @ on_film
    crop_size, crop_offset = mi.ScalarVector2f(film.crop_size()), mi.ScalarVector2f(film.crop_offset())
    principal = mi.Point2f(
        values.get("principal_point_offset_x", mi.Float(0)), values.get("principal_point_offset_y", mi.Float(0))
    ) * (mi.ScalarVector2f(film.size()) / crop_size)
    position = (mi.Point2f(sample.x, sample.y) - principal) * crop_size + crop_offset
    scale = mi.Vector2f(to_film.matrix[0, 0], to_film.matrix[1, 1]) / to_film.matrix[3, 2] * crop_size
    return Projection(position, slope, q.z, scale)


def film_area_density(projection: Projection, offset: mi.Vector3f, normal: mi.Normal3f) -> mi.Float:
    """Film area per surface area, pixels² per squared scene unit. [N]"""
    return dr.abs_dot(normal, offset) * projection.area_scale


def _relative_film_area(projection: Projection, offset: mi.Vector3f, normal: mi.Normal3f, hit: mi.Bool) -> mi.Float:
    """A factor of value 1 that carries the change of film area per surface area, or per solid angle without a hit. [N]

    Args:
        offset: From the sensor to the surface; of unit length without a hit. [N]
    """
    return dr.select(hit, relative_cosine(normal, offset), 1) * dr.relative_grad(projection.area_scale)


def project_first_vertex(
    sensor: mi.Sensor,
    pi: mi.PreliminaryIntersection3f,
    ray: mi.Ray3f,
    position: mi.Point2f,
    bend: Bend | None = None,
    moving: mi.Bool = True,
) -> FilmPoint:
    """Follow the first material point of each path across the film.

    A film sample u becomes a function of the material point that it sees, so that the film integral turns into one over
    surfaces: du = |n·(x₁−x₀)| / z³ · |P| · J dA(p), with z the depth of x₁ in the camera and |P| the area scale of the
    projection. Directions that leave the scene stand for points at infinity, and so do, for rays that follow a field,
    those that meet level sets, whose points have no identity of their own.

    Args:
        pi: Hits of the camera rays. [N]
        ray: Camera rays, detached. [N]
        position: Film positions of the rays, pixels. [N]
        bend: Lets the rays follow a velocity field instead of material points.
        moving: Which of the points can move on the film; the others are not looked at. [N]
    """
    x0 = sensor_vertex(sensor, ray)
    si = material_point(pi, ray, mi.RayFlags.Minimal | mi.RayFlags.dPdUV, moving)
    hit = si.is_valid()
    follows = hit if bend is None else hit & ~is_level_set(pi.shape)
    offset = dr.select(follows, si.p - x0, dr.detach(ray.d))
    projected = project(sensor, x0, offset)
    measure = _relative_film_area(projected, offset, si.n, follows) * area_jacobian(pi, si, follows)
    vertex = dr.select(follows, si.p, x0 + offset)
    if bend is None:
        return FilmPoint(dr.replace_grad(position, projected.position), measure, x0, vertex)

    # The field lives on the sphere of directions; its film area differs from that of the material point
    direction = dr.normalize(offset)
    solid_angle = relative_cosine(si.n, direction) * dr.relative_grad(dr.rcp(dr.squared_norm(offset)))
    on_sphere = dr.select(follows, solid_angle, 1) * area_jacobian(pi, si, follows)
    d, measure = bend(x0, direction, on_sphere, mi.Bool(True))
    projected = project(sensor, x0, d)
    measure *= _relative_film_area(projected, d, si.n, mi.Bool(False))
    vertex = dr.select(hit, meet_tangent_plane(x0, d, si, hit), x0 + d)
    return FilmPoint(dr.replace_grad(position, projected.position), measure, x0, vertex)


def camera_rays(sensor: mi.Sensor, sampler: Sampler, position: mi.Point2f) -> tuple[mi.RayDifferential3f, mi.Spectrum]:
    """Detached rays through given film positions, with the sensor's response.

    Args:
        position: Pixels, including the crop offset. [N]
    """
    film = sensor.film()
    sample = (position - mi.ScalarVector2f(film.crop_offset())) / mi.ScalarVector2f(film.crop_size())
    aperture = sampler.next_2d() if sensor.needs_aperture_sample() else mi.Point2f(0.5)
    time = sensor.shutter_open()
    if sensor.shutter_open_time() > 0:
        time += sampler.next_1d() * sensor.shutter_open_time()
    wavelength = sampler.next_1d() if mi.is_spectral else mi.Float(0)
    with dr.suspend_grad():
        return sensor.sample_ray_differential(time, wavelength, sample, aperture)


def pinhole_rays(sensor: mi.Sensor, position: mi.Point2f) -> mi.Ray3f:
    """Detached rays of a pinhole through given film positions, as :func:`camera_rays` but for their wavelengths. [N]"""
    film = sensor.film()
    sample = (position - mi.ScalarVector2f(film.crop_offset())) / mi.ScalarVector2f(film.crop_size())
    with dr.suspend_grad():
        ray, _ = sensor.sample_ray(sensor.shutter_open(), 0.5, sample, mi.Point2f(0.5))
        return mi.Ray3f(dr.detach(ray, True))
