"""The operator that turns steps of single vertices into large, smooth ones."""

from __future__ import annotations

import drjit as dr
import mitsuba as mi
import numpy as np

from ...errors import MissingExtra


class Smoothing:
    """(I + λL)⁻¹, with L the combinatorial Laplacian of a mesh: its number of neighbours minus their sum.

    [Nicolet et al. 2021, "Large steps in inverse rendering of geometry"] A step along (I + λL)⁻¹ of a variable
    moves each vertex together with its surroundings, over about √λ edges. The matrix is factored once.

    Args:
        count: W, the number of points.
        edges: Pairs of points, each once. [E, 2]
        smoothness: λ

    Example:
        >>> Smoothing(2, np.array([[0, 1]]), 1.0).multiply(np.array([[1.0], [0.0]])).tolist()
        [[2.0], [-1.0]]
    """

    def __init__(self, count: int, edges: np.ndarray, smoothness: float):
        try:
            from cholespy import CholeskySolverD, CholeskySolverF, MatrixType
        except ImportError:
            raise MissingExtra("a mesh with 'smoothness'", package="cholespy", extra="mesh") from None
        self._edges, self._smoothness = edges, smoothness
        self._degree = np.bincount(edges.ravel(), minlength=count).astype(np.float64)
        i, j = edges.T
        rows, columns = (np.concatenate(parts) for parts in ((np.arange(count), i, j), (np.arange(count), j, i)))
        values = np.concatenate([1 + smoothness * self._degree, np.full(2 * len(edges), -smoothness)])
        solver = CholeskySolverD if "double" in mi.variant() else CholeskySolverF
        self._solver = solver(
            count, mi.TensorXi(rows.astype(np.int32)), mi.TensorXi(columns.astype(np.int32)), mi.TensorXd(values),
            MatrixType.COO,
        )  # fmt: skip

    def solve(self, values: mi.TensorXf) -> mi.TensorXf:
        """(I + λL)⁻¹ u, attached. [W, k]

        Args:
            values: u [W, k]
        """
        return dr.custom(_Solve, self._solver, values)

    def multiply(self, values: np.ndarray) -> np.ndarray:
        """(I + λL) v. [W, k]

        Args:
            values: v [W, k]
        """
        i, j = self._edges.T
        result = values * (1 + self._smoothness * self._degree)[:, None]
        np.subtract.at(result, i, self._smoothness * values[j])
        np.subtract.at(result, j, self._smoothness * values[i])
        return result


class _Solve(dr.CustomOp):
    """A symmetric linear system, whose derivative in both modes is the same system."""

    def eval(self, solver, values):
        self.solver = solver
        return self._solved(values)

    def forward(self):
        self.set_grad_out(self._solved(self.grad_in("values")))

    def backward(self):
        self.set_grad_in("values", self._solved(self.grad_out()))

    def name(self):
        return "Cholesky solve"

    def _solved(self, values: mi.TensorXf) -> mi.TensorXf:
        values = mi.TensorXf(dr.detach(values))
        result = dr.empty(mi.TensorXf, shape=values.shape)
        self.solver.solve(values, result)
        return result
