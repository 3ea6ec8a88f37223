"""Signs that a run goes wrong in one of the ways of docs/failure_modes.md."""

from __future__ import annotations

from collections.abc import Mapping

import drjit as dr
import mitsuba as mi
import numpy as np

from ..errors import InputError
from ..scene_parameters import describe_parameters
from .parameters import Variable
from .problem import Problem
from .second_order import METHODS, GaussNewton, GaussNewtonOptions

#: A gradient this many times as long as the median of the last ones is a spike
SPIKE = 30.0
#: Steps whose gradients are remembered, and from which on spikes are looked for
_MEMORY = 20
#: Steps between looks at values
_EVERY = 10
#: Share of a mesh's first extent below which it has collapsed
COLLAPSED = 0.2
#: Share of a texture's numbers on their bounds that is suspicious
STUCK = 0.5
_LIGHT = ("radiance", "intensity", "irradiance", "emitter")
_COLOR = ("reflectance", "base_color", "albedo")


def ambiguities(problem: Problem) -> list[str]:
    """What the images of a problem may not tell apart, in words.

    Example:
        >>> ambiguities(Problem.from_job("material_ball"))
        []
    """
    variables = [v for v in problem.variables if v.in_scene]
    lights = [v.key for v in variables if any(word in v.key for word in _LIGHT) or _is_sky(problem, v)]
    colors = [v for v in variables if any(word in v.key for word in _COLOR)]
    exposures = [v.key for v in problem.variables if v.key.endswith(".exposure")]
    found = []
    if lights and colors:
        found.append(
            f"'{lights[0]}' and '{colors[0].key}' are both unknown: brighter light and darker colours look alike, "
            "unless something of known colour is seen"
        )
    textures = [v.key for v in colors if len(v.shape) == 3]
    if lights and textures:
        found.append(f"shading may be baked into the texture '{textures[0]}', as the light is unknown too")
    if lights and len(exposures) == len(problem.views):
        found.append(f"all exposures and '{lights[0]}' are unknown: only their product is seen")
    return found


def never_due(problem: Problem, steps: int) -> list[str]:
    """What the job wants after its last step, in words.

    Args:
        steps: Of the run.

    Example:
        >>> never_due(Problem.from_job("bunny_like"), 40)
        ["'remesh' of 'figure' wants step 50, but the last one is 39", …]
    """
    last = steps - 1
    texels = [(f"'refine' of '{r.full.key}'", step) for r in problem.refinements for step in r.steps]
    triangles = [(f"'remesh' of '{m.name}'", wanted.step) for m in problem.meshes for wanted in m.entry.remesh]
    return [f"{what} wants step {step}, but the last one is {last}" for what, step in texels + triangles if step > last]


def quicker(problem: Problem) -> list[str]:
    """The method that probably needs fewer steps than the optimizer of a job, in words.

    Example:
        >>> quicker(Problem.from_job("cornell_box"))
        ["8 unknown numbers at rest: a few steps may do (--set optimizer=gauss_newton --set steps=8)"]
    """
    moving = {info.key for info in describe_parameters(problem.scene) if info.discontinuous}
    rests = all(v.in_scene and v.key not in moving for v in problem.variables)
    if not rests or problem.job.optimizer.type.lower() in METHODS or problem.objective.crossed() is None:
        return []
    try:
        GaussNewton(problem, GaussNewtonOptions())
    except InputError:
        return []
    size = sum(dr.width(v.latent(v.initial)) for v in problem.variables)
    return [f"{size} unknown numbers at rest: a few steps may do (--set optimizer=gauss_newton --set steps=8)"]


def _is_sky(problem: Problem, variable: Variable) -> bool:
    sky = problem.scene.environment()
    return sky is not None and variable.key.startswith(f"{sky.id()}.")


class Symptoms:
    """Watches a run; each symptom of each parameter is reported once.

    Example:
        >>> symptoms.after_step(problem, latents, gradients)
        ["the gradient of 'lamp.emitter.radiance.value' is 41 times as long as usual: …"]
    """

    def __init__(self) -> None:
        self._lengths: dict[str, list[float]] = {}
        self._reported: set[tuple[str, str]] = set()
        self._count = 0

    def after_step(
        self, problem: Problem, latents: Mapping[str, mi.Float], gradients: Mapping[str, mi.Float]
    ) -> list[str]:
        """What a finished step shows, in words.

        Args:
            latents: The optimizer's variables.
            gradients: Of the step, detached.
        """
        found = self._spikes(gradients)
        if self._count % _EVERY == 0:
            for mesh in problem.meshes:
                found += self._collapse(mesh.name, mesh.variable, latents)
            for variable in problem.variables:
                found += self._stuck(variable, latents)
        self._count += 1
        new = [(kind, key, text) for kind, key, text in found if (kind, key) not in self._reported]
        self._reported |= {(kind, key) for kind, key, _ in new}
        return [text for _, _, text in new]

    def _spikes(self, gradients: Mapping[str, mi.Float]) -> list[tuple[str, str, str]]:
        found = []
        squares = [dr.squared_norm(gradient) for gradient in gradients.values()]
        lengths = np.sqrt(np.array(dr.concat(squares))) if squares else []
        for key, length in zip(gradients, lengths, strict=True):
            past = self._lengths.get(key, [])
            usual = float(np.median(past)) if len(past) == _MEMORY else 0.0
            if usual > 0 and length > SPIKE * usual:
                text = f"the gradient of '{key}' is {length / usual:.0f} times as long as usual: more spp_gradient, "
                text += "beta_2 = 0.95 or a loss such as smape make such spikes matter less"
                found.append(("spike", key, text))
            self._lengths[key] = [*past, float(length)][-_MEMORY:]
        return found

    def _collapse(self, name: str, variable: Variable, latents: Mapping[str, mi.Float]) -> list[tuple[str, str, str]]:
        values = variable.values(latents[variable.key])
        first, now = (np.ptp(np.reshape(x, (-1, 3)), axis=0).max() for x in (variable.initial, values))
        if now > COLLAPSED * first:
            return []
        return [("collapse", name, f"the mesh '{name}' has shrunk to {now / first:.0%} of its size: it is collapsing")]

    def _stuck(self, variable: Variable, latents: Mapping[str, mi.Float]) -> list[tuple[str, str, str]]:
        mapping, bounds = variable.reparameterization, variable.bounds
        if len(variable.shape) != 3 or mapping.is_bounded or not np.isfinite(bounds).any():
            return []
        latent = dr.detach(latents[variable.key])
        low, high = (float(mapping.inverse(np.float64(bound), *bounds)) for bound in bounds)
        share = float(dr.mean(dr.select((latent <= low) | (latent >= high), 1.0, 0.0))[0])
        if share <= STUCK:
            return []
        text = f"{share:.0%} of the texels of '{variable.key}' lie on their bounds: light, exposure or another "
        return [("bounds", variable.key, text + "parameter that is known may be wrong")]
