"""Rendering what the losses of a job compare with the images of a view."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import drjit as dr
import mitsuba as mi

from ...capabilities import is_own
from ...gradient_step import record
from ..losses.objective import SPLATTED, Objective, Picture
from ..parameters import Variable
from .first_hits import render_first_hits
from .view import View, exposed, over_background

if TYPE_CHECKING:
    from ...gradient_step import Memory
    from ...interior.moving_recording import MovingRecording
    from ...interior.recording import Recording
    from ..problem import Problem


@dataclasses.dataclass(frozen=True)
class Recorded:
    """Pictures of a view whose images were recorded: derivatives come in two parts."""

    objective: Objective  #: the losses as they are to be differentiated
    pictures: dict[str, Picture]
    recording: Recording | MovingRecording
    leaves: list[mi.TensorXf]  #: the images that the pictures are made of
    compare: Callable[[list[mi.TensorXf]], dict[str, Picture]]  #: pictures of other images
    loss: mi.TensorXf | None  #: where it is not ``objective`` of ``pictures``
    memory: Memory | None  #: of earlier steps

    def finish(self) -> None:
        """Carry the derivatives that have arrived at the images on to the scene's parameters."""
        adjoints = [dr.grad(leaf) for leaf in self.leaves]
        self.recording.backward(adjoints)
        if self.memory:
            self.memory.learn(self.recording, adjoints)


def recorded_pictures(
    problem: Problem,
    view: View,
    latents: Mapping[str, mi.Float],
    spp: int,
    seed: Callable[[str], mi.UInt32],
    *,
    crossed: bool,
    moving: bool = True,
) -> Recorded | None:
    """Pictures of a view at a fraction of the cost of :func:`attached_pictures`, where the problem allows.

    Squared errors take two independent images, whose samples also serve the derivative; other losses an image, and
    another one for the derivative.

    Args:
        crossed: Whether image and derivative may share samples.
        moving: Whether something may move if they do; such recordings have no forward derivatives.

    Returns:
        None if something moves that must not, if the integrator is not one of pbdr's, or if no loss looks at images or
        their alpha.
    """
    if not problem.objective.pictures & SPLATTED:
        return None
    objective, memory = problem.objective.crossed() if crossed else None, problem.memory
    if objective is None and problem.objective.is_paired:
        return None
    recording = _recording(problem, view, spp, seed("gradient"), is_crossed=objective is not None, moving=moving)
    if recording is None:
        return None
    with dr.suspend_grad():
        images = recording.images if objective else [_render(problem, view, spp, seed("primal"))]
        if memory:
            images = memory.images(recording, problem.values_in_scene())
        other = None
        if isinstance(view.exposure, Variable) and not objective:
            other = over_background(_render(problem, view, spp, seed("exposure")), view)
    geometry = _geometry(problem, view, spp, seed)

    def compare(images: list[mi.TensorXf]) -> dict[str, Picture]:
        colors = [over_background(image, view) for image in images]
        renderings = [exposed(color, view, latents, color if objective else other) for color in colors]
        return _splatted(problem, view, images, renderings) | geometry

    leaves = [dr.detach(image) for image in images]
    dr.enable_grad(leaves)
    pictures, loss = compare(leaves), None
    if objective and not problem.objective.is_paired:
        loss = _loss_of_means(problem, view, leaves, pictures["image"].renderings, geometry)
    return Recorded(objective or problem.objective, pictures, recording, leaves, compare, loss, memory)


def _recording(
    problem: Problem, view: View, spp: int, seed: mi.UInt32, *, is_crossed: bool, moving: bool
) -> Recording | MovingRecording | None:
    """One image whose samples serve the derivative alone, or two that serve both; None where that cannot be had."""
    memory, spp_gradient = problem.memory, problem.job.spp_gradient or spp
    recording = record(
        problem.integrator,
        problem.scene,
        view.sensor,
        spp=max(1, max(spp, spp_gradient) // 2) if is_crossed else spp_gradient,
        seed=seed,
        images=2 if is_crossed else 1,
        memory=memory,
        # Other pictures, such as depth, carry derivatives of what moves by themselves
        moving=moving and is_crossed and memory is None and problem.objective.pictures <= SPLATTED,
    )
    return memory.require(recording) if memory else recording


def _loss_of_means(
    problem: Problem,
    view: View,
    images: list[mi.TensorXf],
    renderings: list[mi.TensorXf],
    geometry: dict[str, Picture],
) -> mi.TensorXf:
    """The loss of one image that has the samples of two, detached."""
    with dr.suspend_grad():
        image, rendering = (sum(dr.detach(x) for x in pair) / 2 for pair in (images, renderings))
        return problem.objective(_splatted(problem, view, [image], [rendering]) | geometry)


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
    pictures = {}
    spp_gradient = problem.job.spp_gradient or spp
    if problem.objective.pictures & SPLATTED:
        count = 2 if problem.objective.is_paired else 1
        images, other = [], None
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
            images.append(image)
        renderings = [exposed(over_background(image, view), view, latents, other) for image in images]
        pictures = _splatted(problem, view, images, renderings)
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
    return _splatted(problem, view, images, renderings) | _geometry(problem, view, spp, seed)


def _splatted(
    problem: Problem, view: View, images: list[mi.TensorXf], renderings: list[mi.TensorXf]
) -> dict[str, Picture]:
    """What films hold: colours, and alpha where a loss looks at it and the view has it.

    Args:
        images: As rendered. [H, W, C] each
        renderings: Their colours, as they are to be compared. [H, W, 3] each
    """
    pictures = {"image": Picture(renderings, view.target, view.mask)}
    if "alpha" in problem.objective.pictures and view.alpha is not None:
        pictures["alpha"] = Picture([image[..., 3:4] for image in images], view.alpha, view.mask)
    return pictures


def _render(problem: Problem, view: View, spp: int, seed: mi.UInt32) -> mi.TensorXf:
    if is_own(problem.integrator):
        return problem.integrator.image(problem.scene, view.sensor, seed, spp)
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
