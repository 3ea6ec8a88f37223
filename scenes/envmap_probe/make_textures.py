"""Make the true environment map, and the constant one that the scene starts with: ``python make_textures.py``."""

from __future__ import annotations

from pathlib import Path

import mitsuba as mi
import numpy as np

FOLDER = Path(__file__).resolve().parent / "textures"
HEIGHT, WIDTH = 32, 64


def sky(height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """Radiance of an evening sky with a low sun above dark hills and a meadow. [height, width, 3]"""
    row, column = np.meshgrid(np.arange(height), np.arange(width), indexing="ij")
    elevation = np.pi / 2 - (row + 0.5) / height * np.pi
    azimuth = 2 * np.pi * (column + 0.5) / width
    up = np.sin(elevation)[..., None]

    # Sky: warm at the horizon, blue overhead, warmer on the side of the sun
    sun_azimuth, sun_elevation = 2 * np.pi * 0.36, np.radians(24)
    toward_sun = np.clip(
        np.sin(elevation) * np.sin(sun_elevation)
        + np.cos(elevation) * np.cos(sun_elevation) * np.cos(azimuth - sun_azimuth),
        -1,
        1,
    )[..., None]
    horizon = np.array([0.95, 0.62, 0.38]) * (0.75 + 0.45 * toward_sun)
    zenith = np.array([0.16, 0.30, 0.62])
    radiance = horizon + (zenith - horizon) * np.clip(up, 0, 1) ** 0.55

    # Glow and sun: a lobe a few texels wide, so that it is bright and still resolved
    radiance = radiance + np.array([1.6, 0.9, 0.4]) * np.exp(12 * (toward_sun - 1))
    radiance = radiance + np.array([10.0, 7.5, 4.5]) * np.exp(80 * (toward_sun - 1))

    # Clouds: two soft bands, broken along the azimuth
    for centre, thickness, phase in ((0.75, 0.10, 0.4), (0.42, 0.06, 2.1)):
        line = centre + 0.08 * np.sin(2 * azimuth + phase)
        band = np.exp(-(((elevation - line) / thickness) ** 2)) * (0.5 + 0.5 * np.sin(3 * azimuth + 2 * phase))
        radiance = radiance + band[..., None] * np.array([0.7, 0.55, 0.50])

    # Hills and meadow below the skyline
    skyline = 0.06 + 0.05 * np.sin(azimuth + 1) + 0.04 * np.sin(3 * azimuth) + 0.02 * np.sin(7 * azimuth + 2)
    below = np.clip((skyline - elevation) / (np.pi / height) + 0.5, 0, 1)[..., None]
    meadow = np.array([0.13, 0.17, 0.07]) * (1 + 0.5 * np.sin(4 * azimuth + 9 * elevation))[..., None]
    meadow = meadow + np.array([0.16, 0.12, 0.07]) * np.exp(6 * up)
    return radiance * (1 - below) + meadow * below


def write_radiance(image: np.ndarray, path: Path) -> None:
    """Write linear radiance as an EXR file."""
    mi.Bitmap(image.astype(np.float32)).convert(component_format=mi.Struct.Type.Float32).write(str(path))


if __name__ == "__main__":
    mi.set_variant("llvm_ad_rgb")
    FOLDER.mkdir(exist_ok=True)
    write_radiance(sky(), FOLDER / "sky.exr")
    write_radiance(np.full((HEIGHT, WIDTH, 3), 0.5), FOLDER / "constant.exr")
