"""The image itself: equal to Mitsuba's path tracer in every variant, whatever the properties."""

from __future__ import annotations

import mitsuba as mi
import numpy as np
import pytest

import pbdr
from pbdr import resources
from pbdr.errors import InputError
from pbdr.scene import load_scene

SEEDS = 12


def images(scene: mi.Scene, integrator: mi.Integrator, *, first_seed: int, spp: int = 16) -> np.ndarray:
    """Independent renderings. [SEEDS, H, W, C]"""
    return np.stack(
        [mi.render(scene, integrator=integrator, spp=spp, seed=first_seed + k).numpy() for k in range(SEEDS)]
    ).astype(np.float64)


def assert_same_radiance(scene: mi.Scene, **properties) -> None:
    """Compare means over 4×4 pixel blocks in units of their standard error."""
    ours = images(scene, mi.load_dict({"type": "pbdr", **properties}), first_seed=0)
    path = images(scene, mi.load_dict({"type": "path", **properties}), first_seed=1000)
    height, width = (4 * (n // 4) for n in ours.shape[1:3])

    def blocks(x: np.ndarray) -> np.ndarray:
        x = x[:, :height, :width].reshape(SEEDS, height // 4, 4, width // 4, 4, -1)
        return x.mean(axis=(2, 4))

    ours, path = blocks(ours), blocks(path)
    error = np.sqrt((ours.var(axis=0, ddof=1) + path.var(axis=0, ddof=1)) / SEEDS)
    z = (ours.mean(axis=0) - path.mean(axis=0)) / np.maximum(error, 1e-6)
    # With 2 × 11 degrees of freedom |t| > 6 has a probability of 5e-6 for each block
    assert np.abs(z).max() < 6
    assert np.sqrt(np.mean(z**2)) < 1.4


@pytest.mark.parametrize("name", resources.scene_names())
def test_bundled_scenes_render_like_path(name):
    assert_same_radiance(load_scene(name, {"size": "48"}), max_depth=6)


@pytest.mark.parametrize("variant", ["llvm_ad_spectral", "llvm_ad_mono"])
def test_other_variants_render_like_path(variant):
    mi.set_variant(variant)
    box = mi.cornell_box()
    box["sensor"]["film"].update(width=24, height=24)
    assert_same_radiance(mi.load_dict(box, optimize=False), max_depth=5)


@pytest.mark.parametrize("pixel_format", ["rgb", "rgba"])
@pytest.mark.parametrize("hide_emitters", [True, False])
def test_hidden_emitters_and_alpha_equal_path(hide_emitters, pixel_format):
    transform = mi.ScalarTransform4f()
    scene = mi.load_dict(
        {
            "type": "scene",
            "camera": {
                "type": "perspective",
                "to_world": transform.look_at(origin=[0, -4, 0], target=[0, 0, 0], up=[0, 0, 1]),
                "film": {"type": "hdrfilm", "width": 24, "height": 24, "pixel_format": pixel_format},
            },
            "sky": {"type": "constant", "radiance": 0.3},
            "lamp": {
                "type": "rectangle",
                "to_world": transform.translate([0.5, -1, 0]).rotate([1, 0, 0], 90).scale(0.3),
                "emitter": {"type": "area", "radiance": 3.0},
            },
            # (a mesh: Mitsuba 3.9's path misplaces hits on other shapes behind a hidden emitter)
            "box": {"type": "cube", "to_world": transform.rotate([0, 0, 1], 30).scale(0.5)},
            "veil": {
                "type": "sphere",
                "radius": 0.5,
                "center": [-1, 0, 0],
                "bsdf": {"type": "mask", "opacity": 0.5, "nested": {"type": "diffuse"}},
            },
        },
        optimize=False,
    )
    assert_same_radiance(scene, max_depth=5, hide_emitters=hide_emitters)


@pytest.mark.parametrize("max_depth", [0, 1, 2, -1])
def test_depths_equal_path(max_depth):
    box = mi.cornell_box()
    box["sensor"]["film"].update(width=24, height=24)
    assert_same_radiance(mi.load_dict(box, optimize=False), max_depth=max_depth)


def test_directional_areas_are_refused():
    """Images of 'path' leave their light out without a word, and its derivatives ended in Mitsuba's exception."""
    lamp = {"type": "sphere", "emitter": {"type": "directionalarea"}}
    parts = {"type": "scene", "camera": {"type": "perspective"}, "lamp": lamp, "sky": {"type": "constant"}}
    scene, one = mi.load_dict(parts, optimize=False), mi.load_dict({"type": "pbdr"})
    renderings = (
        one.render,
        lambda scene: one.render_forward(scene, None),
        lambda scene: pbdr.record(one, scene, 0, spp=1, seed=0),
    )
    for render in renderings:
        with pytest.raises(InputError, match="'lamp' is a 'directionalarea' emitter"):
            render(scene)


def attribute_scene(*, as_lamp: bool, inside: bool) -> mi.Scene:
    """A triangle whose vertices say how it shines or what it reflects, alone or as a part of a pattern."""
    colours = {"type": "mesh_attribute", "name": "vertex_color"}
    if inside:
        colours = {"type": "checkerboard", "color0": colours}
    props = mi.Properties()
    if as_lamp:
        props["emitter"] = mi.load_dict({"type": "area", "radiance": colours})
    else:
        props["bsdf"] = mi.load_dict({"type": "diffuse", "reflectance": colours})
    lamp = mi.Mesh("lamp", 3, 1, props=props, has_vertex_texcoords=True)
    params = mi.traverse(lamp)
    params["vertex_positions"] = [-1, -1, 3, 1, -1, 3, 0, 1, 3]
    params["faces"] = [0, 2, 1]
    params.update()
    lamp.add_attribute("vertex_color", 3, [1.0] * 9)
    parts = {"type": "scene", "camera": {"type": "perspective"}, "lamp": lamp, "sky": {"type": "constant"}}
    return mi.load_dict(parts, optimize=False)


@pytest.mark.parametrize("inside", [False, True])
def test_lamps_that_shine_by_their_vertices_are_refused(inside):
    """Emitter samples of them are black in Mitsuba: images lack the light that they cast."""
    one = mi.load_dict({"type": "pbdr"})
    with pytest.raises(InputError, match="'lamp' shines with a 'mesh_attribute'"):
        one.render(attribute_scene(as_lamp=True, inside=inside), spp=1)
    image = one.render(attribute_scene(as_lamp=False, inside=inside), spp=1)[0]
    assert np.isfinite(image.numpy()).all()


@pytest.mark.parametrize("in_group", [False, True])
def test_media_are_refused(in_group):
    fog = {"type": "homogeneous", "albedo": 0.8, "sigma_t": 1.0}
    cloud = {"type": "sphere", "bsdf": {"type": "null"}, "interior": fog}
    parts = {"type": "scene", "camera": {"type": "perspective"}, "sky": {"type": "constant"}, "cloud": cloud}
    if in_group:
        parts["group"] = {"type": "shapegroup", "cloud": parts.pop("cloud")}
        parts["place"] = {"type": "instance", "group": {"type": "ref", "id": "group"}}
    scene, one = mi.load_dict(parts, optimize=False), mi.load_dict({"type": "pbdr"})
    renderings = (
        one.render,
        lambda scene: one.render_forward(scene, None),
        lambda scene: pbdr.record(one, scene, 0, spp=1, seed=0),
    )
    for render in renderings:
        with pytest.raises(InputError, match=r"'cloud' has a participating medium.*'prbvolpath'"):
            render(scene)
