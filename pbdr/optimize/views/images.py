"""Reading images as linear RGB with straight alpha."""

from __future__ import annotations

from pathlib import Path

import mitsuba as mi
import numpy as np

from ...errors import InputError

_LDR = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tga"})


def read_image(path: str, color_space: str | None, where: str) -> np.ndarray:
    """An image file as linear RGB. [H, W, 3]

    Args:
        color_space: ``linear`` or ``srgb``; files with 8 bits must state it.
        where: Name of the job's entry for error sentences.
    """
    bitmap = _open(path, color_space, where)
    try:
        linear = bitmap.convert(mi.Bitmap.PixelFormat.RGB, mi.Struct.Type.Float32, srgb_gamma=False)
    except RuntimeError:
        raise InputError(
            f"{where}: the image '{path}' has {bitmap.channel_count()} channels, which are no colours; allowed are "
            "grey, RGB and RGBA"
        ) from None
    return np.array(linear, dtype=np.float32)


def read_alpha(path: str, color_space: str | None, where: str) -> np.ndarray | None:
    """The coverage that an image file holds beside its colours, if it does. [H, W, 1]"""
    bitmap = _open(path, color_space, where)
    if not bitmap.has_alpha():
        return None
    pixels = bitmap.convert(mi.Bitmap.PixelFormat.RGBA, mi.Struct.Type.Float32, srgb_gamma=False)
    return np.array(pixels, dtype=np.float32)[..., 3:]


def is_low_range(path: str | Path) -> bool:
    """Whether a file has 8 bits, sRGB as a rule, and colours that are not yet multiplied with alpha: PNG, not EXR."""
    return Path(path).suffix.lower() in _LDR


def check_numbers(values: object, what: str) -> np.ndarray:
    """An array of the user's as floating-point numbers.

    Args:
        values: A NumPy array, a tensor, a bitmap, …
        what: Name for error sentences.
    """
    try:
        values = np.array(values)
        return values.astype(np.float32)
    except (TypeError, ValueError, RuntimeError):
        raise InputError(f"{what} must be an array of numbers; files are named by 'views'") from None


def read_numbers(path: str, channels: int, where: str) -> np.ndarray:
    """The first channels of an EXR or ``.npy`` file as they are. [H, W, channels]"""
    _require_file(path, where)
    if Path(path).suffix.lower() not in (".exr", ".npy"):
        raise InputError(f"{where}: '{Path(path).name}' must be an EXR or .npy file")
    try:
        values = np.load(path, allow_pickle=False) if Path(path).suffix == ".npy" else np.array(mi.Bitmap(path))
    except (RuntimeError, ValueError) as error:
        raise InputError(f"{where}: '{path}' cannot be read: {str(error).strip().splitlines()[-1]}") from None
    values = values[..., None] if values.ndim == 2 else values
    if values.ndim != 3 or values.shape[-1] < channels:
        raise InputError(f"{where}: '{path}' must have {channels} channels, got an array {list(values.shape)}")
    return values[..., :channels].astype(np.float32)


def _require_file(path: str, where: str) -> None:
    if not Path(path).is_file():
        raise InputError(f"{where}: the image '{path}' {'is a folder' if Path(path).is_dir() else 'does not exist'}")


def _open(path: str, color_space: str | None, where: str) -> mi.Bitmap:
    file = Path(path)
    _require_file(path, where)
    if file.suffix.lower() in _LDR and color_space is None:
        raise InputError(f"{where}: '{file.name}' needs an entry 'color_space': 'srgb' (usual) or 'linear'")
    try:
        bitmap = mi.Bitmap(str(file))
    except RuntimeError as error:
        raise InputError(f"{where}: the image '{path}' cannot be read: {str(error).strip().splitlines()[-1]}") from None
    if color_space is not None:
        bitmap.set_srgb_gamma(color_space == "srgb")
    return bitmap
