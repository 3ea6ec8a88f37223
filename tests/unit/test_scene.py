"""Loading scenes, and what is said when one cannot be loaded."""

from __future__ import annotations

from pathlib import Path

import mitsuba as mi
import numpy as np
import pytest

from pbdr.errors import InputError
from pbdr.resources import scene_description, scene_names
from pbdr.scene import load_scene, locate_scene, require_emitters, scene_parameters, select_sensor

SHARED_TEXTURES = """<scene version="3.0.0">
    <default name="size" value="16"/>
    <integrator type="path"/>
    <sensor type="perspective">
        <transform name="to_world"><lookat origin="0, 0, 4" target="0, 0, 0" up="0, 1, 0"/></transform>
        <film type="hdrfilm"><integer name="width" value="$size"/><integer name="height" value="$size"/></film>
    </sensor>
    <texture type="bitmap" id="shared"><string name="filename" value="images/colour.png"/></texture>
    <bsdf type="diffuse" id="paint"><ref id="shared" name="reflectance"/></bsdf>
    <bsdf type="diffuse" id="other_paint"><ref id="shared" name="reflectance"/></bsdf>
    <shape type="rectangle" id="wall"><ref id="paint"/></shape>
    <shape type="rectangle">
        <transform name="to_world"><translate x="1.2" z="-1"/></transform>
        <bsdf type="principled">
            <texture type="bitmap" name="base_color"><string name="filename" value="images/colour.png"/></texture>
            <texture type="bitmap" name="roughness">
                <string name="filename" value="images/grey.png"/><boolean name="raw" value="true"/>
            </texture>
        </bsdf>
    </shape>
    <shape type="rectangle">
        <transform name="to_world"><translate x="-1.2" z="-1"/></transform>
        <bsdf type="diffuse">
            <texture type="bitmap" name="reflectance"><string name="filename" value="images/half.exr"/></texture>
        </bsdf>
    </shape>
    <shape type="rectangle">
        <transform name="to_world"><translate y="-1.2"/></transform><ref id="other_paint"/>
    </shape>
    <emitter type="constant"/>
</scene>
"""


@pytest.fixture
def textured(tmp_path: Path) -> Path:
    """A scene folder with 8-bit and half-precision textures, one of them shared by name."""
    values = np.random.default_rng(0).random((8, 8, 3))
    (tmp_path / "images").mkdir()
    mi.Bitmap((values * 255).astype(np.uint8)).write(str(tmp_path / "images" / "colour.png"))
    mi.Bitmap((values[..., :1] * 255).astype(np.uint8)).write(str(tmp_path / "images" / "grey.png"))
    mi.Bitmap(values.astype(np.float16)).write(str(tmp_path / "images" / "half.exr"))
    (tmp_path / "scene.xml").write_text(SHARED_TEXTURES, encoding="utf-8")
    return tmp_path


def write(folder: Path, body: str) -> Path:
    """A scene file with the given content, whose second line is the first of the content."""
    path = folder / "bad.xml"
    path.write_text(f'<scene version="3.0.0">\n{body}\n</scene>\n', encoding="utf-8")
    return path


@pytest.mark.parametrize("name", scene_names())
def test_bundled_scenes_load_and_are_described(name: str):
    scene = load_scene(name)
    require_emitters(scene)
    assert scene.sensors()
    assert len(scene_description(name)) > 20
    assert not any("object_" in key for key in scene_parameters(scene).keys())  # noqa: SIM118 (not a dict)


def test_a_file_a_folder_and_a_name_mean_a_scene(textured: Path):
    assert locate_scene(textured) == locate_scene(textured / "scene.xml") == textured / "scene.xml"
    assert locate_scene("cornell_box").parent.name == "cornell_box"


def test_keys_are_the_same_each_time_and_never_addresses(textured: Path):
    keys = [list(scene_parameters(load_scene(textured)).keys()) for _ in range(2)]
    assert keys[0] == keys[1]
    assert {"paint.reflectance.data", "perspective.to_world", "rectangle_1.to_world"} <= set(keys[0])
    assert not any(key.startswith("object_") for key in keys[0])


def test_overrides_reach_the_file(textured: Path):
    assert tuple(load_scene(textured, {"size": "24"}).sensors()[0].film().size()) == (24, 24)


def test_promoted_textures_render_the_same_and_can_be_differentiated(textured: Path):
    import drjit as dr

    keys = ["paint.reflectance.data", "rectangle.bsdf.*.data", "rectangle_1.bsdf.reflectance.data"]
    stored, promoted = load_scene(textured), load_scene(textured, float_textures=keys)
    images = [np.array(mi.render(scene, spp=16, seed=1)) for scene in (stored, promoted)]
    np.testing.assert_allclose(images[0], images[1], rtol=2e-3, atol=2e-3)

    parameters = scene_parameters(promoted)
    found = [key for key in parameters.keys() if key.endswith(".data")]  # noqa: SIM118 (not a dict)
    assert len(found) == 4
    for key in found:
        assert type(parameters[key]) is mi.TensorXf
        dr.enable_grad(parameters[key])
    parameters.update()
    image = mi.render(promoted, parameters, spp=16, integrator=mi.load_dict({"type": "prb"}))
    dr.backward(dr.mean(image, axis=None))
    for key in found:
        assert np.abs(np.array(dr.grad(parameters[key]))).max() > 0, key


def test_textures_that_are_not_named_stay_as_they_are(textured: Path):
    parameters = scene_parameters(load_scene(textured, float_textures=["rectangle.bsdf.base_color.data"]))
    assert type(parameters["rectangle.bsdf.base_color.data"]) is mi.TensorXf
    assert type(parameters["rectangle.bsdf.roughness.data"]).__name__ == "TensorXu8"
    assert type(parameters["paint.reflectance.data"]).__name__ == "TensorXu8"


def test_a_texture_shared_by_name_stays_shared(textured: Path):
    scene = load_scene(textured, float_textures=["paint.reflectance.data"])
    parameters = scene_parameters(scene)
    assert "other_paint.reflectance.data" not in parameters
    before = np.array(mi.render(scene, spp=4, seed=1))
    parameters["paint.reflectance.data"] = mi.TensorXf(np.zeros((8, 8, 3), dtype=np.float32))
    parameters.update()
    after = np.array(mi.render(scene, spp=4, seed=1))
    changed = (before != after).any(axis=-1)
    assert changed[8].any() and changed[13].any(), "both the wall and the strip below it must change"


def test_sensors_are_found_by_position_and_id():
    scene = load_scene("cornell_box")
    assert select_sensor(scene, "left").id() == select_sensor(scene, 1).id() == select_sensor(scene, "1").id() == "left"


@pytest.mark.parametrize(("sensor", "part"), [("frnt", "did you mean 'front'"), (3, "0 to 2"), ("-1", "0 to 2")])
def test_unknown_sensors(sensor, part: str):
    with pytest.raises(InputError, match="no sensor") as caught:
        select_sensor(load_scene("cornell_box"), sensor)
    assert part in str(caught.value)


def test_no_sensor_and_no_emitters(tmp_path: Path):
    scene = load_scene(write(tmp_path, '<integrator type="path"/><shape type="sphere"/>'))
    with pytest.raises(InputError, match="the scene has no sensor"):
        select_sensor(scene)
    with pytest.raises(InputError, match="the scene has no emitters"):
        require_emitters(scene)


@pytest.mark.parametrize(
    ("body", "line", "parts"),
    [
        ('<shape type="sphere">', 3, ["malformed XML"]),
        ('<integrator type="pth"/>', 2, ["no plugin 'pth'", "did you mean 'path'"]),
        ('<integrator type="pbrd"/>', 2, ["no plugin 'pbrd'", "did you mean 'pbdr'"]),
        ('<integrator type="pbdr"><string name="boundary" value="x"/></integrator>', 2, ["'boundary' is 'x'"]),
        ('<shape type="sphere"><float name="radus" value="1"/></shape>', 2, ["'sphere' has no property 'radus'"]),
        ('<shape type="sphere"><float name="radius" value="x"/></shape>', 2, ['floating point value "x"']),
        ('<shape type="sphere"><ref id="nosuch"/></shape>', 2, ['unresolved reference to "nosuch"']),
        ('<shape type="sphere"><float name="radius" value="$r"/></shape>', 2, ["undefined parameter: $r"]),
        ('<shape type="obj"><string name="filename" value="none.obj"/></shape>', 2, ["none.obj"]),
        ('<texture type="bitmap" id="t"><string name="filename" value="none.png"/></texture>'
         '<shape type="sphere"><bsdf type="diffuse"><ref name="reflectance" id="t"/></bsdf></shape>', 2, ["none.png"]),
    ],
)  # fmt: skip
def test_bad_files_are_one_sentence_with_file_and_line(tmp_path: Path, body: str, line: int, parts: list[str]):
    path = write(tmp_path, body)
    with pytest.raises(InputError) as caught:
        load_scene(path)
    message = str(caught.value)
    assert message.startswith(f"{path}, line {line}: ")
    assert "\n" not in message and ".cpp" not in message
    for part in parts:
        assert part in message


@pytest.mark.parametrize(
    ("content", "part"),
    [
        ('<shape type="sphre"/>', "did you mean 'sphere'"),
        ('<shape type="sphere">', "malformed XML"),
        ('<shape type="sphere"><float name="radius" value="x"/></shape>', 'floating point value "x"'),
    ],
)
def test_included_files_are_named(tmp_path: Path, content: str, part: str):
    included = tmp_path / "part.xml"
    included.write_text(f'<scene version="3.0.0">\n\n{content}</scene>', encoding="utf-8")
    with pytest.raises(InputError) as caught:
        load_scene(write(tmp_path, '<include filename="part.xml"/>'))
    assert str(caught.value).startswith(f"{included}, line 3: ") and part in str(caught.value)
    included.unlink()
    with pytest.raises(InputError, match=r'line 2: included file "part\.xml" not found'):
        load_scene(write(tmp_path, '<include filename="part.xml"/>'))


@pytest.mark.parametrize(
    ("source", "parts"),
    [
        ("cornel_box", ["neither a file nor a bundled scene", "did you mean 'cornell_box'"]),
        ("nowhere/scene.xml", ["the scene file 'nowhere/scene.xml' does not exist"]),
    ],
)
def test_missing_scenes(source: str, parts: list[str]):
    with pytest.raises(InputError) as caught:
        load_scene(source)
    for part in parts:
        assert part in str(caught.value)


def test_sources_of_another_type_are_refused():
    with pytest.raises(InputError, match="a scene must be a file, a folder or a bundled scene's name, got a NoneType"):
        load_scene(None)


def test_a_misspelled_file_and_an_empty_folder(tmp_path: Path):
    write(tmp_path, "")
    with pytest.raises(InputError, match=r"did you mean '.*bad\.xml'"):
        load_scene(tmp_path / "bda.xml")
    with pytest.raises(InputError, match=r"has no scene\.xml"):
        load_scene(tmp_path)


def test_unknown_overrides():
    with pytest.raises(InputError, match="no <default> parameter 'siz'; did you mean 'size'"):
        load_scene("cornell_box", {"siz": "3"})


def test_a_file_that_is_no_scene(tmp_path: Path):
    (tmp_path / "bsdf.xml").write_text('<bsdf version="3.0.0" type="diffuse"/>', encoding="utf-8")
    with pytest.raises(InputError, match="describes a 'diffuse', not a scene"):
        load_scene(tmp_path / "bsdf.xml")


def test_the_resolver_is_put_back(tmp_path: Path):
    before = str(mi.file_resolver())
    load_scene("cornell_box")
    with pytest.raises(InputError):
        load_scene(write(tmp_path, '<shape type="nosuch"/>'))
    assert str(mi.file_resolver()) == before
