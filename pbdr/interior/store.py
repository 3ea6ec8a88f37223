"""Recorded paths: one pass that keeps vertices, and derivatives from all of them at once.

The first pass keeps, at each vertex whose light depends on something that carries derivatives, the hit, the sampled
directions and the throughput. The derivative is that of path replay,

    ∂L/∂θ = Σ_k ( ∂(Le_k + Ld_k)/∂θ + L_after(k) · ∂F_k/∂θ / F_k ),    L_after(k) = L − light collected up to k,

whose terms need nothing of each other: a flat kernel over the vertices of all paths, without rays, random numbers or a
loop. Nothing may move, so that F_k is the BSDF alone.
"""

from __future__ import annotations

import drjit as dr
import mitsuba as mi

from ..geometry.motion import material_point
from ..transport.emitter import emission_toward
from ..transport.memory import Vertex
from ..transport.path import vertex_weight
from ..transport.vertices import Kept, StoredVertices, VertexArrays
from .primal import Primal


class Store(Primal):
    """Sums the light of all vertices and keeps those that matter in arrays shared by all paths."""

    name = "store"

    def __init__(self, arrays: VertexArrays, path_count: int):
        self._arrays, self._path_count = arrays, path_count

    def record(self, memory: dict, index: mi.UInt32, vertex: Vertex, active: mi.Bool) -> None:
        self._arrays.append(vertex, dr.arange(mi.UInt32, self._path_count))


def attached_light(scene: mi.Scene, kept: Kept, vertices: StoredVertices, L: mi.Spectrum) -> mi.Spectrum:
    """Light that depends on each vertex, attached: its sum over the vertices of a path has the derivative of L.

    Args:
        L: Radiance of each path. [N]

    Returns:
        One term for each vertex; 0 where there is none. [V]
    """
    fields, pi = vertices.fields, vertices.pi
    on_surface = pi.valid
    with dr.suspend_grad():
        # Calls reach the shapes of all scenes in memory, some of which may move
        si = material_point(pi, vertices.ray, mi.RayFlags.All)
    bsdf = si.bsdf(vertices.ray)
    total = mi.Spectrum(0)

    # Emission toward the previous vertex, and light from the sampled emitter before the BSDF turns it
    if kept.attachment.emitters.any:
        total += fields["throughput"] * fields["mis"] * si.emitter(scene).eval(si, fields["mis"] > 0)
        lit = on_surface & (fields["scale"] > 0)
        emission = emission_toward(scene, si, vertices.direction_sample(), lit)
        light = fields["throughput"] * fields["scale"] * emission
    else:
        light = fields["light"]
        lit = on_surface & (dr.max(light) > 0)

    # Light through the BSDF: from the emitter, and from the rest of the path
    f = bsdf.eval(mi.BSDFContext(), si, si.to_local(vertices.light_d), lit)
    total += dr.select(lit, f * light, 0)
    if kept.attachment.surfaces.any:
        remainder = dr.gather(mi.Spectrum, L, vertices.lane) - fields["collected"]
        on = on_surface & (dr.max(dr.abs(remainder)) > 0)
        sampled = None
        if kept.delta_bsdfs:
            bs = dr.zeros(mi.BSDFSample3f, dr.width(vertices.lane))
            bs.sampled_type = fields["lobe"]
            sampled = bs, fields["lobe_sample_1"], fields["lobe_sample_2"]
        ahead = mi.Ray3f(si.p, fields["ahead"])
        factor, _ = vertex_weight(si, bsdf, sampled, (None, ahead), delta_bsdfs=kept.delta_bsdfs, active=on)
        total += remainder * factor
    return dr.select(vertices.used, total, 0)
