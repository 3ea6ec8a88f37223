"""Values for the ``<default>`` parameters of a scene file, from jobs, studies and the command line."""

from __future__ import annotations

import json
from pathlib import Path

import mitsuba as mi
import numpy as np
import pytest

import pbdr
from pbdr.errors import InputError
from pbdr.optimize import load_job
from pbdr.scene import load_scene, scene_parameters

from ..tiny import WALL, write_job

POWER = "lamp.emitter.radiance.value"


@pytest.fixture
def job(tmp_path: Path) -> Path:
    """The tiny job, whose scene has defaults for the lamp's power and for whether the sky is seen."""
    file = write_job(tmp_path, old='scene = "scene.xml"', new='scene = "scene.xml"\nscene_parameters = { power = 2.5 }')
    scene = tmp_path / "scene.xml"
    text = scene.read_text()
    defaults = '<default name="power" value="4"/><default name="hidden" value="false"/>'
    text = text.replace('<scene version="3.0.0">', f'<scene version="3.0.0">{defaults}')
    text = text.replace('name="radiance" value="4"', 'name="radiance" value="$power"')
    text = text.replace(
        '<integrator type="path"/>',
        '<integrator type="path"><boolean name="hide_emitters" value="$hidden"/></integrator>',
    )
    assert text.count("$power") == text.count("$hidden") == 1
    scene.write_text(text)
    return file


def power(scene: mi.Scene) -> float:
    return float(np.ravel(scene_parameters(scene)[POWER])[0])


def test_a_job_overrides_the_defaults_of_its_scene(job: Path) -> None:
    assert power(load_scene(job.parent)) == 4
    problem = pbdr.Problem.from_job(job)
    assert power(problem.scene) == 2.5
    problem = pbdr.Problem.from_job(job, {"scene_parameters.power": "7", "scene_parameters.hidden": "true"})
    assert power(problem.scene) == 7


def test_what_a_run_leaves_has_them_too(job: Path, tmp_path: Path, pbdr_command) -> None:
    run = tmp_path / "run"
    assert pbdr_command("optimize", job, "--out", run, "--steps", "1").code == 0
    assert load_job(run / "job.toml").scene_parameters == {"power": 2.5}
    assert power(load_scene(run / "scene")) == 2.5
    assert pbdr_command("export", run, tmp_path / "exported").code == 0
    assert power(load_scene(tmp_path / "exported")) == 2.5
    assert pbdr_command("optimize", job, "--out", run, "--steps", "2", "--resume").code == 0
    other = pbdr_command("optimize", job, "--out", run, "--resume", "--set", "scene_parameters.power=3")
    assert other.code == 2 and "another job" in other.stderr


@pytest.mark.parametrize(("name", "hint"), [("powr", "did you mean 'power'"), ("color", "power")])
def test_a_name_that_the_scene_does_not_have(job: Path, pbdr_command, tmp_path: Path, name: str, hint: str) -> None:
    outcome = pbdr_command("optimize", job, "--out", tmp_path / "run", "--set", f"scene_parameters.{name}=3")
    assert outcome.code == 2 and len(outcome.stderr.splitlines()) == 1
    assert f"no <default> parameter '{name}'" in outcome.stderr and hint in outcome.stderr
    assert not (tmp_path / "run").exists()


def test_a_value_that_is_no_single_one(job: Path, pbdr_command, tmp_path: Path) -> None:
    outcome = pbdr_command("optimize", job, "--out", tmp_path / "run", "--set", "scene_parameters.power=[1, 2]")
    assert outcome.code == 2 and "scene_parameters.power" in outcome.stderr


def test_a_loaded_scene_has_none(job: Path) -> None:
    target = np.zeros((16, 16, 3))
    with pytest.raises(InputError, match="loaded already"):
        pbdr.Problem.from_scene(load_scene(job.parent), [WALL], [target], scene_parameters={"power": 1})
    problem = pbdr.Problem.from_scene(job.parent, [WALL], [target], scene_parameters={"power": 1})
    assert power(problem.scene) == 1


@pytest.mark.parametrize("isolate", [(), ("--isolate",)])
def test_check_and_compare_take_them(job: Path, pbdr_command, tmp_path: Path, isolate: tuple) -> None:
    """The derivative by the wall's colour is proportional to the light."""
    found = {}
    for value in (1, 3):
        arguments = ["compare", job.parent / "scene.xml", "--param", WALL, "--integrator", "prb:max_depth=2"]
        arguments += ["--seeds", "2", "--spp", "4", "--budget", "1", "--no-cache", "--out", tmp_path / f"{value}"]
        outcome = pbdr_command(*arguments, "-D", f"power={value}", *isolate)
        assert outcome.code in (0, 4), outcome
        rows = json.loads((tmp_path / f"{value}" / "results.json").read_text())["rows"]
        found[value] = rows[0]["reference"]
    assert found[3] == pytest.approx(3 * found[1], rel=0.05)


def test_check_names_a_typo(job: Path, pbdr_command) -> None:
    for source in (job, job.parent / "scene.xml"):
        param = () if source == job else ("--param", WALL)
        outcome = pbdr_command("check", source, *param, "-D", "powr=1")
        assert outcome.code == 2 and "did you mean 'power'" in outcome.stderr
