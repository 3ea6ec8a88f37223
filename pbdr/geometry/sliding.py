"""Surface points that slide along their surface, to first order."""

from __future__ import annotations

import drjit as dr
import mitsuba as mi

from .motion import coordinates


def meet_tangent_plane(
    origin: mi.Point3f, direction: mi.Vector3f, si: mi.SurfaceInteraction3f, active: mi.Bool
) -> mi.Point3f:
    """Where an attached ray through a material point meets the surface as both move.

    Args:
        origin: Attached. [N]
        direction: Attached; the ray's value goes through ``si.p``. [N]
        si: Material points from ``material_point``. [N]

    Returns:
        Positions with the value ``si.p``. [N]
    """
    cosine = dr.dot(si.n, direction)
    distance = dr.dot(si.n, si.p - origin) / cosine
    met = origin + direction * distance
    return dr.replace_grad(si.p, dr.select(active & si.is_valid() & (cosine != 0), met, si.p))


def slide(
    pi: mi.PreliminaryIntersection3f, si: mi.SurfaceInteraction3f, position: mi.Point3f, active: mi.Bool
) -> mi.SurfaceInteraction3f:
    """Move material points along their surface: texture coordinates and shading frame follow.

    The hit that Mitsuba computes for an attached ray would do the same, but a second call into shapes that depends on
    the first cannot be differentiated in forward mode by Dr.Jit 1.5.

    Args:
        pi: Hits. [N]
        si: Their interactions from ``material_point``, with ``All | dNSdUV``. [N]
        position: Where they go, attached; its value is about ``si.p``. [N]
    """
    active = active & si.is_valid()
    moved = dr.select(active, position - si.p, 0)
    moved -= dr.detach(moved)
    si.p = dr.select(active, si.p + moved, si.p)
    u, v = coordinates(moved, dr.detach(si.dp_du), dr.detach(si.dp_dv))
    si.uv = si.uv + mi.Point2f(u, v)

    # Mitsuba gives the slope of shading normals by barycentric coordinates on meshes, by (u, v) elsewhere
    triangle = active & (pi.shape.is_mesh() | (pi.instance != None))  # noqa: E711 (element-wise)
    u_mesh, v_mesh = coordinates(moved, *_triangle_sides(pi, triangle))
    u, v = dr.select(triangle, u_mesh, u), dr.select(triangle, v_mesh, v)
    turned = dr.detach(si.dn_du) * u + dr.detach(si.dn_dv) * v
    si.sh_frame.n = dr.normalize(si.sh_frame.n + dr.select(active, turned, 0))
    si.initialize_sh_frame()
    return si


def _triangle_sides(pi: mi.PreliminaryIntersection3f, active: mi.Bool) -> tuple[mi.Vector3f, mi.Vector3f]:
    """How points of triangles move with their barycentric coordinates, world space, detached. [N] each

    By evaluating hits elsewhere in their planes, since instances do not tell where they place corners.
    """
    with dr.suspend_grad():
        points = []
        for step in (mi.Point2f(0, 0), mi.Point2f(1, 0), mi.Point2f(0, 1)):
            moved = mi.PreliminaryIntersection3f(pi)
            moved.prim_uv = pi.prim_uv + step
            points.append(moved.compute_surface_interaction(dr.zeros(mi.Ray3f), mi.RayFlags.Minimal, active).p)
        return points[1] - points[0], points[2] - points[0]
