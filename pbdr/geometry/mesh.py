"""The only module that knows how Mitsuba stores triangle meshes."""

from __future__ import annotations

import drjit as dr
import mitsuba as mi


def is_triangle_mesh(shape: mi.ShapePtr) -> mi.Bool:
    """Whether a shape has faces; rectangles call themselves meshes but have none."""
    return shape.shape_type() == int(mi.ShapeType.Mesh)


def triangle_area(shape: mi.ShapePtr, prim_index: mi.UInt32, active: mi.Bool) -> mi.Float:
    """Area of triangles, attached to their vertices.

    Args:
        shape: Triangle meshes; other lanes must be inactive. [N]
        prim_index: Triangle of each lane. [N]

    Returns:
        Area in squared scene units, object space for instanced meshes. [N]
    """
    mesh = mi.MeshPtr(shape)
    face = mesh.face_indices(prim_index, active)
    a, b, c = (mesh.vertex_position(face[k], active) for k in range(3))
    return 0.5 * dr.norm(dr.cross(b - a, c - a))
