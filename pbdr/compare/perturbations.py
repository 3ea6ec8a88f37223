"""Directions in parameter space: one description for finite steps and for automatic differentiation."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from typing import Literal

import drjit as dr
import mitsuba as mi
import numpy as np

from ..errors import InputError, suggestion
from ..geometry import mesh
from ..material_parameters import is_polynomial
from ..scene_parameters import describe_parameters, scene_parameters
from ..seeds import derive_seed
from .steps import coefficient_step, motion_step, value_step

Kind = Literal["uniform", "component", "random", "tangent", "translate", "rotate", "scale"]


@dataclasses.dataclass(frozen=True)
class Perturbation:
    """How one scene parameter moves with a scalar t: the derivative of interest is d/dt at t = 0.

    Make one with the class methods; a perturbation is plain data, independent of scene and variant.

    Attributes:
        key: Name of the parameter as ``mi.traverse`` shows it.
        kind: ``uniform`` (every entry by t), ``component`` (one entry), ``random`` (all by fixed random signs),
            ``tangent`` (a given array), ``translate``, ``rotate`` (radians, around the shape's centre or the sensor's
            position), ``scale`` (relative, around the same point).
        vector: Direction, axis or factors of a rigid motion, world space. [3]
        index: Entry of a ``component``.
        tangent: Entries of a ``tangent``, flattened.
        seed: Seed of a ``random`` direction.
        step: Finite-difference step in units of t; ``None`` chooses one from the parameter's size.

    Example:
        >>> Perturbation.translate("teapot.vertex_positions", (1, 0, 0)).label
        'teapot.vertex_positions translate 1,0,0'
    """

    key: str
    kind: Kind
    vector: tuple[float, float, float] | None = None
    index: tuple[int, ...] | None = None
    tangent: tuple[float, ...] | None = None
    seed: int = 0
    step: float | None = None

    @classmethod
    def uniform(cls, key: str, *, step: float | None = None) -> Perturbation:
        """Add t to every entry of the parameter."""
        return cls(key, "uniform", step=step)

    @classmethod
    def component(cls, key: str, *index: int, step: float | None = None) -> Perturbation:
        """Add t to one entry, e.g. ``component("wall.bsdf.reflectance.value", 0)`` for its red."""
        return cls(key, "component", index=tuple(int(i) for i in index), step=step)

    @classmethod
    def random(cls, key: str, *, seed: int = 0, step: float | None = None) -> Perturbation:
        """Add t or -t to every entry, by fixed random signs: one number that sees a whole large array.

        Vertices of a mesh that lie on each other get the same signs.
        """
        return cls(key, "random", seed=seed, step=step)

    @classmethod
    def along(cls, key: str, tangent: np.ndarray, *, step: float | None = None) -> Perturbation:
        """Add t times a given array, of the parameter's size."""
        return cls(key, "tangent", tangent=tuple(float(x) for x in np.ravel(tangent)), step=step)

    @classmethod
    def translate(cls, key: str, vector: tuple[float, float, float], *, step: float | None = None) -> Perturbation:
        """Move by t times a world-space vector (vertex buffers, transforms, positions)."""
        return cls(key, "translate", vector=_triple(key, vector), step=step)

    @classmethod
    def rotate(cls, key: str, axis: tuple[float, float, float], *, step: float | None = None) -> Perturbation:
        """Rotate by t radians around a world-space axis through the object's centre or the sensor's position."""
        axis = np.asarray(_triple(key, axis))
        return cls(key, "rotate", vector=_triple(key, axis / np.linalg.norm(axis)), step=step)

    @classmethod
    def scale(
        cls, key: str, factors: tuple[float, float, float] = (1, 1, 1), *, step: float | None = None
    ) -> Perturbation:
        """Scale by 1 + t times the factors, along the world's axes, around the object's centre."""
        return cls(key, "scale", vector=_triple(key, factors), step=step)

    @property
    def is_motion(self) -> bool:
        """Whether the object moves rigidly or is scaled, as opposed to entries being added to."""
        return self.kind in ("translate", "rotate", "scale")

    @property
    def label(self) -> str:
        """A short name for tables and files."""
        if self.vector is not None:
            return f"{self.key} {self.kind} " + ",".join(f"{x:g}" for x in self.vector)
        if self.index is not None:
            return f"{self.key}[{','.join(map(str, self.index))}]"
        if self.kind == "random":
            return f"{self.key} random {self.seed}"
        return self.key if self.kind == "uniform" else f"{self.key} tangent"

    def to_dict(self) -> dict:
        """As JSON data, without what is unset."""
        return {k: v for k, v in dataclasses.asdict(self).items() if v is not None and (k, v) != ("seed", 0)}

    @classmethod
    def from_dict(cls, data: dict) -> Perturbation:
        """The inverse of ``to_dict``."""
        known = {f.name for f in dataclasses.fields(cls)}
        for name in data:
            if name not in known:
                raise InputError(f"a perturbation has no entry '{name}'{suggestion(name, known)}")
        return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in data.items()})

    def bind(self, scene: mi.Scene) -> Curve:
        """The parameter's curve in one scene; refuses with one sentence what cannot be perturbed."""
        return Curve(self, scene)


def _triple(key: str, vector) -> tuple[float, float, float]:
    values = tuple(float(x) for x in vector)
    if len(values) != 3 or not np.all(np.isfinite(values)) or not any(values):
        raise InputError(f"'{key}': a motion needs three finite numbers that are not all zero, got {values}")
    return values


class Curve:
    """A parameter of one scene as a function of the scalar t; the scene is changed in place and can be restored."""

    def __init__(self, perturbation: Perturbation, scene: mi.Scene):

        self.perturbation = perturbation
        self.params = scene_parameters(scene)
        key = perturbation.key
        if key not in self.params:
            raise InputError(f"the scene has no parameter '{key}'{suggestion(key, self.params.keys())}")
        value = self.params[key]
        self.is_transform = "Transform" in type(value).__name__
        storage = value.matrix if self.is_transform else value
        # Numbers that Mitsuba does not differentiate (transforms of instances, say) have a derivative all the same
        if not (dr.is_diff_v(storage) and dr.is_float_v(storage)):
            info = next(info for info in describe_parameters(scene) if info.key == key)
            raise InputError(f"'{key}' cannot be perturbed: {info.reason}")
        self.base = type(value)(dr.detach(value))
        self.is_vertex_buffer = key.rsplit(".", 1)[-1] == "vertex_positions"
        if perturbation.is_motion:
            self._check_motion()
            self.center = self._center()
            self.tangent = None
        else:
            self._check_addition()
            self.tangent = self._tangent()
            if self.is_vertex_buffer:
                self._speak_of_cracks()
        self.step = perturbation.step if perturbation.step is not None else self._default_step(scene)
        if not (np.isfinite(self.step) and self.step > 0):
            raise InputError(f"'{key}': the step must be a positive number, got {self.step}")

    def value(self, t: mi.Float):
        """The parameter's value at t, attached to t where t is."""

        kind = self.perturbation.kind
        if not self.perturbation.is_motion:
            flat = dr.ravel(self.base) + mi.Float(self.tangent) * t
            if dr.is_tensor_v(self.base):
                return type(self.base)(flat, self.base.shape)
            return flat if isinstance(self.base, mi.Float) else dr.unravel(type(self.base), flat)

        vector = mi.Vector3f(*self.perturbation.vector)
        center = mi.Vector3f(*self.center.tolist())
        identity = mi.Transform4f()
        if kind == "translate":
            motion = identity.translate(vector * t)
        elif kind == "rotate":
            turn = identity.rotate(vector, dr.rad2deg(t))
            motion = identity.translate(center) @ turn @ identity.translate(-center)
        else:
            motion = identity.translate(center) @ identity.scale(1 + vector * t) @ identity.translate(-center)

        if self.is_transform:
            return motion @ self.base
        if self.is_vertex_buffer:
            return dr.ravel(motion @ dr.unravel(mi.Point3f, self.base))
        return type(self.base)(motion @ mi.Point3f(self.base))

    @contextlib.contextmanager
    def moved(self, t: float) -> Iterator[None]:
        """The scene with its parameter at a finite t, restored at the end."""

        # Opaque: a literal t would be compiled into the kernels, anew for each step
        try:
            self._assign(self.value(dr.opaque(mi.Float, t)))
            yield
        finally:
            self._assign(self.base)

    @contextlib.contextmanager
    def attached(self) -> Iterator[mi.Float]:
        """The scene with its parameter attached to a differentiable t = 0, detached again at the end."""

        t = dr.opaque(mi.Float, 0)
        dr.enable_grad(t)
        try:
            self._assign(self.value(t))
            yield t
        finally:
            self._assign(self.base)

    def current(self):
        """The parameter's value as it is in the scene now."""
        return self.params[self.perturbation.key]

    def _assign(self, value) -> None:
        self.params[self.perturbation.key] = type(value)(value)
        self.params.update()

    def _check_motion(self) -> None:
        key, kind = self.perturbation.key, self.perturbation.kind
        is_position = type(self.base).__name__.startswith("Point3f")
        if not (self.is_transform or self.is_vertex_buffer or (is_position and kind == "translate")):
            raise InputError(
                f"'{key}' cannot be moved by '{kind}': it is neither 'vertex_positions' nor a transform"
                + (" nor, for 'translate', a position" if kind == "translate" else "")
            )

    def _check_addition(self) -> None:
        key = self.perturbation.key
        if self.is_transform:
            raise InputError(f"'{key}' is a transform: perturb it with translate, rotate or scale")

    def _tangent(self) -> np.ndarray:
        """Derivative of the flattened parameter with respect to t. [size]"""
        direction = self.perturbation
        shape = self.base.shape if hasattr(self.base, "shape") else np.array(self.base).shape
        size = int(np.prod(shape))
        if direction.kind == "uniform":
            return np.ones(size, np.float32)
        if direction.kind == "random":
            generator = np.random.default_rng(derive_seed(direction.seed, "direction", direction.key))
            signs = generator.choice(np.float32([-1, 1]), size)
            return signs.reshape(-1, 3)[self._same_point()].ravel() if self.is_vertex_buffer else signs
        if direction.kind == "tangent":
            if len(direction.tangent) != size:
                raise InputError(f"'{direction.key}' has {size} entries, but the tangent has {len(direction.tangent)}")
            return np.float32(direction.tangent)
        # A single number counts through the flattened array
        index = direction.index
        extent = shape if len(index) > 1 else (size,)
        if len(index) != len(extent) or any(not 0 <= i < n for i, n in zip(index, extent, strict=True)):
            raise InputError(f"'{direction.key}' has no component {list(index)}: its shape is {list(shape)}")
        tangent = np.zeros(size, np.float32)
        tangent[np.ravel_multi_index(index, extent)] = 1
        return tangent

    def _same_point(self) -> np.ndarray:
        """For each vertex one that lies at the same place, the same for all that do. [V]"""
        first, point = mesh.weld(np.array(self.base, np.float64).reshape(-1, 3))
        return first[point]

    def _speak_of_cracks(self) -> None:
        """Warn if vertices that lie on each other move apart."""
        velocity = self.tangent.reshape(-1, 3)
        if (velocity != velocity[self._same_point()]).any():
            mi.Log(
                mi.LogLevel.Warn,
                f"'{self.perturbation.label}' moves vertices apart that lie on each other: a crack opens, and there is "
                "no derivative but one for each sense of the motion; move all copies of a vertex together",
            )

    def _center(self) -> np.ndarray:
        """The fixed point of rotations and scalings, world space. [3]"""
        if self.is_vertex_buffer:
            return np.array(dr.unravel(mi.Point3f, self.base)).reshape(3, -1).mean(axis=1)
        if self.is_transform:
            return np.array(self.base @ mi.Point3f(0)).reshape(3)
        return np.array(self.base).reshape(3) if type(self.base).__name__.startswith("Point3f") else np.zeros(3)

    def _radius(self) -> float:
        """Distance of the object's farthest vertex from its centre, or the largest scale of its transform."""
        if self.is_vertex_buffer:
            points = np.array(dr.unravel(mi.Point3f, self.base)).reshape(3, -1)
            return float(np.linalg.norm(points - self._center()[:, None], axis=0).max())
        if self.is_transform:
            matrix = np.array(self.base.matrix, dtype=np.float64).reshape(4, 4)
            return float(np.linalg.norm(matrix[:3, :3], axis=0).max())
        return 1.0

    def _default_step(self, scene: mi.Scene) -> float:
        direction = self.perturbation
        if not (direction.is_motion or self.is_vertex_buffer):
            if is_polynomial(self.params, direction.key):
                return coefficient_step(self.tangent)
            return value_step(self.flat_base(), self.tangent)
        return motion_step(
            scene,
            direction.key,
            direction.kind if direction.is_motion else "translate",
            center=self._center(),
            radius=self._radius(),
            length=float(np.linalg.norm(direction.vector))
            if direction.is_motion
            else float(np.abs(self.tangent).max()),
        )

    def flat_base(self) -> np.ndarray:
        """The unperturbed value, flattened. [size]"""

        return np.array(dr.ravel(self.base)).reshape(-1)


def direction_from(
    key: str,
    *,
    component: Sequence[int] | None = None,
    translate: Sequence[float] | None = None,
    rotate: Sequence[float] | None = None,
    scale: Sequence[float] | None = None,
    step: float | None = None,
) -> Perturbation | None:
    """A perturbation from what a command line or a file states; ``None`` if it states no direction.

    Args:
        key: The parameter.
        component: Indices of one entry.
        translate: World-space vector.
        rotate: World-space axis.
        scale: Factors along the world's axes.
        step: Finite-difference step.
    """
    given = {"component": component, "translate": translate, "rotate": rotate, "scale": scale}
    given = {name: values for name, values in given.items() if values is not None}
    if len(given) > 1:
        raise InputError(f"'{key}': only one of {', '.join(given)} can be chosen")
    if not given:
        return None
    ((name, values),) = given.items()
    if name == "component":
        return Perturbation.component(key, *values, step=step)
    return getattr(Perturbation, name)(key, tuple(values), step=step)


def default_direction(scene: mi.Scene, key: str, *, step: float | None = None) -> Perturbation:
    """The direction along which a parameter is checked if none is stated: one number that sees all of its entries.

    Single numbers move as they are, arrays along fixed random signs, transforms along the diagonal of the world's axes.
    """
    params = scene_parameters(scene)
    if key not in params:
        raise InputError(f"the scene has no parameter '{key}'{suggestion(key, params.keys())}")
    value = params[key]
    if "Transform" in type(value).__name__:
        return Perturbation.translate(key, (3**-0.5,) * 3, step=step)
    size = np.array(value).size
    return Perturbation.uniform(key, step=step) if size == 1 else Perturbation.random(key, step=step)


def smooth_deformation(scene: mi.Scene, name: str, *, seed: int = 0) -> Perturbation:
    """Move the vertices of a mesh along a fixed smooth random field: a few waves about as long as the mesh.

    Args:
        scene: The scene of the mesh.
        name: Id of the mesh.
        seed: Of the waves.

    Example:
        >>> smooth_deformation(scene, "bunny").label
        'bunny.vertex_positions tangent'
    """
    key = mesh.position_key(name)
    positions = np.array(scene_parameters(scene)[key], np.float64).reshape(-1, 3)
    low, high = positions.min(axis=0), positions.max(axis=0)
    radius = max(float(np.linalg.norm(high - low)) / 2, 1e-6)
    generator = np.random.default_rng(derive_seed(seed, "deformation", name))
    field = np.zeros_like(positions)
    for _ in range(6):
        wave, phase = generator.uniform(-1, 1, 3) * np.pi / radius, generator.uniform(0, 2 * np.pi)
        field += np.cos(positions @ wave + phase)[:, None] * generator.normal(size=3)
    field /= np.linalg.norm(field, axis=1).max()
    step = 2 * motion_step(scene, key, "translate", center=(low + high) / 2, radius=radius, length=1.0)
    return Perturbation.along(key, field, step=step)
