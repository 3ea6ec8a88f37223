"""Random numbers that are stratified within each pixel and, as well, over each block of pixels.

A gradient adds up what many pixels, or samples along many edges, contribute. Where neighbours take numbers that
complement each other, their errors cancel in such sums, and each of them alone is as well stratified as before.

The numbers are the first two dimensions of Sobol's sequence with Owen's scrambling by hashes [Burley 2020, "Practical
hash-based Owen scrambling"; Laine and Karras 2011, "Stratified sampling for stochastic transparency"], a shuffled copy
for each pair of dimensions. Samples are counted along a Morton curve through the pixels, so that the samples of each
aligned block of 2ᵏ pixels are a stretch of the sequence [Ahmed and Wonka 2020, "Screen-space blue-noise diffusion of
Monte Carlo sampling error via hierarchical ordering of pixels"]. Shuffling and scrambling keep stretches together.

Each sample by itself is uniformly distributed, so that estimates have the same mean as with independent numbers.
"""

from __future__ import annotations

import dataclasses

import drjit as dr
import mitsuba as mi

#: Steps between the seeds of successive dimensions: 2³² over the golden ratio
_GOLDEN = 0x9E3779B9

#: Bits 0 of 2, bits 0 and 1 of 4, …: where a bit of the index has a partner above it
_LOWER_HALVES = (0x55555555, 0x33333333, 0x0F0F0F0F, 0x00FF00FF, 0x0000FFFF)


@dataclasses.dataclass
class SobolSampler:
    """A stretch of the sequence, one sample for each lane. Changes as numbers are taken; loops may carry it."""

    index: mi.UInt32  #: of the sample, its bits in reverse order [N]
    key: mi.UInt32  #: chooses the scrambling; lanes of equal keys are stratified together [N] or [1]
    dimension: mi.UInt32  #: numbers taken so far [1]

    @classmethod
    def over_pixels(cls, size: tuple[int, int], spp: int, seed: mi.UInt32, sets: int = 1) -> SobolSampler:
        """Samples of pixel after pixel, row after row, set after set.

        Args:
            size: Width and height, at most 65,536 pixels each.
            spp: Samples per pixel of each set.
            sets: Independent sets of samples.
        """
        width, height = size
        count = dr.opaque(mi.UInt32, spp)
        lane = dr.arange(mi.UInt32, width * height * spp * sets)
        pixel = lane // count
        sample = lane - pixel * count
        which = pixel // (width * height) if sets > 1 else mi.UInt32(0)
        pixel -= which * (width * height)
        y = pixel // width
        morton = _spread(pixel - y * width) | (_spread(y) << 1)
        return cls._keyed(morton * count + sample, seed, which)

    @classmethod
    def along(cls, count: int, seed: mi.UInt32, sets: int = 1) -> SobolSampler:
        """Samples in the order of a line, whose stretches are stratified, set after set.

        Args:
            count: Samples of each set.
            sets: Independent sets of samples.
        """
        lane = dr.arange(mi.UInt32, count * sets)
        which = lane // dr.opaque(mi.UInt32, count) if sets > 1 else mi.UInt32(0)
        return cls._keyed(lane - which * count, seed, which)

    @classmethod
    def _keyed(cls, index: mi.UInt32, seed: mi.UInt32, which: mi.UInt32) -> SobolSampler:
        return cls(dr.brev(index), mi.sample_tea_32(mi.UInt32(seed), which)[0], mi.UInt32(0))

    def clone(self) -> SobolSampler:
        """A sampler that gives the same numbers from here on."""
        return dataclasses.replace(self)

    def next_1d(self) -> mi.Float:
        """A number for each sample. [N]"""
        return _fraction(_scrambled(self.index, self._seed()))

    def next_2d(self) -> mi.Point2f:
        """A point for each sample. [N]"""
        seed = self._seed()
        x = dr.brev(_scrambled(self.index, seed))
        # Pascal's triangle modulo 2 times the bits of the index: bit r is the sum of all bits whose places contain r
        y = mi.UInt32(x)
        for k, mask in enumerate(_LOWER_HALVES):
            y ^= (y >> (1 << k)) & mask
        # Scrambling decides about leading digits by the lower bits of its seed
        scrambled = (_scrambled(v, _turned(seed, bits)) for v, bits in ((x, 11), (y, 21)))
        return mi.Point2f(*(_fraction(dr.brev(v)) for v in scrambled))

    def _seed(self) -> mi.UInt32:
        """Of the next dimension: hashed as by Wellons, "lowbias32"."""
        self.dimension = self.dimension + 1
        x = self.key + self.dimension * _GOLDEN
        x ^= x >> 16
        x *= 0x7FEB352D
        x ^= x >> 15
        x *= 0x846CA68B
        return x ^ (x >> 16)


def _scrambled(x: mi.UInt32, seed: mi.UInt32) -> mi.UInt32:
    """Owen's scrambling of numbers whose bits are in reverse order: each depends on those below it. [N]

    The multipliers are those of Laine and Karras. Whatever the number is, all results are equally likely.
    """
    x = x + seed
    for even in (0x6C50B47C, 0xB82F1E52, 0xC7AFE638, 0x8D22F6E6):
        x ^= x * even
    return x


def _turned(x: mi.UInt32, bits: int) -> mi.UInt32:
    """Bits turned round. [N]"""
    return (x >> bits) | (x << (32 - bits))


def _fraction(x: mi.UInt32) -> mi.Float:
    """Numbers in [0, 1) with these binary digits. [N]"""
    return mi.Float(x >> 8) * 2.0**-24


def _spread(x: mi.UInt32) -> mi.UInt32:
    """The lower 16 bits at every other place. [N]"""
    x = x & 0xFFFF
    for shift, mask in ((8, 0x00FF00FF), (4, 0x0F0F0F0F), (2, 0x33333333), (1, 0x55555555)):
        x = (x | (x << shift)) & mask
    return x
