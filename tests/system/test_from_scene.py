"""Problems from scenes and arrays in Python, and what views and values of a job mean in a run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import drjit as dr
import mitsuba as mi
import numpy as np
import pytest

import pbdr
from pbdr.errors import InputError
from pbdr.optimize import load_job
from pbdr.optimize.gradients import differentiate
from pbdr.optimize.loop import _Run
from pbdr.scene import load_scene
from pbdr.scene_parameters import scene_parameters
from pbdr.seeds import derive_seed

from ..tiny import ALPHA, COLOR, LAMP, WALL, write_image, write_job, write_scene


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
    note, _, warning = outcome.stderr.partition("\n")
    assert note.startswith("note: 6 unknown numbers at rest")
    assert warning.startswith("warning: the recovered scene is not written: a scene with other values of")
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
        ([target], {"views": [{"depth": np.ones((8, 8))}]}, "'depth' must have 16 × 16 pixels of one number"),
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
