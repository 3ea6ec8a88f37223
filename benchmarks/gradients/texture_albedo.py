"""All 192 texels of a floor change along fixed random signs."""

from __future__ import annotations

from pbdr.compare.cases import Case
from pbdr.compare.perturbations import Perturbation

from .shared.builders import area_light, camera, floor, scene, sky, texture


def build():
    return scene(
        sensor=camera(),
        sky=sky(0.2),
        lamp=area_light(),
        floor=floor({"type": "diffuse", "reflectance": texture()}, half_width=1.5),
    )


CASE = Case(
    build,
    Perturbation.random("floor.bsdf.reflectance.data"),
    hard="Many parameters at once; a transposed or shifted texture would show",
)
