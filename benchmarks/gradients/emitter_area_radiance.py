"""A lamp behind an occluder gets redder."""

from __future__ import annotations

from pbdr.compare.cases import Case
from pbdr.compare.perturbations import Perturbation

from .shared.builders import area_light, box, camera, floor, scene


def build():
    return scene(sensor=camera(), lamp=area_light(), floor=floor(), object=box((0, 0, 0.8), 0.3))


CASE = Case(
    build,
    Perturbation.component("lamp.emitter.radiance.value", 0),
    hard="Direct and indirect light of one emitter",
    max_depth=3,
)
