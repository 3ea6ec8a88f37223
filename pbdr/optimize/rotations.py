"""Rotations as variables of an optimizer: rotation vectors and the continuous six numbers, both in degrees."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import drjit as dr
import mitsuba as mi
import numpy as np

#: Squared angle, radians², below which a rotation is replaced by its series; single precision sees no difference
_SMALL = 1e-6
_DEGREE = np.pi / 180


@dataclasses.dataclass(frozen=True)
class Representation:
    """How the optimizer sees a rotation."""

    matrix: Callable[[mi.Float], mi.Matrix3f]  #: of the variable, attached
    latent: Callable[[np.ndarray], np.ndarray]  #: the variable of a rotation vector in degrees [3]


def vector_matrix(vector: np.ndarray) -> np.ndarray:
    """The matrix of a rotation vector in degrees. [3, 3]

    Example:
        >>> vector_matrix(np.array([0, 0, 90])).round().tolist()
        [[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
    """
    v = np.asarray(vector, np.float64) * _DEGREE
    angle = np.linalg.norm(v)
    x, y, z = v / angle if angle else v
    K = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * K + (1 - np.cos(angle)) * K @ K


def matrix_vector(matrix: np.ndarray) -> np.ndarray:
    """The rotation vector of a matrix, in degrees and at most 180 long. [3]"""
    R = np.asarray(matrix, np.float64)
    # Quaternion from the largest of its four components, which never divides by a small number
    squares = np.array([np.trace(R), R[0, 0], R[1, 1], R[2, 2]])
    k = int(np.argmax(squares))
    q = np.empty(4)
    if k == 0:
        q[:] = 1 + squares[0], R[2, 1] - R[1, 2], R[0, 2] - R[2, 0], R[1, 0] - R[0, 1]
    else:
        i, j, m = k - 1, k % 3, (k + 1) % 3
        q[0] = R[m, j] - R[j, m]
        q[1 + i], q[1 + j], q[1 + m] = 1 + R[i, i] - R[j, j] - R[m, m], R[j, i] + R[i, j], R[m, i] + R[i, m]
    q *= (1 if q[0] >= 0 else -1) / np.linalg.norm(q)
    sine = np.linalg.norm(q[1:])
    angle = 2 * np.arctan2(sine, q[0])
    return q[1:] * ((angle / sine if sine > 0 else 2) / _DEGREE)


def angle_between(first: np.ndarray, second: np.ndarray) -> float:
    """Angle of the rotation from one rotation vector to another, all in degrees."""
    return float(np.linalg.norm(matrix_vector(vector_matrix(first).T @ vector_matrix(second))))


def _matrix_of_vector(latent: mi.Float) -> mi.Matrix3f:
    """R = I + sin|v|/|v| K + (1 − cos|v|)/|v|² K², with K w = v × w (Rodrigues).

    Args:
        latent: Rotation vector, degrees. [3]
    """
    v = dr.unravel(mi.Vector3f, latent) * _DEGREE
    squared = dr.squared_norm(v)
    # Clamped, so that the branch that is not taken has a finite derivative
    angle = dr.sqrt(dr.maximum(squared, _SMALL))
    small = squared < _SMALL
    a = dr.select(small, 1 - squared / 6, dr.sin(angle) / angle)
    b = dr.select(small, 0.5 - squared / 24, 2 * dr.square(dr.sin(0.5 * angle) / angle))
    K = mi.Matrix3f(0, -v.z, v.y, v.z, 0, -v.x, -v.y, v.x, 0)
    return mi.Matrix3f(1) + a * K + b * (K @ K)


def _matrix_of_columns(latent: mi.Float) -> mi.Matrix3f:
    """The first two columns of a matrix by Gram–Schmidt, the third by their product.

    [Zhou et al. 2019, "On the continuity of rotation representations in neural networks"]

    Args:
        latent: Two vectors of any length. [6]
    """
    first, second = (mi.Vector3f(*(dr.gather(mi.Float, latent, 3 * k + i) for i in range(3))) for k in range(2))
    x = dr.normalize(first)
    y = dr.normalize(second - x * dr.dot(x, second))
    z = dr.cross(x, y)
    return mi.Matrix3f(x.x, y.x, z.x, x.y, y.y, z.y, x.z, y.z, z.z)


def _columns(vector: np.ndarray) -> np.ndarray:
    """Two columns of a rotation matrix, so long that a change by 1 turns them by about a degree. [6]"""
    return vector_matrix(vector)[:, :2].T.ravel() / _DEGREE


#: By the name that a job gives
REPRESENTATIONS = {
    "rotation_vector": Representation(_matrix_of_vector, lambda vector: np.asarray(vector, np.float64)),
    "6d": Representation(_matrix_of_columns, _columns),
}
