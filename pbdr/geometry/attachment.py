"""Which shapes and emitters of a scene carry derivatives."""

from __future__ import annotations

import dataclasses

import drjit as dr
import mitsuba as mi

from ..scene_parameters import attached_values, scene_parameters
from .flags import Flags
from .motion import MOTION_KEYS, MovingShapes, carries_motion
from .rough_lobes import RoughLobes

#: Attributes of meshes that decide how a surface looks at a point, beside its material
SHADING_KEYS = frozenset({"vertex_normals", "vertex_texcoords"})


@dataclasses.dataclass(frozen=True)
class Attachment:
    """What of a scene carries derivatives."""

    surfaces: Flags  #: shapes whose material or attributes do; unknown ones count as yes
    emitters: Flags  #: emitters whose radiance or place does; likewise
    moving: MovingShapes  #: shapes whose place does
    lamps: Flags  #: shapes that are lamps, attached or not
    moves: bool  #: whether a surface or an emitter moves
    turns: bool  #: whether normals or texture coordinates of a surface do
    flat_lamps: bool  #: whether radiance of those emitters depends on a direction or on texture coordinates alone
    lobes: RoughLobes | None = None  #: materials whose roughness does, if directions are to be drawn by its derivative

    @classmethod
    def of(cls, scene: mi.Scene) -> Attachment:
        """Look at all shapes, the members of groups, and emitters of a scene."""
        emitters, moves, turns = list(scene.emitters()), False, False
        shining = []
        for emitter in emitters:
            attached = _attached(emitter)
            # Environments are integrated over fixed directions: what turns them moves nothing
            moves |= not emitter.is_environment() and not MOTION_KEYS.isdisjoint(attached)
            shape = emitter.get_shape()
            shining.append(bool(attached) or (shape is not None and carries_motion(shape)))

        def is_concerned(shape: mi.Shape) -> bool:
            nonlocal moves, turns
            attached = _attached(shape, beside=mi.Emitter)
            moves |= not MOTION_KEYS.isdisjoint(attached)
            turns |= not SHADING_KEYS.isdisjoint(attached)
            return not MOTION_KEYS.issuperset(attached)

        surfaces = Flags.of_shapes(scene, is_concerned, unknown=True)
        pointers = dr.reinterpret_array(mi.UInt32, mi.EmitterPtr(emitters))
        lamps = Flags.of_shapes(scene, lambda shape: shape.is_emitter())
        flat = all(_is_flat(emitter) for emitter, on in zip(emitters, shining, strict=True) if on)
        shining = Flags.of(pointers, shining, unknown=True)
        return cls(surfaces, shining, MovingShapes.of(scene), lamps, moves, turns, flat)

    @classmethod
    def of_all(cls, scene: mi.Scene) -> Attachment:
        """As if all surfaces and emitters carried derivatives, and nothing moved."""
        pointers = dr.reinterpret_array(mi.UInt32, mi.EmitterPtr(scene.emitters()))
        surfaces = Flags.of_shapes(scene, lambda shape: True, unknown=True)
        emitters = Flags.of(pointers, [True] * len(scene.emitters()), unknown=True)
        lamps = Flags.of_shapes(scene, lambda shape: shape.is_emitter())
        return cls(surfaces, emitters, MovingShapes.of(scene), lamps, moves=False, turns=False, flat_lamps=False)


def _attached(root: mi.Object, *, beside: type | None = None) -> list[str]:
    """Names of attached parameters at or below an object.

    Args:
        beside: Kind of objects that do not count, nor do their parts, unless other parts of ``root`` share them.
    """
    parameters = scene_parameters(root)
    found = []
    for key in attached_values(parameters):
        node = parameters.properties[key][2]
        while beside and node is not None and not isinstance(node, beside):
            node = parameters.hierarchy[node][0]
        found += [] if beside and node is not None else [key.rsplit(".", 1)[-1]]
    return found


def _is_flat(emitter: mi.Emitter) -> bool:
    """Whether radiance depends on a direction alone, or on texture coordinates at most."""
    if emitter.is_environment():
        return True
    if emitter.class_name() != "AreaLight":
        return False
    if not mi.has_flag(emitter.flags(), mi.EmitterFlags.SpatiallyVarying):
        return True
    parameters = scene_parameters(emitter)
    owners = [owner for key, (_, _, owner, _) in parameters.properties.items() if key.startswith("radiance.")]
    return bool(owners) and all(owner.class_name().startswith("BitmapTexture") for owner in owners)
