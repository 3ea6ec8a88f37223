"""The picture of a run, drawn from made-up run folders."""

from __future__ import annotations

import json
from pathlib import Path

import mitsuba as mi
import numpy as np
import pytest

from pbdr.errors import InputError
from pbdr.optimize.report import short_names, tonemap, write_report

_COLOR, _NUMBER, _TEXTURE = "left.brdf_0.reflectance.value", "metal.alpha.value", "wall.bsdf.reflectance.data"


def fill_folder(folder: Path, *, steps: int, views: list[str], finished: bool) -> None:
    """A run folder whose images are flat and whose parameters decay."""
    (folder / "images").mkdir(parents=True)
    for name in views:
        for kind, value in (("target", 0.4), ("before", 0.1), ("after", 0.39)):
            if finished or kind != "after":
                image = mi.Bitmap(np.full((8, 12, 3), value, np.float32))
                image.write(str(folder / "images" / f"{kind}_{name}.exr"))
    lines = []
    for step in range(steps):
        share = 1 / (1 + step)
        parameters = {
            _COLOR: [share, 0.2, 0.3],
            _NUMBER: share,
            _TEXTURE: {"mean": share, "min": 0.0, "max": 1.0},
        }
        lines.append(json.dumps({"step": step, "loss": share, "seconds": 0.1, "parameters": parameters}))
    (folder / "history.jsonl").write_text("".join(line + "\n" for line in lines))
    if finished:
        entries = {
            _COLOR: {"initial": [1.0, 1.0, 1.0], "final": [0.0, 0.2, 0.3], "true": [0.0, 0.2, 0.3], "error": 0.0},
            _NUMBER: {"initial": 1.0, "final": 0.1},
            _TEXTURE: {"initial": {"mean": 0.5, "min": 0.5, "max": 0.5}, "final": {"mean": 0.1, "min": 0, "max": 1}},
        }
        result = {"loss_initial": 1.0, "loss_final": 0.01, "steps": steps, "seconds": 1.5, "parameters": entries}
        (folder / "result.json").write_text(json.dumps(result))


def height(file: Path) -> int:
    return mi.Bitmap(str(file)).height()


def test_a_finished_run(tmp_path: Path) -> None:
    fill_folder(tmp_path, steps=6, views=["0_front", "1_side"], finished=True)
    file = write_report(tmp_path)
    assert file == tmp_path / "report.png"
    assert np.array(mi.Bitmap(str(file))).std() > 5


def test_there_is_a_row_for_each_view_up_to_four(tmp_path: Path) -> None:
    heights = []
    for count in (1, 2, 4, 6):
        folder = tmp_path / str(count)
        fill_folder(folder, steps=2, views=[f"{k}_view" for k in range(count)], finished=True)
        heights.append(height(write_report(folder)))
    assert heights[1] - heights[0] == pytest.approx((heights[2] - heights[1]) / 2, abs=2)
    assert heights[3] == heights[2]


def test_an_unfinished_run_with_a_cut_line_and_a_loss_that_is_not_finite(tmp_path: Path) -> None:
    fill_folder(tmp_path, steps=3, views=["0_front"], finished=False)
    with (tmp_path / "history.jsonl").open("a") as stream:
        stream.write('{"step": 3, "loss": null, "seconds": 0.1, "parameters": {}}\n')
        stream.write('{"step": 4, "loss": NaN, "seconds": 0.1, "parameters": {}}\n{"step": 5, "lo')
    assert write_report(tmp_path).is_file()


def test_a_result_whose_losses_are_not_finite(tmp_path: Path) -> None:
    fill_folder(tmp_path, steps=2, views=["0_front"], finished=True)
    file = tmp_path / "result.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"loss_initial": None, "loss_final": None}))
    assert write_report(tmp_path).is_file()


def test_a_run_before_its_first_step(tmp_path: Path) -> None:
    fill_folder(tmp_path, steps=0, views=["0_front"], finished=False)
    assert write_report(tmp_path).is_file()


def test_a_folder_without_a_run(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="neither a history nor images"):
        write_report(tmp_path)


def test_tonemap_is_monotonic_and_clips() -> None:
    assert tonemap(np.array([-1.0, 0.0, 0.5, 1.0, 9.0])).tolist() == pytest.approx([0, 0, 0.5 ** (1 / 2.2), 1, 1])


def test_short_names_stay_distinct() -> None:
    assert short_names([_COLOR, _NUMBER, _TEXTURE]) == ["left reflectance", "metal alpha", "wall reflectance"]
    assert short_names(["a.bsdf.alpha.value", "a.alpha.value"]) == ["a.bsdf.alpha.value", "a.alpha.value"]
