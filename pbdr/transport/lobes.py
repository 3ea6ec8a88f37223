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
            if _CHOOSES.isdisjoint(part.class_name() for part in parts(material)):
                continue
            on = active & (bsdf == mi.BSDFPtr(material))
            chance = dr.select(on, _chance_in(material, si, self.sample_1, self.sample_2, on), chance)
        return chance


#: Materials whose samples have another density than the chance of the lobe that was taken
_CHOOSES = frozenset({"BlendBSDF", "MaskBSDF"})


def _chance_in(
    material: mi.BSDF, si: mi.SurfaceInteraction3f, sample_1: mi.Float, sample_2: mi.Point2f, active: mi.Bool
) -> mi.Float:
    """The chance of the specular lobe that a material chooses with given random numbers, attached. [N]"""
    kind, nested = material.class_name(), [child for child in children(material) if isinstance(child, mi.BSDF)]
    if kind == "TwoSidedBRDF":
        back = si.wi.z < 0
        si = mi.SurfaceInteraction3f(si)
        si.wi.z = dr.abs(si.wi.z)
        fronts, backs = (
            _chance_in(one, si, sample_1, sample_2, active & on) for one, on in zip(nested, (~back, back), strict=True)
        )
        return dr.select(back, backs, fronts)
    if kind in _CHOOSES:
        texture = next(child for child in children(material) if isinstance(child, mi.Texture))
        share = dr.clip(texture.eval_1(si, active), 0, 1)
        fixed = dr.detach(share)
        if kind == "MaskBSDF":
            # Weights of samples under a mask have the derivative of its opacity already
            return _chance_in(nested[0], si, sample_1 / fixed, sample_2, active)
        first = sample_1 > fixed
        chances = (
            (1 - share) * _chance_in(nested[0], si, (sample_1 - fixed) / (1 - fixed), sample_2, active & first),
            share * _chance_in(nested[1], si, sample_1 / fixed, sample_2, active & ~first),
        )
        return dr.select(first, *chances)
    bs, _ = material.sample(mi.BSDFContext(), si, sample_1, sample_2, active)
    if any(part.class_name() == "BlendBSDF" for part in parts(material)):
        # A blend adds the density of its other material in the direction of the lobe
        return bs.pdf - material.pdf(mi.BSDFContext(), si, bs.wo, active)
    return bs.pdf


def parts(material: mi.BSDF) -> Iterator[mi.BSDF]:
    """A material and all that are nested in it."""
    yield material
    for child in children(material):
        if isinstance(child, mi.BSDF):
            yield from parts(child)
