"""Poses of shapes, sensors and lights in jobs and problems."""

from __future__ import annotations

from pathlib import Path

import drjit as dr
import mitsuba as mi
import numpy as np
import pytest

from pbdr.errors import InputError
from pbdr.optimize import Problem
from pbdr.optimize.job import check_job
from pbdr.optimize.poses import Pose, make_poses
from pbdr.optimize.rotations import vector_matrix
from pbdr.scene import load_scene, scene_parameters
from pbdr.scene_parameters import numbers

from ..tiny import write_scene

MOTION = {
    "rotation": {"initial": [20, -30, 40]},
    "translation": {"initial": [0.3, -0.2, 0.1]},
    "scale": {"initial": 1.3},
}

_LIGHTS = """
    <emitter type="point" id="bulb"><point name="position" x="0.5" y="1" z="2"/></emitter>
    <emitter type="directional" id="sun"><vector name="direction" x="0" y="-1" z="-1"/></emitter>
    <emitter type="spot" id="spot">
        <transform name="to_world"><lookat origin="1, 1, 3" target="0, 0, 0" up="0, 1, 0"/></transform>
    </emitter>
    <shape type="sphere" id="ball"><point name="center" x="-1" y="0" z="0"/><float name="radius" value="0.3"/></shape>
</scene>"""


@pytest.fixture
def scene(tmp_path: Path) -> mi.Scene:
    """The tiny scene with lights of every kind and a ball."""
    lamp = '<emitter type="area" id="glow"><rgb name="radiance" value="4"/></emitter>'
    file = write_scene(tmp_path, emitter=lamp)
    file.write_text(file.read_text().replace("</scene>", _LIGHTS))
    return load_scene(file)


def poses_of(scene: mi.Scene, **entry: object) -> list[Pose]:
    """Poses that an entry of a job means."""
    job = check_job({"scene": "", "views": [{"target": ""}], "parameters": [{"kind": "pose", **entry}]})
    return make_poses(scene_parameters(scene), job.parameters[0], "parameters.0")


def moved(points: np.ndarray, pivot: np.ndarray) -> np.ndarray:
    """Where ``MOTION`` takes points. [N, 3]"""
    matrix = MOTION["scale"]["initial"] * vector_matrix(np.array(MOTION["rotation"]["initial"]))
    return (points - pivot) @ matrix.T + pivot + MOTION["translation"]["initial"]


def write(pose: Pose, scene: mi.Scene) -> mi.SceneParameters:
    """Give a pose its initial values."""
    parameters = scene_parameters(scene)
    pose.write({part.key: part.latent(part.initial) for part in pose.parts.values()}, parameters)
    parameters.update()
    return parameters


# -------------------------------------------------------------------- what a pose does


@pytest.mark.parametrize("key", ["box", "wall", "lamp", "glow", "ball", "camera", "bulb", "spot"])
def test_the_initial_pose_is_that_of_the_file(scene: mi.Scene, key: str) -> None:
    before = {name: numbers(value) for name, value in scene_parameters(scene)}
    (pose,) = poses_of(scene, key=key)
    after = write(pose, scene)
    for name, value in before.items():
        if value is not None:
            np.testing.assert_allclose(numbers(after[name]), value, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("pivot", [None, [0.5, -0.5, 2.0]])
def test_meshes_move_with_their_normals(scene: mi.Scene, pivot: list | None) -> None:
    before = {k: numbers(scene_parameters(scene)[f"box.vertex_{k}"]).reshape(-1, 3) for k in ("positions", "normals")}
    (pose,) = poses_of(scene, key="box", pivot=pivot, **MOTION)
    after = write(pose, scene)
    center = before["positions"].mean(axis=0) if pivot is None else np.array(pivot)
    expected = moved(before["positions"], center)
    assert np.allclose(numbers(after["box.vertex_positions"]).reshape(-1, 3), expected, atol=1e-5)
    turned = before["normals"] @ vector_matrix(np.array(MOTION["rotation"]["initial"])).T
    assert np.allclose(numbers(after["box.vertex_normals"]).reshape(-1, 3), turned, atol=1e-5)


@pytest.mark.parametrize("key", ["wall", "ball"])
def test_shapes_with_a_transform_move(scene: mi.Scene, key: str) -> None:
    before = numbers(scene_parameters(scene)[f"{key}.to_world"])
    (pose,) = poses_of(scene, key=key, **MOTION)
    after = numbers(write(pose, scene)[f"{key}.to_world"])
    points = np.random.default_rng(3).normal(size=(5, 3))
    here, there = (points @ m[:3, :3].T + m[:3, 3] for m in (before, after))
    assert np.allclose(there, moved(here, before[:3, 3]), atol=1e-5)


def test_cameras_turn_around_themselves(scene: mi.Scene) -> None:
    before = numbers(scene_parameters(scene)["camera.to_world"])
    (pose,) = poses_of(scene, key="camera", rotation=MOTION["rotation"], translation=MOTION["translation"])
    after = numbers(write(pose, scene)["camera.to_world"])
    assert np.allclose(after[:3, 3], before[:3, 3] + MOTION["translation"]["initial"], atol=1e-6)
    turned = vector_matrix(np.array(MOTION["rotation"]["initial"])) @ before[:3, :3]
    assert np.allclose(after[:3, :3], turned, atol=1e-6)


def test_a_pose_written_twice_counts_twice(scene: mi.Scene) -> None:
    (pose,) = poses_of(scene, key="box")
    parameters = scene_parameters(scene)
    latents = {part.key: part.latent(part.initial) for part in pose.parts.values()}
    for latent in latents.values():
        dr.enable_grad(latent)
    for count in (1, 2):
        pose.write(latents, parameters)
        parameters.update()
        dr.backward(dr.sum(parameters["box.vertex_positions"]))
        assert np.allclose(latents["box.translation"].grad, count * 24)


def test_six_numbers_are_reported_as_a_rotation_vector(scene: mi.Scene) -> None:
    (pose,) = poses_of(scene, key="box", rotation={"initial": [0, 0, 200], "representation": "6d"})
    variable = pose.parts["rotation"]
    latent = variable.latent(variable.initial)
    assert len(latent) == 6 and variable.values(latent) == pytest.approx([0, 0, -160], abs=1e-4)
    assert variable.project(latent) is latent


def test_bounds_hold_axes(scene: mi.Scene) -> None:
    (pose,) = poses_of(scene, key="lamp", translation={"bounds": [[-1, 0, -1], [1, 0, 1]]})
    projected = pose.parts["translation"].project(mi.Float(3, 3, -0.5))
    assert np.array(projected).tolist() == [1, 0, -0.5]


def test_a_glob_means_several_objects(scene: mi.Scene) -> None:
    poses = poses_of(scene, key="b*", translation={})
    assert [pose.place for pose in poses] == ["box.vertex_positions", "bulb.position", "ball.to_world"]


@pytest.mark.parametrize(
    ("key", "parts"),
    [("box", ["rotation", "translation"]), ("ball", ["translation"]), ("bulb", ["translation"]), ("sun", ["rotation"])],
)
def test_parts_without_effect_are_not_optimized(scene: mi.Scene, key: str, parts: list[str]) -> None:
    assert list(poses_of(scene, key=key)[0].parts) == parts


# -------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"key": "bxo"}, "no shape, sensor or light of the scene is called 'bxo'; did you mean 'box'"),
        ({"key": "bulb", "rotation": {}}, "a PointLight has no 'rotation'; allowed: translation"),
        ({"key": "sun", "translation": {}}, "a DirectionalEmitter has no 'translation'; allowed: rotation"),
        ({"key": "camera", "scale": {}}, "has no 'scale'; allowed: rotation, translation"),
        ({"key": "box", "translation": {"bounds": [1, 0]}}, "'bounds' of 'translation' must be [lowest, highest]"),
        ({"key": "box", "translation": {"bounds": [1, 2]}}, "'initial' of 'translation' is [0.0, 0.0, 0.0]"),
        ({"key": "box", "scale": {"bounds": [-1, 2]}}, "'bounds' of 'scale' must be [lowest, highest] and at least 0"),
        ({"key": "box", "rotation": {"representation": "6d", "bounds": [-1, 2]}}, "'6d' take no bounds"),
        ({"key": "box", "rotation": {"representation": "7d"}}, "'parameters.0.rotation.representation' is '7d'"),
        ({"key": "box", "rotation": {"initial": [1, 2]}}, "parameters.0.rotation.initial"),
        ({"key": "box", "rotation": {"initail": [1, 2, 3]}}, "did you mean 'initial'"),
        ({"key": "box", "rotatoin": {}}, "there is no entry 'parameters.0.rotatoin'; did you mean 'rotation'"),
        ({"key": "box", "kind": "posse"}, "'parameters.0.kind' is 'posse', which does not exist; did you mean 'pose'"),
        ({"key": "box", "scale": {"initial": 0}}, "'parameters.0.scale.initial' is 0"),
    ],
)
def test_refusals(scene: mi.Scene, entry: dict, words: str) -> None:
    with pytest.raises(InputError) as refusal:
        poses_of(scene, **entry)
    assert words in str(refusal.value)


def test_the_kind_follows_from_the_parts() -> None:
    entry = {"key": "box", "translation": {}}
    job = check_job({"scene": "", "views": [{"target": ""}], "parameters": [entry, {"key": "x", "initial": 1.0}]})
    assert [parameter.kind for parameter in job.parameters] == ["pose", "value"]


def test_integrators_without_boundary_term_are_refused(scene: mi.Scene) -> None:
    target = np.zeros((16, 16, 3))
    with pytest.raises(InputError, match=r"parameters\.0: .*'box\.vertex_positions' moves visibility"):
        Problem.from_scene(scene, {"box": {"kind": "pose"}}, [target], integrator={"type": "pbdr", "boundary": "none"})


def test_a_place_is_recovered_once(scene: mi.Scene) -> None:
    entries = {"glow": {"kind": "pose", "translation": {}}, "lamp": {"kind": "pose", "rotation": {}}}
    with pytest.raises(InputError, match=r"'lamp\.to_world' is named twice"):
        Problem.from_scene(
            scene, entries, [np.zeros((16, 16, 3))], integrator={"type": "pbdr", "boundary": "silhouettes"}
        )


def test_transforms_point_to_poses(scene: mi.Scene) -> None:
    with pytest.raises(InputError, match="kind = 'pose' recovers it"):
        Problem.from_scene(
            scene,
            ["camera.to_world"],
            [np.zeros((16, 16, 3))],
            integrator={"type": "pbdr", "boundary": "silhouettes"},
        )
