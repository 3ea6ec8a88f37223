"""Remeshing in the middle of a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import drjit.opt
import mitsuba as mi
import numpy as np

from .. import optimizers

if TYPE_CHECKING:
    from ..problem import Problem


def remesh_due(problem: Problem, optimizer: drjit.opt.Optimizer, step: int) -> Problem:
    """Carry out what the job wants before a step; the optimizer goes on with what it has learned.

    Returns:
        The problem with the new triangles, which the scene holds already; the same problem if nothing is due.
    """
    if not any(mesh.is_remesh_due(step) for mesh in problem.meshes):
        return problem
    meshes = list(problem.meshes)
    for position, mesh in enumerate(meshes):
        while mesh.is_remesh_due(step):
            key = mesh.variable.key
            mesh, transfer, factor = mesh.remesh(optimizer[key])

            def moved(values: np.ndarray, count: int = mesh.channels) -> np.ndarray:
                return transfer(values.reshape(-1, count)).ravel()

            latent = mi.Float(np.zeros(mesh.surface.point_count * mesh.channels, np.float32))
            optimizers.transfer(optimizer, key, latent, moved, factor)
            mi.Log(mi.LogLevel.Info, f"step {step}: mesh '{mesh.name}' has {mesh.surface.point_count} points now")
        meshes[position] = mesh
    return problem.with_meshes(meshes)


def write_meshes(problem: Problem, folder: Path) -> None:
    """Write the scene's recovered meshes as ``<id>.ply``, where there is no scene file to write them with.

    Args:
        folder: Made if it does not exist.
    """
    shapes = {shape.id(): shape for shape in problem.scene.shapes()}
    for mesh in problem.meshes:
        folder.mkdir(parents=True, exist_ok=True)
        shapes[mesh.name].write_ply(str(folder / f"{mesh.name}.ply"))
