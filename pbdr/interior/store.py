"""Recorded paths: one pass that keeps vertices, and derivatives from all of them at once.

The first pass keeps, at each vertex whose light depends on something that carries derivatives, the hit, the sampled
directions and the throughput, and for each attached emitter that the path meets or samples its share of the radiance.
The derivative is that of path replay,

    ∂L/∂θ = Σ_k ( ∂(Le_k + Ld_k)/∂θ + L_after(k) · ∂F_k/∂θ / F_k ),    L_after(k) = L − light collected up to k,

whose terms need nothing of each other: a flat kernel over the vertices of all paths, without rays, random numbers or a
loop. Nothing may move, so that F_k is the BSDF alone.
"""

from __future__ import annotations

import drjit as dr
import mitsuba as mi

from ..transport.lobes import LobeSample
from ..transport.memory import Vertex
from ..transport.records import NONE
from ..transport.scattering import SurfacePoint, vertex_weight
from ..transport.vertices import PathRecords
from .primal import Primal
from .surfaces import Surfaces


class Store(Primal):
    """Sums the light of all vertices and keeps what matters in arrays shared by all paths."""

    name = "store"

    def __init__(self, records: PathRecords, path_count: int):
        self._records, self._path_count = records, path_count

    def allocate(self, max_depth: int) -> dict:
        """The slot of the last vertex that was kept of each path, where vertices are chained."""
        return {"last": dr.full(mi.UInt32, NONE, self._path_count)} if self._records.kept.reusable else {}

    def record(self, memory: dict, index: mi.UInt32, vertex: Vertex, active: mi.Bool) -> None:
        slot = self._records.append(vertex, dr.arange(mi.UInt32, self._path_count), memory.get("last", NONE))
        if memory:
            memory["last"] = slot


class Terms:
    """What of the light of recorded paths depends on the scene as it is now: one term for each record."""

    def __init__(self, scene: mi.Scene, records: PathRecords, camera_ray: mi.Ray3f):
        vertices, self._lights = records.vertices(camera_ray), records.lights(camera_ray)
        self._surfaces = Surfaces(scene, records.kept, vertices) if vertices else None
        stored = [found for found in (vertices, self._lights) if found]
        #: The path of each record. [V] for each kind
        self.lanes = [found.lane for found in stored]
        #: Where there is a record at all. [V] for each kind
        self.used = [found.used for found in stored]

    def light(self, L: mi.Spectrum) -> list[mi.Spectrum]:
        """The terms, attached: their sum over the records of a path has the derivative of its radiance.

        Args:
            L: Radiance of each path. [N]

        Returns:
            0 where there is no record. [V] for each kind
        """
        terms = [_vertex_light(self._surfaces, L)] if self._surfaces else []
        return [*terms, self._lights.emission()] if self._lights else terms


def _vertex_light(surfaces: Surfaces, L: mi.Spectrum) -> mi.Spectrum:
    """Light that depends on each vertex. [V]"""
    kept, vertices, fields = surfaces.kept, surfaces.vertices, surfaces.fields
    total = mi.Spectrum(0)

    # Emission toward the previous vertex, and light from the sampled emitter before the BSDF turns it
    if "emitter" in fields:
        total += fields["throughput"] * surfaces.emission()
        arriving, lit = surfaces.arriving()
        light = fields["throughput"] * arriving
    else:
        light = fields["light"]
        lit = vertices.pi.valid & (dr.max(light) > 0)

    # Light through the BSDF: from the emitter, and from the rest of the path
    total += dr.select(lit, surfaces.turned(lit) * light, 0)
    if kept.attachment.surfaces.any:
        remainder = dr.gather(mi.Spectrum, L, vertices.lane) - fields["collected"]
        on = vertices.pi.valid & (dr.max(dr.abs(remainder)) > 0)
        sampled = None
        if kept.delta_bsdfs:
            chosen_with = fields["lobe_sample_1"], fields["lobe_sample_2"]
            sampled = LobeSample(surfaces.scene, fields["lobe"], *chosen_with)
        ahead = mi.Ray3f(surfaces.si.p, fields["ahead"])
        following = None, ahead
        factor, _ = vertex_weight(SurfacePoint(surfaces.si, surfaces.bsdf), sampled, following, active=on)
        total += remainder * factor
    return dr.select(vertices.used, total, 0)
