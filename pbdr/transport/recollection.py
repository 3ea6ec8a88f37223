"""What gradients remember of each other."""

from __future__ import annotations

import dataclasses
from typing import Generic, TypeVar

import drjit as dr
import mitsuba as mi

from ..packing import pack, unpack

Memory = TypeVar("Memory")


@dataclasses.dataclass(frozen=True)
class Recollection(Generic[Memory]):
    """The memory that the last gradient used and the one that it left.

    A repeated seed is answered with the memory that its first call had, so that forward and reverse mode take the same
    samples.
    """

    seed: mi.UInt32  #: of the last gradient [1]
    before: Memory
    after: Memory

    @classmethod
    def of(cls, seed: mi.UInt32, before: Memory, after: Memory) -> Recollection[Memory]:
        """Remember a gradient; evaluated, since literals would be part of kernels."""
        parts = [mi.UInt32(seed), *pack((before, after))]
        dr.make_opaque(parts)
        return cls(parts[0], *unpack((before, after), parts[1:]))

    def recall(self, seed: mi.UInt32) -> Memory:
        """The memory for a gradient, evaluated."""
        again = mi.UInt32(seed) == self.seed
        pairs = zip(pack(self.before), pack(self.after), strict=True)
        arrays = [dr.select(again, before, after) for before, after in pairs]
        dr.eval(arrays)
        return unpack(self.after, arrays)
