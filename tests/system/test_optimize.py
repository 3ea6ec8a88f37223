"""Runs of jobs: what they leave, what is not finite, and going on after a stop."""

from __future__ import annotations

import fcntl
import json
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import drjit as dr
import mitsuba as mi
import numpy as np
import pytest

import pbdr
from pbdr.cli.optimize import _Display
from pbdr.errors import NonFiniteError
from pbdr.optimize import Step, losses
from pbdr.scene import load_scene
from pbdr.scene_parameters import scene_parameters

from ..tiny import ALPHA, WALL, checkpoint, history, write_job

# ------------------------------------------------------------------ run folders


@pytest.fixture
def finished(pbdr_command: Callable, tmp_path: Path) -> tuple[Path, Path]:
    """A job and its run of two steps."""
    job, run = write_job(tmp_path), tmp_path / "finished"
    outcome = pbdr_command("optimize", job, "--steps", 2, "--out", run)
    assert outcome.code == 0, outcome.stderr
    return job, run


def test_run_folder(finished: tuple[Path, Path]) -> None:
    job, run = finished
    result = json.loads((run / "result.json").read_text())
    assert result["steps"] == 2 and result["seconds"] > 0
    assert set(result["parameters"]) == {WALL, ALPHA}
    wall = result["parameters"][WALL]
    assert np.allclose(wall["initial"], 0.4) and np.allclose(wall["true"], [0.6, 0.3, 0.1])
    assert np.isclose(wall["error"], np.sqrt(np.mean((np.array(wall["final"]) - wall["true"]) ** 2)))
    assert "true" not in result["parameters"][ALPHA]
    assert [line["step"] for line in history(run)] == [0, 1]
    environment = json.loads((run / "environment.json").read_text())
    assert environment["variant"].endswith("_ad_rgb") and environment["seed"] == 0
    assert environment["versions"]["mitsuba"] == mi.__version__
    assert pbdr.optimize.load_job(run / "job.toml").scene == str(job.parent / "scene.xml")
    for name in ("before_0_camera", "after_0_camera", "target_0_camera"):
        assert (run / "images" / f"{name}.exr").is_file() and (run / "images" / f"{name}.png").is_file()
    assert (run / "report.png").is_file()
    exported = scene_parameters(load_scene(run / "scene"))
    assert np.allclose(np.ravel(exported[WALL]), wall["final"], atol=1e-5)


def test_runs_are_never_lost_silently(refused: Callable, pbdr_command: Callable, finished: tuple[Path, Path]) -> None:
    job, run = finished
    kept = {file: file.read_bytes() for file in run.rglob("*") if file.is_file() and file.name != ".lock"}
    said = refused(job, out=run)
    assert str(run) in said and "--resume" in said and "--overwrite" in said and "finished" in said
    assert "another job" in refused(job, "--resume", "--set", "seed=5", out=run)
    assert "optimizer" in refused(job, "--overwrite", "--set", "optimizer.type=adm", out=run)
    with (run / ".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for option in ("--resume", "--overwrite"):
            assert "in use by process" in refused(job, option, out=run)
    assert all(file.read_bytes() == content for file, content in kept.items())
    assert pbdr_command("optimize", job, "--steps", 1, "--overwrite", "--out", run).code == 0
    assert len(history(run)) == 1


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 cut off"])
def test_a_checkpoint_that_is_damaged(
    refused: Callable, finished: tuple[Path, Path], tmp_path: Path, damage: bytes
) -> None:
    job, finished_run = finished
    run = shutil.copytree(finished_run, tmp_path / "copy")
    (run / "checkpoints" / "latest.npz").write_bytes(damage)
    said = refused(job, "--resume", "--steps", 9, out=run)
    assert "latest.npz' is damaged" in said and "--overwrite" in said
    (run / "environment.json").write_text("{")
    assert "environment.json', which tells what run this is, cannot be read" in refused(job, "--resume", out=run)


def test_folders_of_others_are_left_alone(refused: Callable, tmp_path: Path) -> None:
    job, folder = write_job(tmp_path), tmp_path / "photos"
    folder.mkdir()
    assert "no run in" in refused(job, "--resume", out=folder)
    (folder / "holiday.jpg").write_text("beach")
    for option in ("--overwrite", "--resume"):
        assert str(folder) in refused(job, option, out=folder)
    assert "is a file" in refused(job, out=folder / "holiday.jpg")
    assert [file.name for file in folder.iterdir()] == ["holiday.jpg"]


def test_default_folder(pbdr_command: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = write_job(tmp_path)
    monkeypatch.chdir(tmp_path)
    outcome = pbdr_command("optimize", job, "--steps", 1)
    assert outcome.code == 0, outcome.stderr
    assert (tmp_path / "runs" / tmp_path.name / "result.json").is_file()
    assert "step 1/1" in outcome.stdout


# -------------------------------------------------------------- what is not finite


@pytest.fixture
def spoiled(monkeypatch: pytest.MonkeyPatch) -> Callable:
    """Spoil the loss or its gradient in certain calls, of which number 0 is the evaluation before the first step."""

    def spoil(calls: set[int], *, gradient_only: bool = False) -> None:
        count = -1

        def loss(image: mi.TensorXf, target: mi.TensorXf) -> mi.TensorXf:
            nonlocal count
            count += 1
            if count not in calls:
                return losses.l2(image, target)
            # The derivative of the square root at zero is infinite
            return dr.sqrt(image - dr.detach(image)) if gradient_only else losses.l2(image, target) * dr.nan

        monkeypatch.setitem(losses._losses, "l2", loss)

    return spoil


@pytest.mark.parametrize(
    ("gradient_only", "words"),
    [(False, "the loss of view '0_camera' is nan"), (True, f"the gradient of parameter '{WALL}' in view '0_camera'")],
)
def test_a_step_that_is_not_finite_is_left_out(
    pbdr_command: Callable, spoiled: Callable, tmp_path: Path, gradient_only: bool, words: str
) -> None:
    spoiled({2, 3}, gradient_only=gradient_only)
    outcome = pbdr_command("optimize", write_job(tmp_path), "--set", "loss=l2", "--out", tmp_path / "run")
    assert outcome.code == 0, outcome.stderr
    assert f"step 1: {words}" in outcome.stderr and "left out" in outcome.stderr
    lines = history(tmp_path / "run")
    assert len(lines) == 6
    assert ["problem" in line for line in lines] == [False, True, True, False, False, False]
    assert "NaN" not in (tmp_path / "run" / "history.jsonl").read_text()
    assert [line["loss"] is None for line in lines] == [False, not gradient_only, not gradient_only, *[False] * 3]
    assert lines[0]["parameters"] == lines[1]["parameters"] == lines[2]["parameters"] != lines[3]["parameters"]
    assert np.isfinite(lines[-1]["parameters"][WALL]).all()


def test_three_in_a_row_end_the_run(pbdr_command: Callable, spoiled: Callable, tmp_path: Path) -> None:
    spoiled({3, 4, 5})
    run = tmp_path / "run"
    outcome = pbdr_command("optimize", write_job(tmp_path), "--set", "loss=l2", "--out", run)
    assert outcome.code == 3
    last = outcome.stderr.splitlines()[-1]
    assert last.startswith("error: step 4: the loss of view '0_camera' is nan") and "3 steps in a row" in last
    assert "Traceback" not in outcome.stderr
    kept = checkpoint(run)
    assert all(np.isfinite(kept[name]).all() for name in kept if name != "meta")
    assert np.allclose(kept[f"value/{WALL}"], history(run)[1]["parameters"][WALL]), "as after the last good step"
    assert not (run / "result.json").exists()


def test_not_finite_in_python(spoiled: Callable, tmp_path: Path) -> None:
    spoiled({1, 2, 3})
    with pytest.raises(NonFiniteError, match="step 2: the loss of view"):
        pbdr.optimize(pbdr.Problem.from_job(write_job(tmp_path), {"loss": "l2"}))


# ------------------------------------------------------------------------- resume


def check_same_end(run: Path, expected: Path) -> None:
    """Two runs have recovered the same, and tell of the same steps."""
    one, other = (json.loads((folder / "result.json").read_text()) for folder in (run, expected))
    for key in (WALL, ALPHA):
        assert np.allclose(one["parameters"][key]["final"], other["parameters"][key]["final"], atol=1e-3)
    assert [line["step"] for line in history(run)] == [line["step"] for line in history(expected)]
    assert np.isclose(one["loss_initial"], other["loss_initial"], rtol=1e-4)
    assert one["steps"] == other["steps"] == 6


_KILLED = """
import os, signal, sys
import pbdr
import mitsuba as mi
mi.set_variant("llvm_ad_rgb")
def progress(step):
    if step.index == 3:
        os.kill(os.getpid(), signal.SIGKILL)
pbdr.optimize(pbdr.Problem.from_job(sys.argv[1]), out=sys.argv[2], progress=progress)
"""


def test_resume_after_stops(
    pbdr_command: Callable, fresh_python: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, whole = write_job(tmp_path), tmp_path / "whole run"
    assert pbdr_command("optimize", job, "--out", whole).code == 0

    # Ctrl-C after the third step
    show, stopped = _Display.show, tmp_path / "stopped run"

    def interrupt(self: _Display, step: Step) -> None:
        show(self, step)
        if step.index == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(_Display, "show", interrupt)
    outcome = pbdr_command("optimize", job, "--set", "seed=0", "--out", stopped)
    monkeypatch.undo()
    assert outcome.code == 130 and "Traceback" not in outcome.stderr
    assert f"pbdr optimize {job} --out '{stopped}' --resume --set seed=0" in outcome.stderr
    assert json.loads(str(checkpoint(stopped)["meta"]))["step"] == 3
    assert pbdr_command("optimize", job, "--set", "seed=0", "--out", stopped, "--resume").code == 0
    check_same_end(stopped, whole)

    # kill -9 after a step that no checkpoint knows of
    killed = tmp_path / "killed"
    assert fresh_python(_KILLED, str(job), str(killed)).code == -signal.SIGKILL
    assert json.loads(str(checkpoint(killed)["meta"]))["step"] == 3
    assert len(history(killed)) == 4
    assert pbdr_command("optimize", job, "--out", killed, "--resume").code == 0
    check_same_end(killed, whole)


def test_ctrl_c_leaves_no_half_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    problem, run = pbdr.Problem.from_job(write_job(tmp_path)), tmp_path / "run"
    project, count = type(problem.variables[0]).project, 0

    def interrupt(self: object, latent: mi.Float) -> mi.Float:
        # The fourth call is for the second parameter in the second step
        nonlocal count
        count += 1
        if count == 4:
            raise KeyboardInterrupt
        return project(self, latent)

    monkeypatch.setattr(type(problem.variables[0]), "project", interrupt)
    with pytest.raises(KeyboardInterrupt):
        pbdr.optimize(problem, out=run)
    kept, lines = checkpoint(run), history(run)
    assert json.loads(str(kept["meta"]))["step"] == len(lines) == 1
    for key in (WALL, ALPHA):
        assert np.allclose(kept[f"value/{key}"], lines[0]["parameters"][key], rtol=1e-6)


@pytest.mark.parametrize("name", ["scene.xml", "part.xml", "floor.png"])
def test_resume_sees_that_a_file_of_the_scene_has_changed(pbdr_command: Callable, tmp_path: Path, name: str) -> None:
    floor = '<shape type="disk"><bsdf type="diffuse"><texture type="bitmap" name="reflectance">'
    floor += '<string name="filename" value="floor.png"/></texture></bsdf></shape>'
    job, run, scene = write_job(tmp_path), tmp_path / "run", tmp_path / "scene.xml"
    (tmp_path / "part.xml").write_text(f'<scene version="3.0.0">{floor}</scene>')
    mi.Bitmap(np.full((2, 2, 3), 99, np.uint8)).write(str(tmp_path / "floor.png"))
    scene.write_text(scene.read_text().replace("</scene>", '<include filename="part.xml"/></scene>'))
    command = ("optimize", job, "--out", run, "--set", "spp_evaluation=1", "--steps")
    assert pbdr_command(*command, 1).code == 0
    kept = (tmp_path / name).read_bytes()
    if name.endswith(".png"):
        mi.Bitmap(np.full((2, 2, 3), 98, np.uint8)).write(str(tmp_path / name))
    else:
        (tmp_path / name).write_bytes(kept + b"<!-- changed -->")
    outcome = pbdr_command(*command, 2, "--resume")
    assert outcome.code == 2
    assert f"the file '{tmp_path / name}' has changed since the run in '{run}' began" in outcome.stderr
    (tmp_path / name).write_bytes(kept)
    assert pbdr_command(*command, 2, "--resume").code == 0


def test_resume_adds_steps_to_a_finished_run(pbdr_command: Callable, finished: tuple[Path, Path]) -> None:
    job, run = finished
    with (run / "history.jsonl").open("a") as stream:
        stream.write('{"step": 2, "loss": 0.1, "parameters": {}')
    assert pbdr_command("optimize", job, "--steps", 3, "--out", run, "--resume").code == 0
    assert [line["step"] for line in history(run)] == [0, 1, 2]
    assert json.loads((run / "result.json").read_text())["steps"] == 3
