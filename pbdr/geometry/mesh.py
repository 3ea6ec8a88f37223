"""The only module that knows how Mitsuba stores triangle meshes."""

from __future__ import annotations

import drjit as dr
import mitsuba as mi
import numpy as np


def corners(shape: mi.ShapePtr, prim_index: mi.UInt32, active: mi.Bool) -> tuple[mi.Point3f, mi.Point3f, mi.Point3f]:
    """The corners of triangles, attached, world space (object space for instanced meshes).

    Args:
        shape: Meshes; other lanes must be inactive. [N]
        prim_index: Triangle of each lane. [N]
    """
    mesh = mi.MeshPtr(shape)
    face = mesh.face_indices(prim_index, active)
    a, b, c = (mesh.vertex_position(face[k], active) for k in range(3))
    return a, b, c


def triangle_area(shape: mi.ShapePtr, prim_index: mi.UInt32, active: mi.Bool) -> mi.Float:
    """Area of triangles, attached to their vertices; squared scene units. Arguments as in :func:`corners`. [N]"""
    a, b, c = corners(shape, prim_index, active)
    return 0.5 * dr.norm(dr.cross(b - a, c - a))


def triangles(mesh: mi.Mesh) -> tuple[np.ndarray, np.ndarray]:
    """Vertex positions [V, 3] and faces [F, 3], detached; rectangles, which have no buffers, are two triangles."""
    vertex = mesh.vertex_position(dr.arange(mi.UInt32, mesh.vertex_count()))
    face = mesh.face_indices(dr.arange(mi.UInt32, mesh.face_count()))
    return np.array(dr.detach(vertex), np.float64).T, np.array(face, np.int64).T


def vertex_position(shape: mi.ShapePtr, index: mi.UInt32, active: mi.Bool) -> mi.Point3f:
    """World-space vertices of meshes and rectangles, attached. [N]"""
    return mi.MeshPtr(shape).vertex_position(index, active)
