"""The variables of a problem: what the optimizer sees, and how it becomes scene parameters."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import drjit as dr
import mitsuba as mi
import numpy as np

from ..errors import InputError
from ..material_parameters import is_polynomial
from ..scene_parameters import assign_parameter, numbers
from ..seeds import derive_seed
from .constraints import Reparameterization, default_bounds, find_reparameterization, inner_bounds

if TYPE_CHECKING:
    from .entries import Initial, ParameterEntry

#: Parameters with more entries than this are summarized in histories and results
LARGE = 16


def root_mean_square(first: np.ndarray, second: np.ndarray) -> float:
    """How far two parameter values are from each other."""
    return float(np.sqrt(np.mean(np.square(first - second))))


def sky_weights(height: int, width: int) -> np.ndarray:
    """Share of the sphere that each texel of an environment map stands for; the mean is 1. [H, W, 1]

    Mitsuba puts the first and the last row into the poles and interpolates linearly between rows: a texel's share is
    the integral of its hat over the sphere.

    Args:
        width: With the columns that Mitsuba repeats on both sides, which do not count.

    Example:
        >>> sky_weights(3, 4)[:, 1, 0].round(2)
        array([1.09, 3.82, 1.09])
    """
    if height < 2:
        rows = np.ones(height)
    else:
        step = np.pi / (height - 1)
        rows = 2 * (1 - np.cos(step)) * np.sin(step * np.arange(height))
        rows[[0, -1]] = step - np.sin(step)
    weights = np.repeat(rows[:, None, None], width, axis=1)
    weights[:, [0, -1]] = 0
    return weights / weights.mean()


def _sky_error(first: np.ndarray, second: np.ndarray) -> float:
    """How far two environment maps are from each other, weighted by solid angle. [H, W, C] each"""
    weights = sky_weights(*first.shape[:2])
    return float(np.sqrt(np.mean(weights * np.square(first - second))))


def summarize(values: np.ndarray) -> float | list | dict:
    """Numbers for a text file: small parameters whole, large ones as mean and range."""
    if values.size == 1:
        return float(values.ravel()[0])
    if values.size <= LARGE:
        return values.astype(float).tolist()
    return {"mean": float(values.mean()), "min": float(values.min()), "max": float(values.max())}


@dataclasses.dataclass(frozen=True)
class Variable:
    """One scene parameter, or one part of a pose, that is optimized."""

    key: str
    shape: tuple[int, ...]  #: of the parameter's numbers
    bounds: tuple[float | np.ndarray, float | np.ndarray]  #: lowest and highest, or one of each for every number
    learning_rate: float  #: in units of the reparameterized variable
    reparameterization: Reparameterization
    initial: np.ndarray  #: first values, of ``shape``
    truth: np.ndarray | None  #: where the job states it
    unit: str = ""
    error: Callable[[np.ndarray, np.ndarray], float] = root_mean_square  #: of a value against the truth, in ``unit``
    summary: Callable[[np.ndarray], float | list | dict] = summarize  #: of a value, for histories and results
    in_scene: bool = True  #: whether it is a parameter of the scene itself, not of a pose or an image
    is_uniform: bool = False  #: whether all its numbers move by the same share of their gradients

    def latent(self, values: np.ndarray) -> mi.Float:
        """The optimizer's variable for given parameter values. [size]"""
        return mi.Float(self.reparameterization.inverse(np.ravel(values), *self.bounds).astype(np.float32))

    def write(self, latent: mi.Float, parameters: mi.SceneParameters) -> None:
        """Put the variable into the scene, attached; ``parameters.update()`` must follow.

        Args:
            latent: [size]
        """
        flat = self.attached(latent)
        # Mitsuba skips an assignment of the array that it already holds, and with it the new connection to the latent,
        # which every view after the first needs; the opaque zero makes a new array
        flat = flat + dr.opaque(mi.Float, 0)
        current = parameters[self.key]
        if dr.is_tensor_v(current):
            parameters[self.key] = type(current)(flat, self.shape)
        elif dr.depth_v(current) > 1:
            parameters[self.key] = dr.unravel(type(current), flat)
        else:
            parameters[self.key] = type(current)(flat)

    def attached(self, latent: mi.Float) -> mi.Float:
        """Parameter values of a variable, flat and attached to it."""
        return self.reparameterization.forward(latent, *self.bounds)

    def values(self, latent: mi.Float) -> np.ndarray:
        """Parameter values of a variable, detached, of ``shape``."""
        return np.array(self.attached(dr.detach(latent))).reshape(self.shape)

    def project(self, latent: mi.Float) -> mi.Float:
        """The nearest variable whose parameter is within bounds."""
        if self.reparameterization.is_bounded or not np.isfinite(self.bounds).any():
            return latent
        low, high = (mi.Float(self.reparameterization.inverse(np.float64(b), *self.bounds)) for b in self.bounds)
        return dr.clip(latent, low, high)


def make_variable(
    scene: mi.Scene, parameters: mi.SceneParameters, key: str, entry: ParameterEntry, where: str
) -> Variable:
    """Check one entry of a job against the scene.

    Args:
        where: Name of the entry for error sentences, e.g. ``parameters.0``.
    """
    held = numbers(parameters[key])
    if held is None or "Transform" in type(parameters[key]).__name__:
        kind = type(parameters[key]).__name__
        raise InputError(
            f"{where}: parameter '{key}' is a {kind}; jobs recover numbers, colours, textures and buffers"
            + ("; kind = 'pose' recovers it" if kind.endswith("Transform4f") else "")
        )
    if is_polynomial(parameters, key):
        raise InputError(
            f"{where}: '{key}' is a colour, which '{mi.variant()}' holds as coefficients of a polynomial of the "
            "wavelength; jobs recover colours in rgb and mono variants, as 'llvm_ad_rgb'"
        )
    bounds = default_bounds(key, is_environment=is_environment_map(scene, key))
    if entry.bounds is not None:
        bounds = entry.bounds
    if not bounds[0] < bounds[1]:
        raise InputError(f"{where}: 'bounds' of '{key}' must be [lowest, highest], got {list(bounds)}")
    name = f"'initial' of '{key}'"
    is_buffer = held.ndim == 1 and dr.depth_v(parameters[key]) == 1
    initial = read_values(entry.initial, held, f"{where}: {name}", is_buffer=is_buffer)
    initial = np.clip(initial, *bounds) if entry.initial == "noise" else initial
    # Compared as the scene stores them: 0.7 in single precision is a little less than 0.7
    stored, (low, high) = initial.astype(np.float32), np.float32(bounds)
    outside = initial[(stored < low) | (stored > high)]
    if outside.size:
        raise InputError(
            f"{where}: {name} holds {outside.ravel()[0]:g}, which lies outside of its bounds "
            f"[{bounds[0]:g}, {bounds[1]:g}]"
        )
    if entry.bounds is None:
        bounds = inner_bounds(key, bounds)
        initial = np.clip(initial, *bounds)
    truth = None if entry.true is None else read_values(entry.true, held, f"{where}: 'true' of '{key}'")
    mapping = find_reparameterization(entry.reparameterization, key, bounds)
    # A value that the scene would refuse is refused now, not in the first step
    assign_parameter(parameters, key, initial)
    is_sky = is_environment_map(scene, key) and held.ndim == 3
    error = _sky_error if is_sky else root_mean_square
    return Variable(key, held.shape, bounds, entry.learning_rate, mapping, initial, truth, error=error)


def is_environment_map(scene: mi.Scene, key: str) -> bool:
    """Whether a key belongs to the scene's environment, whose ``data`` are radiance and wrap around."""
    environment = scene.environment()
    return environment is not None and key.startswith(f"{environment.id()}.")


def read_values(source: Initial, held: np.ndarray, what: str, *, is_buffer: bool = False) -> np.ndarray:
    """Numbers from a job: a number, a list, ``current``, ``uniform`` (its mean), ``noise``, an image or .npy file.

    Args:
        held: What the scene holds now; its shape is the result's.
        what: Name for error sentences.
        is_buffer: Whether it is a mesh's buffer, for which one number is never enough.
    """
    if isinstance(source, str) and source == "current":
        return held.astype(np.float64)
    if isinstance(source, str) and source == "uniform":
        return np.full(held.shape, held.mean(axis=tuple(range(held.ndim - 1))) if held.ndim == 3 else held.mean())
    if isinstance(source, str) and source == "noise":
        mean = held.mean(axis=tuple(range(held.ndim - 1))) if held.ndim == 3 else held.mean()
        return mean * np.random.default_rng(derive_seed(0, what)).uniform(0.5, 1.5, held.shape)
    values = _read_file(Path(source), held, what) if isinstance(source, str) else np.asarray(source, np.float64)
    if not np.isfinite(values).all():
        raise InputError(f"{what} must be finite, got {values[~np.isfinite(values)].ravel()[0]}")
    if values.size == 1 and not is_buffer:
        return np.full(held.shape, values.ravel()[0])
    if held.ndim == 3 and values.shape == (held.shape[-1],):
        return np.broadcast_to(values, held.shape).copy()
    if values.size != held.size:
        wanted = " × ".join(map(str, held.shape)) if held.ndim > 1 else str(held.size)
        raise InputError(f"{what} holds {_count(values.size)}, but the parameter takes {wanted}")
    return values.reshape(held.shape)


def _count(size: int) -> str:
    return f"{size} number" + "s" * (size != 1)


def _read_file(path: Path, held: np.ndarray, what: str) -> np.ndarray:
    """An array from an image or .npy file; environment maps get the repeated columns that Mitsuba keeps beside them."""
    if not path.is_file():
        raise InputError(f"{what}: the file '{path}' does not exist")
    try:
        values = np.load(path, allow_pickle=False) if path.suffix == ".npy" else _read_bitmap(path)
        values = values.astype(np.float64)
    except (RuntimeError, ValueError) as error:
        raise InputError(f"{what}: the file '{path}' cannot be read: {str(error).strip().splitlines()[-1]}") from None
    if held.ndim == 3 and held.shape[-1] == 1 and values.ndim == 3:
        values = values.mean(axis=-1, keepdims=True)
    if held.ndim == values.ndim == 3 and held.shape[:2] == (values.shape[0], values.shape[1] + 2):
        values = np.concatenate([values[:, -1:], values, values[:, :1]], axis=1)
    return values


def _read_bitmap(path: Path) -> np.ndarray:
    """An image file as linear RGB. [H, W, 3]"""
    bitmap = mi.Bitmap(str(path))
    return np.array(bitmap.convert(mi.Bitmap.PixelFormat.RGB, mi.Struct.Type.Float32, srgb_gamma=False))
