"""All curves where a surface can end in front of another, divided into cells of which samples are taken.

Three kinds share one index: edges of meshes (`edges.py`), rims of disks and cylinders, and the silhouettes of smooth
shapes, which are a curve only once one knows from where they are seen: a circle on a sphere, two lines on a cylinder.
"""

from __future__ import annotations

import dataclasses

import drjit as dr
import mitsuba as mi
import numpy as np

from .coincidence import POINT_TOLERANCE, Rings, Sibling, build_rings
from .edges import Edge, EdgeTable, build_edges, is_silhouette, look_up, opening_angle, sample_silhouette_direction
from .placements import Placement, Placements

#: Long curves are divided until there are about so many cells
CELLS_WANTED = 1024

#: Curves of shapes without vertices: smooth, ball, height, inward, side, as in `RoundTable`
_ROUND_CURVES = {
    "Sphere": [(True, True, 0, 0, 0)],
    "Disk": [(False, False, 0, 0, 0)],
    "Cylinder": [
        (False, False, 0, 1, 0),
        (False, False, 1, -1, 0),
        (True, False, 0, 0, 1),
        (True, False, 0, 0, -1),
    ],
}

#: Shapes whose curves are known, apart from meshes and instances of them
ROUND_SHAPES = tuple(_ROUND_CURVES)


@dataclasses.dataclass(frozen=True)
class RoundTable:
    """Curves of spheres, disks and cylinders in object space: radius 1, cylinders from z = 0 to 1."""

    smooth: mi.Bool  #: a silhouette that depends on the viewpoint, not a rim [R]
    ball: mi.Bool  #: on a sphere [R]
    height: mi.Float  #: z of a rim [R]
    inward: mi.Float  #: z direction from a cylinder's rim to its surface; 0 for disks [R]
    side: mi.Float  #: which of a cylinder's two silhouettes, ±1 [R]
    owner: mi.UInt32  #: index into ``owners`` [R]
    owners: tuple[mi.Shape, ...]
    owner_ids: mi.UInt32  #: their registry indices [O]
    count: int  #: R
    placements: Placements | None = None  #: of the owners, if they have been looked up

    def placed(self) -> Placements:
        """The transforms of the owners."""
        return self.placements or Placements.of(self.owners)


@dataclasses.dataclass(frozen=True)
class Curves:
    """The curves of a scene and their cells."""

    edges: EdgeTable | None  #: curves 0 … E−1
    rounds: RoundTable | None  #: curves E … E+R−1
    curve: mi.UInt32  #: curve of each cell [C]
    begin: mi.Float  #: where the cell begins on its curve, 0 … 1 [C]
    extent: mi.Float  #: its share of the curve [C]
    count: int  #: C
    rings: Rings | None = None  #: curves of different shapes that lie on each other

    def placed(self) -> Curves:
        """The same with the transforms of their shapes: places can be found inside a loop then."""
        tables = {"edges": self.edges, "rounds": self.rounds}
        return dataclasses.replace(
            self, **{n: dataclasses.replace(t, placements=t.placed()) for n, t in tables.items() if t}
        )

    def is_round(self, cell: mi.UInt32) -> mi.Bool:
        """Whether cells lie on spheres, disks or cylinders. [N]"""
        return dr.gather(mi.UInt32, self.curve, cell) >= (self.edges.count if self.edges else 0)


@dataclasses.dataclass(frozen=True)
class Place:
    """Places on curves, before one knows the lines through them; attached."""

    edge: Edge  #: edges as they are; rims by their tangent; smooth lanes undefined [N]
    point: mi.Point3f  #: on the curve; for silhouettes of smooth shapes a point inside the shape [N]
    owner: mi.UInt32  #: registry index of the shape that moves it [N]
    extent: mi.Float  #: share of the curve that a cell covers, divided by the number of curves that lie there [N]
    smooth: mi.Bool | None  #: lanes on smooth shapes; None if there are none [N]
    ball: mi.Bool  #: of those, lanes on spheres [N]
    side: mi.Float  #: which of a cylinder's silhouettes [N]
    t: mi.Float  #: place on the curve, 0 … 1 [N]
    placement: Placement | None  #: of smooth lanes [N]
    siblings: tuple[Sibling, ...] = ()  #: other shapes' surfaces that end there


@dataclasses.dataclass(frozen=True)
class Touch:
    """Where lines of a given direction or origin touch the curve's shape."""

    point: mi.Point3f  #: attached to the shape's motion [N]
    tangent: mi.Vector3f  #: velocity along the curve as its parameter grows, detached [N]
    occluder: mi.Vector3f  #: toward the shape's surface or inside, detached [N]
    active: mi.Bool  #: whether the surface ends here for such lines [N]


def build_curves(scene: mi.Scene) -> Curves | None:
    """Collect the curves of a scene once per topology; None if it has none."""
    edges, rounds = build_edges(scene), _round_table(scene)
    count = (edges.count if edges else 0) + (rounds.count if rounds else 0)
    if count == 0:
        return None
    whole = Curves(
        edges, rounds, dr.arange(mi.UInt32, count), dr.zeros(mi.Float, count), dr.ones(mi.Float, count), count
    )
    # Cells by length, as long as the table stays small
    middle = find_place(whole, whole.curve, mi.Float(0.5))
    length = np.array(curve_measure(middle)[0], np.float64)
    rings = _rings(whole, middle)
    parts = np.ones(count, np.int64)
    if count < CELLS_WANTED and length.sum() > 0:
        parts += np.floor(length / length.sum() * (CELLS_WANTED - count)).astype(np.int64)
    first = np.cumsum(parts) - parts
    curve = np.repeat(np.arange(count), parts)
    begin = (np.arange(parts.sum()) - first[curve]) / parts[curve]
    return Curves(
        edges, rounds, mi.UInt32(np.uint32(curve)), mi.Float(np.float32(begin)),
        mi.Float(np.float32(1 / parts[curve])), len(curve), rings,
    )  # fmt: skip


def _rings(curves: Curves, middle: Place) -> Rings | None:
    """Which edges and rims may lie on each other.

    Args:
        middle: Of each curve. [K]
    """
    middles = np.broadcast_to(np.array(middle.point).T, (curves.count, 3)).copy()
    candidates = np.ones(curves.count, bool)
    if curves.rounds:
        first = curves.count - curves.rounds.count
        row = dr.arange(mi.UInt32, curves.rounds.count)
        placement = curves.rounds.placed().pick(dr.gather(mi.UInt32, curves.rounds.owner, row))
        centre = placement.point(mi.Point3f(0, 0, curves.rounds.height))
        middles[first:] = np.broadcast_to(np.array(centre).T, (curves.rounds.count, 3))
        candidates[first:] = ~np.array(curves.rounds.smooth)
    return build_rings(middles, candidates)


def _round_table(scene: mi.Scene) -> RoundTable | None:
    owners, rows = [], []
    for shape in scene.shapes():
        curves = _ROUND_CURVES.get(shape.class_name())
        if curves:
            rows += [(*row, len(owners)) for row in curves]
            owners.append(shape)
    if not rows:
        return None
    smooth, ball, height, inward, side, owner = zip(*rows, strict=True)
    return RoundTable(
        mi.Bool(list(smooth)), mi.Bool(list(ball)), mi.Float(height), mi.Float(inward), mi.Float(side),
        mi.UInt32(list(owner)), tuple(owners), dr.reinterpret_array(mi.UInt32, mi.ShapePtr(owners)), len(rows),
    )  # fmt: skip


def find_place(curves: Curves, cell: mi.UInt32, u: mi.Float) -> Place:
    """Places in cells, attached.

    Args:
        cell: [N]
        u: Where in the cell, 0 … 1. [N]
    """
    curve = dr.gather(mi.UInt32, curves.curve, cell)
    extent = dr.gather(mi.Float, curves.extent, cell)
    t = dr.gather(mi.Float, curves.begin, cell) + u * extent
    edge_count = curves.edges.count if curves.edges else 0
    straight = curve < edge_count
    places = []
    if curves.edges:
        edge = look_up(curves.edges, curve, straight)
        index = dr.gather(mi.UInt32, curves.edges.owner, curve, straight)
        owner = dr.gather(mi.UInt32, curves.edges.owner_ids, index, straight)
        point = edge.start + (edge.end - edge.start) * t
        places.append(Place(edge, point, owner, extent, None, mi.Bool(False), mi.Float(0), t, None))
    if curves.rounds:
        places.append(_round_place(curves.rounds, curve - edge_count, ~straight, t, extent))
    place = places[-1]
    if len(places) == 2:
        a, b = places
        names = [f.name for f in dataclasses.fields(Edge)]
        edge = Edge(*(dr.select(straight, getattr(a.edge, name), getattr(b.edge, name)) for name in names))
        point, owner = dr.select(straight, a.point, b.point), dr.select(straight, a.owner, b.owner)
        place = dataclasses.replace(b, edge=edge, point=point, owner=owner)
    if curves.rings is None:
        return place
    with dr.suspend_grad():
        return _with_siblings(curves, curve, place)


def _with_siblings(curves: Curves, curve: mi.UInt32, place: Place) -> Place:
    """Add the other shapes that end at the same places; each of n has the n-th part of the curve.

    Where they move apart, the union has two derivatives, one for each sense of the motion; this gives their mean, as
    central differences do.
    """
    siblings, count = [], mi.Float(1)
    following, alone = curve, mi.Bool(False)
    for _ in range(curves.rings.most - 1):
        following = dr.gather(mi.UInt32, curves.rings.next, following)
        alone |= following == curve
        sibling = _sibling(curves, following, ~alone, place)
        count += dr.select(sibling.coincides, 1, 0)
        siblings.append(sibling)
    return dataclasses.replace(place, extent=place.extent / count, siblings=tuple(siblings))


def _sibling(curves: Curves, curve: mi.UInt32, active: mi.Bool, place: Place) -> Sibling:
    """Another curve at given places. [N]"""
    edge_count = curves.edges.count if curves.edges else 0
    straight = curve < edge_count
    start, end, b = (dr.detach(p) for p in (place.edge.start, place.edge.end, place.point))
    left, right, coincides = mi.Vector3f(0), mi.Vector3f(0), mi.Bool(False)
    if curves.edges:
        edge = look_up(curves.edges, curve, active & straight)
        tolerance = POINT_TOLERANCE * dr.maximum(dr.max(dr.abs(start)), dr.max(dr.abs(end)))
        same = (dr.norm(edge.start - start) < tolerance) & (dr.norm(edge.end - end) < tolerance)
        turned = (dr.norm(edge.start - end) < tolerance) & (dr.norm(edge.end - start) < tolerance)
        left, right, coincides = edge.left - start, edge.right - start, straight & (same | turned)
    if curves.rounds:
        table, row, rim = curves.rounds, curve - edge_count, active & ~straight
        owner = dr.gather(mi.UInt32, table.owner, row, rim)
        placement = table.placed().pick(owner, rim).detached()
        height, inward = (dr.gather(mi.Float, column, row, rim) for column in (table.height, table.inward))
        p = dr.rcp(placement.linear) @ (mi.Vector3f(b) - placement.origin)
        size = POINT_TOLERANCE * (
            1 + dr.max(dr.abs(b)) * dr.rsqrt(dr.squared_norm(placement.linear @ mi.Vector3f(1, 0, 0)))
        )
        on_rim = ~straight & (dr.abs(p.z - height) < size) & (dr.abs(dr.hypot(p.x, p.y) - 1) < size)
        surface = placement.vector(dr.select(inward != 0, mi.Vector3f(0, 0, inward), mi.Vector3f(-p.x, -p.y, 0)))
        left, right = dr.select(straight, left, surface), dr.select(straight, right, surface)
        coincides |= ~straight & on_rim
    return Sibling(left, right, coincides & active)


def _round_place(table: RoundTable, row: mi.UInt32, active: mi.Bool, t: mi.Float, extent: mi.Float) -> Place:
    owner_index = dr.gather(mi.UInt32, table.owner, row, active)
    owner = dr.gather(mi.UInt32, table.owner_ids, owner_index, active)
    placement = table.placed().pick(owner_index, active)
    smooth, ball = (dr.gather(mi.Bool, column, row, active) for column in (table.smooth, table.ball))
    height, inward, side = (
        dr.gather(mi.Float, column, row, active) for column in (table.height, table.inward, table.side)
    )
    # A rim and its tangent; for smooth shapes the centre of a sphere or a point of a cylinder's axis
    sin, cos = dr.sincos(t * dr.two_pi)
    rim = mi.Point3f(dr.select(smooth, 0, cos), dr.select(smooth, 0, sin), dr.select(smooth & ~ball, t, height))
    point = placement.point(rim)
    start = dr.detach(point)
    fixed = placement.detached()
    to_surface = dr.select(inward != 0, mi.Vector3f(0, 0, inward), mi.Vector3f(-cos, -sin, 0))
    left = start + fixed.vector(to_surface)
    end = start + dr.two_pi * fixed.vector(mi.Vector3f(-sin, cos, 0))
    edge = Edge(mi.Point3f(start), mi.Point3f(end), mi.Point3f(left), mi.Point3f(left), mi.Bool(active))
    return Place(edge, point, owner, extent, active & smooth, ball, side, t, placement)


def touch(place: Place, view: mi.Vector3f, is_point: mi.Bool) -> Touch:
    """Where lines from a point, or along a direction, touch the shapes.

    Args:
        view: A point, or a direction of any length, world space, detached. [N]
        is_point: Which of the two. [N]
    """
    edge = Edge(*(dr.detach(getattr(place.edge, f.name), True) for f in dataclasses.fields(Edge)))
    b = dr.detach(place.point)
    tangent, occluder = edge.end - edge.start, edge.left - edge.start
    ω = dr.select(is_point, view - mi.Vector3f(b), view)
    active = is_silhouette(edge, ω)
    for sibling in place.siblings:
        active &= sibling.is_beside(tangent, ω, occluder)
    if place.smooth is None:
        return Touch(place.point, tangent, occluder, active)

    # The view in object space, in the plane across the axis for cylinders
    fixed = place.placement.detached()
    to_object = dr.rcp(fixed.linear)
    v = to_object @ dr.select(is_point, view - fixed.origin, view)
    v.z = dr.select(place.ball, v.z, 0)
    distance = dr.norm(v)
    w = dr.select(is_point, dr.rcp(distance), 0)
    v *= dr.rcp(distance)
    # Unit vectors n with n·view = 1 (or 0 for directions): normals of the surface where the line touches it
    r = dr.safe_sqrt(1 - dr.square(w))
    frame = mi.Frame3f(v)
    sin, cos = dr.sincos(place.t * dr.two_pi)
    across = dr.select(place.ball, frame.s * cos + frame.t * sin, mi.Vector3f(-v.y, v.x, 0) * place.side)
    onward = dr.select(place.ball, (frame.t * cos - frame.s * sin) * (r * dr.two_pi), mi.Vector3f(0, 0, 1))
    n = v * w + across * r
    p = n + dr.select(place.ball, mi.Vector3f(0), mi.Vector3f(0, 0, place.t))
    return Touch(
        dr.select(place.smooth, place.placement.point(p), place.point),
        dr.select(place.smooth, fixed.vector(onward), tangent),
        dr.select(place.smooth, -fixed.vector(n), occluder),
        dr.select(place.smooth, (w < 1) & (distance > 0), active),
    )


def curve_measure(place: Place) -> tuple[mi.Float, mi.Float]:
    """Lengths of cells in world space and the range of directions that see them as silhouettes, in radians.

    Args:
        place: In the middle of each cell. [C]
    """
    edge = place.edge
    length, opening = dr.norm(edge.end - edge.start), dr.select(edge.border, dr.pi, opening_angle(edge))
    if place.smooth is not None:
        linear = place.placement.linear
        axis = dr.norm(linear @ mi.Vector3f(0, 0, 1))
        length = dr.select(place.smooth, dr.select(place.ball, dr.two_pi * axis, axis), length)
        opening = dr.select(place.smooth, dr.pi, opening)
    return dr.detach(length * place.extent, True), dr.detach(opening, True)


def sample_direction(place: Place, sample: mi.Point2f) -> tuple[mi.Vector3f, mi.Float]:
    """A direction whose lines see the place as a silhouette, uniform in solid angle; any direction for smooth shapes.

    Args:
        sample: Uniform in the unit square. [N]

    Returns:
        Direction, unit length [N], and the reciprocal of its density per solid angle [N].
    """
    ω, rcp_pdf = sample_silhouette_direction(place.edge, sample)
    if place.smooth is None:
        return ω, rcp_pdf
    anywhere = mi.warp.square_to_uniform_sphere(sample)
    return dr.select(place.smooth, anywhere, ω), dr.select(place.smooth, 4 * dr.pi, rcp_pdf)
