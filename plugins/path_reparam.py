"""The preset ``path_reparam``: nested warped-area reparameterization in path space."""

from __future__ import annotations

import mitsuba as mi
from pbdr.plugins.common import DifferentialIntegrator, ignore_auxiliary_rays

from pbdr import boundary


class PathReparamIntegrator(DifferentialIntegrator):
    """Warped-area reparameterization of the whole path [Xu et al. 2023]: ``pbdr`` with ``boundary="warped_area"``.

    Properties:
        reparam_max_depth: Number of path segments that are warped, counted from the camera; −1 (default) warps all.
        reparam_rays, reparam_kappa, reparam_exp, reparam_antithetic, reparam_unroll: Accepted and without effect: the
            field of velocities is a sum over edges here and needs no auxiliary rays.
        max_depth, rr_depth, hide_emitters, memory_budget: As with ``pbdr``.
    """

    def __init__(self, props: mi.Properties):
        ignore_auxiliary_rays(props)
        props["warp_depth"] = props.get("reparam_max_depth", -1)
        super().__init__(props, taped=False, boundary=boundary.find("warped_area")(props))


mi.register_integrator("path_reparam", lambda props: PathReparamIntegrator(props))
