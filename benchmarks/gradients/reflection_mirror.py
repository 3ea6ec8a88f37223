"""The same above a perfect mirror."""

from __future__ import annotations

from pbdr.compare.cases import Case
from pbdr.compare.perturbations import Perturbation

from .shared.builders import box, camera, floor, scene, sky


def build():
    return scene(
        sensor=camera((0, -3, 1.5), (0, 0, 0.4), fov=40),
        sky=sky(0.1),
        floor=floor({"type": "conductor"}),
        object=box((0, 1.2, 1.7), 0.35, rotate=((1, 2, 3), 40), emission=2.0),
    )


CASE = Case(
    build,
    Perturbation.translate("object.vertex_positions", (1, 0, 0)),
    hard="A silhouette behind a specular vertex: a sharp edge in the image that no camera ray meets",
)
