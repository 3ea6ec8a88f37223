"""A textured sky turns about the vertical."""

from __future__ import annotations

from pbdr.compare.cases import Case
from pbdr.compare.perturbations import Perturbation

from .shared.builders import ball, camera, environment, floor, scene


def build():
    return scene(sensor=camera(), sky=environment(), floor=floor(), object=ball((0, 0, 0.5)))


CASE = Case(
    build,
    Perturbation.rotate("sky.to_world", (0, 0, 1), step=0.02),
    hard="Light that is sampled by texture coordinates arrives from other directions",
    max_depth=3,
)
