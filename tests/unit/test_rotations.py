"""Rotations as variables: both representations are the same rotation, smooth where a run begins."""

from __future__ import annotations

import drjit as dr
import mitsuba as mi
import numpy as np
import pytest

from pbdr.optimize.rotations import REPRESENTATIONS, angle_between, matrix_vector, vector_matrix

VECTORS = [(0, 0, 0), (1e-4, 0, 0), (0, 0, 90), (12, 38, -8), (-100, 60, 80), (179, 0, 0), (0, -179.9, 0)]


def numbers_of(matrix: mi.Matrix3f) -> np.ndarray:
    """A matrix of width 1. [3, 3]"""
    return np.array([[float(matrix[i, j][0]) for j in range(3)] for i in range(3)])


@pytest.mark.parametrize("vector", VECTORS)
def test_vectors_and_matrices(vector: tuple) -> None:
    matrix = vector_matrix(np.array(vector))
    assert np.allclose(matrix @ matrix.T, np.eye(3)) and np.linalg.det(matrix) == pytest.approx(1)
    assert np.allclose(matrix_vector(matrix), vector, atol=1e-6)
    if any(vector):
        turned = mi.ScalarTransform4f().rotate(vector / np.linalg.norm(vector), np.linalg.norm(vector)).matrix
        assert np.allclose(matrix, np.array(turned)[:3, :3], atol=1e-6)


def test_half_a_turn() -> None:
    assert np.abs(matrix_vector(vector_matrix(np.array([0, 180, 0])))) == pytest.approx([0, 180, 0])


def test_angles() -> None:
    assert angle_between(np.array([0, 0, 350]), np.array([0, 0, 20])) == pytest.approx(30)
    assert angle_between(np.array([5, 6, 7]), np.array([5, 6, 7])) == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("name", REPRESENTATIONS)
@pytest.mark.parametrize("vector", VECTORS)
def test_representations(name: str, vector: tuple) -> None:
    representation = REPRESENTATIONS[name]
    latent = np.array(representation.latent(np.array(vector)), np.float32)
    assert np.allclose(numbers_of(representation.matrix(mi.Float(latent))), vector_matrix(np.array(vector)), atol=2e-6)


@pytest.mark.parametrize("name", REPRESENTATIONS)
@pytest.mark.parametrize("vector", [(0, 0, 0), (0.03, 0, 0.02), (12, 38, -8)])
def test_derivatives(name: str, vector: tuple) -> None:
    representation = REPRESENTATIONS[name]
    weights = np.random.default_rng(1).normal(size=(3, 3))
    start = np.array(representation.latent(np.array(vector)), np.float64)

    def scalar(latent: mi.Float) -> mi.Float:
        matrix = representation.matrix(latent)
        return sum(matrix[i, j] * float(weights[i, j]) for i in range(3) for j in range(3))

    latent = mi.Float(start.astype(np.float32))
    dr.enable_grad(latent)
    dr.backward(scalar(latent))
    for k, step in enumerate(2.0 * np.eye(len(start))):
        ends = [float(scalar(mi.Float((start + sign * step).astype(np.float32)))[0]) for sign in (1, -1)]
        assert latent.grad[k] == pytest.approx((ends[0] - ends[1]) / 4, rel=5e-3, abs=1e-4)
