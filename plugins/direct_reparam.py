"""The preset ``direct_reparam``: direct light with warped-area reparameterization."""

from __future__ import annotations

import mitsuba as mi
from pbdr.plugins.common import DifferentialIntegrator, former_warped_area

from pbdr.errors import InputError


class DirectReparamIntegrator(DifferentialIntegrator):
    """Direct illumination with warped-area reparameterization, under the names of Mitsuba up to version 3.4.

    Properties:
        reparam_max_depth: Number of path segments that are warped, counted from the camera; 2 (default) takes direct
            visibility and shadows, 1 direct visibility only.
        warp_field: ``blend`` (default), ``caps`` or ``ratio``; only the last has auxiliary rays, and a bias.
        reparam_rays, reparam_kappa, reparam_exp, reparam_antithetic: Auxiliary rays of ``warp_field="ratio"``;
            defaults 16, 1e5, 3 and false as in Mitsuba. Other fields need none and ignore them.
        reparam_unroll: Accepted and without effect.
        rr_depth, hide_emitters, memory_budget: As with ``pbdr``.
    """

    def __init__(self, props: mi.Properties):
        if (depth := props.get("max_depth", 2)) != 2:
            raise InputError(f"'max_depth' of 'direct_reparam' is 2, got {depth}; use 'prb_reparam' for longer paths")
        props["max_depth"] = 2
        super().__init__(props, taped=False, boundary=former_warped_area(props, 2))


mi.register_integrator("direct_reparam", lambda props: DirectReparamIntegrator(props))
