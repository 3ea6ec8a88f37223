"""Surfaces where a function on a grid is 0 (Mitsuba's ``sdfgrid``): what moves them, and how their normals turn.

In object space a grid spans the unit cube; between its values the function φ is trilinear. A surface point x moves with
the level set, ẋ = −φ̇ ∇φ / |∇φ|², and with ``to_world``. Nothing but the motion along the normal has a meaning for
changes of the grid.
"""

from __future__ import annotations

import dataclasses
import itertools

import drjit as dr
import mitsuba as mi
import numpy as np

from .surface_net import is_closed

KIND = "SDFGrid"

#: Keeps directions of vanishing slopes finite
TINY = 1e-20


def is_level_set(shape: mi.ShapePtr) -> mi.Bool:
    """Whether shapes are level sets. [N]"""
    return shape.shape_type() == int(mi.ShapeType.SDFGrid)


@dataclasses.dataclass(frozen=True)
class LevelSet:
    """One shape with its parameters, attached to them."""

    shape: mi.Shape
    values: mi.Float  #: x runs fastest [Z Y X]
    size: tuple[int, int, int]  #: values along x, y and z
    to_world: mi.AffineTransform4f

    @classmethod
    def of(cls, shape: mi.Shape) -> LevelSet:
        parameters = mi.traverse(shape)
        grid = parameters["grid"]
        return cls(shape, grid.array, tuple(grid.shape[2::-1]), parameters["to_world"])

    def array(self) -> np.ndarray:
        """The values, detached. [Z, Y, X]"""
        return np.array(dr.detach(self.values), np.float64).reshape(self.size[::-1])

    def at_node(self, x: mi.Int, y: mi.Int, z: mi.Int, active: mi.Bool = True) -> mi.Float:
        """Values at nodes, the nearest ones for those outside. [N]"""
        i, j, k = (dr.clip(c, 0, n - 1) for c, n in zip((x, y, z), self.size, strict=True))
        return dr.gather(mi.Float, self.values, mi.UInt32(i + self.size[0] * (j + self.size[1] * k)), active)

    def value(self, p: mi.Point3f) -> tuple[mi.Float, mi.Vector3f]:
        """φ, attached, and ∇φ, detached, at points in object space, detached. [N] each"""
        at = [p[axis] * (n - 1) for axis, n in enumerate(self.size)]
        low = [dr.clip(mi.Int(dr.floor(s)), 0, n - 2) for s, n in zip(at, self.size, strict=True)]
        share = [s - mi.Float(c) for s, c in zip(at, low, strict=True)]
        value, slope = mi.Float(0), [mi.Float(0) for _ in range(3)]
        for corner in itertools.product((0, 1), repeat=3):
            weight = [t if side else 1 - t for t, side in zip(share, corner, strict=True)]
            here = self.at_node(*(c + side for c, side in zip(low, corner, strict=True)))
            value += weight[0] * weight[1] * weight[2] * here
            for axis, side in enumerate(corner):
                others = weight[(axis + 1) % 3] * weight[(axis + 2) % 3]
                slope[axis] += others * (dr.detach(here) * ((self.size[axis] - 1) * (1 if side else -1)))
        return value, mi.Vector3f(*slope)

    def project(self, p: mi.Point3f) -> mi.Point3f:
        """The point of the surface next to one nearby, attached: it moves along its normal. Object space. [N]"""
        for _ in range(3):
            value, slope = (dr.detach(v) for v in self.value(p))
            p = mi.Point3f(p - slope * (value / dr.maximum(dr.squared_norm(slope), TINY)))
        value, slope = self.value(p)
        return dr.replace_grad(p, mi.Point3f(p - slope * (value / dr.maximum(dr.squared_norm(slope), TINY))))

    def pointer(self) -> mi.ShapePtr:
        """The shape, to compare hits with. [1]"""
        return mi.ShapePtr(self.shape)

    def turn(self, normal: mi.Normal3f, x: mi.Point3f, active: mi.Bool) -> mi.Normal3f:
        """Attach shading normals at attached surface points to position, grid and transform. [N]"""
        return dr.select(active, dr.replace_grad(normal, self.smooth_normal(x, active)), normal)

    def smooth_normal(self, x: mi.Point3f, active: mi.Bool) -> mi.Normal3f:
        """Mitsuba's shading normal near the surface, whose derivatives by position and grid Mitsuba leaves out.

        Normalized gradients of the eight voxels around the nearest node, interpolated [Hansson-Söderlund et al. 2022,
        "Ray tracing of signed distance function grids"].

        Args:
            x: World space. [N]
        """
        p = self.to_world.inverse() @ mi.Point3f(x)
        at = [p[axis] * (n - 1) for axis, n in enumerate(self.size)]
        near = [mi.Int(dr.round(dr.detach(s))) for s in at]
        offset = [s - mi.Float(c) for s, c in zip(at, near, strict=True)]
        block = {
            step: self.at_node(*(c + d for c, d in zip(near, step, strict=True)), active)
            for step in itertools.product((-1, 0, 1), repeat=3)
        }
        hat = [{-1: dr.maximum(-t, 0), 0: 1 - dr.abs(t), 1: dr.maximum(t, 0)} for t in offset]
        slopes = []
        for axis in range(3):
            one, other = (a for a in range(3) if a != axis)
            plane = {
                k: sum(v * hat[one][s[one]] * hat[other][s[other]] for s, v in block.items() if s[axis] == k)
                for k in (-1, 0, 1)
            }
            slopes.append([(plane[k + 1] - plane[k]) * (self.size[axis] - 1) for k in (-1, 0)])
        normal = mi.Vector3f(0)
        for side in itertools.product((0, 1), repeat=3):
            weight = [0.5 + t if s else 0.5 - t for t, s in zip(offset, side, strict=True)]
            normal += dr.normalize(mi.Vector3f(*(slopes[a][s] for a, s in enumerate(side)))) * dr.prod(weight)
        return mi.Normal3f(dr.normalize(mi.Vector3f(self.to_world @ mi.Normal3f(normal))))


def obstacle(shape: mi.Shape) -> str | None:
    """Why an outline cannot be followed although the shape is a level set, as a sentence; None if it can."""
    if shape.class_name() != KIND:
        return None
    level_set = LevelSet.of(shape)
    if not is_closed(level_set.array()):
        return f"the surface of sdfgrid '{shape.id()}' ends at the border of its grid; enlarge the grid to close it"
    if _has_steps(level_set):
        return f"sdfgrid '{shape.id()}' has normals = 'analytic', which jump between voxels; use normals = 'smooth'"
    return None


def _has_steps(level_set: LevelSet) -> bool:
    """Whether shading normals are those of single voxels. Mitsuba does not tell: they are compared at a few points."""
    points = np.random.default_rng(0).uniform(0.1, 0.9, (3, 64))
    with dr.suspend_grad():
        ray = mi.Ray3f(level_set.to_world @ mi.Point3f(np.float32(points)), mi.Vector3f(1, 0, 0))
        pi = dr.zeros(mi.PreliminaryIntersection3f, 64)
        pi.shape, pi.t = level_set.pointer(), dr.zeros(mi.Float, 64)
        flags = mi.RayFlags.ShadingFrame | mi.RayFlags.FollowShape
        si = level_set.shape.compute_surface_interaction(ray, pi, int(flags))
        return bool(dr.all(si.n == si.sh_frame.n, axis=None))


def level_sets(scene: mi.Scene) -> list[LevelSet]:
    """All level sets of a scene."""
    return [LevelSet.of(shape) for shape in scene.shapes() if shape.class_name() == KIND]
