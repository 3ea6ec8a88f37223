"""Which things in view share a brightness level."""

from __future__ import annotations

import drjit as dr
import mitsuba as mi
import numpy as np
import pytest

from pbdr.transport.levels import KEEP, Levels, Memory, groups_in_contact


def cube(x: float) -> dict:
    return {"type": "cube", "to_world": mi.ScalarTransform4f().translate([x, 0, 0])}


def groups(scene: mi.Scene) -> dict[str, int]:
    found = np.array(groups_in_contact(scene))
    index = np.array(dr.reinterpret_array(mi.UInt32, mi.ShapePtr(scene.shapes())))
    return {shape.id(): int(found[i]) for shape, i in zip(scene.shapes(), index, strict=True)}


def test_boxes_that_meet_are_a_cluster():
    scene = mi.load_dict({"type": "scene", "a": cube(0), "b": cube(2), "c": cube(3.9), "d": cube(6.1)})
    found = groups(scene)
    assert found["a"] == found["b"] == found["c"] != found["d"]
    assert min(found.values()) > 0


def test_a_room_shares_the_level_of_what_is_inside():
    room = {"type": "cube", "to_world": mi.ScalarTransform4f().scale(5)}
    assert len(set(groups(mi.load_dict({"type": "scene", "room": room, "a": cube(0)})).values())) == 1


def test_levels_are_means_over_clusters():
    group = mi.UInt32([0, 1, 1, 3])
    memory = Memory(mi.Color3f([2, 1, 5, 0], [2, 1, 5, 0], [2, 1, 5, 0]), mi.Float([1, 2, 4, 0]))
    value = np.array(Levels.of_memory(memory, group).of_owner(mi.UInt32([0, 1, 2, 3])))
    assert value[0] == pytest.approx([2, 1, 1, 0])


def test_levels_follow_what_is_seen_and_forget_by_and_by():
    group = mi.UInt32([0, 1])
    levels = Levels.of_memory(Memory(mi.Color3f([0, 4], [0, 4], [0, 8]), mi.Float([0, 4])), group)
    levels.learn(mi.UInt32([1, 1, 1, 1]), dr.full(mi.Color3f, 3, 4))
    later = np.array(Levels.of_memory(levels.measured, group).of_owner(mi.UInt32([1])))[:, 0]
    old, new = KEEP * 4, 4
    assert later == pytest.approx([(old * level + new * 3) / (old + new) for level in (1, 1, 2)])
