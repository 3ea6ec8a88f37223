"""Levenberg–Marquardt, Gauss–Newton and L-BFGS on problems whose answer is known."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import drjit as dr
import mitsuba as mi
import numpy as np
import pytest

import pbdr
from pbdr.errors import InputError
from pbdr.optimize.columns import Units, ViewColumns
from pbdr.optimize.gradients import differentiate
from pbdr.optimize.loop import _Run
from pbdr.optimize.second_order import _loss, _prior_derivatives, _put
from pbdr.scene import load_scene

from ..ball import write_ball_job
from ..tiny import ALPHA, WALL, write_job, write_scene

TRUTH = [0.6, 0.3, 0.1]
SETTINGS = {"spp": 64, "spp_evaluation": 64, "integrator": {"type": "pbdr", "max_depth": 3}, "loss": "l2"}


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    """What the tiny scene looks like. [16, 16, 3]"""
    scene = load_scene(write_scene(tmp_path_factory.mktemp("scene")))
    return np.array(mi.render(scene, integrator=mi.load_dict(SETTINGS["integrator"]), spp=4096, seed=7))


def problem(
    folder: Path, image: np.ndarray, parameters: dict, optimizer: dict, steps: int, **more: object
) -> pbdr.Problem:
    scene = load_scene(write_scene(folder))
    return pbdr.Problem.from_scene(scene, parameters, [image], optimizer=optimizer, steps=steps, **SETTINGS, **more)


@pytest.mark.parametrize("kind", ["levenberg_marquardt", "gauss_newton"])
def test_few_steps_to_a_colour(tmp_path: Path, photo: np.ndarray, kind: str) -> None:
    """Radiance is nearly linear in a colour: four steps."""
    result = pbdr.optimize(problem(tmp_path, photo, {WALL: {"initial": 0.4}}, {"type": kind}, 4))
    assert np.abs(result.values[WALL] - TRUTH).max() < 0.01


def test_marquardt_through_a_sigmoid(tmp_path: Path, photo: np.ndarray) -> None:
    """The image is no linear function of the variable; eight steps."""
    parameters = {WALL: {"initial": 0.9, "reparameterization": "unit"}}
    result = pbdr.optimize(problem(tmp_path, photo, parameters, {"type": "levenberg_marquardt"}, 8))
    assert np.abs(result.values[WALL] - TRUTH).max() < 0.01


def test_columns_are_the_transpose_of_the_gradient(tmp_path: Path, photo: np.ndarray) -> None:
    """Jᵀr from columns is half of the gradient from reverse mode, at equal random numbers."""
    made = problem(tmp_path, photo, {WALL: {"initial": 0.4}, ALPHA: {"initial": 0.2}}, {"type": "lbfgs"}, 1)
    run = _Run(made)
    view = ViewColumns(made, Units(made, run.optimizer), 0, 16, run._seed, crossed=False)
    ((residuals, columns),) = view.columns()
    # Steps compare their trials with the loss of the residuals
    assert residuals @ residuals == pytest.approx(_loss(made, run.optimizer, [0], 16, run._seed), rel=1e-5)
    differentiate(made, run.optimizer, [0], 16, run._seed, crossed=False)
    expected = np.concatenate([np.array(dr.grad(run.optimizer[key])) for key in (WALL, ALPHA)])
    assert columns.shape == (len(residuals), 4)
    assert np.allclose(2 * residuals @ columns, expected, rtol=1e-3)


def test_products_of_two_images(tmp_path: Path, photo: np.ndarray) -> None:
    """The vector b = Jᵀr of a Gauss–Newton step is half of the gradient whose samples serve both, too."""
    parameters = {WALL: {"initial": 0.4}, ALPHA: {"initial": 0.2}}
    made = problem(tmp_path, photo, parameters, {"type": "gauss_newton"}, 1)
    run = _Run(made)
    A, b, loss = run.method.system(made, run.optimizer, [0], 16, run._seed)
    reported, _ = differentiate(made, run.optimizer, [0], 16, run._seed, crossed=True)
    expected = np.concatenate([np.array(dr.grad(run.optimizer[key])) for key in (WALL, ALPHA)])
    assert np.abs(expected).min() > 0
    assert np.allclose(2 * b, expected, rtol=1e-3)
    assert loss == pytest.approx(reported, rel=1e-4)
    assert (np.linalg.eigvalsh(A) > 0).all()


def test_directions_of_numbers(tmp_path: Path, photo: np.ndarray) -> None:
    """Single numbers that stay are left out, whatever follows from what, also beside an earlier scene."""
    parameters = {WALL: {"initial": 0.9, "reparameterization": "unit"}, ALPHA: {"initial": 0.2}}
    for _ in range(2):
        made = problem(tmp_path, photo, parameters, {"type": "gauss_newton"}, 1)
        run = _Run(made)
        made.write_scene(run.optimizer)
        recording = pbdr.record(made.integrator, made.scene, 0, spp=1, seed=0)
        units = Units(made, run.optimizer)
        found = units.in_scene(recording)
        assert [list(direction) for direction in found] == [[WALL]] * 3 + [[ALPHA]]
        # d(sigmoid) = c (1 − c)
        rows = [np.array(direction[WALL]).ravel() for direction in found[:3]]
        np.testing.assert_allclose(rows, 0.09 * np.eye(3), rtol=1e-3)
        assert np.array(found[3][ALPHA]).item() == 1


def test_lbfgs(tmp_path: Path, photo: np.ndarray) -> None:
    parameters = {WALL: {"initial": 0.4, "learning_rate": 0.05}}
    result = pbdr.optimize(problem(tmp_path, photo, parameters, {"type": "lbfgs"}, 12))
    assert np.abs(result.values[WALL] - TRUTH).max() < 0.02


def test_lbfgs_with_a_prior(tmp_path: Path, photo: np.ndarray) -> None:
    """The first value draws the colour: the minimum of (c − c*)² k + w (c − c₀)² lies between them."""
    parameters = {WALL: {"initial": 0.4, "learning_rate": 0.05}}

    def colour(weight: float) -> np.ndarray:
        made = problem(
            tmp_path, photo, parameters, {"type": "lbfgs"}, 12, priors=[{"type": "near_initial", "weight": weight}]
        )
        return pbdr.optimize(made).values[WALL]

    weak, strong = colour(1e-6), colour(100.0)
    assert np.abs(weak - TRUTH).max() < 0.02
    assert np.abs(strong - 0.4).max() < 0.02
    half = colour(0.02)
    assert (np.abs(half - 0.4) < np.abs(weak - 0.4)).all() and (np.abs(half - 0.4) > np.abs(strong - 0.4)).all()


@pytest.mark.parametrize("kind", ["levenberg_marquardt", "gauss_newton"])
def test_steps_do_not_end_on_bounds(kind: str) -> None:
    """The first step wants a roughness below 0, where images say nothing about it any more."""
    changes = {"optimizer": {"type": kind}, "spp": 4}
    found = pbdr.optimize(pbdr.Problem.from_job("cornell_box", changes), steps=4).parameters
    assert all(entry["error"] < 0.1 * np.max(entry["true"]) + 0.03 for entry in found.values()), found


@pytest.mark.parametrize("kind", ["levenberg_marquardt", "gauss_newton"])
def test_least_squares_with_a_prior(tmp_path: Path, photo: np.ndarray, kind: str) -> None:
    """The minimum of |J (c − c*)|² + w |c − c₀|² / 3, from the columns J that the method finds at c*."""
    parameters, weight = {WALL: {"initial": 0.4, "bounds": [0, 1]}}, 0.02
    exact = problem(tmp_path, photo, {WALL: {"initial": TRUTH}}, {"type": kind}, 1)
    run = _Run(exact)
    A = run.method.system(exact, run.optimizer, [0], 1024, run._seed)[0]
    expected = 0.4 + np.linalg.solve(A + weight / 3 * np.eye(3), A @ (np.array(TRUTH) - 0.4))
    priors = [{"type": "near_initial", "weight": weight}]
    found = pbdr.optimize(problem(tmp_path, photo, parameters, {"type": kind}, 4, priors=priors)).values[WALL]
    assert np.abs(found - expected).max() < 0.01
    assert np.abs(expected - TRUTH).max() > 0.04


def bump(values: mi.TensorXf, initial: mi.TensorXf) -> mi.TensorXf:
    """A prior that curves downward where numbers exceed a half."""
    return dr.sin(np.pi * values) * -1 + 2 * values


def test_derivatives_of_priors(tmp_path: Path, photo: np.ndarray) -> None:
    """Gradient and upward curvature of a user's prior and a quadratic one, in closed form."""
    made = problem(
        tmp_path, photo, {WALL: {"initial": [0.2, 0.5, 0.8]}, ALPHA: {"initial": 0.3}}, {"type": "gauss_newton"}, 1,
        priors=[{"type": f"{__name__}:bump", "key": WALL, "weight": 3.0},
                {"type": "near_initial", "key": ALPHA, "weight": 5.0}],
    )  # fmt: skip
    run = _Run(made)
    _put(made, run.optimizer, np.array([0.2, 0.4, 0.8, 0.25]))
    g, H = _prior_derivatives(made, run.optimizer)
    c = np.array([0.2, 0.4, 0.8])
    assert np.allclose(g, [*(2 - np.pi * np.cos(np.pi * c)), 10 * (0.25 - 0.3)], rtol=1e-4)
    assert np.allclose(H, np.diag([*np.pi**2 * np.sin(np.pi * c), 10]), atol=0.02)
    made = problem(
        tmp_path, photo, {ALPHA: {"initial": 0.3}}, {"type": "gauss_newton"}, 1,
        priors=[{"type": f"{__name__}:hill", "weight": 2.0}],
    )  # fmt: skip
    g, H = _prior_derivatives(made, _Run(made).optimizer)
    assert np.allclose(g, [-4 * 0.3], rtol=1e-4) and (H == 0).all()


def hill(values: mi.TensorXf, initial: mi.TensorXf) -> mi.TensorXf:
    """A prior that curves downward everywhere."""
    return -dr.square(values)


@pytest.mark.parametrize("kind", ["levenberg_marquardt", "gauss_newton"])
@pytest.mark.parametrize("prior", ["smoothness", "total_variation"])
def test_an_even_texture(tmp_path: Path, photo: np.ndarray, kind: str, prior: str) -> None:
    """With a heavy prior against edges the twelve numbers of a texture become three."""
    mi.Bitmap(np.random.default_rng(0).uniform(0.2, 0.9, (2, 2, 3)).astype(np.float32)).write(str(tmp_path / "c.exr"))
    texture = '<texture type="bitmap" name="reflectance"><string name="filename" value="c.exr"/></texture>'
    scene = load_scene(write_scene(tmp_path, color=texture))
    key = "wall.bsdf.reflectance.data"
    more = {"optimizer": {"type": kind}, "steps": 8, **SETTINGS}
    priors = [{"type": prior, "weight": 0.1}]
    found = pbdr.optimize(pbdr.Problem.from_scene(scene, [key], [photo], priors=priors, **more)).values[key]
    assert np.ptp(found, axis=(0, 1)).max() < 0.01
    assert np.abs(found - TRUTH).max() < 0.02


@pytest.mark.parametrize("kind", ["levenberg_marquardt", "lbfgs"])
def test_a_pose_from_its_image(tmp_path: Path, kind: str) -> None:
    """A ball that glows, moved by 0.15: outlines have columns, too."""
    film = {"type": "hdrfilm", "width": 24, "height": 24, "pixel_format": "rgb"}
    camera = {"type": "perspective", "id": "camera", "fov": 40, "film": film}

    def scene(x: float) -> mi.Scene:
        glow = {"type": "area", "radiance": {"type": "rgb", "value": 1.0}}
        ball = {"type": "sphere", "id": "ball", "center": [x, 0.05, 4], "radius": 0.7, "emitter": glow}
        return mi.load_dict({"type": "scene", "camera": camera, "ball": ball}, optimize=False)

    integrator = {"type": "pbdr", "boundary": "silhouettes", "max_depth": 2}
    image = np.array(mi.render(scene(0.15), integrator=mi.load_dict(integrator), spp=512))
    made = pbdr.Problem.from_scene(
        scene(0.0),
        {"ball": {"translation": {"true": [0.15, 0, 0], "bounds": [[-1, -1, 0], [1, 1, 0]], "learning_rate": 0.05}}},
        [image],
        optimizer={"type": kind},
        steps=8,
        spp=64,
        spp_evaluation=64,
        loss="l2",
        integrator=integrator,
    )
    assert pbdr.optimize(made).parameters["ball.translation"]["error"] < 0.005


def test_a_mesh_in_a_few_dozen_steps(tmp_path: Path) -> None:
    """A ball becomes an ellipsoid; a run that stands still ends, but not before the remeshing."""
    job = write_ball_job(tmp_path, 'remesh = [{ step = 6, edge_length = 0.25 }]\ntrue = "true.ply"')
    made = pbdr.Problem.from_job(job, {"steps": "45", "optimizer.type": "lbfgs"})
    start = made.variables[0].error(made.variables[0].initial, made.variables[0].truth)
    result = pbdr.optimize(made)
    assert result.end == "plateau" and 8 < result.steps < 45
    assert result.parameters[made.variables[0].key]["error"] < 0.15 * start
    assert result.meshes["ball"]["triangles"] != 320 and result.meshes["ball"]["flipped"] == 0


def test_stopping_at_a_remeshing(tmp_path: Path) -> None:
    """What L-BFGS knows about the triangles before is forgotten, also by a run that goes on there."""
    # Longer than all edges, or triangles might stay what they are
    job = write_ball_job(tmp_path, "remesh = [{ step = 3, edge_length = 0.4 }]")
    losses = []
    for steps in (3, 5):
        made = pbdr.Problem.from_job(job, {"steps": str(steps), "optimizer.type": "lbfgs"})
        losses.append(pbdr.optimize(made, out=tmp_path / "run", resume=bool(losses)).loss_final)
    assert losses[1] < losses[0]
    with np.load(tmp_path / "run" / "checkpoints" / "latest.npz") as saved:
        size = saved["latent/ball.vertex_positions"].size
        assert size != 3 * 162 and saved["method/x"].size == saved["method/s"].shape[1] == size


def test_texels_that_double(tmp_path: Path, photo: np.ndarray) -> None:
    """Curvature between few texels says nothing about more of them."""
    texture = '<texture type="bitmap" name="reflectance"><string name="filename" value="color.exr"/></texture>'
    mi.Bitmap(np.full((4, 4, 3), 0.4, np.float32)).write(str(tmp_path / "color.exr"))
    scene, key = load_scene(write_scene(tmp_path, color=texture)), "wall.bsdf.reflectance.data"
    settings = SETTINGS | {"steps": 8, "optimizer": "lbfgs"}
    made = pbdr.Problem.from_scene(scene, {key: {"refine": [4], "learning_rate": 0.05}}, [photo], **settings)
    result = pbdr.optimize(made)
    assert result.steps > 4 and np.abs(result.values[key].mean(axis=(0, 1)) - TRUTH).max() < 0.05


def test_noise_averages_out(tmp_path: Path, photo: np.ndarray) -> None:
    """Steps that turn back become shorter: the error falls although no step has more samples than those before."""
    errors = []
    for seed in range(4):
        made = problem(tmp_path, photo, {WALL: {"initial": 0.4}}, {"type": "gauss_newton"}, 32, seed=seed)
        made = dataclasses.replace(made, job=made.job.model_copy(update={"spp": 2, "spp_evaluation": 1}))
        seen = []
        pbdr.optimize(made, progress=lambda step, seen=seen: seen.append(step.parameters[WALL]))
        errors.append(np.square(np.array(seen, np.float64) - TRUTH).mean(axis=1))
    rms = np.sqrt(np.mean(errors, axis=0))
    assert rms[-4:].mean() < 0.5 * rms[1:6].mean()


@pytest.mark.parametrize("kind", ["levenberg_marquardt", "gauss_newton", "lbfgs"])
def test_going_on(tmp_path: Path, photo: np.ndarray, kind: str) -> None:
    def run(folder: str, steps: int, resume: bool) -> np.ndarray:
        made = problem(tmp_path, photo, {WALL: {"initial": 0.4, "learning_rate": 0.05}}, {"type": kind}, steps)
        return pbdr.optimize(made, out=tmp_path / folder, resume=resume).values[WALL]

    whole = run("whole", 5, False)
    run("parts", 3, False)
    assert np.allclose(run("parts", 5, True), whole, atol=1e-4)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"optimizer.type": "levenberg_marquardt", "loss": "l1"}, "needs losses 'l2' or 'relative_l2'"),
        ({"optimizer.type": "lbfgs", "optimizer.memry": "3"}, "no option 'memry'; did you mean 'memory'"),
        ({"optimizer.type": "lbfgs", "optimizer.memory": "0"}, "'memory' must be greater than or equal to 1, got 0"),
        ({"optimizer.type": "lbfgs", "sampling.type": "adaptive"}, "takes no sampling of type 'adaptive'"),
        ({"optimizer.type": "muon"}, "matrices of neural networks"),
        ({"optimizer.type": "levenberg_markard"}, "did you mean 'levenberg_marquardt'"),
    ],
)
def test_refusals(tmp_path: Path, changes: dict[str, str], words: str) -> None:
    with pytest.raises(InputError, match=words):
        pbdr.optimize(pbdr.Problem.from_job(write_job(tmp_path), changes))


def test_meshes_and_batches_where_they_do_not_fit(tmp_path: Path) -> None:
    job = write_ball_job(tmp_path)
    with pytest.raises(InputError, match="does not know meshes, such as 'ball'; use 'adam' or 'lbfgs'"):
        pbdr.optimize(pbdr.Problem.from_job(job, {"optimizer.type": "gauss_newton"}))
    with pytest.raises(InputError, match="looks at all views in each step"):
        pbdr.optimize(pbdr.Problem.from_job(job, {"optimizer.type": "lbfgs", "batch": "2"}))


def test_too_many_unknowns(tmp_path: Path) -> None:
    scene = tmp_path / "scene.xml"
    write_job(tmp_path)
    mi.Bitmap(np.full((8, 8, 3), 0.5, np.float32)).write(str(tmp_path / "color.exr"))
    texture = '<texture type="bitmap" name="reflectance"><string name="filename" value="color.exr"/></texture>'
    write_scene(tmp_path, color=texture)
    changes = {"optimizer.type": "gauss_newton", "parameters.0.key": "wall.bsdf.reflectance.data", "loss": "l2"}
    changes |= {"parameters.0.true": "0.5"}
    with pytest.raises(InputError, match="at most 50 unknown numbers, got 193"):
        pbdr.optimize(pbdr.Problem.from_job(tmp_path, changes))
    assert scene.is_file()
