"""Make the photo studio that lights the ball: ``python make_textures.py``."""

from __future__ import annotations

from pathlib import Path

import mitsuba as mi
import numpy as np

FOLDER = Path(__file__).resolve().parent / "textures"
HEIGHT, WIDTH = 64, 128

#: Soft boxes: azimuth and elevation of the centre, half width and half height (degrees), radiance.
SOFT_BOXES = (
    (40, 48, 24, 16, (9.0, 8.4, 7.6)),
    (150, 25, 10, 30, (3.2, 4.0, 5.2)),
    (215, 35, 6, 35, (6.0, 5.0, 4.0)),
    (300, 60, 30, 10, (2.5, 2.5, 2.8)),
)


def studio(height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """Radiance of a dim room with four soft boxes. [height, width, 3]"""
    row, column = np.meshgrid(np.arange(height), np.arange(width), indexing="ij")
    elevation = 90 - 180 * (row + 0.5) / height
    azimuth = 360 * (column + 0.5) / width
    blend = (0.5 + 0.5 * np.sin(np.radians(elevation)))[..., None]
    radiance = np.array([0.22, 0.19, 0.16]) * (1 - blend) + np.array([0.45, 0.52, 0.62]) * blend
    for centre_azimuth, centre_elevation, half_width, half_height, colour in SOFT_BOXES:
        across = np.abs((azimuth - centre_azimuth + 180) % 360 - 180) - half_width
        along = np.abs(elevation - centre_elevation) - half_height
        inside = np.clip(0.5 - np.maximum(across, along) / 5, 0, 1)[..., None]
        radiance = radiance * (1 - inside) + np.array(colour) * inside
    return radiance


if __name__ == "__main__":
    mi.set_variant("llvm_ad_rgb")
    FOLDER.mkdir(exist_ok=True)
    mi.Bitmap(studio().astype(np.float32)).convert(component_format=mi.Struct.Type.Float16).write(
        str(FOLDER / "studio.exr")
    )
