"""Residuals of views and their derivatives by each unknown number, for methods of least squares."""

from __future__ import annotations

from collections.abc import Iterator
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
            tangent = np.zeros(dr.width(self.latents[key]), np.float32)
            tangent[k] = 1
            dr.set_grad(self.latents[key], mi.Float(tangent))
            yield

    def in_scene(self, recording: Recording) -> list[dict]:
        """The directions of the scene's parameters, the same for all views."""
        if not self._in_scene:
            for _ in self:
                self._problem.write_scene(self.latents)
                self._in_scene.append(recording.direction())
        return self._in_scene


class ViewColumns:
    """Residuals of a view and their derivatives, all from the same paths where these can be recorded."""

    def __init__(self, problem: Problem, units: Units, index: int, spp: int, seeds: Seeds):
        self._problem, self._units, self._spp = problem, units, spp
        self._view, self._seed = problem.views[index], lambda label: seeds(label, index)
        problem.write_scene(units.latents)
        self._recorded = recorded_pictures(problem, self._view, units.latents, spp, self._seed, crossed=False)

    def columns(self) -> tuple[np.ndarray, np.ndarray]:
        """Residuals [N] and their derivatives by each number of all variables, one after the other [N, K]."""
        images = self._recorded and self._image_columns(self._recorded.recording)
        columns = []
        for position, _ in enumerate(self._units):
            pictures = self._pictures() if images is None else self._recorded_pictures(images[position])
            residuals = self._problem.objective.residuals(pictures["image"])
            columns.append(np.array(dr.forward_to(residuals), np.float64).ravel())
        return np.array(dr.detach(residuals), np.float64).ravel(), np.stack(columns, axis=1)

    def _image_columns(self, recording: Recording) -> mi.TensorXf:
        """Derivatives of the recorded image by all numbers. [K, H, W, C]"""
        return recording.jvp(self._units.in_scene(recording))[0]

    def _pictures(self) -> dict:
        """Pictures along the tangents that the variables hold."""
        self._problem.write_scene(self._units.latents)
        return attached_pictures(self._problem, self._view, self._units.latents, self._spp, self._seed)

    def _recorded_pictures(self, tangent: mi.TensorXf) -> dict:
        """Pictures of the recorded image along its tangent."""
        image = dr.detach(self._recorded.leaves[0])
        dr.enable_grad(image)
        dr.set_grad(image, tangent)
        return self._recorded.compare([image])
