"""Surface points that slide along their surface, to first order."""

from __future__ import annotations

import drjit as dr
import mitsuba as mi

from . import mesh


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
    u, v = _coordinates(moved, dr.detach(si.dp_du), dr.detach(si.dp_dv))
    si.uv = si.uv + mi.Point2f(u, v)

    # Mitsuba gives the slope of shading normals by barycentric coordinates on meshes, by (u, v) elsewhere
    triangle = active & pi.shape.is_mesh() & (pi.instance == None)  # noqa: E711 (element-wise)
    a, b, c = (dr.detach(p) for p in mesh.corners(pi.shape, pi.prim_index, triangle))
    u_mesh, v_mesh = _coordinates(moved, b - a, c - a)
    u, v = dr.select(triangle, u_mesh, u), dr.select(triangle, v_mesh, v)
    turned = dr.detach(si.dn_du) * u + dr.detach(si.dn_dv) * v
    si.sh_frame.n = dr.normalize(si.sh_frame.n + dr.select(active, turned, 0))
    si.initialize_sh_frame()
    return si


def _coordinates(δ: mi.Vector3f, a: mi.Vector3f, b: mi.Vector3f) -> tuple[mi.Float, mi.Float]:
    """Coefficients of δ in the plane of two vectors: δ ≈ u a + v b; 0 where they span none. [N]"""
    aa, ab, bb = dr.squared_norm(a), dr.dot(a, b), dr.squared_norm(b)
    det = aa * bb - dr.square(ab)
    rcp = dr.select(det > 0, dr.rcp(det), 0)
    δa, δb = dr.dot(δ, a), dr.dot(δ, b)
    return (bb * δa - ab * δb) * rcp, (aa * δb - ab * δa) * rcp
