"""Runs that recover poses of shapes, instances, sensors and lights."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import mitsuba as mi
import numpy as np
import pytest

from pbdr.errors import InputError
from pbdr.optimize import Problem
from pbdr.optimize.loop import optimize
from pbdr.optimize.record import read_checkpoint
from pbdr.optimize.rotations import vector_matrix
from pbdr.resources import folder
from pbdr.scene import load_scene, scene_parameters
from pbdr.scene_parameters import numbers

from ..tiny import write_image, write_scene

_PLAIN_VALUES = """
import sys
import mitsuba as mi
import numpy as np
mi.set_variant("llvm_ad_rgb")
parameters = mi.traverse(mi.load_file(sys.argv[1], optimize=False))
values = {"box": parameters["box.vertex_positions"], "camera": parameters["camera.to_world"].matrix}
np.savez(sys.argv[2], **{name: np.array(value) for name, value in values.items()})
assert "pbdr" not in sys.modules
"""

_JOB = """scene = "scene.xml"
spp = 16
spp_evaluation = 256
steps = 40
loss = "l2"

[integrator]
type = "pbdr"
boundary = "silhouettes"
max_depth = 2

[[views]]
target = "target.exr"

[[parameters]]
kind = "pose"
key = "box"
rotation = {{ learning_rate = 1.0, true = [0, 0, 10] }}
translation = {{ learning_rate = 0.02, true = [0.2, 0.1, 0] }}
{extra}

[output]
image_every = 0
checkpoint_seconds = 0.001
"""


CAMERA = '[[parameters]]\nkind = "pose"\nkey = "camera"\ntranslation = { initial = [0.01, 0, 0] }'


def write_job(folder: Path, extra: str = "") -> Path:
    """A diffuse box whose target shows it displaced."""
    file = write_scene(folder)
    metal = '<bsdf type="roughconductor"><float name="alpha" value="0.3"/></bsdf>'
    file.write_text(file.read_text().replace(metal, '<bsdf type="diffuse"/>'))
    write_image(folder / "target.exr")
    (folder / "job.toml").write_text(_JOB.format(extra=extra))
    problem = Problem.from_job(folder / "job.toml")
    for pose in problem.poses:
        pose.write(
            {p.key: p.latent(p.initial if p.truth is None else p.truth) for p in pose.parts.values()},
            problem.parameters,
        )
    problem.parameters.update()
    image = mi.render(problem.scene, spp=1024, integrator=mi.load_dict({"type": "path", "max_depth": 2}))
    mi.Bitmap(image).write(str(folder / "target.exr"))
    return folder / "job.toml"


def test_a_run(tmp_path: Path, pbdr_command: Callable) -> None:
    job, run = write_job(tmp_path), tmp_path / "run"
    outcome = pbdr_command("optimize", job, "--out", run)
    assert outcome.code == 0, outcome.stderr
    assert "box.translation (scene units)" in outcome.stdout
    result = json.loads((run / "result.json").read_text())
    assert result["loss_final"] < 0.2 * result["loss_initial"]
    assert result["parameters"]["box.translation"]["error"] < 0.05
    assert result["parameters"]["box.rotation"]["unit"] == "degrees"
    line = json.loads((run / "history.jsonl").read_text().splitlines()[-1])
    assert line["parameters"]["box.rotation"] == result["parameters"]["box.rotation"]["final"]
    # The scene of the run holds the pose that the result states
    rotation, translation = (np.array(result["parameters"][f"box.{p}"]["final"]) for p in ("rotation", "translation"))
    start = numbers(scene_parameters(load_scene(tmp_path / "scene.xml"))["box.vertex_positions"]).reshape(-1, 3)
    center = start.mean(axis=0)
    expected = (start - center) @ vector_matrix(rotation).T + center + translation
    found = numbers(scene_parameters(load_scene(run / "scene"))["box.vertex_positions"]).reshape(-1, 3)
    assert np.allclose(found, expected, atol=1e-4)


def test_stopping_and_going_on(tmp_path: Path) -> None:
    sky = np.random.default_rng(2).uniform(0, 1, (4, 8, 3)).astype(np.float32)
    mi.Bitmap(sky).write(str(tmp_path / "sky.exr"))
    file = write_scene(tmp_path, emitter="")
    lit = '<emitter type="envmap" id="sky"><string name="filename" value="sky.exr"/></emitter></scene>'
    file.write_text(file.read_text().replace("</scene>", lit))
    write_image(tmp_path / "target.exr")
    entry = '{ kind = "pose", key = "sky", rotation = { representation = "6d", initial = [0, 20, 0] } }'
    job = tmp_path / "job.toml"
    job.write_text(
        f'scene = "scene.xml"\nspp = 4\nsteps = 4\nlearning_rate_final = 1.0\nparameters = [{entry}]\n'
        '[[views]]\ntarget = "target.exr"\n'
    )
    straight = optimize(Problem.from_job(job)).values["sky.rotation"]
    optimize(Problem.from_job(job), steps=2, out=tmp_path / "run")
    resumed = optimize(Problem.from_job(job), out=tmp_path / "run", resume=True).values["sky.rotation"]
    assert np.allclose(resumed, straight, atol=1e-3)
    assert np.abs(straight - [0, 20, 0]).max() > 0.5


def test_exported_poses_load_without_pbdr(tmp_path: Path, pbdr_command: Callable, fresh_python: Callable) -> None:
    job, run = write_job(tmp_path, CAMERA), tmp_path / "run"
    assert pbdr_command("optimize", job, "--out", run, "--steps", "2").code == 0
    outcome = pbdr_command("export", run, tmp_path / "exported")
    assert outcome.code == 0, outcome.stderr
    done = fresh_python(_PLAIN_VALUES, str(tmp_path / "exported" / "scene.xml"), str(tmp_path / "values.npz"))
    assert done.code == 0, done.stderr
    found = np.load(tmp_path / "values.npz")
    _, arrays = read_checkpoint(run / "checkpoints" / "latest.npz")
    assert np.allclose(found["box"], arrays["value/box.vertex_positions"], atol=1e-5)
    assert np.allclose(found["camera"].reshape(4, 4), arrays["value/camera.to_world"], atol=1e-5)
    assert found["camera"].reshape(4, 4)[0, 3] != 0


@pytest.mark.parametrize(
    ("key", "change"),
    [
        ("camera.x_fov", 2.0),
        ("camera.principal_point_offset_x", 0.05),
        ("bulb.position", 0.5),
    ],
)
def test_intrinsics_and_point_lights(tmp_path: Path, key: str, change: float) -> None:
    file = write_scene(tmp_path, emitter="")
    light = '<emitter type="point" id="bulb"><point name="position" x="0.5" y="1" z="2"/></emitter></scene>'
    file.write_text(file.read_text().replace("</scene>", light))
    truth = load_scene(file)
    parameters = scene_parameters(truth)
    true = numbers(parameters[key]) + change
    parameters[key] = type(parameters[key])(*true.ravel().tolist())
    parameters.update()
    integrator = {"type": "pbdr", "boundary": "silhouettes", "max_depth": 2}
    target = np.array(mi.render(truth, spp=256, integrator=mi.load_dict(integrator)))
    entries = {key: {"learning_rate": 0.1 * change, "true": true.ravel().tolist()}}
    settings = {"integrator": integrator, "steps": 16, "loss": "l2", "spp": 16}
    result = optimize(Problem.from_scene(load_scene(file), entries, [target], **settings))
    assert result.parameters[key]["error"] < 0.5 * change


_INSTANCE = """<scene version="3.0.0">
    <sensor type="perspective" id="camera"><float name="fov" value="40"/>
        <transform name="to_world"><lookat origin="0, 0.5, 4" target="0, 0, 0" up="0, 1, 0"/></transform>
        <film type="hdrfilm"><integer name="width" value="24"/><integer name="height" value="24"/>
            <string name="pixel_format" value="rgb"/></film></sensor>
    <emitter type="constant"/>
    <shape type="shapegroup" id="group"><shape type="cube"/></shape>
    <shape type="instance" id="copy"><ref id="group"/>
        <transform name="to_world"><rotate y="1" angle="30"/><scale value="0.4"/><translate x="0.2"/></transform>
    </shape>
</scene>"""


def test_the_pose_of_an_instance(tmp_path: Path) -> None:
    """It is recovered and written, although Mitsuba marks an instance's transform as not differentiable."""
    file = tmp_path / "scene.xml"
    file.write_text(_INSTANCE)
    integrator = {"type": "pbdr", "max_depth": 2, "hide_emitters": True}
    target = np.array(mi.render(load_scene(file), spp=512, integrator=mi.load_dict(integrator)))
    file.write_text(_INSTANCE.replace('<translate x="0.2"/>', ""))
    true = {"true": [0.2, 0, 0], "bounds": [[-1, 0, 0], [1, 0, 0]]}
    settings = {"optimizer": "levenberg_marquardt", "steps": 6, "spp": 32, "loss": "l2"}
    problem = Problem.from_scene(file, {"copy": {"translation": true}}, [target], integrator=integrator, **settings)
    result = optimize(problem, out=tmp_path / "run")
    assert result.parameters["copy.translation"]["error"] < 0.005
    written = scene_parameters(load_scene(tmp_path / "run" / "scene"))["copy.to_world"]
    assert np.allclose(numbers(written)[:3, 3], [result.values["copy.translation"][0], 0, 0], atol=1e-5)
    with pytest.raises(InputError, match="moves visibility, whose derivative PRBIntegrator leaves out"):
        Problem.from_scene(file, {"copy": {"translation": {}}}, [target], integrator="prb")
    with pytest.raises(InputError, match="use integrator 'pbdr'"):
        Problem.from_scene(file, {"copy": {"translation": {}}}, [target], integrator="prb_projective")


def test_the_rotation_of_a_sky(tmp_path: Path) -> None:
    sky = np.tile(np.linspace(0.2, 1, 16, dtype=np.float32)[None, :, None], (8, 1, 3))
    sky[2:4, 3:5] = 6

    def scene(angle: float) -> mi.Scene:
        camera = {"type": "perspective", "fov": 40, "film": {"type": "hdrfilm", "width": 16, "height": 16}}
        camera["to_world"] = mi.ScalarTransform4f().look_at([0, 0.5, 4], [0, 0, 0], [0, 1, 0])
        turned = mi.ScalarTransform4f().rotate([0, 1, 0], angle)
        light = {"type": "envmap", "id": "sky", "bitmap": mi.Bitmap(sky), "to_world": turned}
        ball = {"type": "sphere", "bsdf": {"type": "roughplastic", "alpha": 0.2}}
        return mi.load_dict({"type": "scene", "camera": camera, "sky": light, "ball": ball}, optimize=False)

    integrator = {"type": "pbdr", "max_depth": 2, "hide_emitters": True}
    target = np.array(mi.render(scene(20), spp=1024, integrator=mi.load_dict(integrator)))
    turn = {"true": [0, 20, 0], "bounds": [[0, -90, 0], [0, 90, 0]]}
    settings = {"optimizer": "levenberg_marquardt", "steps": 8, "spp": 64, "loss": "l2"}
    result = optimize(
        Problem.from_scene(scene(0), {"sky": {"rotation": turn}}, [target], integrator=integrator, **settings)
    )
    assert result.parameters["sky.rotation"]["error"] < 1.5


def test_the_second_job_of_a_bundled_scene(pbdr_command: Callable, tmp_path: Path) -> None:
    assert Problem.from_job("pose_from_image/job_camera.toml").variables[0].key == "front.rotation"
    assert (folder("scenes") / "pose_from_image" / "job_camera.toml").is_file()
