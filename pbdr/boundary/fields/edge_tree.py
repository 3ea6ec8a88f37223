"""A hierarchy over edges: which of them can be silhouettes close to a ray.

The tree is complete and binary, node i has the children 2i and 2i + 1, and the last layer holds one edge a node. It is
walked without a stack: after a node that is done comes i + 1, raised by one layer for each trailing zero of i + 1.
Nodes bound their edges by a sphere and the normals of the adjacent faces by a double cone, since where all faces look
the same way there is no silhouette [Sander et al. 2000, "Silhouette clipping"].
"""

from __future__ import annotations

import dataclasses

import drjit as dr
import mitsuba as mi
import numpy as np


@dataclasses.dataclass(frozen=True)
class EdgeTree:
    """Bounds of all nodes; ``sphere`` and ``cone`` have four numbers a node."""

    sphere: mi.Float  #: centre and radius, negative for empty nodes [4 · 2P]
    cone: mi.Float  #: axis and sine of the half angle, 2 if there is no bound [4 · 2P]
    leaves: mi.UInt32  #: P, index of the first leaf [1]

    def near(self, node: mi.UInt32, o: mi.Point3f, q: mi.Vector3f, sine: float, active: mi.Bool) -> mi.Bool:
        """Whether a node can hold a silhouette within reach of a ray.

        Args:
            sine: Of the reach, less than 1.
        """
        sphere = dr.gather(mi.Vector4f, self.sphere, node, active)
        cone = dr.gather(mi.Vector4f, self.cone, node, active)
        v, radius = sphere.xyz - mi.Vector3f(o), sphere.w
        distance2, along = dr.squared_norm(v), dr.dot(q, v)
        across = dr.safe_sqrt(distance2 - dr.square(along))
        # Distance from the sphere's centre to the cone of reach, not above the true one
        close = across * (1 - sine * sine) ** 0.5 - along * sine <= radius
        # sin(β + σ), with σ the angle of the sphere's radius and β that of the normals
        sin_σ = radius * dr.rsqrt(distance2)
        cos_σ, cos_β = dr.safe_sqrt(1 - dr.square(sin_σ)), dr.safe_sqrt(1 - dr.square(cone.w))
        one_sided = (sin_σ < 1) & (cone.w <= 1) & (cos_β * cos_σ > cone.w * sin_σ)
        one_sided &= dr.abs(dr.dot(cone.xyz, v)) * dr.rsqrt(distance2) > cone.w * cos_σ + cos_β * sin_σ
        return active & (radius >= 0) & close & ~one_sided

    def skip(self, node: mi.UInt32) -> mi.UInt32:
        """The node after all that lie below this one; 1, the root, after the last. [N]"""
        return (node + 1) >> dr.tzcnt(node + 1)

    @dr.syntax
    def find_leaf(self, node: mi.UInt32, o: mi.Point3f, q: mi.Vector3f, sine: float, active: mi.Bool) -> mi.UInt32:
        """The next leaf within reach, from a node on; 1 if there is none. [N]

        Args:
            node: The root's left child to begin with, then what :meth:`skip` returns.
        """
        searching = mi.Bool(active) & (node != 1)
        while dr.hint(searching, exclude=[self], label="edge tree"):
            near = self.near(node, o, q, sine, searching)
            found = near & (node >= self.leaves)
            searching &= ~found
            node = dr.select(searching, dr.select(near, 2 * node, self.skip(node)), node)
            searching &= node != 1
        return node


def spatial_order(middle: np.ndarray) -> np.ndarray:
    """An order in which neighbours are close in space, by interleaved bits. [E]

    Args:
        middle: [E, 3]
    """
    low, extent = middle.min(0), np.ptp(middle, 0).max()
    cell = np.minimum((middle - low) / max(extent, 1e-30) * 1024, 1023).astype(np.uint64)
    code = np.zeros(len(middle), np.uint64)
    for bit in range(10):
        for axis in range(3):
            code |= ((cell[:, axis] >> np.uint64(bit)) & np.uint64(1)) << np.uint64(3 * bit + axis)
    return np.argsort(code, kind="stable")


def build_tree(start: np.ndarray, end: np.ndarray, normals: np.ndarray, always: np.ndarray) -> EdgeTree:
    """Bound edges that are already in spatial order.

    Args:
        start: [E, 3]
        end: [E, 3]
        normals: Of both faces, unit length, in any orientation. [2, E, 3]
        always: Edges without a bound on their normals. [E]
    """
    count = len(start)
    leaves = 1 << max(0, int(np.ceil(np.log2(max(count, 1)))))
    centre, radius = np.zeros((2 * leaves, 3)), np.full(2 * leaves, -1.0)
    axis, angle = np.tile([0.0, 0.0, 1.0], (2 * leaves, 1)), np.zeros(2 * leaves)
    these = slice(leaves, leaves + count)
    centre[these], radius[these] = (start + end) / 2, np.linalg.norm(end - start, axis=1) / 2
    axis[these], angle[these] = _merge_cones(normals, np.zeros((2, count)))
    angle[these][always] = np.pi
    while leaves > 1:
        leaves //= 2
        parent, left, right = slice(leaves, 2 * leaves), slice(2 * leaves, 4 * leaves, 2), slice(
            2 * leaves + 1, 4 * leaves, 2
        )  # fmt: skip
        pair = [np.stack([a[left], a[right]]) for a in (centre, radius, axis, angle)]
        centre[parent], radius[parent] = _merge_spheres(*pair[:2])
        full = pair[1][1] >= 0
        merged_axis, merged_angle = _merge_cones(*pair[2:])
        axis[parent] = np.where(full[:, None], merged_axis, pair[2][0])
        angle[parent] = np.where(full, merged_angle, pair[3][0])
    # Single precision must not make bounds too small
    radius = np.where(radius >= 0, radius * (1 + 1e-5) + 1e-7 * np.abs(centre).max(), radius)
    sine = np.where(angle < np.pi / 2 - 1e-3, np.sin(np.minimum(angle + 1e-4, np.pi / 2)), 2.0)
    tables = (np.column_stack([centre, radius]), np.column_stack([axis, sine]))
    sphere, cone = (mi.Float(np.ascontiguousarray(t.ravel(), np.float32)) for t in tables)
    return EdgeTree(sphere, cone, dr.opaque(mi.UInt32, len(radius) // 2))


def _merge_spheres(centre: np.ndarray, radius: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Spheres around pairs of spheres; a negative radius stands for none. [2, N, 3], [2, N]"""
    offset = centre[1] - centre[0]
    distance = np.linalg.norm(offset, axis=1)
    r = np.maximum((distance + radius[0] + radius[1]) / 2, np.maximum(radius[0], radius[1]))
    t = np.where(distance > 0, np.clip((r - radius[0]) / np.maximum(distance, 1e-30), 0, 1), 0)
    only_first = radius[1] < 0
    return (
        np.where(only_first[:, None], centre[0], centre[0] + offset * t[:, None]),
        np.where(only_first, radius[0], r),
    )


def _merge_cones(axis: np.ndarray, angle: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Double cones around pairs of double cones. [2, N, 3], [2, N]"""
    first, second = axis
    second = np.where((first * second).sum(1, keepdims=True) < 0, -second, second)
    mean = first + second
    mean /= np.maximum(np.linalg.norm(mean, axis=1, keepdims=True), 1e-30)
    turned = [np.arccos(np.clip((mean * a).sum(1), -1, 1)) for a in (first, second)]
    return mean, np.maximum(turned[0] + angle[0], turned[1] + angle[1])
