"""Light passes through a tinted glass ball that gets clearer."""

from __future__ import annotations

from pbdr.compare.cases import Case
from pbdr.compare.perturbations import Perturbation

from .shared.builders import camera, environment, floor, rgb, scene


def build():
    return scene(
        sensor=camera(),
        sky=environment(),
        floor=floor(),
        object={
            "type": "sphere",
            "center": [0, 0, 0.5],
            "radius": 0.5,
            "bsdf": {"type": "dielectric", "specular_transmittance": rgb(0.7, 0.8, 0.9)},
        },
    )


CASE = Case(
    build,
    Perturbation.uniform("object.bsdf.specular_transmittance.value"),
    hard="Delta scattering: the derivative is carried by discrete choices",
    max_depth=5,
)
