"""A ball with interpolated normals moves diagonally under a lamp."""

from __future__ import annotations

from pbdr.compare.cases import Case
from pbdr.compare.perturbations import Perturbation

from .shared.builders import area_light, ball, camera, scene, sky


def build():
    return scene(sensor=camera(), sky=sky(0.1), lamp=area_light(), object=ball(smooth=True))


CASE = Case(
    build,
    Perturbation.translate("object.vertex_positions", (1, 0, 1)),
    hard="Silhouettes of a tessellation with shading normals",
)
