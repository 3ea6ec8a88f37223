"""When the edges of a scene have to be looked for anew."""

from __future__ import annotations

import mitsuba as mi
import numpy as np
import pytest

from pbdr.geometry.topology import Topology

mi.set_variant("llvm_ad_rgb")


def box() -> mi.Scene:
    shapes = {"box": {"type": "cube"}, "floor": {"type": "rectangle"}, "ball": {"type": "sphere"}}
    return mi.load_dict({"type": "scene", **shapes}, optimize=False)


@pytest.fixture
def scene() -> mi.Scene:
    return box()


def test_motion_changes_nothing(scene):
    topology, params = Topology(), mi.traverse(scene)
    assert topology.has_changed(scene)
    params["box.vertex_positions"] = params["box.vertex_positions"] + 0.1
    params["floor.to_world"] = mi.Transform4f().translate([0, 0, -2])
    params.update()
    assert not topology.has_changed(scene)


def test_as_many_triangles_but_others(scene):
    topology, params = Topology(), mi.traverse(scene)
    topology.has_changed(scene)
    faces = np.array(params["box.faces"])
    params["box.faces"] = mi.UInt32(np.concatenate([faces[18:], faces[18:]]))
    params.update()
    assert topology.has_changed(scene) and not topology.has_changed(scene)


def test_an_equal_scene_is_another(scene):
    topology = Topology()
    topology.has_changed(scene)
    assert topology.has_changed(box())
