"""A diffuse plane under a point light; its red albedo grows."""

from __future__ import annotations

import numpy as np

from pbdr.compare.cases import Case
from pbdr.compare.perturbations import Perturbation
from pbdr.compare.references import analytic

from .shared.builders import diffuse, flat_camera, floor, point_light, scene
from .shared.closed_forms import filtered

ALBEDO = np.array([0.6, 0.5, 0.4])
LIGHT = (0.3, -0.2, 1.5)
INTENSITY = 5.0


def build():
    return scene(sensor=flat_camera(), lamp=point_light(LIGHT, INTENSITY), floor=floor(diffuse(*ALBEDO)))


def irradiance(x, y):
    """Irradiance of the plane z = 0 under the point light."""
    squared = (x - LIGHT[0]) ** 2 + (y - LIGHT[1]) ** 2 + LIGHT[2] ** 2
    return INTENSITY * LIGHT[2] / squared**1.5


def truth(loaded):
    image = filtered(irradiance, half_width=1.0)[..., None] / np.pi
    return analytic(image * np.array([1.0, 0, 0]), image * ALBEDO)


CASE = Case(
    build,
    Perturbation.component("floor.bsdf.brdf_0.reflectance.value", 0),
    hard="A smooth image with a falloff; only one channel changes",
    truth=truth,
)
