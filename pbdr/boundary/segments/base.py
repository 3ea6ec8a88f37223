"""What all kinds of boundary segments share: they are found detached, thinned out, and only then differentiated."""

from __future__ import annotations

import abc
import dataclasses
from typing import ClassVar

import drjit as dr
import mitsuba as mi

from ...geometry.curves import Curves, Place, find_place
from ...geometry.motion import MovingShapes
from ...seeds import derive_seed
from ...transport.emitter import emitters_move
from ...transport.film import Context, FilmSamples
from ...transport.sensor import sensor_moves
from .guide import Guide, Sampling


@dataclasses.dataclass(frozen=True)
class Moves:
    """What carries derivatives of its position; asked beforehand, because nothing does while samples are found."""

    shapes: MovingShapes
    sensor: bool
    emitters: bool

    @classmethod
    def of(cls, context: Context) -> Moves:
        """Look at the scene and the sensor."""
        return cls(MovingShapes(context.scene), sensor_moves(context.sensor), emitters_move(context.scene))


class Segments(abc.ABC):
    """Boundary segments of one kind in one pass."""

    name: ClassVar[str]

    #: Time that a sample takes, relative to the other kinds
    cost: ClassVar[float]

    def __init__(self, context: Context, curves: Curves, moves: Moves, *, by_adjoint: bool = False):
        """Look at one pass.

        Args:
            by_adjoint: Whether the guide is to weigh samples by how much the loss depends on their pixels.
        """
        self.context = context
        self.by_adjoint = by_adjoint
        self.curves = curves
        self.moves = moves

    @abc.abstractmethod
    def density(self, middle: Place) -> mi.Float:
        """What geometry says about the cells; 0 only where nothing can be contributed. [C]

        Args:
            middle: Of each cell. [C]
        """

    def observed(self, p: mi.Point3f) -> mi.Point3f:
        """Points in coordinates in which motion makes measurements worthless: the world's unless overridden. [C]"""
        return p

    @abc.abstractmethod
    def find(self, sampling: Sampling, sampler: mi.Sampler, count: int) -> dict:
        """Detached samples: arrays by name, among them ``active``, ``cell`` and ``u``. [N]"""

    @abc.abstractmethod
    def film_samples(self, found: dict, sampler: mi.Sampler) -> tuple[FilmSamples, mi.Float]:
        """The samples that are left, attached, and how large they are per speed of the boundary in space. [M]"""

    def open(self, guide: Guide, *, pilot: bool = False) -> Sampling:
        """The density of this gradient."""
        with dr.suspend_grad():
            middle = self.place(dr.arange(mi.UInt32, self.curves.count), mi.Float(0.5))
            extent = dr.opaque(mi.Float, float(dr.maximum(dr.norm(self.context.scene.bbox().extents()), 1e-6)))
            seed = self._seed("pilot" if pilot else "guide")
            return guide.open(seed, self.density(middle), self.observed(dr.detach(middle.point)), extent)

    def start(self, sampling: Sampling, count: int, *, pilot: bool = False) -> dict:
        """Find samples; their arrays are being computed when this returns."""
        with dr.suspend_grad():
            found = self.find(sampling, self._sampler("pilot" if pilot else "find", count), count)
            sampling.count(found["cell"])
            sampling.schedule()
            dr.eval(found)
        return found

    def finish(self, sampling: Sampling, count: int, found: dict) -> FilmSamples | None:
        """Drop what contributes nothing of ``count`` samples, and attach the rest; None if nothing is left."""
        index = dr.compress(found["active"])
        if dr.width(index) == 0:
            return None
        left = {k: v if dr.width(v) == 1 else dr.gather(type(v), v, index) for k, v in found.items()}
        samples, size = self.film_samples(left, self._sampler("finish", dr.width(index)))
        with dr.suspend_grad():
            if self.by_adjoint:
                size *= self.context.importance(samples.position)
            sampling.learn(left["cell"], size * (count / self.context.spp))
            sampling.schedule()
        return samples

    def _seed(self, label: str) -> mi.UInt32:
        return mi.sample_tea_32(mi.UInt32(self.context.seed), derive_seed(0, "silhouettes", self.name, label))[0]

    def _sampler(self, label: str, count: int) -> mi.Sampler:
        sampler = mi.load_dict({"type": "independent"})
        sampler.seed(self._seed(label), count)
        return sampler

    def place(self, cell: mi.UInt32, u: mi.Float) -> Place:
        return find_place(self.curves, cell, u)
