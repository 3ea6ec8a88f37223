"""Callbacks, TensorBoard, the live view, Ctrl-C that keeps the result, and signs that a run goes wrong."""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path

import mitsuba as mi
import numpy as np
import pytest

import pbdr
from pbdr.errors import MissingExtra
from pbdr.optimize import Step
from pbdr.optimize.symptoms import Symptoms, ambiguities, never_due, quicker
from pbdr.optimize.watching import LiveView, TensorBoard, WeightsAndBiases, scalars

from ..ball import write_ball_job
from ..tiny import ALPHA, LAMP, WALL, write_job


def test_callbacks_see_every_step(tmp_path: Path) -> None:
    seen: list[Step] = []
    pbdr.optimize(pbdr.Problem.from_job(write_job(tmp_path), {"output.image_every": "2"}), progress=[seen.append])
    assert [step.index for step in seen] == list(range(6)) and {step.spp for step in seen} == {4}
    assert [step.images is not None for step in seen] == [True, False] * 3
    assert seen[0].images[0].shape == (16, 16, 3)
    assert set(scalars(seen[0])) == {"loss", "spp", f"{WALL}/0", f"{WALL}/1", f"{WALL}/2", ALPHA}
    assert seen[-1].parameters[ALPHA] != seen[0].parameters[ALPHA]


def test_ctrl_c_keeps_the_result(tmp_path: Path) -> None:
    def stop(step: Step) -> None:
        if step.index == 2:
            raise KeyboardInterrupt

    problem = pbdr.Problem.from_job(write_job(tmp_path))
    result = pbdr.optimize(problem, out=tmp_path / "run", progress=stop, keep_interrupted=True)
    assert result.end == "interrupted" and result.steps == 3 and np.isfinite(result.loss_final)
    assert (tmp_path / "run" / "scene" / "scene.xml").is_file()
    assert pbdr.optimize(problem, out=tmp_path / "run", resume=True).steps == 6
    with pytest.raises(KeyboardInterrupt):
        pbdr.optimize(problem, progress=stop)


def test_live_view(tmp_path: Path) -> None:
    pictures: list[bytes] = []
    view = LiveView(seconds=0, show=pictures.append)
    pbdr.optimize(pbdr.Problem.from_job(write_job(tmp_path), {"output.image_every": "2"}), progress=view)
    assert len(pictures) == 7 and all(png.startswith(b"\x89PNG") for png in pictures), "six steps, and the end"
    file = tmp_path / "live.png"
    file.write_bytes(pictures[-1])
    assert np.array(mi.Bitmap(str(file))).std() > 10


def test_live_view_changes_in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    display = pytest.importorskip("IPython.display")
    calls = []
    handle = types.SimpleNamespace(update=lambda image: calls.append("update"))
    monkeypatch.setattr(display, "display", lambda image, display_id: calls.append("new") or handle)
    view = LiveView(seconds=0)
    for k in range(3):
        view(Step(k, 3, 1.0 / (k + 1), 0.1, "", 4, (), {"x": 0.5 * k}))
    assert calls == ["new", "update", "update"]


def test_tensorboard(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    pbdr.optimize(pbdr.Problem.from_job(write_job(tmp_path), {"output.tensorboard": "true"}), out=tmp_path / "run")
    found = EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    found.Reload()
    lines = [json.loads(line) for line in (tmp_path / "run" / "history.jsonl").read_text().splitlines()]
    losses = found.Scalars("loss")
    assert [event.step for event in losses] == list(range(6))
    assert np.allclose([event.value for event in losses], [line["loss"] for line in lines])
    assert len(found.Scalars(ALPHA)) == 6


def test_weights_and_biases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against a stand-in for its module, which needs a network."""
    logged, finished = [], []
    run = types.SimpleNamespace(
        log=lambda values, step: logged.append((step, values["loss"])), finish=lambda: finished.append(True)
    )
    monkeypatch.setitem(sys.modules, "wandb", types.SimpleNamespace(init=lambda **settings: run))
    result = pbdr.optimize(pbdr.Problem.from_job(write_job(tmp_path)), progress=WeightsAndBiases(project="boxes"))
    assert [step for step, _ in logged] == list(range(result.steps)) and finished == [True]


def test_missing_extras_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for module in ("wandb", "tensorboard.compat.proto.event_pb2", "IPython.display"):
        monkeypatch.setitem(sys.modules, module, None)
    for make, extra in (
        (WeightsAndBiases, "wandb"),
        (lambda: TensorBoard(tmp_path), "tensorboard"),
        (LiveView, "notebook"),
    ):
        with pytest.raises(MissingExtra, match=rf"pbdr\[{extra}\]"):
            make()
    for entry, value in (("tensorboard", "true"), ("wandb", "boxes")):
        problem = pbdr.Problem.from_job(write_job(tmp_path), {f"output.{entry}": value})
        with pytest.raises(MissingExtra, match=rf"pbdr\[{entry}\]"):
            pbdr.optimize(problem, out=tmp_path / "run")
        assert not (tmp_path / "run").exists(), "nothing has begun"


# -------------------------------------------------------------------- symptoms


def test_light_and_colour_cannot_be_told_apart(tmp_path: Path) -> None:
    job = write_job(tmp_path)
    assert not ambiguities(pbdr.Problem.from_job(job))
    problem = pbdr.Problem.from_job(job, {"parameters.1.key": LAMP, "parameters.1.initial": "3.0"})
    assert len(found := ambiguities(problem)) == 1 and LAMP in found[0] and WALL in found[0]
    changes = {"parameters.1.key": LAMP, "parameters.1.initial": "3.0", "views.0.exposure": "{ initial = 1 }"}
    assert any("only their product" in text for text in ambiguities(pbdr.Problem.from_job(job, changes)))


def test_what_would_come_after_the_last_step() -> None:
    problem = pbdr.Problem.from_job("textured_wall", {"parameters.0.refine": "[3, 7]"})
    assert not never_due(problem, 8)
    (said,) = never_due(problem, 7)
    assert said.startswith("'refine' of") and said.endswith("wants step 7, but the last one is 6")


@pytest.mark.parametrize(
    ("job", "changes", "said"),
    [
        ("cornell_box", {}, True),
        ("cornell_box", {"optimizer": "gauss_newton"}, False),
        ("cornell_box", {"loss": "l1"}, False),
        ("cornell_box", {"integrator.type": "prb"}, True),
        ("textured_wall", {}, False),
        ("pose_from_image", {}, False),
    ],
)
def test_a_quicker_method(job: str, changes: dict, said: bool) -> None:
    """For few numbers of what rests, and squared errors."""
    assert bool(quicker(pbdr.Problem.from_job(job, changes))) == said


def test_spikes_are_noticed_once(tmp_path: Path) -> None:
    problem, symptoms = pbdr.Problem.from_job(write_job(tmp_path)), Symptoms()
    latents = {v.key: v.latent(v.initial) for v in problem.variables}

    def after(length: float) -> list[str]:
        return symptoms.after_step(problem, latents, {WALL: mi.Float([length, 0, 0])})

    assert not any(after(1 + 0.1 * k) for k in range(25))
    assert len(found := after(200.0)) == 1 and WALL in found[0] and "times as long as usual" in found[0]
    assert not after(200.0)


@pytest.mark.parametrize(("factor", "is_noticed"), [(0.3, False), (0.1, True)])
def test_a_collapsing_mesh_is_noticed(tmp_path: Path, factor: float, is_noticed: bool) -> None:
    problem = pbdr.Problem.from_job(write_ball_job(tmp_path))
    (mesh,) = problem.meshes
    latents = {mesh.variable.key: mesh.variable.latent(factor * mesh.variable.initial)}
    found = Symptoms().after_step(problem, latents, {})
    assert len(found) == is_noticed
    assert not found or "'ball' has shrunk to 10% of its size" in found[0]


def test_texels_on_their_bounds_are_noticed(tmp_path: Path) -> None:
    job = write_job(tmp_path)
    mi.Bitmap(np.full((4, 4, 3), 0.5, np.float32)).write(str(tmp_path / "color.exr"))
    text = '<texture type="bitmap" name="reflectance"><string name="filename" value="color.exr"/></texture>'
    scene = tmp_path / "scene.xml"
    scene.write_text(scene.read_text().replace('<rgb name="reflectance" value="0.6 0.3 0.1"/>', text))
    changes = {"parameters.0.key": "wall.bsdf.reflectance.data", "parameters.0.true": "0.5"}
    problem, symptoms = pbdr.Problem.from_job(job, changes), Symptoms()
    variable = problem.variables[0]
    latents = {v.key: v.latent(v.initial) for v in problem.variables}
    assert not symptoms.after_step(problem, latents, {})
    symptoms = Symptoms()
    values = np.full(variable.shape, 0.5)
    values[:3] = 1.0
    found = symptoms.after_step(problem, latents | {variable.key: variable.latent(values)}, {})
    assert len(found) == 1 and "75%" in found[0] and variable.key in found[0]
