"""The same cube with 24 vertices, as files with normals or texture seams store it."""

from __future__ import annotations

from pbdr.compare.cases import Case
from pbdr.compare.perturbations import Perturbation

from .shared.builders import box, camera, scene, sky


def build():
    return scene(sensor=camera(), sky=sky(0.2), object=box(rotate=((1, 2, 3), 40), emission=1.0, split=True))


CASE = Case(
    build,
    Perturbation.translate("object.vertex_positions", (1, 0, 0)),
    hard="Every edge is there twice with equal positions: methods that trust indices count silhouettes twice",
)
