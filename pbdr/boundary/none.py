"""No boundary term."""

from __future__ import annotations

import mitsuba as mi

from . import register
from .base import BoundaryTerm, obstacle_to_motion


@register("none")
class NoBoundary(BoundaryTerm):
    """Leaves the derivative of moving discontinuities out: right for materials, textures and resting lights."""

    handles_discontinuities = False

    @staticmethod
    def obstacle(scene: mi.Scene) -> str | None:
        return obstacle_to_motion(scene)
