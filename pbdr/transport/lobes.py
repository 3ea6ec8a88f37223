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
        weight = dr.select(passed, null_transmission(self.scene, si, bsdf, passed), weight)
        return dr.select(specular | passed, dr.relative_grad(weight), factor)

    def _chance(self, si: mi.SurfaceInteraction3f, bsdf: mi.BSDFPtr, bs: mi.BSDFSample3f, active: mi.Bool) -> mi.Float:
        """What has to be differentiated together with the weight of a sample of a specular lobe. [N]"""
        chance = bs.pdf
        for material in materials(self.scene):
            kinds = {part.class_name() for part in parts(material)}
            if _CHOOSES.isdisjoint(kinds):
                continue
            on = active & (bsdf == mi.BSDFPtr(material))
            seen = si if _BENDS.isdisjoint(kinds) else _seen_from_lobe(si, bs)
            chance = dr.select(on, _chance_in(material, seen, self.sample_1, self.sample_2, on), chance)
        return chance


#: Materials whose samples have another density than the chance of the lobe that was taken
_CHOOSES = frozenset({"BlendBSDF", "MaskBSDF"})

#: Materials that turn the normal of the one inside
_BENDS = frozenset({"BumpMap", "NormalMap"})


def null_transmission(scene: mi.Scene, si: mi.SurfaceInteraction3f, bsdf: mi.BSDFPtr, active: mi.Bool) -> mi.Spectrum:
    """Share of the light that passes straight through surfaces, attached; Mitsuba's is 0 under turned normals. [N]"""
    passed = bsdf.eval_null_transmission(si, active)
    for material in materials(scene):
        if mi.has_flag(material.flags(), mi.BSDFFlags.Null) and not _BENDS.isdisjoint(
            part.class_name() for part in parts(material)
        ):
            on = active & (bsdf == mi.BSDFPtr(material))
            passed = dr.select(on, _null_transmission_in(material, si, on), passed)
    return passed


def _null_transmission_in(material: mi.BSDF, si: mi.SurfaceInteraction3f, active: mi.Bool) -> mi.Spectrum:
    """The same of one material, that of thin glass but for how normals are turned. [N]"""
    kind, nested = material.class_name(), _nested(material)
    if not nested or _BENDS.isdisjoint(part.class_name() for part in parts(material)):
        return material.eval_null_transmission(si, active)
    inside = [_null_transmission_in(one, si, active) for one in nested]
    if kind in _BENDS:
        return inside[0]
    if kind == "TwoSidedBRDF":
        return dr.select(si.wi.z < 0, inside[1], inside[0])
    share = _share(material, si, active)
    return 1 - share * (1 - inside[0]) if kind == "MaskBSDF" else dr.lerp(inside[0], inside[1], share)


def _nested(material: mi.BSDF) -> list[mi.BSDF]:
    return [child for child in children(material) if isinstance(child, mi.BSDF)]


def _share(material: mi.BSDF, si: mi.SurfaceInteraction3f, active: mi.Bool) -> mi.Float:
    """Opacity of a mask, or weight of a blend's second material. [N]"""
    texture = next(child for child in children(material) if isinstance(child, mi.Texture))
    return dr.clip(texture.eval_1(si, active), 0, 1)


def _seen_from_lobe(si: mi.SurfaceInteraction3f, bs: mi.BSDFSample3f) -> mi.SurfaceInteraction3f:
    """Surface points in a frame around the normal about which a specular lobe has reflected or refracted. [N]"""
    half = si.wi + bs.eta * bs.wo
    length2 = dr.squared_norm(half)
    known = length2 > dr.epsilon(mi.Float)
    normal = dr.select(known, half * dr.rsqrt(dr.select(known, length2, 1)), mi.Vector3f(0, 0, 1))
    seen = mi.SurfaceInteraction3f(si)
    seen.wi = mi.Frame3f(dr.mulsign(normal, normal.z)).to_local(si.wi)
    return seen


def _chance_in(
    material: mi.BSDF, si: mi.SurfaceInteraction3f, sample_1: mi.Float, sample_2: mi.Point2f, active: mi.Bool
) -> mi.Float:
    """The chance of the specular lobe that a material chooses with given random numbers, attached. [N]

    Args:
        si: In the frame of the lobe. [N]
    """
    kind, nested = material.class_name(), _nested(material)
    if kind in _BENDS:
        return _chance_in(nested[0], si, sample_1, sample_2, active)
    if kind == "TwoSidedBRDF":
        back = si.wi.z < 0
        si = mi.SurfaceInteraction3f(si)
        si.wi.z = dr.abs(si.wi.z)
        fronts, backs = (
            _chance_in(one, si, sample_1, sample_2, active & on) for one, on in zip(nested, (~back, back), strict=True)
        )
        return dr.select(back, backs, fronts)
    if kind in _CHOOSES:
        share = _share(material, si, active)
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
    return material.sample(mi.BSDFContext(), si, sample_1, sample_2, active)[0].pdf


def parts(material: mi.BSDF) -> Iterator[mi.BSDF]:
    """A material and all that are nested in it."""
    yield material
    for one in _nested(material):
        yield from parts(one)
