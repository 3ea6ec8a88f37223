"""Where boundary samples pay: a density over the cells of curves that is kept and refreshed across steps.

Each gradient measures the second moment of what its samples contribute, cell by cell; the next one samples in
proportion to its square root, which minimizes the variance, with a share that ignores the measurements so that nothing
is ever missed. What a gradient measures does not change its own samples: every estimate is unbiased, and equal calls
after equal earlier calls give equal results.
"""

from __future__ import annotations

import dataclasses

import drjit as dr
import mitsuba as mi

from ...sobol import SobolSampler
from ...transport.recollection import Recollection

#: Share of the samples that follow the geometry alone
UNGUIDED = 0.15

#: How much of the memory survives a step without motion
KEEP = 0.8

#: Motion, as a share of the scene's extent, that makes measurements worthless
STALE_MOTION = 0.05

#: Most bins of measurements; with more cells neighbours share one
MOST_BINS = 2048


@dataclasses.dataclass(frozen=True)
class Memory:
    """What earlier samples measured, for each bin."""

    first: mi.Float  #: sum of contributions times the bin's probability [B]
    square: mi.Float  #: sum of their squares [B]
    count: mi.Float  #: samples taken [B]
    place: mi.Point3f  #: where the bin was [B]


@dataclasses.dataclass(frozen=True)
class Sampling:
    """The density of one gradient and what it measures."""

    density: mi.Float  #: of each cell, not normalized [C]
    bin_density: mi.Float  #: sum over the cells of each bin [B]
    cumulative: mi.Float64  #: sum of the densities up to each cell [C]
    noise: mi.Float  #: standard deviation that earlier samples let expect, for one sample [1]
    measured: Memory

    @property
    def _cells_per_bin(self) -> int:
        return _cells_per_bin(dr.width(self.density))

    def sample(
        self, sampler: SobolSampler, count: int, shift: mi.Float | float = 0
    ) -> tuple[mi.UInt32, mi.Float, mi.Float]:
        """Stratified choices of cells.

        Args:
            shift: How far each stratum is turned round, 0 … 1. [N]

        Returns:
            Cells [N], a number in [0, 1) that is left to choose a place in the cell [N], and the reciprocal of the
            cell's probability; 0 if there is nothing to sample [N].
        """
        # Double precision: with a million cells the rounding of a sum in single precision is as large as a cell
        last = dr.width(self.cumulative) - 1
        total = dr.gather(mi.Float64, self.cumulative, last)
        # Not a literal: numbers of samples change from gradient to gradient, and kernels would with them
        strata = dr.opaque(mi.Float64, count)
        u = (mi.Float64(dr.arange(mi.UInt32, count)) + mi.Float64(sampler.next_1d())) / strata + mi.Float64(shift)
        u = (u - dr.floor(u)) * total
        cell = dr.binary_search(0, last, lambda i: dr.gather(mi.Float64, self.cumulative, i) <= u)
        density = dr.gather(mi.Float, self.density, cell)
        rest = 1 - mi.Float((dr.gather(mi.Float64, self.cumulative, cell) - u) / mi.Float64(density))
        return cell, dr.clip(rest, 0, dr.one_minus_epsilon(mi.Float)), self.rcp_pmf(cell)

    def rcp_pmf(self, cell: mi.UInt32) -> mi.Float:
        """Reciprocal of the probability of cells; 0 if there is nothing to sample. [N]"""
        total = mi.Float(dr.gather(mi.Float64, self.cumulative, dr.width(self.cumulative) - 1))
        density = dr.gather(mi.Float, self.density, cell)
        return dr.select(density > 0, total / density, 0)

    def count(self, cell: mi.UInt32) -> None:
        """Add samples, whatever they contribute. [N]"""
        dr.scatter_add(self.measured.count, mi.Float(1), cell // self._cells_per_bin)

    def learn(self, cell: mi.UInt32, contribution: mi.Float) -> None:
        """Add what samples contributed, divided by their probability, as if each were alone. [N]"""
        bin = cell // self._cells_per_bin
        total = mi.Float(dr.gather(mi.Float64, self.cumulative, dr.width(self.cumulative) - 1))
        value = contribution * dr.gather(mi.Float, self.bin_density, bin) / total
        dr.scatter_add(self.measured.first, value, bin, value > 0)
        dr.scatter_add(self.measured.square, dr.square(value), bin, value > 0)

    def schedule(self) -> None:
        """Evaluate the measurements along with whatever is evaluated next."""
        dr.schedule(self.measured.first, self.measured.square, self.measured.count)


def _cells_per_bin(cell_count: int) -> int:
    return -(-cell_count // MOST_BINS)


def open_sampling(
    recollection: Recollection[Memory] | None, seed: mi.UInt32, base: mi.Float, place: mi.Point3f, extent: mi.Float
) -> tuple[Sampling, Memory]:
    """The density of one gradient, from what earlier ones measured.

    Args:
        recollection: Of one kind of boundary as seen by one sensor; None the first time.
        base: Density that geometry suggests, any scale; 0 only where nothing can be contributed. [C]
        place: Middle of each cell, in any coordinates in which motion matters. [C]
        extent: Size of the scene in these coordinates. [1]

    Returns:
        The density, and the memory that it comes from.
    """
    cells_per_bin = _cells_per_bin(dr.width(base))
    bin_count = -(-dr.width(base) // cells_per_bin)
    bin = dr.arange(mi.UInt32, dr.width(base)) // cells_per_bin
    centre = dr.gather(mi.Point3f, place, dr.arange(mi.UInt32, bin_count) * cells_per_bin)
    bin_base = dr.zeros(mi.Float, bin_count)
    dr.scatter_add(bin_base, base, bin)

    old = Memory(*(dr.zeros(mi.Float, bin_count) for _ in range(3)), centre)
    if recollection:
        old = recollection.recall(seed)
    moved = dr.norm(centre - old.place) / (STALE_MOTION * extent)
    keep = dr.exp(-dr.square(moved))
    measured = Memory(*(x * (KEEP * keep) for x in (old.first, old.square, old.count)), centre)

    # Root mean square of each bin, spread over its cells as geometry suggests
    rcp_count = dr.select(old.count > 0, dr.rcp(old.count), 0)
    worth = dr.select(bin_base > 0, keep * dr.sqrt(old.square * rcp_count), 0)
    worth_sum, base_sum = dr.sum(worth), dr.sum(base)
    guided = dr.select((worth_sum > 0) & (bin_base > 0), (1 - UNGUIDED) * worth / (bin_base * worth_sum), 0)
    guided += dr.select(worth_sum > 0, UNGUIDED, 1) / base_sum
    density = dr.select(base > 0, base * dr.gather(mi.Float, guided, bin), 0)
    bin_density = bin_base * guided

    # Bins are strata: only what varies within them is noise
    variance = dr.maximum(old.square - dr.square(old.first) * rcp_count, 0) * rcp_count
    noise = dr.sqrt(dr.sum(dr.select(bin_density > 0, variance / bin_density, 0)))
    return Sampling(density, bin_density, dr.cumsum(mi.Float64(density)), noise, measured), old
