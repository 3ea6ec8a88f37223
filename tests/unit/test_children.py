"""What an object of a scene is made of."""

from __future__ import annotations

import gc
import types

import mitsuba as mi

from pbdr.geometry.edges import children

mi.set_variant("llvm_ad_rgb")


def test_nothing_but_the_answer_keeps_them_alive():
    """A lamp that outlives its shape is reached by calls all the same, which ended the process."""
    ball = mi.load_dict({"type": "sphere", "emitter": {"type": "area"}})
    found = children(ball)
    assert {one.class_name() for one in found} == {"SmoothDiffuse", "AreaLight"}
    assert not any(isinstance(holder, types.CellType) for holder in gc.get_referrers(found))
