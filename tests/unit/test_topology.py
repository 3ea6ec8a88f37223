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


def corners(scene: mi.Scene) -> np.ndarray:
    return np.array(mi.traverse(scene)["box.vertex_positions"], np.float64).reshape(-1, 3)


def put(scene: mi.Scene, points: np.ndarray) -> None:
    params = mi.traverse(scene)
    params["box.vertex_positions"] = mi.Float(np.float32(points).ravel())
    params.update()


def test_vertices_that_part_and_join(scene):
    """A cube stores each corner three times."""
    topology, closed = Topology(), corners(scene)
    topology.has_changed(scene)
    torn = closed + 1e-3 * np.arange(len(closed))[:, None]
    for points in (torn, closed):
        put(scene, points)
        assert topology.has_changed(scene) and not topology.has_changed(scene)
        put(scene, 1.5 * points @ np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0] + 3)
        assert not topology.has_changed(scene)


def test_a_vertex_that_leaves_an_edge(tmp_path):
    """Two triangles above a line whose middle is a vertex of theirs, and one below it, whose edge it lies on."""
    points = np.array([[0, 0, 0], [1, 0, 0], [2, 0, 0], [1, 1, 0], [1, -1, 0]], np.float32)
    mesh = mi.Mesh("box", 5, 3)
    params = mi.traverse(mesh)
    params["vertex_positions"] = mi.Float(points.ravel())
    params["faces"] = mi.UInt32([0, 1, 3, 1, 2, 3, 0, 4, 2])
    params.update()
    file = tmp_path / "box.ply"
    mesh.write_ply(str(file))
    scene = mi.load_dict({"type": "scene", "box": {"type": "ply", "filename": str(file)}}, optimize=False)
    topology = Topology()
    topology.has_changed(scene)
    put(scene, points + np.float32([0, 0, 1]))
    assert not topology.has_changed(scene)
    put(scene, points + np.outer(np.eye(5)[1], [0, 0, 0.1]))
    assert topology.has_changed(scene)
