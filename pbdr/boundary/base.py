"""The interface of boundary terms."""

from __future__ import annotations

import abc
import dataclasses

import mitsuba as mi

from ..geometry.flags import all_shapes
from ..transport.context import Context
from ..transport.film import Source
from ..transport.levels import Levels
from ..transport.velocity import VelocityField


@dataclasses.dataclass(frozen=True)
class Opening:
    """The beginning of a gradient; terms add what they need."""

    levels: Levels | None = None  #: radiance whose motion on the film the term takes care of


def obstacle_to_motion(scene: mi.Scene) -> str | None:
    """Why paths over some surface of a scene cannot follow what moves, as a sentence; None if they all can.

    A path of material points has its directions from its points. Perfectly specular and transparent surfaces have
    theirs from the direction before, which no such path keeps to when anything on it moves.
    """
    specular = int(mi.BSDFFlags.DeltaReflection) | int(mi.BSDFFlags.DeltaTransmission)
    for shape in all_shapes(scene):
        flags = int(shape.bsdf().flags()) if shape.bsdf() is not None else 0
        if flags & specular:
            how, change = "is perfectly specular", "give it some roughness"
        elif flags & int(mi.BSDFFlags.Null):
            how, change = "lets light pass straight through", "make it opaque"
        else:
            continue
        return f"shape '{shape.id()}' {how}, and what moves cannot be followed across it; {change}"
    return None


class BoundaryTerm(abc.ABC):
    """Derivative of an image due to moving discontinuities."""

    #: As in ``boundary="name"``; set on registration
    name: str

    #: Whether parameters that move visibility boundaries get the right derivative
    handles_discontinuities: bool

    #: Path segments that follow the velocity field, counted from the camera
    warp_depth: int = 0

    def __init__(self, props: mi.Properties):  # noqa: B027 (a documented default)
        """Query this term's own properties and check them."""

    def prepare(self, scene: mi.Scene, sensor: mi.Sensor) -> None:  # noqa: B027 (a documented default)
        """Update what depends on the geometry, or refuse it; called before derivatives of something that moves."""

    def field(self) -> VelocityField | None:
        """The velocity field that rays follow, for terms that turn boundaries into a divergence; None by default."""
        return None

    def bends_rays(self, scene: mi.Scene) -> bool:
        """Whether rays of a scene follow a velocity field."""
        return self.field() is not None

    @staticmethod
    def obstacle(scene: mi.Scene) -> str | None:
        """What in a scene keeps this term from being right, as a sentence; None if nothing does.

        Asked before anything that moves is differentiated.
        """
        return None

    # Terms that sample boundaries do it in steps which can be frozen: what a step is given and what it returns are
    # nested structures of arrays, and only ``memory`` and ``plan`` look at numbers.

    def memory(self, context: Context) -> object:
        """What earlier gradients left; looks around before the first one.

        Args:
            context: Of the first pass, without levels.
        """
        return None

    def open(self, context: Context, memory: object) -> tuple[Opening, object]:
        """Densities and levels of one gradient, and those of the memories that :meth:`keep` wants back.

        Args:
            context: Of the first pass, without levels.
        """
        return Opening(), None

    def plan(self, context: Context, opening: Opening) -> tuple[int, ...]:
        """How many samples of each kind a pass takes."""
        return ()

    def find(self, context: Context, opening: Opening, counts: tuple[int, ...]) -> list[dict]:
        """Detached samples of each kind, arrays by name, among them ``active``: those without it are dropped."""
        return []

    def sources(
        self, context: Context, opening: Opening, counts: tuple[int, ...], found: list[dict | None]
    ) -> list[Source]:
        """Samples of the boundary integral, to be attached to the scene's parameters.

        Args:
            found: What is left of each kind; None where nothing is.
        """
        return []

    def keep(self, context: Context, opening: Opening, before: object) -> None:  # noqa: B027 (a documented default)
        """Remember a gradient.

        Args:
            before: The memories that it began with.
        """
