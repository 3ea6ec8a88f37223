"""Weighted means of velocities, as functions of the direction at which they are taken."""

from __future__ import annotations

import dataclasses

import drjit as dr
import mitsuba as mi

from ...transport.velocity import Velocity


@dataclasses.dataclass
class WeightedMean:
    """Sums over points X with weights K and velocities W = (Ẋ − ȯ)/|X−o|; ∇ is by the direction q."""

    Z: mi.Float  #: Σ K
    dZ: mi.Vector3f  #: Σ ∇K
    C: mi.Float  #: Σ K/|X−o|
    c: mi.Vector3f  #: Σ ∇(K/|X−o|)
    S: mi.Vector3f  #: Σ K Ẋ/|X−o|
    T: mi.Float  #: Σ ∇·(K Ẋ/|X−o|)

    @classmethod
    def zero(cls) -> WeightedMean:
        return cls(mi.Float(0), mi.Vector3f(0), mi.Float(0), mi.Vector3f(0), mi.Vector3f(0), mi.Float(0))

    def __add__(self, other: WeightedMean) -> WeightedMean:
        return WeightedMean(*(getattr(self, f.name) + getattr(other, f.name) for f in dataclasses.fields(self)))

    def velocity(self, q: mi.Vector3f, rest: mi.Float | float) -> Velocity:
        """The field (ẋ rest + Σ K W) / (rest + Σ K).

        Args:
            q: The direction. [N]
            rest: Weight of the motion ẋ of the visible surface. [N]
        """
        norm = dr.rcp(rest + self.Z)
        slope = self.dZ * norm
        s, by_origin = self.S * norm, self.C * norm
        divergence = self.T * norm - dr.dot(s, slope) - 2 * dr.dot(q, s)
        divergence_by_origin = (slope + 2 * q) * by_origin - self.c * norm
        return Velocity(q, rest * norm, slope, s, divergence, mi.Matrix3f(1) * -by_origin, divergence_by_origin)

    def adjoints(
        self, q: mi.Vector3f, rest: mi.Float | float, adjoints: tuple[mi.Vector3f, mi.Float]
    ) -> tuple[mi.Vector3f, mi.Float]:
        """Adjoints of S and T, given those of the velocity and the divergence of :meth:`velocity`."""
        norm = dr.rcp(rest + self.Z)
        δs, δdivergence = adjoints
        return (δs - (2 * q + self.dZ * norm) * δdivergence) * norm, δdivergence * norm
