"""Perfectly specular lobes: what a path carries on after one was chosen among the lobes of a material."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import drjit as dr
import mitsuba as mi

from ..geometry.edges import children
from ..geometry.flags import materials


@dataclasses.dataclass(frozen=True)
class LobeSample:
    """The lobes that were taken, and what they were chosen with."""

    scene: mi.Scene
    taken: mi.UInt32  #: flags of the lobe [N]
    sample_1: mi.Float  #: chose it [N]
    sample_2: mi.Point2f  #: chose a direction in it [N]

    def carry(self, si: mi.SurfaceInteraction3f, bsdf: mi.BSDFPtr, factor: mi.Spectrum, active: mi.Bool) -> mi.Spectrum:
        """A factor of value 1 with the derivative of specular lobes where one was taken, else the given one.

        The chance of being chosen is differentiated with the sample's weight: materials take it from reflectances,
        Fresnel terms and blending weights, and weight times chance is what the surface reflects or transmits.

        Args:
            factor: For other lobes. [N]
        """
        specular = active & mi.has_flag(self.taken, mi.BSDFFlags.Delta)
        passed = active & mi.has_flag(self.taken, mi.BSDFFlags.Null)
        bs, weight = bsdf.sample(mi.BSDFContext(), si, self.sample_1, self.sample_2, specular)
        weight *= self._chance(si, bsdf, bs, specular)
        weight = dr.select(passed, bsdf.eval_null_transmission(si, passed), weight)
        return dr.select(specular | passed, dr.relative_grad(weight), factor)

    def _chance(self, si: mi.SurfaceInteraction3f, bsdf: mi.BSDFPtr, bs: mi.BSDFSample3f, active: mi.Bool) -> mi.Float:
        """What has to be differentiated together with the weight of a sample of a specular lobe. [N]"""
        chance = bs.pdf
        for material in materials(self.scene):
            kinds, on = {part.class_name() for part in parts(material)}, active & (bsdf == mi.BSDFPtr(material))
            if "BlendBSDF" in kinds:
                # A blend adds the density of its other material in the direction of the lobe
                smooth = material.pdf(mi.BSDFContext(), si, bs.wo, on)
                own = bs.pdf - smooth
                if "SmoothPlastic" in kinds:
                    # That of its own diffuse lobe is missing. Without its specular lobe, that would be chosen instead
                    context = mi.BSDFContext()
                    context.type_mask &= ~(int(mi.BSDFFlags.DeltaReflection) | int(mi.BSDFFlags.DeltaTransmission))
                    own = (material.pdf(context, si, bs.wo, on) - smooth) / dr.abs(bs.wo.z)
                chance = dr.select(on, own, chance)
            if material.class_name() == "MaskBSDF":
                # Weights of samples under a mask have the derivative of its opacity already
                opacity = next(child for child in children(material) if isinstance(child, mi.Texture))
                chance = dr.select(on, chance / dr.clip(opacity.eval_1(si, on), 0, 1), chance)
        return chance


def parts(material: mi.BSDF) -> Iterator[mi.BSDF]:
    """A material and all that are nested in it."""
    yield material
    for child in children(material):
        if isinstance(child, mi.BSDF):
            yield from parts(child)
