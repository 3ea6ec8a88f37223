"""``cameras_sphere.npz`` of IDR and NeuS: projections P = K [R | t] to pixels whose centres are whole numbers."""

from __future__ import annotations

import zipfile
from pathlib import Path

import mitsuba as mi
import numpy as np

from ....errors import InputError
from .camera import OPENCV, Capture, one_focal

_SKEW = 1e-3


def read_projections(file: Path) -> list[Capture]:
    """The cameras of a file, in the space in which the object lies in the unit sphere.

    Images are those of the folder ``image`` beside it, masks those of ``mask``, in the order of their names.
    """
    try:
        with np.load(file, allow_pickle=False) as content:
            arrays = dict(content)
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{file}: cannot be read: {error}") from None
    count = sum(name.startswith("world_mat_") and "inv" not in name for name in arrays)
    images, masks = _pictures(file.parent / "image"), _pictures(file.parent / "mask")
    if not count or len(images) != count or len(masks) not in (0, count):
        raise InputError(
            f"{file}: {count} cameras do not go with {len(images)} images and {len(masks)} masks beside it"
        )
    return [_capture(arrays, k, images[k], masks[k] if masks else None, f"{file}, camera {k}") for k in range(count)]


def _capture(arrays: dict[str, np.ndarray], k: int, image: Path, mask: Path | None, where: str) -> Capture:
    scale = arrays.get(f"scale_mat_{k}", np.eye(4))
    P = (arrays[f"world_mat_{k}"].astype(np.float64) @ scale.astype(np.float64))[:3]
    K, R, t = decompose(P)
    if abs(K[0, 1]) > _SKEW * K[0, 0]:
        raise InputError(f"{where}: the pixels are skewed ({K[0, 1]:g})")
    world_to_camera = np.eye(4)
    world_to_camera[:3, :3], world_to_camera[:3, 3] = R, t
    size = tuple(int(n) for n in mi.Bitmap(str(image)).size())
    # The first pixel's centre is at 0, half a pixel from the corner
    center = (float(K[0, 2]) + 0.5, float(K[1, 2]) + 0.5)
    to_world = np.linalg.inv(world_to_camera) @ OPENCV
    return Capture(f"view_{k}", image, to_world, size, one_focal(K[0, 0], K[1, 1], where), center, mask)


def decompose(P: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """K (upper triangular, last entry 1), R (a rotation) and t with P ∝ K [R | t].

    Args:
        P: Projection of homogeneous points. [3, 4]
    """
    # RQ by QR of the matrix turned around
    flip = np.eye(3)[::-1]
    q, r = np.linalg.qr((flip @ P[:, :3]).T)
    K, R = flip @ r.T @ flip, flip @ q.T
    signs = np.diag(np.sign(np.diag(K)))
    K, R = K @ signs, signs @ R
    t = np.linalg.solve(K, P[:, 3])
    if np.linalg.det(R) < 0:
        # P is known up to a factor, which may be negative
        R, t = -R, -t
    return K / K[2, 2], R, t


def _pictures(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.is_file()) if folder.is_dir() else []
