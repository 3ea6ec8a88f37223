"""Views of a problem, checked against the scene's sensors."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import drjit as dr
import mitsuba as mi
import numpy as np

from ...errors import InputError
from ...scene import select_sensor
from ..constraints import find_reparameterization
from ..parameters import Variable
from .entry import ExposureEntry
from .entry import View as ViewEntry
from .images import is_low_range, read_alpha, read_image, read_numbers


@dataclasses.dataclass(frozen=True)
class View:
    """An image to match."""

    name: str
    sensor: mi.Sensor
    target: mi.TensorXf  #: linear radiance times exposure [H, W, C]
    mask: mi.TensorXf | None  #: weight of each pixel [H, W, 1]
    exposure: float | Variable = 1.0  #: factor from rendered radiance to the target
    background: tuple[float, float, float] | None = None  #: radiance behind all shapes, if it is to be added
    depth: mi.TensorXf | None = None  #: distance of the first hit from the sensor; 0 where unknown [H, W, 1]
    normals: mi.TensorXf | None = None  #: of the first hit, world space; 0 where unknown [H, W, 3]
    alpha: mi.TensorXf | None = None  #: of the target, if it has any [H, W, 1]


def make_view(scene: mi.Scene, entry: ViewEntry, position: int, image: np.ndarray | None) -> View:
    """Check a view against the scene.

    Args:
        position: In the job's list of views.
        image: Its target, if that is not in a file. [H, W, C]
    """
    where = f"views.{position}"
    try:
        sensor = select_sensor(scene, entry.sensor)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
    target = np.asarray(image, np.float32) if image is not None else read_image(entry.target, entry.color_space, where)
    name = f"target of {where}" if image is not None else f"target '{entry.target}'"
    if target.ndim != 3:
        raise InputError(f"{where}: {name} must be an array [height, width, channels], got {target.ndim} axes")
    width, height = (int(n) for n in sensor.film().crop_size())
    if target.shape[:2] != (height, width):
        raise InputError(
            f"{where}: {name} has {target.shape[1]} × {target.shape[0]} pixels, but sensor '{sensor.id()}' takes "
            f"{width} × {height}"
        )
    if count := int((~np.isfinite(target)).sum()):
        raise InputError(f"{where}: {name} has {count} values that are NaN or infinite")
    mask = _read_mask(entry, (height, width), where)
    alpha = _alpha(entry, target, image, where)
    if entry.alpha != "ignore":
        target, mask = _with_alpha(entry, target, mask, alpha, where, in_memory=image is not None)
    known = {"depth": 1, "normals": 3}
    geometry = {what: _read_geometry(getattr(entry, what), n, (height, width), where) for what, n in known.items()}
    label = f"{position}_{sensor.id() or f'view_{position}'}"
    background = _background(entry, sensor, where)
    mask = None if mask is None else mi.TensorXf(mask)
    exposure = _exposure(entry.exposure, label)
    alpha = None if alpha is None else mi.TensorXf(np.ascontiguousarray(alpha))
    return View(label, sensor, mi.TensorXf(target[..., :3]), mask, exposure, background, **geometry, alpha=alpha)


def _read_mask(entry: ViewEntry, size: tuple[int, int], where: str) -> np.ndarray | None:
    if not entry.mask:
        return None
    mask = read_image(entry.mask, "linear", where).mean(axis=-1, keepdims=True)
    if mask.shape[:2] != size:
        raise InputError(f"{where}: mask '{entry.mask}' must have {size[1]} × {size[0]} pixels")
    if not mask.any():
        raise InputError(f"{where}: mask '{entry.mask}' hides every pixel")
    return mask


def _alpha(entry: ViewEntry, target: np.ndarray, image: np.ndarray | None, where: str) -> np.ndarray | None:
    """The alpha channel of a target. [H, W, 1]"""
    if image is None:
        return read_alpha(entry.target, entry.color_space, where)
    return target[..., 3:] if target.shape[-1] == 4 else None


def _with_alpha(
    entry: ViewEntry,
    target: np.ndarray,
    mask: np.ndarray | None,
    alpha: np.ndarray | None,
    where: str,
    *,
    in_memory: bool,
) -> tuple[np.ndarray, np.ndarray | None]:
    """Target and mask after the target's alpha channel has had its effect."""
    if alpha is None:
        what = (
            f"target has {target.shape[-1]} channels, not 4"
            if in_memory
            else f"image '{entry.target}' has no alpha channel"
        )
        raise InputError(f"{where}: 'alpha' is set, but the {what}")
    color = target[..., :3]
    is_straight = not in_memory and is_low_range(entry.target)
    if entry.alpha == "mask":
        # Colours multiplied with alpha are divided by it where they count
        color = color if is_straight else np.where(alpha > 0, color / np.maximum(alpha, 1e-6), color)
        combined = alpha if mask is None else alpha * mask
        if not combined.any():
            raise InputError(f"{where}: the target's alpha hides every pixel")
        return color.astype(np.float32), combined
    color = color * alpha if is_straight else color
    return (color + (1 - alpha) * np.float32(entry.background)).astype(np.float32), mask


def _background(entry: ViewEntry, sensor: mi.Sensor, where: str) -> tuple[float, float, float] | None:
    if not any(entry.background):
        return None
    require_alpha(sensor, f"{where}: 'background'")
    return entry.background


def require_alpha(sensor: mi.Sensor, what: str) -> None:
    """Refuse films without alpha.

    Args:
        what: Needs alpha, for the error sentence.
    """
    if not sensor.film().flags() & int(mi.FilmFlags.Alpha):
        raise InputError(f"{what} needs a film with pixel_format 'rgba'; '{sensor.id()}' has no alpha")


def _exposure(entry: float | ExposureEntry, label: str) -> float | Variable:
    if not isinstance(entry, ExposureEntry):
        return entry
    bounds = (0.0, float("inf"))
    return Variable(
        key=f"{label}.exposure",
        shape=(),
        bounds=bounds,
        learning_rate=entry.learning_rate,
        reparameterization=find_reparameterization("positive", label, bounds),
        initial=np.array(entry.initial),
        truth=None if entry.true is None else np.array(entry.true),
        in_scene=False,
    )


def _read_geometry(path: str | None, channels: int, size: tuple[int, int], where: str) -> mi.TensorXf | None:
    if path is None:
        return None
    values = read_numbers(path, channels, where)
    if values.shape[:2] != size:
        raise InputError(f"{where}: '{path}' must have {size[1]} × {size[0]} pixels")
    values = np.where(np.isfinite(values).all(axis=-1, keepdims=True), values, 0)
    if not values.any():
        raise InputError(f"{where}: '{path}' is zero everywhere")
    return mi.TensorXf(np.ascontiguousarray(values, np.float32))


def over_background(image: mi.TensorXf, view: View) -> mi.TensorXf:
    """The colours of a rendering before the view's background, attached. [H, W, 3]

    Args:
        image: [H, W, C]
    """
    color = image[..., :3]
    if view.background is None:
        return color
    return color + (1 - image[..., 3:4]) * mi.TensorXf(np.float32(view.background).reshape(1, 1, 3))


def exposed(color: mi.TensorXf, view: View, latents: Mapping[str, mi.Float], other: mi.TensorXf | None) -> mi.TensorXf:
    """Colours with the view's exposure, attached. [H, W, 3]

    A rendering's noise is in its own product with an adjoint that comes from it: a squared error would make the
    exposure too small by the relative variance. So the derivative by the exposure takes another rendering.

    Args:
        color: Of a rendering. [H, W, 3]
        latents: The optimizer's variables by key.
        other: Colours of an independent rendering, where the derivative is wanted.
    """
    if not isinstance(view.exposure, Variable):
        return color if view.exposure == 1 else color * view.exposure
    factor = mi.TensorXf(view.exposure.attached(latents[view.exposure.key] + dr.opaque(mi.Float, 0)), (1, 1, 1))
    value = color * dr.detach(factor)
    return value if other is None else value + dr.detach(other) * (factor - dr.detach(factor))
