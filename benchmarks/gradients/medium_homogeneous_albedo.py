"""A cube of fog scatters more."""

from __future__ import annotations

from pbdr.compare.cases import Case
from pbdr.compare.perturbations import Perturbation

from .shared.builders import camera, environment, scene, transform


def build():
    return scene(
        sensor=camera((0, -4, 1)),
        sky=environment(),
        object={
            "type": "cube",
            "to_world": transform((0, 0, 0), 0.8),
            "bsdf": {"type": "null"},
            "interior": {"type": "homogeneous", "albedo": 0.7, "sigma_t": 1.5},
        },
    )


CASE = Case(
    build,
    Perturbation.uniform("object.interior_medium.albedo.value.value"),
    hard="Volumetric paths",
    max_depth=8,
    reference="volpath",
)
