"""No boundary term."""

from __future__ import annotations

from . import register
from .base import BoundaryTerm


@register("none")
class NoBoundary(BoundaryTerm):
    """Leaves the derivative of moving discontinuities out: right for materials, textures and resting lights."""

    handles_discontinuities = False
