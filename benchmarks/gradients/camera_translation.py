"""The camera moves sideways past a lit cube on a floor."""

from __future__ import annotations

from pbdr.compare.cases import Case
from pbdr.compare.perturbations import Perturbation

from .shared.builders import area_light, box, camera, floor, scene, sky


def build():
    return scene(sensor=camera(), sky=sky(0.2), lamp=area_light(), floor=floor(), object=box((0, 0, 0.5), 0.5))


CASE = Case(
    build,
    Perturbation.translate("sensor.to_world", (1, 0, 0)),
    hard="Everything moves in the image, silhouettes and shadow included",
)
