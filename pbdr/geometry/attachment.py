"""Which shapes and emitters of a scene carry derivatives."""

from __future__ import annotations

import dataclasses

import drjit as dr
import mitsuba as mi

from .edges import children
from .flags import Flags
from .motion import MOTION_KEYS, MovingShapes, carries_motion
from .rough_lobes import RoughLobes


@dataclasses.dataclass(frozen=True)
class Attachment:
    """What of a scene carries derivatives."""

    surfaces: Flags  #: shapes whose material or attributes do; unknown ones count as yes
    emitters: Flags  #: emitters whose radiance or place does; likewise
    moving: MovingShapes  #: shapes whose place does
    lamps: Flags  #: shapes that are lamps, attached or not
    moves: bool  #: whether a surface or an emitter moves
    lobes: RoughLobes | None = None  #: materials whose roughness does, if directions are to be drawn by its derivative

    @classmethod
    def of(cls, scene: mi.Scene) -> Attachment:
        """Look at all shapes, the members of groups, and emitters of a scene."""
        emitters, moves = list(scene.emitters()), False
        shining = []
        for emitter in emitters:
            attached = _attached(emitter)
            # Environments are integrated over fixed directions: what turns them moves nothing
            moves |= not emitter.is_environment() and not MOTION_KEYS.isdisjoint(attached)
            shape = emitter.get_shape()
            shining.append(bool(attached) or (shape is not None and carries_motion(shape)))

        def turns(shape: mi.Shape) -> bool:
            nonlocal moves
            attached = _attached(shape, own=True)
            # What a lamp shares with its own or another surface counts for both
            for child in children(shape):
                attached += [] if isinstance(child, mi.Emitter) else _attached(child)
            moves |= not MOTION_KEYS.isdisjoint(attached)
            return not MOTION_KEYS.issuperset(attached)

        surfaces = Flags.of_shapes(scene, turns, unknown=True)
        pointers = dr.reinterpret_array(mi.UInt32, mi.EmitterPtr(emitters))
        lamps = Flags.of_shapes(scene, lambda shape: shape.is_emitter())
        return cls(surfaces, Flags.of(pointers, shining, unknown=True), MovingShapes.of(scene), lamps, moves)

    @classmethod
    def of_all(cls, scene: mi.Scene) -> Attachment:
        """As if all surfaces and emitters carried derivatives, and nothing moved."""
        pointers = dr.reinterpret_array(mi.UInt32, mi.EmitterPtr(scene.emitters()))
        surfaces = Flags.of_shapes(scene, lambda shape: True, unknown=True)
        emitters = Flags.of(pointers, [True] * len(scene.emitters()), unknown=True)
        lamps = Flags.of_shapes(scene, lambda shape: shape.is_emitter())
        return cls(surfaces, emitters, MovingShapes.of(scene), lamps, False)


def _attached(root: mi.Object, *, own: bool = False) -> list[str]:
    """Names of attached parameters at or below an object.

    Args:
        own: Whether those of its parts are left out.
    """
    parameters = mi.traverse(root)
    return [
        key.rsplit(".", 1)[-1]
        for key, value in parameters
        if dr.grad_enabled(value) and (not own or parameters.properties[key][2] is root)
    ]
