"""The commands gradient, check and compare, from the command line and from Python."""

from __future__ import annotations

import json
from pathlib import Path

import mitsuba as mi
import numpy as np
import pytest

import pbdr.compare

pytestmark = pytest.mark.usefixtures("own_cache")

ABORTING = """
import os
import mitsuba as mi
from mitsuba.python.ad.integrators.prb import PRBIntegrator

class Aborting(PRBIntegrator):
    def render_backward(self, *args, **kwargs):
        os.abort()

mi.register_integrator("aborting", lambda props: Aborting(props))
"""

SLEEPING = """
import time
import mitsuba as mi
from mitsuba.python.ad.integrators.prb import PRBIntegrator

class Sleeping(PRBIntegrator):
    def __init__(self, props):
        self.seconds = props.get("seconds", 0.6)
        super().__init__(props)

    def render_backward(self, *args, **kwargs):
        time.sleep(self.seconds)
        super().render_backward(*args, **kwargs)

mi.register_integrator("sleeping", lambda props: Sleeping(props))
"""


FEW = ("--seeds", "4", "--spp", "16", "--budget", "2")


def test_check_says_consistent_with_exit_code_0(pbdr_command, scene_file, tmp_path):
    file = tmp_path / "rows.json"
    outcome = pbdr_command(
        "check", scene_file, "--param", "floor.*.reflectance.value", "--integrator", "prb", *FEW, "--budget", "6",
        "--json", file,
    )  # fmt: skip
    assert outcome.code == 0, outcome.stdout + outcome.stderr
    assert "consistent" in outcome.stdout
    (row,) = json.loads(file.read_text())["rows"]
    assert row["word"] == "consistent"
    assert row["detectable"] < 0.05
    assert row["transposition"] < 1e-4


def test_check_says_biased_with_exit_code_1(pbdr_command, scene_file):
    outcome = pbdr_command(
        "check", scene_file, "--param", "ball.to_world", "--translate", "1,0,0", "--integrator", "prb", *FEW
    )
    assert outcome.code == 1, outcome.stdout + outcome.stderr
    assert "biased" in outcome.stdout


def test_check_says_inconclusive_with_exit_code_4(pbdr_command, scene_file):
    # Two gradients of one sample each say next to nothing, and there is no time for more
    outcome = pbdr_command(
        "check", scene_file, "--param", "ball.to_world", "--translate", "0,0,1", "--integrator", "pbdr",
        "--seeds", "2", "--spp", "1", "--budget", "0",
    )  # fmt: skip
    assert outcome.code == 4, outcome.stdout + outcome.stderr
    # Which of the two is wanting depends on how many reference samples fit into the time budget
    assert "inconclusive" in outcome.stdout and ("seeds" in outcome.stdout or "more samples" in outcome.stdout)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--param", "floor.bsdf.reflectence.value"), "did you mean 'floor.bsdf.reflectance.value'"),
        (("--param", "floor.bsdf.reflectance.value", "--integrator", "prbb"), "there is no integrator 'prbb'"),
        (("--param", "floor.bsdf.reflectance.value", "--import", "nowhere"), "there is no module 'nowhere'"),
        (("--param", "floor.bsdf.reflectance.value", "--import", "nowhere.py"), "the file does not exist"),
        (("--param", "floor.bsdf.reflectance.value", "--translate", "1,0,0"), "cannot be moved by 'translate'"),
        (("--param", "ball.to_world", "--translate", "1,0"), "three finite numbers"),
        (("--param", "ball.to_world", "--translate", "1,x,0"), "needs comma-separated numbers, got '1,x,0'"),
        (("--translate", "1,0,0"), "need a --param"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(pbdr_command, scene_file, arguments, sentence):
    outcome = pbdr_command("check", scene_file, *arguments)
    assert outcome.code == 2
    assert sentence in outcome.stderr
    assert "Traceback" not in outcome.stderr


def test_a_crash_of_an_isolated_estimator_is_a_row(pbdr_command, scene_file, tmp_path):
    module = tmp_path / "aborting_module.py"
    module.write_text(ABORTING)
    outcome = pbdr_command(
        "compare", scene_file, "--param", "floor.bsdf.reflectance.value", "--import", module, "--isolate",
        "--integrator", "aborting", "--integrator", "prb", *FEW, "--out", tmp_path / "out",
    )  # fmt: skip
    assert outcome.code == 1, outcome.stdout + outcome.stderr
    rows = json.loads((tmp_path / "out" / "results.json").read_text())["rows"]
    assert [row["word"] for row in rows] == ["failed", "consistent"]
    assert rows[0]["reason"] == "the process was killed by SIGABRT"


@pytest.fixture
def sleeping(tmp_path) -> Path:
    module = tmp_path / "sleeping_module.py"
    module.write_text(SLEEPING)
    return module


def test_an_isolated_estimator_that_hangs_is_a_row(pbdr_command, scene_file, sleeping, tmp_path):
    outcome = pbdr_command(
        "compare", scene_file, "--param", "floor.bsdf.reflectance.value", "--import", sleeping, "--isolate",
        "--integrator", "sleeping:seconds=60", "--time-limit", "8", *FEW, "--out", tmp_path / "out",
    )  # fmt: skip
    assert outcome.code == 1, outcome.stdout + outcome.stderr
    (row,) = json.loads((tmp_path / "out" / "results.json").read_text())["rows"]
    assert (row["word"], row["reason"]) == ("failed", "no result after 8 s")


def test_slow_estimators_are_judged_by_their_scalars(pbdr_command, scene_file, sleeping, tmp_path):
    file = tmp_path / "rows.json"
    outcome = pbdr_command(
        "check", scene_file, "--param", "floor.bsdf.reflectance.value", "--import", sleeping,
        "--integrator", "sleeping", *FEW, "--json", file,
    )  # fmt: skip
    assert outcome.code == 0, outcome.stdout + outcome.stderr
    (row,) = json.loads(file.read_text())["rows"]
    assert row["seeds"] == 4 and row["image_bias"] is None and row["transposition"] is None
    assert any("so only scalars are measured" in message for message in row["messages"])


def test_path_lengths_are_stated_by_all_or_none(pbdr_command, scene_file, tmp_path):
    common = ["--param", "floor.bsdf.reflectance.value", *FEW, "--out"]
    shorter = pbdr_command(
        "compare", scene_file, "--integrator", "prb:max_depth=1", "--integrator", "prb", *common, tmp_path / "a"
    )
    rows = json.loads((tmp_path / "a" / "results.json").read_text())["rows"]
    assert shorter.code == 4 and [row["word"] for row in rows] == ["unsupported", "consistent"]
    assert "at most 1 segments, the reference those of at most 2" in rows[0]["reason"]
    # Then the reference has it, too
    both = pbdr_command("compare", scene_file, "--integrator", "prb:max_depth=3", *common, tmp_path / "b")
    rows = json.loads((tmp_path / "b" / "results.json").read_text())["rows"]
    assert both.code == 0 and [row["word"] for row in rows] == ["consistent"]


def test_seeds_are_added_where_they_are_needed(pbdr_command, scene_file, tmp_path):
    file = tmp_path / "rows.json"
    outcome = pbdr_command(
        "check", scene_file, "--param", "floor.bsdf.reflectance.value", "--integrator", "prb",
        "--seeds", "2", "--spp", "4", "--budget", "20", "--json", file,
    )  # fmt: skip
    assert outcome.code == 0, outcome.stdout + outcome.stderr
    (row,) = json.loads(file.read_text())["rows"]
    assert row["seeds"] > 2 and row["detectable"] < 0.05


def test_compare_writes_everything_and_goes_on_where_it_stopped(pbdr_command, tmp_path, scene_file):
    study = tmp_path / "study.toml"
    study.write_text(
        'estimators = ["prb", "path"]\nbaseline = "path"\nseeds = 4\nspp = 16\nbudget = 2\n'
        '[[scenes]]\nscene = "scene.xml"\nparameters = [{key = "floor.bsdf.reflectance.value", component = [0]}]\n'
    )
    out = tmp_path / "out"
    assert pbdr_command("compare", study, "--out", out).code == 0
    results = json.loads((out / "results.json").read_text())
    assert [row["estimator"] for row in results["rows"]] == ["prb", "path"]
    assert results["rows"][1]["efficiency"] == pytest.approx(1)
    assert results["settings"]["baseline"] == "path"
    assert "| `prb` | ✓ consistent |" in (out / "table.md").read_text()
    for name in ("figure.png", "scatter.png"):
        picture = np.array(mi.Bitmap(str(out / name)))
        assert min(picture.shape[:2]) > 200
        assert picture.std() > 5

    # Finished cells are not measured again; a lost one is
    cells = sorted((out / "cells").rglob("*.json"))
    assert len(cells) == 2
    kept, lost = cells
    stamp = kept.stat().st_mtime_ns
    lost.unlink()
    assert pbdr_command("compare", study, "--out", out).code == 0
    assert kept.stat().st_mtime_ns == stamp
    assert lost.is_file()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('estimators = ["prb"]\nseed = 4\n', "there is no key 'seed'; did you mean 'seeds'"),
        ("seeds = 4\n", "the key 'estimators' is missing"),
        ('estimators = ["prb"]\nseeds = 1\n', "'seeds' must be greater than or equal to 2, got 1"),
        ('estimators = ["prb"\n', "malformed TOML"),
        ('estimators = ["prb"]\n', "nothing to compare"),
        ('estimators = ["prb"]\nsuite = "gradient"\n', "did you mean 'gradients'"),
        ('estimators = ["prb"]\nsuite = "gradients"\ncases = "silhouete_welded"\n', "did you mean 'silhouette_welded'"),
        ('estimators = ["prb", "prb"]\nsuite = "gradients"\ncases = "emitter_scale"\n', "'prb' is listed twice"),
        ('estimators = ["prb"]\nbaseline = "path"\nsuite = "gradients"\n', "baseline 'path' is not among"),
        (
            'estimators = ["prb"]\n[[scenes]]\nscene = "scene.xml"\nparameters = [{key = "a", move = [1, 0, 0]}]\n',
            "there is no key 'scenes.0.parameters.0.move'",
        ),
    ],
)
def test_mistakes_in_a_study_are_named(pbdr_command, tmp_path, scene_file, text, sentence):
    study = tmp_path / "study.toml"
    study.write_text(text)
    outcome = pbdr_command("compare", study, "--out", tmp_path / "out")
    assert outcome.code == 2
    assert sentence in outcome.stderr


def test_a_derivative_that_the_scenes_integrator_leaves_out_is_taken_from_pbdr(pbdr_command, scene_file, tmp_path):
    arguments = ("gradient", scene_file, "--param", "ball.to_world", "--translate", "1,0,0", "--spp", "4", "-o")
    images = {}
    for spec in (None, "pbdr", "prb"):
        file = tmp_path / f"{spec}.exr"
        outcome = pbdr_command(*arguments, file, *(("--integrator", spec) if spec else ()))
        assert outcome.code == 0, outcome.stderr
        images[spec] = np.array(mi.Bitmap(str(file)))
        leaves_out = {None: "PathIntegrator leaves out", "prb": "PRBIntegrator leaves out"}
        assert leaves_out.get(spec, "") in outcome.stderr and bool(outcome.stderr) == (spec in leaves_out)
    np.testing.assert_allclose(images[None], images["pbdr"], rtol=1e-3, atol=1e-5)
    assert np.abs(images["pbdr"] - images["prb"]).max() > 0.1


def test_what_a_derivative_leaves_out_is_said_in_one_line(pbdr_command, tmp_path):
    """Of a scene without an integrator, whose camera cuts a box open."""
    file = tmp_path / "cut.xml"
    file.write_text(
        """<scene version="3.0.0">
        <sensor type="perspective" id="camera"><float name="near_clip" value="4"/>
            <transform name="to_world"><lookat origin="0,-4.5,1" target="0,0,0" up="0,0,1"/></transform>
            <film type="hdrfilm"><integer name="width" value="8"/><integer name="height" value="8"/></film>
        </sensor>
        <shape type="cube" id="box"/>
        <emitter type="constant"/>
        </scene>"""
    )
    arguments = ("gradient", file, "--param", "box.vertex_positions", "--spp", "1", "-o", tmp_path / "a.exr")
    cut = "warning: the near clipping plane of sensor 'camera' cuts shape 'box' in view"
    outcome = pbdr_command(*arguments, "--translate", "1,0,0")
    assert outcome.code == 0, outcome.stderr
    (line,) = outcome.stderr.splitlines()
    assert line.startswith(cut)
    crack, line = pbdr_command(*arguments, "--component", "3").stderr.splitlines()
    assert crack.startswith("warning: 'box.vertex_positions[3]' moves vertices apart") and line.startswith(cut)


def test_gradient_takes_a_sensors_id_and_any_path_length(pbdr_command, scene_file, tmp_path):
    arguments = (
        "gradient",
        scene_file,
        "--param",
        "floor.bsdf.reflectance.value",
        "--spp",
        "1",
        "-o",
        tmp_path / "a.exr",
    )
    assert pbdr_command(*arguments, "--sensor", "camera", "--integrator", "prb:max_depth=3").code == 0
    assert "did you mean 'camera'" in pbdr_command(*arguments, "--sensor", "camra").stderr
    outcome = pbdr_command(*arguments, "--integrator", "depth")
    assert outcome.code == 2
    assert "the image does not depend on 'floor.bsdf.reflectance.value' (depth)" in outcome.stderr


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((), "needs at least one --param"),
        (("--param", "*film*"), "no parameter that '*film*' matches is differentiable"),
        (("--param", "floor.bsdf.reflectance.value", "--sensor", "camra"), "did you mean 'camera'"),
    ],
)
def test_check_refuses(pbdr_command, scene_file, arguments, sentence):
    outcome = pbdr_command("check", scene_file, *arguments)
    assert outcome.code == 2
    assert sentence in outcome.stderr


def test_a_scene_without_light_has_no_gradient(pbdr_command, tmp_path):
    scene = tmp_path / "dark.xml"
    ball = '<shape type="sphere" id="ball"><bsdf type="diffuse"/></shape>'
    scene.write_text(f'<scene version="3.0.0"><integrator type="path"/><sensor type="perspective"/>{ball}</scene>')
    key = "ball.bsdf.reflectance.value"
    for command in (("check", scene), ("gradient", scene, "--spp", 1, "-o", tmp_path / "a.png")):
        outcome = pbdr_command(*command, "--param", key)
        assert outcome.code == 2 and "the scene has no emitters" in outcome.stderr


def test_check_of_a_glob_leaves_out_what_has_no_derivative(scene_file):
    from pbdr.cli.check import _matching
    from pbdr.scene import load_scene

    scene = load_scene(scene_file)
    assert _matching(scene, "floor*") == ["floor.bsdf.reflectance.value", "floor.to_world"]
    assert _matching(scene, "camera.film.size") == ["camera.film.size"], "refused later, with its reason"


def test_gradient_images(pbdr_command, scene_file, tmp_path):
    numbers, picture = tmp_path / "gradient.exr", tmp_path / "gradient.png"
    arguments = ("gradient", scene_file, "--param", "floor.bsdf.reflectance.value", "--component", "1", "--spp", "16")
    assert pbdr_command(*arguments, "-o", numbers).code == 0
    image = np.array(mi.Bitmap(str(numbers)))
    assert image.shape == (24, 24, 3)
    assert image[..., 1].max() > 0.1
    assert not image[..., 0].any()
    # Forward mode and finite differences draw the same picture
    truth = tmp_path / "truth.exr"
    assert pbdr_command(*arguments, "--integrator", "differences", "-o", truth).code == 0
    assert np.array(mi.Bitmap(str(truth)))[..., 1].sum() == pytest.approx(image[..., 1].sum(), rel=0.02)

    moved = ("gradient", scene_file, "--param", "ball.to_world", "--rotate", "0,0,1", "--spp", "4", "-o", picture)
    assert pbdr_command(*moved, "--integrator", "differences").code == 0
    assert np.array(mi.Bitmap(str(picture))).shape[0] > 300


def test_the_python_function(scene_file):
    result = pbdr.compare(str(scene_file), "floor.bsdf.reflectance.value", ["prb"], seeds=4, spp=16, budget=2)
    (row,) = result.rows
    assert row.word == "consistent"
    assert result.exit_code == 0
    assert result.to_dict()["rows"][0]["case"] == row.case
    assert row.case.endswith("floor.bsdf.reflectance.value random 0")
    assert json.loads(result.to_json())["settings"]["seeds"] == 4
    assert "✓ consistent" in result.to_markdown()
    assert len(result.figure().axes) > 3
    assert pbdr.compare.references.central_differences is pbdr.compare.central_differences


def test_check_keeps_roughness_within_its_bounds(pbdr_command, tmp_path, scene_file):
    text = scene_file.read_text().replace(
        '<shape type="sphere" id="ball">', '<shape type="sphere" id="ball">{material}'
    )
    material = '<bsdf type="roughconductor"><float name="alpha" value="{}"/></bsdf>'
    file = tmp_path / "metal.xml"
    file.write_text(text.format(material=material.format(0.001)))
    arguments = ("check", file, "--param", "ball.bsdf.alpha.value", "--integrator", "prb", *FEW)
    outcome = pbdr_command(*arguments, "--step", "0.01")
    assert outcome.code == 2
    assert (
        "'ball.bsdf.alpha.value' cannot be perturbed by 0.01: it would leave its bounds, 0.001 to 1" in outcome.stderr
    )
    file.write_text(text.format(material=material.format(0.3)))
    outcome = pbdr_command(*arguments, "--step", "0.5")
    assert outcome.code == 2


def test_check_of_a_job_takes_its_parameters_and_integrator(pbdr_command, tmp_path, scene_file):
    job = tmp_path / "job.toml"
    job.write_text(
        'scene = "scene.xml"\n[integrator]\ntype = "path_taped"\nmax_depth = 2\n'
        '[[views]]\nsensor = "camera"\ntarget = "target.exr"\n'
        '[[parameters]]\nkey = "floor.bsdf.reflectance.value"\n[[parameters]]\nkey = "*.intensity.value"\n'
    )
    file = tmp_path / "rows.json"
    outcome = pbdr_command("check", job, *FEW, "--json", file)
    assert outcome.code == 0, outcome.stdout + outcome.stderr
    rows = json.loads(file.read_text())["rows"]
    assert [row["estimator"] for row in rows] == ["path_taped:max_depth=2"] * 2
    assert "floor.bsdf.reflectance.value" in rows[0]["case"]
    assert "intensity.value" in rows[1]["case"]


def test_check_of_a_pose_takes_a_motion_of_each_kind(pbdr_command, tmp_path, scene_file):
    scene_file.write_text(
        scene_file.read_text().replace('"point"><point name="position"', '"point" id="lamp"><point name="position"')
    )
    job = tmp_path / "job.toml"
    job.write_text(
        'scene = "scene.xml"\n[integrator]\ntype = "path_taped"\nmax_depth = 2\n'
        '[[views]]\nsensor = "camera"\ntarget = "target.exr"\n'
        '[[parameters]]\nkey = "lamp"\ntranslation = {}\n'
    )
    file = tmp_path / "rows.json"
    pbdr_command("check", job, *FEW, "--json", file)
    rows = json.loads(file.read_text())["rows"]
    assert [row["case"].split(" ", 1)[1] for row in rows] == ["lamp.position translate 1,1,1"]
