"""A cube moves in a closed room with a lamp."""

from __future__ import annotations

from pbdr.compare.cases import Case
from pbdr.compare.perturbations import Perturbation

from .shared.builders import area_light, box, camera, room, scene


def build():
    return scene(
        sensor=camera((0, -1.4, 0.2), (0, 1, -0.3), fov=70),
        lamp=area_light((0.3, 0.2, 1.45), (0.3, 0.2, 0), 0.4, 8),
        object=box((0.2, 0.3, -1.0), 0.35, rotate=((0, 0, 1), 25)),
        **room(),
    )


CASE = Case(
    build,
    Perturbation.translate("object.vertex_positions", (1, 0, 0)),
    hard="Boundaries at every one of five bounces, all of them dim",
    max_depth=6,
)
