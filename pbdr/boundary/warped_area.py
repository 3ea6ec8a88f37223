"""Boundary term by warped-area reparameterization.

Rays follow a velocity field that moves with silhouettes where there are any near, so that no discontinuity moves
against the samples; what the boundary integral held is found in the field's divergence [Bangaru et al. 2020, "Unbiased
warped-area sampling"; Xu et al. 2023, "Warped-area reparameterization of differential path integrals"]. Each vertex
moves with everything before it on its path: the velocity of a warped origin enters the field of the next segment, so
that all segments together are free of bias (docs/warped_area.md).
"""

from __future__ import annotations

import mitsuba as mi

from ..errors import InputError
from ..geometry import level_sets
from ..geometry.curves import ROUND_SHAPES
from ..geometry.edges import placed_shapes
from ..transport.velocity import VelocityField
from . import fields, register
from .base import BoundaryTerm, obstacle_to_motion

#: Shapes without vertices whose outlines are known
KNOWN = {*ROUND_SHAPES, level_sets.KIND}


@register("warped_area")
class WarpedArea(BoundaryTerm):
    """Lets every ray of a path follow a velocity field.

    Properties:
        warp_field: ``blend`` (default) interpolates between the edges near a ray; ``caps`` averages the motion of the
            closest edges over a random cap (no spheres and cylinders); ``ratio`` weighs what auxiliary rays find and
            is *biased* (docs/warped_area.md).
        warp_reach: With ``blend`` and ``caps``: distance from a silhouette up to which rays follow it, a chord on the
            unit sphere (about radians); default 0.2. Changes noise and time, not the mean.
        warp_rays: With ``ratio``: auxiliary rays for each ray; default 16. More of them have less bias.
        warp_kappa: With ``ratio``: concentration of auxiliary rays, which deviate by about 1/√κ; default 1e4.
        warp_exponent: With ``ratio``: exponent of the weights; default 2.
        warp_antithetic: With ``ratio``: whether auxiliary rays come in pairs on opposite sides; default true.
        warp_jackknife: With ``ratio``: whether the leading part of the bias is extrapolated away; default false.
        warp_depth: Number of path segments that are warped, counted from the camera; −1 (default) warps all. Fewer
            leave out the motion of later shadows and reflections, which biases the gradient.
    """

    handles_discontinuities = True

    def __init__(self, props: mi.Properties):
        self._field = fields.find(props.get("warp_field", "blend"))(props)
        depth = props.get("warp_depth", -1)
        if depth < -1:
            raise InputError(f"'warp_depth' must be at least 0, or -1 for all segments, got {depth}")
        self.warp_depth = depth if depth >= 0 else 0xFFFFFFFF
        max_depth = props.get("max_depth", 6)
        self._camera_only = min(self.warp_depth, max_depth) <= 1
        if max_depth == -1:
            raise InputError("'max_depth' must be finite with boundary = 'warped_area', got -1")

    def prepare(self, scene: mi.Scene, sensor: mi.Sensor) -> None:
        if reason := self._field.obstacle(scene):
            raise InputError(reason)
        if (kind := sensor.class_name()) != "PerspectiveCamera":
            raise InputError(
                f"sensor '{sensor.id()}' is a {kind}; boundary = 'warped_area' needs a 'perspective' sensor, "
                "and boundary = 'none' leaves silhouettes out"
            )
        self._field.prepare(scene, sensor, camera_only=self._camera_only)

    def field(self) -> VelocityField:
        return self._field

    @staticmethod
    def obstacle(scene: mi.Scene) -> str | None:
        for owner in scene.shapes():
            members = placed_shapes(scene, owner)
            unknown = [m for m in members if not m.is_mesh() and (m is not owner or m.class_name() not in KNOWN)]
            if unknown or not members:
                return (
                    f"shape '{owner.id()}' is a {(unknown or [owner])[0].class_name()}, whose silhouette boundary = "
                    "'warped_area' does not know; it takes meshes, rectangles, spheres, disks, cylinders, "
                    "sdfgrids and instances of meshes"
                )
            if reason := level_sets.obstacle(owner):
                return reason
        if reason := obstacle_to_motion(scene):
            return reason
        for emitter in scene.emitters():
            if mi.has_flag(emitter.flags(), mi.EmitterFlags.Delta):
                return (
                    f"emitter '{emitter.id()}' is a point or a single direction, whose hard shadows boundary = "
                    "'warped_area' cannot move; use boundary = 'silhouettes'"
                )
        return None
