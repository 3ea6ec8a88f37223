"""The camera zooms."""

from __future__ import annotations

from pbdr.compare.cases import Case
from pbdr.compare.perturbations import Perturbation

from .shared.builders import area_light, box, camera, floor, scene, sky


def build():
    return scene(sensor=camera(), sky=sky(0.2), lamp=area_light(), floor=floor(), object=box((0, 0, 0.5), 0.5))


CASE = Case(
    build,
    Perturbation.uniform("sensor.x_fov", step=0.25),
    hard="Everything moves in the image towards its middle",
)
