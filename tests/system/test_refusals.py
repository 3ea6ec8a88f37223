"""What jobs may not ask for: one sentence, before anything is rendered."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import mitsuba as mi
import numpy as np
import pytest

import pbdr
from pbdr.errors import InputError

from ..tiny import VERTICES, WALL, line_of, write_image, write_job, write_scene

SILHOUETTES = ("--set", "integrator.boundary=silhouettes")


def test_unknown_parameter(refused: Callable, tmp_path: Path) -> None:
    job = write_job(tmp_path)
    said = refused(job, "--set", "parameters.0.key=wall.bsdf.reflectence.value")
    assert "parameters.0" in said and f"did you mean '{WALL}'" in said


@pytest.mark.parametrize("key", ["wal.*.value", "wall.bsdf.reflectence.dat*", "*.reflectance.data", "data/*"])
def test_glob_without_match(refused: Callable, tmp_path: Path, key: str) -> None:
    said = refused(write_job(tmp_path), "--set", f"parameters.0.key={key}")
    assert f"parameters.0: no parameter of the scene matches '{key}'" in said
    if key != "data/*":
        assert f"did you mean '{WALL}'" in said


def test_parameter_named_twice(refused: Callable, tmp_path: Path) -> None:
    assert "named twice" in refused(write_job(tmp_path), "--set", "parameters.1.key=*.reflectance.value")


def test_misspelled_entry(refused: Callable, tmp_path: Path) -> None:
    job = write_job(tmp_path, old="initial = 0.2", new="intial = 0.2")
    said = refused(job)
    assert f"{job}, line {line_of(job, 'intial')}" in said and "did you mean 'initial'" in said


def test_malformed_toml(refused: Callable, tmp_path: Path) -> None:
    job = write_job(tmp_path, old="steps = 6", new="steps = ")
    said = refused(job)
    assert str(job) in said and f"line {line_of(job, 'steps')}" in said


def test_missing_job(refused: Callable, tmp_path: Path) -> None:
    assert "did you mean 'cornell_box'" in refused("cornel_box")
    assert "has no job.toml" in refused(tmp_path)


def test_missing_scene(refused: Callable, tmp_path: Path) -> None:
    said = refused(write_job(tmp_path), "--set", "scene=scenne.xml")
    assert str(tmp_path / "scenne.xml") in said and "scene.xml" in said


def test_malformed_scene(refused: Callable, tmp_path: Path) -> None:
    job = write_job(tmp_path)
    (tmp_path / "scene.xml").write_text('<scene version="3.0.0">\n<sensor type="perspective">\n</scene>\n')
    said = refused(job)
    assert str(tmp_path / "scene.xml") in said and re.search(r"line [23]", said)


def test_missing_texture_of_the_scene(refused: Callable, tmp_path: Path) -> None:
    job = write_job(tmp_path)
    write_scene(
        tmp_path,
        color='<texture type="bitmap" name="reflectance"><string name="filename" value="gone.png"/></texture>',
    )
    assert "gone.png" in refused(job)


def test_missing_images(refused: Callable, tmp_path: Path) -> None:
    job = write_job(tmp_path)
    for entry in ("views.0.target", "views.0.mask", "parameters.0.initial", "parameters.0.true"):
        said = refused(job, "--set", f"{entry}=gone.exr")
        assert str(tmp_path / "gone.exr") in said and "does not exist" in said
        assert entry.rsplit(".", 1)[0] in said


@pytest.mark.parametrize("shape", [(8, 16, 3), (16, 8, 3), (32, 32, 3)])
def test_target_of_the_wrong_size(refused: Callable, tmp_path: Path, shape: tuple[int, ...]) -> None:
    job = write_job(tmp_path)
    write_image(tmp_path / "target.exr", shape)
    said = refused(job)
    assert f"{shape[1]} × {shape[0]} pixels" in said and "16 × 16" in said and "target.exr" in said


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_target_that_is_not_finite(refused: Callable, tmp_path: Path, value: float) -> None:
    job = write_job(tmp_path)
    write_image(tmp_path / "target.exr", value=value)
    said = refused(job)
    assert "target.exr" in said and "NaN or infinite" in said


def test_target_that_is_no_image(refused: Callable, tmp_path: Path) -> None:
    job = write_job(tmp_path)
    (tmp_path / "target.exr").write_text("no image")
    assert "target.exr" in refused(job)


def test_target_with_channels_that_are_no_colours(refused: Callable, tmp_path: Path) -> None:
    job = write_job(tmp_path)
    write_image(tmp_path / "target.exr", (16, 16, 6))
    assert "target.exr' has 6 channels, which are no colours" in refused(job)


def test_target_with_8_bits_needs_a_color_space(refused: Callable, tmp_path: Path) -> None:
    job = write_job(tmp_path)
    mi.Bitmap(np.full((16, 16, 3), 100, np.uint8)).write(str(tmp_path / "photo.png"))
    said = refused(job, "--set", "views.0.target=photo.png")
    assert "'photo.png' needs an entry 'color_space'" in said and "'srgb'" in said
    assert "'linear' or 'srgb'" in refused(job, "--set", "views.0.color_space=rgb")


def test_masks_must_fit(refused: Callable, tmp_path: Path) -> None:
    job = write_job(tmp_path)
    write_image(tmp_path / "mask.exr", (8, 8, 3))
    assert "mask.exr' must have 16 × 16 pixels" in refused(job, "--set", "views.0.mask=mask.exr")
    write_image(tmp_path / "mask.exr", value=0)
    assert "hides every pixel" in refused(job, "--set", "views.0.mask=mask.exr")
    for value in (-1, float("nan")):
        write_image(tmp_path / "mask.exr", value=value)
        assert "has negative or NaN pixels" in refused(job, "--set", "views.0.mask=mask.exr")


def test_unknown_sensor(refused: Callable, tmp_path: Path) -> None:
    assert "did you mean 'camera'" in refused(write_job(tmp_path), "--set", "views.0.sensor=camrea")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"parameters.0.initial": "1.5"}, "lies outside of its bounds [0, 1]"),
        ({"parameters.1.initial": "0"}, "lies outside of its bounds [0.001, 1]"),
        ({"parameters.0.initial": "0.1", "parameters.0.bounds": "[0.2, 0.4]"}, "outside of its bounds [0.2, 0.4]"),
        ({"parameters.0.bounds": "[0.4, 0.2]"}, "must be [lowest, highest], got [0.4, 0.2]"),
        ({"parameters.0.initial": "nan"}, "must be finite, got nan"),
        ({"parameters.0.initial": "[0.1, inf, 0.1]"}, "must be finite, got inf"),
        ({"parameters.0.initial": "[0.1, 0.2]"}, "holds 2 numbers"),
        ({"parameters.0.true": "[0.1, 0.2]"}, "holds 2 numbers"),
        ({"parameters.0.reparameterization": "unitt"}, "did you mean 'unit'"),
        ({"loss": "l3"}, "did you mean 'l"),
        ({"optimizer.type": "adamm"}, "did you mean 'adam'"),
        ({"optimizer.beta1": "0.5"}, "did you mean 'beta_1'"),
        ({"integrator.type": "pdbr"}, "'pbdr'"),
        ({"integrator.max_dept": "3"}, "did you mean 'max_depth'"),
        ({"spp": "0"}, "'spp' is 0"),
        ({"spp": "-4"}, "'spp' is -4"),
        ({"steps": "0"}, "'steps' is 0"),
        ({"optimizer.beta_1": '"big"'}, "'beta_1' is 'big', but must be a number"),
        ({"losses": '[{ type = "l1", pyramid = 6 }]'}, "views.0: its image is too small for a pyramid of 6 levels"),
    ],
)
def test_values_that_are_not_allowed(refused: Callable, tmp_path: Path, changes: dict[str, str], words: str) -> None:
    arguments = [word for entry, value in changes.items() for word in ("--set", f"{entry}={value}")]
    said = refused(write_job(tmp_path), *arguments)
    assert words in said
    assert "parameters.0" not in changes or WALL in said


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("def mine(image):\n    return image", "must take 2 arguments"),
        (
            "def mine(image, target):\n    return 1.0",
            "loss '.*mine' returns a value of type float; allowed are one number",
        ),
        ("def mine(image, target):\n    return (image - target)[:3]", r"returns a value of shape \[3, 16, 3\]"),
        (
            "import drjit as dr\n\n\ndef mine(image, target):\n    return dr.detach(image)",
            "looks at image, does not depend",
        ),
    ],
)
def test_losses_of_the_user_that_are_none(tmp_path: Path, code: str, words: str) -> None:
    (tmp_path / "losses.py").write_text(code + "\n")
    job = write_job(tmp_path)
    with pytest.raises(InputError, match=words):
        pbdr.optimize(pbdr.Problem.from_job(job, {"loss": "losses:mine"}))


def test_priors_of_the_user_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def prior(values, initial):\n    return 1.0\n")
    job = write_job(tmp_path)
    with pytest.raises(InputError, match=r"the prior of '.*' returns a float, not a tensor"):
        pbdr.optimize(pbdr.Problem.from_job(job, {"priors": '[{ type = "mine:prior", weight = 1 }]'}))


@pytest.mark.parametrize("steps", [0, -1])
def test_steps_option(refused: Callable, tmp_path: Path, steps: int) -> None:
    assert f"'steps' must be a whole number of at least 1, got {steps}" in refused(
        write_job(tmp_path), "--steps", steps
    )


@pytest.mark.parametrize("initial", ["0.5", "[0.1, 0.2, 0.3]"])
def test_vertex_buffer_of_the_wrong_size(refused: Callable, tmp_path: Path, initial: str) -> None:
    changes = ("--set", f"parameters.1.key={VERTICES}", "--set", f"parameters.1.initial={initial}")
    said = refused(write_job(tmp_path), *changes, *SILHOUETTES)
    assert f"'{VERTICES}'" in said and "takes 72" in said


def test_scalar_variant(refused: Callable, tmp_path: Path) -> None:
    said = refused(write_job(tmp_path), "--variant", "scalar_rgb")
    assert "'scalar_rgb' cannot differentiate" in said and "llvm_ad_rgb" in said


def test_colours_in_spectral_variants(refused: Callable, tmp_path: Path) -> None:
    said = refused(write_job(tmp_path), "--variant", "llvm_ad_spectral")
    assert WALL in said and "polynomial of the wavelength" in said


def test_scalar_variant_in_python(tmp_path: Path) -> None:
    mi.set_variant("scalar_rgb")
    with pytest.raises(InputError, match="'scalar_rgb' cannot differentiate"):
        pbdr.Problem.from_job(write_job(tmp_path))


def test_no_emitters(refused: Callable, tmp_path: Path) -> None:
    job = write_job(tmp_path)
    write_scene(tmp_path, emitter="")
    assert "no emitters" in refused(job)


@pytest.mark.parametrize("key", ["camera.near_clip", "camera.film.size", "box.faces"])
def test_parameters_without_derivative(refused: Callable, tmp_path: Path, key: str) -> None:
    said = refused(write_job(tmp_path), "--set", f"parameters.1.key={key}", "--set", "parameters.1.initial=current")
    assert "parameters.1" in said and f"'{key}' cannot be differentiated" in said


def test_geometry_needs_a_boundary_term(refused: Callable, tmp_path: Path) -> None:
    changes = ("--set", f"parameters.1.key={VERTICES}", "--set", "parameters.1.initial=current")
    said = refused(write_job(tmp_path), *changes, "--set", "integrator.boundary=none")
    assert f"'{VERTICES}' moves visibility" in said and "'silhouettes'" in said


def test_transforms_are_no_numbers(refused: Callable, tmp_path: Path) -> None:
    changes = ("--set", "parameters.1.key=camera.to_world", "--set", "parameters.1.initial=current")
    said = refused(write_job(tmp_path), *changes, *SILHOUETTES)
    assert "'camera.to_world'" in said and "Transform" in said and "recover" in said
