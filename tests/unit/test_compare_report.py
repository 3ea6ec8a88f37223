"""Tables, figures and the page of estimators, from rows that are made up."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import math
from pathlib import Path

import numpy as np
import pytest

from pbdr.compare.figure import gradient_limit, gradient_picture
from pbdr.compare.measure import Row
from pbdr.compare.result import Comparison, Picture, with_efficiency
from pbdr.resources import folder

RIGHT = Row(
    "emitter_scale",
    "prb",
    "consistent",
    "a bias above 1.0% would have been seen",
    seeds=16,
    spp=64,
    value=1.0,
    error=0.01,
    reference=1.0,
    scale=1.0,
    standard_errors=0.5,
    relative_bias=0.005,
    interval=(-0.01, 0.02),
    detectable=0.01,
    image_bias=0.002,
    relative_deviation=0.04,
    transposition=1e-6,
    seconds=0.2,
    cost=2.0,
    memory=3.0,
)
WRONG = dataclasses.replace(
    RIGHT, estimator="path", word="biased", reason="-40.0%", relative_bias=-0.4, standard_errors=-math.inf
)
BROKEN = Row("emitter_scale", "pbdr", "failed", "RuntimeError: a | b")
SETTINGS = {
    "seeds": 16,
    "most_seeds": 128,
    "spp": 64,
    "budget": 60.0,
    "confidence": 0.999,
    "tolerance": 0.05,
    "baseline": "prb",
    "versions": {"mitsuba": "3.9.1", "drjit": "1.5.0", "variant": "llvm_ad_rgb"},
}


@pytest.fixture
def comparison() -> Comparison:
    image = np.random.default_rng(0).normal(size=(24, 24, 3))
    picture = Picture(image, np.abs(image), {"prb": image, "path": 0.6 * image}, "hard", "closed form")
    return Comparison(with_efficiency([RIGHT, WRONG, BROKEN], "prb"), {"emitter_scale": picture}, SETTINGS)


def page_module():
    file = folder("benchmarks") / "estimators_page.py"
    spec = importlib.util.spec_from_file_location("estimators_page", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_rows_survive_json():
    assert Row.from_dict(json.loads(json.dumps(dataclasses.asdict(RIGHT)))) == RIGHT


def test_exit_codes(comparison):
    def code(*words):
        return dataclasses.replace(
            comparison, rows=tuple(dataclasses.replace(RIGHT, word=word) for word in words)
        ).exit_code

    assert code("consistent", "consistent") == 0
    assert code("consistent", "biased", "inconclusive") == code("failed") == 1
    assert code("consistent", "inconclusive") == code("unsupported") == 4


def test_efficiency_is_inverse_variance_times_time():
    noisy = dataclasses.replace(RIGHT, estimator="noisy", error=0.02, seconds=2 * RIGHT.seconds)
    rows = with_efficiency([noisy, RIGHT, WRONG], "prb")
    assert [row.efficiency for row in rows] == [pytest.approx(1 / 8), pytest.approx(1), None]
    # Where the baseline is biased, the first one that is not takes its place
    rows = with_efficiency([noisy, RIGHT, WRONG], "path")
    assert [row.efficiency for row in rows] == [pytest.approx(1), pytest.approx(8), None]


def test_the_table_has_a_row_for_everything(comparison):
    text = comparison.to_markdown()
    assert "| `prb` | ✓ consistent | +0.50 % [-1.0 %, +2.0 %] | +0.5 |" in text
    assert "| `path` | ✗ biased | -40 %" in text
    assert "| `pbdr` | ! failed |" in text
    assert "RuntimeError: a \\| b" in text
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len({line.replace("\\|", "").count("|") for line in lines}) == 1


def test_json_has_no_infinities(comparison):
    rows = json.loads(comparison.to_json())["rows"]
    assert rows[1]["standard_errors"] is None


def test_the_figure_has_a_column_for_each_estimator_and_its_error(comparison):
    figure = comparison.figure()
    titles = [axes.get_title() for axes in figure.axes]
    assert titles[:7] == ["image", "reference", "prb", "its error", "path", "its error", "pbdr"]
    limits = {axes.images[0].get_clim() for axes in figure.axes if axes.images and axes.get_title() != "image"}
    # One colour scale, symmetric around zero
    assert len({round(high, 6) for _, high in limits}) == 1
    assert all(low == -high for low, high in limits)
    marks = [text.get_text() for axes in figure.axes for text in axes.texts]
    assert {"✓ consistent", "✗ biased", "! failed", "no image"} <= set(marks)
    assert comparison.scatter().axes[0].collections


def test_a_gradient_picture_has_a_symmetric_map_and_a_colour_bar():
    image = np.zeros((8, 12, 3))
    image[2, 3] = -2.0
    figure = gradient_picture(image, "title")
    assert len(figure.axes) == 2
    low, high = figure.axes[0].images[0].get_clim()
    assert low == -high == -gradient_limit(image) == pytest.approx(-2)


def test_the_page_of_estimators_is_complete(comparison, tmp_path):
    module = page_module()
    text = module.page(json.loads(comparison.to_json()))
    assert "| [emitter_scale](../benchmarks/gradients/emitter_scale.py) | ✓ 1.0 %, 2.0× | ✗ -40 %, 2.0× | ! |" in text
    assert "| `path` | 0 | 1 | 0 | 0 | 0 | 2.0× |" in text
    assert "* `pbdr`, emitter_scale: RuntimeError: a | b" in text
    names = [path.stem for path in (folder("benchmarks") / "gradients").glob("[a-z]*.py")]
    assert all(f"| {name} |" in text for name in names)


def test_the_published_page_names_every_case():
    page = Path(__file__).resolve().parents[2] / "docs" / "estimators.md"
    names = [path.stem for path in (folder("benchmarks") / "gradients").glob("[a-z]*.py")]
    text = page.read_text(encoding="utf-8")
    assert [name for name in names if f"[{name}]" not in text] == []
