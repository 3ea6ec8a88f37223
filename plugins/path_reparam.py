"""The preset ``path_reparam``: nested warped-area reparameterization in path space."""

from __future__ import annotations

import mitsuba as mi
from pbdr.plugins.common import DifferentialIntegrator, former_warped_area


class PathReparamIntegrator(DifferentialIntegrator):
    """Warped-area reparameterization of the whole path [Xu et al. 2023]: ``pbdr`` with ``boundary="warped_area"``.

    Properties:
        reparam_max_depth: Number of path segments that are warped, counted from the camera; −1 (default) warps all.
        warp_field: ``blend`` (default), ``caps`` or ``ratio``; only the last has auxiliary rays, and a bias.
        reparam_rays, reparam_kappa, reparam_exp, reparam_antithetic: Auxiliary rays of ``warp_field="ratio"``;
            defaults 16, 1e5, 3 and false as in Mitsuba. Other fields need none and ignore them.
        reparam_unroll: Accepted and without effect.
        max_depth, rr_depth, hide_emitters, memory_budget: As with ``pbdr``.
    """

    def __init__(self, props: mi.Properties):
        super().__init__(props, taped=False, boundary=former_warped_area(props, -1))


mi.register_integrator("path_reparam", lambda props: PathReparamIntegrator(props))
