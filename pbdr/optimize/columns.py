"""Residuals of views and their derivatives by each unknown number, for methods of least squares."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import drjit as dr
import drjit.opt
import mitsuba as mi
import numpy as np

from .gradients import Seeds
from .problem import Problem
from .views.pictures import attached_pictures, recorded_pictures

if TYPE_CHECKING:
    from ..interior.recording import Recording


class Units:
    """One direction for each number of all variables, along which that number alone changes."""

    def __init__(self, problem: Problem, latents: drjit.opt.Optimizer):
        self.latents = latents
        self._problem, self._in_scene = problem, []
        self._numbers = [(v.key, k) for v in problem.variables for k in range(dr.width(latents[v.key]))]

    def __iter__(self) -> Iterator[None]:
        """Give the variables each direction in turn as their tangent."""
        for key, k in self._numbers:
            for variable in self._problem.variables:
                dr.clear_grad(self.latents[variable.key])
            number = dr.arange(mi.UInt32, dr.width(self.latents[key]))
            dr.set_grad(self.latents[key], dr.select(number == dr.opaque(mi.UInt32, k), mi.Float(1), mi.Float(0)))
            yield

    def in_scene(self, recording: Recording) -> list[dict]:
        """The directions of the scene's parameters, the same for all views."""
        if not self._in_scene:
            self._problem.write_scene(self.latents)
            self._in_scene = recording.directions(self)
        return self._in_scene


class ViewColumns:
    """Residuals of a view and their derivatives, all from the same paths where these can be recorded."""

    def __init__(self, problem: Problem, units: Units, index: int, spp: int, seeds: Seeds, *, crossed: bool):
        """Render the view.

        Args:
            crossed: Whether two images may share the samples of residuals and derivatives.
        """
        self._problem, self._units, self._spp = problem, units, spp
        self._view, self._seed = problem.views[index], lambda label: seeds(label, index)
        problem.write_scene(units.latents)
        self._recorded = recorded_pictures(
            problem, self._view, units.latents, spp, self._seed, crossed=crossed, moving=False
        )

    def columns(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Residuals [N] and their derivatives by each number of all variables, one after the other [N, K].

        Returns:
            Of one image, residuals and derivatives with independent noise; or of each of two independent images.
        """
        stacks = self._recorded and self._recorded.recording.jvp(self._units.in_scene(self._recorded.recording))
        residuals, columns = [], []
        for position, _ in enumerate(self._units):
            images = [self._pictures()] if stacks is None else self._recorded_pictures(stacks, position)
            residuals = [self._problem.objective.residuals(pictures["image"]) for pictures in images]
            columns.append(dr.forward_to(residuals))
        dr.eval(residuals, columns)
        by_image = zip(residuals, zip(*columns, strict=True), strict=True)
        return [(_numbers(dr.detach(r)), np.stack([_numbers(c) for c in column], axis=1)) for r, column in by_image]

    def _pictures(self) -> dict:
        """Pictures along the tangents that the variables hold."""
        self._problem.write_scene(self._units.latents)
        return attached_pictures(self._problem, self._view, self._units.latents, self._spp, self._seed)

    def _recorded_pictures(self, stacks: Sequence[mi.TensorXf], position: int) -> list[dict]:
        """Pictures of each recorded image along one of its tangents.

        Args:
            stacks: Derivatives of each image by all numbers. [K, H, W, C] each
        """
        found = []
        for leaf, stack in zip(self._recorded.leaves, stacks, strict=False):
            image = dr.detach(leaf)
            dr.enable_grad(image)
            dr.set_grad(image, stack[position])
            found.append(self._recorded.compare([image]))
        return found


def _numbers(values: mi.Float) -> np.ndarray:
    return np.array(values, np.float64).ravel()
