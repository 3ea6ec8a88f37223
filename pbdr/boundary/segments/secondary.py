"""Boundary segments between a surface and a light, or between two surfaces."""

from __future__ import annotations

import drjit as dr
import mitsuba as mi

from ...geometry.curves import Curves, Place, Touch, curve_measure, sample_direction, touch
from ...geometry.motion import material_point
from ...sobol import SobolSampler
from ...transport.film import FilmSamples
from ...transport.importance import carry_to_sensor, connect_to_sensor
from ...transport.lines import (
    CurvePoint,
    EmitterEnd,
    SurfaceEnd,
    arriving_light,
    is_lit,
    line_through,
    reflected_light,
    sample_emitter_end,
)
from ...transport.memory import hit_fields, hit_of
from .base import Segments

#: Candidates are drawn for silhouettes of meshes with more cells than this, one more for each so many
CELLS_PER_CANDIDATE = 512
MOST_CANDIDATES = 32

#: Of each candidate but the first, relative to a sample
COST_OF_CANDIDATE = 0.1


class Direct(Segments):
    """Boundaries of light that comes straight from emitters: shadows."""

    name = "direct"

    @staticmethod
    def cost(curves: Curves) -> float:
        return 1 + COST_OF_CANDIDATE * (_candidates(curves) - 1)

    def density(self, middle: Place) -> mi.Float:
        """Length, and how likely a line sees it as a silhouette."""
        length, opening = curve_measure(middle)
        return length * dr.sqrt(opening / dr.pi)

    def find(self, sampler: SobolSampler) -> dict:
        context, scene, setting = self.context, self.context.scene, self.context.setting
        end = sample_emitter_end(context, sampler, self.count)
        view = end.view()
        cell, u, rcp_pmf = self._silhouettes(self.sampling, sampler, self.count, view)
        place = self.place(cell, u)
        at = touch(place, *view)
        wavelengths, response = _wavelengths(context.sensor, sampler)
        end, light = arriving_light(scene, end, dr.detach(at.point), wavelengths)
        drawn = at.active & (rcp_pmf > 0)
        line = line_through(_curve_point(at), end.ds.d, wavelengths, setting.extent, drawn)
        lit = is_lit(scene, line, end)
        bounces, rcp_probability = _bounces(context.limits.max_depth, 2, sampler)
        factor = light * response * rcp_probability
        found = _joined(
            self, sampler, (place, at, line), lit & (dr.max(factor) > 0), factor, (bounces, rcp_pmf / self.number)
        )
        if not setting.emitters_move:
            moving = setting.attachment.moving
            found["active"] &= moving.has(place.owner) | moving.hit(hit_of(found["near"]))
        return {**found, "cell": cell, "u": u, "ω": end.ds.d, "end": end.fields(moves=setting.emitters_move)}

    @dr.syntax
    def _silhouettes(self, sampling, sampler, count, view):
        """Cells that are silhouettes for given views, one of several candidates.

        A fine mesh has few of them. Drawing M candidates and keeping one of the S that are silhouettes, with S/M for
        weight, leaves the estimate as it is [Talbot et al. 2005, "Importance resampling for global illumination"].

        Returns:
            As :meth:`Sampling.sample`. [N]
        """
        candidates = _candidates(self.curves)
        cell, u, rcp_pmf = sampling.sample(sampler, count)
        if dr.hint(candidates == 1, mode="scalar"):
            return cell, u, rcp_pmf
        hits = dr.select(touch(self.place(cell, u), *view).active, mi.UInt32(1), 0)
        tried = mi.UInt32(1)
        while dr.hint(tried < candidates, label="silhouettes", exclude=[self, sampling, view]):
            other = sampling.sample(sampler, count, mi.Float(tried) / candidates)
            is_hit = touch(self.place(other[0], other[1]), *view).active
            hits[is_hit] += 1
            chosen = is_hit & (sampler.next_1d() * mi.Float(hits) < 1)
            cell = dr.select(chosen, other[0], cell)
            u = dr.select(chosen, other[1], u)
            rcp_pmf = dr.select(chosen, other[2], rcp_pmf)
            tried += 1
        return cell, u, rcp_pmf * mi.Float(hits) / candidates

    def film_samples(self, found: dict) -> tuple[FilmSamples, mi.Float]:
        return _attached(self, found, EmitterEnd.of(found["end"], found["ω"]))


class Indirect(Segments):
    """Boundaries of light that other surfaces reflect: occlusion between surfaces, reflections of silhouettes."""

    name = "indirect"

    @staticmethod
    def cost(curves: Curves) -> float:
        return 3.0

    def density(self, middle: Place) -> mi.Float:
        """Length, and how many directions see it as a silhouette."""
        length, opening = curve_measure(middle)
        return length * opening

    def find(self, sampler: SobolSampler) -> dict:
        context = self.context
        cell, u, rcp_pmf = self.sampling.sample(sampler, self.count)
        place = self.place(cell, u)
        ω, rcp_pdf = sample_direction(place, sampler.next_2d())
        at = touch(place, ω, mi.Bool(False))
        wavelengths, response = _wavelengths(context.sensor, sampler)
        drawn = at.active & (rcp_pmf > 0)
        line = line_through(_curve_point(at), ω, wavelengths, context.setting.extent, drawn)
        far = context.scene.ray_intersect_preliminary(line.forward, coherent=False, active=line.active)
        bounces, rcp_probability = _bounces(context.limits.max_depth, 3, sampler)
        factor = response * rcp_pdf * rcp_probability
        # Nothing is reflected by the environment
        found = _joined(
            self, sampler, (place, at, line), line.active & far.is_valid(), factor, (bounces, rcp_pmf / self.number)
        )
        moving = context.setting.attachment.moving
        found["active"] &= moving.has(place.owner) | moving.hit(hit_of(found["near"])) | moving.hit(far)
        depth = mi.UInt32(context.limits.max_depth) - 1 - bounces
        found["weight"] *= reflected_light(context, SurfaceEnd(far, line.forward), sampler, depth, found["active"])
        far = hit_fields(far, has_instances=context.setting.has_instances)
        return {**found, "cell": cell, "u": u, "far": far, "ω": ω}

    def film_samples(self, found: dict) -> tuple[FilmSamples, mi.Float]:
        return _attached(self, found, None)


def _candidates(curves: Curves) -> int:
    return max(1, min(curves.count // CELLS_PER_CANDIDATE, MOST_CANDIDATES))


def _curve_point(at: Touch) -> CurvePoint:
    return CurvePoint(at.point, at.tangent / dr.norm(at.tangent), at.occluder)


def _joined(segments: Segments, sampler, boundary, active, factor, numbers) -> dict:
    """Carry the jump of light at boundary segments to the film.

    Args:
        boundary: Place, touching point and line. [N]
        factor: Of the light, apart from what is carried. [N]
        numbers: Surfaces on the way to the sensor, and the reciprocal of the expected samples in the cell. [N]
    """
    place, at, line = boundary
    bounces, rcp_expected = numbers
    context = segments.context
    pi = context.scene.ray_intersect_preliminary(line.backward, coherent=False, active=active)
    si = pi.compute_surface_interaction(line.backward, mi.RayFlags.All, active)
    if context.limits.max_depth == 2:
        joined = connect_to_sensor(context, si, line.forward.d, active)
    else:
        joined = carry_to_sensor(context, sampler, si, line.forward.d, bounces, active)
    scale = line.sine * dr.norm(at.tangent) * place.extent * rcp_expected * context.spp
    weight = dr.select(joined.active, joined.weight * factor * scale, 0)
    return {
        "active": joined.active & (dr.max(weight) > 0), "weight": weight, "position": joined.position,
        "near": hit_fields(pi, has_instances=context.setting.has_instances),
        "wavelengths": line.backward.wavelengths,
    }  # fmt: skip


def _attached(segments: Segments, found: dict, end: EmitterEnd | None) -> tuple[FilmSamples, mi.Float]:
    """Boundary segments with the speed of their boundary.

    Args:
        end: Their emitter; None for segments between surfaces.
    """
    scene, F, ω, wavelengths = segments.context.scene, found["weight"], found["ω"], found["wavelengths"]
    place = segments.place(found["cell"], found["u"])
    at = touch(place, *(end.view() if end else (ω, mi.Bool(False))))
    with dr.suspend_grad():
        extent = segments.context.setting.extent
        line = line_through(_curve_point(at), ω, wavelengths, extent, mi.Bool(True))
    if end is None:
        end = SurfaceEnd(hit_of(found["far"]), line.forward)
    near = material_point(hit_of(found["near"]), line.backward, mi.RayFlags.Minimal)
    middle = end.middle(scene, near, dr.detach(near.t), mi.Bool(True))
    speed = dr.dot(line.inward, at.point - middle)
    speed -= dr.detach(speed)
    return FilmSamples(found["position"], F * speed, mi.Float(0) * speed, wavelengths), dr.max(F)


def _bounces(max_depth: int, fewest: int, sampler: SobolSampler) -> tuple[mi.UInt32, mi.Float]:
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


def _wavelengths(sensor: mi.Sensor, sampler: SobolSampler) -> tuple[mi.Wavelength, mi.Spectrum]:
    """Wavelengths of a boundary path and the sensor's response to them."""
    sample = sampler.next_1d() if mi.is_spectral else mi.Float(0)
    return sensor.sample_wavelengths(dr.zeros(mi.SurfaceInteraction3f), sample)
