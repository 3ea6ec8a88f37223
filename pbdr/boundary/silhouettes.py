"""Boundary term by explicit silhouette sampling in path space.

A path segment whose line touches the edge of an occluder is a boundary of visibility. In the surface form both ends of
the segment follow their surfaces, so what counts is how fast the edge point b moves *against the segment*: with the ends
x (lit point, or the camera's side) and y (light's side), and s = |b−x|/|y−x|,

    dI/dθ = ∫ dℓ(b) ∫ dω  F(x, ω, y) ‖t×ω‖  m·(ḃ − (1−s) ẋ − s ẏ)

(for distant light y lies at infinity and moves as its direction turns). t is the edge's tangent, m the unit normal of the plane of t and ω that points into the occluder, and F the rest of the
path: film response at x per perpendicular area and solid angle, times radiance from y. It is the local form of the
boundary integral [Zhang et al. 2020, "Path-space differentiable rendering"; Zhang et al. 2023, "Projective sampling"]
with the relative velocity of the surface form; material seams and creases stand still and need no term.
"""

from __future__ import annotations

import dataclasses

import drjit as dr
import mitsuba as mi

from ..errors import InputError
from ..geometry.edges import Edge, EdgeTable, build_edges, is_silhouette, look_up
from ..geometry.motion import material_point
from ..transport.emitter import emitters_move, follow_emitter
from ..transport.film import Context, FilmSamples
from ..transport.importance import connect_to_sensor
from ..transport.path import first_hit
from ..transport.sensor import camera_rays, project, project_first_vertex
from . import register
from .base import BoundaryTerm

#: Offset of boundary rays from their edge on the film, pixels
FILM_OFFSET = 1e-3

#: Offset of boundary rays from their edge in the scene, relative to the size of coordinates
EDGE_OFFSET = 1e-4


@dataclasses.dataclass(frozen=True)
class EdgePoints:
    """Points sampled on edges."""

    edge: Edge  #: the edges, attached [N]
    index: mi.UInt32  #: into the edge table [N]
    point: mi.Point3f  #: attached, at a fixed fraction of the edge [N]
    length_over_pdf: mi.Float  #: edge length over the probability of the edge; 1 / density of the point [N]


@register("silhouettes")
class Silhouettes(BoundaryTerm):
    """Samples edges of meshes and rectangles as they bound direct visibility and direct illumination.

    Properties:
        boundary_spp: Boundary samples per pixel and kind of boundary; 0 (default) takes as many as interior samples.
    """

    handles_discontinuities = True

    def __init__(self, props: mi.Properties):
        self.boundary_spp = props.get("boundary_spp", 0)
        if self.boundary_spp < 0:
            raise InputError(f"'boundary_spp' must be at least 0, got {self.boundary_spp}")
        self._topology: tuple | None = None
        self._table: EdgeTable | None = None

    def prepare(self, scene: mi.Scene, sensor: mi.Sensor) -> None:
        topology = tuple(
            (shape.id(), shape.vertex_count(), shape.face_count()) for shape in scene.shapes() if shape.is_mesh()
        )
        if topology != self._topology:
            self._topology, self._table = topology, build_edges(scene)

    def samples(self, context: Context) -> list[FilmSamples]:
        if self._table is None:
            return []
        sampled = [self._primary(context)]
        if context.limits.max_depth > 1 and len(context.scene.emitters()):
            sampled.append(self._direct(context))
        return [s for s in sampled if s is not None]

    # --------------------------------------------------------------- sampling

    def _count(self, context: Context) -> int:
        size = context.sensor.film().crop_size()
        return int(size[0]) * int(size[1]) * (self.boundary_spp or context.spp)

    @staticmethod
    def _sampler(context: Context, count: int, label: int) -> mi.Sampler:
        sampler = mi.load_dict({"type": "independent"})
        sampler.seed(mi.sample_tea_32(mi.UInt32(context.seed), mi.UInt32(0x51C0 + label))[0], count)
        return sampler

    def _edge_points(self, density: mi.Float, sampler: mi.Sampler, count: int) -> EdgePoints:
        """Stratified points on edges: an edge by its density, then uniform along it."""
        with dr.suspend_grad():
            distribution = mi.DiscreteDistribution(density)
            u = (mi.Float(dr.arange(mi.UInt32, count)) + sampler.next_1d()) / count
            index, t, pmf = distribution.sample_reuse_pmf(u)
        edge = look_up(self._table, index)
        along = edge.end - edge.start
        length = dr.detach(dr.norm(along))
        return EdgePoints(edge, index, edge.start + along * t, length * dr.rcp(pmf))

    # ---------------------------------------------------------------- primary

    def _primary(self, context: Context) -> FilmSamples | None:
        """Silhouettes seen directly: the background's radiance, times the speed of the edge against it on the film.

        Only the occluded side jumps: the occluder's own visible region ends at a point of its surface that stands
        still in the surface form.
        """
        scene, sensor = context.scene, context.sensor
        x0 = sensor.world_transform() @ mi.Point3f(0)
        with dr.suspend_grad():
            density = self._projected_length(context, dr.detach(x0))
            if not dr.any(density > 0):
                return None
        count = self._count(context)
        sampler = self._sampler(context, count, 0)
        points = self._edge_points(density, sampler, count)
        seen = project(sensor, x0, points.point - x0)

        with dr.suspend_grad():
            # Tangent and normal of the projected edge, the normal pointing into the occluder
            edge = points.edge
            ω = dr.normalize(points.point - x0)
            along = dr.normalize(edge.end - edge.start)
            tangent = _on_film(sensor, seen, along)
            inward = dr.cross(along, ω)
            inward *= dr.sign(dr.dot(inward, edge.left - points.point))
            normal = dr.normalize(mi.Vector2f(-tangent.y, tangent.x))
            normal *= dr.sign(dr.dot(normal, _on_film(sensor, seen, inward)))

            # Just outside the occluder: the background, unless something covers the edge
            beside = mi.Point2f(seen.position) - normal * FILM_OFFSET
            ray, response = camera_rays(sensor, sampler, beside)
            ray = mi.Ray3f(dr.detach(ray, True))
            pi, ray = first_hit(scene, ray, context.limits, mi.Bool(True))
            hit = pi.compute_surface_interaction(ray, mi.RayFlags.Minimal)
            distance = dr.norm(points.point - x0)
            active = (seen.depth > sensor.near_clip()) & (dr.norm(hit.p - x0) > distance * (1 - 1e-4)) | ~hit.is_valid()
            active &= seen.depth > sensor.near_clip()
            L = context.radiance(sampler, ray, active) * response
            scale = dr.norm(tangent) * points.length_over_pdf * (context.spp / count)

        behind = project_first_vertex(sensor, pi, ray, beside)
        speed = dr.dot(normal, seen.position - behind.position)
        weight = dr.select(active, scale * (speed - dr.detach(speed)), 0)
        return FilmSamples(dr.detach(seen.position), L * weight, weight, ray.wavelengths)

    def _projected_length(self, context: Context, x0: mi.Point3f) -> mi.Float:
        """Length on the film of every edge that is a silhouette from the camera; 0 for all others. [E]"""
        edge = look_up(self._table, dr.arange(mi.UInt32, self._table.count))
        middle = 0.5 * (edge.start + edge.end)
        seen = project(context.sensor, x0, middle - x0)
        length = dr.norm(_on_film(context.sensor, seen, edge.end - edge.start))
        # An edge that reaches behind the camera has no finite length there; its part in view is bounded by the film
        size = mi.ScalarVector2f(context.sensor.film().crop_size())
        ends = [project(context.sensor, x0, p - x0).depth for p in (edge.start, edge.end)]
        in_front = (ends[0] > context.sensor.near_clip()) | (ends[1] > context.sensor.near_clip())
        crosses = (ends[0] <= 0) | (ends[1] <= 0)
        length = dr.select(crosses, dr.norm(size), dr.minimum(length, 4 * dr.norm(size)))
        return dr.select(in_front & is_silhouette(edge, middle - x0), length, 0)

    # ----------------------------------------------------------------- direct

    def _direct(self, context: Context) -> FilmSamples:
        """Shadow boundaries of emitters on surfaces that the camera sees."""
        scene, sensor = context.scene, context.sensor
        count = self._count(context)
        sampler = self._sampler(context, count, 1)
        with dr.suspend_grad():
            edge = look_up(self._table, dr.arange(mi.UInt32, self._table.count))
            density = dr.norm(edge.end - edge.start)
        points = self._edge_points(density, sampler, count)

        with dr.suspend_grad():
            # A line from an emitter through the edge that leaves the occluder on one side
            it = dr.zeros(mi.Interaction3f, count)
            it.p = dr.detach(points.point)
            wavelengths, response = sensor.sample_wavelengths(
                dr.zeros(mi.SurfaceInteraction3f), sampler.next_1d() if mi.is_spectral else mi.Float(0)
            )
            it.wavelengths = wavelengths
            ds, light = scene.sample_emitter_direction(it, sampler.next_2d(), False)
            ω = mi.Vector3f(ds.d)
            edge = dr.detach(points.edge)
            active = is_silhouette(edge, ω) & (ds.pdf > 0)
            along = dr.normalize(edge.end - edge.start)
            m = dr.cross(along, ω)
            sine = dr.norm(m)
            m *= dr.sign(dr.dot(m, edge.left - edge.start)) * dr.rcp(sine)
            active &= sine > 1e-6

            # Lit on the open side of the edge, and on to the surface behind it
            origin = it.p - m * (EDGE_OFFSET * dr.maximum(1, dr.max(dr.abs(it.p))))
            active &= ~scene.ray_test(mi.Ray3f(origin, ω, ds.dist * (1 - 1e-3), 0, wavelengths), active)
            ray = mi.Ray3f(origin, -ω, 0, wavelengths)
            pi = scene.ray_intersect_preliminary(ray, coherent=False, active=active)
            si = pi.compute_surface_interaction(ray, mi.RayFlags.All, active)
            joined = connect_to_sensor(scene, sensor, si, ω, active)
            active = joined.active
            F = joined.weight * light * response
            scale = sine * points.length_over_pdf * (context.spp / count)
            infinite = mi.has_flag(ds.emitter.flags(), mi.EmitterFlags.Infinite)
            infinite |= mi.has_flag(ds.emitter.flags(), mi.EmitterFlags.DeltaDirection)
            s = si.t / (si.t + ds.dist)

        # Speed of the edge against the line between the moving ends
        lit = material_point(pi, ray, mi.RayFlags.Minimal, active)
        moving = emitters_move(scene)
        source = follow_emitter(scene, lit, ds, moving=moving, active=active)[0] if moving else dr.detach(ds, True)
        between = dr.select(infinite, lit.p + source.d * si.t, dr.lerp(lit.p, source.p, s))
        speed = dr.dot(m, points.point - between)
        speed = dr.select(active, scale * (speed - dr.detach(speed)), 0)
        return FilmSamples(joined.position, F * speed, mi.Float(0) * speed, wavelengths)


def _on_film(sensor: mi.Sensor, seen, displacement: mi.Vector3f) -> mi.Vector2f:
    """Film displacement, pixels, of points that move by a world-space displacement. [N]"""
    d = sensor.world_transform().inverse() @ mi.Vector3f(displacement)
    return mi.Vector2f(d.x - seen.slope.x * d.z, d.y - seen.slope.y * d.z) * seen.scale / seen.depth
