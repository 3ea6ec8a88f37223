"""Render the targets with the true sky in textures/: ``python make_targets.py``."""

from __future__ import annotations

from pathlib import Path

import mitsuba as mi

from pbdr.scene import load_scene, select_sensor
from pbdr.seeds import derive_seed

FOLDER = Path(__file__).resolve().parent
SENSORS = ("front", "back")
SPP, PASSES = 256, 16


def main() -> None:
    """Write one half-precision EXR file for each sensor."""
    mi.set_variant("llvm_ad_rgb")
    scene = load_scene(FOLDER, {"sky": "textures/sky.exr"})
    for name in SENSORS:
        sensor = select_sensor(scene, name)
        seeds = [derive_seed(0, "targets", name, count) for count in range(PASSES)]
        image = sum(mi.render(scene, sensor=sensor, spp=SPP, seed=seed) for seed in seeds) / PASSES
        bitmap = mi.Bitmap(image).convert(component_format=mi.Struct.Type.Float16)
        bitmap.write(str(FOLDER / "targets" / f"{name}.exr"))


if __name__ == "__main__":
    main()
