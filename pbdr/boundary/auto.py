"""The boundary term that suits a scene."""

from __future__ import annotations

import mitsuba as mi

from ..transport.context import Context
from ..transport.film import Source
from ..transport.velocity import VelocityField
from . import find, register
from .base import BoundaryTerm, Opening

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
        return self._chosen.warp_depth

    @property
    def taken(self) -> str | None:
        """Name of the term in use; None as long as nothing has moved."""
        return self._chosen.name if self._chosen else None

    def choice(self, scene: mi.Scene) -> BoundaryTerm:
        """The term that a scene gets."""
        return next((term for term in self._choices if not term.obstacle(scene)), self._choices[0])

    def prepare(self, scene: mi.Scene, sensor: mi.Sensor) -> None:
        chosen = self.choice(scene)
        if chosen is not self._chosen:
            mi.Log(mi.LogLevel.Info, f"boundary = 'auto' takes '{chosen.name}'")
            self._chosen = chosen
        chosen.prepare(scene, sensor)

    def field(self) -> VelocityField | None:
        return self._chosen.field() if self._chosen else None

    def bends_rays(self, scene: mi.Scene) -> bool:
        return self.choice(scene).bends_rays(scene)

    @staticmethod
    def obstacle(scene: mi.Scene) -> str | None:
        reasons = [find(name).obstacle(scene) for name in CANDIDATES]
        return ", and ".join(dict.fromkeys(reasons)) if all(reasons) else None

    def memory(self, context: Context) -> object:
        return self._chosen.memory(context)

    def open(self, context: Context, memory: object) -> tuple[Opening, object]:
        return self._chosen.open(context, memory)

    def plan(self, context: Context, opening: Opening) -> tuple[int, ...]:
        return self._chosen.plan(context, opening)

    def find(self, context: Context, opening: Opening, counts: tuple[int, ...]) -> list[dict]:
        return self._chosen.find(context, opening, counts)

    def sources(
        self, context: Context, opening: Opening, counts: tuple[int, ...], found: list[dict | None]
    ) -> list[Source]:
        return self._chosen.sources(context, opening, counts, found)

    def keep(self, context: Context, opening: Opening, before: object) -> None:
        self._chosen.keep(context, opening, before)
