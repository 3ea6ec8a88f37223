"""A point light moves over an empty floor."""

from __future__ import annotations

from pbdr.compare.cases import Case
from pbdr.compare.perturbations import Perturbation

from .shared.builders import camera, floor, point_light, scene


def build():
    return scene(sensor=camera(), lamp=point_light((0.5, -0.5, 1)), floor=floor())


CASE = Case(
    build,
    Perturbation.translate("lamp.position", (1, 0, 0), step=0.02),
    hard="No shadow: a smooth derivative of geometry",
)
