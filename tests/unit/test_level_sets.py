"""Level sets by themselves: the net that stands for one, and what moves its points and normals."""

from __future__ import annotations

import drjit as dr
import mitsuba as mi
import numpy as np
import pytest

from pbdr.geometry.edges import mesh_edges
from pbdr.geometry.level_sets import LevelSet
from pbdr.geometry.surface_net import is_closed, refined, surface_net
from pbdr.scene_parameters import describe_parameters

RADIUS = 0.35


def ball(size: int = 16) -> np.ndarray:
    axis = np.linspace(-0.5, 0.5, size)
    return np.linalg.norm(np.meshgrid(axis, axis, axis, indexing="ij"), axis=0) - RADIUS


def scene() -> mi.Scene:
    to_world = mi.ScalarTransform4f().translate([-0.6, -0.6, 0.3]).scale([1.2, 1, 0.8])
    shape = {"type": "sdfgrid", "grid": mi.TensorXf(np.float32(ball()[..., None])), "to_world": to_world}
    return mi.load_dict({"type": "scene", "ball": shape}, optimize=False)


def hits(of: mi.Scene) -> tuple[mi.Point3f, mi.Normal3f]:
    """Points on the ball from all sides, and Mitsuba's shading normals there."""
    rng = np.random.default_rng(1)
    directions = rng.normal(size=(3, 500))
    directions /= np.linalg.norm(directions, axis=0)
    origin = mi.Point3f(np.float32(2 * directions + [[0], [-0.1], [0.7]]))
    si = of.ray_intersect(mi.Ray3f(origin, mi.Vector3f(np.float32(-directions + 0.05 * rng.normal(size=(3, 500))))))
    valid = dr.compress(si.is_valid())
    assert dr.width(valid) > 450
    return dr.gather(mi.Point3f, si.p, valid), dr.gather(mi.Normal3f, si.sh_frame.n, valid)


@pytest.mark.parametrize("factor", [1, 3])
def test_net_is_a_closed_surface_on_the_level_set(factor):
    values = refined(ball(), factor)
    positions, faces = surface_net(values)
    edges = mesh_edges(positions, faces)
    assert is_closed(values)
    assert not (edges[:, 2] == edges[:, 3]).any()
    assert len(positions) - len(edges) + len(faces) == 2
    (shape,) = scene().shapes()
    on_surface = np.array(LevelSet.of(shape).project(mi.Point3f(np.float32(positions.T)))).T
    np.testing.assert_allclose(np.linalg.norm(on_surface - 0.5, axis=1), RADIUS, atol=0.004)


def test_open_surfaces_are_told():
    assert not is_closed(ball() + RADIUS - 0.55)


def test_shading_normals_are_mitsubas_and_have_a_derivative():
    whole = scene()
    level_set = LevelSet.of(whole.shapes()[0])
    p, n = hits(whole)
    np.testing.assert_allclose(np.array(level_set.smooth_normal(p, mi.Bool(True))), np.array(n), atol=1e-5)
    step = mi.Vector3f(0.3, -0.5, 0.8)
    t = mi.Float(0)
    dr.enable_grad(t)
    normal = level_set.smooth_normal(p + step * t, mi.Bool(True))
    dr.forward_from(t)
    h = 1e-3
    ends = [level_set.smooth_normal(p + step * (sign * h), mi.Bool(True)) for sign in (1, -1)]
    expected = np.array(ends[0] - ends[1]) / (2 * h)
    error = np.abs(np.array(dr.grad(normal)) - expected).max(axis=0)
    # A few points lie at a kink
    assert np.mean(error < 0.02 * np.abs(expected).max()) > 0.95


def test_points_follow_the_grid_along_their_normals():
    (shape,) = scene().shapes()
    parameters = mi.traverse(shape)
    t = mi.Float(0)
    dr.enable_grad(t)
    grid = parameters["grid"]
    parameters["grid"] = mi.TensorXf(grid.array + t, grid.shape)
    parameters.update()
    level_set = LevelSet.of(shape)
    p = level_set.project(mi.Point3f(np.float32(surface_net(ball())[0].T)))
    dr.forward_from(t)
    # The grid's own change and that by the motion cancel
    slope = level_set.value(dr.detach(p))[1]
    np.testing.assert_allclose(np.array(dr.dot(slope, mi.Vector3f(dr.grad(p)))), -1, atol=1e-4)
    outward = np.array(p) - 0.5
    assert np.all((np.array(dr.grad(p)) * outward).sum(0) < -0.9 * np.linalg.norm(outward, axis=0))


def test_motion_is_listed_as_differentiable():
    infos = {info.key: info for info in describe_parameters(scene())}
    for key in ("ball.to_world", "ball.grid"):
        assert infos[key].differentiable and infos[key].discontinuous
