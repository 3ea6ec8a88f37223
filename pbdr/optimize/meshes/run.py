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
    from .unknown import MeshUnknown


def remesh_due(problem: Problem, optimizer: drjit.opt.Optimizer, step: int) -> Problem:
    """Carry out what the job wants before a step; the optimizer goes on with what it has learned.

    Returns:
        The problem with the new triangles, which the scene holds already; the same problem if nothing is due.
    """
    if not any(mesh.is_remesh_due(step) for mesh in problem.meshes):
        return problem
    before = dict(optimizer.state)
    try:
        return problem.with_meshes([_remeshed(mesh, optimizer, step) for mesh in problem.meshes])
    except KeyboardInterrupt:
        # What is saved now must fit together
        optimizer.state.update(before)
        problem.with_meshes(problem.meshes)
        raise


def _remeshed(mesh: MeshUnknown, optimizer: drjit.opt.Optimizer, step: int) -> MeshUnknown:
    """A mesh with what is due, and its variable in the optimizer."""
    while mesh.is_remesh_due(step):
        key, count = mesh.variable.key, mesh.channels
        mesh, transfer, factor = mesh.remesh(optimizer[key])
        latent = mi.Float(np.zeros(mesh.surface.point_count * count, np.float32))
        optimizers.transfer(
            optimizer, key, latent, lambda values, take=transfer: take(values.reshape(-1, count)).ravel(), factor
        )
        mi.Log(mi.LogLevel.Info, f"step {step}: mesh '{mesh.name}' has {mesh.surface.point_count} points now")
    return mesh


def write_meshes(problem: Problem, folder: Path) -> None:
    """Write the scene's recovered meshes as ``<id>.ply``, where there is no scene file to write them with.

    Args:
        folder: Made if it does not exist.
    """
    shapes = {shape.id(): shape for shape in problem.scene.shapes()}
    for mesh in problem.meshes:
        folder.mkdir(parents=True, exist_ok=True)
        shapes[mesh.name].write_ply(str(folder / f"{mesh.name}.ply"))
