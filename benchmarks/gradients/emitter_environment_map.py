"""All pixels of an environment map change along fixed random signs."""

from __future__ import annotations

from pbdr.compare.cases import Case
from pbdr.compare.perturbations import Perturbation

from .shared.builders import ball, camera, environment, floor, scene


def build():
    return scene(sensor=camera(), sky=environment(), floor=floor(), object=ball((0, 0, 0.5)))


CASE = Case(
    build,
    Perturbation.random("sky.data"),
    hard="Importance sampling depends on the parameter",
    max_depth=3,
)
