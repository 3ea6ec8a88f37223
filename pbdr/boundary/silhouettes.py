"""Boundary term by explicit silhouette sampling in path space.

A path segment whose line touches the edge of an occluder is a boundary of visibility. In the surface form both ends of
the segment follow their surfaces, so what counts is how fast the edge point b moves *against the segment*. With its
ends x (toward the sensor) and y (toward the light), and s = |b−x| / |y−x|,

    dI/dθ = ∫ dℓ(b) ∫ dω  F(x, ω, y) ‖t×ω‖  m·(ḃ − (1−s) ẋ − s ẏ)

t is the edge's tangent, m the unit normal of the plane of t and ω that points into the occluder, and F the rest of the
path: film response at x per perpendicular area and solid angle, times radiance from y. Distant light keeps its
direction, so that the segment moves with x alone. This is the local form of the boundary integral [Zhang et al. 2020,
"Path-space differentiable rendering"; Zhang et al. 2023, "Projective sampling for differentiable rendering of
geometry"] with the relative velocity of the surface form: seams and creases stand still there and need no term.
"""

from __future__ import annotations

import dataclasses

import drjit as dr
import mitsuba as mi

from ..errors import InputError
from ..geometry.edges import (
    Edge,
    EdgeTable,
    build_edges,
    is_silhouette,
    look_up,
    opening_angle,
    sample_silhouette_direction,
)
from ..geometry.motion import material_point
from ..transport.film import Context, FilmSamples, in_sampled_area
from ..transport.importance import carry_to_sensor
from ..transport.lines import CurvePoint, is_lit, line_through, sample_emitter_end, trace_surface_end
from ..transport.path import first_hit
from ..transport.sensor import camera_rays, project, project_first_vertex
from . import register
from .base import BoundaryTerm

#: Offset of boundary rays from their edge on the film, pixels
FILM_OFFSET = 1e-3


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

    @staticmethod
    def obstacle(scene: mi.Scene) -> str | None:
        for shape in scene.shapes():
            if not shape.is_mesh():
                return (
                    f"shape '{shape.id()}' is a {shape.class_name()}, whose silhouette boundary = 'silhouettes' "
                    "cannot sample yet; it takes meshes and rectangles"
                )
            if shape.bsdf() is not None and mi.has_flag(shape.bsdf().flags(), mi.BSDFFlags.Delta):
                return (
                    f"shape '{shape.id()}' is perfectly specular, and boundary = 'silhouettes' cannot follow "
                    "silhouettes that are seen through it; give it some roughness"
                )
        return None

    def samples(self, context: Context) -> list[FilmSamples]:
        if reason := self.obstacle(context.scene):
            raise InputError(reason)
        if (kind := context.sensor.class_name()) != "PerspectiveCamera":
            raise InputError(
                f"sensor '{context.sensor.id()}' is a {kind}; boundary = 'silhouettes' needs a 'perspective' sensor"
            )
        if self._table is None:
            return []
        sampled = [self._primary(context)]
        if context.limits.max_depth >= 2:
            sampled.append(self._direct(context))
        if context.limits.max_depth >= 3:
            sampled.append(self._indirect(context))
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

    def _edge_points(self, density: mi.Float, sampler: mi.Sampler, count: int) -> tuple[CurvePoint, Edge]:
        """Stratified points on edges, an edge by its density, then uniform along it; with their detached edges."""
        with dr.suspend_grad():
            distribution = mi.DiscreteDistribution(density)
            u = (mi.Float(dr.arange(mi.UInt32, count)) + sampler.next_1d()) / count
            index, t, pmf = distribution.sample_reuse_pmf(u)
        attached = look_up(self._table, index)
        edge = Edge(*(dr.detach(getattr(attached, f.name), True) for f in dataclasses.fields(Edge)))
        along = edge.end - edge.start
        length = dr.norm(along)
        point = attached.start + (attached.end - attached.start) * t
        return CurvePoint(point, along / length, edge.left - edge.start, length * dr.rcp(pmf)), edge

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
        curve, _ = self._edge_points(density, sampler, count)
        seen = project(sensor, x0, curve.point - x0)

        with dr.suspend_grad():
            # Tangent and normal of the projected edge, the normal pointing into the occluder
            ω = dr.normalize(curve.point - x0)
            tangent = _on_film(sensor, seen, curve.along)
            inward = dr.cross(curve.along, ω)
            inward *= dr.sign(dr.dot(inward, curve.occluder))
            normal = dr.normalize(mi.Vector2f(-tangent.y, tangent.x))
            normal *= dr.sign(dr.dot(normal, _on_film(sensor, seen, inward)))

            # Just outside the occluder: the background, unless something covers the edge
            beside = mi.Point2f(seen.position) - normal * FILM_OFFSET
            ray, response = camera_rays(sensor, sampler, beside)
            ray = mi.Ray3f(dr.detach(ray, True))
            pi, ray = first_hit(scene, ray, context.limits, mi.Bool(True))
            hit = pi.compute_surface_interaction(ray, mi.RayFlags.Minimal)
            distance = dr.norm(curve.point - x0)
            active = ~hit.is_valid() | (dr.norm(hit.p - x0) > distance * (1 - 1e-4))
            active &= (seen.depth > sensor.near_clip()) & in_sampled_area(sensor.film(), seen.position)
            L = context.radiance(sampler, ray, active, context.limits) * response
            scale = dr.norm(tangent) * curve.rcp_density * (context.spp / count)

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

    # -------------------------------------------------------------- secondary

    def _direct(self, context: Context) -> FilmSamples:
        """Boundaries of light that comes straight from emitters: shadows."""
        count = self._count(context)
        sampler = self._sampler(context, count, 1)
        with dr.suspend_grad():
            edge = look_up(self._table, dr.arange(mi.UInt32, self._table.count))
            density = dr.norm(edge.end - edge.start)
        curve, edge = self._edge_points(density, sampler, count)
        with dr.suspend_grad():
            it = dr.zeros(mi.Interaction3f, count)
            it.p = dr.detach(curve.point)
            it.wavelengths, response = _wavelengths(context.sensor, sampler)
            end = sample_emitter_end(context, it, sampler)
            line = line_through(curve, end.ds.d, it.wavelengths, is_silhouette(edge, end.ds.d))
            active = is_lit(context.scene, line, end)
            bounces, rcp_probability = _bounces(context.limits.max_depth, 2, sampler)
        light = end.light * response * rcp_probability
        return self._film_samples(context, sampler, (curve, line, end), bounces, light, active)

    def _indirect(self, context: Context) -> FilmSamples:
        """Boundaries of light that other surfaces reflect: occlusion between surfaces, reflections of silhouettes."""
        count = self._count(context)
        sampler = self._sampler(context, count, 2)
        with dr.suspend_grad():
            edge = look_up(self._table, dr.arange(mi.UInt32, self._table.count))
            density = dr.norm(edge.end - edge.start) * opening_angle(edge)
        curve, edge = self._edge_points(density, sampler, count)
        with dr.suspend_grad():
            ω, rcp_pdf = sample_silhouette_direction(edge, sampler.next_2d())
            wavelengths, response = _wavelengths(context.sensor, sampler)
            line = line_through(curve, ω, wavelengths, mi.Bool(True))
            bounces, rcp_probability = _bounces(context.limits.max_depth, 3, sampler)
            depth = mi.UInt32(context.limits.max_depth) - 1 - bounces
            end, light = trace_surface_end(context, line, sampler, depth, line.active)
        light = light * response * rcp_pdf * rcp_probability
        return self._film_samples(context, sampler, (curve, line, end), bounces, light, line.active)

    def _film_samples(self, context, sampler, boundary, bounces, light, active) -> FilmSamples:
        """Carry the jump of light at a boundary segment to the film, times the speed of the boundary."""
        curve, line, end = boundary
        count = dr.width(curve.rcp_density)
        with dr.suspend_grad():
            active = active & (dr.max(light) != 0)
            pi = context.scene.ray_intersect_preliminary(line.backward, coherent=False, active=active)
            si = pi.compute_surface_interaction(line.backward, mi.RayFlags.All, active)
            joined = carry_to_sensor(context.scene, context.sensor, sampler, si, line.forward.d, bounces, active)
            active = joined.active
            scale = line.sine * curve.rcp_density * (context.spp / count)
            F = dr.select(active, joined.weight * light * scale, 0)
        near = material_point(pi, line.backward, mi.RayFlags.Minimal, active)
        speed = dr.dot(line.inward, curve.point - end.middle(context.scene, near, dr.detach(near.t), active))
        speed = dr.select(active, speed - dr.detach(speed), 0)
        return FilmSamples(joined.position, F * speed, mi.Float(0) * speed, line.forward.wavelengths)


def _bounces(max_depth: int, fewest: int, sampler: mi.Sampler) -> tuple[mi.UInt32, mi.Float]:
    """How many surfaces lie between boundary segment and sensor: geometric, cut off at the path's depth.

    Args:
        fewest: Segments of the shortest path with such a boundary.

    Returns:
        Counts [N] and the reciprocal of their probability [N].
    """
    most = min(max_depth - fewest, 64)
    u = sampler.next_1d()
    keep = 0.5
    # P(k) = (1 − q) q^k / (1 − q^(most + 1))
    total = 1 - keep ** (most + 1)
    k = dr.minimum(mi.UInt32(dr.floor(dr.log(1 - u * total) / dr.log(keep))), most)
    return k, total / ((1 - keep) * dr.power(keep, mi.Float(k)))


def _wavelengths(sensor: mi.Sensor, sampler: mi.Sampler) -> tuple[mi.Wavelength, mi.Spectrum]:
    """Wavelengths of a boundary path and the sensor's response to them."""
    sample = sampler.next_1d() if mi.is_spectral else mi.Float(0)
    return sensor.sample_wavelengths(dr.zeros(mi.SurfaceInteraction3f), sample)


def _on_film(sensor: mi.Sensor, seen, displacement: mi.Vector3f) -> mi.Vector2f:
    """Film displacement, pixels, of points that move by a world-space displacement. [N]"""
    d = sensor.world_transform().inverse() @ mi.Vector3f(displacement)
    return mi.Vector2f(d.x - seen.slope.x * d.z, d.y - seen.slope.y * d.z) * seen.scale / seen.depth
