"""The base colour of glossy plastic."""

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
            "bsdf": {"type": "roughplastic", "alpha": 0.15, "diffuse_reflectance": rgb(0.4, 0.3, 0.6)},
        },
    )


CASE = Case(
    build,
    Perturbation.random("object.bsdf.diffuse_reflectance.value"),
    hard="Internal scattering makes the lobe a nonlinear function of the albedo",
    max_depth=3,
)
