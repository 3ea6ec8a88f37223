"""An endless plane under a constant sky; the sky gets brighter."""

from __future__ import annotations

from pbdr.compare.cases import Case
from pbdr.compare.perturbations import Perturbation

from .shared.builders import diffuse, flat_camera, floor, scene, sky
from .shared.closed_forms import constant_scene


def build():
    return scene(sensor=flat_camera(), sky=sky(0.5), floor=floor(diffuse(0.6, 0.5, 0.4)))


CASE = Case(
    build,
    Perturbation.uniform("sky.radiance.value"),
    hard="The easiest case: an estimator that fails here is broken",
    truth=constant_scene(derivative=(0.6, 0.5, 0.4), radiance=(0.3, 0.25, 0.2)),
)
