"""A cube outside of the view moves, and with it the soft shadow on the floor."""

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
    Perturbation.translate("object.vertex_positions", (1, 0, 0)),
    hard="Nothing visible moves: all of the derivative is a secondary boundary",
)
