"""What all kinds of boundary segments share: they are found detached, thinned out, and only then differentiated."""

from __future__ import annotations

import abc
import dataclasses
from typing import ClassVar

import drjit as dr
import mitsuba as mi

from ...geometry.curves import Curves, Place, find_place
from ...packing import pack, unpack
from ...seeds import derive_seed
from ...sobol import SobolSampler
from ...transport.context import Context
from ...transport.film import FilmSamples, Source
from ...transport.recollection import Recollection
from .guide import Memory, Sampling, open_sampling

#: Samples that are left come in multiples of at least this many
_LEAST_STEP = 16


class Segments(abc.ABC):
    """Boundary segments of one kind in one pass."""

    name: ClassVar[str]

    def __init__(self, context: Context, curves: Curves, sampling: Sampling | None = None, count: int = 0):
        """Look at one pass.

        Args:
            sampling: The density, once it is known.
            count: How many samples are taken from it.
        """
        self.context = context
        self.curves = curves
        self.sampling = sampling
        self.count = count
        #: The same as an array: numbers of samples change from gradient to gradient, and kernels would with them [1]
        self.number = dr.opaque(mi.Float, count)

    @staticmethod
    @abc.abstractmethod
    def cost(curves: Curves) -> float:
        """Time that a sample takes, relative to the other kinds."""

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
    def find(self, sampler: SobolSampler) -> dict:
        """Detached samples with all their light: arrays by name, among them ``active``, ``cell`` and ``u``. [N]"""

    @abc.abstractmethod
    def film_samples(self, found: dict) -> tuple[FilmSamples, mi.Float]:
        """The samples that are left, attached, and how large they are per speed of the boundary in space. [M]"""

    def open(self, recollection: Recollection[Memory] | None) -> tuple[Sampling, Memory]:
        """The density of this gradient, and the memory that it comes from."""
        with dr.suspend_grad():
            middle = self.place(dr.arange(mi.UInt32, self.curves.count), mi.Float(0.5))
            place = self.observed(dr.detach(middle.point))
            return open_sampling(
                recollection, self.context.seed, self.density(middle), place, self.context.setting.extent
            )

    def start(self, label: str = "find") -> dict:
        """Find samples; their arrays are being computed when this returns."""
        with dr.suspend_grad():
            found = self.find(SobolSampler.along(self.count, self.seed(label)))
            self.sampling.count(found["cell"])
            self.sampling.schedule()
            dr.eval(found)
        return found

    def source(self, found: dict, *, by_adjoint: bool = False) -> Source:
        """What :func:`thinned` left, after the guide has learned from it.

        Args:
            by_adjoint: Whether the guide is to weigh samples by how much the loss depends on their pixels.
        """
        share = found["share"]
        with dr.resume_grad():
            self.curves = self.curves.placed()
        with dr.suspend_grad():
            samples, size = self.film_samples(found)
            size *= share
            if by_adjoint:
                size *= self.context.importance(samples.position)
            self.sampling.learn(found["cell"], size * (self.number / self.context.spp))
            self.sampling.schedule()

        def attach() -> list[FilmSamples]:
            samples, _ = self.film_samples(found)
            parts = {name: getattr(samples, name) for name in ("value", "weight", "coverage")}
            parts = {name: part * share for name, part in parts.items() if part is not None}
            return [dataclasses.replace(samples, **parts)]

        return attach

    def seed(self, label: str) -> mi.UInt32:
        """Of one purpose."""
        return mi.sample_tea_32(mi.UInt32(self.context.seed), derive_seed(0, "silhouettes", self.name, label))[0]

    def place(self, cell: mi.UInt32, u: mi.Float) -> Place:
        return find_place(self.curves, cell, u)


def thinned(found: dict) -> dict | None:
    """Samples that contribute something; None if there are none. [N] → [M]

    Their number is rounded up by at most an eighth with samples whose ``share`` is 0, not 1: frozen kernels find their
    sizes again.
    """
    index = dr.compress(found["active"])
    count = dr.width(index)
    if count == 0:
        return None
    step = max(_LEAST_STEP, 2 ** (count.bit_length() - 4))
    lane, end = dr.arange(mi.UInt32, -(-count // step) * step), dr.opaque(mi.UInt32, count)
    index = dr.gather(mi.UInt32, index, dr.minimum(lane, end - 1))
    kept = {name: value for name, value in found.items() if name != "active"}
    left = unpack(kept, [v if dr.width(v) == 1 else dr.gather(type(v), v, index) for v in pack(kept)])
    left["share"] = dr.select(lane < end, mi.Float(1), 0)
    dr.eval(left)
    return left
