"""A glowing sheet turns in front of a dim sky."""

from __future__ import annotations

from pbdr.compare.cases import Case
from pbdr.compare.perturbations import Perturbation

from .shared.builders import camera, scene, sheet, sky


def build():
    return scene(sensor=camera(), sky=sky(0.2), object=sheet(half_width=0.6, rotate=((1, 0, 0), 60), emission=1.0))


CASE = Case(
    build,
    Perturbation.rotate("object.vertex_positions", (0, 1, 0), step=0.02),
    hard="Silhouettes that are open borders, and a rotation",
)
