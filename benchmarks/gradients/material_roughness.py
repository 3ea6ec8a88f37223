"""A rough metal ball gets rougher."""

from __future__ import annotations

from pbdr.compare.cases import Case
from pbdr.compare.perturbations import Perturbation

from .shared.builders import area_light, camera, environment, floor, scene


def build():
    return scene(
        sensor=camera(),
        sky=environment(),
        lamp=area_light(),
        floor=floor(),
        object={
            "type": "sphere",
            "center": [0, 0, 0.5],
            "radius": 0.5,
            "bsdf": {"type": "roughconductor", "alpha": 0.2},
        },
    )


CASE = Case(
    build,
    Perturbation.uniform("object.bsdf.alpha.value"),
    hard="Sampling depends on the parameter; the highlight of a lamp widens",
    max_depth=3,
)
