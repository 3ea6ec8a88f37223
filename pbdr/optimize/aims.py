"""Cameras by where they stand and what they look at."""

from __future__ import annotations

import dataclasses
import fnmatch
from collections.abc import Mapping

import drjit as dr
import mitsuba as mi
import numpy as np

from ..errors import InputError, suggestion
from .constraints import find_reparameterization
from .entries import LookAtEntry, PointEntry
from .parameters import Variable


@dataclasses.dataclass(frozen=True)
class Aim:
    """A sensor at ``origin`` that looks at ``target``; what is above the target is above in the image.

    Example:
        >>> aim.write({"camera.origin": mi.Float(0, 0, 4)}, scene_parameters(scene))
    """

    place: str  #: key of the sensor's transform
    fixed: Mapping[str, np.ndarray]  #: origin and target where they are not optimized, world space [3] each
    up: tuple[float, float, float]  #: world space
    parts: Mapping[str, Variable]  #: those of origin and target that are optimized

    @property
    def keys(self) -> list[str]:
        """The scene parameter that it changes."""
        return [self.place]

    def write(self, latents: Mapping[str, mi.Float], parameters: mi.SceneParameters) -> None:
        """Place the sensor, attached; ``parameters.update()`` must follow.

        Args:
            latents: The optimizer's variables by key, among them those of ``parts``.
        """
        points = {name: mi.Point3f(*map(float, point)) for name, point in self.fixed.items()}
        for part, variable in self.parts.items():
            # A new array each time, see Variable.write
            new = latents[variable.key] + dr.opaque(mi.Float, 0)
            points[part] = dr.unravel(mi.Point3f, variable.attached(new))
        kind = type(parameters[self.place])
        view = mi.Transform4f().look_at(origin=points["origin"], target=points["target"], up=mi.Point3f(*self.up))
        parameters[self.place] = kind(view)


def make_aims(scene: mi.Scene, entry: LookAtEntry, where: str) -> list[Aim]:
    """The cameras that an entry of a job means.

    Args:
        where: Name of the entry for error sentences, e.g. ``parameters.0``.
    """
    sensors = {sensor.id(): sensor for sensor in scene.sensors()}
    names = [name for name in sensors if name == entry.key or fnmatch.fnmatchcase(name, entry.key)]
    if not names:
        raise InputError(f"{where}: no sensor of the scene is called '{entry.key}'{suggestion(entry.key, sensors)}")
    return [_make_aim(scene, sensors[name], entry, f"{where}: look_at of '{name}'") for name in names]


def _make_aim(scene: mi.Scene, sensor: mi.Sensor, entry: LookAtEntry, where: str) -> Aim:
    matrix = np.array(sensor.world_transform().matrix, np.float64).reshape(4, 4)
    origin, forward = matrix[:3, 3], matrix[:3, 2] / np.linalg.norm(matrix[:3, 2])
    center = np.array(scene.bbox().center(), np.float64).ravel()
    # The camera looks where it does in the file, at a point as far away as the middle of the scene
    distance = max(float((center - origin) @ forward), 1e-3 * float(np.linalg.norm(center - origin)), 1e-6)
    held = {"origin": origin, "target": origin + distance * forward}
    chosen = {part: getattr(entry, part) for part in held if getattr(entry, part) is not None}
    chosen = chosen or {part: PointEntry() for part in held}
    parts = {part: _variable(f"{sensor.id()}.{part}", held[part], point, where) for part, point in chosen.items()}
    first = {part: parts[part].initial if part in parts else held[part] for part in held}
    up = np.asarray(entry.up if entry.up is not None else matrix[:3, 1], np.float64)
    if np.linalg.norm(np.cross(up, first["target"] - first["origin"])) < 1e-6:
        raise InputError(f"{where}: 'up' must not point from 'origin' to 'target'")
    fixed = {part: point for part, point in held.items() if part not in parts}
    return Aim(f"{sensor.id()}.to_world", fixed, tuple(map(float, up)), parts)


def _variable(key: str, held: np.ndarray, entry: PointEntry, where: str) -> Variable:
    initial = held if entry.initial is None else np.asarray(entry.initial, np.float64)
    bounds = entry.bounds if entry.bounds is not None else (-np.inf, np.inf)
    low, high = (np.broadcast_to(np.asarray(b, np.float32), (3,)) for b in bounds)
    name = key.rsplit(".", 1)[-1]
    if not (low <= high).all() or not ((initial >= low) & (initial <= high)).all():
        raise InputError(f"{where}: 'bounds' of '{name}' must be [lowest, highest] and hold {initial.tolist()}")
    return Variable(
        key=key,
        shape=(3,),
        bounds=(low, high),
        learning_rate=entry.learning_rate,
        reparameterization=find_reparameterization("identity", key, (-np.inf, np.inf)),
        initial=initial,
        truth=None if entry.true is None else np.asarray(entry.true, np.float64),
        unit="scene units",
        error=lambda first, second: float(np.linalg.norm(first - second)),
        in_scene=False,
    )
