"""Records in arrays without gaps, written by a loop in the order of arrival."""

from __future__ import annotations

import drjit as dr
import mitsuba as mi

#: Stands for "no record"
NONE = 0xFFFFFFFF

#: Numbers of a record that lie side by side, so that one instruction stores them
PACKET = 8


class Records:
    """Room for a number of records of one kind, which are counted from the first on and from the last on backwards.

    The counters go on where the room ends.
    """

    def __init__(self, fields: dict[str, type], capacity: int, arrays: list | None = None):
        """Make room, or take what is there.

        Args:
            capacity: Records that there is room for.
            arrays: Both counters [1] and all numbers, by eights. [8 · capacity] each
        """
        self.fields, self.capacity = fields, capacity
        # An array, so that kernels do not depend on it
        self._end = dr.opaque(mi.UInt32, capacity)
        if arrays is None:
            counters = [dr.opaque(mi.UInt32, 0) for _ in range(2)]
            arrays = [*counters, *(dr.empty(mi.Float, PACKET * capacity) for _ in range(row_count(fields)))]
        self.arrays = arrays

    def append(self, values: dict, active: mi.Bool, *, backwards: bool = False) -> mi.UInt32:
        """Keep what is active.

        Args:
            values: By the names of the fields; others are left out. [N] each

        Returns:
            Where each record is kept, ``NONE`` where it is not. [N]
        """
        slot = dr.scatter_inc(self.arrays[backwards], mi.UInt32(0), active)
        active = active & (slot < self._end)
        slot = self._end - 1 - slot if backwards else slot
        numbers = [
            dr.reinterpret_array(mi.Float, dr.detach(part)) if dr.is_integral_v(part) else mi.Float(dr.detach(part))
            for name in self.fields
            for part in _components(values[name])
        ]
        numbers += [mi.Float(0)] * (-len(numbers) % PACKET)
        for k, row in enumerate(self.arrays[2:]):
            dr.scatter(row, mi.ArrayXf(numbers[PACKET * k : PACKET * (k + 1)]), slot, active)
        return dr.select(active, slot, NONE)

    def load(self) -> tuple[dict, mi.Bool]:
        """All of the room, and where there is something in it."""
        index = dr.arange(mi.UInt32, self.capacity)
        first, last = (dr.gather(mi.UInt32, n, dr.zeros(mi.UInt32, self.capacity)) for n in self.arrays[:2])
        used = (index < first) | (self._end - 1 - index < last)
        # What was there before the first record is of no type: not even a pointer may be followed
        shape = PACKET, self.capacity
        numbers = [x for row in self.arrays[2:] for x in dr.gather(mi.ArrayXf, row, index, used, shape=shape)]
        fields = {}
        for name, kind in self.fields.items():
            types = _parts(kind)
            parts = [
                dr.reinterpret_array(part, number) if dr.is_integral_v(part) else number
                for part, number in zip(types, numbers, strict=False)
            ]
            del numbers[: len(types)]
            fields[name] = parts[0] if dr.depth_v(kind) == 1 else kind(*parts)
        return fields, used


def row_count(fields: dict[str, type]) -> int:
    """Rows that numbers of these types need."""
    return -(-sum(len(_parts(kind)) for kind in fields.values()) // PACKET)


def _parts(kind: type) -> list[type]:
    return [kind] if dr.depth_v(kind) == 1 else [dr.value_t(kind)] * dr.size_v(kind)


def _components(value: object) -> list:
    return [value] if dr.depth_v(value) == 1 else list(value)
