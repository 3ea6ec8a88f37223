"""A glowing cube in front of a dim sky moves sideways."""

from __future__ import annotations

from pbdr.compare.cases import Case
from pbdr.compare.perturbations import Perturbation

from .shared.builders import box, camera, scene, sky


def build():
    return scene(sensor=camera(), sky=sky(0.2), object=box(rotate=((1, 2, 3), 40), emission=1.0))


CASE = Case(
    build,
    Perturbation.translate("object.vertex_positions", (1, 0, 0)),
    hard="Primary silhouettes of a mesh with shared vertices: nothing but a boundary term",
)
