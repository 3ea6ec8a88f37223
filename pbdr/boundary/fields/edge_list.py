"""The edges that a velocity field interpolates between: positions, tangents and adjoints in plain arrays.

Fields visit many edges for each ray, inside symbolic loops. Derivatives of edge positions are therefore kept in arrays
of numbers, read in forward mode and added to in reverse mode, and joined to the scene's parameters once a pass.
"""

from __future__ import annotations

import drjit as dr
import mitsuba as mi

from ...geometry.edges import Edge, EdgeTable, look_up

#: Faces that meet at less than this angle, in radians, count as one plane
FLAT = 1e-3

#: Angle between faces, in radians, from which on shading is taken to jump on meshes with vertex normals
SHARP = 0.5


class EdgeList:
    """Edges where a surface can end or shading can jump, as seen from anywhere.

    Attributes:
        count: Number of edges E. [1]
        start: Where edges begin, world space, detached. [3 E]
        end: Where they end. [3 E]
        normal_1: Normal of the plane of edge and one face; any length. [3 E]
        normal_2: The same for the other face, equal to ``normal_1`` if the edge always counts. [3 E]
        bent: Tangents or adjoints of ``start`` and ``end``. [3 E] each
    """

    def __init__(self, scene: mi.Scene, table: EdgeTable):
        """Select and evaluate the edges of a table, made from this scene."""
        self._table = table
        meshes = [shape for shape in scene.shapes() if shape.is_mesh()]
        flat_shaded = mi.Bool([not shape.has_vertex_normals() for shape in meshes])
        with dr.suspend_grad():
            index = dr.arange(mi.UInt32, table.count)
            edge = look_up(table, index)
            left, right, angle = _faces(edge)
            flat = dr.gather(mi.Bool, flat_shaded, table.shape)
            counts = edge.border | (angle > FLAT)
            always = edge.border | (angle > dr.select(flat, FLAT, SHARP))
            self._index = dr.compress(counts)
            right = dr.select(always, left, right)
            size = dr.width(self._index)
            self.count = dr.opaque(mi.UInt32, size)
            self.start, self.end, self.normal_1, self.normal_2 = (
                dr.ravel(dr.gather(type(a), a, self._index)) if size else mi.Float(0)
                for a in (mi.Vector3f(edge.start), mi.Vector3f(edge.end), left, right)
            )
            self.size = size
            self.start_grad = dr.zeros(mi.Float, 3 * size)
            self.end_grad = dr.zeros(mi.Float, 3 * size)
            dr.make_opaque(self.start, self.end, self.normal_1, self.normal_2, self.start_grad, self.end_grad)

    def attached(self) -> list[mi.Point3f]:
        """Both ends of all edges, attached to the scene's parameters. [E] each"""
        edge = look_up(self._table, self._index)
        return [edge.start, edge.end]

    def moves(self) -> bool:
        """Whether any edge carries derivatives."""
        return any(dr.grad_enabled(p) for p in self.attached()) if self.size else False

    def receive_tangents(self) -> None:
        """Fill the gradient arrays from the tangents of the scene's parameters."""
        if not self.size:
            return
        ends = self.attached()
        moving = [p for p in ends if dr.grad_enabled(p)]
        if moving:
            dr.forward_to(*moving, flags=dr.ADFlag.ClearEdges)
        self.start_grad, self.end_grad = (dr.ravel(mi.Vector3f(dr.detach(dr.grad(p), True))) for p in ends)
        dr.make_opaque(self.start_grad, self.end_grad)

    def clear(self) -> None:
        """Start reverse mode with adjoints of 0."""
        self.start_grad, self.end_grad = (dr.zeros(mi.Float, 3 * self.size) for _ in range(2))
        dr.make_opaque(self.start_grad, self.end_grad)

    def send_adjoints(self) -> None:
        """Queue the adjoints for the next reverse traversal."""
        if not self.size:
            return
        for p, adjoint in zip(self.attached(), (self.start_grad, self.end_grad), strict=True):
            if dr.grad_enabled(p):
                dr.set_grad(p, dr.unravel(mi.Point3f, adjoint))
                dr.enqueue(dr.ADMode.Backward, p)


def _faces(edge: Edge) -> tuple[mi.Vector3f, mi.Vector3f, mi.Float]:
    """Normals of the planes through an edge and its faces, and the angle by which one face leaves the other's plane."""
    along = edge.end - edge.start
    left, right = dr.cross(along, edge.left - edge.start), dr.cross(along, edge.right - edge.start)
    # The faces lie on opposite sides of a flat edge
    angle = dr.unit_angle(dr.normalize(left), -dr.normalize(right))
    return left, right, dr.select(dr.isfinite(angle), angle, 0)
