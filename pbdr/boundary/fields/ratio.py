"""Field by weights of auxiliary rays: a ratio of two Monte Carlo sums, and therefore biased.

Directions ω_j around q, drawn with density p ∝ exp(κ q·ω_j), find surface points X_j. With B_j the distance of such a
point from where its surface ends as seen from the origin o,

    V = Σ w_j (Ẋ_j − ȯ)/|X_j−o| / Σ w_j,    w_j = (D_j + B_j)^−γ / p(ω_j),    D_j = exp(κ (1 − q·ω_j)) − 1

takes a silhouette's velocity next to it, since w is infinite there [Bangaru et al. 2020, "Unbiased warped-area
sampling"]. Both sums have the right mean, their ratio has not: the bias falls with the number of rays. It is what
Mitsuba's integrators did up to version 3.4, and is here to compare with; `blend` and `caps` have no bias.

A jackknife takes 2 R − (R_a + R_b)/2 instead, R_a and R_b being the ratios of half of the rays each, which removes the
part of the bias that is proportional to 1/rays.
"""

from __future__ import annotations

import dataclasses
import math

import drjit as dr
import mitsuba as mi

from ...errors import InputError
from ...transport.velocity import Velocity, VelocityField
from . import register
from .random_numbers import disk_direction, uniform_pair
from .surface_list import Hit, SurfaceList
from .weighted_mean import WeightedMean

#: Least D + B; weights are finite on silhouettes
TINY = 1e-5


@dataclasses.dataclass
class _Auxiliary:
    """An auxiliary ray's surface point and weight."""

    hit: Hit
    weight: mi.Float  #: w [N]
    weight_slope: mi.Vector3f  #: its gradient by the direction [N]


@register("ratio")
class Ratio(VelocityField):
    """Weighted mean of the velocities that auxiliary rays find; biased."""

    def __init__(self, props: mi.Properties):
        self.rays = props.get("warp_rays", 16)
        self.kappa, self.exponent = props.get("warp_kappa", 1e4), props.get("warp_exponent", 2.0)
        self.antithetic, self.jackknife = props.get("warp_antithetic", True), props.get("warp_jackknife", False)
        for name, value in (("warp_kappa", self.kappa), ("warp_exponent", self.exponent)):
            if not value > 0:
                raise InputError(f"'{name}' must be greater than 0, got {value:g}")
        step = (2 if self.antithetic else 1) * (2 if self.jackknife else 1)
        if self.rays < 1 or self.rays % step:
            options = " and ".join(n for n in ("warp_antithetic", "warp_jackknife") if getattr(self, n[5:]))
            needed = f"a multiple of {step} with {options}" if step > 1 else "at least 1"
            raise InputError(f"'warp_rays' must be {needed}, got {self.rays}")
        self._surfaces: SurfaceList | None = None

    def obstacle(self, scene: mi.Scene) -> str | None:
        for shape in scene.shapes():
            if shape.class_name() == "Instance":
                return (
                    f"shape '{shape.id()}' is an Instance, whose motion the auxiliary rays of warp_field = 'ratio' do "
                    "not know; use warp_field = 'blend'"
                )
        return None

    def prepare(self, scene: mi.Scene, sensor: mi.Sensor, *, camera_only: bool) -> None:
        self._surfaces = SurfaceList(scene)

    def clear(self, *, forward: bool) -> None:
        if forward:
            self._surfaces.receive_tangents()
        else:
            self._surfaces.clear()

    def send_adjoints(self) -> None:
        self._surfaces.send_adjoints()

    def _draw(
        self, origin: mi.Point3f, frame: mi.Frame3f, stream: mi.UInt32, index: mi.UInt32, active: mi.Bool
    ) -> _Auxiliary:
        """Trace the auxiliary ray of an index; equal streams give equal rays.

        Args:
            frame: Around the direction. [N]
        """
        u, v = uniform_pair(stream, index >> 1 if self.antithetic else index)
        # 1/p up to a factor; 1 − cosines tell small angles apart
        rcp_pdf = dr.rcp(1 - u * (1 - math.exp(-2 * self.kappa)))
        height = dr.minimum(dr.log(rcp_pdf) / self.kappa, 2)
        across = disk_direction(frame, v) * dr.safe_sqrt(height * (2 - height))
        if self.antithetic:
            across = dr.select((index & 1) == 0, across, -across)
        start = mi.math.RayEpsilon * (1 + dr.max(dr.abs(origin)))
        hit = self._surfaces.trace(origin, start, dr.normalize(frame.n * (1 - height) + across), active)
        rcp = dr.rcp(dr.maximum(rcp_pdf - 1 + hit.inside, TINY))
        weight = dr.select(active, rcp_pdf * dr.power(rcp, self.exponent), 0)
        return _Auxiliary(hit, weight, across * (weight * rcp * rcp_pdf * (self.exponent * self.kappa)))

    def _part(self, index: mi.UInt32, k: int) -> mi.Bool:
        """Whether a ray belongs to a half of the rays, or to all of them; antithetic pairs stay together."""
        return ((index >> (1 if self.antithetic else 0)) & 1) == k if self.jackknife else mi.Bool(True)

    def _terms(self, sums: list[WeightedMean]) -> list[tuple[float, tuple[int, ...], WeightedMean]]:
        """Means that the field is made of: their factors, the parts of the rays that they are taken over, and sums."""
        if not self.jackknife:
            return [(1.0, (0,), sums[0])]
        return [(2.0, (0, 1), sums[0] + sums[1]), (-0.5, (0,), sums[0]), (-0.5, (1,), sums[1])]

    def _combine(self, sums: list[WeightedMean], q: mi.Vector3f, active: mi.Bool) -> Velocity:
        """The field, given the sums over each part of the rays; rays that do not follow it follow the surface."""
        rest = dr.select(mi.Bool(active), mi.Float(0), 1)
        terms = [(factor, mean.velocity(q, rest)) for factor, _, mean in self._terms(sums)]
        names = ("velocity", "divergence", "by_origin", "divergence_by_origin")
        total = {name: sum(getattr(v, name) * factor for factor, v in terms) for name in names}
        return dataclasses.replace(terms[0][1], **total, kept=tuple(sums))

    def _split(self, field: Velocity, adjoints: tuple) -> list[list]:
        """Adjoints of S and T of each part of the rays, given those of the field."""
        parts = [[mi.Vector3f(0), mi.Float(0)] for _ in field.kept]
        for factor, members, mean in self._terms(field.kept):
            δS, δT = mean.adjoints(field.direction, field.rest, adjoints)
            for k in members:
                parts[k][0] += δS * factor
                parts[k][1] += δT * factor
        return parts

    @dr.syntax
    def evaluate(self, origin, direction, stream, active, forward):
        frame = mi.Frame3f(direction)
        sums = [WeightedMean.zero() for _ in range(2 if self.jackknife else 1)]
        index, count = mi.UInt32(0), dr.opaque(mi.UInt32, self.rays)
        todo = mi.Bool(active)
        while dr.hint(todo, exclude=[self, frame], label="auxiliary rays"):
            ray = self._draw(origin, frame, stream, index, todo)
            rcp_distance = ray.hit.rcp_distance
            W = mi.Vector3f(0)
            if dr.hint(forward, mode="scalar"):
                W = self._surfaces.motion(ray.hit) * rcp_distance
            for k, part in enumerate(sums):
                here = self._part(index, k)
                part.Z += dr.select(here, ray.weight, 0)
                part.dZ += dr.select(here, ray.weight_slope, 0)
                part.C += dr.select(here, ray.weight * rcp_distance, 0)
                part.c += dr.select(here, ray.weight_slope * rcp_distance, 0)
                part.S += dr.select(here, W * ray.weight, 0)
                part.T += dr.select(here, dr.dot(ray.weight_slope, W), 0)
            index += 1
            todo &= index < count
        return self._combine(sums, direction, active)

    @dr.syntax
    def deposit(self, field, origin, adjoints, stream, active):
        frame = mi.Frame3f(field.direction)
        parts = self._split(field, adjoints)
        index, count = mi.UInt32(0), dr.opaque(mi.UInt32, self.rays)
        todo = mi.Bool(active)
        while dr.hint(todo, exclude=[self, frame, parts], label="auxiliary rays, adjoint"):
            ray = self._draw(origin, frame, stream, index, todo)
            δ = mi.Vector3f(0)
            for k, (δS, δT) in enumerate(parts):
                δ += dr.select(self._part(index, k), δS * ray.weight + ray.weight_slope * δT, 0)
            self._surfaces.add(ray.hit, δ * ray.hit.rcp_distance)
            index += 1
            todo &= index < count
