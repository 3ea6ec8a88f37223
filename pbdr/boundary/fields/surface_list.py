"""All surfaces that a ray can hit: how hit points move, and how far they are from where the surface ends.

Derivatives are kept in plain arrays, as in `edge_list.py`: of the corners of faces, and of the transforms of shapes
without vertices.
"""

from __future__ import annotations

import dataclasses

import drjit as dr
import mitsuba as mi
import numpy as np

from ...geometry import mesh
from .edge_list import FLAT, SHARP
from .round_list import SURFACES, RoundList

#: Numbers of a face in the table: its plane and, for each edge, one that tells where the edge is a silhouette
ROW = 16

#: Planes nearer to a viewpoint than this, relative to its coordinates, are seen from the side
EDGE_ON = 1e-4


@dataclasses.dataclass
class Hit:
    """A point of a surface, seen from an origin."""

    is_face: mi.Bool
    is_round: mi.Bool
    index: mi.UInt32  #: of the face or of the round surface
    weights: mi.Point3f  #: barycentric coordinates, or the point in object space
    rcp_distance: mi.Float  #: 0 if nothing was hit
    inside: mi.Float  #: distance from the end of the surface as seen from the origin, 0 … 1


class SurfaceList:
    """Faces of meshes and rectangles, and spheres, disks and cylinders.

    Attributes:
        corner_grad: Tangents or adjoints of the corners of all faces. [9 F]
    """

    def __init__(self, scene: mi.Scene):
        self._scene = scene
        meshes = [shape for shape in scene.shapes() if shape.is_mesh()]
        self.rounds = RoundList(scene, SURFACES)
        with dr.suspend_grad():
            rows = [_planes(shape) for shape in meshes]
            counts = [len(r) for r in rows]
            self._shape = mi.UInt32(np.repeat(np.arange(len(meshes), dtype=np.uint32), counts))
            self._face = mi.UInt32(np.concatenate([np.arange(n, dtype=np.uint32) for n in [*counts, 0]]))
            self._meshes = mi.ShapePtr(meshes)
            table = np.concatenate([*rows, np.zeros((1, ROW))])
            self._planes = mi.Float(np.ascontiguousarray(table.ravel(), np.float32))
            self._first = self._by_registry(meshes, np.cumsum([0, *counts[:-1]]) if meshes else [])
            self._round = self._by_registry(self.rounds.shapes, range(self.rounds.size))
        self.size = sum(counts)
        self.clear()

    @staticmethod
    def _by_registry(shapes: list[mi.Shape], values) -> mi.UInt32:
        """A table of 1 + value by registry index; 0 for other shapes."""
        index = np.array(dr.reinterpret_array(mi.UInt32, mi.ShapePtr(shapes)), np.int64).reshape(-1)
        table = np.zeros(int(index.max(initial=0)) + 1, np.uint32)
        table[index] = 1 + np.fromiter(values, np.int64, len(shapes))
        return mi.UInt32(table)

    def trace(self, o: mi.Point3f, start: mi.Float, direction: mi.Vector3f, active: mi.Bool) -> Hit:
        """The first surface point in a direction.

        Args:
            o: World space, detached. [N]
            start: Offset of the ray from there, along it, so that it does not hit the surface it comes from. [N]
            direction: Unit length, detached. [N]
        """
        ray = mi.Ray3f(o + direction * start, direction)
        pi = self._scene.ray_intersect_preliminary(ray, coherent=False, active=active)
        shape, hit = dr.reinterpret_array(mi.UInt32, pi.shape), active & pi.is_valid()
        first, turn = (
            dr.gather(mi.UInt32, table, shape, hit & (shape < dr.width(table))) for table in (self._first, self._round)
        )
        is_face, is_round = hit & (first > 0), hit & (turn > 0)
        face = first - 1 + pi.prim_index
        edge_on, inside = self._inside_face(o, face, pi.prim_uv, is_face)
        is_face &= ~edge_on
        # Coordinates of rays that hit nothing are undefined
        u, v = dr.select(is_face, pi.prim_uv, 0)
        weights = mi.Point3f(1 - u - v, u, v)
        p, round_inside = self._on_round(ray(pi.t), direction, turn - 1, is_round)
        return Hit(
            is_face,
            is_round,
            dr.select(is_round, turn - 1, face),
            dr.select(is_round, p, weights),
            dr.select(is_face | is_round, dr.rcp(start + pi.t), 0),
            dr.select(is_round, round_inside, dr.select(is_face, inside, 1)),
        )

    def _inside_face(self, o: mi.Point3f, face: mi.UInt32, uv: mi.Point2f, active: mi.Bool) -> tuple[mi.Bool, mi.Float]:
        """Whether a face is seen from the side, and the least barycentric coordinate toward an edge that counts."""
        own, *others = (dr.gather(mi.Vector4f, self._planes, 4 * face + k, active) for k in range(4))
        side = dr.dot(own.xyz, o) - own.w
        inside = mi.Float(1)
        # Edge k joins the corners k and k + 1; its distance is the coordinate of the third one
        for other, coordinate in zip(others, (uv.y, 1 - uv.x - uv.y, uv.x), strict=True):
            counts = side * (dr.dot(other.xyz, o) - other.w) > 0
            inside = dr.select(counts, dr.minimum(inside, coordinate), inside)
        return dr.abs(side) < EDGE_ON * (1 + dr.max(dr.abs(o))), dr.maximum(inside, 0)

    def _on_round(
        self, x: mi.Point3f, direction: mi.Vector3f, index: mi.UInt32, active: mi.Bool
    ) -> tuple[mi.Point3f, mi.Float]:
        """A point of a round surface in object space, and its distance from rim or outline."""
        linear, offset, ball, side = self.rounds.place(index, active)
        to_object = dr.rcp(linear)
        p = to_object @ (mi.Vector3f(x) - offset)
        normal = to_object.T @ mi.Vector3f(p.x, p.y, dr.select(ball, p.z, 0))
        facing = dr.square(dr.dot(dr.normalize(normal), direction))
        tube = dr.minimum(facing, dr.clip(dr.minimum(p.z, 1 - p.z), 0, 1))
        disk = dr.clip(1 - dr.hypot(p.x, p.y), 0, 1)
        return mi.Point3f(p), dr.select(ball, facing, dr.select(side == 0, disk, tube))

    def motion(self, hit: Hit) -> mi.Vector3f:
        """Velocities of hit points; 0 where nothing was hit. [N]"""
        velocity = mi.Vector3f(0)
        for k in range(3):
            velocity += dr.gather(mi.Vector3f, self.corner_grad, 3 * hit.index + k, hit.is_face) * hit.weights[k]
        if self.rounds.size:
            Ṁ, ṫ = self.rounds.motion(hit.index, hit.is_round)
            velocity = dr.select(hit.is_round, Ṁ @ mi.Vector3f(hit.weights) + ṫ, velocity)
        return velocity

    def add(self, hit: Hit, δ: mi.Vector3f) -> None:
        """Add to the adjoints of hit points; the transpose of :meth:`motion`."""
        for k in range(3):
            dr.scatter_add(self.corner_grad, δ * hit.weights[k], 3 * hit.index + k, hit.is_face)
        if self.rounds.size:
            self.rounds.add(hit.index, [hit.weights * δ[i] for i in range(3)], δ, hit.is_round)

    def _corners(self) -> tuple[mi.Point3f, mi.Point3f, mi.Point3f]:
        """Corners of all faces, attached. [F] each"""
        return mesh.corners(dr.gather(mi.ShapePtr, self._meshes, self._shape), self._face, mi.Bool(True))

    def receive_tangents(self) -> None:
        """Fill the gradient arrays from the tangents of the scene's parameters."""
        self.clear()
        self.rounds.receive_tangents()
        corners = self._corners() if self.size else ()
        moving = [p for p in corners if dr.grad_enabled(p)]
        if not moving:
            return
        dr.forward_to(*moving, flags=dr.ADFlag.ClearEdges)
        face = dr.arange(mi.UInt32, self.size)
        for k, corner in enumerate(corners):
            dr.scatter(self.corner_grad, mi.Vector3f(dr.detach(dr.grad(corner), True)), 3 * face + k)
        dr.make_opaque(self.corner_grad)

    def clear(self) -> None:
        """Start reverse mode with adjoints of 0."""
        self.corner_grad = dr.zeros(mi.Float, 9 * max(self.size, 1))
        dr.make_opaque(self.corner_grad)
        self.rounds.clear()

    def send_adjoints(self) -> None:
        """Queue the adjoints for the next reverse traversal."""
        self.rounds.send_adjoints()
        face = dr.arange(mi.UInt32, self.size)
        for k, corner in enumerate(self._corners() if self.size else ()):
            if dr.grad_enabled(corner):
                dr.set_grad(corner, mi.Point3f(dr.gather(mi.Vector3f, self.corner_grad, 3 * face + k)))
                dr.enqueue(dr.ADMode.Backward, corner)


def _planes(shape: mi.Shape) -> np.ndarray:
    """Planes (unit normal, distance) of faces and, for each of their edges, of the face beyond. [F, 16]

    An edge is a silhouette from where both have the same sign. Edges that always count repeat the face's own plane,
    edges between coplanar faces have its opposite.
    """
    positions, faces = mesh.triangles(shape)
    ends = [positions[faces[:, k]] for k in range(3)]
    own = _plane(*ends)
    representative, point = mesh.weld(positions)
    beyond, has_one = _opposite_corners(representative[point][faces])
    sharp = SHARP if shape.has_vertex_normals() else FLAT
    columns = [own]
    for k in range(3):
        a, b = ends[k], ends[(k + 1) % 3]
        other = _plane(a, b, positions[beyond[k]])
        angle = np.arccos(np.clip(-(own[:, :3] * other[:, :3]).sum(1), -1, 1))
        other[angle < FLAT] = -own[angle < FLAT]
        always = ~has_one[k] | (angle > sharp)
        other[always] = own[always]
        columns.append(other)
    return np.concatenate(columns, axis=1)


def _plane(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    """Unit normal and distance from 0 of planes through three points; 0 for those on a line. [F, 4]"""
    normal = np.cross(b - a, c - a)
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-30)
    return np.column_stack([normal, (normal * a).sum(1)])


def _opposite_corners(faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each face's edges, the corner of the face beyond and whether there is exactly one such face. [3, F] each"""
    # Half-edges of one edge become neighbours
    start, end, opposite = (np.concatenate([np.roll(faces, -k, axis=1)[:, j] for k in range(3)]) for j in range(3))
    low, high = np.minimum(start, end), np.maximum(start, end)
    order = np.lexsort((high, low))
    low, high = low[order], high[order]
    first = np.flatnonzero(np.concatenate([[True], (low[1:] != low[:-1]) | (high[1:] != high[:-1])]))
    pairs = first[np.diff([*first, len(low)]) == 2]
    beyond, has_one = np.zeros(len(low), np.int64), np.zeros(len(low), bool)
    for one, other in ((pairs, pairs + 1), (pairs + 1, pairs)):
        beyond[order[one]], has_one[order[one]] = opposite[order[other]], True
    return beyond.reshape(3, -1), has_one.reshape(3, -1)
