"""What a rule of the path loop must provide."""

from __future__ import annotations

import abc
from typing import TYPE_CHECKING

import mitsuba as mi

if TYPE_CHECKING:
    from ..transport.memory import Vertex


class Rule(abc.ABC):
    """What the path loop does with each vertex: accumulate radiance, or turn it into derivatives.

    A rule keeps no state of its own; what it accumulates travels through the loop.
    """

    #: Whether the loop has to provide attached factors
    attached: bool = False

    #: Whether the loop is written out, one copy of its body for each vertex, instead of recorded once
    unrolled: bool = False

    #: Word for kernel labels
    name: str

    @abc.abstractmethod
    def start(self) -> tuple[mi.Spectrum, mi.Spectrum]:
        """Initial radiance L and derivative δL of the loop state."""

    def allocate(self, max_depth: int) -> dict:
        """Memory for a record of each path, part of the loop's state; none by default."""
        return {}

    def record(self, memory: dict, index: mi.UInt32, vertex: Vertex, active: mi.Bool) -> None:  # noqa: B027 (a documented default)
        """Keep a vertex in ``memory``; by default nothing.

        Args:
            index: Position on the path, 0 for the first hit. [N]
        """

    def proceeds(self, count: mi.UInt32, active: mi.Bool) -> mi.Bool:
        """Which of the paths that could go on the rule wants to follow; all by default.

        Args:
            count: Vertices so far. [N]
        """
        return active

    @abc.abstractmethod
    def gather(self, L: mi.Spectrum, contribution: mi.Spectrum) -> mi.Spectrum:
        """Radiance after one vertex, given the throughput-weighted light that it adds."""

    def extend(self, β: mi.Spectrum, factor: mi.Spectrum) -> mi.Spectrum:
        """Throughput after one vertex; ``factor`` has the value 1 and carries the derivative of the vertex's weight."""
        return β

    def differentiate(
        self, L: mi.Spectrum, δL: mi.Spectrum, contribution: mi.Spectrum, factor: mi.Spectrum
    ) -> mi.Spectrum:
        """Derivative δL after one vertex.

        Args:
            L: Throughput-weighted light that the path collects after this vertex, detached.
            δL: Derivative or adjoint so far.
            contribution: Light that this vertex adds, attached.
            factor: Value 1, carries the derivative of the vertex's weight.
        """
        return δL
