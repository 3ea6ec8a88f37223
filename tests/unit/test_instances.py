"""Material points on instances of meshes: Mitsuba attaches their positions and tangents, pbdr their normals."""

from __future__ import annotations

import gc

import drjit as dr
import mitsuba as mi
import numpy as np
import pytest

from pbdr.geometry.motion import material_point
from pbdr.geometry.sliding import slide

AXIS = [0.36, 0.48, 0.8]


def ball(smooth: bool, textured: bool) -> mi.Mesh:
    """A coarse ball."""
    rings, columns = 6, 10
    θ, φ = np.meshgrid(np.linspace(0.1, 3.0, rings), np.linspace(0, 2 * np.pi, columns), indexing="ij")
    points = np.stack([np.sin(θ) * np.cos(φ), np.sin(θ) * np.sin(φ), np.cos(θ)], axis=-1).reshape(-1, 3)
    a = (np.arange(rings - 1)[:, None] * columns + np.arange(columns - 1)).ravel()
    faces = np.concatenate([np.stack([a, a + columns, a + 1], 1), np.stack([a + 1, a + columns, a + columns + 1], 1)])
    mesh = mi.Mesh("ball", len(points), len(faces), has_vertex_normals=smooth, has_vertex_texcoords=textured)
    params = mi.traverse(mesh)
    params["vertex_positions"] = np.float32(points).ravel()
    params["faces"] = np.uint32(faces).ravel()
    if smooth:
        params["vertex_normals"] = np.float32(points).ravel()
    if textured:
        params["vertex_texcoords"] = np.stack([φ + 0.3 * θ, θ], axis=-1).astype(np.float32).ravel()
    params.update()
    return mesh


def scene(smooth: bool, textured: bool = False) -> mi.Scene:
    pose = mi.ScalarTransform4f().translate([0.1, 0, 0.2]).rotate([0, 1, 0], 20).scale(0.8)
    group = {"type": "shapegroup", "mesh": ball(smooth, textured)}
    instance = {"type": "instance", "g": {"type": "ref", "id": "group"}, "to_world": pose}
    return mi.load_dict({"type": "scene", "group": group, "box": instance}, optimize=False)


def rays() -> mi.Ray3f:
    rng = np.random.default_rng(1)
    x, z = rng.uniform(-0.4, 0.4, (2, 200)).astype(np.float32)
    return mi.Ray3f(mi.Point3f(mi.Float(x), -3.0, mi.Float(z)), mi.Vector3f(0, 1, 0))


def turned(pose: mi.Transform4f, angle: mi.Float) -> mi.Transform4f:
    return mi.Transform4f().rotate(mi.Vector3f(*AXIS), angle) @ pose


@pytest.mark.parametrize("smooth", [False, True])
def test_normals_turn_with_an_instance(smooth):
    stage, ray = scene(smooth), rays()
    params = mi.traverse(stage)
    pose = mi.Transform4f(params["box.to_world"])
    t = mi.Float(0)
    dr.enable_grad(t)
    params["box.to_world"] = turned(pose, dr.rad2deg(t))
    params.update()
    # Calls into shapes want their tangents beforehand
    dr.set_grad(t, 1)
    dr.forward_from(t, dr.ADFlag.ClearEdges)
    pi = stage.ray_intersect_preliminary(dr.detach(ray))
    si = material_point(pi, ray, mi.RayFlags.All)
    n, sh_n = mi.Vector3f(si.n), mi.Vector3f(si.sh_frame.n)
    slopes = dr.forward_to(n, sh_n)
    assert np.array(si.is_valid()).sum() > 100
    for value, slope in zip((n, sh_n), slopes, strict=True):
        expected = np.cross(AXIS, np.array(dr.detach(value)).T).T
        np.testing.assert_allclose(np.array(slope), expected, atol=1e-4)


@pytest.mark.parametrize(("smooth", "textured"), [(False, False), (True, False), (True, True)])
def test_normals_follow_the_vertices_of_a_member(smooth, textured):
    """As those of the same mesh without a group; shading normals once turned with their triangle alone."""
    grouped, ray = scene(smooth, textured), rays()
    pose = mi.Transform4f(mi.traverse(grouped)["box.to_world"])

    def tilts(stage: mi.Scene, key: str, ray: mi.Ray3f) -> mi.Vector3f:
        params, t = mi.traverse(stage), mi.Float(0)
        motion = np.random.default_rng(4).normal(size=dr.width(params[key])).astype(np.float32)
        dr.enable_grad(t)
        params[key] = params[key] + t * mi.Float(motion)
        params.update()
        dr.set_grad(t, 1)
        dr.forward_from(t, dr.ADFlag.ClearEdges)
        pi = stage.ray_intersect_preliminary(ray)
        assert np.array(pi.is_valid()).sum() > 100
        return mi.Vector3f(dr.forward_to(mi.Vector3f(material_point(pi, ray, mi.RayFlags.All).sh_frame.n)))

    found = np.array(tilts(grouped, "group.mesh.vertex_positions", ray))
    # Calls of several scenes are attached together
    del grouped
    gc.collect()
    alone = mi.load_dict({"type": "scene", "mesh": ball(smooth, textured)}, optimize=False)
    expected = np.array(pose @ tilts(alone, "mesh.vertex_positions", pose.inverse() @ ray)) / 0.8
    assert np.abs(expected).max() > 1
    np.testing.assert_allclose(found, expected, atol=1e-2)


@pytest.mark.parametrize(("smooth", "textured"), [(False, False), (True, False), (True, True)])
def test_normals_change_as_a_point_slides_over_an_instance(smooth, textured):
    stage, ray = scene(smooth, textured), rays()
    step = mi.Vector3f(1e-3, 0, 5e-4)
    pi = stage.ray_intersect_preliminary(ray)
    ahead = mi.Ray3f(ray.o + step, ray.d)
    pi_ahead = stage.ray_intersect_preliminary(ahead)
    si_ahead = pi_ahead.compute_surface_interaction(ahead)
    si = material_point(pi, ray, mi.RayFlags.All | mi.RayFlags.dNSdUV)
    before = np.array(si.sh_frame.n)
    position = mi.Point3f(si.p)
    dr.enable_grad(position)
    dr.set_grad(position, si_ahead.p - si.p)
    n = mi.Vector3f(slide(pi, si, position, mi.Bool(True)).sh_frame.n)
    slope = np.array(dr.forward_to(n))
    same = np.array(pi.is_valid() & (pi.prim_index == pi_ahead.prim_index))
    assert same.sum() > 100
    np.testing.assert_allclose(slope[:, same], (np.array(si_ahead.sh_frame.n) - before)[:, same], atol=2e-5)
    assert (np.abs(slope[:, same]).max() > 1e-4) == smooth
