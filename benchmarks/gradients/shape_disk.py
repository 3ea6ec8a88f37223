"""A glowing disk slides in front of a constant background."""

from __future__ import annotations

import numpy as np

from pbdr.compare.cases import Case
from pbdr.compare.perturbations import Perturbation
from pbdr.compare.references import analytic

from .shared.builders import flat_camera, rgb, scene, sky, transform
from .shared.closed_forms import disk_image, moving_disk

RADIUS = 0.5


def build():
    disk = {
        "type": "disk",
        "to_world": transform((0, 0, 0), RADIUS),
        "emitter": {"type": "area", "radiance": rgb(1.0)},
    }
    return scene(sensor=flat_camera(), sky=sky(0.2), object=disk)


def truth(loaded):
    derivative = moving_disk(RADIUS, half_width=1.0, jump=0.8)
    primal = 0.2 + 0.8 * disk_image(RADIUS, half_width=1.0)
    return analytic(np.repeat(derivative[..., None], 3, axis=2), np.repeat(primal[..., None], 3, axis=2))


CASE = Case(
    build,
    Perturbation.translate("object.to_world", (1, 0, 0), step=0.03),
    hard="A curved rim without vertices, to be hit exactly",
    truth=truth,
)
