"""The boundary term that suits a scene."""

from __future__ import annotations

import mitsuba as mi

from ..transport.film import Context, FilmSamples
from ..transport.levels import Levels
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
        self._asked: tuple[mi.Scene, mi.Sensor] | None = None

    @property
    def warp_depth(self) -> int:
        return self._term().warp_depth

    @property
    def taken(self) -> str | None:
        """Name of the term in use; None as long as nothing has moved."""
        return self._chosen.name if self._chosen else None

    def choice(self, scene: mi.Scene) -> BoundaryTerm:
        """The term that a scene gets."""
        return next((term for term in self._choices if not term.obstacle(scene)), self._choices[0])

    def prepare(self, scene: mi.Scene, sensor: mi.Sensor) -> None:
        # Left until something moves: derivatives of materials must not pay for a list of edges
        self._asked = (scene, sensor)

    def _term(self) -> BoundaryTerm:
        if self._asked is not None:
            scene, sensor = self._asked
            self._asked, chosen = None, self.choice(scene)
            if chosen is not self._chosen:
                mi.Log(mi.LogLevel.Info, f"boundary = 'auto' takes '{chosen.name}'")
                self._chosen = chosen
            chosen.prepare(scene, sensor)
        return self._chosen

    def field(self) -> VelocityField | None:
        return self._term().field()

    def levels(self, context: Context) -> Levels | None:
        return self._term().levels(context)

    @staticmethod
    def obstacle(scene: mi.Scene) -> str | None:
        reasons = [find(name).obstacle(scene) for name in CANDIDATES]
        return ", and ".join(dict.fromkeys(reasons)) if all(reasons) else None

    def samples(self, context: Context) -> list[FilmSamples]:
        return self._term().samples(context)
