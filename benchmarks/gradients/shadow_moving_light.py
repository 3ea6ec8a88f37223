"""A square lamp moves over an occluder that stays."""

from __future__ import annotations

from pbdr.compare.cases import Case
from pbdr.compare.perturbations import Perturbation

from .shared.builders import area_light, box, camera, floor, scene


def build():
    return scene(
        sensor=camera((0, -2, 2.5), fov=35),
        lamp=area_light((1.5, 0, 3)),
        floor=floor(),
        object=box((0.85, 0, 1.6), 0.2, rotate=((1, 1, 0), 30)),
    )


CASE = Case(
    build,
    Perturbation.translate("lamp.to_world", (1, 0, 0)),
    hard="The boundary moves because its light does; the interior part of irradiance is large",
)
