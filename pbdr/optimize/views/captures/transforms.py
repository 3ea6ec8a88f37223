"""``transforms.json`` of NeRF's synthetic scenes and of nerfstudio: camera to world, axes right, up, back."""

from __future__ import annotations

import json
from pathlib import Path

import mitsuba as mi
import numpy as np

from ....errors import InputError
from .camera import OPENGL, Capture, one_focal, require_no_distortion, rigid

_DISTORTION = ("k1", "k2", "k3", "k4", "p1", "p2")
_NUMBERS = (*_DISTORTION, "w", "h", "fl_x", "fl_y", "camera_angle_x", "cx", "cy")
_SUFFIXES = ("", ".png", ".jpg", ".jpeg", ".exr")


def read_transforms(file: Path) -> list[Capture]:
    """The frames of a file; the principal point counts from the corner of the image."""
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{file}: not JSON: {error}") from None
    frames = data.get("frames") if isinstance(data, dict) else None
    if not isinstance(frames, list) or not all(isinstance(frame, dict) for frame in frames):
        raise InputError(f"{file}: no list 'frames' of cameras in JSON")
    if data.get("camera_model", "OPENCV") not in ("OPENCV", "PINHOLE", "SIMPLE_PINHOLE"):
        raise InputError(f"{file}: cameras of model '{data['camera_model']}' are not pinhole cameras")
    return [_frame({**data, **frame}, file, f"{file}, frame {k}") for k, frame in enumerate(frames)]


def _frame(entry: dict, file: Path, where: str) -> Capture:
    if missing := [name for name in ("file_path", "transform_matrix") if name not in entry]:
        raise InputError(f"{where}: '{missing[0]}' is missing")
    for name in _NUMBERS:
        if not isinstance(entry.get(name, 0), int | float):
            raise InputError(f"{where}: '{name}' must be a number, got {entry[name]!r}")
    image = _existing(file.parent / str(entry["file_path"]), where)
    require_no_distortion({name: float(entry.get(name, 0)) for name in _DISTORTION}, where)
    if "w" in entry and "h" in entry:
        width, height = int(entry["w"]), int(entry["h"])
    else:
        width, height = (int(n) for n in mi.Bitmap(str(image)).size())
    if "fl_x" in entry:
        focal = one_focal(float(entry["fl_x"]), float(entry.get("fl_y", entry["fl_x"])), where)
    elif "camera_angle_x" in entry:
        focal = 0.5 * width / float(np.tan(0.5 * float(entry["camera_angle_x"])))
    else:
        raise InputError(f"{where}: neither 'fl_x' nor 'camera_angle_x' says how wide the camera sees")
    center = (float(entry.get("cx", 0.5 * width)), float(entry.get("cy", 0.5 * height)))
    mask = _existing(file.parent / str(entry["mask_path"]), where) if "mask_path" in entry else None
    try:
        matrix = np.array(entry["transform_matrix"], np.float64)
    except (TypeError, ValueError):
        raise InputError(f"{where}: 'transform_matrix' must hold 4 × 4 numbers") from None
    to_world = rigid(matrix, where) @ OPENGL
    return Capture(image.stem, image, to_world, (width, height), focal, center, mask)


def _existing(path: Path, where: str) -> Path:
    for suffix in _SUFFIXES:
        candidate = path.with_name(path.name + suffix)
        if candidate.is_file():
            return candidate
    raise InputError(f"{where}: the image '{path}' does not exist")
