"""A principled ball turns metallic."""

from __future__ import annotations

from pbdr.compare.cases import Case
from pbdr.compare.perturbations import Perturbation

from .shared.builders import area_light, camera, environment, floor, rgb, scene


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
            "bsdf": {"type": "principled", "base_color": rgb(0.7, 0.4, 0.2), "metallic": 0.5, "roughness": 0.4},
        },
    )


CASE = Case(
    build,
    Perturbation.uniform("object.bsdf.metallic.value", step=0.05),
    hard="A mixture of lobes whose weights depend on the parameter",
    max_depth=3,
)
