"""Jobs whose steps use images of earlier steps."""

from __future__ import annotations

from pathlib import Path

import mitsuba as mi
import numpy as np
import pytest

import pbdr
from pbdr.errors import InputError
from pbdr.scene import load_scene

from ..tiny import ALPHA, VERTICES, WALL, write_scene

TRUTH = [0.6, 0.3, 0.1]
INTEGRATOR = {"type": "pbdr", "max_depth": 3}


@pytest.fixture
def photo(tmp_path: Path) -> np.ndarray:
    """What the tiny scene looks like. [16, 16, 3]"""
    scene = load_scene(write_scene(tmp_path))
    return np.array(mi.render(scene, integrator=mi.load_dict(INTEGRATOR), spp=2048, seed=7))


def problem(folder: Path, image: np.ndarray, parameters: dict, **settings) -> pbdr.Problem:
    scene = load_scene(write_scene(folder))
    settings = {"integrator": INTEGRATOR, "spp": 2, "spp_evaluation": 32, "control_variate": True, **settings}
    return pbdr.Problem.from_scene(scene, parameters, [image] * len(settings.get("views", [0])), **settings)


@pytest.mark.parametrize("views", [1, 2])
def test_recovers_a_colour(tmp_path: Path, photo: np.ndarray, views: int) -> None:
    made = problem(
        tmp_path, photo, {WALL: {"initial": 0.4, "learning_rate": 0.03}}, steps=80, views=[{"sensor": 0}] * views
    )
    result = pbdr.optimize(made)
    assert np.abs(result.values[WALL] - TRUTH).max() < 0.02
    # What is left of the noise of a step
    assert float(made.memory.control_variate.coefficient[0]) > 0.8


def test_refuses_what_it_does_not_know(tmp_path: Path, photo: np.ndarray) -> None:
    wall = {WALL: {"initial": 0.4}}
    with pytest.raises(InputError, match="'control_variate' and 'allocation' need squared errors"):
        problem(tmp_path, photo, wall, loss="l1")
    with pytest.raises(InputError, match="'control_variate' and 'allocation' need recorded paths"):
        pbdr.optimize(problem(tmp_path, photo, wall, steps=1, integrator={"type": "prb"}))
    with pytest.raises(InputError, match=r"'allocation' need recorded paths, which '.*' moves"):
        problem(tmp_path, photo, {VERTICES: {"initial": "current"}})
    with pytest.raises(InputError, match="optimizer 'lbfgs' takes neither 'control_variate' nor"):
        pbdr.optimize(problem(tmp_path, photo, {ALPHA: {"initial": 0.4}}, steps=1, optimizer={"type": "lbfgs"}))
