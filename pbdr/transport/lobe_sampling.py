"""Directions drawn where the derivative of a lobe by its roughness is large.

The derivative of a distribution of microfacets D by its roughness α is negative near the normal and positive further
out. With s = tan²θ / α² it changes sign at s = 1, and each side has half of its absolute value:

    GGX         D cosθ ∝ 1 / (s + 1)²,    |∂D/∂α| / D ∝ |s − 1| / (s + 1)
    Beckmann    D cosθ ∝ exp(−s),         |∂D/∂α| / D ∝ |s − 1|

Half vectors are drawn in proportion to half of each, D and |∂D/∂α| [Zeltner et al. 2021, "Monte Carlo estimators for
differential light transport"; Belhe et al. 2024, "Importance sampling BRDF derivatives"]. No density is then below half
that of D. Their angle grows with the first of two random numbers, so that stratified samplers see each sign as often as
they should (s < 1 is the first half of these numbers with GGX), and what cancels does so within a pixel.
"""

from __future__ import annotations

import dataclasses

import drjit as dr
import mitsuba as mi

from ..geometry.rough_lobes import RoughLobes

#: Roughness below which a microfacet distribution is as good as specular; Mitsuba's own limit
_SMOOTHEST = 1e-4

#: Newton's steps for the angle with Beckmann's distribution; four give single precision
_STEPS = 4


@dataclasses.dataclass
class RoughLobe:
    """The lobe of each surface point whose directions are drawn by its derivative, detached."""

    share: mi.Float  #: of directions that are; 0 elsewhere [N]
    α: mi.Float  #: roughness of the microfacets [N]
    beckmann: mi.Bool  #: whether their distribution is Beckmann's, else GGX [N]

    @classmethod
    def at(
        cls, lobes: RoughLobes | None, bsdf: mi.BSDFPtr, si: mi.SurfaceInteraction3f, active: mi.Bool
    ) -> RoughLobe | None:
        """Look the lobes of surface points up; None if there are none in the scene."""
        if lobes is None:
            return None
        with dr.suspend_grad():
            index = dr.reinterpret_array(mi.UInt32, bsdf)
            known = active & (index < dr.width(lobes.share))
            share = dr.gather(mi.Float, lobes.share, index, known)
            beckmann = dr.gather(mi.UInt32, lobes.beckmann, index, known) != 0
            α = mi.Float(_SMOOTHEST)
            for name in lobes.names:
                value = bsdf.eval_attribute_1(name, si, share > 0)
                α = dr.maximum(α, dr.square(value) if name == "roughness" else value)
            return cls(share, dr.detach(α), beckmann)

    def mixed(self, pdf: mi.Float, wi: mi.Vector3f, wo: mi.Vector3f) -> mi.Float:
        """Density of a direction by both strategies, given that of the material's own. Solid angle, local. [N]"""
        half = dr.normalize(wi + wo)
        cos2 = dr.square(half.z)
        s = (dr.square(half.x) + dr.square(half.y)) / (cos2 * dr.square(self.α))
        ggx = dr.rcp(dr.square(1 + s)) * (0.5 + dr.abs(s - 1) / (s + 1))
        beckmann = dr.exp(-s) * (0.5 + dr.e / 4 * dr.abs(s - 1))
        density = dr.select(self.beckmann, beckmann, ggx) / (dr.pi * dr.square(self.α) * cos2 * dr.abs(half.z))
        reflected = (wi.z * wo.z > 0) & (self.share > 0)
        density = dr.select(reflected, density / (4 * dr.abs_dot(wo, half)), 0)
        return dr.lerp(pdf, density, self.share)

    def reflect(self, wi: mi.Vector3f, sample: mi.Point2f) -> mi.Vector3f:
        """A direction drawn by the derivative. [N]"""
        s = dr.select(self.beckmann, _beckmann_angle(sample.x), _ggx_angle(sample.x))
        tan2 = s * dr.square(self.α)
        cos = dr.rsqrt(1 + tan2)
        sin_φ, cos_φ = dr.sincos(dr.two_pi * sample.y)
        sin = dr.sqrt(tan2) * cos
        half = mi.Vector3f(sin * cos_φ, sin * sin_φ, dr.mulsign(cos, wi.z))
        return mi.reflect(wi, mi.Normal3f(half))


def sample_bsdf(
    bsdf: mi.BSDFPtr,
    si: mi.SurfaceInteraction3f,
    lobe: RoughLobe | None,
    samples: tuple[mi.Float, mi.Point2f],
    active: mi.Bool,
) -> tuple[mi.BSDFSample3f, mi.Spectrum]:
    """A direction from the material, or from the derivative of its lobe where there is one.

    Args:
        samples: Random numbers, one and two. [N] each

    Returns:
        The direction with the density of both strategies together, and f_s |n·ω| over that density.
    """
    context, (sample_1, sample_2) = mi.BSDFContext(), samples
    if lobe is None:
        return bsdf.sample(context, si, sample_1, sample_2, active)
    rough = active & (lobe.share > 0)
    drawn = rough & (sample_2.x < lobe.share)
    x = sample_2.x - lobe.share
    own = dr.select(rough, x / dr.maximum(1 - lobe.share, dr.epsilon(mi.Float)), sample_2.x)
    bs, weight = bsdf.sample(context, si, sample_1, mi.Point2f(own, sample_2.y), active & ~drawn)
    wo = lobe.reflect(si.wi, mi.Point2f(sample_2.x / dr.select(rough, lobe.share, 1), sample_2.y))
    bs.wo[drawn] = wo
    bs.eta[drawn] = 1
    bs.sampled_type[drawn] = int(mi.BSDFFlags.GlossyReflection)

    # Lanes without a direction have none by either strategy
    valid = rough & dr.select(drawn, wo.z * si.wi.z > 0, bs.pdf > 0)
    f, pdf = bsdf.eval_pdf(context, si, bs.wo, valid)
    pdf = lobe.mixed(pdf, si.wi, bs.wo)
    bs.pdf[rough] = dr.select(valid, pdf, 0)
    weight[rough] = dr.select(valid & (pdf > 0), f / pdf, 0)
    return bs, weight


def _ggx_angle(x: mi.Float) -> mi.Float:
    """s with GGX: in u = s / (s + 1), of which D makes a uniform number, the density is 1/2 + |2u − 1|. [N]"""
    y = dr.abs(2 * x - 1)
    v = 4 * y / (1 + dr.sqrt(1 + 8 * y))
    ratio = (1 + v) / dr.maximum(1 - v, dr.epsilon(mi.Float))
    return dr.select(x < 0.5, dr.rcp(ratio), ratio)


def _beckmann_angle(x: mi.Float) -> mi.Float:
    """s with Beckmann: in v = exp(−s), of which D makes a uniform number, the density is 1/2 + e/4 |s − 1|. [N]"""
    tail = dr.clip(1 - x, dr.epsilon(mi.Float), 1)
    v = mi.Float(tail)
    for _ in range(_STEPS):
        s = -dr.log(v)
        beyond = 0.5 * v + dr.select(s > 1, dr.e / 4 * s * v, 0.5 - dr.e / 4 * s * v)
        v = dr.clip(v - (beyond - tail) / (0.5 + dr.e / 4 * dr.abs(s - 1)), 1e-9, 1)
    return -dr.log(v)
