"""Textures that are recovered from coarse to fine: the optimizer sees few texels first."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import drjit as dr
import drjit.opt
import mitsuba as mi
import numpy as np

from ..errors import InputError
from . import optimizers
from .constraints import Reparameterization
from .parameters import Variable

if TYPE_CHECKING:
    from .problem import Problem

#: Rows and columns that no level goes below
SMALLEST = 2


@dataclasses.dataclass(frozen=True)
class Grid:
    """Texels between which a finer image of the same area is interpolated.

    Example:
        >>> Grid((4, 8), wraps=True).resampling((8, 16))
    """

    size: tuple[int, int]  #: rows, columns
    wraps: bool  #: whether the last column borders on the first, as in an environment map

    def resampling(self, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        """Where texels of another grid lie between this one's.

        Returns:
            Four texels of this grid for each of the other, and their weights. [4, H·W] each
        """
        (low, high, v), (left, right, u) = (
            _between(coarse, fine, wraps)
            for coarse, fine, wraps in zip(self.size, size, (False, self.wraps), strict=True)
        )
        corners = [(row, column) for row in (low, high) for column in (left, right)]
        weights = [a[:, None] * b[None, :] for a in (1 - v, v) for b in (1 - u, u)]
        indices = [row[:, None] * self.size[1] + column[None, :] for row, column in corners]
        return np.stack([i.ravel() for i in indices]), np.stack([w.ravel() for w in weights])

    def resampled(self, values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """Values on another grid: interpolated, or averaged where it is coarser. [h, w, C] → [H, W, C]"""
        channels = values.shape[-1]
        if size[0] >= self.size[0] and size[1] >= self.size[1]:
            indices, weights = self.resampling(size)
            flat = values.reshape(-1, channels)
            return (flat[indices] * weights[..., None]).sum(axis=0).reshape(*size, channels)
        # Averages over the area of each coarser texel
        rows, columns = (_area(fine, coarse) for fine, coarse in zip(self.size, size, strict=True))
        return np.einsum("ij,kl,jlc->ikc", rows, columns, values, optimize=True)


def _between(coarse: int, fine: int, wraps: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Along one axis: the texels below and above, and the share of the one above."""
    position = (np.arange(fine) + 0.5) * coarse / fine - 0.5
    if not wraps:
        position = np.clip(position, 0, coarse - 1)
    low = np.floor(position).astype(int)
    if wraps:
        return low % coarse, (low + 1) % coarse, position - low
    return low, np.minimum(low + 1, coarse - 1), position - low


def _area(fine: int, coarse: int) -> np.ndarray:
    """Share of each finer texel in each coarser one. [coarse, fine]"""
    edges, borders = np.arange(fine + 1) / fine, np.arange(coarse + 1) / coarse
    overlap = np.minimum(edges[None, 1:], borders[1:, None]) - np.maximum(edges[None, :-1], borders[:-1, None])
    overlap = np.maximum(overlap, 0)
    return overlap / overlap.sum(axis=1, keepdims=True)


@dataclasses.dataclass(frozen=True)
class Refinement:
    """A texture whose resolution doubles at given steps.

    Example:
        >>> refinement.at_step(0).variable
    """

    full: Variable  #: with all texels
    steps: tuple[int, ...]
    halo: int  #: columns that Mitsuba repeats on each side
    level: int = 0  #: how often the resolution has doubled

    @property
    def grid(self) -> Grid:
        """The texels that the optimizer sees."""
        halvings = len(self.steps) - self.level
        height, width = self._size
        return Grid((_halved(height, halvings), _halved(width, halvings)), wraps=self.halo > 0)

    @property
    def _size(self) -> tuple[int, int]:
        return self.full.shape[0], self.full.shape[1] - 2 * self.halo

    @property
    def variable(self) -> Variable:
        """The unknown at this level, whose parameter values still have all texels."""
        if self.level == len(self.steps) and not self.halo:
            return self.full
        inner, grid, channels, (height, width) = (
            self.full.reparameterization,
            self.grid,
            self.full.shape[-1],
            self._size,
        )
        indices, weights = grid.resampling((height, width))
        columns = np.arange(-self.halo, width + self.halo) % width
        picked = (np.arange(height)[:, None] * width + columns[None, :]).ravel()
        indices, weights = indices[:, picked], weights[:, picked]
        taps = [
            ((i[:, None] * channels + np.arange(channels)).ravel(), np.repeat(w, channels))
            for i, w in zip(indices, weights, strict=True)
        ]

        def forward(latent: mi.Float, low: float, high: float) -> mi.Float:
            total = 0
            for index, weight in taps:
                texel = dr.gather(mi.Float, latent, mi.UInt32(index.astype(np.uint32)))
                total = total + texel * mi.Float(weight.astype(np.float32))
            return inner.forward(total, low, high)

        def inverse(values: np.ndarray, low: float, high: float) -> np.ndarray:
            latent = np.asarray(inner.inverse(values, low, high))
            if latent.size != np.prod(self.full.shape):
                return latent
            latent = latent.reshape(self.full.shape)[:, self.halo : self.full.shape[1] - self.halo]
            return Grid((height, width), grid.wraps).resampled(latent, grid.size).ravel()

        mapping = Reparameterization(forward, inverse, inner.is_bounded)
        return dataclasses.replace(self.full, reparameterization=mapping)

    def at_step(self, step: int) -> Refinement:
        """The refinement as it is while a step is taken."""
        return dataclasses.replace(self, level=sum(at <= step for at in self.steps))

    def moved(self, values: np.ndarray, other: Refinement) -> np.ndarray:
        """Numbers at this level's texels, carried over to another level's."""
        channels = self.full.shape[-1]
        return self.grid.resampled(values.reshape(*self.grid.size, channels), other.grid.size).ravel()


def _halved(count: int, times: int) -> int:
    return max(min(count, SMALLEST), -(-count // 2**times))


def make_refinement(variable: Variable, steps: tuple[int, ...], is_environment: bool, where: str) -> Refinement:
    """Check an entry ``refine`` of a job."""
    if len(variable.shape) != 3:
        raise InputError(f"{where}: 'refine' is for textures; '{variable.key}' is none")
    return Refinement(variable, steps, halo=1 if is_environment else 0)


def refine_due(problem: Problem, optimizer: drjit.opt.Optimizer, step: int) -> Problem:
    """Double the resolutions that a job wants doubled before a step; the optimizer goes on with what it has learned."""
    due = [r for r in problem.refinements if r.at_step(step).level != r.level]
    for old in due:
        new, key = old.at_step(step), old.full.key

        def move(values: np.ndarray, old: Refinement = old, new: Refinement = new) -> np.ndarray:
            return old.moved(values, new)

        latent = mi.Float(move(np.array(dr.detach(optimizer[key]))).astype(np.float32))
        share = np.prod(old.grid.size) / np.prod(new.grid.size)
        optimizers.transfer(optimizer, key, latent, move, float(share))
        mi.Log(mi.LogLevel.Info, f"step {step}: '{key}' has {new.grid.size[1]} × {new.grid.size[0]} texels now")
    return with_levels(problem, step) if due else problem


def with_levels(problem: Problem, step: int) -> Problem:
    """The problem as it is while a step is taken."""
    refinements = [refinement.at_step(step) for refinement in problem.refinements]
    variables = {refinement.full.key: refinement.variable for refinement in refinements}
    priors = [dataclasses.replace(p, variable=variables.get(p.variable.key, p.variable)) for p in problem.priors]
    return dataclasses.replace(
        problem,
        refinements=refinements,
        priors=priors,
        variables=[variables.get(variable.key, variable) for variable in problem.variables],
    )
