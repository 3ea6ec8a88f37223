"""The interface of boundary terms."""

from __future__ import annotations

import abc

import mitsuba as mi

from ..transport.film import Context, FilmSamples
from ..transport.levels import Levels
from ..transport.velocity import VelocityField


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
        """Update what depends on the geometry; called once before a derivative is computed."""

    def field(self) -> VelocityField | None:
        """The velocity field that rays follow, for terms that turn boundaries into a divergence; None by default."""
        return None

    def levels(self, context: Context) -> Levels | None:
        """Levels of radiance whose motion on the film this term takes care of; None by default.

        Args:
            context: Without levels.
        """
        return None

    @staticmethod
    def obstacle(scene: mi.Scene) -> str | None:
        """What in a scene keeps this term from being right, as a sentence; None if nothing does.

        Asked before anything that moves is differentiated.
        """
        return None

    @abc.abstractmethod
    def samples(self, context: Context) -> list[FilmSamples]:
        """Samples of the boundary integral, attached to the scene parameters."""
