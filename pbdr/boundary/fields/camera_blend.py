"""The field `blend` for rays of one view: near silhouettes one by one, all others by a grid.

A weight (R/D − 1)² of a silhouette is replaced by two that add up to about the same,

    (max(0, R/D − R/r))² + (max(0, R/(D + s) − 1))²,

with r the squared chord up to which cells list silhouettes, and s = r unless silhouettes crowd. The first is infinite
on the silhouette, so that the field takes its velocity there, and reaches few cells; the second is smooth, and its sum
over all silhouettes can be taken at the nodes of a grid. Between them it is interpolated: any continuous function would
do, and its divergence is known.
"""

from __future__ import annotations

import dataclasses

import drjit as dr
import mitsuba as mi
import numpy as np

from ...transport.sensor import Window
from ...transport.velocity import RayField
from .camera_grid import CameraGrid, NodeSums
from .edge_list import EdgeList
from .inverse_distance import Kernel
from .round_outlines import RoundOutlines
from .weighted_mean import WeightedMean


class CameraBlend(RayField):
    """Interpolation between all silhouettes of a view, for rays that start at its camera."""

    def __init__(self, edges: EdgeList, outlines: RoundOutlines, kernel: Kernel, view: Window, silhouettes: mi.UInt32):
        """Sort the silhouettes and sum their weights up.

        Args:
            silhouettes: Indices of the edges that count. [S]
        """
        self._edges, self._outlines = edges, outlines
        self._silhouettes, self._count = silhouettes, dr.opaque(mi.UInt32, dr.width(silhouettes))
        with dr.suspend_grad():
            ends = tuple(np.array(p, np.float64).T for p in edges.between(silhouettes, mi.Point3f(0), mi.Bool(True)))
            self._grid = CameraGrid(view, ends, np.array(silhouettes, np.int64))
            near, softness = (dr.opaque(mi.Float, chord**2) for chord in (self._grid.near, self._grid.softness))
            self._near = Kernel(kernel.reach, cutoff=dr.maximum(kernel.reach / near, 1))
            self._far = Kernel(kernel.reach, softness=softness)
            self._nodes = NodeSums(*self._sums(forward=False))

    @dr.syntax
    def _sums(self, forward: bool) -> tuple[mi.Float, mi.Float]:
        """Weights and motion at all nodes, as :class:`NodeSums` wants them."""
        E, grid, mean = self._edges, self._grid, WeightedMean.zero()
        q, origin = grid.node_directions(), grid.window.origin
        turn, todo = mi.UInt32(0), mi.Bool(True)
        while dr.hint(todo, exclude=[E, grid, self], label="field, nodes"):
            index = dr.gather(mi.UInt32, self._silhouettes, turn, todo)
            v = self._far.visit(*E.between(index, origin, todo), q, todo)
            v.add_weight(mean)
            if dr.hint(forward, mode="scalar"):
                v.add_motion(mean, *E.motion(index, v.t, v.active))
            turn += 1
            todo &= turn < self._count
        weights, motion = dr.ravel(mi.Vector2f(mean.Z, mean.C)), dr.ravel(mean.S)
        dr.eval(weights, motion)
        return weights, motion

    def clear(self, *, forward: bool) -> None:
        """Sum up the tangents of the edges, or set the adjoints of all nodes to 0."""
        with dr.suspend_grad():
            motion = self._sums(forward=True)[1] if forward else dr.zeros(mi.Float, 3 * self._grid.node_count)
            dr.make_opaque(motion)
            self._nodes.motion = motion

    @dr.syntax
    def _spread(self):
        """Hand the adjoints of nodes on to the edges."""
        E, grid = self._edges, self._grid
        q, origin = grid.node_directions(), grid.window.origin
        δS = dr.gather(mi.Vector3f, self._nodes.motion, dr.arange(mi.UInt32, grid.node_count))
        turn = mi.UInt32(0)
        todo = dr.any(δS != 0)
        while dr.hint(todo, exclude=[E, grid, self], label="field, adjoint, nodes"):
            index = dr.gather(mi.UInt32, self._silhouettes, turn, todo)
            v = self._far.visit(*E.between(index, origin, todo), q, todo)
            E.add(index, v.t, v.adjoints(δS, mi.Float(0)), v.active)
            turn += 1
            todo &= turn < self._count

    def send_adjoints(self) -> None:
        """Hand the adjoints of nodes on to the edges; they send them further."""
        with dr.suspend_grad():
            self._spread()

    @dr.syntax
    def evaluate(self, origin, direction, stream, active, forward):
        E, grid, q, mean = self._edges, self._grid, direction, WeightedMean.zero()
        self._nodes.add_to(mean, grid.corners(q), mi.Bool(active), forward=forward)
        cursor, last = grid.listed(q, mi.Bool(active))
        todo = cursor < last
        while dr.hint(todo, exclude=[E, grid, self], label="field, camera"):
            index = grid.entry(cursor, todo)
            v = self._near.visit(*E.between(index, origin, todo), q, todo)
            v.add_weight(mean)
            if dr.hint(forward, mode="scalar"):
                v.add_motion(mean, *E.motion(index, v.t, v.active))
            cursor += 1
            todo &= cursor < last
        mean = self._outlines.add_to(mean, origin, q, active, forward)
        return dataclasses.replace(mean.velocity(q, 1), kept=(mean,))

    @dr.syntax
    def deposit(self, field, origin, adjoints, stream, active):
        E, grid, q = self._edges, self._grid, field.direction
        δS, δT = field.kept[0].adjoints(q, 1, adjoints)
        active = mi.Bool(active) & (field.rest < 1)
        self._nodes.deposit(grid.corners(q), δS, δT, active)
        cursor, last = grid.listed(q, active)
        todo = cursor < last
        while dr.hint(todo, exclude=[E, grid, self], label="field, camera, adjoint"):
            index = grid.entry(cursor, todo)
            v = self._near.visit(*E.between(index, origin, todo), q, todo)
            E.add(index, v.t, v.adjoints(δS, δT), v.active)
            cursor += 1
            todo &= cursor < last
        self._outlines.deposit(origin, q, δS, δT, active)
