"""What is said of scenes whose derivatives leave something out."""

from __future__ import annotations

import re

import drjit as dr
import mitsuba as mi
import numpy as np
import pytest

from pbdr.transport.caveats import caveats, clipping_caveats, shading_caveats

SQUARE = np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]])


def scene(thing, **camera) -> mi.Scene:
    """Seen from the height 5."""
    to_world = mi.ScalarTransform4f().look_at(origin=[0, 0, 5], target=[0, 0, 0], up=[0, 1, 0])
    sensor = {"type": "perspective", "fov": 40, "to_world": to_world, **camera}
    return mi.load_dict({"type": "scene", "camera": sensor, "thing": thing}, optimize=False)


def tilted(degrees: float, **properties) -> mi.Mesh:
    """A square whose normals lean outward."""
    props = mi.Properties()
    for name, value in properties.items():
        props[name] = value
    mesh = mi.Mesh("thing", 4, 2, props=props, has_vertex_normals=True)
    params = mi.traverse(mesh)
    params["vertex_positions"] = np.float32(SQUARE).ravel()
    params["faces"] = np.uint32([0, 1, 2, 0, 2, 3])
    params.update()
    angle = np.radians(degrees)
    normals = np.column_stack([SQUARE[:, :2] / np.sqrt(2) * np.sin(angle), np.full(4, np.cos(angle))])
    params["vertex_normals"] = np.float32(normals).ravel()
    params.update()
    mesh.set_id("thing")
    return mesh


def attach(built: mi.Scene, key: str) -> None:
    params = mi.traverse(built)
    dr.enable_grad(params[key])
    params.update()


@pytest.mark.parametrize(
    ("degrees", "key", "words"),
    [
        (20, "thing.vertex_positions", None),  # Mitsuba computes them anew then, and the square is flat
        (20, "camera.to_world", "'thing' has vertex normals 20 degrees"),
        (20, "thing.vertex_normals", "'thing' has vertex normals 20 degrees"),
        (20, "thing.bsdf.reflectance.value", None),
        (5, "camera.to_world", None),
    ],
)
def test_coarse_normals(degrees, key, words):
    built = scene(tilted(degrees))
    attach(built, key)
    said = shading_caveats(built)
    assert len(said) == (words is not None)
    assert all(words in sentence for sentence in said)


@pytest.mark.parametrize(("kind", "texture"), [("normal", "normalmap"), ("bump", "nested_texture")])
def test_maps_of_normals(kind, texture):
    bitmap = {"type": "bitmap", "raw": True, "bitmap": mi.Bitmap(np.full((2, 2, 3), 0.5, np.float32))}
    bsdf = {"type": f"{kind}map", texture: bitmap, "nested": {"type": "diffuse"}}
    for key, count in ((f"thing.bsdf.{texture}.data", 1), ("thing.bsdf.nested_bsdf.reflectance.value", 0)):
        built = scene({"type": "rectangle", "bsdf": bsdf})
        attach(built, key)
        assert [f"has a {kind} map" in sentence for sentence in shading_caveats(built)] == [True] * count


def textured_lamp(texcoords: np.ndarray) -> mi.Mesh:
    """Two triangles that shine, with texture coordinates of their own. [6, 2]"""
    texels = mi.Bitmap(np.random.default_rng(0).uniform(0.1, 1, (2, 2, 3)).astype(np.float32))
    props = mi.Properties()
    radiance = {"type": "bitmap", "raw": True, "bitmap": texels}
    props["emitter"] = mi.load_dict({"type": "area", "radiance": radiance})
    mesh = mi.Mesh("thing", 6, 2, props=props, has_vertex_texcoords=True)
    params = mi.traverse(mesh)
    params["vertex_positions"] = np.float32(SQUARE[[0, 1, 2, 0, 2, 3]]).ravel()
    params["vertex_texcoords"] = np.float32(texcoords).ravel()
    params["faces"] = np.arange(6, dtype=np.uint32)
    params.update()
    mesh.set_id("thing")
    return mesh


UNWRAPPED = SQUARE[[0, 1, 2, 0, 2, 3], :2] / 2 + 0.5


@pytest.mark.parametrize(
    ("texcoords", "share"),
    [
        (UNWRAPPED, None),
        (UNWRAPPED[[0, 1, 2, 0, 1, 2]], 50),
        (np.concatenate([UNWRAPPED[:3], UNWRAPPED[3:] + 1]), 50),
        (2 * UNWRAPPED, 75),
    ],
)
def test_lamps_whose_texture_coordinates_overlap(texcoords, share):
    """Both triangles in the same half of the texture, or one of them outside, or most of a texture that repeats."""
    built = scene(textured_lamp(texcoords))
    assert caveats(built) == []
    attach(built, "thing.vertex_positions")
    said = caveats(built)
    assert len(said) == (share is not None)
    for sentence in said:
        percent = re.search(r"'thing' shines with a texture, and (\d+)% of its surface", sentence)
        assert int(percent[1]) == pytest.approx(share, abs=2)


def test_textured_cubes_that_shine():
    """Six faces share one square."""
    texels = mi.Bitmap(np.full((2, 2, 3), 0.5, np.float32))
    radiance = {"type": "bitmap", "raw": True, "bitmap": texels}
    built = scene({"type": "cube", "emitter": {"type": "area", "radiance": radiance}})
    attach(built, "camera.to_world")
    assert "83% of its surface" in caveats(built)[0]


@pytest.mark.parametrize("kind", ["cube", "sphere", "cylinder", "rectangle"])
@pytest.mark.parametrize(
    ("clips", "plane"), [({"near_clip": 5.0}, "near"), ({"far_clip": 5.0}, "far"), ({"near_clip": 1.0}, None)]
)
def test_clipping_planes(kind, clips, plane):
    upright = mi.ScalarTransform4f().rotate([1, 0, 0], 70)
    built = scene({"type": kind, "to_world": upright}, **clips)
    assert clipping_caveats(built, built.sensors()[0]) == []
    attach(built, "thing.to_world" if kind in ("sphere", "cylinder") else "camera.to_world")
    said = clipping_caveats(built, built.sensors()[0])
    assert len(said) == (plane is not None)
    assert all(f"the {plane} clipping plane of sensor 'camera' cuts shape 'thing'" in sentence for sentence in said)


def test_planes_that_cut_out_of_view():
    """A floor passes the camera's plane far from what it sees, and so does a room around it."""
    floor = mi.ScalarTransform4f().translate([0, -1, 0]).rotate([1, 0, 0], -90).scale(100)
    for thing in ({"type": "rectangle", "to_world": floor}, {"type": "sphere", "radius": 20.0}):
        built = scene(thing)
        attach(built, "camera.to_world")
        assert clipping_caveats(built, built.sensors()[0]) == []


def test_instances_are_cut():
    group = {"type": "shapegroup", "cube": {"type": "cube"}}
    parts = {"type": "scene", "camera": {"type": "perspective", "near_clip": 5.0}, "group": group}
    place = mi.ScalarTransform4f().translate([0, 0, 5])
    parts["thing"] = {"type": "instance", "to_world": place, "group": {"type": "ref", "id": "group"}}
    built = mi.load_dict(parts, optimize=False)
    attach(built, "thing.to_world")
    assert "cuts shape 'thing'" in clipping_caveats(built, built.sensors()[0])[0]
