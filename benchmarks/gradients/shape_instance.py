"""An instance of a cube moves."""

from __future__ import annotations

from pbdr.compare.cases import Case
from pbdr.compare.perturbations import Perturbation

from .shared.builders import area_light, box, camera, floor, scene, sky, transform


def build():
    return scene(
        sensor=camera(),
        sky=sky(0.2),
        lamp=area_light(),
        floor=floor(),
        group={"type": "shapegroup", "cube": box()},
        object={"type": "instance", "shapegroup": {"type": "ref", "id": "group"}, "to_world": transform((0, 0, 0.6))},
    )


CASE = Case(
    build,
    Perturbation.translate("object.to_world", (1, 0, 0)),
    hard="The geometry is shared, only its placement is differentiated",
)
