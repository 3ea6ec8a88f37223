"""The preset ``prb_reparam``: the integrator of that name up to Mitsuba 3.4, with an unbiased field."""

from __future__ import annotations

import mitsuba as mi
from pbdr.plugins.common import DifferentialIntegrator, ignore_auxiliary_rays

from pbdr import boundary


class PrbReparamIntegrator(DifferentialIntegrator):
    """Path replay with warped-area reparameterization, under the names that Mitsuba used up to version 3.4.

    Old scenes and scripts load unchanged. Each segment follows the motion of those before it, which the original left
    out.

    Properties:
        reparam_max_depth: Number of path segments that are warped, counted from the camera; 2 (default) takes direct
            visibility and shadows, −1 everything.
        reparam_rays, reparam_kappa, reparam_exp, reparam_antithetic, reparam_unroll: Accepted and without effect: the
            field of velocities is a sum over edges here and needs no auxiliary rays.
        max_depth, rr_depth, hide_emitters, memory_budget: As with ``pbdr``.
    """

    def __init__(self, props: mi.Properties):
        ignore_auxiliary_rays(props)
        props["warp_depth"] = props.get("reparam_max_depth", 2)
        super().__init__(props, taped=False, boundary=boundary.find("warped_area")(props))


mi.register_integrator("prb_reparam", lambda props: PrbReparamIntegrator(props))
