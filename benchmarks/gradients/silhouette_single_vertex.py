"""One corner of a glowing cube is pulled."""

from __future__ import annotations

from pbdr.compare.cases import Case
from pbdr.compare.perturbations import Perturbation

from .shared.builders import box, camera, scene, sky


def build():
    return scene(sensor=camera(), sky=sky(0.2), object=box(rotate=((1, 2, 3), 40), half_width=0.6, emission=1.0))


CASE = Case(
    build,
    Perturbation.component("object.vertex_positions", 0, step=0.03),
    hard="The motion differs along each edge",
)
