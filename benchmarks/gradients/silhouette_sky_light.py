"""A diffuse cube moves over a floor under the open sky."""

from __future__ import annotations

from pbdr.compare.cases import Case
from pbdr.compare.perturbations import Perturbation

from .shared.builders import box, camera, environment, floor, scene


def build():
    return scene(sensor=camera(), sky=environment(), floor=floor(), object=box((0, 0, 0.4)))


CASE = Case(
    build,
    Perturbation.translate("object.vertex_positions", (1, 0, 0)),
    hard="Silhouettes, and the contact shadow of an environment map with a bright patch",
)
