"""No boundary term."""

from __future__ import annotations

from . import register
from .base import BoundaryTerm, Context, FilmSamples


@register("none")
class NoBoundary(BoundaryTerm):
    """Leaves out the derivative of moving discontinuities: right for materials, textures and lights that stand still."""

    handles_discontinuities = False

    def samples(self, context: Context) -> list[FilmSamples]:
        return []
