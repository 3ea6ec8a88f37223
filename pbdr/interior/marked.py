"""Radiance, and how much of each path its derivative needs."""

from __future__ import annotations

import drjit as dr
import mitsuba as mi

from ..transport.memory import Vertex
from ..transport.vertices import Kept
from .primal import Primal

_NEEDED = "needed"


class Marked(Primal):
    """Sums the light of all vertices and counts those up to the last one that depends on an attached parameter.

    A derivative that replays the path may stop there: most paths of a scene in which one thing moves need none.
    """

    name = "marked"

    def __init__(self, kept: Kept, fewest: int = 0):
        """Take what carries derivatives.

        Args:
            fewest: Vertices that every path needs: one where the sensor moves, else none.
        """
        self._kept, self._fewest = kept, fewest

    def allocate(self, max_depth: int) -> dict:
        return {_NEEDED: mi.UInt32(self._fewest)}

    def record(self, memory: dict, index: mi.UInt32, vertex: Vertex, active: mi.Bool) -> None:
        needed = memory[_NEEDED]
        needed = dr.select(self._kept.wants(vertex), index + 1, needed)
        # The vertex behind a moving one sees it in another direction
        moves = vertex.active & self._kept.attachment.moving.hit(vertex.pi)
        memory[_NEEDED] = dr.select(moves, index + 2, needed)

    @staticmethod
    def needed(memory: dict) -> mi.UInt32:
        """How many vertices of each path its derivative needs, from the memory of a pass. [N]"""
        return memory[_NEEDED]
