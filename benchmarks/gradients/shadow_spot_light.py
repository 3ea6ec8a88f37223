"""A cube outside of the view moves in the beam of a spot light."""

from __future__ import annotations

from pbdr.compare.cases import Case
from pbdr.compare.perturbations import Perturbation

from .shared.builders import box, camera, floor, look_at, rgb, scene


def build():
    return scene(
        sensor=camera((0, -2, 2.5), fov=35),
        lamp={
            "type": "spot",
            "to_world": look_at((1.5, 0, 3), (0, 0, 0)),
            "intensity": rgb(20),
            "cutoff_angle": 18,
        },
        floor=floor(),
        object=box((0.85, 0, 1.6), 0.2, rotate=((1, 1, 0), 30)),
    )


CASE = Case(
    build,
    Perturbation.translate("object.vertex_positions", (1, 0, 0)),
    hard="A hard shadow inside of a cone with smooth edge",
)
