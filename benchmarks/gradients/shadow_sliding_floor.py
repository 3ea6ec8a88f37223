"""An unpatterned floor slides in its own plane under a shadow that stays."""

from __future__ import annotations

from pbdr.compare.cases import Case
from pbdr.compare.perturbations import Perturbation
from pbdr.compare.references import reference_integrator, render_image

from .shared.builders import area_light, box, camera, scene, sheet
from .shared.closed_forms import no_derivative


def build():
    return scene(
        sensor=camera((0, -2, 2.5), fov=35),
        lamp=area_light((1.5, 0, 3)),
        floor=sheet(half_width=4),
        object=box((0.85, 0, 1.6), 0.2, rotate=((1, 1, 0), 30)),
    )


def primal(loaded):
    return render_image(loaded, reference_integrator({"type": "path", "max_depth": 2}), spp=1024, seed=0)


CASE = Case(
    build,
    Perturbation.translate("floor.vertex_positions", (1, 0, 0)),
    hard="The truth is zero: interior and boundary term are large and must cancel",
    truth=no_derivative(primal),
)
