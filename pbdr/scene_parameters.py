"""What can be read and changed in a scene: keys, types, ranges, and what a derivative would mean."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable
from dataclasses import dataclass

import drjit as dr
import mitsuba as mi
import numpy as np

from .errors import InputError, suggestion

#: Parameters of sensors and emitters that the integrators can attach although Mitsuba marks them as not differentiable
_POSE_NAMES = frozenset({"to_world", "x_fov", "principal_point_offset_x", "principal_point_offset_y", "position"})


@dataclass(frozen=True)
class ParameterInfo:
    """One parameter of a scene.

    Example:
        >>> describe_parameters(scene)[0].key
        'allow_thread_reordering'
    """

    key: str  #: as in ``mi.traverse(scene)``
    type: str  #: name of the Mitsuba or Dr.Jit type, e.g. ``Color3f``
    shape: tuple[int, ...]  #: () for a single number
    minimum: float | None  #: smallest value in it; None if it holds no numbers
    maximum: float | None  #: largest value in it
    differentiable: bool  #: whether a derivative with respect to it exists
    discontinuous: bool  #: whether it moves visibility, so that its derivative has a boundary term
    reason: str  #: why it is not differentiable, or what it moves; empty otherwise


def scene_parameters(scene: mi.Scene) -> mi.SceneParameters:
    """All parameters of a scene, by key."""
    return mi.traverse(scene)


def describe_parameters(scene: mi.Scene) -> list[ParameterInfo]:
    """Every parameter of a scene, in the order of Mitsuba's traversal.

    Example:
        >>> [p.key for p in describe_parameters(scene) if p.differentiable and not p.discontinuous]
    """
    parameters = scene_parameters(scene)
    keys = list(parameters.keys())
    return [_describe(parameters, key) for key in keys]


def find_parameters(scene_or_infos: mi.Scene | Iterable[ParameterInfo], pattern: str) -> list[str]:
    """The keys that an exact key or a glob means; ``*`` also crosses dots.

    Args:
        scene_or_infos: The scene, or what :func:`describe_parameters` said of it.
        pattern: A key, or a glob such as ``wall_*.reflectance.value``.

    Returns:
        At least one key, in the scene's order.

    Example:
        >>> find_parameters(scene, "wall_*.value")
        ['wall_left.brdf_0.reflectance.value', 'wall_right.brdf_0.reflectance.value']
    """
    if isinstance(scene_or_infos, mi.Scene):
        keys = list(scene_parameters(scene_or_infos).keys())
    else:
        keys = [info.key for info in scene_or_infos]
    if pattern in keys:
        return [pattern]
    found = [key for key in keys if fnmatch.fnmatchcase(key, pattern)]
    if not found:
        what = "matches" if set("*?[") & set(pattern) else "is called"
        raise InputError(f"no parameter of the scene {what} '{pattern}'{suggestion(pattern, keys)}")
    return found


def numbers(value: object) -> np.ndarray | None:
    """The entries of a parameter's value, or None if it holds no numbers.

    Returns:
        A width-1 Dr.Jit array loses that axis: a ``Color3f`` has shape [3], a ``Float`` has shape [].
    """
    if isinstance(value, bool):
        return None
    if "Transform" in type(value).__name__:
        value = value.matrix
    array = np.array(value)
    if array.dtype.kind not in "fiu":
        return None
    if not dr.is_tensor_v(value) and array.ndim and dr.is_jit_v(value) and array.shape[-1] == 1:
        array = array[..., 0]
    return array


def _describe(parameters: mi.SceneParameters, key: str) -> ParameterInfo:
    """Read one parameter's value and flags."""
    value = parameters[key]
    array = numbers(value)
    has_range = array is not None and array.size > 0
    differentiable, discontinuous, reason = _derivative(parameters, key, value)
    return ParameterInfo(
        key=key,
        type=type(value).__name__,
        shape=() if array is None else tuple(array.shape),
        minimum=float(array.min()) if has_range else None,
        maximum=float(array.max()) if has_range else None,
        differentiable=differentiable,
        discontinuous=discontinuous,
        reason=reason,
    )


def _derivative(parameters: mi.SceneParameters, key: str, value: object) -> tuple[bool, bool, str]:
    """Whether a parameter is differentiable, whether it moves visibility, and why."""
    _, _, owner, flags = parameters.properties[key]
    name = key.rsplit(".", 1)[-1]
    storage = value.matrix if "Transform" in type(value).__name__ else value
    if not dr.is_diff_v(storage) or not dr.is_float_v(storage):
        if "[uint8]" in owner.class_name() and name == "data":
            return False, False, "its bitmap is stored with 8 bits"
        kind = "an integer" if dr.is_integral_v(storage) else "a plain Python value"
        return False, False, f"it is {kind}"
    if flags & mi.ParamFlags.ReadOnly:
        return False, False, "it is read-only"
    if isinstance(owner, mi.Sensor) and name in _POSE_NAMES:
        return True, True, "moves the camera"
    if isinstance(owner, mi.Emitter) and name in _POSE_NAMES:
        return True, True, "moves a light and its shadows"
    if flags & mi.ParamFlags.NonDifferentiable:
        return False, False, "Mitsuba does not differentiate it"
    # Mitsuba also marks materials whose sampling decisions change; only shapes move what hides what
    if isinstance(owner, mi.Shape) and flags & mi.ParamFlags.Discontinuous:
        return True, True, "moves geometry"
    return True, False, ""
