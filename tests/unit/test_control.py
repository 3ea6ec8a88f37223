"""What decides about rates, views and samples of a step, and about the end of a run."""

from __future__ import annotations

import mitsuba as mi
import numpy as np
import pytest

from pbdr.optimize.control import Control
from pbdr.optimize.job import check_job
from pbdr.optimize.schedules import ScheduleEntry, rate_factor
from pbdr.optimize.views.order import lines_of_sight


def test_schedules() -> None:
    def factors(progress: float, **entry: object) -> float:
        return rate_factor(ScheduleEntry(**entry), round(100 * progress), progress, 0.1)

    assert factors(0.6) == 1 and np.isclose(factors(1.0), 0.1) and np.isclose(factors(5 / 6), 0.1**0.5)
    assert factors(0.9, type="constant") == 1
    assert np.isclose(factors(0.5, type="exponential", final=0.01), 0.1)
    assert np.isclose(factors(0.5, type="cosine"), 0.55) and np.isclose(factors(1.0, type="cosine"), 0.1)
    assert np.isclose(factors(0.5, type="steps", at=[20, 50, 70], factor=0.5), 0.25)
    warm = [factors(k / 100, type="constant", warmup=4) for k in range(6)]
    assert np.allclose(warm, [0.2, 0.4, 0.6, 0.8, 1, 1])
    assert np.isclose(factors(0.75, begin=0.5), 0.1**0.5)
    for entry, words in (
        ({"type": "cosine", "begin": 0.5}, "type 'hold'"),
        ({"type": "steps"}, "'at' lists"),
        ({"type": "steps", "at": [5, 3]}, "must grow"),
    ):
        with pytest.raises(ValueError, match=words):
            ScheduleEntry(**entry)


def job(views: int = 1, **entries: object):
    return check_job({"scene": "", "views": [{"target": ""}] * views, "parameters": [{"key": "x"}], **entries})


def control_of(views: int = 1, **entries: object) -> Control:
    """Of a job whose views all look along one line."""
    return Control(job(views, **entries), np.tile([0.0, 0.0, 1.0], (views, 1)))


def test_batches_take_every_view_once() -> None:
    control = control_of(views=7, batch=3)
    seen = [control.views(step) for step in range(6)]
    assert [len(batch) for batch in seen] == [3, 3, 1, 3, 3, 1]
    for epoch in (seen[:3], seen[3:]):
        assert sorted(k for batch in epoch for k in batch) == list(range(7))
    assert seen[:3] != seen[3:] and seen == [control_of(views=7, batch=3).views(step) for step in range(6)]
    assert control_of(views=2).views(5) == [0, 1]


def test_batches_hold_views_that_look_along_different_lines() -> None:
    """Two pairs of opposite views and a pair of equal ones, in an order that would put each pair together."""
    lines = np.array([[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, 1]], float)
    orders = set()
    for seed in range(8):
        control = Control(job(views=6, batch=3, seed=seed), lines)
        batches = control.views(0), control.views(1)
        assert sorted(batches[0] + batches[1]) == list(range(6))
        for pair in ((0, 1), (2, 3), (4, 5)):
            assert not any(set(pair) <= set(batch) for batch in batches)
        orders.add(tuple(batches[0]))
    assert len(orders) > 4
    sensors = [
        mi.load_dict({"type": "perspective", "to_world": mi.ScalarTransform4f().look_at([0, 0, 0], line, [1, 1, 1])})
        for line in lines
    ]
    assert np.allclose(lines_of_sight(sensors), lines, atol=1e-6)


def test_samples_rise_where_the_gradient_is_noise() -> None:
    random = np.random.default_rng(0)
    for size, rises in ((10.0, False), (0.1, True)):
        control = control_of(spp=4, sampling={"type": "adaptive", "maximum": 16, "window": 10})
        spp = []
        for step in range(60):
            control.observe(1.0, {"x": mi.Float((size + random.normal(size=50)).astype(np.float32))})
            spp.append(control.spp(step))
        assert spp[-1] == (16 if rises else 4)


def test_noise_is_measured() -> None:
    """Gradients of size 2 and standard deviation 1 in 400 numbers: the ratio is 1/4."""
    random = np.random.default_rng(0)
    control = control_of(sampling={"type": "adaptive", "window": 100})
    for _ in range(50):
        control.observe(1.0, {"x": mi.Float((2 + random.normal(size=400)).astype(np.float32))})
    assert np.isclose(control.noise_ratios()["x"], 0.25, rtol=0.05)
    other = control_of(sampling={"type": "adaptive", "window": 100})
    other.restore(control.arrays())
    assert np.isclose(other.noise_ratios()["x"], control.noise_ratios()["x"])


def test_samples_by_steps() -> None:
    control = control_of(spp=4, sampling={"type": "steps", "at": [[10, 16], [20, 64]]})
    assert [control.spp(step) for step in (0, 9, 10, 19, 20, 99)] == [4, 4, 16, 16, 64, 64]


@pytest.mark.parametrize(("later", "is_plateau"), [(0.96, True), (0.94, False), (1.5, True)])
def test_a_plateau_is_a_mean_loss_that_hardly_falls(later: float, is_plateau: bool) -> None:
    control = control_of(stopping={"patience": 4, "tolerance": 0.05})
    for loss in (0.8, 1.2, 1.1, 0.9):
        control.observe(loss, {})
        assert not control.is_plateau(), "too few steps to compare"
    for change in (-0.1, 0.1, 0.2, -0.2):
        control.observe(later + change, {})
    assert control.is_plateau() == is_plateau
