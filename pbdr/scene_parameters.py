"""What can be read and changed in a scene: keys, types, ranges, and what a derivative would mean."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable
from dataclasses import dataclass

import drjit as dr
import mitsuba as mi
import numpy as np

from .errors import InputError, require_type, suggestion
from .material_parameters import material_obstacle, normal_obstacle, obstacle_at_end, texcoord_obstacle

#: Sensors and their parameters that pbdr's integrators attach although Mitsuba marks them as not differentiable
_ATTACHED_SENSORS = frozenset({"PerspectiveCamera", "ThinLensCamera"})
#: Lights without extent whose pose pbdr's integrators attach; area lights move with their shapes
_ATTACHED_LIGHTS = frozenset({"DirectionalEmitter", "PointLight", "SpotLight"})
#: Shapes whose parameters pbdr's integrators attach although Mitsuba marks them as not differentiable
_ATTACHED_SHAPES = {"SDFGrid": frozenset({"to_world", "grid"}), "Instance": frozenset({"to_world"})}
#: Why a ``sunsky`` has no derivatives
_SKY = (
    "the tables of 'sunsky' and its sun's disc carry no derivatives; an 'envmap' in its place has them by its pixels, "
    "its scale and its rotation"
)
_POSE_NAMES = frozenset({"to_world", "x_fov", "principal_point_offset_x", "principal_point_offset_y"})


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


def scene_parameters(scene: mi.Object) -> mi.SceneParameters:
    """All parameters of a scene, or of a part of it, by key.

    Those that hold nothing are left out, such as the absorption of a ``hair`` that is coloured by pigments: Mitsuba
    fails where it goes through all parameters.
    """
    require_type("scene", scene, mi.Object, "; pbdr.scene.load_scene loads one")
    parameters = mi.traverse(scene)
    for key in [key for key, (value, *_) in parameters.properties.items() if value is None]:
        del parameters[key]
    return parameters


def attached_values(root: mi.Object | mi.SceneParameters) -> dict[str, object]:
    """The parameters that carry derivatives, at or below an object or of a traversal, by key."""
    parameters = root if isinstance(root, mi.SceneParameters) else scene_parameters(root)
    return {key: value for key, value in parameters if dr.grad_enabled(value)}


def describe_parameters(scene: mi.Scene) -> list[ParameterInfo]:
    """Every parameter of a scene, in the order of Mitsuba's traversal.

    Example:
        >>> [p.key for p in describe_parameters(scene) if p.differentiable and not p.discontinuous]
    """
    parameters = scene_parameters(scene)
    keys = list(parameters.keys())
    return [_describe(parameters, key) for key in keys]


def require_derivatives(parameters: mi.SceneParameters, keys: Iterable[str]) -> None:
    """Refuse derivatives that would be wrong without a word: of parameters that have none, or none at their value.

    Args:
        keys: What carries derivatives; among them what follows from other parameters.
    """
    keys = list(keys)
    for key in keys:
        # Normals follow vertices that move
        follows = key.endswith("vertex_normals") and key.replace("vertex_normals", "vertex_positions") in keys
        if follows or parameters.flags(key) & mi.ParamFlags.ReadOnly:
            continue
        differentiable, _, reason = _derivative(parameters, key, parameters[key])
        reason = obstacle_at_end(parameters, key) if differentiable else reason
        if reason:
            raise InputError(f"parameter '{key}' cannot be differentiated: {reason}")


def require_attachable(parameters: mi.SceneParameters, key: str) -> None:
    """Refuse a parameter that can be given no value, or none that carries derivatives."""
    value = parameters[key]
    storage = value.matrix if "Transform" in type(value).__name__ else value
    if parameters.flags(key) & mi.ParamFlags.ReadOnly or not (dr.is_diff_v(storage) and dr.is_float_v(storage)):
        raise InputError(f"parameter '{key}' cannot be differentiated: {_derivative(parameters, key, value)[2]}")


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


def assign_parameter(parameters: mi.SceneParameters, key: str, values: np.ndarray | float) -> None:
    """Give a parameter new numbers, checked; ``parameters.update()`` must follow.

    Args:
        parameters: From :func:`scene_parameters`.
        key: An exact key.
        values: As many numbers as the parameter holds, in any shape (a matrix row by row); or one number for all of
            them, except for the buffers of a mesh.

    Example:
        >>> assign_parameter(parameters, "metal.alpha.value", 0.2)
        >>> parameters.update()
    """
    keys = list(parameters.keys())
    if key not in keys:
        raise InputError(f"no parameter of the scene is called '{key}'{suggestion(key, keys)}")
    current, values = parameters[key], np.asarray(values)
    held = numbers(current)
    if parameters.flags(key) & mi.ParamFlags.ReadOnly:
        raise InputError(f"the parameter '{key}' is read-only")
    if held is None:
        raise InputError(f"the parameter '{key}' holds no numbers but a {type(current).__name__}")
    if not np.isfinite(values).all():
        raise InputError(f"the parameter '{key}' must be finite, got {values[~np.isfinite(values)].flat[0]}")
    is_buffer = held.ndim == 1 and type(current).__name__ not in {"Color3f", "Vector3f", "Point3f"}
    if values.size != held.size and (values.size != 1 or is_buffer):
        raise InputError(f"the parameter '{key}' holds {_size(held)}, got {values.size}")
    if held.dtype.kind in "iu" and (np.asarray(values, dtype=np.float64) % 1).any():
        raise InputError(f"the parameter '{key}' holds integers, got {values.flat[0]:g}")
    values = np.full(held.shape, values.item()) if values.size == 1 else values.reshape(held.shape)
    parameters[key] = _like(current, values.astype(held.dtype))


def _size(held: np.ndarray) -> str:
    """How many numbers there are, in words."""
    shape = f" (shape {' × '.join(map(str, held.shape))})" if held.ndim > 1 else ""
    return f"{held.size} number{'s' if held.size > 1 else ''}{shape}"


def _like(current: object, values: np.ndarray) -> object:
    """The numbers as a value of the parameter's own type."""
    kind = type(current)
    if "Transform" in kind.__name__:
        return kind(type(current.matrix)(values))
    if dr.is_tensor_v(current):
        return kind(values)
    if dr.is_array_v(current):
        return kind(*values.tolist()) if dr.depth_v(current) > 1 and values.ndim == 1 else kind(values)
    return kind(values.item())


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


def _is_of_sky(parameters: mi.SceneParameters, owner: mi.Object) -> bool:
    """Whether an object is a sky of Mitsuba's model, or its part."""
    return any(
        one is not None and one.class_name() == "SunskyEmitter" for one in (owner, parameters.hierarchy[owner][0])
    )


def _derivative(parameters: mi.SceneParameters, key: str, value: object) -> tuple[bool, bool, str]:
    """Whether a parameter is differentiable, whether it moves visibility, and why."""
    _, _, owner, flags = parameters.properties[key]
    name = key.rsplit(".", 1)[-1]
    storage = value.matrix if "Transform" in type(value).__name__ else value
    if _is_of_sky(parameters, owner):
        return False, False, _SKY
    if not dr.is_diff_v(storage) or not dr.is_float_v(storage):
        if "[uint8]" in owner.class_name() and name == "data":
            return False, False, "its bitmap is stored with 8 bits"
        kind = "an integer" if dr.is_integral_v(storage) else "a plain Python value"
        return False, False, f"it is {kind}"
    if flags & mi.ParamFlags.ReadOnly:
        return False, False, "it is read-only"
    if owner.class_name() in _ATTACHED_SENSORS and name in _POSE_NAMES:
        return True, True, "moves the camera"
    if owner.class_name() in _ATTACHED_LIGHTS and name in ("position", "to_world"):
        return True, True, "moves the light and its shadows"
    if owner.class_name() == "EnvironmentMapEmitter" and name == "to_world":
        return True, False, ""
    if name in _ATTACHED_SHAPES.get(owner.class_name(), ()):
        return True, True, "moves geometry"
    if flags & mi.ParamFlags.NonDifferentiable:
        return False, False, "Mitsuba does not differentiate it"
    if name == "vertex_texcoords" and (obstacle := texcoord_obstacle(owner)):
        return False, False, obstacle
    if isinstance(owner, mi.Shape) and (obstacle := normal_obstacle(owner, name)):
        return False, False, obstacle
    if obstacle := material_obstacle(parameters, key):
        return False, False, obstacle
    # Mitsuba also marks materials whose sampling decisions change; only shapes move what hides what
    if isinstance(owner, mi.Shape) and flags & mi.ParamFlags.Discontinuous:
        return True, True, "moves geometry"
    return True, False, ""
