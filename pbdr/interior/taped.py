"""Automatic differentiation through the path loop itself: the in-house witness for the replay rules."""

from __future__ import annotations

import mitsuba as mi

from .base import Rule


class Taped(Rule):
    """Sums attached light under an attached throughput; Dr.Jit differentiates the whole path.

    Shares the factors of each vertex with the replay rules but none of their bookkeeping. The loop is written out:
    Dr.Jit 1.5 fails to differentiate a recorded loop whose carried state and scene parameters are both attached; memory
    and compile time grow with the path depth.
    """

    attached = True
    unrolled = True
    name = "taped"

    def start(self) -> tuple[mi.Spectrum, mi.Spectrum]:
        return mi.Spectrum(0), mi.Spectrum(0)

    def gather(self, L: mi.Spectrum, contribution: mi.Spectrum) -> mi.Spectrum:
        return L + contribution

    def extend(self, β: mi.Spectrum, factor: mi.Spectrum) -> mi.Spectrum:
        return β * factor
