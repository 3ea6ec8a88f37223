"""Material points: surface points that follow the motion of the shape they lie on."""

from __future__ import annotations

import drjit as dr
import mitsuba as mi

from . import mesh

#: Parameters that move surfaces or emitters; other parameters of a shape change its looks
MOTION_KEYS = frozenset({"vertex_positions", "to_world", "center", "radius", "position", "control_points", "grid"})


def carries_motion(owner: mi.Object) -> bool:
    """Whether a parameter that moves this shape, emitter or sensor carries derivatives."""
    return any(key in MOTION_KEYS and dr.grad_enabled(value) for key, value in mi.traverse(owner))


def material_point(
    pi: mi.PreliminaryIntersection3f, ray: mi.Ray3f, flags: int, active: mi.Bool = True
) -> mi.SurfaceInteraction3f:
    """The hit of a detached ray, attached so that it follows its shape: frozen surface coordinates, moving position.

    Without ``FollowShape`` Mitsuba lets the hit slide along its ray, which belongs to another parameterization of the
    path integral and must not be mixed with this one.

    Args:
        pi: Hits of ``ray``. [N]
        ray: Detached rays, world space. [N]
        flags: ``mi.RayFlags`` naming the fields wanted.
    """
    return pi.compute_surface_interaction(ray, flags | mi.RayFlags.FollowShape, active)


def area_jacobian(pi: mi.PreliminaryIntersection3f, si: mi.SurfaceInteraction3f, active: mi.Bool = True) -> mi.Float:
    """A factor of value 1 that carries the relative change of surface area around a material point.

    J = dA(x)/dA(p), the Jacobian of the motion from the material to the moving surface [Zhang et al. 2020, "Path-space
    differentiable rendering"]. Triangles use their area, other shapes |∂x/∂u × ∂x/∂v| at frozen (u, v).

    Args:
        pi: Hits. [N]
        si: Their interactions from :func:`material_point`, with ``dPdUV``. [N]
    """
    active = active & si.is_valid()
    triangle = pi.shape.is_mesh() & (pi.instance == None)  # noqa: E711 (element-wise)
    area = dr.select(
        triangle,
        mesh.triangle_area(pi.shape, pi.prim_index, active & triangle),
        dr.norm(dr.cross(si.dp_du, si.dp_dv)),
    )
    return dr.relative_grad(dr.select(active, area, 1))
