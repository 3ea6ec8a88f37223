"""The edges of all meshes, rectangles and instances of meshes: where one surface can end in front of another."""

from __future__ import annotations

import dataclasses

import drjit as dr
import mitsuba as mi
import numpy as np

from . import mesh
from .junctions import find_junctions, split_borders
from .placements import Placements


@dataclasses.dataclass(frozen=True)
class EdgeTable:
    """Topology of all edges; positions are looked up in the shapes, so that motion needs no new table."""

    shapes: mi.ShapePtr  #: the shapes that have edges [S]
    shape: mi.UInt32  #: index into ``shapes`` [E]
    start: mi.UInt32  #: corner where the edge begins [E]
    end: mi.UInt32  #: corner where it ends [E]
    left: mi.UInt32  #: opposite corner of one adjacent face [E]
    right: mi.UInt32  #: opposite corner of the other; equals ``left`` on open borders [E]
    count: int  #: E
    owner: mi.UInt32  #: index into ``owners``: the shape whose motion moves the edge [E]
    owners: tuple[mi.Shape, ...]  #: meshes and rectangles, and the instances that place a mesh of a group
    owner_ids: mi.UInt32  #: their registry indices [O]
    placements: Placements | None = None  #: of the owners, if they have been looked up

    def placed(self) -> Placements | None:
        """The transforms of the owners that place their edges; None if all vertices are in world space."""
        instances = [s if s.class_name() == "Instance" else None for s in self.owners]
        return self.placements or (Placements.of(instances) if any(instances) else None)


@dataclasses.dataclass(frozen=True)
class Edge:
    """Edges with their surroundings, world space, attached where their shapes move."""

    start: mi.Point3f  #: [N]
    end: mi.Point3f  #: [N]
    left: mi.Point3f  #: opposite corner of one face [N]
    right: mi.Point3f  #: opposite corner of the other face [N]
    border: mi.Bool  #: has one face only [N]


def mesh_edges(positions: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Edges of a triangle mesh after welding: start, end, left, right as indices into ``positions``. [E, 4]

    An edge with vertices of other faces in its middle is as many edges.
    """
    inner, borders = _welded(positions, faces)
    if len(borders):
        met, borders = _paired(split_borders(positions, borders))
        inner = np.concatenate([inner, met])
    return np.concatenate([inner, np.column_stack([borders, borders[:, 2]])])


def edge_junctions(positions: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Vertices in the middle of an edge, with both ends of it, as indices into ``positions``. [J, 3]"""
    _, borders = _welded(positions, faces)
    if not len(borders):
        return np.zeros((0, 3), np.int64)
    edge, vertex = find_junctions(positions, borders).T
    return np.column_stack([vertex, borders[edge, :2]])


def _welded(positions: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Edges that faces share after welding [E, 4], and borders [B, 3]; both as :func:`_paired` returns them."""
    representative, point = mesh.weld(positions)
    faces = representative[point][faces]
    faces = faces[(faces[:, 0] != faces[:, 1]) & (faces[:, 1] != faces[:, 2]) & (faces[:, 2] != faces[:, 0])]
    # Three half-edges a face
    return _paired(np.concatenate([np.roll(faces, -k, axis=1) for k in range(3)]))


def _paired(half_edges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Edges that two faces share, and what is left: where there is one face, or a fan of many, each has a border.

    Args:
        half_edges: Two ends in any order and the opposite corner. [H, 3]

    Returns:
        Start, end and both opposite corners [E, 4]; start, end and the opposite corner [B, 3].
    """
    # Sorted so that the two of one edge become neighbours
    low, high = np.minimum(half_edges[:, 0], half_edges[:, 1]), np.maximum(half_edges[:, 0], half_edges[:, 1])
    order = np.lexsort((high, low))
    low, high, opposite = low[order], high[order], half_edges[order, 2]
    first = np.concatenate([[True], (low[1:] != low[:-1]) | (high[1:] != high[:-1])]) if len(low) else low.astype(bool)
    starts = np.flatnonzero(first)
    counts = np.diff([*starts, len(low)])
    inner = starts[counts == 2]
    pairs = np.stack([low[inner], high[inner], opposite[inner], opposite[inner + 1]], axis=1)
    single = np.flatnonzero(np.repeat(counts != 2, counts))
    return pairs, np.stack([low[single], high[single], opposite[single]], axis=1)


def build_edges(scene: mi.Scene) -> EdgeTable | None:
    """Collect the edges of a scene once per topology; None if it has none."""
    shapes, owners, rows = [], [], []
    for owner in scene.shapes():
        for shape in placed_shapes(scene, owner):
            if not shape.is_mesh():
                continue
            if shape not in shapes:
                shapes.append(shape)
            edges = mesh_edges(*mesh.triangles(shape))
            rows.append(np.column_stack([np.full((len(edges), 2), [shapes.index(shape), len(owners)]), edges]))
            owners.append(owner)
    table = np.concatenate(rows) if rows else np.zeros((0, 6), int)
    if not len(table):
        return None
    shape, owner, *corners = (mi.UInt32(np.ascontiguousarray(column, dtype=np.uint32)) for column in table.T)
    ids = dr.reinterpret_array(mi.UInt32, mi.ShapePtr(owners))
    return EdgeTable(mi.ShapePtr(shapes), shape, *corners, len(table), owner, tuple(owners), ids)


def has_instances(scene: mi.Scene) -> bool:
    """Whether hits can lie on instances."""
    return any(shape.class_name() == "Instance" for shape in scene.shapes())


def placed_shapes(scene: mi.Scene, shape: mi.Shape) -> list[mi.Shape]:
    """The shapes that a shape of the scene stands for: itself, or the members of the group that it is an instance of.

    Mitsuba tells the group of an instance in its description only.
    """
    if shape.class_name() != "Instance":
        return [shape]
    text = str(shape)
    return next((_members(group) for group in _groups(scene) if f'name = "{group.id()}"' in text), [])


def single_shapes(scene: mi.Scene) -> list[mi.Shape]:
    """The shapes of a scene and, once each, the members of its groups, placed or not."""
    groups = _groups(scene) if has_instances(scene) else []
    return [*scene.shapes(), *(member for group in groups for member in _members(group))]


def _groups(scene: mi.Scene) -> list[mi.Object]:
    return [child for child in children(scene) if child.class_name() == "ShapeGroupPlugin"]


def _members(group: mi.Object) -> list[mi.Shape]:
    return [member for member in children(group) if isinstance(member, mi.Shape)]


def children(parent: mi.Object) -> list[mi.Object]:
    """The objects that an object of the scene is made of."""

    # Only a collection of garbage frees the class. Whatever it held would outlive its scene, and calls reach all lamps
    # in memory, also those whose shapes are gone
    class Visitor(mi.TraversalCallback):
        def __init__(self):
            super().__init__()
            self.found = []

        def put(self, name, value, flags, *_):
            if isinstance(value, mi.Object):
                self.found.append(value)

    visitor = Visitor()
    parent.traverse(visitor)
    return visitor.found


def look_up(table: EdgeTable, index: mi.UInt32, active: mi.Bool = True) -> Edge:
    """Edges by their index in the table, attached to the scene's parameters.

    Args:
        index: [N]
    """
    active = mi.Bool(active)
    shape = dr.gather(mi.ShapePtr, table.shapes, dr.gather(mi.UInt32, table.shape, index, active), active)
    columns = [dr.gather(mi.UInt32, c, index, active) for c in (table.start, table.end, table.left, table.right)]
    corners = [mesh.vertex_position(shape, column, active) for column in columns]
    if placements := table.placed():
        placement = placements.pick(dr.gather(mi.UInt32, table.owner, index, active), active)
        corners = [placement.point(corner) for corner in corners]
    return Edge(*corners, border=columns[2] == columns[3])


def is_silhouette(edge: Edge, direction: mi.Vector3f) -> mi.Bool:
    """Whether a surface ends at an edge for lines along ``direction``: open border, or one face turns away.

    Args:
        direction: Any length, world space. [N]
    """
    tangent = edge.end - edge.start
    left = dr.dot(dr.cross(tangent, edge.left - edge.start), direction)
    right = dr.dot(dr.cross(tangent, edge.right - edge.start), direction)
    # Both faces lie on the same side of the plane through edge and line
    return edge.border | (left * right > 0)


def opening_angle(edge: Edge) -> mi.Float:
    """Range of directions around an edge, in radians, whose lines see it as a silhouette: 0 flat, π open border. [N]"""
    return dr.pi - dr.abs(_fold(edge)[3])


def _fold(edge: Edge) -> tuple[mi.Vector3f, mi.Vector3f, mi.Vector3f, mi.Float]:
    """Frame around an edge (tangent, toward the left face, the third axis) and the signed angle to the right face."""
    tangent = dr.normalize(edge.end - edge.start)
    left = edge.left - edge.start
    left = dr.normalize(left - tangent * dr.dot(tangent, left))
    third = dr.cross(tangent, left)
    right = edge.right - edge.start
    angle = dr.select(edge.border, 0, dr.atan2(dr.dot(right, third), dr.dot(right, left)))
    return tangent, left, third, angle


def sample_silhouette_direction(edge: Edge, sample: mi.Point2f) -> tuple[mi.Vector3f, mi.Float]:
    """A direction whose lines see an edge as a silhouette, uniform in solid angle.

    Args:
        sample: Uniform in the unit square. [N]

    Returns:
        Direction, unit length [N], and the reciprocal of its density per solid angle [N].
    """
    tangent, left, third, angle = _fold(edge)
    opening = dr.pi - dr.abs(angle)
    # Two opposite lunes: lines have no orientation, directions do
    back = sample.x >= 0.5
    u = dr.select(back, 2 * sample.x - 1, 2 * sample.x)
    azimuth = dr.select(angle < 0, -1, 1) * (dr.abs(angle) + u * opening) + dr.select(back, dr.pi, 0)
    z = 1 - 2 * sample.y
    r = dr.safe_sqrt(1 - dr.square(z))
    ω = tangent * z + (left * dr.cos(azimuth) + third * dr.sin(azimuth)) * r
    return ω, 4 * opening
