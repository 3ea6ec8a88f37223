"""Ctrl-C, and refusals, at a moment at which Dr.Jit turns them into another error."""

from __future__ import annotations

import math

import drjit as dr
import mitsuba as mi
import numpy as np
import pytest

from pbdr.compare.measure import Effort, _Trials
from pbdr.errors import InputError, unwrapped
from pbdr.interior.frozen import Frozen


def interrupt(*arguments: object, **settings: object) -> None:
    raise KeyboardInterrupt


@pytest.fixture
def scene() -> mi.Scene:
    return mi.load_dict({"type": "scene", "sensor": {"type": "perspective"}})


def test_ctrl_c_in_a_recorded_loop():
    with pytest.raises(KeyboardInterrupt), unwrapped():
        dr.while_loop((dr.arange(mi.Int, 3),), interrupt, lambda i: (i,))


def test_refusals_leave_as_they_were_raised():
    def refuse(*_: object) -> None:
        raise InputError("the film is too large")

    with pytest.raises(InputError, match="the film is too large"), unwrapped():
        dr.while_loop((dr.arange(mi.Int, 3),), refuse, lambda i: (i,))


def test_other_errors_stay_what_they_are():
    with pytest.raises(RuntimeError, match="broken"), unwrapped():
        raise RuntimeError("broken")


def test_ctrl_c_while_a_frozen_function_is_recorded(scene: mi.Scene):
    frozen = Frozen()
    with pytest.raises(KeyboardInterrupt):
        frozen.call("double", (), interrupt, scene, scene.sensors()[0], mi.Float(1, 2))
    assert frozen.works, "what was interrupted has not failed"
    for k in range(2):
        x = mi.Float(1 + k, 2)
        found = frozen.call("double", (), lambda scene, sensor, x: x * 2, scene, scene.sensors()[0], x)
        assert np.array_equal(np.array(found), [2 + 2 * k, 4])
    assert frozen.launched == 1


def test_ctrl_c_is_no_verdict_on_an_estimator():
    trials = _Trials({"reverse": lambda seed: dr.while_loop((dr.arange(mi.Int, 3),), interrupt, lambda i: (i,))})
    with pytest.raises(KeyboardInterrupt):
        trials.collect_scalars(1, Effort(budget=math.inf))
    assert not trials.errors
