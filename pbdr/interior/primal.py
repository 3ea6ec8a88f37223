"""Radiance without derivatives."""

from __future__ import annotations

import mitsuba as mi

from .base import Rule


class Primal(Rule):
    """Sums the light of all vertices."""

    name = "primal"

    def start(self) -> tuple[mi.Spectrum, mi.Spectrum]:
        return mi.Spectrum(0), mi.Spectrum(0)

    def gather(self, L: mi.Spectrum, contribution: mi.Spectrum) -> mi.Spectrum:
        return L + contribution
