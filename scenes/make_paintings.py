"""Paint the true albedos of the walls, and the grey ones that the scenes start with: ``python make_paintings.py``."""

from __future__ import annotations

from pathlib import Path

import mitsuba as mi
import numpy as np

SCENES = Path(__file__).resolve().parent

#: Scenes, and how many pixels their paintings are wide
RESOLUTIONS = {"textured_wall": 128, "mural": 1024}

#: Above this resolution one sees the strokes of the brush
FINEST_PLAIN = 256


def smooth_noise(x: np.ndarray, octaves: int, seed: int) -> np.ndarray:
    """A sum of cosines with random phases, about within [-1, 1]."""
    random = np.random.default_rng(seed)
    total = np.zeros_like(x)
    for octave in range(octaves):
        frequency = 2 ** (octave + 1) * random.uniform(0.8, 1.2)
        total += np.cos(frequency * np.pi * x + random.uniform(0, 2 * np.pi)) / 1.8**octave
    return 0.6 * total


def blend(image: np.ndarray, colour: tuple[float, float, float], coverage: np.ndarray) -> np.ndarray:
    """``image`` with ``colour`` laid over it where ``coverage`` is 1. [H, W, 3], [H, W]"""
    coverage = np.clip(coverage, 0, 1)[..., None]
    return image * (1 - coverage) + np.array(colour) * coverage


def paint(resolution: int) -> np.ndarray:
    """Hills at sunset above a lake, as linear reflectance within [0, 1]. [resolution, resolution, 3]"""
    row, column = np.meshgrid(np.arange(resolution), np.arange(resolution), indexing="ij")
    x, y = (column + 0.5) / resolution, 1 - (row + 0.5) / resolution
    edge = resolution / 1.5

    # Sky: from warm at the horizon to deep blue, with a sun and thin clouds
    height = np.clip((y - 0.35) / 0.65, 0, 1)[..., None]
    stops = [np.array(c) for c in ((0.82, 0.42, 0.16), (0.72, 0.30, 0.30), (0.12, 0.16, 0.42))]
    sky = np.where(
        height < 0.4,
        stops[0] + (stops[1] - stops[0]) * height / 0.4,
        stops[1] + (stops[2] - stops[1]) * (height - 0.4) / 0.6,
    )
    image = blend(sky, (0.88, 0.76, 0.40), (0.085 - np.hypot(x - 0.68, y - 0.60)) * edge)
    for level, (centre, seed) in enumerate(((0.86, 1), (0.77, 2), (0.70, 3))):
        cloud = 0.018 * (1 + smooth_noise(x, 4, seed)) - np.abs(y - centre - 0.02 * smooth_noise(x, 2, seed + 9))
        image = blend(image, (0.85, 0.60 - 0.08 * level, 0.50 - 0.08 * level), 0.55 * np.clip(cloud * edge, 0, 1))

    # Ridges, from far to near
    ridges = (
        (0.53, 0.080, 11, (0.36, 0.22, 0.36)),
        (0.46, 0.065, 12, (0.20, 0.14, 0.28)),
        (0.39, 0.050, 13, (0.08, 0.10, 0.16)),
    )
    for base, amplitude, seed, colour in ridges:
        image = blend(image, colour, (base + amplitude * smooth_noise(x, 5, seed) - y) * edge)

    # Lake: the sky turned over, darker, broken by the sun's glitter
    mirrored = image[np.clip((resolution * (1 - (0.66 - y[:, 0]))).astype(int), 0, resolution - 1)]
    lake = mirrored * np.array([0.55, 0.62, 0.72])
    ripple = np.sin(2 * np.pi * (38 * y**1.3 + 0.25 * smooth_noise(x, 4, 21)))
    glitter = (ripple > 0.1) * np.clip(1 - np.abs(x - 0.68) / (0.05 + 0.3 * (0.33 - y)), 0, 1)
    lake = blend(lake, (0.88, 0.66, 0.34), glitter)
    image = np.where((y < 0.33)[..., None], lake, image)

    # A leaning pine on the left bank
    image = blend(image, (0.05, 0.06, 0.05), (0.13 + 0.05 * smooth_noise(x, 4, 31) - 0.35 * x - y) * edge)
    trunk = 0.16 + 0.05 * (y - 0.1)
    image = blend(image, (0.09, 0.05, 0.03), np.where((y > 0.05) & (y < 0.80), (0.010 - np.abs(x - trunk)) * edge, 0))
    for tier in range(6):
        top, width = 0.86 - 0.11 * tier, 0.035 + 0.018 * tier
        drop = (top - y) / 0.15
        inside = np.where((drop > 0) & (drop < 1), (width * drop - np.abs(x - trunk)) * edge, 0)
        image = blend(image, (0.03, 0.09 + 0.015 * tier, 0.06), inside)
    if resolution > FINEST_PLAIN:
        image = image * strokes(x, y)[..., None]
    return np.clip(image, 0.02, 0.9)


def strokes(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Brightness of slanting brush strokes a few pixels wide, around 1. [H, W]"""
    random = np.random.default_rng(41)
    total = np.ones_like(x)
    for _ in range(24):
        angle, frequency = random.normal(0.5, 0.35), random.uniform(60, 220)
        along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
        waver = 0.6 * np.sin(2 * np.pi * (random.uniform(3, 9) * along + random.uniform()))
        total += 0.025 * np.cos(2 * np.pi * (frequency * across + waver + random.uniform()))
    return total


def write_srgb(image: np.ndarray, path: Path) -> None:
    """Write linear reflectance as an 8-bit sRGB image."""
    bitmap = mi.Bitmap(image.astype(np.float32))
    bitmap.convert(mi.Bitmap.PixelFormat.RGB, mi.Struct.Type.UInt8, srgb_gamma=True).write(str(path))


if __name__ == "__main__":
    mi.set_variant("llvm_ad_rgb")
    for scene, size in RESOLUTIONS.items():
        folder = SCENES / scene / "textures"
        folder.mkdir(exist_ok=True)
        write_srgb(paint(size), folder / "albedo.png")
        write_srgb(np.full((size, size, 3), 0.5), folder / "grey.png")
