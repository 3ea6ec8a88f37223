"""Velocity fields: continuous motion on the sphere of directions that agrees with every silhouette's own."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable

import drjit as dr
import mitsuba as mi

#: bend(origin, direction, measure, active) → direction, measure; see ``bend_ray``
Bend = Callable[["mi.Point3f", "mi.Vector3f", "mi.Float", "mi.Bool"], tuple["mi.Vector3f", "mi.Float"]]


@dataclasses.dataclass
class Velocity:
    """A field around one direction from one origin, linear in the motion of the scene.

    A share ρ of the velocity is the motion ẋ of the visible surface itself, the rest comes from moving boundaries:
    V = s + ρ ẋ, in the tangent plane of the direction q, with

        s = velocity + by_origin ȯ,        ∇·s = divergence + divergence_by_origin·ȯ

    All fields are detached; ``velocity`` and ``divergence`` are 0 unless they were asked for.
    """

    direction: mi.Vector3f  #: q, unit length [N]
    rest: mi.Float  #: ρ, in [0, 1] [N]
    slope: mi.Vector3f  #: gradient of −log ρ by q [N]
    velocity: mi.Vector3f  #: tangent due to moving edges [N]
    divergence: mi.Float  #: its divergence on the sphere [N]
    by_origin: mi.Matrix3f  #: [N]
    divergence_by_origin: mi.Vector3f  #: [N]
    kept: tuple = ()  #: what the field wants to find again in :meth:`VelocityField.deposit`


def bend_ray(
    field: Velocity, origin: mi.Point3f, direction: mi.Vector3f, measure: mi.Float
) -> tuple[mi.Vector3f, mi.Float, tuple[mi.Vector3f, mi.Float]]:
    """Let a ray to a material point follow a field instead.

    Args:
        field: Around the ray's direction.
        origin: Where the ray starts, attached. [N]
        direction: From there to the material point, attached; its value is the field's direction. [N]
        measure: Value 1; carries the change of solid angle around the material point. [N]

    Returns:
        Attached direction [N] and measure [N] under the field, and the leaves that stand for the motion of edges, whose
        gradients :meth:`VelocityField.deposit` wants after a reverse traversal.
    """
    velocity, divergence = dr.zeros(mi.Vector3f, dr.width(field.direction)), dr.zeros(mi.Float, dr.width(field.rest))
    dr.enable_grad(velocity, divergence)
    dr.set_grad(velocity, field.velocity)
    dr.set_grad(divergence, field.divergence)

    q = field.direction
    moved = direction - dr.detach(direction)
    o = mi.Vector3f(origin - dr.detach(origin))
    s = velocity + field.by_origin @ o
    s -= q * dr.dot(q, s)
    share = 1 - field.rest
    # ∇·V: the material point's own divergence in its share, the boundary's, and the slope of the share
    spread = divergence + dr.dot(field.divergence_by_origin, o) - field.rest * dr.dot(field.slope, moved)
    return direction + s - share * moved, measure + spread - share * (measure - 1), (velocity, divergence)


class RayField(abc.ABC):
    """What rays can follow: a field of velocities that can be evaluated, and its transpose."""

    @abc.abstractmethod
    def evaluate(
        self, origin: mi.Point3f, direction: mi.Vector3f, stream: mi.UInt32, active: mi.Bool, *, forward: bool
    ) -> Velocity:
        """The field around directions.

        Args:
            origin: World space, detached. [N]
            direction: Unit length, world space, detached. [N]
            stream: Seed of random numbers, for stochastic fields. [N]
            forward: Whether ``velocity`` and ``divergence`` are wanted.
        """

    @abc.abstractmethod
    def deposit(
        self,
        field: Velocity,
        origin: mi.Point3f,
        adjoints: tuple[mi.Vector3f, mi.Float],
        stream: mi.UInt32,
        active: mi.Bool,
    ) -> None:
        """Add to the adjoints of the boundaries; the transpose of ``evaluate``.

        Args:
            field: What ``evaluate`` returned.
            adjoints: Gradients of its ``velocity`` and ``divergence``. [N] each
        """


class VelocityField(RayField):
    """Continuous velocities on the sphere of directions around a point that agree with every silhouette's own.

    Warped-area sampling [Bangaru et al. 2020; Xu et al. 2023] turns boundary integrals into area integrals of the
    divergence of such a field. Fields are linear in the motion of the scene.
    """

    #: As in ``warp_field="name"``; set on registration
    name: str

    def obstacle(self, scene: mi.Scene) -> str | None:
        """What in a scene this field does not know, as a sentence; None by default."""
        return None

    @abc.abstractmethod
    def prepare(self, scene: mi.Scene, sensor: mi.Sensor, *, camera_only: bool) -> None:
        """Collect the boundaries of a scene; called once for each derivative.

        Args:
            camera_only: Whether no rays but the sensor's will follow the field.
        """

    def for_camera(self) -> RayField:
        """The field for rays from the sensor, of the same mean effect; itself by default."""
        return self

    @abc.abstractmethod
    def clear(self, *, forward: bool) -> None:
        """Take over the tangents of the scene's parameters, or set all adjoints to 0; called before each pass."""

    @abc.abstractmethod
    def send_adjoints(self) -> None:
        """Queue collected adjoints for the next reverse traversal."""
