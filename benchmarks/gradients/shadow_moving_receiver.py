"""The floor rises under a shadow whose occluder and lamp stay."""

from __future__ import annotations

from pbdr.compare.cases import Case
from pbdr.compare.perturbations import Perturbation

from .shared.builders import area_light, box, camera, scene, sheet


def build():
    return scene(
        sensor=camera((0, -2, 2.5), fov=35),
        lamp=area_light((1.5, 0, 3)),
        floor=sheet(half_width=4),
        object=box((0.85, 0, 1.6), 0.2, rotate=((1, 1, 0), 30)),
    )


CASE = Case(
    build,
    Perturbation.translate("floor.vertex_positions", (0, 0, 1)),
    hard="The receiver slides through the shadow volume",
)
