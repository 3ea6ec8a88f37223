"""Recorded paths: a walk over the vertices of traced paths that carries motion from each vertex to the next.

In warped-area form a vertex moves with everything before it on its path. Forward mode walks from the sensor and hands
tangents on; reverse mode walks back and hands adjoints on:

    y_{k+1} = Y(y_k, θ),    C_k = C(y_{k−1}, y_k, θ)    →    ȳ_k = ∂C_kᵀ + ∂C_{k+1}ᵀ + ∂Yᵀ ȳ_{k+1}

The path loop records its vertices in memory local to each thread, so that nothing in global memory grows with the
depth of the paths.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import drjit as dr
import mitsuba as mi

from ..geometry.level_sets import LevelSet
from ..geometry.motion import material_point
from ..geometry.sliding import slide
from .lobe_sampling import RoughLobe
from .memory import Vertex, load
from .scattering import SurfacePoint, direct_light, vertex_weight
from .velocity import RayField, VelocityField, bend_ray

if TYPE_CHECKING:
    from ..geometry.rough_lobes import RoughLobes
    from .path import Limits


class Warp:
    """Bends the rays of one step by a velocity field, and hands gradients back to it."""

    def __init__(self, field: RayField, stream: mi.UInt32, within: mi.Bool | bool, *, forward: bool):
        """Prepare for the rays of one vertex.

        Args:
            stream: Seed of the field's random numbers. [N]
            within: Where rays are bent at all. [N]
        """
        self._field, self._stream, self._within, self._forward = field, stream, within, forward
        self._bent: list[tuple] = []

    def __call__(
        self, origin: mi.Point3f, direction: mi.Vector3f, measure: mi.Float, active: mi.Bool
    ) -> tuple[mi.Vector3f, mi.Float]:
        """Let rays follow the field instead of a material point; see :func:`~.velocity.bend_ray`."""
        o, q = dr.detach(origin, True), dr.detach(direction, True)
        stream, active = self._stream + len(self._bent), active & self._within
        with dr.suspend_grad():
            field = self._field.evaluate(o, q, stream, active, self._forward)
        direction, measure, leaves = bend_ray(field, origin, direction, measure)
        self._bent.append((field, o, leaves, stream, active))
        return direction, measure

    def deposit(self) -> None:
        """Hand the gradients of a reverse traversal to the field."""
        for field, o, leaves, stream, active in self._bent:
            adjoints = dr.grad(leaves)
            with dr.suspend_grad():
                self._field.deposit(field, o, adjoints, stream, active)


@dataclasses.dataclass(frozen=True)
class Walk:
    """What a walk needs beside the vertices."""

    scene: mi.Scene
    limits: Limits
    field: VelocityField
    seed: mi.UInt32
    origin: mi.Point3f  #: sensor vertex, detached [N]
    L: mi.Spectrum  #: radiance of each path, detached [N]
    warp_depth: int  #: path segments that follow the field, counted from the camera
    level_sets: list[LevelSet]  #: of the scene, attached
    lobes: RoughLobes | None  #: materials whose directions were drawn by the derivative of a lobe


def _position(vertex: Vertex) -> mi.Point3f:
    """A vertex, or for a direction that leaves the scene a point at unit distance on it."""
    return mi.Point3f(vertex.o + vertex.d * dr.select(vertex.pi.valid, vertex.pi.t, 1))


def _step(walk, vertices, ends, index, warp, active) -> tuple[mi.Spectrum, mi.Point3f]:
    """Light that depends on one vertex, and the position of the next vertex, both attached.

    Args:
        vertices: Records of this vertex and the next one.
        ends: The vertex before this one and this one, attached. [N] each
        warp: Bends the rays that leave this vertex.
    """
    scene = walk.scene
    this, following = vertices
    previous, y = ends
    ray = mi.Ray3f(this.o, this.d)
    si = slide(this.pi, material_point(this.pi, ray, mi.RayFlags.All | mi.RayFlags.dNSdUV, active), y, active)
    for level_set in walk.level_sets:
        si.sh_frame.n = level_set.turn(si.sh_frame.n, si.p, active & (this.pi.shape == level_set.pointer()))
        si.initialize_sh_frame()
    back = dr.normalize(previous - y)
    si.wi = dr.replace_grad(si.wi, dr.select(si.is_valid(), si.to_local(back), back))
    bsdf = si.bsdf(ray)

    Le = this.throughput * this.mis * si.emitter(scene, active).eval(si, active)
    lit = active & si.is_valid() & (index + 1 < walk.limits.max_depth)
    surface = SurfacePoint(si, bsdf, RoughLobe.at(walk.lobes, bsdf, si, lit))
    Ld, _ = direct_light(
        scene, surface, this.sample, attached=True, moving_emitters=True, active=lit, bend=warp
    )  # fmt: skip
    remainder = walk.L - this.collected
    on = active & (dr.max(dr.abs(remainder)) > 0) & following.active
    ahead_hit = following.pi, mi.Ray3f(following.o, following.d)
    factor, ahead = vertex_weight(surface, None, ahead_hit, active=on, bend=warp)
    return Le + this.throughput * Ld + remainder * factor, ahead


def _stream(walk: Walk, index: mi.UInt32) -> mi.UInt32:
    """Seeds of the random numbers of a vertex, different for each path and depth. [N]"""
    lane = dr.arange(mi.UInt32, dr.width(walk.L))
    return mi.sample_tea_32(lane ^ walk.seed, 2 * index)[0]


@dr.syntax
def walk_forward(walk, memory, count, tangents):
    """Carry tangents along recorded paths.

    Args:
        count: Recorded vertices. [N]
        tangents: Of the sensor vertex and of the first hit. [N] each

    Returns:
        Tangent of the radiance. [N]
    """
    u_previous, u = mi.Vector3f(tangents[0]), mi.Vector3f(tangents[1])
    δL = mi.Spectrum(0)
    index = mi.UInt32(0)
    previous = mi.Point3f(walk.origin)
    while dr.hint(index < count, exclude=[walk], label="path (warped, forward)"):
        this = load(memory, index, index < count)
        following = load(memory, index + 1, index + 1 < count)
        position = _position(this)
        with dr.resume_grad():
            ends = [mi.Point3f(previous), mi.Point3f(position)]
            dr.enable_grad(ends)
            dr.set_grad(ends[0], mi.Point3f(u_previous))
            dr.set_grad(ends[1], mi.Point3f(u))
            warp = Warp(walk.field, _stream(walk, index), index + 2 <= walk.warp_depth, forward=True)
            light, ahead = _step(walk, (this, following), ends, index, warp, index < count)
            δ, u_next = dr.forward_to(light, ahead)
        δL += mi.Spectrum(δ)
        previous = position
        u_previous = u
        u = mi.Vector3f(u_next)
        index += 1
    return δL


@dr.syntax
def walk_backward(walk, memory, count, δL):
    """Carry adjoints back along recorded paths and deposit them into the scene's parameters.

    Args:
        count: Recorded vertices. [N]
        δL: Adjoint of the radiance. [N]

    Returns:
        Adjoints of the sensor vertex and of the first hit. [N] each
    """
    ahead_adjoint = mi.Vector3f(0)  # of the vertex after this one
    before_adjoint = mi.Vector3f(0)  # of this vertex, from the step after it
    index = mi.UInt32(count)
    while dr.hint(index > 0, exclude=[walk], label="path (warped, backward)"):
        index -= 1
        this = load(memory, index, index < count)
        following = load(memory, index + 1, index + 1 < count)
        earlier = load(memory, index - 1, index > 0)
        with dr.resume_grad():
            ends = [mi.Point3f(dr.select(index > 0, _position(earlier), walk.origin)), mi.Point3f(_position(this))]
            dr.enable_grad(ends)
            warp = Warp(walk.field, _stream(walk, index), index + 2 <= walk.warp_depth, forward=False)
            light, ahead = _step(walk, (this, following), ends, index, warp, index < count)
            dr.backward_from(dr.sum(light * δL) + dr.dot(ahead_adjoint, mi.Vector3f(ahead)))
            warp.deposit()
            # Every later step has been seen: what arrives here is complete
            ahead_adjoint = before_adjoint + mi.Vector3f(dr.grad(ends[1]))
            before_adjoint = mi.Vector3f(dr.grad(ends[0]))
    return before_adjoint, ahead_adjoint
