"""A signed distance field of a ball moves."""

from __future__ import annotations

from pbdr.compare.cases import Case
from pbdr.compare.perturbations import Perturbation

from .shared.builders import camera, scene, sdf_ball, sky


def build():
    return scene(sensor=camera(), sky=sky(0.8), object=sdf_ball())


CASE = Case(
    build,
    Perturbation.translate("object.to_world", (1, 0, 0)),
    hard="Silhouettes of an implicit surface",
)
