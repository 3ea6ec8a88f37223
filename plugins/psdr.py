"""The preset ``psdr``: path-space differentiable rendering."""

from __future__ import annotations

import mitsuba as mi
from pbdr.plugins.common import DifferentialIntegrator

from pbdr import boundary


class PsdrIntegrator(DifferentialIntegrator):
    """Path replay in surface form plus sampled silhouettes [Zhang et al. 2020, "Path-space differentiable rendering"].

    Takes the properties ``boundary_spp``, ``boundary_guide``, ``max_depth``, ``rr_depth``, ``hide_emitters`` and
    ``memory_budget`` of ``pbdr``, of which it is a preset: ``interior=replay``, ``boundary=silhouettes``.
    """

    def __init__(self, props: mi.Properties):
        super().__init__(props, taped=False, boundary=boundary.find("silhouettes")(props))


mi.register_integrator("psdr", lambda props: PsdrIntegrator(props))
