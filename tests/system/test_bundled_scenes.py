"""The bundled scenes: their files fit together, and their targets are images of the true parameters."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import mitsuba as mi
import numpy as np
import pytest

from pbdr.optimize import Problem
from pbdr.optimize.job import load_job, locate_job
from pbdr.optimize.poses import make_poses
from pbdr.resources import folder, scene_names
from pbdr.scene import load_scene, scene_parameters, select_sensor

NAMES = (
    "cornell_box",
    "envmap_probe",
    "light_from_shadows",
    "material_ball",
    "mural",
    "pose_from_image",
    "shadow_puppet",
    "textured_wall",
)
#: Jobs besides those that bear the name of their scene
MORE_JOBS = ("pose_from_image/job_camera.toml",)
#: XML defaults that put a scene's true images in the place of the uniform ones
TRUE_IMAGES = {
    "envmap_probe": {"sky": "textures/sky.exr"},
    "mural": {"albedo": "textures/albedo.png"},
    "textured_wall": {"albedo": "textures/albedo.png"},
}


def read_job(name: str) -> dict[str, Any]:
    """The job file of a bundled scene, unchecked."""
    return tomllib.loads(locate_job(name).read_text())


def true_scene(name: str) -> mi.Scene:
    """The scene with its true parameters."""
    scene = load_scene(name.split("/")[0], TRUE_IMAGES.get(name))
    if name not in TRUE_IMAGES:
        parameters = scene_parameters(scene)
        for entry in load_job(name).parameters:
            if entry.kind == "value":
                parameters[entry.key] = entry.true
                continue
            for pose in make_poses(parameters, entry, name):
                pose.write({part.key: part.latent(part.truth) for part in pose.parts.values()}, parameters)
        parameters.update()
    return scene


def read_target(name: str, view: dict[str, Any]) -> np.ndarray:
    """The target of one view as linear radiance. [H, W, 3]"""
    path: Path = locate_job(name).parent / view["target"]
    return np.array(mi.Bitmap(str(path)), dtype=np.float64)


def test_these_scenes_are_bundled() -> None:
    assert set(NAMES) <= set(scene_names())


@pytest.mark.parametrize("name", NAMES)
def test_files_fit_together(name: str) -> None:
    job = read_job(name)
    scene = load_scene(name)
    assert [view["sensor"] for view in job["views"]] == [sensor.id() for sensor in scene.sensors()]
    for view in job["views"]:
        target = read_target(name, view)
        width, height = select_sensor(scene, view["sensor"]).film().crop_size()
        assert target.shape == (height, width, 3)
        assert np.isfinite(target).all() and target.min() >= 0
    keys = set(scene_parameters(scene).keys())
    assert {entry["key"] for entry in job["parameters"] if entry.get("kind") != "pose"} <= keys


@pytest.mark.parametrize("name", [*NAMES, *MORE_JOBS])
def test_job_is_valid(name: str) -> None:
    problem = Problem.from_job(name)
    for variable in problem.variables:
        assert variable.truth is not None and variable.truth.shape == variable.initial.shape
        assert not np.allclose(variable.initial, variable.truth)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name == "mural" else []) for name in [*NAMES, *MORE_JOBS]]
)
def test_targets_show_the_true_parameters_and_the_scene_does_not(name: str) -> None:
    guess, truth = load_scene(name.split("/")[0]), true_scene(name)
    for view in read_job(name)["views"]:
        target = read_target(name, view)
        sensor = select_sensor(truth, view["sensor"])
        images = [np.array(mi.render(truth, sensor=sensor, spp=16, seed=seed), np.float64) for seed in range(8)]
        noise = np.std(images, axis=0, ddof=1) / np.sqrt(len(images))
        deviation = np.mean(images, axis=0) - target
        # Fireflies make the ratio of the two averages scatter by about 20 %
        assert np.mean(deviation**2) < 1.5 * np.mean(noise**2)
        first = np.array(mi.render(guess, sensor=select_sensor(guess, view["sensor"]), spp=16), np.float64)
        assert np.mean((first - target) ** 2) > 20 * np.mean(deviation**2)


def test_scenes_are_small() -> None:
    sizes = [path.stat().st_size for name in NAMES for path in (folder("scenes") / name).rglob("*") if path.is_file()]
    # (of which 5.5 MB are the mural: a million texels and as many pixels)
    assert sum(sizes) < 7_000_000
