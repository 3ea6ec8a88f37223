"""Views of a problem, checked against the scene's sensors."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import drjit as dr
import mitsuba as mi
import numpy as np

from ...errors import InputError
from ...scene import select_sensor
from ..constraints import find_reparameterization
from ..parameters import Variable
from .entry import IMAGES, ExposureEntry
from .entry import View as ViewEntry
from .images import check_numbers, is_low_range, read_alpha, read_image, read_numbers

#: Share of red, green and blue in luminance
_LUMINANCE = np.float32([0.212671, 0.715160, 0.072169])


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


def split_arrays(
    views: Sequence[Mapping], targets: Sequence[np.ndarray] | None = None
) -> tuple[list[dict], list[dict[str, np.ndarray]]]:
    """Views of a problem posed in Python: their entries as in a job, and those of their images that are arrays.

    Args:
        targets: One for each view, if they are not among its entries.

    Example:
        >>> split_arrays([{"sensor": 0}], [np.zeros((8, 8, 3))])[0]
        [{'target': '', 'sensor': 0}]
    """
    entries, arrays = [], []
    for position, view in enumerate(views):
        if not isinstance(view, Mapping):
            raise InputError(f"'views.{position}' must be a mapping such as {{'sensor': 0}}, got {view!r}")
        view = view if targets is None else {**view, "target": targets[position]}
        held = {name: view[name] for name in IMAGES if not isinstance(view.get(name), str | Path | None)}
        files = {name: str(view[name]) for name in IMAGES if isinstance(view.get(name), Path)}
        entries.append({"target": ""} | {name: value for name, value in view.items() if name not in held} | files)
        arrays.append({name: check_numbers(value, f"{name} of views.{position}") for name, value in held.items()})
        if "target" in held and np.array(held["target"]).dtype.kind not in "f":
            raise InputError(f"target of views.{position} holds integers, but must be linear radiance: floating point")
    return entries, arrays


def make_view(scene: mi.Scene, entry: ViewEntry, position: int, arrays: Mapping[str, np.ndarray]) -> View:
    """Check a view against the scene.

    Args:
        position: In the job's list of views.
        arrays: Its images that are not in files, by name of the entry.
    """
    where = f"views.{position}"
    try:
        sensor = select_sensor(scene, entry.sensor)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
    image = arrays.get("target")
    if image is None and not entry.target:
        raise InputError(f"{where}: there is no target")
    target = image if image is not None else read_image(entry.target, entry.color_space, where)
    name = f"target of {where}" if image is not None else f"target '{entry.target}'"
    if target.ndim != 3:
        raise InputError(
            f"{where}: {name} must be an array [height, width, channels], got {target.ndim} axes; 'targets' is a list "
            "with one image for each view"
        )
    width, height = (int(n) for n in sensor.film().crop_size())
    if target.shape[:2] != (height, width):
        raise InputError(
            f"{where}: {name} has {target.shape[1]} × {target.shape[0]} pixels, but sensor '{sensor.id()}' takes "
            f"{width} × {height}"
        )
    if target.shape[2] not in (1, 3, 4):
        raise InputError(f"{where}: {name} has {target.shape[2]} channels; allowed are 1 (grey), 3 (RGB) and 4 (RGBA)")
    if count := int((~np.isfinite(target)).sum()):
        raise InputError(f"{where}: {name} has {count} values that are NaN or infinite")
    mask = _read_mask(entry, arrays.get("mask"), (height, width), where)
    alpha = _alpha(entry, target, image, where)
    if entry.alpha != "ignore":
        target, mask = _with_alpha(entry, target, mask, alpha, where, in_memory=image is not None)
    known = {"depth": 1, "normals": 3}
    geometry = {
        what: _read_geometry(arrays.get(what, getattr(entry, what)), what, n, (height, width), where)
        for what, n in known.items()
    }
    # Files are named by it
    label = f"{position}_{sensor.id() or f'view_{position}'}".replace("/", "_")
    background = _background(entry, sensor, where)
    mask = None if mask is None else mi.TensorXf(mask)
    target = mi.TensorXf(_like_film(target[..., :3], sensor, where))
    exposure = _exposure(entry.exposure, label)
    alpha = None if alpha is None else mi.TensorXf(np.ascontiguousarray(alpha))
    return View(label, sensor, target, mask, exposure, background, **geometry, alpha=alpha)


def _like_film(target: np.ndarray, sensor: mi.Sensor, where: str) -> np.ndarray:
    """A target with as many channels as renderings have. [H, W, C]"""
    count = sensor.film().base_channels_count()
    if count == 1:
        return target if target.shape[2] == 1 else np.ascontiguousarray((target @ _LUMINANCE)[..., None])
    if count == 2:
        raise InputError(f"{where}: the film of '{sensor.id()}' has pixel_format 'luminance_alpha'; use 'luminance'")
    return np.repeat(target, 3, axis=2) if target.shape[2] == 1 else target


def _read_mask(entry: ViewEntry, array: np.ndarray | None, size: tuple[int, int], where: str) -> np.ndarray | None:
    if array is None and not entry.mask:
        return None
    name = "the mask" if array is not None else f"mask '{entry.mask}'"
    mask = read_image(entry.mask, "linear", where) if array is None else array
    mask = mask[..., None] if mask.ndim == 2 else mask
    if mask.shape[:2] != size:
        raise InputError(f"{where}: {name} must have {size[1]} × {size[0]} pixels")
    mask = mask.mean(axis=-1, keepdims=True)
    if not (np.isfinite(mask) & (mask >= 0)).all():
        raise InputError(f"{where}: {name} must hold weights of at least 0, but has negative or NaN pixels")
    if not mask.any():
        raise InputError(f"{where}: {name} hides every pixel")
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


def _read_geometry(
    source: str | np.ndarray | None, what: str, channels: int, size: tuple[int, int], where: str
) -> mi.TensorXf | None:
    if source is None:
        return None
    name = f"'{source}'" if isinstance(source, str) else f"'{what}'"
    values = read_numbers(source, channels, where) if isinstance(source, str) else source
    values = values[..., None] if values.ndim == 2 else values
    if values.shape != (*size, channels):
        what = "one number" if channels == 1 else f"{channels} numbers"
        raise InputError(f"{where}: {name} must have {size[1]} × {size[0]} pixels of {what}")
    values = np.where(np.isfinite(values).all(axis=-1, keepdims=True), values, 0)
    if not values.any():
        raise InputError(f"{where}: {name} is zero everywhere")
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
