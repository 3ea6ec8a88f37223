"""Kept vertices in the scene as it is now: what they emit, receive and scatter."""

from __future__ import annotations

import drjit as dr
import mitsuba as mi

from ..geometry.motion import material_point
from ..transport.emitter import emission_toward
from ..transport.lobes import null_transmission
from ..transport.vertices import Kept, StoredVertices


class Surfaces:
    """What kept vertices are in the scene as it is now."""

    def __init__(self, scene: mi.Scene, kept: Kept, vertices: StoredVertices):
        self.scene, self.kept, self.vertices, self.fields = scene, kept, vertices, vertices.fields
        with dr.suspend_grad():
            # Calls reach the shapes of all scenes in memory, some of which may move
            self.si = material_point(vertices.pi, vertices.ray, mi.RayFlags.All)
        self.bsdf = self.si.bsdf(vertices.ray)

    def emission(self) -> mi.Spectrum:
        """Light toward the previous vertex, weighted against emitter sampling there. [V]"""
        mis = self.fields["mis"]
        return mis * self.si.emitter(self.scene).eval(self.si, mis > 0)

    def arriving(self, *, by_direction: bool = False) -> tuple[mi.Spectrum, mi.Bool]:
        """Weighted light from the emitter samples, and where there is any. [V]

        Args:
            by_direction: Whether an environment may have turned since the samples were taken.
        """
        lit = self.vertices.pi.valid & (self.fields["scale"] > 0)
        sample = self.vertices.direction_sample()
        return self.fields["scale"] * emission_toward(self.scene, self.si, sample, lit, by_direction=by_direction), lit

    def turned(self, lit: mi.Bool) -> mi.Spectrum:
        """Share of the light from emitter samples that the BSDF sends back: f_s |n·ω|. [V]"""
        return self.bsdf.eval(mi.BSDFContext(), self.si, self.si.to_local(self.vertices.light_d), lit)

    def scattered(self) -> mi.Spectrum:
        """f_s |n·ω| toward the next vertex; of a specular lobe its reflectance or transmittance. [V]"""
        si, bsdf, fields = self.si, self.bsdf, self.fields
        on = self.vertices.pi.valid & (dr.max(fields["weight"]) > 0)
        f = bsdf.eval(mi.BSDFContext(), si, si.to_local(fields["ahead"]), on)
        if self.kept.delta_bsdfs:
            passed = on & mi.has_flag(fields["lobe"], mi.BSDFFlags.Null)
            f = dr.select(passed, null_transmission(self.scene, si, bsdf, passed), f)
            for lobe in (mi.BSDFFlags.DeltaReflection, mi.BSDFFlags.DeltaTransmission):
                # Asked for one lobe alone, a material takes it whatever the random numbers
                context, taken = mi.BSDFContext(), on & mi.has_flag(fields["lobe"], lobe)
                context.type_mask = int(lobe)
                bs, weight = bsdf.sample(context, si, fields["lobe_sample_1"], fields["lobe_sample_2"], taken)
                f = dr.select(taken, weight * bs.pdf, f)
        return f


def inverse_densities(scene: mi.Scene, kept: Kept, vertices: StoredVertices) -> mi.Spectrum:
    """What turns f_s |n·ω| of each vertex into its share of the throughput: 1/p, Russian roulette included.

    It is the weight of the sample over f_s |n·ω|, so that unchanged parameters give the recorded throughput to the last
    bit. A channel in which the material is black takes that of the brightest one: all share a density.

    Returns:
        One for each vertex, 0 where the path ends. [V]
    """
    f, weight = Surfaces(scene, kept, vertices).scattered(), vertices.fields["weight"]
    brightest, of_it = f[0], weight[0]
    for channel in range(1, len(f)):
        of_it = dr.select(f[channel] > brightest, weight[channel], of_it)
        brightest = dr.maximum(brightest, f[channel])
    shared = dr.select(brightest > 0, of_it / brightest, 0)
    return dr.select(f > 0, weight / f, shared)
