"""The preset ``prb_reparam``: the integrator of that name up to Mitsuba 3.4, with an unbiased field."""

from __future__ import annotations

import mitsuba as mi
from pbdr.plugins.common import DifferentialIntegrator, former_warped_area


class PrbReparamIntegrator(DifferentialIntegrator):
    """Path replay with warped-area reparameterization, under the names that Mitsuba used up to version 3.4.

    Old scenes and scripts load unchanged and get gradients without the former's bias: ``warp_field="ratio"`` brings
    back its way of finding velocities, to compare with. Each segment follows the motion of those before it in any case,
    which the original left out.

    Properties:
        reparam_max_depth: Number of path segments that are warped, counted from the camera; 2 (default) takes direct
            visibility and shadows, −1 everything.
        warp_field: ``blend`` (default), ``caps`` or ``ratio``; only the last has auxiliary rays, and a bias.
        reparam_rays, reparam_kappa, reparam_exp, reparam_antithetic: Auxiliary rays of ``warp_field="ratio"``;
            defaults 16, 1e5, 3 and false as in Mitsuba. Other fields need none and ignore them.
        reparam_unroll: Accepted and without effect.
        max_depth, rr_depth, hide_emitters, memory_budget: As with ``pbdr``.
    """

    def __init__(self, props: mi.Properties):
        super().__init__(props, taped=False, boundary=former_warped_area(props, 2))


mi.register_integrator("prb_reparam", lambda props: PrbReparamIntegrator(props))
