"""The boundary term that suits a scene."""

from __future__ import annotations

import mitsuba as mi

from ..transport.film import Context, FilmSamples
from ..transport.velocity import VelocityField
from . import find, register
from .base import BoundaryTerm

#: In the order in which they are asked
CANDIDATES = ("silhouettes", "warped_area")


@register("auto")
class Auto(BoundaryTerm):
    """Silhouette sampling where it knows every shape, otherwise warped area; refuses what neither knows.

    Both are free of bias; silhouette sampling was less noisy and faster wherever both were measured
    (docs/warped_area.md). Which one is taken is logged when it changes.
    """

    handles_discontinuities = True

    def __init__(self, props: mi.Properties):
        endless = props.get("max_depth", 6) == -1
        names = CANDIDATES[:1] if endless else CANDIDATES
        self._choices: list[BoundaryTerm] = [find(name)(props) for name in names]
        self._chosen: BoundaryTerm | None = None

    @property
    def warp_depth(self) -> int:
        return self._chosen.warp_depth if self._chosen else 0

    def prepare(self, scene: mi.Scene, sensor: mi.Sensor) -> None:
        fitting = [term for term in self._choices if not term.obstacle(scene)]
        chosen = fitting[0] if fitting else self._choices[0]
        if chosen is not self._chosen:
            mi.Log(mi.LogLevel.Info, f"boundary = 'auto' takes '{chosen.name}'")
            self._chosen = chosen
        chosen.prepare(scene, sensor)

    def field(self) -> VelocityField | None:
        return self._chosen.field() if self._chosen else None

    @staticmethod
    def obstacle(scene: mi.Scene) -> str | None:
        reasons = [find(name).obstacle(scene) for name in CANDIDATES]
        return reasons[0] if all(reasons) else None

    def samples(self, context: Context) -> list[FilmSamples]:
        return self._chosen.samples(context)
