"""Rendering what the losses of a job compare with the images of a view."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import drjit as dr
import mitsuba as mi

from ..losses.objective import Picture
from ..parameters import Variable
from .first_hits import render_first_hits
from .view import View, exposed, over_background

if TYPE_CHECKING:
    from ..problem import Problem


def attached_pictures(
    problem: Problem,
    view: View,
    latents: Mapping[str, mi.Float],
    spp: int,
    seed: Callable[[str], mi.UInt32],
) -> dict[str, Picture]:
    """Pictures of a view, attached to the scene's parameters.

    Args:
        spp: Samples per pixel of the image; two independent renderings share them.
        seed: Random seed by the label of what it is for.
    """
    wanted, pictures = problem.objective.pictures, {}
    spp_gradient = problem.job.spp_gradient or spp
    if "image" in wanted:
        count = 2 if problem.objective.is_paired else 1
        renderings, other = [], None
        if isinstance(view.exposure, Variable):
            with dr.suspend_grad():
                other = over_background(_render(problem, view, spp, seed("exposure")), view)
        for k in range(count):
            suffix = " again" * k
            image = mi.render(
                problem.scene,
                problem.parameters,
                sensor=view.sensor,
                integrator=problem.integrator,
                spp=max(1, spp // count),
                spp_grad=max(1, spp_gradient // count),
                seed=seed("primal" + suffix),
                seed_grad=seed("gradient" + suffix),
            )
            renderings.append(exposed(over_background(image, view), view, latents, other))
        pictures["image"] = Picture(renderings, view.target, view.mask)
    return pictures | _geometry(problem, view, spp, seed)


def evaluated_pictures(
    problem: Problem, view: View, latents: Mapping[str, mi.Float], spp: int, seed: Callable[[str], mi.UInt32]
) -> dict[str, Picture]:
    """Pictures of a view without derivatives; see :func:`attached_pictures`.

    The image is there even if no loss looks at it.
    """
    count = 2 if problem.objective.is_paired else 1
    images = [_render(problem, view, max(1, spp // count), seed("evaluation" + " again" * k)) for k in range(count)]
    renderings = [exposed(over_background(image, view), view, latents, None) for image in images]
    return {"image": Picture(renderings, view.target, view.mask)} | _geometry(problem, view, spp, seed)


def _render(problem: Problem, view: View, spp: int, seed: mi.UInt32) -> mi.TensorXf:
    return mi.render(problem.scene, sensor=view.sensor, integrator=problem.integrator, spp=spp, seed=seed)


def _geometry(problem: Problem, view: View, spp: int, seed: Callable[[str], mi.UInt32]) -> dict[str, Picture]:
    """Depth and normals, where a loss looks at them and the view has them."""
    targets = {"depth": view.depth, "normals": view.normals}
    wanted = [name for name in targets if name in problem.objective.pictures and targets[name] is not None]
    if not wanted:
        return {}
    depth, normals, coverage = render_first_hits(problem.scene, view.sensor, spp, seed("first hits"))
    pictures = {}
    for name, rendered in (("depth", depth), ("normals", normals)):
        if name in wanted:
            target = targets[name]
            known = dr.select(dr.sum(dr.abs(target), axis=2) > 0, 1.0, 0.0)
            mask = coverage * mi.TensorXf(known.array, coverage.shape)
            pictures[name] = Picture([rendered], target, mask if view.mask is None else mask * view.mask)
    return pictures
