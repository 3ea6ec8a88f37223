"""Job files, parameter values, bounds and reparameterizations."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import drjit as dr
import mitsuba as mi
import numpy as np
import pytest

from pbdr.errors import InputError
from pbdr.optimize import load_job
from pbdr.optimize.constraints import (
    _BOUNDS,
    _reparameterizations,
    default_bounds,
    find_reparameterization,
    inner_bounds,
)
from pbdr.optimize.entries import Output, ParameterEntry, PointEntry
from pbdr.optimize.job import Job, check_job
from pbdr.optimize.losses import LossEntry, _losses, find_loss
from pbdr.optimize.optimizers import make, restore, state_arrays
from pbdr.optimize.parameters import Variable, read_values
from pbdr.optimize.priors import PRIORS
from pbdr.optimize.record import job_text
from pbdr.optimize.schedules import SamplingEntry, ScheduleEntry, StoppingEntry
from pbdr.optimize.views.entry import View
from pbdr.resources import folder

from ..tiny import line_of, write_job


def variable(name: str, bounds: tuple[float, float], initial: np.ndarray) -> Variable:
    mapping = find_reparameterization(name, "key", bounds)
    return Variable("key", initial.shape, bounds, 0.1, mapping, initial, None)


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
        ("spp", "1.5", "valid integer"),
        ("steps", "0", "greater than or equal to 1"),
        ("steps", "-1", "greater than or equal to 1"),
        ("spp_gradient", "0", "greater than or equal to 1"),
        ("parameters.0.learning_rate", "0", "greater than 0"),
        ("parameters.0.bounds", "[1]", "'parameters.0.bounds.1' is missing"),
        ("parameters", "[]", "at least 1 item"),
        ("views.0.color_space", "sRGB", "'linear' or 'srgb'"),
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


def test_missing_entry(tmp_path: Path) -> None:
    job = write_job(tmp_path, old='target = "target.exr"', new="")
    with pytest.raises(InputError, match=rf"line {line_of(job, '[[views]]')}: the entry 'views.0.target' is missing"):
        load_job(job)


def test_no_text_at_all(tmp_path: Path) -> None:
    file = tmp_path / "job.toml"
    file.write_bytes(b"scene = \xff\xfe")
    with pytest.raises(InputError, match="not UTF-8"):
        load_job(file)


# --------------------------------------------------------------------- values


def test_one_number_fills_and_a_colour_repeats() -> None:
    held = np.zeros((2, 3, 3))
    assert (read_values(0.5, held, "x") == 0.5).all()
    assert (read_values([0.1, 0.2, 0.3], held, "x") == [0.1, 0.2, 0.3]).all()
    assert read_values(0.5, np.zeros(()), "x").shape == ()


def test_current_and_uniform() -> None:
    held = np.random.default_rng(1).uniform(size=(4, 5, 3))
    assert (read_values("current", held, "x") == held).all()
    uniform = read_values("uniform", held, "x")
    assert np.allclose(uniform, held.mean(axis=(0, 1))), "each channel keeps its mean"
    assert np.allclose(read_values("uniform", np.array([1.0, 3.0]), "x"), 2)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), [0.1, float("nan"), 0.2]])
def test_values_must_be_finite(value: object) -> None:
    with pytest.raises(InputError, match="x must be finite"):
        read_values(value, np.zeros(3), "x")


def test_wrong_number_of_values() -> None:
    with pytest.raises(InputError, match="x holds 2 numbers, but the parameter takes 3"):
        read_values([1, 2], np.zeros(3), "x")
    for size in (12, 72):
        with pytest.raises(InputError, match=f"x holds 1 number, but the parameter takes {size}"):
            read_values(0.5, np.zeros(size), "x", is_buffer=True)


def test_values_from_files(tmp_path: Path) -> None:
    pixels = np.random.default_rng(2).uniform(size=(4, 6, 3)).astype(np.float32)
    mi.Bitmap(pixels).write(str(tmp_path / "map.exr"))
    np.save(tmp_path / "map.npy", pixels)
    for name in ("map.exr", "map.npy"):
        assert np.allclose(read_values(str(tmp_path / name), np.zeros((4, 6, 3)), "x"), pixels)
    with pytest.raises(InputError, match=r"none\.exr' does not exist"):
        read_values(str(tmp_path / "none.exr"), np.zeros((4, 6, 3)), "x")
    (tmp_path / "text.exr").write_text("no image")
    (tmp_path / "text.npy").write_text("no array")
    for name in ("text.exr", "text.npy"):
        with pytest.raises(InputError, match="cannot be read"):
            read_values(str(tmp_path / name), np.zeros((4, 6, 3)), "x")


@pytest.mark.parametrize("suffix", ["exr", "npy"])
def test_environment_maps_get_the_columns_that_mitsuba_adds(tmp_path: Path, suffix: str) -> None:
    pixels = np.random.default_rng(3).uniform(size=(4, 8, 3)).astype(np.float32)
    file = tmp_path / f"sky.{suffix}"
    if suffix == "exr":
        mi.Bitmap(pixels).write(str(file))
    else:
        np.save(file, pixels)
    light = mi.load_dict({"type": "envmap", "bitmap": mi.Bitmap(pixels)})
    held = np.array(mi.traverse(light)["data"])
    assert held.shape == (4, 10, 3)
    assert np.allclose(read_values(str(file), held, "x"), held)


# ---------------------------------------------------- bounds, reparameterization


@pytest.mark.parametrize(
    ("key", "bounds"),
    [
        ("wall.bsdf.reflectance.value", (0, 1)),
        ("wall.bsdf.reflectance.data", (0, 1)),
        ("wall.bsdf.brdf_0.base_color.data", (0, 1)),
        ("ball.bsdf.metallic.value", (0, 1)),
        ("metal.alpha.value", (1e-3, 1)),
        ("metal.alpha_u", (1e-3, 1)),
        ("ball.bsdf.roughness.value", (1e-3, 1)),
        ("lamp.emitter.radiance.value", (0, np.inf)),
        ("spot.intensity.value", (0, np.inf)),
        ("box.vertex_positions", (-np.inf, np.inf)),
        ("metal.k.value", (-np.inf, np.inf)),
    ],
)
def test_default_bounds(key: str, bounds: tuple[float, float]) -> None:
    assert default_bounds(key, is_environment=False) == bounds


@pytest.mark.parametrize(
    ("key", "bounds"),
    [
        ("wall.bsdf.reflectance.data", (0.001, 1)),
        ("ball.bsdf.metallic.value", (0, 0.999)),
        ("ball.bsdf.weight.value", (0.001, 0.999)),
        ("ball.bsdf.flatness.value", (0, 1)),
    ],
)
def test_jobs_keep_away_from_values_without_derivative(key: str, bounds: tuple[float, float]) -> None:
    assert inner_bounds(key, (0.0, 1.0)) == bounds


def test_default_bounds_of_environment_maps() -> None:
    assert default_bounds("sky.data", is_environment=True) == (0, np.inf)
    assert default_bounds("sky.data", is_environment=False) == (-np.inf, np.inf)
    assert default_bounds("sky.scale", is_environment=True) == (0, np.inf)


@pytest.mark.parametrize(
    ("name", "bounds"),
    [("identity", (0.0, 1.0)), ("unit", (0.0, 1.0)), ("unit", (-2.0, 3.0)), ("positive", (0.0, np.inf))],
)
def test_reparameterizations_round_trip(name: str, bounds: tuple[float, float]) -> None:
    values = np.array([0.01, 0.2, 0.5, 0.97])
    held = variable(name, bounds, values)
    assert np.allclose(held.values(held.latent(values)), values, rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "bounds"),
    [("identity", (0.1, 0.9)), ("unit", (0.1, 0.9)), ("positive", (0.0, 2.0)), ("identity", (0.0, np.inf))],
)
def test_reparameterizations_keep_bounds(name: str, bounds: tuple[float, float]) -> None:
    held = variable(name, bounds, np.full(3, 0.5))
    far = held.project(mi.Float([-50.0, 0.3, 50.0]))
    values = held.values(far)
    assert (values >= bounds[0] - 1e-6).all() and (values <= bounds[1] + 1e-6).all()
    assert np.isfinite(values).all()


def test_reparameterizations_have_derivatives() -> None:
    for name, expected in (("identity", 1.0), ("positive", 0.3), ("unit", 0.3 * 0.7)):
        held = variable(name, (0.0, 1.0), np.array([0.3]))
        latent = held.latent(held.initial)
        dr.enable_grad(latent)
        dr.backward(held.reparameterization.forward(latent, *held.bounds))
        assert np.allclose(dr.grad(latent), expected, rtol=1e-4)


def test_reparameterizations_that_do_not_fit() -> None:
    with pytest.raises(InputError, match="did you mean 'positive'"):
        find_reparameterization("positiv", "key", (0, 1))
    with pytest.raises(InputError, match="needs two finite bounds"):
        find_reparameterization("unit", "key", (0, np.inf))
    with pytest.raises(InputError, match="lower bound of at least 0"):
        find_reparameterization("positive", "key", (-1, 1))


# ----------------------------------------------------------- losses, optimizers


@pytest.mark.parametrize(
    ("name", "expected"),
    [("l1", 0.5), ("l2", 0.25), ("relative_l2", (0.5 / 0.51) ** 2), ("log_l1", np.log(2 / 1.5)), ("huber", 0.09)],
)
def test_losses(name: str, expected: float) -> None:
    image, target = (mi.TensorXf(np.full((2, 2, 3), value, np.float32)) for value in (1.0, 0.5))
    assert np.allclose(np.array(find_loss(name)(image, target)), expected, rtol=1e-5)


def test_unknown_loss() -> None:
    with pytest.raises(InputError, match="did you mean 'relative_l2'"):
        find_loss("relative_l3")


@pytest.mark.parametrize("options", [{}, {"type": "sgd", "momentum": 0.9}, {"type": "sgd"}, {"type": "RMSProp"}])
def test_state_of_optimizers_round_trips(options: dict) -> None:
    entry = Job(
        scene="", views=[{"target": ""}], parameters=[{"key": "key"}], optimizer={"type": "adam", **options}
    ).optimizer
    variables = [variable("identity", (-np.inf, np.inf), np.array([1.0, 2.0]))]

    def advance(optimizer: object, count: int) -> np.ndarray:
        for _ in range(count):
            dr.backward(dr.sum(dr.square(optimizer["key"] - 0.3)))
            optimizer.step()
        return np.array(dr.detach(optimizer["key"]))

    first, second = make(entry, variables), make(entry, variables)
    advance(first, 3)
    restore(second, state_arrays(first))
    assert np.allclose(advance(first, 3), advance(second, 3), rtol=1e-6)


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
