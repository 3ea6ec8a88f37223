"""A bumpy ball of 9,000 triangles grows."""

from __future__ import annotations

from pbdr.compare.cases import Case
from pbdr.compare.perturbations import Perturbation

from .shared.builders import ball, camera, scene, sky


def build():
    return scene(sensor=camera(), sky=sky(0.8), object=ball(rings=48, bumps=0.15, smooth=True))


CASE = Case(
    build,
    Perturbation.scale("object.vertex_positions"),
    hard="Thousands of short silhouettes, self-occlusion",
)
