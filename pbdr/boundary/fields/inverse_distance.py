"""Inverse-distance weights of points on curves, as functions of the direction that they are seen from.

With D the squared chord between a direction and the closest point of a curve,

    K = (max(0, R/(D + s) − k))²

is infinite on the curve for s = 0, and 0 beyond some chord [Shepard 1968, inverse-distance interpolation, on the sphere
of directions].
"""

from __future__ import annotations

import dataclasses

import drjit as dr
import mitsuba as mi

from .edge_list import closest_on_segment
from .weighted_mean import WeightedMean

#: Smallest squared chord that is told from 0
TINY = 1e-11


@dataclasses.dataclass
class Visit:
    """One edge as seen from one origin in one direction."""

    t: mi.Float  #: closest point along the edge
    t_slope: mi.Vector3f  #: its gradient by the direction
    rcp_distance: mi.Float  #: 1/|X−o|
    stretch: mi.Float  #: (X−o)·e / |X−o|²
    weight: mi.Float  #: K
    weight_slope: mi.Vector3f  #: its gradient by the direction
    active: mi.Bool

    def add_weight(self, mean: WeightedMean) -> None:
        """Add the edge's weight to the sums of a mean."""
        mean.Z += self.weight
        mean.dZ += self.weight_slope
        mean.C += self.weight * self.rcp_distance
        mean.c += (self.weight_slope - self.t_slope * (self.weight * self.stretch)) * self.rcp_distance

    def add_motion(self, mean: WeightedMean, Ẋ: mi.Vector3f, ė: mi.Vector3f) -> None:
        """Add the edge's motion.

        Args:
            Ẋ: Velocity of the closest point. [N]
            ė: Its slope along the edge. [N]
        """
        W = Ẋ * self.rcp_distance
        dW = ė * self.rcp_distance - W * self.stretch
        mean.S += W * self.weight
        mean.T += dr.dot(self.weight_slope, W) + self.weight * dr.dot(self.t_slope, dW)

    def adjoints(self, δS: mi.Vector3f, δT: mi.Float) -> tuple[mi.Vector3f, mi.Vector3f]:
        """Adjoints of the arguments of :meth:`add_motion`, given those of the sums."""
        δdW = self.t_slope * (self.weight * δT)
        δX = (δS * self.weight + self.weight_slope * δT - δdW * self.stretch) * self.rcp_distance
        return δX, δdW * self.rcp_distance


@dataclasses.dataclass(frozen=True)
class Kernel:
    """Weights K as a function of distance."""

    reach: float  #: R, squared chord
    cutoff: mi.Float | float = 1.0  #: k
    softness: mi.Float | float = 0.0  #: s

    def visit(self, a: mi.Vector3f, b: mi.Vector3f, q: mi.Vector3f, active: mi.Bool) -> Visit:
        """The point of a straight edge that is closest to a direction.

        Args:
            a: Where the edge begins, relative to the origin. [N]
            b: Where it ends. [N]
        """
        e = b - a
        t, t_slope = closest_on_segment(a, e, q)
        x = a + e * t
        return self.weigh(q, x, e, t, t_slope, active)

    def weigh(self, q, x, e, t, t_slope, active) -> Visit:
        """Weight of the closest point x of a curve, whose tangent is e."""
        rcp_distance = dr.rsqrt(dr.squared_norm(x))
        to = x * rcp_distance
        D = dr.maximum(dr.squared_norm(q - to), TINY) + self.softness
        root = self.reach / D - self.cutoff
        active = active & (root > 0)
        weight = dr.select(active, dr.square(root), 0)
        # dK/dD · ∇D with ∇D = −2 to, without its part along q
        slope = dr.select(active, 4 * root * self.reach / dr.square(D), 0)
        across = to - q * dr.dot(q, to)
        stretch = dr.select(active, dr.dot(x, e) * dr.square(rcp_distance), 0)
        rcp_distance, t_slope = dr.select(active, rcp_distance, 0), dr.select(active, t_slope, 0)
        return Visit(t, t_slope, rcp_distance, stretch, weight, dr.select(active, across * slope, 0), active)
