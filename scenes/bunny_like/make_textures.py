"""Make the environment that lights the figure: ``python make_textures.py``."""

from __future__ import annotations

from pathlib import Path

import mitsuba as mi
import numpy as np

FILE = Path(__file__).resolve().parent / "textures" / "studio.exr"
HEIGHT, WIDTH = 16, 32
AMBIENT = (0.22, 0.24, 0.28)
#: Azimuth and elevation in degrees, width as cosine exponent, and radiance of large soft lamps
LAMPS = [
    (60, 40, 6, (2.6, 2.1, 1.5)),
    (200, 25, 5, (0.5, 1.0, 1.7)),
    (310, -15, 5, (1.3, 0.6, 0.5)),
]


def studio() -> np.ndarray:
    """Radiance by direction. [HEIGHT, WIDTH, 3]"""
    row, column = np.meshgrid(np.arange(HEIGHT), np.arange(WIDTH), indexing="ij")
    elevation, azimuth = np.pi / 2 - (row + 0.5) / HEIGHT * np.pi, 2 * np.pi * (column + 0.5) / WIDTH
    radiance = np.broadcast_to(np.array(AMBIENT), (HEIGHT, WIDTH, 3)).copy()
    for lamp_azimuth, lamp_elevation, exponent, color in LAMPS:
        a, e = np.radians([lamp_azimuth, lamp_elevation])
        cosine = np.sin(elevation) * np.sin(e) + np.cos(elevation) * np.cos(e) * np.cos(azimuth - a)
        radiance += np.clip(cosine, 0, 1)[..., None] ** exponent * np.array(color)
    return radiance


def main() -> None:
    """Write the map in half precision."""
    mi.set_variant("scalar_rgb")
    FILE.parent.mkdir(exist_ok=True)
    mi.Bitmap(studio().astype(np.float32)).convert(component_format=mi.Struct.Type.Float16).write(str(FILE))


if __name__ == "__main__":
    main()
