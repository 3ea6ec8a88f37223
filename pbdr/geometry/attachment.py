"""Which shapes and emitters of a scene carry derivatives."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import drjit as dr
import mitsuba as mi
import numpy as np

from .edges import placed_shapes
from .motion import MOTION_KEYS


@dataclasses.dataclass(frozen=True)
class Flags:
    """A yes or no for each of some objects, by registry index; unknown objects count as yes."""

    values: mi.UInt32
    any: bool

    @classmethod
    def of(cls, pointers: mi.UInt32, answers: Sequence[bool]) -> Flags:
        """Make a table.

        Args:
            pointers: Registry indices. [n]
            answers: One for each. [n]
        """
        index = np.array(pointers)
        values = np.ones(int(index.max(initial=0)) + 1, np.uint32)
        values[index] = answers
        return cls(mi.UInt32(values), any(answers))

    def has(self, index: mi.UInt32) -> mi.Bool:
        """Look objects up. [N]"""
        known = index < dr.width(self.values)
        return ~known | (dr.gather(mi.UInt32, self.values, index, known) != 0)


@dataclasses.dataclass(frozen=True)
class Attachment:
    """What of a scene carries derivatives."""

    surfaces: Flags  #: shapes whose material or attributes do
    emitters: Flags  #: emitters whose radiance does
    moves: bool  #: whether a surface or an emitter moves

    @classmethod
    def of(cls, scene: mi.Scene) -> Attachment:
        """Look at all shapes, the members of groups, and emitters of a scene."""
        emitters, moves, lights = list(scene.emitters()), False, []
        shining = []
        for emitter in emitters:
            attached = _attached(emitter)
            # Environments are integrated over fixed directions: what turns them moves nothing
            moving = {} if emitter.is_environment() else _moving(attached)
            moves |= bool(moving)
            shining.append(len(attached) > len(moving))
            lights += attached.values()
        shapes = list(scene.shapes())
        shapes += [member for shape in shapes for member in placed_shapes(scene, shape) if member is not shape]
        turning = []
        for shape in shapes:
            attached = {key: node for key, node in _attached(shape).items() if node not in lights}
            moving = _moving(attached)
            moves |= bool(moving)
            turning.append(len(attached) > len(moving))
        return cls(
            Flags.of(dr.reinterpret_array(mi.UInt32, mi.ShapePtr(shapes)), turning),
            Flags.of(dr.reinterpret_array(mi.UInt32, mi.EmitterPtr(emitters)), shining),
            moves,
        )


def _attached(root: mi.Object) -> dict[str, mi.Object]:
    """Keys of attached parameters at or below an object, with the objects that have them."""
    parameters = mi.traverse(root)
    return {key: parameters.properties[key][2] for key in parameters.keys() if dr.grad_enabled(parameters[key])}  # noqa: SIM118


def _moving(attached: dict[str, mi.Object]) -> dict[str, mi.Object]:
    return {key: node for key, node in attached.items() if key.rsplit(".", 1)[-1] in MOTION_KEYS}
