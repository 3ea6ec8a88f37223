"""Jobs that recover meshes: what is refused, what is recovered, remeshing, going on after a stop, export."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import drjit as dr
import mitsuba as mi
import numpy as np
import pytest

import pbdr
from pbdr.errors import InputError
from pbdr.geometry.mesh import triangles, weld
from pbdr.optimize import optimizers
from pbdr.optimize.loop import _Run
from pbdr.optimize.meshes.remeshing import surface_distance
from pbdr.optimize.meshes.unknown import MeshUnknown
from pbdr.scene import load_scene

from ..ball import write_ball_job

KEY = "ball.vertex_positions"
REMESH = "remesh = [{ step = 3, edge_length = 0.2 }]"


def history(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]


def recovered(run: Path) -> tuple[np.ndarray, np.ndarray]:
    """Positions and faces of the mesh that a run has exported."""
    mesh = mi.load_dict({"type": "ply", "filename": str(run / "scene" / "meshes" / "ball.ply")})
    return triangles(mesh)


# ------------------------------------------------------------------------ steps


def test_an_outlier_does_not_shorten_later_steps(tmp_path: Path) -> None:
    """A gradient that is 30 times too large at one point once: smooth steps go on with nearly the length they had."""
    problem = pbdr.Problem.from_job(write_ball_job(tmp_path))
    random = np.random.default_rng(0)
    direction = random.normal(size=3 * 162)
    lengths = {}
    for outlier in (0.0, 30.0):
        optimizer = optimizers.make(problem.job.optimizer, problem.variables)
        for step in range(40):
            gradient = direction * 1e-4
            gradient[7] += outlier * 1e-4 * (step == 20)
            dr.set_grad(optimizer[KEY], mi.Float(gradient.astype(np.float32)))
            before = np.array(optimizer[KEY])
            optimizers.step(optimizer, problem.variables)
            lengths[outlier] = np.linalg.norm(np.delete(np.array(optimizer[KEY]) - before, 7))
    assert 0.8 * lengths[0.0] < lengths[30.0] <= lengths[0.0]


def test_a_gradient_that_grows_is_followed(tmp_path: Path) -> None:
    """What stays ten times larger is no outlier."""
    problem = pbdr.Problem.from_job(write_ball_job(tmp_path))
    optimizer = optimizers.make(problem.job.optimizer, problem.variables)
    for step in range(60):
        dr.set_grad(optimizer[KEY], mi.Float(1e-4 if step < 10 else 1e-3) + dr.zeros(mi.Float, 3 * 162))
        optimizers.step(optimizer, problem.variables)
    mean = np.array(optimizer.state[KEY][3][1])
    assert np.allclose(mean, 1e-3, rtol=0.01)


def test_rates_of_a_mesh_fall_late(tmp_path: Path) -> None:
    """Unless the job says otherwise: the largest moment of uniform steps hardly falls, so they shrink by themselves."""
    file = write_ball_job(tmp_path)

    def factor(step: int, **changes: str) -> float:
        run = _Run(pbdr.Problem.from_job(file, {"steps": "60", **changes}))
        run.step = step
        return run._rate_factors()[KEY]

    assert factor(50) == 1 and factor(55) == pytest.approx(0.1**0.5)
    assert factor(50, **{"parameters.0.uniform": "false"}) == pytest.approx(0.1**0.5)
    assert factor(45, **{"schedule.begin": "0.5"}) == pytest.approx(0.1**0.5)
    assert factor(30, **{"parameters.0.schedule.type": "cosine"}) == pytest.approx(0.55)


# ------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('key = "ball"', 'key = "bal"', "no mesh of the scene is called 'bal'; did you mean 'ball'?"),
        ('key = "ball"', 'key = "bead"', "shape 'bead' is a Sphere, which has no vertices; allowed: ball, box"),
        ('key = "ball"', 'key = "b*d"', "no mesh of the scene is called 'b*d'"),
        ('boundary = "auto"', 'boundary = "none"', "boundary = 'none' leaves out; use integrator 'pbdr' with boundary"),
        ("learning_rate", "learning_rat", "did you mean 'learning_rate'"),
        ("learning_rate = 0.1", "smoothness = -1", "'parameters.0.smoothness' is -1"),
        ("learning_rate = 0.1", 'reparameterization = "large"', "'parameters.0.reparameterization' is 'large'"),
        (
            "learning_rate = 0.1",
            'reparameterization = "identity"\nsmoothness = 3',
            "'smoothness' belongs to 'large_steps' or 'normal_offset'",
        ),
        ("learning_rate = 0.1", "regularization = { laplace = 1 }", "did you mean 'laplacian'?"),
        ("learning_rate = 0.1", "remesh = [{ step = 3 }]", "'parameters.0.remesh.0.edge_length' is missing"),
        (
            "learning_rate = 0.1",
            "remesh = [{ step = 3, edge_length = 1 }, { step = 3, edge_length = 1 }]",
            "the steps of 'remesh' must grow, got [3, 3]",
        ),
        ("learning_rate = 0.1", 'true = "missing.ply"', "missing.ply', which does not exist"),
        ("learning_rate = 0.1", 'true = "front.exr"', "front.exr' cannot be read"),
        ('key = "ball"', f'key = "box"\n{REMESH}', "mesh 'box' cannot be remeshed: its vertex_texcoords would be lost"),
        ('kind = "mesh"', 'kind = "mash"', "'parameters.0.kind' is 'mash', which does not exist; did you mean 'mesh'?"),
    ],
)
def test_bad_input(pbdr_command: Callable, tmp_path: Path, old: str, new: str, words: str) -> None:
    job = write_ball_job(tmp_path)
    assert old in job.read_text()
    job.write_text(job.read_text().replace(old, new))
    outcome = pbdr_command("optimize", job, "--out", tmp_path / "run")
    assert outcome.code == 2 and outcome.stderr.startswith("error: ") and outcome.stderr.count("\n") == 1, outcome
    assert words in outcome.stderr


def test_a_mesh_is_named_once(tmp_path: Path) -> None:
    job = write_ball_job(tmp_path)
    job.write_text(job.read_text() + '\n[[parameters]]\nkey = "ball.vertex_positions"\n')
    with pytest.raises(InputError, match="named twice"):
        pbdr.Problem.from_job(job)


# ----------------------------------------------------------- what is recovered


@pytest.mark.parametrize(
    ("mesh", "share"),
    [
        ("", 0.3),
        ('reparameterization = "normal_offset"\nsmoothness = 5', 0.3),
        ('reparameterization = "identity"\nregularization = { laplacian = 0.02, edge_length = 0.02 }', 0.6),
    ],
)
def test_a_ball_becomes_an_ellipsoid(tmp_path: Path, mesh: str, share: float) -> None:
    job = write_ball_job(tmp_path, f'{mesh}\ntrue = "true.ply"')
    problem = pbdr.Problem.from_job(job, {"steps": "25"})
    start = problem.variables[0].error(problem.variables[0].initial, problem.variables[0].truth)
    result = pbdr.optimize(problem)
    entry = result.parameters[KEY]
    assert entry["unit"] == "scene units" and len(entry["initial"]) == len(entry["true"]) == 3
    assert entry["error"] < share * start
    assert result.loss_final < 0.2 * result.loss_initial
    assert result.meshes["ball"]["triangles"] == 320
    assert result.values["ball.faces"].shape == (960,)


def test_seams_stay_closed(pbdr_command: Callable, tmp_path: Path) -> None:
    """A cube has each corner three times, with a normal and a texture coordinate for each side."""
    job = write_ball_job(tmp_path, "smoothness = 1")
    job.write_text(job.read_text().replace('key = "ball"', 'key = "box"'))
    outcome = pbdr_command("optimize", job, "--out", tmp_path / "run", "--steps", 3)
    assert outcome.code == 0, outcome.stderr
    before = triangles(next(s for s in load_scene(tmp_path / "scene.xml").shapes() if s.id() == "box"))[0]
    after = triangles(next(s for s in load_scene(tmp_path / "run" / "scene").shapes() if s.id() == "box"))[0]
    assert len(before) == 24 and np.abs(after - before).max() > 0.02
    first, point = weld(before)
    assert len(first) == 8
    assert np.allclose(after, after[first][point], atol=1e-6)


def test_the_gradient_agrees_with_finite_differences(tmp_path: Path) -> None:
    """Through smoothing, new normals, shading and silhouettes."""
    problem = pbdr.Problem.from_job(write_ball_job(tmp_path, "smoothness = 2"))
    # A smooth motion, so that differences have little noise
    y = problem.meshes[0].surface.points()[:, 1]
    direction = np.stack([0.3 * y, 1 + y, -0.5 * y], axis=1).ravel().astype(np.float32)
    view, common = problem.views[0], {"sensor": problem.views[0].sensor, "integrator": problem.integrator}

    def loss(latent: mi.Float, spp: int, seed: int) -> mi.Float:
        problem.write_scene({KEY: latent})
        parameters = problem.parameters if dr.grad_enabled(latent) else None
        image = mi.render(problem.scene, parameters, spp=spp, seed=seed, seed_grad=seed + 100, **common)
        return dr.mean(dr.square(image[..., :3] - view.target), axis=None)

    slopes = []
    for seed in range(6):
        latent = dr.zeros(mi.Float, len(direction))
        dr.enable_grad(latent)
        dr.backward(loss(latent, 64, seed))
        slopes.append(np.dot(np.array(dr.grad(latent)), direction))
    h = 0.02
    ahead, behind = (loss(mi.Float(s * direction), 4096, 0).array[0] for s in (h, -h))
    difference = (ahead - behind) / (2 * h)
    noise = np.std(slopes, ddof=1) / np.sqrt(len(slopes))
    assert noise < 0.05 * abs(difference)
    assert abs(np.mean(slopes) - difference) < 0.02 * abs(difference) + 4 * noise


# ------------------------------------------------- remeshing, resuming, export


def test_remeshing_goes_on_and_is_exported(pbdr_command: Callable, tmp_path: Path) -> None:
    job = write_ball_job(tmp_path, REMESH)
    run = tmp_path / "run"
    outcome = pbdr_command("optimize", job, "--out", run)
    assert outcome.code == 0, outcome.stderr
    assert re.search(r"mesh ball: \d+ vertices, \d+ triangles, 0 flipped, 0 degenerate, 0 self-in", outcome.stdout)
    lines = history(run)
    counts = [line["meshes"]["ball"]["vertices"] for line in lines if "meshes" in line]
    assert counts[:2] == [162, 162] and counts[2] > 250
    assert [line["step"] for line in lines if "meshes" in line] == [0, 2, 4]
    assert lines[-1]["loss"] < 0.8 * lines[0]["loss"]
    result = json.loads((run / "result.json").read_text())
    assert result["meshes"]["ball"]["vertices"] == counts[2]
    V, F = recovered(run)
    assert len(V) == counts[2] and len(F) == result["meshes"]["ball"]["triangles"]
    assert np.allclose(np.ptp(V, axis=0), result["parameters"][KEY]["final"], atol=1e-5)
    # The scene, with and without the run's memory of it
    outcome = pbdr_command("export", run, tmp_path / "again")
    assert outcome.code == 0, outcome.stderr
    for scene in (run / "scene", tmp_path / "again"):
        mesh = next(shape for shape in load_scene(scene).shapes() if shape.id() == "ball")
        assert np.allclose(triangles(mesh)[0], V, atol=1e-6) and np.array_equal(triangles(mesh)[1], F)


def test_others_open_the_mesh(pbdr_command: Callable, tmp_path: Path) -> None:
    trimesh = pytest.importorskip("trimesh")
    assert pbdr_command("optimize", write_ball_job(tmp_path), "--out", tmp_path / "run", "--steps", 1).code == 0
    mesh = trimesh.load(tmp_path / "run" / "scene" / "meshes" / "ball.ply", process=False)
    assert mesh.vertices.shape == (162, 3) and mesh.faces.shape == (320, 3) and mesh.is_watertight
    assert np.allclose(mesh.vertices, recovered(tmp_path / "run")[0], atol=1e-6)


def test_smaller_triangles_take_smaller_steps(tmp_path: Path) -> None:
    """A step of one point moves it by the same share of its edges, also after going on from a checkpoint."""
    remesh = (
        "smoothness = 10\nremesh = [{ step = 3, edge_length = 0.2 }, { step = 4, edge_length = 0.1, smoothness = 2 }]"
    )
    (first,) = pbdr.Problem.from_job(write_ball_job(tmp_path, remesh)).meshes
    rates, edges, mesh = [first.variable.learning_rate], [mean_edge(first)], first
    for _ in range(2):
        before = area_of_a_point(mesh)
        mesh, _, factor = mesh.remesh(mi.Float(np.zeros(3 * mesh.surface.point_count)))
        # The derivative of a loss by one point has the size of the surface that belongs to it
        assert factor == pytest.approx(area_of_a_point(mesh) / before, rel=0.05)
        rates.append(mesh.variable.learning_rate)
        edges.append(mean_edge(mesh))
    assert edges[0] > edges[1] > edges[2] and rates[0] == 0.1
    assert rates[1] == pytest.approx(0.1 * edges[1] / edges[0])
    assert rates[2] == pytest.approx(0.1 * edges[2] / edges[0] * 13 / 61)
    assert first.restored(mesh.arrays()).variable.learning_rate == pytest.approx(rates[2])


def area_of_a_point(mesh: MeshUnknown) -> float:
    a, b, c = np.moveaxis(mesh.surface.points()[mesh.surface.triangles], 1, 0)
    return float(np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2 / mesh.surface.point_count)


def mean_edge(mesh: MeshUnknown) -> float:
    points = mesh.surface.points()
    return np.linalg.norm(points[mesh.surface.edges[:, 0]] - points[mesh.surface.edges[:, 1]], axis=1).mean()


def test_resume_around_a_remeshing(pbdr_command: Callable, tmp_path: Path) -> None:
    """A run that stops before the remeshing and after it ends at about the same surface as one that does not."""
    job = write_ball_job(tmp_path, REMESH)
    # No decay, so that fewer steps are the beginning of more
    options = ("--set", "learning_rate_final=1")
    assert pbdr_command("optimize", job, "--out", tmp_path / "whole", *options).code == 0
    stops, saved = (3, 4, 6), []
    for steps in stops:
        resume = ["--resume"] if saved else []
        outcome = pbdr_command("optimize", job, "--out", tmp_path / "parts", "--steps", steps, *resume, *options)
        assert outcome.code == 0, outcome.stderr
        with np.load(tmp_path / "parts" / "checkpoints" / "latest.npz", allow_pickle=False) as content:
            saved.append(dict(content))
    assert len(saved[0]["mesh/ball/faces"]) == 320 and len(saved[1]["mesh/ball/faces"]) > 500
    # Once remeshed, a mesh is not remeshed again, and the optimizer goes on counting
    assert np.array_equal(saved[1]["mesh/ball/faces"], saved[2]["mesh/ball/faces"])
    assert [int(checkpoint[f"state/{KEY}/0.0"].item()) for checkpoint in saved] == list(stops)
    moment = [np.abs(checkpoint[f"state/{KEY}/0.1"]).sum() for checkpoint in saved]
    assert 0.2 * moment[0] < moment[1] < 5 * moment[0]
    # Rounding decides where triangles go
    whole, parts = recovered(tmp_path / "whole"), recovered(tmp_path / "parts")
    assert surface_distance(whole, parts) < 0.02


def test_ctrl_c_while_remeshing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is saved then is the mesh before, with an optimizer that fits."""
    problem, transfer = pbdr.Problem.from_job(write_ball_job(tmp_path, REMESH)), optimizers.transfer

    def stop(*arguments: object) -> None:
        transfer(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(optimizers, "transfer", stop)
    with pytest.raises(KeyboardInterrupt):
        pbdr.optimize(problem, out=tmp_path / "run")
    monkeypatch.undo()
    with np.load(tmp_path / "run" / "checkpoints" / "latest.npz", allow_pickle=False) as content:
        assert len(content["mesh/ball/faces"]) == 320 and content[f"latent/{KEY}"].size == 3 * 162
    result = pbdr.optimize(problem, out=tmp_path / "run", resume=True)
    assert result.steps == 6 and result.meshes["ball"]["vertices"] > 250
    assert [line["step"] for line in history(tmp_path / "run")] == list(range(6))


def test_a_problem_can_be_solved_twice(tmp_path: Path) -> None:
    problem = pbdr.Problem.from_job(write_ball_job(tmp_path, REMESH))
    first, second = pbdr.optimize(problem), pbdr.optimize(problem)
    assert first.meshes["ball"]["vertices"] == second.meshes["ball"]["vertices"] > 250
    assert np.isclose(first.loss_initial, second.loss_initial, rtol=1e-3)


def test_meshes_in_python(tmp_path: Path) -> None:
    write_ball_job(tmp_path)
    scene = load_scene(tmp_path / "scene.xml")
    targets = [np.array(mi.Bitmap(str(tmp_path / f"{name}.exr"))) for name in ("front", "side", "top")]
    problem = pbdr.Problem.from_scene(
        scene,
        {"ball": {"kind": "mesh", "learning_rate": 0.05, "smoothness": 8}},
        targets,
        steps=4,
        spp=4,
        spp_evaluation=16,
        integrator={"type": "pbdr", "max_depth": 2, "boundary": "auto", "hide_emitters": True},
    )
    result = pbdr.optimize(problem, out=tmp_path / "run")
    assert result.loss_final < result.loss_initial
    V, F = recovered(tmp_path / "run")
    assert np.allclose(V.ravel(), result.values[KEY], atol=1e-6)
    assert np.array_equal(F.ravel(), result.values["ball.faces"])
