"""An analytic rectangle turns over a lit floor."""

from __future__ import annotations

from pbdr.compare.cases import Case
from pbdr.compare.perturbations import Perturbation

from .shared.builders import area_light, camera, floor, scene, sky, transform


def build():
    return scene(
        sensor=camera(),
        sky=sky(0.2),
        lamp=area_light(),
        floor=floor(),
        object={"type": "rectangle", "to_world": transform((0, 0, 0.6), (0.6, 0.4, 1), ((1, 0, 0), 30))},
    )


CASE = Case(
    build,
    Perturbation.rotate("object.to_world", (0, 0, 1)),
    hard="An open border, and its soft shadow",
)
