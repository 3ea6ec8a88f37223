"""Curves of different shapes that lie on each other."""

from __future__ import annotations

import drjit as dr
import mitsuba as mi
import numpy as np
import pytest

from pbdr.geometry.coincidence import build_rings
from pbdr.geometry.curves import build_curves, curve_measure, find_place, touch


def curves_of(**shapes):
    return build_curves(mi.load_dict({"type": "scene", **shapes}, optimize=False))


def outline(curves, view) -> float:
    """Length of all curves that are silhouettes for lines along a direction."""
    place = find_place(curves, dr.arange(mi.UInt32, curves.count), mi.Float(0.5))
    seen = touch(place, mi.Vector3f(view), mi.Bool(False)).active
    return float(dr.sum(dr.select(seen, curve_measure(place)[0], 0))[0])


def test_rings_join_equal_middles():
    middles = np.array([[1, 2, 3], [4, 5, 6], [1, 2, 3 + 1e-6], [7, 8, 9], [1, 2, 3]])
    rings = build_rings(middles, np.array([True, True, True, True, False]))
    assert list(np.array(rings.next)) == [2, 1, 0, 3, 4]
    assert rings.most == 2
    assert build_rings(middles[[0, 1, 3]], np.ones(3, bool)) is None


def test_rings_of_more_than_two():
    rings = build_rings(np.zeros((4, 3)) + 0.3, np.ones(4, bool))
    assert rings.most == 4
    assert sorted(np.array(rings.next)) == [0, 1, 2, 3]


def test_rim_of_a_closed_cylinder_counts_once():
    T = mi.ScalarTransform4f
    closed = curves_of(can={"type": "cylinder"}, lid={"type": "disk", "to_world": T().translate([0, 0, 1])})
    assert closed.rings is not None
    # Obliquely from above: half of the upper rim on the far side, all of the lower one, and two lines on the side
    assert outline(closed, (1, 0, 1)) == pytest.approx(np.pi + 2 * np.pi + 2, rel=1e-2)
    # The lid has moved off: its whole rim and all of the cylinder's
    ajar = curves_of(can={"type": "cylinder"}, lid={"type": "disk", "to_world": T().translate([0, 0, 1.2])})
    assert outline(ajar, (1, 0, 1)) == pytest.approx(6 * np.pi + 2, rel=1e-2)


def test_curves_that_have_moved_apart_are_alone():
    T = mi.ScalarTransform4f
    scene = mi.load_dict(
        {"type": "scene", "can": {"type": "cylinder"}, "lid": {"type": "disk", "to_world": T().translate([0, 0, 1])}},
        optimize=False,
    )
    curves = build_curves(scene)
    params = mi.traverse(scene)
    params["lid.to_world"] = mi.Transform4f().translate([0, 0, 1.2])
    params.update()
    assert outline(curves, (1, 0, 1)) == pytest.approx(6 * np.pi + 2, rel=1e-2)


def test_edges_of_stacked_boxes_count_once():
    T = mi.ScalarTransform4f
    stacked = curves_of(a={"type": "cube"}, b={"type": "cube", "to_world": T().translate([0, 0, 2])})
    tower = curves_of(a={"type": "cube", "to_world": T().translate([0, 0, 1]).scale([1, 1, 2])})
    for view in ((1, 0.3, 0.5), (0.2, 1, -0.4)):
        assert outline(stacked, view) == pytest.approx(outline(tower, view), rel=1e-5)
