"""All voxels of a smoke cloud get denser."""

from __future__ import annotations

import numpy as np

from pbdr.compare.cases import Case
from pbdr.compare.perturbations import Perturbation

from .shared.builders import camera, environment, scene, smoke


def build():
    density = np.random.default_rng(0).uniform(0.2, 1.0, (6, 6, 6, 1))
    return scene(sensor=camera((0, -4, 1)), sky=environment(), object=smoke(density))


CASE = Case(
    build,
    Perturbation.uniform("object.interior_medium.sigma_t.data", step=0.05),
    hard="Delta tracking: real and null collisions are chosen with the parameter, which also bounds them",
    max_depth=8,
    reference="volpath",
)
