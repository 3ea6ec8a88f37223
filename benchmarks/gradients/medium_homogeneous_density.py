"""A cube of fog gets denser."""

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
    Perturbation.uniform("object.interior_medium.sigma_t.value.value"),
    hard="Free-flight distances are sampled with the parameter",
    max_depth=8,
    reference="volpath",
)
