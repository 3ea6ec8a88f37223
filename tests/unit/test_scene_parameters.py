"""What is said about scene parameters, and how they are changed."""

from __future__ import annotations

from contextlib import nullcontext

import drjit as dr
import mitsuba as mi
import numpy as np
import pytest

import pbdr
from pbdr.errors import InputError
from pbdr.scene import assign_parameter, describe_parameters, find_parameters, load_scene, scene_parameters
from pbdr.scene_parameters import numbers, require_derivatives


@pytest.fixture(scope="module")
def described() -> dict:
    mi.set_variant("llvm_ad_rgb")
    return {info.key: info for info in describe_parameters(load_scene("cornell_box"))}


@pytest.mark.parametrize(
    ("key", "kind", "shape", "differentiable", "discontinuous"),
    [
        ("wall_left.brdf_0.reflectance.value", "Color3f", (3,), True, False),
        ("metal.alpha.value", "Float", (), True, False),
        ("panel.emitter.radiance.value", "Float", (), True, False),
        ("front.to_world", "AffineTransform4f", (4, 4), True, True),
        ("front.x_fov", "Float", (), True, True),
        ("floor.to_world", "AffineTransform4f", (4, 4), True, True),
        ("block.vertex_positions", "Float", (72,), True, True),
        ("block.vertex_texcoords", "Float", (48,), True, False),
        ("block.faces", "UInt", (36,), False, False),
        ("front.near_clip", "float", (), False, False),
        ("front.film.size", "ScalarVector2u", (2,), False, False),
    ],
)
def test_descriptions(described, key, kind, shape, differentiable, discontinuous):
    info = described[key]
    assert (info.type, info.shape) == (kind, shape)
    assert (info.differentiable, info.discontinuous) == (differentiable, discontinuous)
    assert bool(info.reason) == (discontinuous or not differentiable)


def test_ranges(described):
    info = described["white.brdf_0.reflectance.value"]
    assert (info.minimum, info.maximum) == pytest.approx((0.72, 0.75))
    assert described["allow_thread_reordering"].minimum is None


def test_light_positions_move_shadows():
    scene = mi.load_dict({"type": "scene", "lamp": {"type": "point", "position": [0, 2, 0]}})
    info = {i.key: i for i in describe_parameters(scene)}["lamp.position"]
    assert info.differentiable and info.discontinuous and "shadows" in info.reason


def material_info(key: str, bsdf: dict):
    scene = mi.load_dict({"type": "scene", "ball": {"type": "sphere", "bsdf": bsdf}}, optimize=False)
    return {i.key: i for i in describe_parameters(scene)}[f"ball.bsdf.{key}"]


MIRROR, NORMALS = {"type": "conductor"}, {"type": "checkerboard"}
MASKED = {"type": "mask", "opacity": 0.5, "nested": MIRROR}
THIN = {"type": "thindielectric", "specular_transmittance": 0.8}
HALF_THIN = {"type": "blendbsdf", "weight": 0.5, "a": THIN, "b": {"type": "diffuse"}}


@pytest.mark.parametrize(
    ("key", "bsdf", "reason"),
    [
        ("alpha", {"type": "roughplastic"}, "tables"),
        ("eta", {"type": "roughplastic"}, "tables"),
        ("longitudinal_roughness", {"type": "hair"}, "density"),
        ("normalmap.color0.value", {"type": "normalmap", "normalmap": NORMALS, "nested": MIRROR}, "reflections"),
        ("nested_texture.color0.value", {"type": "bumpmap", "bumps": NORMALS, "nested": MIRROR}, "reflections"),
        ("nested_bsdf.eta", {"type": "normalmap", "normalmap": NORMALS, "nested": THIN}, "thin glass"),
        ("nested_bsdf.weight.value", {"type": "bumpmap", "bumps": NORMALS, "nested": HALF_THIN}, "thin glass"),
        ("bsdf_0.opacity.value", {"type": "blendbsdf", "a": MASKED, "b": MIRROR, "weight": 0.5}, "opacity"),
    ],
)
def test_materials_that_have_no_right_derivative(key, bsdf, reason):
    info = material_info(key, bsdf)
    assert not info.differentiable and reason in info.reason


@pytest.mark.parametrize(
    ("key", "bsdf"),
    [
        ("diffuse_reflectance.value", {"type": "roughplastic"}),
        ("normalmap.color0.value", {"type": "normalmap", "normalmap": NORMALS, "nested": {"type": "diffuse"}}),
        ("nested_bsdf.eta.value", {"type": "normalmap", "normalmap": NORMALS, "nested": MIRROR}),
        ("nested_bsdf.specular_transmittance.value", {"type": "bumpmap", "bumps": NORMALS, "nested": THIN}),
        ("weight.value", HALF_THIN),
        ("eumelanin", {"type": "hair"}),
        ("opacity.value", MASKED),
        ("weight.value", {"type": "blendbsdf", "a": MASKED, "b": MIRROR, "weight": 0.5}),
    ],
)
def test_materials_that_have_one(key, bsdf):
    info = material_info(key, bsdf)
    assert info.differentiable and not info.discontinuous


def attached(key: str, bsdf: dict) -> tuple[mi.Scene, mi.SceneParameters]:
    """A scene with a ball, one of whose parameters carries derivatives."""
    ball = {"type": "sphere", "bsdf": bsdf}
    scene = mi.load_dict({"type": "scene", "ball": ball, "sky": {"type": "constant"}}, optimize=False)
    parameters = mi.traverse(scene)
    dr.enable_grad(parameters[f"ball.bsdf.{key}"])
    parameters.update()
    return scene, parameters


TWO_COLOURS = {"type": "blendbsdf", "a": {"type": "diffuse"}, "b": {"type": "plastic"}}
CAMERA = {"type": "perspective", "film": {"type": "hdrfilm", "width": 4, "height": 4}}


@pytest.mark.parametrize(
    ("key", "bsdf", "reason"),
    [
        ("alpha", {"type": "roughplastic"}, "tables"),
        ("metallic.value", {"type": "principled", "metallic": 1.0}, "at exactly 1"),
        ("sheen.value", {"type": "principled"}, "at exactly 0"),
        ("spec_trans.value", {"type": "principledthin", "spec_trans": 0.0}, "at exactly 0"),
        ("opacity.value", {"type": "mask", "opacity": 0.0, "nested": {"type": "diffuse"}}, "take 0.001"),
        ("weight.value", {**TWO_COLOURS, "weight": 1.0}, "take 0.999"),
    ],
)
def test_wrong_derivatives_are_refused_in_python(key, bsdf, reason):
    """Nobody asks ``describe_parameters`` before ``mi.render`` and ``pbdr.step``."""
    scene, parameters = attached(key, bsdf)
    integrator, camera = mi.load_dict({"type": "pbdr"}), mi.load_dict(CAMERA)
    with pytest.raises(InputError, match=reason):
        integrator.render_backward(scene, parameters, dr.zeros(mi.TensorXf, (4, 4, 3)), sensor=camera, spp=1)
    with pytest.raises(InputError, match=reason):
        pbdr.record(integrator, scene, camera, seed=0, spp=1)


@pytest.mark.parametrize(
    ("key", "bsdf"),
    [
        ("opacity.value", {"type": "mask", "opacity": 1.0, "nested": {"type": "diffuse"}}),
        ("flatness.value", {"type": "principled", "flatness": 0.0}),
    ],
)
def test_ends_that_have_a_derivative(key, bsdf):
    scene, _ = attached(key, bsdf)
    pbdr.record(mi.load_dict({"type": "pbdr"}), scene, mi.load_dict(CAMERA), seed=0, spp=1)


def test_instances_move():
    scene = mi.load_dict(
        {
            "type": "scene",
            "group": {"type": "shapegroup", "member": {"type": "cube"}},
            "copy": {"type": "instance", "group": {"type": "ref", "id": "group"}},
        },
        optimize=False,
    )
    info = {i.key: i for i in describe_parameters(scene)}["copy.to_world"]
    assert info.differentiable and info.discontinuous


def test_keys_and_globs():
    scene = load_scene("cornell_box")
    walls = ["wall_left.brdf_0.reflectance.value", "wall_right.brdf_0.reflectance.value"]
    assert find_parameters(scene, "wall_*.value") == find_parameters(describe_parameters(scene), "wall_*") == walls
    assert find_parameters(scene, walls[1]) == walls[1:]


@pytest.mark.parametrize(
    ("pattern", "parts"),
    [
        ("wall_left.reflectance", ["is called 'wall_left.reflectance'", "wall_left.brdf_0.reflectance.value"]),
        ("metal.alpha", ["did you mean 'metal.alpha.value'"]),
        ("zzz*", ["matches 'zzz*'"]),
    ],
)
def test_keys_without_match(pattern: str, parts: list[str]):
    with pytest.raises(InputError) as caught:
        find_parameters(load_scene("cornell_box"), pattern)
    for part in parts:
        assert part in str(caught.value)


@pytest.mark.parametrize("name", ["cornell_box", "envmap_probe"])
@pytest.mark.parametrize("variant", ["llvm_ad_rgb", "llvm_ad_spectral", "llvm_ad_mono"])
def test_assigning_what_is_there_changes_nothing(variant: str, name: str):
    mi.set_variant(variant)
    parameters = scene_parameters(load_scene(name))
    for key in list(parameters.keys()):
        held = numbers(parameters[key])
        if held is not None:
            kind = type(parameters[key])
            assign_parameter(parameters, key, held)
            assert type(parameters[key]) is kind, key
            np.testing.assert_array_equal(numbers(parameters[key]), held)


def test_one_number_fills_a_colour():
    parameters = scene_parameters(load_scene("cornell_box"))
    assign_parameter(parameters, "wall_left.brdf_0.reflectance.value", 0.25)
    assert numbers(parameters["wall_left.brdf_0.reflectance.value"]).tolist() == [0.25] * 3


@pytest.mark.parametrize(
    ("key", "values", "part"),
    [
        ("metal.alpha", 0.2, "did you mean 'metal.alpha.value'"),
        ("metal.alpha.value", [0.1, 0.2], "holds 1 number, got 2"),
        ("metal.alpha.value", float("nan"), "must be finite, got nan"),
        ("metal.alpha.value", float("inf"), "must be finite, got inf"),
        ("wall_left.brdf_0.reflectance.value", [0.1, 0.2], "holds 3 numbers, got 2"),
        ("block.vertex_positions", [1, 2, 3], "holds 72 numbers, got 3"),
        ("block.vertex_positions", 1.0, "holds 72 numbers, got 1"),
        ("front.to_world", np.eye(3), "16 numbers (shape 4 × 4), got 9"),
        ("front.film.size", [16.5, 16], "holds integers"),
        ("allow_thread_reordering", 1, "holds no numbers"),
    ],
)
def test_values_that_do_not_fit(key: str, values, part: str):
    with pytest.raises(InputError) as caught:
        assign_parameter(scene_parameters(load_scene("cornell_box")), key, values)
    assert key in str(caught.value) and part in str(caught.value)


@pytest.mark.parametrize("kind", ["checkerboard", "nearest", "bilinear"])
@pytest.mark.parametrize("variant", ["llvm_ad_rgb", "llvm_ad_spectral", "llvm_ad_mono"])
def test_texture_coordinates_under_textures_that_jump(variant: str, kind: str) -> None:
    """Renders say 0 under the first two, where central differences say -48 and -56; under the last both say -17."""
    mi.set_variant(variant)
    texels = mi.TensorXf(np.random.default_rng(1).uniform(0, 1, (4, 4, 3)).astype(np.float32))
    bitmap = {"type": "bitmap", "data": texels, "raw": True, "filter_type": kind}
    props = mi.Properties()
    texture = {"type": "checkerboard"} if kind == "checkerboard" else bitmap
    props["bsdf"] = mi.load_dict({"type": "diffuse", "reflectance": texture})
    shape = mi.Mesh("sheet", 3, 1, has_vertex_texcoords=True, props=props)
    params = mi.traverse(shape)
    params["vertex_positions"], params["faces"] = [0, 0, 0, 1, 0, 0, 0, 1, 0], [0, 1, 2]
    params.update()
    scene = mi.load_dict({"type": "scene", "sheet": shape})
    infos = {info.key: info for info in describe_parameters(scene)}
    assert infos["sheet.vertex_texcoords"].differentiable == (kind == "bilinear")
    if kind != "bilinear":
        with pytest.raises(InputError, match="jumps"):
            require_derivatives(mi.traverse(scene), ["sheet.vertex_texcoords"])


def test_texture_coordinates_of_lamps() -> None:
    """Along a random direction renders said 0.006 where central differences say 10.4, and recordings 0."""
    texels = mi.TensorXf(np.random.default_rng(1).uniform(0, 1, (4, 4, 3)).astype(np.float32))
    bitmap = {"type": "bitmap", "data": texels, "raw": True}
    for texture in (bitmap, 3.0):
        lamp = {"type": "cube", "emitter": {"type": "area", "radiance": texture}}
        scene = mi.load_dict({"type": "scene", "lamp": lamp})
        if texture is bitmap:
            with pytest.raises(InputError, match="shines with a texture"):
                require_derivatives(mi.traverse(scene), ["lamp.vertex_texcoords"])
        else:
            require_derivatives(mi.traverse(scene), ["lamp.vertex_texcoords"])


@pytest.mark.parametrize(
    ("bsdf", "refused"),
    [
        ({"type": "diffuse"}, set()),
        ({"type": "roughconductor"}, set()),
        ({"type": "conductor"}, {"vertex_normals"}),
        ({"type": "plastic"}, {"vertex_normals"}),
        (
            {"type": "blendbsdf", "weight": 0.5, "a": {"type": "diffuse"}, "b": {"type": "dielectric"}},
            {"vertex_normals"},
        ),
        ({"type": "bumpmap", "nested": {"type": "conductor"}}, {"vertex_normals", "vertex_texcoords"}),
    ],
)
def test_normals_of_mirrors(bsdf, refused):
    """They turn what is reflected, which was differentiated as 0 where differences were -40."""
    texels = mi.Bitmap(np.random.default_rng(0).uniform(0, 1, (4, 4, 1)).astype(np.float32))
    if bsdf["type"] == "bumpmap":
        bsdf = bsdf | {"map": {"type": "bitmap", "raw": True, "bitmap": texels}}
    scene = mi.load_dict({"type": "scene", "thing": {"type": "cube", "bsdf": bsdf}}, optimize=False)
    params = scene_parameters(scene)
    names = ("vertex_positions", "vertex_normals", "vertex_texcoords")
    infos = {info.key: info for info in describe_parameters(scene)}
    assert {name for name in names if not infos[f"thing.{name}"].differentiable} == refused
    for name in names:
        with pytest.raises(InputError, match="turns the directions") if name in refused else nullcontext():
            require_derivatives(params, [f"thing.{name}"])
    # Normals that follow their vertices were not chosen
    require_derivatives(params, ["thing.vertex_positions", "thing.vertex_normals"])
