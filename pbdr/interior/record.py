"""Radiance without derivatives, with a record of the path for a later walk over its vertices."""

from __future__ import annotations

import mitsuba as mi

from ..transport.memory import Vertex, allocate, store
from .primal import Primal


class Record(Primal):
    """Sums the light of all vertices and keeps them in memory local to each thread."""

    name = "record"

    def allocate(self, max_depth: int) -> dict:
        return allocate(max_depth)

    def record(self, memory: dict, index: mi.UInt32, vertex: Vertex, active: mi.Bool) -> None:
        store(memory, index, vertex, active)
