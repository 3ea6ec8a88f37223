"""The preset ``direct_reparam``: direct light with warped-area reparameterization."""

from __future__ import annotations

import mitsuba as mi
from pbdr.plugins.common import DifferentialIntegrator, ignore_auxiliary_rays

from pbdr import boundary
from pbdr.errors import InputError


class DirectReparamIntegrator(DifferentialIntegrator):
    """Direct illumination with warped-area reparameterization, under the names of Mitsuba up to version 3.4.

    Properties:
        reparam_max_depth: Number of path segments that are warped, counted from the camera; 2 (default) takes direct
            visibility and shadows, 1 direct visibility only.
        reparam_rays, reparam_kappa, reparam_exp, reparam_antithetic, reparam_unroll: Accepted and without effect: the
            field of velocities is a sum over edges here and needs no auxiliary rays.
        rr_depth, hide_emitters, memory_budget: As with ``pbdr``.
    """

    def __init__(self, props: mi.Properties):
        ignore_auxiliary_rays(props)
        props["warp_depth"] = props.get("reparam_max_depth", 2)
        if (depth := props.get("max_depth", 2)) != 2:
            raise InputError(f"'max_depth' of 'direct_reparam' is 2, got {depth}; use 'prb_reparam' for longer paths")
        props["max_depth"] = 2
        super().__init__(props, taped=False, boundary=boundary.find("warped_area")(props))


mi.register_integrator("direct_reparam", lambda props: DirectReparamIntegrator(props))
