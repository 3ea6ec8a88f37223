"""Arrays in nested structures."""

from __future__ import annotations

import dataclasses

import mitsuba as mi
import numpy as np

from pbdr.packing import outline, pack, structure_key, unpack


@dataclasses.dataclass(frozen=True)
class Pair:
    first: object
    second: object = 3


def nested(value: float) -> dict:
    return {"a": Pair(mi.Float(value)), "b": [(mi.UInt32(2), "text"), None], "c": mi.Point3f(value)}


def test_arrays_come_out_in_order_and_go_back():
    arrays = pack(nested(1))
    assert [type(array) for array in arrays] == [mi.Float, mi.UInt32, mi.Point3f]
    other = unpack(outline(nested(1)), pack(nested(5)))
    assert np.array(other["a"].first) == 5
    assert other["a"].second == 3
    assert other["b"][0][1] == "text"


def test_outlines_hold_no_arrays():
    assert all(type(slot).__module__ == "pbdr.packing" for slot in pack(outline(nested(1))))


def test_keys_tell_constants_apart_but_not_arrays():
    assert structure_key(nested(1)) == structure_key(nested(2)) == structure_key(outline(nested(3)))
    assert hash(structure_key(nested(1))) == hash(structure_key(nested(2)))
    assert structure_key(Pair(1)) != structure_key(Pair(2))
    assert structure_key([mi.Float(1)]) != structure_key([mi.Float(1), mi.Float(2)])
