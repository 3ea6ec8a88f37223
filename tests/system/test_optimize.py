"""Jobs from the command line and from Python: what is refused, what is recovered, and going on after a stop."""

from __future__ import annotations

import fcntl
import json
import re
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
from pbdr.errors import InputError, NonFiniteError
from pbdr.optimize import Step, load_job, losses
from pbdr.optimize.gradients import differentiate
from pbdr.optimize.loop import _Run
from pbdr.scene import load_scene
from pbdr.scene_parameters import scene_parameters
from pbdr.seeds import derive_seed

from ..conftest import Outcome
from ..tiny import ALPHA, COLOR, LAMP, VERTICES, WALL, line_of, write_image, write_job, write_scene

SILHOUETTES = ("--set", "integrator.boundary=silhouettes")


@pytest.fixture
def refused(pbdr_command: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable:
    """Run ``pbdr optimize`` and return its sentence: exit code 2, one line, nothing rendered, no run begun."""

    def render(*_: object, **__: object) -> None:
        raise RuntimeError("bad input reached the renderer")

    def run(*arguments: str | Path, out: Path | None = None) -> str:
        monkeypatch.setattr(mi, "render", render)
        outcome = pbdr_command("optimize", *arguments, "--out", out or tmp_path / "run")
        monkeypatch.undo()
        assert outcome.code == 2, outcome
        assert re.fullmatch(r"error: [^\n]+\n", outcome.stderr), outcome.stderr
        assert out or not (tmp_path / "run").exists()
        return outcome.stderr.removeprefix("error: ").strip()

    return run


def history(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]


def checkpoint(run: Path) -> dict[str, np.ndarray]:
    with np.load(run / "checkpoints" / "latest.npz", allow_pickle=False) as content:
        return dict(content)


# ------------------------------------------------------------- what is refused


def test_unknown_parameter(refused: Callable, tmp_path: Path) -> None:
    job = write_job(tmp_path)
    said = refused(job, "--set", "parameters.0.key=wall.bsdf.reflectence.value")
    assert "parameters.0" in said and f"did you mean '{WALL}'" in said


@pytest.mark.parametrize("key", ["wal.*.value", "wall.bsdf.reflectence.dat*", "*.reflectance.data", "data/*"])
def test_glob_without_match(refused: Callable, tmp_path: Path, key: str) -> None:
    said = refused(write_job(tmp_path), "--set", f"parameters.0.key={key}")
    assert f"parameters.0: no parameter of the scene matches '{key}'" in said
    if key != "data/*":
        assert f"did you mean '{WALL}'" in said


def test_parameter_named_twice(refused: Callable, tmp_path: Path) -> None:
    assert "named twice" in refused(write_job(tmp_path), "--set", "parameters.1.key=*.reflectance.value")


def test_misspelled_entry(refused: Callable, tmp_path: Path) -> None:
    job = write_job(tmp_path, old="initial = 0.2", new="intial = 0.2")
    said = refused(job)
    assert f"{job}, line {line_of(job, 'intial')}" in said and "did you mean 'initial'" in said


def test_malformed_toml(refused: Callable, tmp_path: Path) -> None:
    job = write_job(tmp_path, old="steps = 6", new="steps = ")
    said = refused(job)
    assert str(job) in said and f"line {line_of(job, 'steps')}" in said


def test_missing_job(refused: Callable, tmp_path: Path) -> None:
    assert "did you mean 'cornell_box'" in refused("cornel_box")
    assert "has no job.toml" in refused(tmp_path)


def test_missing_scene(refused: Callable, tmp_path: Path) -> None:
    said = refused(write_job(tmp_path), "--set", "scene=scenne.xml")
    assert str(tmp_path / "scenne.xml") in said and "scene.xml" in said


def test_malformed_scene(refused: Callable, tmp_path: Path) -> None:
    job = write_job(tmp_path)
    (tmp_path / "scene.xml").write_text('<scene version="3.0.0">\n<sensor type="perspective">\n</scene>\n')
    said = refused(job)
    assert str(tmp_path / "scene.xml") in said and re.search(r"line [23]", said)


def test_missing_texture_of_the_scene(refused: Callable, tmp_path: Path) -> None:
    job = write_job(tmp_path)
    write_scene(
        tmp_path,
        color='<texture type="bitmap" name="reflectance"><string name="filename" value="gone.png"/></texture>',
    )
    assert "gone.png" in refused(job)


def test_missing_images(refused: Callable, tmp_path: Path) -> None:
    job = write_job(tmp_path)
    for entry in ("views.0.target", "views.0.mask", "parameters.0.initial", "parameters.0.true"):
        said = refused(job, "--set", f"{entry}=gone.exr")
        assert str(tmp_path / "gone.exr") in said and "does not exist" in said
        assert entry.rsplit(".", 1)[0] in said


@pytest.mark.parametrize("shape", [(8, 16, 3), (16, 8, 3), (32, 32, 3)])
def test_target_of_the_wrong_size(refused: Callable, tmp_path: Path, shape: tuple[int, ...]) -> None:
    job = write_job(tmp_path)
    write_image(tmp_path / "target.exr", shape)
    said = refused(job)
    assert f"{shape[1]} × {shape[0]} pixels" in said and "16 × 16" in said and "target.exr" in said


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_target_that_is_not_finite(refused: Callable, tmp_path: Path, value: float) -> None:
    job = write_job(tmp_path)
    write_image(tmp_path / "target.exr", value=value)
    said = refused(job)
    assert "target.exr" in said and "NaN or infinite" in said


def test_target_that_is_no_image(refused: Callable, tmp_path: Path) -> None:
    job = write_job(tmp_path)
    (tmp_path / "target.exr").write_text("no image")
    assert "target.exr" in refused(job)


def test_target_with_channels_that_are_no_colours(refused: Callable, tmp_path: Path) -> None:
    job = write_job(tmp_path)
    write_image(tmp_path / "target.exr", (16, 16, 6))
    assert "target.exr' has 6 channels, which are no colours" in refused(job)


def test_target_with_8_bits_needs_a_color_space(refused: Callable, tmp_path: Path) -> None:
    job = write_job(tmp_path)
    mi.Bitmap(np.full((16, 16, 3), 100, np.uint8)).write(str(tmp_path / "photo.png"))
    said = refused(job, "--set", "views.0.target=photo.png")
    assert "'photo.png' needs an entry 'color_space'" in said and "'srgb'" in said
    assert "'linear' or 'srgb'" in refused(job, "--set", "views.0.color_space=rgb")


def test_masks_must_fit(refused: Callable, tmp_path: Path) -> None:
    job = write_job(tmp_path)
    write_image(tmp_path / "mask.exr", (8, 8, 3))
    assert "mask.exr' must have 16 × 16 pixels" in refused(job, "--set", "views.0.mask=mask.exr")
    write_image(tmp_path / "mask.exr", value=0)
    assert "hides every pixel" in refused(job, "--set", "views.0.mask=mask.exr")
    for value in (-1, float("nan")):
        write_image(tmp_path / "mask.exr", value=value)
        assert "has negative or NaN pixels" in refused(job, "--set", "views.0.mask=mask.exr")


def test_unknown_sensor(refused: Callable, tmp_path: Path) -> None:
    assert "did you mean 'camera'" in refused(write_job(tmp_path), "--set", "views.0.sensor=camrea")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"parameters.0.initial": "1.5"}, "lies outside of its bounds [0, 1]"),
        ({"parameters.1.initial": "0"}, "lies outside of its bounds [0.001, 1]"),
        ({"parameters.0.initial": "0.1", "parameters.0.bounds": "[0.2, 0.4]"}, "outside of its bounds [0.2, 0.4]"),
        ({"parameters.0.bounds": "[0.4, 0.2]"}, "must be ordered"),
        ({"parameters.0.initial": "nan"}, "must be finite, got nan"),
        ({"parameters.0.initial": "[0.1, inf, 0.1]"}, "must be finite, got inf"),
        ({"parameters.0.initial": "[0.1, 0.2]"}, "holds 2 numbers"),
        ({"parameters.0.true": "[0.1, 0.2]"}, "holds 2 numbers"),
        ({"parameters.0.reparameterization": "unitt"}, "did you mean 'unit'"),
        ({"loss": "l3"}, "did you mean 'l"),
        ({"optimizer.type": "adamm"}, "did you mean 'adam'"),
        ({"optimizer.beta1": "0.5"}, "did you mean 'beta_1'"),
        ({"integrator.type": "pdbr"}, "'pbdr'"),
        ({"integrator.max_dept": "3"}, "did you mean 'max_depth'"),
        ({"spp": "0"}, "'spp' is 0"),
        ({"spp": "-4"}, "'spp' is -4"),
        ({"steps": "0"}, "'steps' is 0"),
        ({"optimizer.beta_1": '"big"'}, "'beta_1' is 'big', but must be a number"),
        ({"losses": '[{ type = "l1", pyramid = 6 }]'}, "views.0: its image is too small for a pyramid of 6 levels"),
    ],
)
def test_values_that_are_not_allowed(refused: Callable, tmp_path: Path, changes: dict[str, str], words: str) -> None:
    arguments = [word for entry, value in changes.items() for word in ("--set", f"{entry}={value}")]
    said = refused(write_job(tmp_path), *arguments)
    assert words in said
    assert "parameters.0" not in changes or WALL in said


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("def mine(image):\n    return image", "must take 2 arguments"),
        (
            "def mine(image, target):\n    return 1.0",
            "loss '.*mine' returns a value of type float; allowed are one number",
        ),
        ("def mine(image, target):\n    return (image - target)[:3]", r"returns a value of shape \[3, 16, 3\]"),
        (
            "import drjit as dr\n\n\ndef mine(image, target):\n    return dr.detach(image)",
            "looks at image, does not depend",
        ),
    ],
)
def test_losses_of_the_user_that_are_none(tmp_path: Path, code: str, words: str) -> None:
    (tmp_path / "losses.py").write_text(code + "\n")
    job = write_job(tmp_path)
    with pytest.raises(InputError, match=words):
        pbdr.optimize(pbdr.Problem.from_job(job, {"loss": "losses:mine"}))


def test_priors_of_the_user_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def prior(values, initial):\n    return 1.0\n")
    job = write_job(tmp_path)
    with pytest.raises(InputError, match=r"the prior of '.*' returns a float, not a tensor"):
        pbdr.optimize(pbdr.Problem.from_job(job, {"priors": '[{ type = "mine:prior", weight = 1 }]'}))


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


@pytest.mark.parametrize("steps", [0, -1])
def test_steps_option(refused: Callable, tmp_path: Path, steps: int) -> None:
    assert f"'steps' must be at least 1, got {steps}" in refused(write_job(tmp_path), "--steps", steps)


@pytest.mark.parametrize("initial", ["0.5", "[0.1, 0.2, 0.3]"])
def test_vertex_buffer_of_the_wrong_size(refused: Callable, tmp_path: Path, initial: str) -> None:
    changes = ("--set", f"parameters.1.key={VERTICES}", "--set", f"parameters.1.initial={initial}")
    said = refused(write_job(tmp_path), *changes, *SILHOUETTES)
    assert f"'{VERTICES}'" in said and "takes 72" in said


def test_scalar_variant(refused: Callable, tmp_path: Path) -> None:
    said = refused(write_job(tmp_path), "--variant", "scalar_rgb")
    assert "'scalar_rgb' cannot differentiate" in said and "llvm_ad_rgb" in said


def test_scalar_variant_in_python(tmp_path: Path) -> None:
    mi.set_variant("scalar_rgb")
    with pytest.raises(InputError, match="'scalar_rgb' cannot differentiate"):
        pbdr.Problem.from_job(write_job(tmp_path))


def test_no_emitters(refused: Callable, tmp_path: Path) -> None:
    job = write_job(tmp_path)
    write_scene(tmp_path, emitter="")
    assert "no emitters" in refused(job)


@pytest.mark.parametrize("key", ["camera.near_clip", "camera.film.size", "box.faces"])
def test_parameters_without_derivative(refused: Callable, tmp_path: Path, key: str) -> None:
    said = refused(write_job(tmp_path), "--set", f"parameters.1.key={key}", "--set", "parameters.1.initial=current")
    assert "parameters.1" in said and f"'{key}' cannot be differentiated" in said


def test_geometry_needs_a_boundary_term(refused: Callable, tmp_path: Path) -> None:
    changes = ("--set", f"parameters.1.key={VERTICES}", "--set", "parameters.1.initial=current")
    said = refused(write_job(tmp_path), *changes, "--set", "integrator.boundary=none")
    assert f"'{VERTICES}' moves visibility" in said and "'silhouettes'" in said


def test_transforms_are_no_numbers(refused: Callable, tmp_path: Path) -> None:
    changes = ("--set", "parameters.1.key=camera.to_world", "--set", "parameters.1.initial=current")
    said = refused(write_job(tmp_path), *changes, *SILHOUETTES)
    assert "'camera.to_world'" in said and "Transform" in said and "recover" in said


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


def test_resume_adds_steps_to_a_finished_run(pbdr_command: Callable, finished: tuple[Path, Path]) -> None:
    job, run = finished
    with (run / "history.jsonl").open("a") as stream:
        stream.write('{"step": 2, "loss": 0.1, "parameters": {}')
    assert pbdr_command("optimize", job, "--steps", 3, "--out", run, "--resume").code == 0
    assert [line["step"] for line in history(run)] == [0, 1, 2]
    assert json.loads((run / "result.json").read_text())["steps"] == 3


# ------------------------------------------------------------------------- Python


def test_problem_from_a_scene(tmp_path: Path) -> None:
    """The whole way in Python: less than 15 lines."""
    scene = mi.load_file(str(write_scene(tmp_path)), optimize=False)
    target = np.array(mi.render(scene, spp=256, seed=7))
    problem = pbdr.Problem.from_scene(
        scene,
        {WALL: {"initial": 0.4, "learning_rate": 0.05}, LAMP: {"initial": 3.5, "reparameterization": "positive"}},
        [target],
        spp=8,
        steps=25,
        loss="l2",
    )
    result = pbdr.optimize(problem)
    assert result.loss_final < result.loss_initial / 10
    assert result.values[WALL].shape == (3,) and result.folder is None


def test_from_scene_reads_photographs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scene, target = load_scene(write_scene(tmp_path)), np.full((16, 16, 3), 0.2, np.float32)
    bitmap = mi.Bitmap(target).convert(component_format=mi.Struct.Type.UInt8, srgb_gamma=True)
    bitmap.write(str(tmp_path / "photo.png"))
    monkeypatch.chdir(tmp_path)
    view = {"sensor": "camera", "target": "photo.png", "color_space": "srgb"}
    problem = pbdr.Problem.from_scene(scene, [WALL], views=[view], spp=4)
    assert np.allclose(problem.views[0].target, 0.2, atol=2e-3)
    assert problem.job.views[0].target == str(tmp_path / "photo.png")
    problem = pbdr.Problem.from_scene(scene, [WALL], [target], views=[{"sensor": "camera", "exposure": 2.0}])
    assert problem.views[0].exposure == 2


def test_from_scene_takes_arrays(tmp_path: Path) -> None:
    """Images, masks, depth and first values of any array type; grey images count for all channels."""
    scene, target = load_scene(write_scene(tmp_path)), np.full((16, 16, 3), 0.2, np.float32)
    mask, depth = np.zeros((16, 16), bool), np.full((16, 16), 3.0)
    mask[:, :4] = True
    views = [{"target": mi.TensorXf(target), "mask": mask, "depth": depth}, {"target": target[..., :1]}]
    entries = {WALL: {"initial": mi.Color3f(0.1, 0.2, 0.3), "true": np.array([0.6, 0.3, 0.1])}}
    problem = pbdr.Problem.from_scene(scene, entries, views=views, spp=4, spp_evaluation=4, steps=1)
    first, second = problem.views
    assert np.array(first.mask)[..., 0].mean() == 0.25 and first.depth.shape == (16, 16, 1)
    assert first.target.shape == second.target.shape == (16, 16, 3)
    assert np.allclose(problem.variables[0].initial, [0.1, 0.2, 0.3]) and problem.variables[0].truth[1] == 0.3
    assert pbdr.optimize(problem, out=tmp_path / "run").steps == 1
    assert repr(pbdr.Problem.from_scene(scene, WALL, [target])) == f"Problem({WALL}; 1 view, 100 steps)"


def test_films_of_luminance_and_names_with_slashes(tmp_path: Path) -> None:
    """One channel is compared with the luminance of the target; a sensor's id may be a path."""
    job, scene = write_job(tmp_path), tmp_path / "scene.xml"
    text = scene.read_text().replace('value="rgb"', 'value="luminance"').replace('id="camera"', 'id="cams/front"')
    scene.write_text(text)
    mi.Bitmap(np.broadcast_to(np.float32([0.1, 0.2, 0.3]), (16, 16, 3)).copy()).write(str(tmp_path / "target.exr"))
    problem = pbdr.Problem.from_job(job, {"steps": "1"})
    target = np.array(problem.views[0].target)
    assert target.shape == (16, 16, 1) and np.allclose(
        target, 0.1 * 0.212671 + 0.2 * 0.71516 + 0.3 * 0.072169, atol=1e-3
    )
    pbdr.optimize(problem, out=tmp_path / "run")
    assert (tmp_path / "run" / "images" / "after_0_cams_front.exr").is_file()


def test_from_scene_writes_the_recovered_scene_of_a_file(tmp_path: Path) -> None:
    file, target = write_scene(tmp_path), np.full((16, 16, 3), 0.2, np.float32)
    problem = pbdr.Problem.from_scene(file, [WALL], [target], spp=4, spp_evaluation=4, steps=2)
    result = pbdr.optimize(problem, out=tmp_path / "run")
    written = scene_parameters(load_scene(tmp_path / "run" / "scene"))
    assert np.allclose(np.ravel(written[WALL]), result.values[WALL], atol=1e-4)


def test_from_scene_keeps_a_run(tmp_path: Path) -> None:
    scene = load_scene(write_scene(tmp_path))
    target = np.full((16, 16, 3), 0.2, np.float32)
    problem = pbdr.Problem.from_scene(scene, [WALL], [target], spp=4, spp_evaluation=4, steps=1)
    result = pbdr.optimize(problem, out=tmp_path / "run")
    assert (result.folder / "result.json").is_file() and (result.folder / "report.png").is_file()


def test_resume_sees_that_an_image_has_changed(tmp_path: Path) -> None:
    scene, target = load_scene(write_scene(tmp_path)), np.full((16, 16, 3), 0.2, np.float32)

    def run(image: np.ndarray, steps: int, *, resume: bool) -> pbdr.optimize.Result:
        problem = pbdr.Problem.from_scene(scene, [WALL], [image], spp=4, spp_evaluation=4, steps=steps)
        return pbdr.optimize(problem, out=tmp_path / "run", resume=resume)

    run(target, 1, resume=False)
    with pytest.raises(InputError, match="the image 'target of 0_camera' has changed since the run in"):
        run(target * 1.01, 2, resume=True)
    assert run(target.copy(), 2, resume=True).steps == 2


def test_a_scene_that_cannot_be_written_leaves_the_result(pbdr_command: Callable, tmp_path: Path) -> None:
    # The refractive index of copper is a spectrum, which has no place in XML
    job, scene, alpha = write_job(tmp_path), tmp_path / "scene.xml", '<float name="alpha" value="0.3"/>'
    assert alpha in scene.read_text()
    scene.write_text(scene.read_text().replace(alpha, alpha + '<string name="material" value="Cu"/>'))
    changes = ("--set", "parameters.1.key=box.bsdf.eta.value", "--set", "parameters.1.initial=current")
    run = tmp_path / "run"
    outcome = pbdr_command("optimize", job, *changes, "--set", "steps=1", "--out", run)
    assert outcome.code == 0
    assert outcome.stderr.startswith("warning: the recovered scene is not written: a scene with other values of")
    assert (run / "result.json").is_file() and (run / "report.png").is_file()
    assert not (run / "scene" / "scene.xml").exists()


def test_from_scene_refuses(tmp_path: Path) -> None:
    scene, target = load_scene(write_scene(tmp_path)), np.full((16, 16, 3), 0.2, np.float32)
    for targets, settings, words in (
        ([target[:8]], {}, "target of views.0 has 16 × 8 pixels"),
        ([target[..., 0]], {}, "must be an array"),
        ([target, target], {}, "no sensor 1"),
        ([target * np.nan], {}, "NaN or infinite"),
        ([target[..., :2]], {}, "has 2 channels; allowed are 1"),
        (target, {}, "'targets' is a list with one image for each view"),
        (["photo.exr"], {"views": [{"sensor": 0, "target": "photo.exr"}]}, "photo.exr' does not exist"),
        ([(255 * target).astype(np.uint8)], {}, "target of views.0 holds integers, but must be linear radiance"),
        ([[target, None]], {}, "target of views.0 must be an array of numbers"),
        ([target], {"views": [{"mask": np.ones((8, 8))}]}, "the mask must have 16 × 16 pixels"),
        ([target], {"views": [{"depth": np.ones((8, 8))}]}, "'depth' must have 16 × 16 pixels of 1 numbers"),
        ([target], {"views": [3]}, "'views.0' must be a mapping"),
        ([target], {"spp": 0}, "'spp' is 0"),
        ([target], {"stps": 3}, "did you mean 'steps'"),
        ([], {}, "at least 1 item"),
        (None, {}, "there is nothing to match"),
        (None, {"views": [{"sensor": 0, "target": "photo.exr"}]}, "photo.exr' does not exist"),
        ([target], {"views": [{"sensor": 0}, {"sensor": 0}]}, "2 views but 1 targets"),
    ):
        with pytest.raises(InputError, match=words):
            pbdr.Problem.from_scene(scene, [WALL], targets, **settings)
    for parameters, words in (
        ({WALL: 0.5}, "needs entries such as"),
        ([], "at least 1 item"),
        ({"x": {}}, "is called 'x'"),
    ):
        with pytest.raises(InputError, match=words):
            pbdr.Problem.from_scene(scene, parameters, [target])
    with pytest.raises(InputError, match=r"'scene' must be a mi.Scene, a file or a bundled scene, got a dict"):
        pbdr.Problem.from_scene({"type": "scene"}, [WALL], [target])
    with pytest.raises(InputError, match="'resume' needs"):
        pbdr.optimize(pbdr.Problem.from_scene(scene, [WALL], [target]), resume=True)


# ----------------------------------------------------------------- views and values


def test_8_bit_textures_are_optimized_and_targets_linearized(tmp_path: Path) -> None:
    job = write_job(tmp_path, old=f'"{WALL}"\ninitial = [0.4, 0.4, 0.4]', new='"wall.*.data"\ninitial = "uniform"')
    job.write_text(job.read_text().replace("true = [0.6, 0.3, 0.1]", ""))
    pixels = np.random.default_rng(4).integers(40, 200, (4, 4, 3), dtype=np.uint8)
    mi.Bitmap(pixels).write(str(tmp_path / "wall.png"))
    texture = '<texture type="bitmap" name="reflectance"><string name="filename" value="wall.png"/></texture>'
    write_scene(tmp_path, color=texture)
    mi.Bitmap(np.full((16, 16, 3), 188, np.uint8)).write(str(tmp_path / "photo.png"))
    changes = {"views.0.target": "photo.png", "views.0.color_space": "srgb"}
    problem = pbdr.Problem.from_job(job, changes)
    texture = problem.variables[0]
    assert texture.key == "wall.bsdf.reflectance.data" and texture.shape == (4, 4, 3)
    assert texture.bounds == (0.001, 1)
    linear = np.where(pixels / 255 <= 0.04045, pixels / 255 / 12.92, ((pixels / 255 + 0.055) / 1.055) ** 2.4)
    assert np.allclose(texture.initial, linear.mean(axis=(0, 1)), atol=1e-3)
    assert np.allclose(np.array(problem.views[0].target), ((188 / 255 + 0.055) / 1.055) ** 2.4, atol=1e-4)
    as_is = pbdr.Problem.from_job(job, changes | {"views.0.color_space": "linear"})
    assert np.allclose(np.array(as_is.views[0].target), 188 / 255, atol=1e-4)
    result = pbdr.optimize(problem, steps=2)
    assert (result.values[texture.key] != texture.initial).any()


def test_masked_pixels_do_not_count(tmp_path: Path) -> None:
    job = write_job(tmp_path)
    target, mask = np.full((2, 16, 16, 3), 0.2, np.float32)
    target[:, :8], mask[:, :8], mask[:, 8:] = 1e6, 0, 1
    mi.Bitmap(target).write(str(tmp_path / "target.exr"))
    mi.Bitmap(mask).write(str(tmp_path / "mask.exr"))
    result = pbdr.optimize(pbdr.Problem.from_job(job, {"views.0.mask": "mask.exr", "loss": "l2"}), steps=1)
    assert result.loss_initial < 100


def test_bounds_hold_during_a_run(tmp_path: Path) -> None:
    job = write_job(tmp_path)
    write_image(tmp_path / "target.exr", value=100)
    changes = {"parameters.0.learning_rate": "5", "parameters.1.bounds": "[0.15, 0.25]", "loss": "l2"}
    values = pbdr.optimize(pbdr.Problem.from_job(job, changes), steps=3).values
    assert np.allclose(values[WALL], 1), "as bright as a wall can be"
    assert 0.15 - 1e-6 <= values[ALPHA] <= 0.25 + 1e-6


def test_current_values_start_where_the_scene_is(tmp_path: Path) -> None:
    job = write_job(tmp_path, old="initial = [0.4, 0.4, 0.4]", new='initial = "current"')
    problem = pbdr.Problem.from_job(job)
    assert COLOR.split('"')[3] == "0.6 0.3 0.1"
    assert np.allclose(problem.variables[0].initial, [0.6, 0.3, 0.1])


def test_every_view_contributes_to_a_colour(tmp_path: Path) -> None:
    """Gradients of several views add up: none is lost because the scene already holds the same numbers."""
    write_scene(tmp_path)
    write_image(tmp_path / "target.exr")
    gradients = []
    for views in (1, 3):
        job = load_job(write_job(tmp_path)).model_copy(update={"spp": 256})
        job = job.model_copy(update={"views": list(job.views) * views})
        run = _Run(pbdr.Problem.from_job(job))
        differentiate(run.problem, run.optimizer, range(views), run.problem.job.spp, run._seed)
        gradients.append(np.array(dr.grad(run.optimizer[WALL])))
    np.testing.assert_allclose(gradients[1], gradients[0], rtol=0.05)


def test_steps_and_views_have_random_numbers_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seeds = []

    def watched(*labels: object) -> int:
        seeds.append(derive_seed(*labels))
        return seeds[-1]

    monkeypatch.setattr("pbdr.optimize.loop.derive_seed", watched)
    job = write_job(tmp_path)
    job.write_text(job.read_text() + '\n[[views]]\ntarget = "target.exr"\n')
    pbdr.optimize(pbdr.Problem.from_job(job), steps=3)
    assert len(seeds) >= 6 and len(set(seeds)) == len(seeds)
