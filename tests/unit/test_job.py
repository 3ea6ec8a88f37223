"""Job files: how they are found and read, and what they refuse."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest

from pbdr.errors import InputError
from pbdr.optimize import load_job
from pbdr.optimize.constraints import _BOUNDS, _reparameterizations
from pbdr.optimize.entries import Output, ParameterEntry, PointEntry
from pbdr.optimize.job import Job, check_job
from pbdr.optimize.losses import LossEntry, _losses
from pbdr.optimize.priors import PRIORS
from pbdr.optimize.record import job_text
from pbdr.optimize.schedules import SamplingEntry, ScheduleEntry, StoppingEntry
from pbdr.optimize.views.entry import View
from pbdr.resources import folder

from ..tiny import line_of, write_job

# ---------------------------------------------------------------------- files


def test_paths_are_relative_to_the_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_job(tmp_path)
    monkeypatch.chdir(tmp_path.parent)
    job = load_job(tmp_path)
    assert job.scene == str(tmp_path / "scene.xml")
    assert job.views[0].target == str(tmp_path / "target.exr")
    assert job.parameters[1].initial == 0.2, "numbers are no paths"


def test_bundled_jobs_and_scenes_are_found_by_name(tmp_path: Path) -> None:
    assert load_job("cornell_box").scene == str(folder("scenes") / "cornell_box" / "scene.xml")
    job = write_job(tmp_path, old='scene = "scene.xml"', new='scene = "cornell_box"')
    assert load_job(job).scene == str(folder("scenes") / "cornell_box" / "scene.xml")


def test_a_scene_in_place_of_a_job(tmp_path: Path) -> None:
    (tmp_path / "scene.xml").touch()
    with pytest.raises(InputError, match="is a scene; a job is a TOML file"):
        load_job(tmp_path / "scene.xml")


def test_a_misspelled_bundled_scene(tmp_path: Path) -> None:
    job = write_job(tmp_path, old='scene = "scene.xml"', new='scene = "cornel_box"')
    with pytest.raises(InputError, match="nor a bundled scene; did you mean 'cornell_box'"):
        load_job(job)


def test_resolved_job_reads_back(tmp_path: Path) -> None:
    job = load_job(write_job(tmp_path), {"parameters.0.bounds": "[0, inf]", "optimizer.beta_2": "0.9"})
    (tmp_path / "elsewhere").mkdir()
    again = tmp_path / "elsewhere" / "job.toml"
    again.write_text(job_text(job))
    assert load_job(again) == job


def test_overrides(tmp_path: Path) -> None:
    changes = {
        "steps": "9",
        "loss": "l1",
        "integrator.max_depth": "2",
        "parameters.1.initial": "0.25",
        "parameters.0.initial": "[0.1, 0.2, 0.3]",
        "output.image_every": "5",
    }
    job = load_job(write_job(tmp_path), changes)
    assert (job.steps, job.loss, job.output.image_every) == (9, "l1", 5)
    assert job.integrator.model_dump() == {"type": "pbdr", "max_depth": 2}
    assert job.parameters[1].initial == 0.25 and job.parameters[0].initial == [0.1, 0.2, 0.3]


@pytest.mark.parametrize("entry", ["optimizer", "optimizer.type"])
def test_another_optimizer_keeps_no_options_of_the_former(entry: str) -> None:
    assert load_job("cornell_box").optimizer.model_dump()["beta_2"] == 0.99
    changed = load_job("cornell_box", {"optimizer.damping": "0.1", entry: "levenberg_marquardt"})
    assert changed.optimizer.model_dump() == {"type": "levenberg_marquardt", "damping": 0.1}


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ("stpes", "did you mean 'steps'"),
        ("parameters.5.initial", "no position in a list of 2"),
        ("parameters.first.initial", "no position in a list of 2"),
        ("views.3", "no position in a list of 1"),
        ("steps.3", "lies inside a plain value"),
    ],
)
def test_overrides_that_fit_nowhere(tmp_path: Path, entry: str, words: str) -> None:
    with pytest.raises(InputError, match=f"--set {entry}: .*{words}"):
        load_job(write_job(tmp_path), {entry: "1"})


@pytest.mark.parametrize(
    ("old", "new", "meant"),
    [
        ("spp = 4", "ssp = 4", "spp"),
        ('target = "target.exr"', 'targets = "target.exr"', "target"),
        ("initial = 0.2", "inital = 0.2", "initial"),
        ("image_every = 0", "image_evry = 0", "image_every"),
    ],
)
def test_misspelled_entry(tmp_path: Path, old: str, new: str, meant: str) -> None:
    job = write_job(tmp_path, old=old, new=new)
    with pytest.raises(InputError) as error:
        load_job(job)
    assert f"{job}, line {line_of(job, new)}: " in str(error.value)
    assert f"did you mean '{meant}'" in str(error.value)


def test_dotted_and_inline_entries_have_lines(tmp_path: Path) -> None:
    job = write_job(tmp_path, extra="# a comment\noptimizer.type = 3\n")
    with pytest.raises(InputError, match=r"line 2: 'optimizer.type' is 3"):
        load_job(job)
    job = write_job(tmp_path, old='[[views]]\ntarget = "target.exr"', new="")
    job.write_text('views = [{ target = "target.exr", sensr = 0 }]\n' + job.read_text())
    with pytest.raises(InputError, match=r"line 1: .*did you mean 'sensor'"):
        load_job(job)


@pytest.mark.parametrize(
    ("entry", "value", "allowed"),
    [
        ("spp", "0", "greater than or equal to 1"),
        ("spp", "-3", "greater than or equal to 1"),
        ("spp", "999999999999", "less than or equal to 4294967295"),
        ("spp", "1.5", "must be a whole number"),
        ("steps", "0", "greater than or equal to 1"),
        ("steps", "-1", "greater than or equal to 1"),
        ("spp_gradient", "0", "greater than or equal to 1"),
        ("parameters.0.learning_rate", "0", "greater than 0"),
        ("parameters.0.bounds", "[1]", "'parameters.0.bounds.1' is missing"),
        ("parameters", "[]", "at least 1 item"),
        ("views.0.color_space", "sRGB", "must be 'linear' or 'srgb'"),
        ("spp", "true", "true is not allowed here"),
        ("parameters.0.initial", "true", "true is not allowed here"),
        ("parameters.0.initial", "[[0.5]]", "'parameters.0.initial.0' is [0.5], but must be a number"),
        ("parameters.0.refine", "3", "must be a list"),
        ("views.0.target", "3", "must be text"),
        ("views.0.exposure", "0", "'views.0.exposure' is 0, but must be greater than 0"),
        ("views.0.exposure", "{ inital = 1 }", "no entry 'views.0.exposure.inital'; did you mean 'initial'"),
        ("control_variate", "1.5", "must be true or false"),
        ("parameters.0.initial", "2020-01-01", "but must be a number, a list or text"),
    ],
)
def test_values_that_are_not_allowed(tmp_path: Path, entry: str, value: str, allowed: str) -> None:
    with pytest.raises(InputError) as error:
        load_job(write_job(tmp_path), {entry: value})
    assert str(error.value).startswith(f"--set {entry}") and allowed in str(error.value)
    assert "\n" not in str(error.value)


def test_wrong_value_in_the_file_has_its_line(tmp_path: Path) -> None:
    job = write_job(tmp_path, old="learning_rate = 0.05", new='learning_rate = "fast"')
    with pytest.raises(InputError, match=rf"line {line_of(job, 'fast')}: 'parameters.0.learning_rate' is 'fast'"):
        load_job(job)


_VIEWS, _PARAMETERS = "views = [{ target = 'target.exr' }]", "parameters = [{ key = 'wall.*' }]"


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ((_VIEWS, "parameters = { key = 'wall.*' }"), r"'parameters' is one table, but must be .* \[\[parameters\]\]"),
        (("views = 'more.toml'", _PARAMETERS), "'views' must be a list of tables"),
        (("views = [3]", _PARAMETERS), "'views.0' is 3, but must be a table"),
        ((_VIEWS, _PARAMETERS, "optimizer = 'adam'"), "'optimizer' is 'adam', but must be a table"),
        ((_VIEWS, _PARAMETERS, "groups = 3"), r"'groups' must be tables \[groups.NAME\]"),
        ((_VIEWS, "parameters = [{ key = 'wall.*', group = ['a'] }]"), "there is no table"),
        (
            (_VIEWS, "parameters = [{ key = 'wall.*', group = 'a' }]", "groups.a = { key = 'x' }"),
            r"\[groups.a\]: each parameter has its own 'key'",
        ),
        ((_VIEWS, _PARAMETERS, "sampling = { at = [[1, 2]] }"), "'sampling': 'at' lists pairs"),
    ],
)
def test_entries_of_another_kind(tmp_path: Path, lines: tuple[str, ...], words: str) -> None:
    job = write_job(tmp_path)
    job.write_text("\n".join(["scene = 'scene.xml'", *lines]))
    (tmp_path / "more.toml").write_text("views = 3\n")
    with pytest.raises(InputError, match=words) as error:
        load_job(job)
    assert "\n" not in str(error.value)


def test_a_mark_of_the_byte_order_is_no_entry(tmp_path: Path) -> None:
    job = write_job(tmp_path)
    job.write_text("\ufeff" + job.read_text())
    assert load_job(job).steps == 6


def test_missing_entry(tmp_path: Path) -> None:
    job = write_job(tmp_path, old='target = "target.exr"', new="")
    with pytest.raises(InputError, match=rf"line {line_of(job, '[[views]]')}: the entry 'views.0.target' is missing"):
        load_job(job)


def test_no_text_at_all(tmp_path: Path) -> None:
    file = tmp_path / "job.toml"
    file.write_bytes(b"scene = \xff\xfe")
    with pytest.raises(InputError, match="not UTF-8"):
        load_job(file)


# -------------------------------------------------------------------------- docs


def test_the_reference_knows_every_entry() -> None:
    docs = Path(__file__).resolve().parents[2] / "docs"
    text, losses = ((docs / f"{name}.md").read_text(encoding="utf-8") for name in ("jobs", "losses"))
    example = check_job(tomllib.loads(text.split("```toml\n")[1].split("```")[0]))
    assert len(example.views) == len(example.parameters) == 2
    for section in (Job, View, ParameterEntry, Output):
        for name, field in section.model_fields.items():
            row = re.search(rf"^\| `{name}` \| ([^|]*) \|", text, re.MULTILINE)
            assert row or f"`[{name}]`" in text, name
            if row and isinstance(field.default, int | float | str):
                assert json.loads(row[1].strip("`")) == field.default, name
    for section in (ScheduleEntry, SamplingEntry, StoppingEntry, PointEntry):
        for name in section.model_fields:
            assert f"`{name}`" in text, name
    for name in (*_losses, *PRIORS, *LossEntry.model_fields):
        assert f"| `{name}` |" in losses, name
    for name in _BOUNDS:
        assert f"`{name}`" in text
    for name in _reparameterizations:
        assert f"| `{name}` |" in text
