"""The commands as a person types them, and every sentence that they refuse with."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import mitsuba as mi
import numpy as np
import pytest
import typer

import pbdr
from pbdr.cli import app, doctor, main
from pbdr.errors import InputError, NonFiniteError
from pbdr.variants import cuda_problem

ROOT = Path(__file__).resolve().parents[2]


def test_help_lists_the_commands_without_loading_mitsuba(fresh_python):
    code = "import sys\nfrom pbdr.cli import main\ntry: main(['--help'])\n"
    code += "except SystemExit: print('matplotlib' in sys.modules, 'pbdr.scene' in sys.modules)"
    outcome = fresh_python(code)
    for command in ("doctor", "params", "render", "scenes"):
        assert command in outcome.stdout
    assert outcome.stdout.endswith("False False\n")


def test_version(pbdr_command):
    assert pbdr_command("--version").stdout == f"pbdr {pbdr.__version__}\n"


def test_scenes(pbdr_command):
    outcome = pbdr_command("scenes")
    assert outcome.code == 0
    assert "cornell_box" in outcome.stdout


def test_params_table_and_json(pbdr_command):
    table = pbdr_command("params", "cornell_box")
    assert table.code == 0
    assert "wall_left.brdf_0.reflectance.value" in table.stdout and "moves geometry" in table.stdout
    listed = json.loads(pbdr_command("params", "cornell_box", "--json").stdout)
    alpha = next(entry for entry in listed if entry["key"] == "metal.alpha.value")
    expected = {"type": "Float", "shape": [], "differentiable": True, "discontinuous": False}
    assert expected.items() <= alpha.items()


def test_warnings_of_mitsuba_go_to_stderr(pbdr_command):
    outcome = pbdr_command("params", "cornell_box", "--json", "--variant", "llvm_ad_mono")
    assert json.loads(outcome.stdout)
    assert outcome.stderr.startswith("warning: [HDRFilm] Monochrome mode")
    assert outcome.stderr.count("\n") == 1, "said once, although there are three films"


def test_render_exr(pbdr_command, tmp_path: Path):
    image = tmp_path / "new" / "image.exr"
    outcome = pbdr_command("render", "cornell_box", "-o", image, "-D", "size=16", "--spp", 16, "--seed", 3)
    assert outcome.code == 0, outcome.stderr
    assert "16 × 16 pixels, 16 samples per pixel" in outcome.stdout
    expected = mi.render(mi.load_file(str(ROOT / "scenes" / "cornell_box" / "scene.xml"), size="16"), spp=16, seed=3)
    np.testing.assert_allclose(np.array(mi.Bitmap(str(image))), np.array(expected), rtol=1e-3, atol=1e-4)


def test_render_png_is_srgb(pbdr_command, tmp_path: Path):
    for name in ("image.exr", "image.png"):
        assert pbdr_command("render", "cornell_box", "-o", tmp_path / name, "-D", "size=16", "--spp", 4).code == 0
    linear = np.clip(np.array(mi.Bitmap(str(tmp_path / "image.exr")))[..., :3], 0, 1)
    curved = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    stored = np.array(mi.Bitmap(str(tmp_path / "image.png")))
    assert stored.dtype == np.uint8
    assert np.abs(stored[..., :3] / 255 - curved).max() < 1.5 / 255


def test_render_sets_parameters_and_chooses_integrator_and_sensor(pbdr_command, tmp_path: Path):
    common = ["-D", "size=16", "--spp", 4, "--sensor", "left"]
    dark = tmp_path / "dark.exr"
    black = "panel.emitter.radiance.value=0"
    assert pbdr_command("render", "cornell_box", "-o", dark, "--set", black, *common).code == 0
    assert np.array(mi.Bitmap(str(dark))).max() == 0
    shallow = tmp_path / "shallow.exr"
    outcome = pbdr_command("render", "cornell_box", "-o", shallow, "--integrator", "pbdr:max_depth=1", *common)
    assert outcome.code == 0, outcome.stderr
    image = np.array(mi.Bitmap(str(shallow)))[..., :3]
    assert (image == 0).any() and image.max() <= 5.01


def test_render_takes_numbers_from_files(pbdr_command, tmp_path: Path):
    np.save(tmp_path / "colour.npy", np.zeros(3))
    key = "wall_left.brdf_0.reflectance.value"
    arguments = ["-D", "size=16", "--spp", 1, "--set", f"{key}={tmp_path / 'colour.npy'}"]
    assert pbdr_command("render", "cornell_box", "-o", tmp_path / "a.exr", *arguments).code == 0


def test_values_that_are_not_physical_are_rendered_with_a_warning(pbdr_command, tmp_path: Path):
    arguments = ("render", "cornell_box", "-o", tmp_path / "a.exr", "-D", "size=8", "--spp", 1, "--set")
    assert pbdr_command(*arguments, "metal.alpha.value=0.2").stderr == ""
    outcome = pbdr_command(*arguments, "metal.alpha.value=2")
    assert outcome.code == 0
    assert outcome.stderr == "warning: --set metal.alpha.value: physical values are from 0.001 to 1\n"


def test_a_scene_without_integrator_is_rendered_with_pbdr(pbdr_command, tmp_path: Path):
    scene = tmp_path / "scene.xml"
    scene.write_text('<scene version="3.0.0"><sensor type="perspective"/><emitter type="constant"/></scene>', "utf-8")
    outcome = pbdr_command("render", scene, "-o", tmp_path / "a.exr", "--spp", 1)
    assert outcome.code == 0, outcome.stderr


def test_too_many_channels_for_a_png(pbdr_command, tmp_path: Path):
    arguments = ("render", "cornell_box", "-o", tmp_path / "a.png", "--integrator", "aov:aovs=p:position,n:sh_normal")
    outcome = pbdr_command(*arguments)
    assert outcome.code == 2
    assert "a .png cannot hold the 6 channels" in outcome.stderr


def test_many_samples_are_split_and_averaged(monkeypatch, tmp_path: Path):
    from pbdr.cli import render
    from pbdr.scene import load_scene

    scene = load_scene("cornell_box", {"size": "8"})
    sensor, integrator = scene.sensors()[0], scene.integrator()
    whole = render.render_passes(scene, sensor, integrator, spp=256, seed=1)
    monkeypatch.setattr(render, "_SAMPLES_PER_PASS", 8 * 8 * 16)
    parts = render.render_passes(scene, sensor, integrator, spp=250, seed=1)
    assert abs(parts.mean() - whole.mean()) < 0.05 * whole.mean()


RENDER = ("render", "cornell_box", "-o", "a.png", "-D", "size=8")


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (("render", "cornel_box", "-o", "a.png"), ["'cornel_box' is neither a file", "did you mean 'cornell_box'"]),
        (("render", "no/scene.xml", "-o", "a.png"), ["'no/scene.xml' does not exist"]),
        (("params", "no/scene.xml"), ["'no/scene.xml' does not exist"]),
        (("render", "cornell_box", "-o", "a.jpg"), ["'a.jpg' must have", ".exr, .png"]),
        (("render", "cornell_box", "-o", "a"), ["'a' must have", ".exr, .png"]),
        ((*RENDER, "--sensor", "frnt"), ["no sensor 'frnt'", "did you mean 'front'"]),
        ((*RENDER, "--integrator", "pbrd"), ["no integrator 'pbrd'", "did you mean 'pbdr'"]),
        ((*RENDER, "--integrator", "pbdr:max_depht=3"), ["no property 'max_depht'", "did you mean 'max_depth'"]),
        ((*RENDER, "--set", "metal.alpha=1"), ["is called 'metal.alpha'", "did you mean 'metal.alpha.value'"]),
        ((*RENDER, "--set", "metal.alpha.value"), ["--set needs KEY=VALUE"]),
        ((*RENDER, "--set", "metal.alpha.value=red"), ["'red' is neither a list of numbers nor a file"]),
        ((*RENDER, "--set", "metal.alpha.value=nan"), ["must be finite, got nan"]),
        ((*RENDER, "--set", "block.vertex_positions=1,2,3"), ["'block.vertex_positions' holds 72 numbers, got 3"]),
        ((*RENDER, "--set", "metal.alpha.value=words.npy"), ["'words.npy' holds neither numbers nor an image"]),
        ((*RENDER, "-D", "siz"), ["--define needs NAME=VALUE, got 'siz'"]),
        ((*RENDER, "-D", "size=0"), ["the film of the sensor 'front' has no pixels"]),
        ((*RENDER, "-D", "size=40000"), ["'front' has 40000 × 40000 pixels; allowed: 536870912 altogether"]),
        ((*RENDER, "-D", "size=10000", "--integrator", "pbdr"), ["10000 × 10000 pixels need more than the 'memory_"]),
        (("params", "cornell_box", "-D", "size=-5"), ["hdrfilm", "value -5 is out of bounds"]),
        ((*RENDER, "-D", "siz=3"), ["no <default> parameter 'siz'", "did you mean 'size'"]),
        ((*RENDER, "--variant", "scalar_rgb"), ["'scalar_rgb' cannot differentiate", "llvm_ad_rgb"]),
        ((*RENDER, "--variant", "llvm_rgb"), ["no variant 'llvm_rgb'", "did you mean 'llvm_ad_rgb'"]),
    ],
)
def test_bad_input_is_one_sentence(pbdr_command, monkeypatch, tmp_path: Path, arguments, parts):
    monkeypatch.chdir(tmp_path)
    np.save("words.npy", np.array(["red"]))
    outcome = pbdr_command(*arguments)
    assert outcome.code == 2
    assert outcome.stderr.startswith("error: ") and outcome.stderr.count("\n") == 1
    assert "[" not in outcome.stderr.split("must be in the range")[0], "no place in Mitsuba's source"
    assert [file.name for file in tmp_path.iterdir()] == ["words.npy"]
    for part in parts:
        assert part in outcome.stderr


@pytest.mark.parametrize("command", [("render", "-o", "a.exr"), ("gradient", "-o", "a.exr"), ("check",), ("compare",)])
def test_more_samples_than_mitsuba_can_count(pbdr_command, monkeypatch, tmp_path: Path, command: tuple[str, ...]):
    monkeypatch.chdir(tmp_path)
    param = () if command[0] == "render" else ("--param", "metal.alpha.value")
    out = ("--out", "folder") if command[0] == "compare" else ()
    outcome = pbdr_command(command[0], "cornell_box", *command[1:], *param, *out, "--spp", 999999999999)
    assert outcome.code == 2
    assert "4294967295" in outcome.stderr
    assert not list(tmp_path.iterdir())


def test_malformed_xml_names_file_and_line(pbdr_command, tmp_path: Path):
    scene = tmp_path / "scene.xml"
    scene.write_text('<scene version="3.0.0">\n<shape type="sphere">\n</scene>\n', encoding="utf-8")
    outcome = pbdr_command("render", scene, "-o", tmp_path / "a.png")
    assert outcome.code == 2
    assert outcome.stderr.startswith(f"error: {scene}, line 3: malformed XML: ")


def test_no_emitters(pbdr_command, tmp_path: Path):
    scene = tmp_path / "scene.xml"
    scene.write_text(
        '<scene version="3.0.0"><integrator type="path"/><sensor type="perspective"/><shape type="sphere"/></scene>',
        encoding="utf-8",
    )
    outcome = pbdr_command("render", scene, "-o", tmp_path / "a.png")
    assert outcome.code == 2
    assert "the scene has no emitters" in outcome.stderr
    depth = ("render", scene, "-o", tmp_path / "depth.exr", "--integrator", "depth", "--spp", 1)
    assert pbdr_command(*depth).code == 0


@pytest.mark.skipif(cuda_problem() is None, reason="this machine has a GPU")
def test_unavailable_cuda(pbdr_command, tmp_path: Path):
    outcome = pbdr_command("render", "cornell_box", "-o", tmp_path / "a.png", "--variant", "cuda_ad_rgb")
    assert outcome.code == 2
    assert "error: the variant 'cuda_ad_rgb' cannot run here: " in outcome.stderr


def test_a_folder_in_the_way(pbdr_command, tmp_path: Path):
    (tmp_path / "a.png").mkdir()
    assert "is a folder" in pbdr_command("render", "cornell_box", "-o", tmp_path / "a.png").stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("render", "cornell_box", "-o", "PLACE/a.png"),
        ("gradient", "cornell_box", "--param", "metal.alpha.value", "-o", "PLACE/a.png"),
        ("check", "cornell_box", "--param", "metal.alpha.value", "--json", "PLACE/a.json"),
        ("compare", "cornell_box", "--param", "metal.alpha.value", "--out", "PLACE/a"),
        ("optimize", "cornell_box", "--out", "PLACE/a"),
        ("export", ".", "PLACE/a"),
        ("import-views", "transforms.json", "PLACE/a"),
    ],
    ids=lambda arguments: arguments[0],
)
def test_a_place_where_nothing_can_be_written_is_refused_first(pbdr_command, monkeypatch, tmp_path: Path, arguments):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("mitsuba.render", lambda *arguments, **options: pytest.fail("something was computed"))
    (tmp_path / "file").touch()
    # Not even the superuser can make files in the second one
    for place, sentence in (("file", "cannot be made"), ("/proc/self", "nothing can be written")):
        outcome = pbdr_command(*(text.replace("PLACE", place) for text in arguments))
        assert outcome.code == 2
        assert outcome.stderr.startswith("error: ") and outcome.stderr.count("\n") == 1
        assert sentence in outcome.stderr


def test_an_error_of_the_system_is_one_sentence(monkeypatch, capsys):
    def fail(*arguments: object) -> None:
        raise OSError(28, "No space left on device", "runs/a/history.jsonl")

    monkeypatch.setattr("pbdr.cli.app", fail)
    with pytest.raises(SystemExit) as left:
        main([])
    assert left.value.code == 2
    assert capsys.readouterr().err == "error: 'runs/a/history.jsonl': No space left on device\n"


@pytest.mark.parametrize("option", [("--seed", "-1"), ("--seed", "4294967296"), ("--spp", "0"), ("--spp", "-4")])
def test_numbers_that_no_sampler_takes(pbdr_command, tmp_path: Path, option):
    outcome = pbdr_command("render", "cornell_box", "-o", tmp_path / "a.png", *option)
    assert outcome.code == 2
    assert option[0] in outcome.stderr


def test_help_is_wrapped_by_the_terminal(pbdr_command):
    paragraphs = [command.help for command in app.registered_commands]
    assert paragraphs and not any("\n" in text.replace("\n\n", "") for text in paragraphs)


def test_what_may_go_wrong_is_said_once_on_stderr(capsys):
    from pbdr.cli.optimize import _Display
    from pbdr.optimize.outcome import Step

    with _Display("title", 2, lambda: None, ["light and colour are unknown"]) as display:
        display.show(Step(0, 2, 1.0, 0.1, "", notes=("a spike",)))
        display.show(Step(1, 2, 1.0, 0.1, ""))
    assert capsys.readouterr().err == "note: light and colour are unknown\nstep 0: a spike\n"


def test_a_loss_that_has_risen_is_not_called_lower():
    from pbdr.cli.optimize import _change

    assert _change(3.0, 2.0) == " (1.5 times lower)" and _change(2.0, 3.0) == " (1.5 times higher)"
    assert _change(200.0, 1.0) == " (200 times lower)" and _change(1.0, 0.0) == ""
    assert _change(1.147, 1.134) == " (hardly changed)"


def test_a_narrow_terminal_gets_blocks_in_place_of_a_table(monkeypatch, capsys):
    from rich.console import Console
    from rich.table import Table

    from pbdr.cli import _tables

    def narrow(**options: object) -> Console:
        return Console(width=20, force_terminal=True, color_system=None, **options)

    table = Table("key", "type", "why", "range")
    table.add_row("a.long.key.of.something", "Float", "", "0 … 1")
    monkeypatch.setattr(_tables, "Console", narrow)
    _tables.print_table(table, pipe_width=80)
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert lines == ["a.long.key.of.something", "  type: Float;", "  range: 0 … 1"]


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["rendr"], ["rendr", "render"]),
        (["render", "cornell_box", "-o", "a.png", "--sensr", "1"], ["--sensr", "--sensor"]),
    ],
)
def test_misspelled_commands_and_options(pbdr_command, arguments, parts):
    outcome = pbdr_command(*arguments)
    assert outcome.code == 2
    for part in parts:
        assert part in outcome.stderr


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InputError("wrong"), 2),
        (NonFiniteError("not a number"), 3),
        (KeyboardInterrupt(), 130),
        (OSError(28, "No space left on device"), 2),
        (RuntimeError('[FileStream] "a.exr": I/O error while attempting to write 9 bytes: No space left on device'), 2),
    ],
)
def test_exit_codes(monkeypatch, capsys, error, code: int):
    def fail(*arguments: object) -> None:
        raise error

    monkeypatch.setattr("pbdr.cli.app", fail)
    with pytest.raises(SystemExit) as left:
        main([])
    assert left.value.code == code
    assert "Traceback" not in capsys.readouterr().err


def test_debugging_shows_the_traceback(monkeypatch):
    monkeypatch.setenv("PBDR_DEBUG", "1")
    with pytest.raises(InputError):
        main(["render", "cornel_box", "-o", "a.png"])


def test_doctor(pbdr_command):
    outcome = pbdr_command("doctor")
    assert outcome.code == 0
    assert "libLLVM" in outcome.stdout and "llvm_ad_rgb" in outcome.stdout and mi.__version__ in outcome.stdout


def test_doctor_fails_when_nothing_works(monkeypatch, pbdr_command):
    broken = doctor.Finding("llvm_ad_rgb", "problem", "a first kernel ended the process (SIGABRT)", "get another")
    monkeypatch.setattr(doctor, "_trial", lambda variant, fix: broken)
    outcome = pbdr_command("doctor")
    assert outcome.code == 1
    assert "SIGABRT" in outcome.stdout and "get another" in outcome.stdout


def test_doctor_knows_the_extras():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for extra, packages in doctor._EXTRAS.items():
        assert {requirement.split(">")[0] for requirement in project["optional-dependencies"][extra]} == set(packages)


def test_every_command_has_a_description():
    for command in app.registered_commands:
        assert (command.help or command.callback.__doc__ or "").strip()
    assert isinstance(app, typer.Typer)
