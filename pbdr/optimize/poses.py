"""Poses: a rotation, a translation and a scale on top of where a scene file puts a shape, a sensor or an emitter."""

from __future__ import annotations

import dataclasses
import fnmatch
from collections.abc import Mapping, Sequence

import drjit as dr
import mitsuba as mi
import numpy as np

from ..errors import InputError, suggestion
from ..scene_parameters import numbers
from .constraints import Reparameterization, find_reparameterization
from .entries import POSE_PARTS, PoseEntry, RotationEntry, ScaleEntry, TranslationEntry
from .parameters import Variable
from .rotations import REPRESENTATIONS, Representation, angle_between, matrix_vector

#: Names of parameters that place an object
_PLACES = ("to_world", "vertex_positions", "position")
#: Parts of a pose that change nothing, by class of the object
_WITHOUT_EFFECT = {
    "PointLight": ("rotation", "scale"),
    "SpotLight": ("scale",),
    "DirectionalEmitter": ("translation", "scale"),
    "EnvironmentMapEmitter": ("translation", "scale"),
}
_DEFAULTS = {"rotation": RotationEntry, "translation": TranslationEntry, "scale": ScaleEntry}
_UNITS = {"rotation": "degrees", "translation": "scene units", "scale": ""}


@dataclasses.dataclass(frozen=True)
class Pose:
    """A motion x ↦ pivot + s R (x − pivot) + t of one object, in world space.

    Example:
        >>> pose.write({"teapot.rotation": mi.Float(0, 90, 0)}, scene_parameters(scene))
    """

    place: str  #: key of the transform, vertex buffer or position that the pose changes
    base: mi.Float | mi.Point3f | mi.AffineTransform4f  #: what the scene file holds there
    normals: mi.Float | None  #: vertex normals that turn along, if there are any [3V]
    pivot: tuple[float, float, float]  #: fixed point of rotation and scale, world space
    parts: Mapping[str, Variable]  #: those of rotation, translation and scale that are optimized
    representation: Representation  #: of the rotation

    @property
    def keys(self) -> list[str]:
        """The scene parameters that the pose changes."""
        return [self.place] if self.normals is None else [self.place, self._normals_key]

    @property
    def _normals_key(self) -> str:
        return self.place.replace("vertex_positions", "vertex_normals")

    def write(self, latents: Mapping[str, mi.Float], parameters: mi.SceneParameters) -> None:
        """Move the object, attached; ``parameters.update()`` must follow.

        Args:
            latents: The optimizer's variables by key, among them those of ``parts``.
        """
        R, t, s = self._motion(latents)
        kind = type(self.base)
        if kind.__name__.startswith("Point3f"):
            parameters[self.place] = kind(self._moved(mi.Point3f(self.base), R, t, s))
        elif self.place.endswith("vertex_positions"):
            parameters[self.place] = dr.ravel(self._moved(dr.unravel(mi.Point3f, self.base), R, t, s))
        else:
            identity, pivot = mi.Transform4f(), mi.Vector3f(*self.pivot)
            turn = mi.Transform4f(mi.Matrix4f(R * s))
            parameters[self.place] = kind(identity.translate(t + pivot) @ turn @ identity.translate(-pivot) @ self.base)
        if self.normals is not None:
            parameters[self._normals_key] = dr.ravel(R @ dr.unravel(mi.Vector3f, self.normals))

    def _motion(self, latents: Mapping[str, mi.Float]) -> tuple[mi.Matrix3f, mi.Vector3f, mi.Float]:
        """Rotation, translation and scale, attached to the variables that there are."""
        # New arrays each time: Mitsuba skips an assignment of the array that it already holds (see Variable.write), and
        # the adjoint of dr.unravel replaces a variable's gradient instead of adding to it, which would leave one view
        new = dr.opaque(mi.Float, 0)
        attached = {part: latents[variable.key] + new for part, variable in self.parts.items()}
        R, t, s = mi.Matrix3f(1) + new, mi.Vector3f(0) + new, mi.Float(1) + new
        if "rotation" in self.parts:
            R = self.representation.matrix(attached["rotation"])
        if "translation" in self.parts:
            t = dr.unravel(mi.Vector3f, self.parts["translation"].attached(attached["translation"]))
        if "scale" in self.parts:
            s = self.parts["scale"].attached(attached["scale"])
        return R, t, s

    def _moved(self, points: mi.Point3f, R: mi.Matrix3f, t: mi.Vector3f, s: mi.Float) -> mi.Point3f:
        pivot = mi.Point3f(*self.pivot)
        return pivot + s * (R @ mi.Vector3f(points - pivot)) + t


def make_poses(parameters: mi.SceneParameters, entry: PoseEntry, where: str) -> list[Pose]:
    """The poses that an entry of a job means.

    Args:
        parameters: Of the scene, as its file says.
        entry: Names an object, or several with a glob.
        where: Name of the entry for error sentences, e.g. ``parameters.0``.
    """
    places = _places(parameters)
    pattern = entry.key
    for place in _PLACES:
        pattern = pattern.removesuffix(f".{place}")
    names = [pattern] if pattern in places else [name for name in places if fnmatch.fnmatchcase(name, pattern)]
    if not names:
        raise InputError(
            f"{where}: no shape, sensor or light of the scene is called '{pattern}'" + suggestion(pattern, places)
        )
    return [_make_pose(parameters, places[name], name, entry, where) for name in names]


def _places(parameters: mi.SceneParameters) -> dict[str, str]:
    """The parameter that places each shape, sensor and light, by the object's name; lights with a shape are its own."""
    places = {}
    for key in list(parameters.keys()):
        name, _, last = key.rpartition(".")
        owner = parameters.properties[key][2]
        if last not in _PLACES or not isinstance(owner, mi.Shape | mi.Sensor | mi.Emitter):
            continue
        places.setdefault(name, key)
        if isinstance(owner, mi.Shape) and owner.emitter() is not None and owner.emitter().id():
            places.setdefault(owner.emitter().id(), key)
    return places


def _make_pose(parameters: mi.SceneParameters, place: str, name: str, entry: PoseEntry, where: str) -> Pose:
    owner, base = parameters.properties[place][2], parameters[place]
    where = f"{where}: pose of '{name}'"
    chosen = _choose_parts(owner, entry, where)
    rotation = chosen.get("rotation")
    representation = REPRESENTATIONS[rotation.representation if rotation else "rotation_vector"]
    parts = {part: _variable(f"{name}.{part}", part, chosen[part], where) for part in POSE_PARTS if part in chosen}
    normals = None
    if place.endswith("vertex_positions"):
        held = parameters[place.replace("vertex_positions", "vertex_normals")]
        normals = type(held)(dr.detach(held)) if dr.width(held) else None
    pivot = entry.pivot if entry.pivot is not None else _center(owner, base)
    base = type(base)(dr.detach(base))
    return Pose(place, base, normals, tuple(float(x) for x in pivot), parts, representation)


def _choose_parts(owner: mi.Object, entry: PoseEntry, where: str) -> dict:
    """Entries of the parts to optimize; without any in the job, rotation and translation where they have an effect."""
    given = {part: getattr(entry, part) for part in POSE_PARTS if getattr(entry, part) is not None}
    kind = owner.class_name()
    idle = ("scale",) if isinstance(owner, mi.Sensor) else _WITHOUT_EFFECT.get(kind, ())
    for part in given:
        if part in idle:
            raise InputError(
                f"{where}: a {kind} has no '{part}'; allowed: {', '.join(p for p in POSE_PARTS if p not in idle)}"
            )
    if given:
        return given
    if kind == "Sphere":
        idle = ("rotation",)
    return {part: _DEFAULTS[part]() for part in ("rotation", "translation") if part not in idle}


def _center(owner: mi.Object, base: object) -> np.ndarray:
    """What an object turns around if the job does not say: a shape's centre, a sensor's or light's own origin. [3]"""
    if isinstance(owner, mi.Shape):
        return np.array(owner.bbox().center(), np.float64).ravel()
    held = numbers(base).astype(np.float64)
    return held if held.size == 3 else held.reshape(4, 4)[:3, 3]


def _variable(key: str, part: str, entry: RotationEntry | TranslationEntry | ScaleEntry, where: str) -> Variable:
    """One part of a pose as the optimizer sees it, checked."""
    initial = np.asarray(entry.initial, np.float64)
    truth = None if entry.true is None else np.asarray(entry.true, np.float64)
    free = (0.0, np.inf) if part == "scale" else (-np.inf, np.inf)
    bounds = entry.bounds if entry.bounds is not None else free
    low, high = (np.broadcast_to(np.asarray(b, np.float64), initial.shape) for b in bounds)
    if not (low <= high).all() or not (low < high).any() or (part == "scale" and low < 0):
        raise InputError(
            f"{where}: 'bounds' of '{part}' must be [lowest, highest]{_at_least(part)}, got {_text(bounds)}"
        )
    if not ((initial >= low) & (initial <= high)).all():
        raise InputError(
            f"{where}: 'initial' of '{part}' is {initial.tolist()}, which lies outside of its bounds {_text(bounds)}"
        )
    mapping = find_reparameterization("positive" if part == "scale" else "identity", key, (float(low.min()), np.inf))
    if part == "rotation":
        if entry.representation == "6d" and entry.bounds is not None:
            raise InputError(f"{where}: rotations with representation '6d' take no bounds; use 'rotation_vector'")
        mapping = _rotation_mapping(REPRESENTATIONS[entry.representation], entry.representation)
    return Variable(
        key=key,
        shape=initial.shape,
        bounds=(float(low), float(high)) if part == "scale" else (low.astype(np.float32), high.astype(np.float32)),
        learning_rate=entry.learning_rate,
        reparameterization=mapping,
        initial=initial,
        truth=truth,
        unit=_UNITS[part],
        in_scene=False,
        error=angle_between if part == "rotation" else _distance,
    )


def _rotation_mapping(representation: Representation, name: str) -> Reparameterization:
    """Between the optimizer's variable and the rotation vector that is reported."""
    if name == "rotation_vector":
        return find_reparameterization("identity", name, (-np.inf, np.inf))

    def vector(latent: mi.Float, low: float, high: float) -> mi.Float:
        matrix = dr.detach(representation.matrix(latent))
        return mi.Float(matrix_vector(np.array([[matrix[i, j][0] for j in range(3)] for i in range(3)])))

    return Reparameterization(vector, lambda values, low, high: representation.latent(values), is_bounded=True)


def _distance(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.linalg.norm(first - second))


def _at_least(part: str) -> str:
    return " and at least 0" if part == "scale" else ""


def _text(bounds: Sequence) -> str:
    return str([np.asarray(bound).tolist() for bound in bounds])
