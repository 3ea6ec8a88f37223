"""A yes or no for each shape or emitter, looked up in kernels by registry index."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import drjit as dr
import mitsuba as mi
import numpy as np

from .edges import placed_shapes


@dataclasses.dataclass(frozen=True)
class Flags:
    """Answers by registry index."""

    values: mi.UInt32  #: 1 for yes [R]
    any: bool  #: whether one is yes
    unknown: bool  #: what counts for objects that were not asked

    @classmethod
    def of(cls, pointers: mi.UInt32, answers: Sequence[bool], *, unknown: bool) -> Flags:
        """Make a table.

        Args:
            pointers: Registry indices. [n]
            answers: One for each. [n]
        """
        index = np.array(pointers)
        values = np.full(int(index.max(initial=0)) + 1, unknown, np.uint32)
        values[index] = answers
        return cls(mi.UInt32(values), any(answers), unknown)

    @classmethod
    def of_shapes(cls, scene: mi.Scene, holds: Callable[[mi.Shape], bool], *, unknown: bool = False) -> Flags:
        """Ask all shapes of a scene and the members of its groups."""
        shapes = all_shapes(scene)
        pointers = dr.reinterpret_array(mi.UInt32, mi.ShapePtr(shapes))
        return cls.of(pointers, [holds(shape) for shape in shapes], unknown=unknown)

    def has(self, index: mi.UInt32) -> mi.Bool:
        """Look objects up. [N]"""
        known = index < dr.width(self.values)
        yes = dr.gather(mi.UInt32, self.values, index, known) != 0
        return ~known | yes if self.unknown else yes


def all_shapes(scene: mi.Scene) -> list[mi.Shape]:
    """The shapes of a scene and the members of its groups."""
    shapes = list(scene.shapes())
    return shapes + [member for shape in shapes for member in placed_shapes(scene, shape) if member is not shape]


def materials(scene: mi.Scene) -> list[mi.BSDF]:
    """The materials of a scene's shapes, those of members of groups included."""
    return list(dict.fromkeys(bsdf for shape in all_shapes(scene) if (bsdf := shape.bsdf()) is not None))
