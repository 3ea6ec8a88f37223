"""A flat-shaded cube under a lamp turns around its own axis."""

from __future__ import annotations

from pbdr.compare.cases import Case
from pbdr.compare.perturbations import Perturbation

from .shared.builders import area_light, box, camera, scene, sky


def build():
    return scene(
        sensor=camera(),
        sky=sky(0.1),
        lamp=area_light((3, -2, 2), half_width=0.4, radiance=40),
        object=box(half_width=0.6),
    )


CASE = Case(
    build,
    Perturbation.rotate("object.vertex_positions", (0, 0, 1), step=0.02),
    hard="Creases between a lit and an unlit side are discontinuities although nothing is hidden",
)
