"""The edges that a velocity field interpolates between: positions, tangents and adjoints in plain arrays.

Fields visit many edges for each ray, inside symbolic loops. Derivatives of edge positions are therefore kept in arrays
of numbers, read in forward mode and added to in reverse mode, and joined to the scene's parameters once a pass.
"""

from __future__ import annotations

import drjit as dr
import mitsuba as mi
import numpy as np

from ...geometry.edges import Edge, EdgeTable, build_edges, look_up
from ...geometry.topology import Topology
from .edge_tree import build_tree, spatial_order
from .level_set_edges import OWN, LevelSetEdges
from .rims import Rims

#: Faces that meet at less than this angle, in radians, count as one plane
FLAT = 1e-3

#: Angle between faces, in radians, from which on shading is taken to jump on meshes with vertex normals
SHARP = 0.5

#: Up to so many edges are visited one after the other, more through a tree
FEW = 48


class EdgeTables:
    """The edges of the last scene that was asked for, built anew when its shapes or their faces change."""

    def __init__(self):
        self._topology = Topology()
        self._table: EdgeTable | None = None

    def of(self, scene: mi.Scene) -> EdgeTable | None:
        """The edges of a scene; None if it has none."""
        if self._topology.has_changed(scene):
            self._table = build_edges(scene)
        return self._table


class EdgeList:
    """Edges where a surface can end or shading can jump, as seen from anywhere, and an order to visit them in.

    Attributes:
        size: Number of edges E.
        start_grad: Tangents or adjoints of the points where edges begin. [3 E]
        end_grad: Tangents or adjoints of those where they end. [3 E]
    """

    def __init__(self, scene: mi.Scene, table: EdgeTable | None, reach: float):
        """Select and evaluate the edges of a table, rims, and edges that stand for level sets.

        Args:
            reach: Angle, in radians, beyond which edges do not matter.
        """
        self._sine, self._tree = float(np.sin(min(reach, 1.5))), None
        sources = [_TableEdges(table) if table else None, Rims.of(scene), LevelSetEdges.of(scene)]
        self._sources = [source for source in sources if source]
        with dr.suspend_grad():
            columns = self._select()
            self.size = len(columns[0])
            self._count = dr.opaque(mi.UInt32, self.size)
            start, end, normal_1, normal_2 = columns
            # Groups of four are read at once
            rows = np.concatenate([start, normal_1[:, :1], end, normal_1[:, 1:2], normal_2, normal_1[:, 2:]], axis=1)
            # Arrays that are read must not be empty
            rows = rows if self.size else np.zeros((1, 12))
            self._rows = mi.Float(np.ascontiguousarray(rows.ravel(), np.float32))
        self.clear()

    def _select(self) -> list[np.ndarray]:
        """Arrays of the edges that count, in spatial order. [E, 3] each"""
        parts = [source.columns() for source in self._sources] + [(*[np.zeros((0, 3))] * 4, np.zeros(0), np.zeros(0))]
        start, end, left, right, always, counts = (np.concatenate(column) for column in zip(*parts, strict=True))
        counts = np.flatnonzero(counts)
        start, end, left, right = (c[counts] for c in (start, end, left, right))
        always = always[counts].astype(bool)
        order = np.arange(len(counts))
        if len(counts) > FEW:
            order = spatial_order((start + end) / 2)
        self._index = mi.UInt32(np.uint32(counts[order]))
        start, end, left, right, always = (c[order] for c in (start, end, left, right, always))
        # Four times the squared distance from which on the edge counts; level sets come last
        before = sum(
            len(part[0])
            for part, source in zip(parts, self._sources, strict=False)
            if not isinstance(source, LevelSetEdges)
        )
        net = counts[order] >= before
        self._least = mi.Float(np.float32((2 * OWN) ** 2 * ((end - start) ** 2).sum(1) * net)) if net.any() else None
        self._bounds = (start, end, left, right, always)
        return [start, end, left, np.where(always[:, None], left, right)]

    def prepare_search(self) -> None:
        """Build what it takes to find the edges near single rays."""
        start, end, left, right, always = self._bounds
        if self.size > FEW:
            normals = np.stack([n / np.maximum(np.linalg.norm(n, axis=1, keepdims=True), 1e-30) for n in (left, right)])
            self._tree = build_tree(start, end, normals, always)

    @dr.syntax
    def first(self, o: mi.Point3f, q: mi.Vector3f, active: mi.Bool) -> mi.UInt32:
        """Cursor at the first edge of a visit to all that may be near a ray. [N]"""
        cursor = mi.UInt32(0)
        if dr.hint(self._tree is not None, mode="scalar"):
            cursor = self._tree.find_leaf(mi.UInt32(2), o, q, self._sine, mi.Bool(active))
        return cursor

    @dr.syntax
    def following(self, cursor: mi.UInt32, o: mi.Point3f, q: mi.Vector3f, active: mi.Bool) -> mi.UInt32:
        """Cursor at the next edge. [N]"""
        cursor = cursor + 1
        if dr.hint(self._tree is not None, mode="scalar"):
            cursor = self._tree.find_leaf(self._tree.skip(cursor - 1), o, q, self._sine, active)
        return cursor

    def at_edge(self, cursor: mi.UInt32) -> tuple[mi.UInt32, mi.Bool]:
        """Index of the edge at a cursor and whether there is one: false after the last. [N] each"""
        if self._tree is None:
            return cursor, cursor < self._count
        return cursor - self._tree.leaves, cursor >= self._tree.leaves

    def silhouette(self, index: mi.UInt32, o: mi.Point3f, active: mi.Bool) -> tuple[mi.Vector3f, mi.Vector3f, mi.Bool]:
        """Both ends of an edge relative to a point, detached, and whether the edge counts from there. [N] each"""
        a, b, n2 = (dr.gather(mi.Vector4f, self._rows, 3 * index + k, active) for k in range(3))
        start, end = a.xyz - mi.Vector3f(o), b.xyz - mi.Vector3f(o)
        n1 = mi.Vector3f(a.w, b.w, n2.w)
        active = active & (dr.dot(n1, start) * dr.dot(n2.xyz, start) > 0)
        if self._least is not None:
            # Points of a level set lie next to its net, and do not see the outline that the net has from there
            active &= dr.squared_norm(start + end) > dr.gather(mi.Float, self._least, index, active)
        return start, end, active

    def between(self, index: mi.UInt32, o: mi.Point3f, active: mi.Bool) -> tuple[mi.Vector3f, mi.Vector3f]:
        """Both ends of an edge relative to a point, detached. [N] each"""
        a, b = (dr.gather(mi.Vector4f, self._rows, 3 * index + k, active) for k in range(2))
        return a.xyz - mi.Vector3f(o), b.xyz - mi.Vector3f(o)

    def motion(self, index: mi.UInt32, t: mi.Float, active: mi.Bool) -> tuple[mi.Vector3f, mi.Vector3f]:
        """Velocity of a point of an edge, and its slope along the edge. [N] each

        Args:
            t: Where along the edge. [N]
        """
        ȧ = dr.gather(mi.Vector3f, self.start_grad, index, active)
        ḃ = dr.gather(mi.Vector3f, self.end_grad, index, active)
        return dr.lerp(ȧ, ḃ, t), ḃ - ȧ

    def add(self, index: mi.UInt32, t: mi.Float, adjoints: tuple[mi.Vector3f, mi.Vector3f], active: mi.Bool) -> None:
        """Add to the adjoints of an edge; the transpose of :meth:`motion`."""
        δX, δe = adjoints
        dr.scatter_add(self.start_grad, δX * (1 - t) - δe, index, active)
        dr.scatter_add(self.end_grad, δX * t + δe, index, active)

    def seen_from(self, o: mi.Point3f) -> mi.UInt32:
        """The edges that count from a point. [S]"""
        index = dr.arange(mi.UInt32, self.size)
        return dr.gather(mi.UInt32, index, dr.compress(self.silhouette(index, o, mi.Bool(True))[2]))

    def attached(self) -> list[mi.Point3f]:
        """Both ends of all edges, attached to the scene's parameters. [E] each"""
        ends = [source.ends() for source in self._sources]
        joined = [
            mi.Point3f(*(dr.concat([p[i] for p in parts]) for i in range(3))) for parts in zip(*ends, strict=True)
        ]
        return [dr.gather(mi.Point3f, p, self._index) for p in joined]

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
        self.start_grad, self.end_grad = (dr.zeros(mi.Float, 3 * max(self.size, 1)) for _ in range(2))
        dr.make_opaque(self.start_grad, self.end_grad)

    def send_adjoints(self) -> None:
        """Queue the adjoints for the next reverse traversal."""
        if not self.size:
            return
        for p, adjoint in zip(self.attached(), (self.start_grad, self.end_grad), strict=True):
            if dr.grad_enabled(p):
                dr.set_grad(p, dr.unravel(mi.Point3f, adjoint))
                dr.enqueue(dr.ADMode.Backward, p)


def closest_on_segment(a: mi.Vector3f, e: mi.Vector3f, q: mi.Vector3f) -> tuple[mi.Float, mi.Vector3f]:
    """Where on a + t e, 0 ≤ t ≤ 1, the direction from 0 is closest to q, and the gradient of t by q. [N] each"""
    α, β = dr.dot(q, a), dr.dot(q, e)
    γ, δ, ε = dr.dot(a, a), dr.dot(a, e), dr.dot(e, e)
    numerator, denominator = β * γ - α * δ, α * ε - β * δ
    inside = (denominator > 0) & (numerator > 0) & (numerator < denominator)
    # Outside, the better end: the direction's cosine decides
    at_end = (α + β) * dr.rsqrt(γ + 2 * δ + ε) > α * dr.rsqrt(γ)
    t = dr.select(inside, numerator / denominator, dr.select(at_end, mi.Float(1), mi.Float(0)))
    slope = (e * α - a * β) * ((γ * ε - dr.square(δ)) / dr.square(denominator))
    return t, dr.select(inside, slope - q * dr.dot(q, slope), 0)


def _faces(edge: Edge) -> tuple[mi.Vector3f, mi.Vector3f, mi.Float]:
    """Normals of the planes through an edge and its faces, and the angle by which one face leaves the other's plane."""
    along = edge.end - edge.start
    left, right = dr.cross(along, edge.left - edge.start), dr.cross(along, edge.right - edge.start)
    # The faces lie on opposite sides of a flat edge
    angle = dr.unit_angle(dr.normalize(left), -dr.normalize(right))
    return left, right, dr.select(dr.isfinite(angle), angle, 0)


class _TableEdges:
    """The edges of meshes, rectangles and instances."""

    def __init__(self, table: EdgeTable):
        self._table = table

    def _edges(self) -> Edge:
        return look_up(self._table, dr.arange(mi.UInt32, self._table.count))

    def columns(self) -> tuple[np.ndarray, ...]:
        """Ends and normals of the planes on both sides [E, 3], whether edges always count, whether they ever do. [E]"""
        edge = self._edges()
        left, right, angle = _faces(edge)
        smooth = dr.gather(mi.Bool, mi.MeshPtr(self._table.shapes).has_vertex_normals(), self._table.shape)
        always = np.array(edge.border | (angle > dr.select(smooth, SHARP, FLAT)))
        corners = (np.array(a, np.float64).T for a in (edge.start, edge.end, left, right))
        return *corners, always, always | np.array(angle > FLAT)

    def ends(self) -> tuple[mi.Point3f, mi.Point3f]:
        """Both ends of the edges, attached. [E] each"""
        edge = self._edges()
        return edge.start, edge.end
