"""What camera rays meet first, and what the camera sees of surfaces."""

from __future__ import annotations

from typing import TYPE_CHECKING

import drjit as dr
import mitsuba as mi

if TYPE_CHECKING:
    from .path import Limits

#: How far behind a hidden emitter rays go on, relative to the size of coordinates
BEHIND = 1e-4


def background_covers(scene: mi.Scene, limits: Limits) -> bool:
    """Whether rays that meet nothing count as covered in the alpha channel: if they show an environment."""
    return not limits.hide_emitters and scene.environment() is not None


@dr.syntax
def first_hit(
    scene: mi.Scene, ray: mi.Ray3f, limits: Limits, active: mi.Bool
) -> tuple[mi.PreliminaryIntersection3f, mi.Ray3f]:
    """Trace camera rays, through directly visible emitters if those are hidden.

    Returns:
        The hits, and the rays that they belong to: those that passed an emitter start behind it.
    """
    ray = mi.Ray3f(ray)
    pi = scene.ray_intersect_preliminary(ray, coherent=True, active=active)
    if dr.hint(limits.hide_emitters, mode="scalar"):
        passing = active & pi.is_valid() & (pi.shape.emitter() != None)  # noqa: E711 (element-wise)
        while dr.hint(passing, exclude=[scene, limits]):
            # On the same line, wherever the emitter goes: beside silhouettes a step along its normal decides. What the
            # step does not clear is passed once more
            step = BEHIND * (1 + dr.max(dr.abs(ray(pi.t))))
            ray = mi.Ray3f(ray(pi.t + step), ray.d, ray.time, ray.wavelengths)
            pi = scene.ray_intersect_preliminary(ray, coherent=True, active=passing)
            passing &= pi.is_valid() & (pi.shape.emitter() != None)  # noqa: E711 (element-wise)
    return pi, ray


@dr.syntax
def is_visible(
    scene: mi.Scene, si: mi.SurfaceInteraction3f, x0: mi.Point3f, limits: Limits, active: mi.Bool
) -> mi.Bool:
    """Whether the camera sees surface points, through directly visible emitters if those are hidden.

    Args:
        si: The points. [N]
        x0: Where camera rays to them begin: on the near clip. [N]
    """
    ray = si.spawn_ray_to(x0)
    if dr.hint(not limits.hide_emitters, mode="scalar"):
        return active & ~scene.ray_test(ray, active)
    active = active & (si.shape.emitter() == None)  # noqa: E711 (element-wise)
    hit = scene.ray_intersect(ray, mi.RayFlags.Minimal, False, active)
    passing = active & hit.is_valid() & (hit.shape.emitter() != None)  # noqa: E711 (element-wise)
    while dr.hint(passing, exclude=[scene, limits]):
        hit = scene.ray_intersect(hit.spawn_ray_to(x0), mi.RayFlags.Minimal, False, passing)
        passing &= hit.is_valid() & (hit.shape.emitter() != None)  # noqa: E711 (element-wise)
    return active & ~hit.is_valid()
