"""Boundary segments that end in the camera."""

from __future__ import annotations

import drjit as dr
import mitsuba as mi

from ...geometry.curves import Place, touch
from ...transport.film import FilmSamples, in_sampled_area
from ...transport.path import first_hit
from ...transport.sensor import camera_rays, project, project_first_vertex
from .base import Segments

#: Offset of boundary rays from their edge on the film, as a share of the film and of the coordinates: some units in the
#: last place. Outlines of fine meshes have corners of a thousandth of a pixel, which a larger offset cuts off
EDGE_OFFSET = 7e-7

#: The same beside round shapes, whose hits are less exact and whose outlines have no corners
ROUND_OFFSET = 5e-6


class Primary(Segments):
    """Silhouettes seen directly: the background's radiance, times the speed of the edge against it on the film.

    Only the occluded side jumps: the occluder's own visible region ends at a point of its surface that stands still in
    the surface form. Levels of radiance jump on both sides, and with the speed of the edge on the film.
    """

    name = "primary"
    cost = 1.0

    def _vertex(self) -> mi.Point3f:
        return self.context.sensor.world_transform() @ mi.Point3f(0)

    def density(self, middle: Place) -> mi.Float:
        """Length on the film of every cell that is a silhouette from the camera."""
        sensor, x0 = self.context.sensor, mi.Vector3f(dr.detach(self._vertex()))
        seen = touch(middle, x0, mi.Bool(True))
        half = 0.5 * seen.tangent * middle.extent
        on_film = project(sensor, x0, dr.detach(seen.point) - x0)
        length = 2 * dr.norm(_on_film(sensor, on_film, half))
        # A cell that reaches behind the camera has no finite length there; its part in view is bounded by the film
        diagonal = dr.norm(mi.ScalarVector2f(self.context.sensor.film().crop_size()))
        reach = dr.abs(dr.dot(half, sensor.world_transform() @ mi.Vector3f(0, 0, 1)))
        in_front = on_film.depth + reach > sensor.near_clip()
        crosses = on_film.depth - reach <= 0
        length = dr.select(crosses, diagonal, dr.minimum(length, 4 * diagonal))
        return dr.detach(dr.select(in_front & seen.active, length, 0), True)

    def observed(self, p: mi.Point3f) -> mi.Point3f:
        return dr.detach(self.context.sensor.world_transform()).inverse() @ p

    def find(self, sampler: mi.Sampler) -> dict:
        context, sensor = self.context, self.context.sensor
        x0 = dr.detach(self._vertex())
        cell, u, rcp_pmf = self.sampling.sample(sampler, self.count)
        place = self.place(cell, u)
        at = touch(place, mi.Vector3f(x0), mi.Bool(True))
        b = dr.detach(at.point)
        seen = project(sensor, x0, b - x0)

        # Tangent and normal of the projected edge, the normal pointing into the occluder
        tangent = _on_film(sensor, seen, at.tangent)
        inward = dr.cross(at.tangent, b - x0)
        inward *= dr.sign(dr.dot(inward, at.occluder))
        normal = dr.normalize(mi.Vector2f(-tangent.y, tangent.x))
        normal *= dr.sign(dr.dot(normal, _on_film(sensor, seen, inward)))

        # Just outside the occluder: the background, unless something covers the edge
        coordinates = dr.maximum(dr.max(dr.abs(b)), dr.max(dr.abs(x0)))
        film_size = float(dr.max(mi.ScalarVector2f(sensor.film().size())))
        share = dr.select(self.curves.is_round(cell), ROUND_OFFSET, EDGE_OFFSET)
        offset = share * (film_size + coordinates * dr.mean(dr.abs(seen.scale)) / dr.abs(seen.depth))
        beside = dr.detach(mi.Point2f(seen.position) - normal * offset)
        ray, response = camera_rays(sensor, sampler, beside)
        active = at.active & (rcp_pmf > 0) & (seen.depth > sensor.near_clip())
        active &= in_sampled_area(sensor.film(), seen.position)
        if context.limits.hide_emitters:
            active &= ~context.setting.attachment.lamps.has(place.owner)
        pi, ray = first_hit(context.scene, mi.Ray3f(dr.detach(ray, True)), context.limits, active)
        hit = pi.compute_surface_interaction(ray, mi.RayFlags.Minimal, active)
        active &= ~hit.is_valid() | (dr.norm(hit.p - x0) > dr.norm(b - x0) * (1 - 1e-4))
        active &= context.setting.attachment.moving.has(place.owner) | context.setting.can_move_on_film(pi)
        L = context.excess(context.radiance(sampler, ray, active, context.limits), pi) * response
        scale = dr.norm(tangent) * place.extent * rcp_pmf * (context.spp / self.count)
        return {
            "active": active, "cell": cell, "u": u, "scale": scale, "beside": beside, "normal": normal,
            "response": response, "L": L, "o": ray.o, "d": ray.d, "wavelengths": ray.wavelengths, "pi": pi,
        }  # fmt: skip

    def film_samples(self, found: dict) -> tuple[FilmSamples, mi.Float]:
        context, sensor = self.context, self.context.sensor
        ray = mi.Ray3f(found["o"], found["d"], 0, found["wavelengths"])
        pi, L, response = found["pi"], found["L"], found["response"]
        x0 = self._vertex()
        place = self.place(found["cell"], found["u"])
        at = touch(place, mi.Vector3f(dr.detach(x0)), mi.Bool(True))
        seen = project(sensor, x0, at.point - x0)
        behind = project_first_vertex(sensor, pi, ray, found["beside"])
        weight = found["scale"] * _speed(found["normal"], seen.position - behind.position)
        value, height = L * weight, dr.max(dr.abs(L))
        if context.levels:
            step = (context.levels.of(pi) - context.levels.of_owner(place.owner)) * response
            value += step * (found["scale"] * _speed(found["normal"], seen.position))
            height += dr.max(dr.abs(step))
        with dr.suspend_grad():
            pixels_per_unit = dr.mean(dr.abs(seen.scale)) / seen.depth
            size = found["scale"] * height * pixels_per_unit
        return FilmSamples(dr.detach(seen.position), value, weight, ray.wavelengths), dr.detach(size)


def _speed(normal: mi.Vector2f, position: mi.Point2f) -> mi.Float:
    """Speed of film positions along a normal: the value 0, attached. [N]"""
    along = dr.dot(normal, position)
    return along - dr.detach(along)


def _on_film(sensor: mi.Sensor, seen, displacement: mi.Vector3f) -> mi.Vector2f:
    """Film displacement, pixels, of points that move by a world-space displacement. [N]"""
    d = sensor.world_transform().inverse() @ mi.Vector3f(displacement)
    return mi.Vector2f(d.x - seen.slope.x * d.z, d.y - seen.slope.y * d.z) * seen.scale / seen.depth
