"""Meshes as unknowns: topology, smoothing, priors, counts of broken triangles, remeshing."""

from __future__ import annotations

import sys

import drjit as dr
import mitsuba as mi
import numpy as np
import pytest

from pbdr.errors import InputError, MissingExtra
from pbdr.optimize import optimizers
from pbdr.optimize.constraints import find_reparameterization
from pbdr.optimize.entries import OptimizerEntry
from pbdr.optimize.meshes.deformation import Deformation, point_normals
from pbdr.optimize.meshes.health import measure_health, self_intersections
from pbdr.optimize.meshes.regularizers import TERMS, Regularizer
from pbdr.optimize.meshes.remeshing import remesh, require_remeshable, surface_distance
from pbdr.optimize.meshes.surface import Surface, make_surface
from pbdr.optimize.parameters import Variable

from ..ball import ball


def split(V: np.ndarray, F: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same triangles, each with vertices of its own."""
    return V[F].reshape(-1, 3), np.arange(F.size).reshape(-1, 3)


@pytest.fixture
def surface() -> Surface:
    """A sphere of 162 points, bumpy enough to be generic."""
    V, F = ball()
    return make_surface(V * (1 + 0.1 * np.sin(3 * V[:, :1]) * np.cos(4 * V[:, 1:2])), F)


def dense_matrix(surface: Surface, smoothness: float) -> np.ndarray:
    """I + λL from its definition."""
    L = np.zeros((surface.point_count,) * 2)
    for i, j in {tuple(sorted(pair)) for t in surface.triangles for pair in zip(t, np.roll(t, 1), strict=True)}:
        L[i, j] -= 1
        L[j, i] -= 1
    L -= np.diag(L.sum(axis=1))
    return np.eye(len(L)) + smoothness * L


# ---------------------------------------------------------------------- surface


def test_seams_are_welded() -> None:
    V, F = ball()
    whole, parts = make_surface(V, F), make_surface(*split(V, F))
    assert parts.point_count == whole.point_count == 162
    assert len(parts.edges) == len(whole.edges) == 480
    assert len(parts.neighbours) == 480 and parts.is_manifold
    assert np.allclose(parts.points()[parts.point], parts.positions)


def test_borders_and_fans_are_seen() -> None:
    V = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [0, -1, 0.0]])
    strip = make_surface(V, np.array([[0, 1, 2], [0, 3, 1]]))
    assert sorted(strip.counts) == [1, 1, 1, 1, 2] and len(strip.neighbours) == 1
    fan = make_surface(V, np.array([[0, 1, 2], [0, 3, 1], [0, 1, 4]]))
    assert not fan.is_manifold and not len(fan.neighbours)
    with pytest.raises(InputError, match="more than two triangles"):
        require_remeshable(fan, [0.5], "mesh 'fan'")


# ------------------------------------------------------------------ deformation


@pytest.mark.parametrize("smoothness", [1.0, 19.0, 200.0])
def test_large_steps_agree_with_a_dense_solve(surface: Surface, smoothness: float) -> None:
    z = np.random.default_rng(1).normal(size=(surface.point_count, 3))
    deformation = Deformation(surface, smoothness=smoothness, along_normals=False)
    assert deformation.size == z.size
    found = np.array(deformation.positions(mi.Float(z.ravel().astype(np.float32)))).reshape(-1, 3)
    expected = surface.points() + np.linalg.solve(dense_matrix(surface, smoothness), z)
    assert np.allclose(surface.points(found), expected, atol=1e-5)
    assert np.allclose(deformation.latent(found).reshape(-1, 3), z, atol=1e-6 * smoothness * 12 + 1e-5)


@pytest.mark.parametrize("smoothness", [0.0, 19.0])
@pytest.mark.parametrize("along_normals", [False, True])
def test_deformations_are_differentiated_in_both_modes(
    surface: Surface, smoothness: float, along_normals: bool
) -> None:
    rng = np.random.default_rng(2)
    deformation = Deformation(surface, smoothness=smoothness, along_normals=along_normals)
    channels = 1 if along_normals else 3
    tangent, adjoint = rng.normal(size=(surface.point_count, channels)), rng.normal(size=surface.positions.shape)
    A = np.linalg.inv(dense_matrix(surface, smoothness))
    moved = (A @ tangent * point_normals(surface) if along_normals else A @ tangent)[surface.point]
    z = dr.zeros(mi.Float, deformation.size)
    dr.enable_grad(z)
    x = deformation.positions(z)
    assert np.array_equal(np.array(x).reshape(-1, 3), surface.positions.astype(np.float32))
    dr.set_grad(z, mi.Float(tangent.ravel().astype(np.float32)))
    assert np.allclose(np.array(dr.forward_to(x)).reshape(-1, 3), moved, atol=1e-5)
    z = dr.zeros(mi.Float, deformation.size)
    dr.enable_grad(z)
    dr.backward(dr.sum(deformation.positions(z) * mi.Float(adjoint.ravel().astype(np.float32))))
    assert np.isclose(np.sum(np.array(dr.grad(z)) * tangent.ravel()), np.sum(adjoint * moved), rtol=1e-4)


def test_vertices_of_one_point_stay_together() -> None:
    surface = make_surface(*split(*ball(1)))
    for along_normals in (False, True):
        deformation = Deformation(surface, smoothness=5.0, along_normals=along_normals)
        z = np.random.default_rng(3).normal(size=deformation.size).astype(np.float32)
        x = np.array(deformation.positions(mi.Float(z))).reshape(-1, 3)
        assert np.ptp(x - surface.positions, axis=0).min() > 0.1
        assert np.allclose(x, x[surface.first][surface.point], atol=1e-6)


def test_a_missing_package_is_named(surface: Surface, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cholespy", None)
    monkeypatch.setitem(sys.modules, "gpytoolbox", None)
    with pytest.raises(MissingExtra, match=r"needs the package 'cholespy': pip install \"pbdr\[mesh\]\""):
        Deformation(surface, smoothness=19.0, along_normals=False)
    with pytest.raises(MissingExtra, match="gpytoolbox"):
        require_remeshable(surface, [0.2], "mesh 'ball'")
    Deformation(surface, smoothness=0.0, along_normals=True)


# ----------------------------------------------------------------------- priors


def reference_priors(surface: Surface, x: np.ndarray) -> dict[str, float]:
    """The priors by loops over the topology."""
    around = [[] for _ in range(surface.point_count)]
    for i, j in surface.edges:
        around[i].append(j)
        around[j].append(i)
    base = surface.points()
    length = np.mean([np.linalg.norm(base[i] - base[j]) for i, j in surface.edges])
    offsets = [x[i] - x[near].mean(axis=0) for i, near in enumerate(around)]
    a, b, c = (x[surface.triangles[:, k]] for k in range(3))
    n = np.cross(b - a, c - a)
    n /= np.linalg.norm(n, axis=1, keepdims=True)
    lengths = np.array([np.linalg.norm(x[i] - x[j]) for i, j in surface.edges])
    return {
        "laplacian": float(np.mean([np.dot(o, o) for o in offsets])) / length**2,
        "normal_consistency": float(np.mean([1 - np.dot(n[s], n[t]) for s, t in surface.neighbours])),
        "edge_length": float(np.var(lengths) / np.mean(lengths) ** 2),
    }


@pytest.mark.parametrize("name", TERMS)
def test_priors_and_their_gradients(surface: Surface, name: str) -> None:
    rng = np.random.default_rng(4)
    base = surface.positions + 0.02 * rng.normal(size=surface.positions.shape)
    direction = rng.normal(size=base.shape)
    regularizer = Regularizer(surface, {name: 2.0})
    x = mi.Float(base.ravel().astype(np.float32))
    dr.enable_grad(x)
    value = regularizer(x)
    dr.backward(value)
    assert np.isclose(value[0], 2 * reference_priors(surface, surface.points(base))[name], rtol=1e-4)
    ahead, behind = (reference_priors(surface, surface.points(base + h * direction))[name] for h in (1e-5, -1e-5))
    slope = np.sum(np.array(dr.grad(x)).reshape(-1, 3) * direction)
    assert np.isclose(slope, 2 * (ahead - behind) / 2e-5, rtol=2e-3)


def test_priors_do_not_depend_on_scale(surface: Surface) -> None:
    larger = make_surface(7 * surface.positions, surface.faces)
    for name in TERMS:
        small, large = (
            Regularizer(s, {name: 1.0})(mi.Float(s.positions.ravel().astype(np.float32)))[0] for s in (surface, larger)
        )
        assert np.isclose(small, large, rtol=1e-3), name


def test_priors_survive_collapsed_triangles_and_lone_points() -> None:
    V = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0], [9, 9, 9.0]])
    surface = make_surface(V, np.array([[0, 1, 2], [1, 3, 2]]))
    x = mi.Float(np.array([[0, 0, 0], [0, 0, 0], [0, 1, 0], [1, 1, 0], [9, 9, 9]], np.float32).ravel())
    dr.enable_grad(x)
    regularizer = Regularizer(surface, dict.fromkeys(TERMS, 1.0))
    dr.backward(regularizer(x))
    assert np.isfinite(np.array(dr.grad(x))).all()
    assert not np.array(dr.grad(x))[12:].any()


# ----------------------------------------------------------------------- health


def test_a_sphere_is_sound(surface: Surface) -> None:
    health = measure_health(surface, surface.points())
    assert (health.vertices, health.triangles) == (162, 320)
    assert (health.flipped, health.degenerate, health.self_intersecting) == (0, 0, 0)
    assert str(health).startswith("162 vertices, 320 triangles: 0 flipped")


def test_a_flipped_triangle_is_counted() -> None:
    # A grid of squares, one inner corner of which is pulled across the opposite side of one triangle
    n = 5
    V = np.array([(i, j, 0) for i in range(n) for j in range(n)], float)
    F = [(n * i + j, n * i + j + n, n * i + j + 1) for i in range(n - 1) for j in range(n - 1)]
    F += [(n * i + j + n, n * i + j + n + 1, n * i + j + 1) for i in range(n - 1) for j in range(n - 1)]
    surface = make_surface(V, np.array(F))
    assert measure_health(surface, surface.points()).flipped == 0
    points = surface.points().copy()
    corner = surface.point[2 * n + 2]
    points[corner] += (0.6, 0.6, 0)
    folded = measure_health(surface, points)
    assert folded.flipped == 1 and folded.degenerate == 0 and folded.self_intersecting == 0


def test_degenerate_triangles_are_counted() -> None:
    V = np.array([[0, 0, 0], [1, 0, 0], [0.5, 1e-4, 0], [0.5, 1, 0], [0, 0, 0], [2, 2, 2.0]])
    # A needle, a good triangle, and one whose first two corners are one point
    surface = make_surface(V, np.array([[0, 1, 2], [0, 1, 3], [0, 4, 5]]))
    assert measure_health(surface, surface.points()).degenerate == 2


def brute_force_intersections(surface: Surface, x: np.ndarray) -> list[int]:
    """All triangles against all edges that share no point with them."""
    found = set()
    for k, triangle in enumerate(surface.triangles):
        a, b, c = x[triangle]
        for edge in surface.edges:
            if set(edge) & set(triangle):
                continue
            p, q = x[edge]
            # p + t (q − p) = a + u (b − a) + v (c − a)
            M = np.stack([p - q, b - a, c - a], axis=1)
            if abs(np.linalg.det(M)) < 1e-14:
                continue
            t, u, v = np.linalg.solve(M, p - a)
            if 0 < t < 1 and u >= 0 and v >= 0 and u + v <= 1:
                found.add(k)
                found |= {j for j, other in enumerate(surface.triangles) if set(edge) <= set(other)}
    return sorted(found)


def test_intersecting_triangles_are_found_as_by_brute_force() -> None:
    V, F = ball(1)
    surface = make_surface(V, F)
    x = surface.points() * (0.5, 0.4, 0.6)
    pushed = np.where((x[:, 2] > 0.3)[:, None], x - (0.05, 0.02, 0.95), x)
    noisy = x + 0.15 * np.random.default_rng(5).normal(size=x.shape)
    for points in (pushed, noisy):
        expected = brute_force_intersections(surface, points)
        assert expected and self_intersections(surface, points).tolist() == expected
    assert not len(self_intersections(surface, x))


def test_two_separate_balls_intersect_where_they_meet() -> None:
    V, F = ball(1)
    far, near = (
        make_surface(np.concatenate([V, V + np.array([d, 0, 0])]), np.concatenate([F, F + len(V)])) for d in (2.5, 1.8)
    )
    assert measure_health(far, far.points()).self_intersecting == 0
    assert measure_health(near, near.points()).self_intersecting > 4


# -------------------------------------------------------------------- remeshing


def test_remeshing_keeps_the_surface_and_carries_values_over(surface: Surface) -> None:
    finer, transfer = remesh(surface, surface.points(), 0.12)
    assert finer.point_count > 2 * surface.point_count and finer.is_manifold
    lengths = np.linalg.norm(finer.points()[finer.edges[:, 0]] - finer.points()[finer.edges[:, 1]], axis=1)
    assert abs(lengths.mean() - 0.12) < 0.03
    assert measure_health(finer, finer.points()).self_intersecting == 0
    old, new = (surface.positions, surface.faces), (finer.positions, finer.faces)
    assert surface_distance(old, new) < 0.005
    # New points lie on old triangles, and linear functions are carried over exactly
    assert np.allclose(transfer(surface.points()), finer.points(), atol=1e-9)
    assert np.allclose(transfer(np.ones((surface.point_count, 1))), 1)


@pytest.mark.parametrize("length", [1e-4, 3.0])
def test_absurd_edge_lengths_are_refused(surface: Surface, length: float) -> None:
    require_remeshable(surface, [0.1], "mesh 'ball'")
    with pytest.raises(InputError, match=rf"mesh 'ball': 'edge_length' = {length:g} would make about"):
        require_remeshable(surface, [0.1, length], "mesh 'ball'")


def test_distance_of_surfaces() -> None:
    V, F = ball(3)
    assert np.isclose(surface_distance((V, F), (1.1 * V, F)), 0.1, rtol=0.02)
    assert surface_distance((V, F), (V, F)) < 1e-12


# -------------------------------------------------------------------- optimizer


def variable(key: str, size: int, *, is_uniform: bool) -> Variable:
    identity = find_reparameterization("identity", key, (-np.inf, np.inf))
    return Variable(key, (size,), (-np.inf, np.inf), 0.1, identity, np.zeros(size), None, is_uniform=is_uniform)


def test_uniform_variables_step_in_proportion_to_their_gradients() -> None:
    """The first step of Adam is the gradient's sign; of uniform Adam the gradient over its largest entry."""
    variables = [variable("mesh", 3, is_uniform=True), variable("color", 3, is_uniform=False)]
    optimizer = optimizers.make(OptimizerEntry(), variables)
    slope = mi.Float(1, -2, 4)
    dr.backward(dr.sum(slope * optimizer["mesh"]) + dr.sum(slope * optimizer["color"]))
    optimizers.step(optimizer, variables)
    assert np.allclose(optimizer["mesh"], [-0.025, 0.05, -0.1], atol=1e-5)
    assert np.allclose(optimizer["color"], [-0.1, 0.1, -0.1], atol=1e-5)
    assert not optimizer.uniform and set(optimizer.state) == {"mesh", "color"}


@pytest.mark.parametrize(("kind", "powers"), [("adam", {"0.1": 1, "0.2": 2}), ("rmsprop", {"0": 2}), ("sgd", {"0": 1})])
def test_moments_are_carried_over(kind: str, powers: dict[str, int]) -> None:
    variables = [variable("mesh", 3, is_uniform=True), variable("color", 3, is_uniform=False)]
    options = {"momentum": 0.9} if kind == "sgd" else {}
    optimizer = optimizers.make(OptimizerEntry(type=kind, **options), variables)
    for _ in range(3):
        dr.backward(dr.sum(mi.Float(1, -2, 4) * optimizer["mesh"]) + dr.sum(optimizer["color"]))
        optimizers.step(optimizer, variables)
    before = optimizers.state_arrays(optimizer)
    optimizers.transfer(optimizer, "mesh", dr.zeros(mi.Float, 6), lambda values: np.repeat(values, 2), 0.5)
    after = optimizers.state_arrays(optimizer)
    assert after["latent/mesh"].shape == (6,)
    for position, power in powers.items():
        moment = before[f"state/mesh/{position}"]
        assert np.abs(moment).max() > 0
        assert np.allclose(after[f"state/mesh/{position}"], np.repeat(moment, 2) * 0.5**power)
    assert all(np.array_equal(after[name], before[name]) for name in before if "color" in name)
    if kind == "adam":
        assert after["state/mesh/0.0"] == 3
    # And the optimizer goes on
    dr.backward(dr.sum(optimizer["mesh"]))
    optimizers.step(optimizer, variables)
    assert np.isfinite(np.array(optimizer["mesh"])).all()
