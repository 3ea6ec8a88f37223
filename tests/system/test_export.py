"""Scenes with recovered parameters, written for Mitsuba without pbdr."""

from __future__ import annotations

import os
from pathlib import Path

import mitsuba as mi
import numpy as np
import pytest

import pbdr
from pbdr.errors import InputError
from pbdr.optimize.export import export_scene
from pbdr.resources import scene_names
from pbdr.scene import load_scene, locate_scene, scene_parameters, select_sensor
from pbdr.scene_parameters import numbers

#: What the bundled jobs recover; a colour where they recover a pose
_KEYS = {
    "bunny_like": ["bunny.bsdf.reflectance.value"],
    "cornell_box": [
        "wall_left.brdf_0.reflectance.value",
        "wall_right.brdf_0.reflectance.value",
        "metal.alpha.value",
        "panel.emitter.radiance.value",
    ],
    "envmap_probe": ["environment.data"],
    "light_from_shadows": ["table.bsdf.reflectance.value"],
    "material_ball": [
        "ball.bsdf.base_color.value",
        "ball.bsdf.roughness.value",
        "ball.bsdf.metallic.value",
    ],
    "mural": ["wall.bsdf.reflectance.data"],
    "pose_from_image": ["wood.brdf_0.reflectance.value"],
    "shadow_puppet": ["wall.bsdf.reflectance.value"],
    "textured_wall": ["wall.bsdf.reflectance.data"],
}

_PLAIN_RENDER = """
import sys
import mitsuba as mi
import numpy as np
mi.set_variant("llvm_ad_rgb")
scene = mi.load_file(sys.argv[1], optimize=False, spp=16, resx=32, resy=32)
np.save(sys.argv[2], np.array(mi.render(scene, integrator=mi.load_dict({"type": "path", "max_depth": 4}), seed=3)))
assert "pbdr" not in sys.modules
"""


def random_values(scene: mi.Scene, keys: list[str]) -> dict[str, np.ndarray]:
    """Other numbers for parameters, between 0.2 and 0.8."""
    parameters = scene_parameters(scene)
    generator = np.random.default_rng(5)
    return {key: generator.uniform(0.2, 0.8, numbers(parameters[key]).shape) for key in keys}


def export(scene: str | Path, values: dict | list[str], folder: Path, overrides: dict[str, str]) -> tuple:
    """Export a scene with the given or random values; returns the scene object and the file."""
    keys = list(values)
    loaded = load_scene(scene, overrides, float_textures=[key for key in keys if key.endswith(".data")])
    numbers_by_key = values if isinstance(values, dict) else random_values(loaded, keys)
    return loaded, export_scene(loaded, locate_scene(scene), overrides, numbers_by_key, folder)


def test_every_bundled_scene_is_covered() -> None:
    assert sorted(_KEYS) == sorted(scene_names())


@pytest.mark.parametrize("name", sorted(_KEYS))
def test_plain_mitsuba_renders_the_same_image(name: str, tmp_path: Path, fresh_python) -> None:
    scene, file = export(name, _KEYS[name], tmp_path / "scene", {"size": "32", "spp": "16"})
    integrator = mi.load_dict({"type": "path", "max_depth": 4})
    expected = np.array(mi.render(scene, integrator=integrator, seed=3))
    before = np.array(mi.render(load_scene(name, {"size": "32", "spp": "16"}), integrator=integrator, seed=3))
    assert np.abs(expected - before).mean() > 1e-2 * before.mean()
    library = os.environ.get("DRJIT_LIBLLVM_PATH") or str(pbdr.llvm_choice.library.path)
    moved = tmp_path / "elsewhere"
    file.parent.rename(moved)
    done = fresh_python(_PLAIN_RENDER, str(moved / file.name), str(tmp_path / "image.npy"), DRJIT_LIBLLVM_PATH=library)
    assert done.code == 0, done.stderr
    np.testing.assert_allclose(np.load(tmp_path / "image.npy"), expected, rtol=1e-3, atol=1e-4)


def test_objects_keep_their_names(tmp_path: Path) -> None:
    scene, file = export("cornell_box", ["metal.alpha.value"], tmp_path, {})
    again = load_scene(file)
    assert select_sensor(again, "right").id() == "right"
    assert list(scene_parameters(again).keys()) == list(scene_parameters(scene).keys())


def test_shapes_and_cameras(tmp_path: Path) -> None:
    scene = load_scene("cornell_box")
    parameters = scene_parameters(scene)
    vertices = numbers(parameters["block.vertex_positions"])
    turned = np.array(mi.ScalarTransform4f().translate([0.1, 0.5, 0.2]).rotate([1, 2, 3], 40).scale(0.3).matrix)
    pose = np.array(mi.ScalarTransform4f().look_at([0.1, 1.2, 3.5], [0, 1, 0], [0, 1, 0.1]).matrix)
    values = {
        "block.vertex_positions": vertices + np.linspace(0, 0.05, vertices.size),
        "ball.to_world": turned,
        "floor.to_world": numbers(parameters["floor.to_world"]) @ np.diag([1.5, 1.5, 1, 1]),
        "front.to_world": pose,
        "front.x_fov": np.array(30.0),
    }
    _, file = export("cornell_box", values, tmp_path, {})
    assert (tmp_path / "meshes" / "block.ply").is_file()
    found = scene_parameters(load_scene(file))
    for key, value in values.items():
        np.testing.assert_allclose(numbers(found[key]).ravel(), value.ravel(), rtol=1e-4, atol=1e-5, err_msg=key)


def test_vertices_that_the_transform_of_the_file_would_not_give_again(tmp_path: Path) -> None:
    # Mitsuba's rotation around an axis that is not of length one is none, and its inverse is not the matrix's
    source = tmp_path / "scene.xml"
    source.write_text("""<scene version="3.0.0">
        <shape type="cube" id="block">
            <transform name="to_world"><rotate x="1" y="2" angle="40"/></transform>
            <bsdf type="diffuse"><rgb name="reflectance" value="0.4 0.3 0.2"/></bsdf>
        </shape>
        <emitter type="constant" id="sky"/>
    </scene>""")
    scene, file = export(source, {"block.bsdf.reflectance.value": np.array([0.1, 0.2, 0.3])}, tmp_path / "out", {})
    held, found = scene_parameters(scene), scene_parameters(load_scene(file))
    for key in ("block.vertex_positions", "block.vertex_normals", "block.bsdf.reflectance.value"):
        np.testing.assert_allclose(numbers(found[key]), numbers(held[key]), rtol=1e-5, atol=1e-6, err_msg=key)


def test_an_own_integrator_becomes_mitsubas(tmp_path: Path) -> None:
    text = locate_scene("cornell_box").read_text().replace('<integrator type="path">', '<integrator type="pbdr">')
    source = tmp_path / "scene.xml"
    source.write_text(text)
    _, file = export(source, ["metal.alpha.value"], tmp_path / "out", {})
    scene = mi.load_file(str(file))
    assert scene.integrator().class_name() == "PathIntegrator"
    assert "max_depth = 6" in str(scene.integrator())


def test_files_of_equal_name_stay_apart(tmp_path: Path) -> None:
    walls = ""
    for folder, value in (("a", 0.2), ("b", 0.7)):
        (tmp_path / folder).mkdir()
        mi.Bitmap(np.full((4, 4, 3), value, np.float32)).write(str(tmp_path / folder / "paint.exr"))
        walls += f"""<shape type="rectangle" id="wall_{folder}"><bsdf type="diffuse">
            <texture type="bitmap" name="reflectance"><string name="filename" value="{folder}/paint.exr"/></texture>
            </bsdf></shape>"""
    source = tmp_path / "scene.xml"
    source.write_text(f'<scene version="3.0.0">{walls}<emitter type="constant" id="sky"/></scene>')
    _, file = export(source, {"sky.radiance.value": np.array(0.5)}, tmp_path / "out", {})
    found = scene_parameters(load_scene(file))
    for folder, value in (("a", 0.2), ("b", 0.7)):
        np.testing.assert_allclose(np.array(found[f"wall_{folder}.bsdf.reflectance.data"]), value, rtol=1e-6)


def test_a_parameter_without_a_place_in_xml_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"metal\.eta\.value"):
        export("cornell_box", ["metal.eta.value"], tmp_path, {})


def test_a_property_that_the_file_left_out(tmp_path: Path) -> None:
    _, file = export("cornell_box", {"floor.silhouette_sampling_weight": np.array(2.0)}, tmp_path, {})
    assert scene_parameters(load_scene(file))["floor.silhouette_sampling_weight"] == 2.0


class TestCommand:
    def test_a_folder_without_a_run(self, pbdr_command, tmp_path: Path) -> None:
        outcome = pbdr_command("export", tmp_path, tmp_path / "out")
        assert (outcome.code, outcome.stderr.count("\n")) == (2, 1)
        assert "no run folder" in outcome.stderr

    def test_a_missing_folder(self, pbdr_command, tmp_path: Path) -> None:
        outcome = pbdr_command("export", tmp_path / "nowhere", tmp_path / "out")
        assert outcome.code == 2
        assert "nowhere" in outcome.stderr

    def test_a_run_without_a_checkpoint(self, pbdr_command, tmp_path: Path) -> None:
        (tmp_path / "job.toml").write_text("")
        outcome = pbdr_command("export", tmp_path, tmp_path / "out")
        assert outcome.code == 2
        assert "no checkpoint yet" in outcome.stderr

    def test_an_occupied_target(self, pbdr_command, tmp_path: Path) -> None:
        (tmp_path / "scene.xml").write_text("mine")
        outcome = pbdr_command("export", tmp_path, tmp_path)
        assert outcome.code == 2
        assert "not an empty folder" in outcome.stderr
        assert (tmp_path / "scene.xml").read_text() == "mine"
