"""Loss and gradients of a step, and what in them is not finite."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import drjit as dr
import mitsuba as mi
import numpy as np

from ..errors import InputError
from .losses.objective import Picture
from .problem import Problem
from .views.pictures import attached_pictures, recorded_pictures

#: Random seed by the label of what it is for and the position of a view
Seeds = Callable[[str, int], "mi.UInt32"]


def differentiate(
    problem: Problem,
    latents: Mapping[str, mi.Float],
    views: Sequence[int],
    spp: int,
    seeds: Seeds,
    *,
    crossed: bool = True,
) -> tuple[float, str]:
    """Put the gradient of the mean loss of some views, and of the priors, into the variables.

    Args:
        latents: The optimizer's variables, attached.
        views: Positions in ``problem.views``.
        crossed: Whether images and derivatives may share samples where that leaves the gradient unbiased.

    Returns:
        The loss of the images alone, and the first view and parameter that is not finite; empty if all is.
    """
    for variable in problem.variables:
        dr.set_grad(latents[variable.key], 0)
    checks = []
    for index in views:
        # A backward pass consumes the graph between variables and scene
        problem.write_scene(latents)
        loss = _differentiate_view(problem, latents, index, spp, seeds, 1 / len(views), crossed)
        checks += [dr.detach(loss).array, *_sums(problem, latents)]
    checks += _add_priors(problem, latents)
    # One look at numbers for the whole step
    table = np.array(dr.concat([mi.Float(x) for x in checks])).reshape(-1, 1 + len(problem.variables))
    sources = [f"view '{problem.views[index].name}'" for index in views] + ["the regularization"]
    return float(table[: len(views), 0].sum()), _flaw(problem, table, sources)


def _differentiate_view(problem, latents, index, spp, seeds, weight, crossed) -> mi.TensorXf:
    """Add the gradient of one view's loss; returns the loss."""
    view = problem.views[index]

    def seed(label: str) -> mi.UInt32:
        return seeds(label, index)

    if recorded := recorded_pictures(problem, view, latents, spp, seed, crossed=crossed):
        loss = recorded.objective(recorded.pictures) * weight
        if _reaches(problem, recorded.pictures, loss, view.name):
            dr.backward(loss)
            recorded.finish()
        return loss if recorded.loss is None else recorded.loss * weight
    pictures = attached_pictures(problem, view, latents, spp, seed)
    loss = problem.objective(pictures) * weight
    if _reaches(problem, pictures, loss, view.name):
        dr.backward(loss)
    return loss


def _reaches(problem: Problem, pictures: Mapping[str, Picture], loss: mi.TensorXf, name: str) -> bool:
    """Whether the loss of a view looks at any of its pictures; a derivative must come of it then."""
    looked_at = sorted(problem.objective.pictures & set(pictures))
    if looked_at and not dr.grad_enabled(loss):
        raise InputError(
            f"the loss of view '{name}', which looks at {' and '.join(looked_at)}, does not depend on "
            + ", ".join(f"'{variable.key}'" for variable in problem.variables[:3])
        )
    return bool(looked_at)


def _sums(problem: Problem, latents: Mapping[str, mi.Float]) -> list[mi.Float]:
    return [dr.sum(dr.ravel(dr.grad(latents[v.key]))) for v in problem.variables]


def _add_priors(problem: Problem, latents: Mapping[str, mi.Float]) -> list[mi.Float]:
    """Add the gradients of priors; a row for the finite check where there are any."""
    penalty = sum_of_priors(problem, latents)
    if penalty is None:
        return []
    dr.backward(penalty)
    return [dr.detach(penalty), *_sums(problem, latents)]


def sum_of_priors(problem: Problem, latents: Mapping[str, mi.Float]) -> mi.Float | None:
    """What priors and the regularization of meshes add to the loss; None if there are none. [1]"""
    penalties = [mesh.penalty(latents[mesh.variable.key]) for mesh in problem.meshes]
    penalties += [prior(latents[prior.variable.key]) for prior in problem.priors]
    penalties = [penalty for penalty in penalties if penalty is not None]
    return sum(penalties) if penalties else None


def _flaw(problem: Problem, table: np.ndarray, sources: Sequence[str]) -> str:
    for row, source in zip(table, sources, strict=False):
        if not np.isfinite(row[0]):
            return f"the loss of {source} is {row[0]}"
        for value, variable in zip(row[1:], problem.variables, strict=True):
            if not np.isfinite(value):
                return f"the gradient of parameter '{variable.key}' in {source} is not finite"
    return ""
