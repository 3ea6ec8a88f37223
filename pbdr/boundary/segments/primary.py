"""Boundary segments that end in the camera."""

from __future__ import annotations

import dataclasses

import drjit as dr
import mitsuba as mi

from ...geometry.curves import Curves, Place, Touch, touch
from ...sobol import SobolSampler
from ...transport.camera_hits import first_hit
from ...transport.film import FilmSamples, coverage, has_alpha, in_sampled_area
from ...transport.memory import hit_fields, hit_of
from ...transport.sensor import camera_rays, pinhole_rays, project, project_first_vertex
from .base import Segments

#: Offset of boundary rays from their edge on the film, as a share of the film and of the coordinates: some units in the
#: last place. Outlines of fine meshes have corners of a thousandth of a pixel, which a larger offset cuts off
EDGE_OFFSET = 7e-7

#: The same beside round shapes, whose hits are less exact and whose outlines have no corners
ROUND_OFFSET = 5e-6


@dataclasses.dataclass(frozen=True)
class _EdgeOnFilm:
    """Edges as the film sees them, detached."""

    position: mi.Point2f  #: pixels [N]
    tangent: mi.Vector2f  #: velocity along the edge as the curve's parameter grows, pixels [N]
    normal: mi.Vector2f  #: unit length, into the occluder [N]
    beside: mi.Point2f  #: a hair outside the occluder, pixels [N]
    depth: mi.Float  #: along the camera's axis [N]


class Primary(Segments):
    """Silhouettes seen directly: the background's radiance, times the speed of the edge against it on the film.

    Only the occluded side jumps: the occluder's own visible region ends at a point of its surface that stands still in
    the surface form. Levels of radiance jump on both sides, and with the speed of the edge on the film.
    """

    name = "primary"

    @staticmethod
    def cost(curves: Curves) -> float:
        return 1.0

    def _vertex(self) -> mi.Point3f:
        return self.context.sensor.world_transform() @ mi.Point3f(0)

    def density(self, middle: Place) -> mi.Float:
        """Length on the film of every cell that is a silhouette from the camera."""
        sensor, x0 = self.context.sensor, mi.Vector3f(dr.detach(self._vertex()))
        seen = touch(middle, x0, mi.Bool(True))
        half = 0.5 * seen.tangent * middle.extent
        on_film = project(sensor, x0, dr.detach(seen.point) - x0)
        length = 2 * dr.norm(_displaced(sensor, on_film, half))
        # A cell that reaches behind the camera has no finite length there; its part in view is bounded by the film
        diagonal = dr.norm(mi.ScalarVector2f(self.context.sensor.film().crop_size()))
        reach = dr.abs(dr.dot(half, sensor.world_transform() @ mi.Vector3f(0, 0, 1)))
        in_front = on_film.depth + reach > sensor.near_clip()
        crosses = on_film.depth - reach <= 0
        length = dr.select(crosses, diagonal, dr.minimum(length, 4 * diagonal))
        return dr.detach(dr.select(in_front & seen.active, length, 0), True)

    def observed(self, p: mi.Point3f) -> mi.Point3f:
        return dr.detach(self.context.sensor.world_transform()).inverse() @ p

    def find(self, sampler: SobolSampler) -> dict:
        context, sensor, attachment = self.context, self.context.sensor, self.context.setting.attachment
        x0 = dr.detach(self._vertex())
        cell, u, rcp_pmf = self.sampling.sample(sampler, self.count)
        place = self.place(cell, u)
        at = touch(place, mi.Vector3f(x0), mi.Bool(True))
        b = dr.detach(at.point)
        edge = self._on_film(cell, at)
        ray, response = camera_rays(sensor, sampler, edge.beside)
        active = at.active & (rcp_pmf > 0) & (edge.depth > sensor.near_clip())
        active &= in_sampled_area(sensor.film(), edge.position)
        if context.limits.hide_emitters:
            active &= ~attachment.lamps.has(place.owner)
        start = dr.detach(ray.o, True)
        pi, ray = first_hit(context.scene, mi.Ray3f(dr.detach(ray, True)), context.limits, active)
        hit = pi.compute_surface_interaction(ray, mi.RayFlags.Minimal, active)
        active &= ~hit.is_valid() | (dr.norm(hit.p - x0) > dr.norm(b - x0) * (1 - 1e-4))
        active &= attachment.moving.has(place.owner) | context.setting.can_move_on_film(pi)
        path = context.paths(sampler, ray, active, context.limits)
        L = context.excess(path.L, pi) * response
        alpha = {"alpha": coverage(path) - context.covered(pi.is_valid())} if has_alpha(sensor.film()) else {}
        # Along the whole ray, whatever it passed
        pi.t += dr.norm(ray.o - start)
        fields = hit_fields(pi, has_instances=context.setting.has_instances)
        return {
            "active": active, "cell": cell, "u": u, "L": L, "response": response, "hit": fields,
            "wavelengths": ray.wavelengths, **alpha,
        }  # fmt: skip

    def film_samples(self, found: dict) -> tuple[FilmSamples, mi.Float]:
        context, sensor = self.context, self.context.sensor
        cell, L, pi, wavelengths = found["cell"], found["L"], hit_of(found["hit"]), found["wavelengths"]
        x0 = self._vertex()
        place = self.place(cell, found["u"])
        at = touch(place, mi.Vector3f(dr.detach(x0)), mi.Bool(True))
        with dr.suspend_grad():
            edge = self._on_film(cell, at)
            ray = pinhole_rays(sensor, edge.beside)
            ray.wavelengths = wavelengths
            length = dr.norm(edge.tangent) * place.extent
            scale = length * self.sampling.rcp_pmf(cell) * (context.spp / self.number)
        seen = project(sensor, x0, at.point - x0)
        behind = project_first_vertex(sensor, pi, ray, edge.beside)
        weight = scale * _speed(edge.normal, seen.position - behind.position)
        value, height = L * weight, dr.max(dr.abs(L))
        outline = scale * _speed(edge.normal, seen.position)
        if context.levels:
            step = (context.levels.of(pi) - context.levels.of_owner(place.owner)) * found["response"]
            value += step * outline
            height += dr.max(dr.abs(step))
        covered = None
        if "alpha" in found:
            step = context.covered(pi.is_valid()) - context.covered(mi.Bool(True))
            covered = found["alpha"] * weight + step * outline
            height += dr.abs(found["alpha"]) + dr.abs(step)
        with dr.suspend_grad():
            pixels_per_unit = dr.mean(dr.abs(seen.scale)) / seen.depth
            size = scale * height * pixels_per_unit
        return FilmSamples(dr.detach(seen.position), value, weight, wavelengths, covered), dr.detach(size)

    def _on_film(self, cell: mi.UInt32, at: Touch) -> _EdgeOnFilm:
        """Edges as the film sees them, detached.

        Args:
            at: Where the camera's rays touch them. [N]
        """
        sensor = self.context.sensor
        b, x0 = dr.detach(at.point), dr.detach(self._vertex())
        seen = project(sensor, x0, b - x0)
        tangent = _displaced(sensor, seen, at.tangent)
        inward = dr.cross(at.tangent, b - x0)
        inward *= dr.sign(dr.dot(inward, at.occluder))
        normal = dr.normalize(mi.Vector2f(-tangent.y, tangent.x))
        normal *= dr.sign(dr.dot(normal, _displaced(sensor, seen, inward)))

        # Just outside the occluder: the background, unless something covers the edge
        coordinates = dr.maximum(dr.max(dr.abs(b)), dr.max(dr.abs(x0)))
        film_size = float(dr.max(mi.ScalarVector2f(sensor.film().size())))
        share = dr.select(self.curves.is_round(cell), ROUND_OFFSET, EDGE_OFFSET)
        offset = share * (film_size + coordinates * dr.mean(dr.abs(seen.scale)) / dr.abs(seen.depth))
        beside = dr.detach(mi.Point2f(seen.position) - normal * offset)
        return _EdgeOnFilm(dr.detach(seen.position), tangent, normal, beside, dr.detach(seen.depth))


def _speed(normal: mi.Vector2f, position: mi.Point2f) -> mi.Float:
    """Speed of film positions along a normal: the value 0, attached. [N]"""
    along = dr.dot(normal, position)
    return along - dr.detach(along)


def _displaced(sensor: mi.Sensor, seen, displacement: mi.Vector3f) -> mi.Vector2f:
    """Film displacement, pixels, of points that move by a world-space displacement. [N]"""
    d = sensor.world_transform().inverse() @ mi.Vector3f(displacement)
    return mi.Vector2f(d.x - seen.slope.x * d.z, d.y - seen.slope.y * d.z) * seen.scale / seen.depth
