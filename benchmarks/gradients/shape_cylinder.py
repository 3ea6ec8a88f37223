"""An analytic cylinder tilts on a lit floor."""

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
        object={"type": "cylinder", "to_world": transform((-0.6, 0, 0.6), (0.3, 0.3, 1.2), ((0, 1, 0), 90))},
    )


CASE = Case(
    build,
    Perturbation.rotate("object.to_world", (0, 1, 0)),
    hard="Curved silhouettes, two open rims, and an inside",
)
