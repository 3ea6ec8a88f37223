"""Material points: surface points that follow the motion of the shape they lie on."""

from __future__ import annotations

import dataclasses

import drjit as dr
import mitsuba as mi

from . import mesh
from .edges import placed_shapes
from .flags import Flags

#: Parameters that move surfaces or emitters; other parameters of a shape change its looks
MOTION_KEYS = frozenset({"vertex_positions", "to_world", "center", "radius", "position", "control_points", "grid"})

#: Cosines below which those of round shapes are rounding errors. Relative changes grow with 1 / cosine, so that without
#: a limit one ray in millions that grazes a sphere outweighs all others; the limit leaves out half as large a share of
#: the changes of area beside outlines
GRAZING = 1e-3


def carries_motion(owner: mi.Object) -> bool:
    """Whether a parameter that moves this shape, emitter or sensor carries derivatives."""
    parameters = mi.traverse(owner)
    return any(dr.grad_enabled(parameters[key]) for key in parameters.keys() & MOTION_KEYS)


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
    si = pi.compute_surface_interaction(ray, flags | mi.RayFlags.FollowShape, active)
    if mi.has_flag(flags, mi.RayFlags.dPdUV) and dr.grad_enabled(si.dp_du):
        instanced = active & si.is_valid() & (pi.instance != None)  # noqa: E711 (element-wise)
        shading = mi.has_flag(flags, mi.RayFlags.ShadingFrame)
        _turn_normals(si, _tilt(pi, ray, si, instanced) if shading else None, instanced)
    return si


def _tilt(
    pi: mi.PreliminaryIntersection3f, ray: mi.Ray3f, si: mi.SurfaceInteraction3f, instanced: mi.Bool
) -> tuple[mi.Float, mi.Float, mi.Float]:
    """How the shading normals of members of groups tilt against their surface as their own vertices move. [N]

    Coefficients of value 0 for tangents and normal, where instances are placed without being stretched unevenly.
    """
    own = mi.PreliminaryIntersection3f(pi)
    own.shape, own.instance = si.shape, dr.zeros(mi.ShapePtr, dr.width(si.shape))
    member = own.compute_surface_interaction(ray, mi.RayFlags.All | mi.RayFlags.FollowShape, instanced)
    n, sh_n = mi.Vector3f(member.n), mi.Vector3f(member.sh_frame.n)
    w = dr.dot(n, sh_n)
    u, v = coordinates(sh_n - n * w, member.dp_du, member.dp_dv)
    a2 = dr.squared_norm(dr.detach(si.dp_du))
    scale = dr.select(a2 > 0, dr.norm(dr.detach(member.dp_du)) * dr.rsqrt(a2), 0)
    return (u - dr.detach(u)) * scale, (v - dr.detach(v)) * scale, w - dr.detach(w)


def _turn_normals(si: mi.SurfaceInteraction3f, tilt: tuple[mi.Float, ...] | None, instanced: mi.Bool) -> None:
    """Attach the normals of instances, of which Mitsuba attaches tangents only.

    Shading normals turn with the surface, which is right for rigid motion, uniform scaling and flat shading.

    Args:
        tilt: What they do beyond that; None where they are not wanted. [N] each
    """
    n = mi.Vector3f(dr.detach(si.n))
    a, b = dr.detach(si.dp_du), dr.detach(si.dp_dv)
    turned = dr.normalize(dr.cross(si.dp_du, si.dp_dv))
    turned = dr.select(dr.dot(n, dr.detach(turned)) < 0, -turned, turned)
    si.n = dr.select(instanced, dr.replace_grad(si.n, mi.Normal3f(turned)), si.n)
    if tilt:
        sh_n = mi.Vector3f(dr.detach(si.sh_frame.n))
        w = dr.dot(n, sh_n)
        u, v, w = (x + change for x, change in zip((*coordinates(sh_n - n * w, a, b), w), tilt, strict=True))
        moved = dr.normalize(si.dp_du * u + si.dp_dv * v + turned * w)
        si.sh_frame.n = dr.select(instanced, dr.replace_grad(si.sh_frame.n, mi.Normal3f(moved)), si.sh_frame.n)
        si.initialize_sh_frame()


def coordinates(δ: mi.Vector3f, a: mi.Vector3f, b: mi.Vector3f) -> tuple[mi.Float, mi.Float]:
    """Coefficients of δ in the plane of two vectors: δ ≈ u a + v b; 0 where they span none. [N]"""
    aa, ab, bb = dr.squared_norm(a), dr.dot(a, b), dr.squared_norm(b)
    det = aa * bb - dr.square(ab)
    rcp = dr.select(det > 0, dr.rcp(det), 0)
    δa, δb = dr.dot(δ, a), dr.dot(δ, b)
    return (bb * δa - ab * δb) * rcp, (aa * δb - ab * δa) * rcp


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


def relative_cosine(normal: mi.Normal3f, direction: mi.Vector3f) -> mi.Float:
    """A factor of value 1 that carries the relative change of |n·ω|, at most as fast as at ``GRAZING``. [N]

    Args:
        direction: Any length. [N]
    """
    cosine = dr.dot(normal, direction)
    value, least = dr.detach(cosine), GRAZING * dr.norm(dr.detach(direction))
    return 1 + (cosine - value) * dr.mulsign(dr.rcp(dr.maximum(dr.abs(value), least)), value)


def registry_index(pi: mi.PreliminaryIntersection3f) -> mi.UInt32:
    """Registry index of what was hit: the instance, else the shape; 0 for nothing. [N]"""
    instance = dr.reinterpret_array(mi.UInt32, pi.instance)
    index = dr.select(instance != 0, instance, dr.reinterpret_array(mi.UInt32, pi.shape))
    return dr.select(pi.is_valid(), index, 0)


@dataclasses.dataclass(frozen=True)
class MovingShapes:
    """Which shapes carry derivatives of their positions."""

    flags: Flags

    @classmethod
    def of(cls, scene: mi.Scene) -> MovingShapes:
        """Look at all shapes of a scene and at the members of its groups; instances move with their members, too."""

        def moves(shape: mi.Shape) -> bool:
            return any(carries_motion(part) for part in {shape, *placed_shapes(scene, shape)})

        return cls(Flags.of_shapes(scene, moves))

    @property
    def any(self) -> bool:
        """Whether one does."""
        return self.flags.any

    def has(self, index: mi.UInt32) -> mi.Bool:
        """Whether shapes move, by registry index. [N]"""
        return self.flags.has(index)

    def hit(self, pi: mi.PreliminaryIntersection3f) -> mi.Bool:
        """Whether hits lie on moving shapes. [N]"""
        on_shape = self.has(dr.reinterpret_array(mi.UInt32, pi.shape))
        on_instance = self.has(dr.reinterpret_array(mi.UInt32, pi.instance))
        return pi.is_valid() & (on_shape | on_instance)
