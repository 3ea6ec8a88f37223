"""An analytic sphere moves on a lit floor."""

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
        object={"type": "sphere", "to_world": transform((0, 0, 0.5), 0.5)},
    )


CASE = Case(
    build,
    Perturbation.translate("object.to_world", (1, 0, 0)),
    hard="A curved silhouette without edges",
)
