"""COLMAP's sparse models, text and binary: world to camera, axes right, down, forward; pixels count from the corner."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ....errors import InputError
from .camera import OPENCV, Capture, one_focal, require_no_distortion

#: Names of the parameters of COLMAP's camera models, by number and name; f stands for both focal lengths
_MODELS = [
    ("SIMPLE_PINHOLE", "f cx cy"),
    ("PINHOLE", "fx fy cx cy"),
    ("SIMPLE_RADIAL", "f cx cy k1"),
    ("RADIAL", "f cx cy k1 k2"),
    ("OPENCV", "fx fy cx cy k1 k2 p1 p2"),
]


def read_colmap(folder: Path, images: Path) -> list[Capture]:
    """The images of a model.

    Args:
        folder: With ``cameras`` and ``images``, ``.bin`` or ``.txt``.
        images: Folder of the photographs.
    """
    is_binary = (folder / "images.bin").is_file()
    cameras = (_binary_cameras if is_binary else _text_cameras)(folder)
    poses = (_binary_images if is_binary else _text_images)(folder)
    captures = []
    for name, rotation, translation, camera in poses:
        where = f"{folder}, image '{name}'"
        if camera not in cameras:
            raise InputError(f"{where}: there is no camera {camera}")
        if not (images / name).is_file():
            raise InputError(f"{where}: the image '{images / name}' does not exist")
        model, size, values = cameras[camera]
        named = dict(zip(_parameters(model, where), values, strict=False))
        require_no_distortion({key: value for key, value in named.items() if key[0] in "kp"}, where)
        focal = named["f"] if "f" in named else one_focal(named["fx"], named["fy"], where)
        world_to_camera = np.eye(4)
        world_to_camera[:3, :3], world_to_camera[:3, 3] = _matrix(rotation), translation
        to_world = np.linalg.inv(world_to_camera) @ OPENCV
        label = Path(name).with_suffix("").as_posix().replace("/", "_")
        captures.append(Capture(label, images / name, to_world, size, focal, (named["cx"], named["cy"])))
    return captures


def _parameters(model: int | str, where: str) -> list[str]:
    known = dict(_MODELS)
    name = _MODELS[model][0] if isinstance(model, int) and 0 <= model < len(_MODELS) else model
    if name not in known:
        raise InputError(f"{where}: the camera model {model} is not known; allowed: {', '.join(known)}")
    return known[name].split()


def _matrix(quaternion: np.ndarray) -> np.ndarray:
    """Rotation matrix of a quaternion w, x, y, z. [3, 3]"""
    w, x, y, z = quaternion / np.linalg.norm(quaternion)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def _lines(file: Path) -> list[str]:
    if not file.is_file():
        raise InputError(f"the file '{file}' does not exist")
    return [line for line in file.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]


def _text_cameras(folder: Path) -> dict:
    rows = [line.split() for line in _lines(folder / "cameras.txt") if line.strip()]
    return {int(r[0]): (r[1], (int(r[2]), int(r[3])), [float(x) for x in r[4:]]) for r in rows}


def _text_images(folder: Path) -> list[tuple]:
    # Every second line lists points, and may be empty
    rows = [line.split(maxsplit=9) for line in _lines(folder / "images.txt")[::2] if line.strip()]
    return [(r[9], np.array(r[1:5], float), np.array(r[5:8], float), int(r[8])) for r in rows]


def _read(stream: BinaryIO, layout: str) -> tuple:
    data = stream.read(struct.calcsize("<" + layout))
    if len(data) < struct.calcsize("<" + layout):
        raise InputError(f"'{stream.name}' ends too early")
    return struct.unpack("<" + layout, data)


def _binary_cameras(folder: Path) -> dict:
    cameras = {}
    with (folder / "cameras.bin").open("rb") as stream:
        for _ in range(_read(stream, "Q")[0]):
            number, model, width, height = _read(stream, "iiQQ")
            count = len(_parameters(model, str(folder / "cameras.bin")))
            cameras[number] = (model, (width, height), list(_read(stream, f"{count}d")))
    return cameras


def _binary_images(folder: Path) -> list[tuple]:
    images = []
    with (folder / "images.bin").open("rb") as stream:
        for _ in range(_read(stream, "Q")[0]):
            values = _read(stream, "i7di")
            name = bytearray()
            while (byte := _read(stream, "c")[0]) != b"\0":
                name += byte
            stream.seek(24 * _read(stream, "Q")[0], 1)
            images.append((name.decode(), np.array(values[1:5]), np.array(values[5:8]), values[8]))
    return images
