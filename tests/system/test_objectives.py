"""Losses, priors, colour and control in whole runs, on problems whose answer is known."""

from __future__ import annotations

import json
from pathlib import Path

import drjit as dr
import mitsuba as mi
import numpy as np
import pytest

import pbdr
from pbdr.errors import InputError
from pbdr.optimize.views.first_hits import render_first_hits
from pbdr.scene import load_scene

from ..tiny import ALPHA, LAMP, WALL, write_image, write_job, write_scene

TRUTH = [0.6, 0.3, 0.1]
SETTINGS = {
    "spp": 8,
    "spp_evaluation": 32,
    "integrator": {"type": "pbdr", "max_depth": 3},
    "optimizer": {"type": "adam", "beta_2": 0.95},
}


@pytest.fixture
def photo(tmp_path: Path) -> np.ndarray:
    """What the tiny scene looks like. [16, 16, 3]"""
    integrator = mi.load_dict(SETTINGS["integrator"])
    return np.array(mi.render(load_scene(write_scene(tmp_path)), integrator=integrator, spp=2048, seed=7))


def recover(folder: Path, image: np.ndarray, parameters: dict | None = None, **settings) -> pbdr.optimize.Result:
    scene = load_scene(write_scene(folder))
    parameters = parameters or {WALL: {"initial": 0.4, "learning_rate": 0.05}}
    return pbdr.optimize(pbdr.Problem.from_scene(scene, parameters, [image], **{"steps": 100, **SETTINGS, **settings}))


# --------------------------------------------------------------------- losses


@pytest.mark.parametrize(
    "losses",
    [
        [{"type": "smape"}],
        [{"type": "l1", "tonemap": "srgb", "pyramid": 3}, {"type": "ssim", "weight": 0.1, "tonemap": "reinhard"}],
        [{"type": "relative_l2_unbiased"}],
    ],
    ids=["smape", "sum", "unbiased"],
)
def test_losses_recover_a_colour(tmp_path: Path, photo: np.ndarray, losses: list[dict]) -> None:
    result = recover(tmp_path, photo, losses=losses)
    assert np.abs(result.values[WALL] - TRUTH).max() < 0.02


def test_the_loss_without_variance_is_zero_at_the_truth(tmp_path: Path, photo: np.ndarray) -> None:
    """At the true parameters the squared error is the variance of the image alone; two renderings take it away."""
    settings = {"spp_evaluation": 16, "steps": 1}
    exact = {WALL: {"initial": TRUTH, "learning_rate": 1e-9}}
    plain = recover(tmp_path, photo, exact, loss="relative_l2", **settings).loss_initial
    seeds = range(8)
    values = [
        recover(tmp_path, photo, exact, loss="relative_l2_unbiased", seed=seed, **settings).loss_initial
        for seed in seeds
    ]
    error = np.std(values, ddof=1) / np.sqrt(len(values))
    # What the plain loss is off by lies at least eight errors away
    assert abs(np.mean(values)) < 4 * error < 0.5 * plain


def test_a_function_beside_the_job(pbdr_command, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "import drjit as dr\n\ndef quartic(image, target):\n    return (image - target) ** 4\n"
    )
    run = tmp_path / "run"
    outcome = pbdr_command("optimize", write_job(tmp_path), "--set", "loss=mine:quartic", "--out", run)
    assert outcome.code == 0, outcome.stderr
    result = json.loads((run / "result.json").read_text())
    assert 0 < result["loss_final"] < result["loss_initial"]
    again = pbdr_command("optimize", run / "job.toml", "--out", tmp_path / "again", "--steps", 1)
    assert again.code == 0, "the job in the run folder knows where the function is"


def test_a_function_in_python(tmp_path: Path, photo: np.ndarray) -> None:
    result = recover(
        tmp_path, photo, loss=lambda image, target: dr.mean(dr.square(image - target), axis=None), steps=25
    )
    assert np.abs(result.values[WALL] - TRUTH).max() < 0.05


def test_a_job_with_losses_reads_back(pbdr_command, tmp_path: Path) -> None:
    job = write_job(tmp_path)
    text = '\n[[losses]]\ntype = "l1"\n\n[[losses]]\ntype = "ssim"\nweight = 0.2\n'
    text += '\n[[priors]]\ntype = "near_initial"\nweight = 0.1\n'
    job.write_text(job.read_text() + text)
    for source, name in ((job, "one"), (tmp_path / "one" / "job.toml", "two")):
        assert pbdr_command("optimize", source, "--steps", 1, "--out", tmp_path / name).code == 0
    outcome = pbdr_command("optimize", job, "--set", "loss=l2", "--out", tmp_path / "three")
    assert outcome.code == 2 and "either 'loss' or a list of 'losses'" in outcome.stderr


def test_priors_decide_what_images_leave_open(tmp_path: Path, photo: np.ndarray) -> None:
    """A strong prior keeps the first value and a weak one does not."""
    finals = {}
    for weight in (1e-6, 1e3):
        prior = {"type": "near_initial", "weight": weight}
        finals[weight] = recover(tmp_path, photo, priors=[prior]).values[WALL]
    assert np.abs(finals[1e-6] - TRUTH).max() < 0.02 and np.abs(finals[1e3] - 0.4).max() < 0.02


# ------------------------------------------------------------ depth and normals


def depth_scene(z: float) -> mi.Scene:
    """A ball before a camera. ``z``: its position along the axis."""
    film = {"type": "hdrfilm", "width": 16, "height": 16, "pixel_format": "rgb", "rfilter": {"type": "box"}}
    camera = {"type": "perspective", "id": "camera", "fov": 40, "film": film, "to_world": mi.ScalarTransform4f()}
    ball = {"type": "sphere", "id": "ball", "center": [0, 0, z], "radius": 0.8}
    return mi.load_dict(
        {"type": "scene", "camera": camera, "ball": ball, "light": {"type": "constant"}}, optimize=False
    )


def test_depth_and_normals_are_those_of_a_ball() -> None:
    scene = depth_scene(4.0)
    depth, normals, coverage = (np.array(x) for x in render_first_hits(scene, scene.sensors()[0], 16, mi.UInt32(1)))
    assert np.isclose(depth[7:9, 7:9].mean(), 3.2, atol=0.02) and np.allclose(coverage[7:9, 7:9], 1)
    assert np.allclose(normals[7:9, 7:9].mean(axis=(0, 1)), [0, 0, -1], atol=0.03) and not coverage[0, 0].any()


def test_derivatives_of_depth_and_normals_against_differences() -> None:
    """Inside of the outline, with equal random numbers."""
    scene = depth_scene(4.0)
    parameters = mi.traverse(scene)
    base, h = mi.Transform4f(parameters["ball.to_world"]), 1e-2

    def inside(x: float | mi.Float) -> tuple[mi.TensorXf, mi.TensorXf]:
        parameters["ball.to_world"] = mi.Transform4f().translate(mi.Vector3f(0.3 * x, 0, x)) @ base
        parameters.update()
        depth, normals, _ = render_first_hits(scene, scene.sensors()[0], 4, mi.UInt32(1))
        return depth[5:11, 5:11], normals[5:11, 5:11]

    x = mi.Float(0)
    dr.enable_grad(x)
    for k in range(2):
        dr.set_grad(x, 1)
        found = np.array(dr.forward_to(inside(x)[k]))
        high, low = (np.array(inside(mi.Float(s * h))[k]) for s in (1, -1))
        assert np.allclose(found, (high - low) / (2 * h), atol=0.02 * np.abs(found).max())


def test_a_position_from_depth(tmp_path: Path) -> None:
    scene = depth_scene(4.3)
    depth = np.array(render_first_hits(scene, scene.sensors()[0], 64, mi.UInt32(1))[0])
    np.save(tmp_path / "depth.npy", np.where(depth > 0, depth, np.nan))
    problem = pbdr.Problem.from_scene(
        depth_scene(4.0),
        {"ball": {"translation": {"bounds": [[0, 0, -1], [0, 0, 1]], "learning_rate": 0.03, "true": [0, 0, 0.3]}}},
        [np.zeros((16, 16, 3), np.float32)] * 2,
        # A view without depth has nothing to add
        views=[{"depth": str(tmp_path / "depth.npy")}, {}],
        losses=[{"type": "l1", "of": "depth"}],
        integrator={"type": "pbdr", "boundary": "silhouettes", "max_depth": 2},
        spp=8,
        spp_evaluation=16,
        steps=40,
    )
    assert pbdr.optimize(problem).parameters["ball.translation"]["error"] < 0.01


def test_depth_must_be_known_somewhere(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="looks at depth, but no view has an entry 'depth'"):
        pbdr.Problem.from_job(
            write_job(tmp_path, old="steps = 6", new='steps = 6\nlosses = [{ type = "l1", of = "depth" }]')
        )


def test_a_loss_must_depend_on_something() -> None:
    problem = pbdr.Problem.from_scene(
        depth_scene(4.0),
        ["ball.bsdf.reflectance.value"],
        views=[{"target": np.zeros((16, 16, 3), np.float32), "depth": np.full((16, 16), 3.0)}],
        losses=[{"type": "l1", "of": "depth"}],
        spp=1,
        spp_evaluation=1,
    )
    with pytest.raises(InputError, match=r"view '0_camera', which looks at depth, does not depend on 'ball.bsdf"):
        pbdr.optimize(problem)


# --------------------------------------------------------------------- colour


def test_an_unknown_exposure(tmp_path: Path, photo: np.ndarray) -> None:
    """Two pictures of one camera, one of them 2.5 times as bright."""
    views = [{"target": ""}, {"target": "", "exposure": {"initial": 1.0, "learning_rate": 0.03, "true": 2.5}}]
    problem = pbdr.Problem.from_scene(
        load_scene(write_scene(tmp_path)),
        {WALL: {"initial": 0.4, "learning_rate": 0.05}},
        [photo, 2.5 * photo],
        views=views,
        steps=150,
        **{**SETTINGS, "spp": 32},
    )
    result = pbdr.optimize(problem, out=tmp_path / "run")
    assert result.parameters["1_camera.exposure"]["error"] < 0.05
    assert np.abs(result.values[WALL] - TRUTH).max() < 0.02


def test_a_known_exposure(tmp_path: Path, photo: np.ndarray) -> None:
    result = recover(tmp_path, 3 * photo, views=[{"target": "", "exposure": 3.0}], spp=32)
    assert np.abs(result.values[WALL] - TRUTH).max() < 0.02


def test_alpha_of_targets(tmp_path: Path) -> None:
    pixels = np.full((16, 16, 4), 0, np.uint8)
    pixels[..., :3], pixels[4:8, :, 3] = 255, 51
    mi.Bitmap(pixels).write(str(tmp_path / "cut.png"))
    write_job(tmp_path)
    entry = {"views.0.target": "cut.png", "views.0.color_space": "srgb"}

    def view(**more: str):
        changes = {f"views.0.{name}": value for name, value in more.items()}
        return pbdr.Problem.from_job(tmp_path, entry | changes).views[0]

    assert np.allclose(np.array(view().target), 1) and view().mask is None
    assert np.allclose(np.array(view(alpha="mask").mask)[:, :, 0], np.array(pixels[..., 3] / 255), atol=1e-6)
    assert np.allclose(np.array(view(alpha="composite").target)[..., 0], pixels[..., 3] / 255, atol=1e-6)
    with pytest.raises(InputError, match="needs a film with pixel_format 'rgba'"):
        view(alpha="composite", background="[0.5, 0.5, 0.5]")
    scene = tmp_path / "scene.xml"
    scene.write_text(scene.read_text().replace('"rgb"/><rfilter', '"rgba"/><rfilter'))
    found = np.array(view(alpha="composite", background="[0.5, 0.5, 0.5]").target)
    assert np.allclose(found[5], 0.2 + 0.8 * 0.5, atol=1e-6) and np.allclose(found[0], 0.5)
    write_image(tmp_path / "target.exr")
    with pytest.raises(InputError, match="has no alpha channel"):
        pbdr.Problem.from_job(tmp_path, {"views.0.alpha": "mask"})
    with pytest.raises(InputError, match="but no target has an alpha channel"):
        pbdr.Problem.from_job(tmp_path, {"losses": "[{ of = 'alpha' }]"})
    with pytest.raises(InputError, match="no unknown moves anything"):
        pbdr.Problem.from_job(tmp_path, entry | {"losses": "[{ of = 'alpha' }]"})
    moving = entry | {"parameters.1.key": "box.vertex_positions", "parameters.1.initial": "current"}
    moving |= {"integrator.type": "prb_projective", "views.0.alpha": "composite", "views.0.background": "[1, 1, 1]"}
    with pytest.raises(InputError, match="only pbdr's integrators"):
        pbdr.Problem.from_job(tmp_path, moving)


@pytest.mark.parametrize("loss", [{"type": "l2", "of": "alpha"}, {"type": "silhouette", "of": "alpha"}, "background"])
def test_outlines_are_recovered_from_alpha(tmp_path: Path, loss: dict | str) -> None:
    """The place of a box that stands before nothing and reflects little."""
    file = write_scene(tmp_path)
    nothing = '"rgba"/><rfilter'
    file.write_text(
        file.read_text().replace('"rgb"/><rfilter', nothing).replace('<scale value="2"/>', '<scale value="0.1"/>')
    )
    true = load_scene(file)
    params = mi.traverse(true)
    points = np.array(params["box.vertex_positions"]).reshape(-1, 3) + np.float32([0.3, -0.2, 0])
    params["box.vertex_positions"] = points.ravel()
    params.update()
    target = np.array(mi.render(true, integrator=mi.load_dict(SETTINGS["integrator"]), spp=1024, seed=7))
    settings = {"losses": [loss]} if isinstance(loss, dict) else {"loss": "l2"}
    view = {"target": "", **({} if isinstance(loss, dict) else {"alpha": "composite", "background": [5, 5, 5]})}
    pose = {"kind": "pose", "translation": {"initial": [0, 0, 0], "learning_rate": 0.03}}
    problem = pbdr.Problem.from_scene(
        load_scene(file), {"box": pose}, [target], views=[view], steps=45, **settings, **SETTINGS
    )
    result = pbdr.optimize(problem, out=tmp_path / "run")
    found = np.array(result.values["box.translation"])
    assert np.abs(found[:2] - [0.3, -0.2]).max() < 0.02, found


def test_background_stands_behind_renderings(tmp_path: Path) -> None:
    """A scene that hides nothing of a background of 0.5 renders 0.5 where there is no shape."""
    scene = tmp_path / "scene.xml"
    write_scene(tmp_path)
    text = (
        scene.read_text()
        .replace('"rgb"/><rfilter', '"rgba"/><rfilter')
        .replace('<scale value="2"/>', '<scale value="0.5"/>')
    )
    scene.write_text(text)
    target = np.dstack([np.zeros((16, 16, 3), np.float32), np.zeros((16, 16, 1), np.float32)])
    problem = pbdr.Problem.from_scene(
        load_scene(scene),
        [ALPHA],
        [target],
        views=[{"target": "", "alpha": "composite", "background": [0.5, 0.25, 0.75]}],
        steps=1,
        **SETTINGS,
    )
    result = pbdr.optimize(problem, out=tmp_path / "run")
    image = np.array(mi.Bitmap(str(result.folder / "images" / "after_0_camera.exr")))
    assert np.allclose(image[0, 0, :3], [0.5, 0.25, 0.75], atol=1e-3)


# -------------------------------------------------------------------- control


def test_a_schedule_of_one_parameter(tmp_path: Path, photo: np.ndarray) -> None:
    """With a rate of nearly nothing after step 1 one parameter stands while the other moves."""
    held = {"type": "steps", "at": [1], "factor": 1e-6}
    parameters = {WALL: {"initial": 0.4, "learning_rate": 0.05, "schedule": held}, LAMP: {"initial": 3.0}}
    result = recover(tmp_path, photo, parameters, steps=8)
    assert np.allclose(np.abs(result.values[WALL] - 0.4), 0.05, atol=1e-3)
    assert np.abs(result.values[LAMP] - 3).min() > 0.05


def test_a_plateau_ends_the_run(tmp_path: Path, photo: np.ndarray) -> None:
    result = recover(tmp_path, photo, steps=300, stopping={"patience": 15, "tolerance": 0.05})
    assert result.end == "plateau" and 30 <= result.steps < 200
    assert np.abs(result.values[WALL] - TRUTH).max() < 0.03


def test_minutes_end_the_run(pbdr_command, tmp_path: Path) -> None:
    run = tmp_path / "run"
    outcome = pbdr_command("optimize", write_job(tmp_path), "--steps", 100000, "--minutes", 0.05, "--out", run)
    assert outcome.code == 0, outcome.stderr
    result = json.loads((run / "result.json").read_text())
    assert result["end"] == "minutes" and 3 <= result["seconds"] < 120 and 1 <= result["steps"] < 100000


def test_a_run_with_batches_and_adaptive_samples_goes_on(tmp_path: Path, photo: np.ndarray) -> None:
    scene = load_scene(write_scene(tmp_path))

    def run(folder: str, steps: int, resume: bool) -> pbdr.optimize.Result:
        problem = pbdr.Problem.from_scene(
            scene,
            {WALL: {"initial": 0.4, "learning_rate": 0.05}},
            [photo, photo, photo],
            views=[{"target": ""}] * 3,
            batch=2,
            sampling={"type": "adaptive", "window": 3, "maximum": 32},
            schedule={"type": "constant"},
            steps=steps,
            spp=4,
            spp_evaluation=8,
        )
        return pbdr.optimize(problem, out=tmp_path / folder, resume=resume)

    whole = run("whole", 8, False)
    run("parts", 5, False)
    assert np.allclose(run("parts", 8, True).values[WALL], whole.values[WALL], atol=1e-4)
