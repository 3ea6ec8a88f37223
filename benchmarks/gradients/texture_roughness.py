"""A texture of roughness on a metal floor."""

from __future__ import annotations

from pbdr.compare.cases import Case
from pbdr.compare.perturbations import Perturbation

from .shared.builders import camera, environment, floor, scene, texture


def build():
    return scene(
        sensor=camera(),
        sky=environment(),
        floor=floor({"type": "roughconductor", "alpha": texture(4, low=0.1, high=0.4)}, half_width=1.5),
    )


CASE = Case(
    build,
    Perturbation.random("floor.bsdf.alpha.data"),
    hard="Textured sampling densities",
)
