"""The neutral form: a photograph and the pinhole camera that took it, in Mitsuba's conventions."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from ....errors import InputError

#: From the axes of other programs' cameras (right, up, back; right, down, forward) to Mitsuba's (left, up, forward)
OPENGL = np.diag([-1.0, 1.0, -1.0, 1.0])
OPENCV = np.diag([-1.0, -1.0, 1.0, 1.0])

#: Relative difference of both focal lengths up to which pixels count as square
_SQUARE = 2e-3


@dataclasses.dataclass(frozen=True)
class Capture:
    """A photograph and its camera.

    Example:
        >>> Capture("r_0", Path("r_0.png"), np.eye(4), (800, 800), 1100.0, (400.0, 400.0))
    """

    name: str  #: id of the sensor
    image: Path
    to_world: np.ndarray  #: camera to world; the camera looks along +z, +x is left and +y is up in the image [4, 4]
    size: tuple[int, int]  #: width and height, pixels
    focal: float  #: focal length, pixels
    center: tuple[float, float]  #: principal point, pixels from the upper left corner of the image
    mask: Path | None = None

    @property
    def x_fov(self) -> float:
        """Horizontal field of view, degrees."""
        return float(np.degrees(2 * np.arctan(self.size[0] / (2 * self.focal))))

    @property
    def offset(self) -> tuple[float, float]:
        """Mitsuba's offset of the principal point, in shares of the film; a positive one moves it left and up."""
        return tuple(0.5 - c / n for c, n in zip(self.center, self.size, strict=True))


def one_focal(fx: float, fy: float, where: str) -> float:
    """The focal length of square pixels."""
    if abs(fx / fy - 1) > _SQUARE:
        raise InputError(
            f"{where}: the focal lengths {fx:g} and {fy:g} mean pixels that are not square; resample first"
        )
    return 0.5 * (fx + fy)


def require_no_distortion(coefficients: dict[str, float], where: str) -> None:
    """Refuse lenses that Mitsuba's cameras do not have."""
    for name, value in coefficients.items():
        if abs(value) > 1e-6:
            raise InputError(f"{where}: the lens distorts ({name} = {value:g}); undistort the images first")


def rigid(matrix: np.ndarray, where: str) -> np.ndarray:
    """A camera-to-world matrix whose axes have length 1. [4, 4]"""
    matrix = np.asarray(matrix, np.float64)
    if matrix.shape == (3, 4):
        matrix = np.vstack([matrix, [0, 0, 0, 1]])
    if matrix.shape != (4, 4) or not np.isfinite(matrix).all():
        raise InputError(f"{where}: a camera needs a finite 4 × 4 matrix")
    result = matrix.copy()
    result[:3, :3] /= np.linalg.norm(matrix[:3, :3], axis=0)
    if not np.allclose(result[:3, :3].T @ result[:3, :3], np.eye(3), atol=1e-3) or np.linalg.det(result[:3, :3]) < 0:
        raise InputError(f"{where}: the camera's matrix is no rotation")
    return result
