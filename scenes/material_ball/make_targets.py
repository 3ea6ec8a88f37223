"""Render the targets with the true parameters of job.toml: ``python make_targets.py``."""

from __future__ import annotations

import tomllib
from pathlib import Path

import mitsuba as mi

from pbdr.scene import load_scene, scene_parameters, select_sensor
from pbdr.seeds import derive_seed

FOLDER = Path(__file__).resolve().parent
SENSORS = ("front", "side")
SPP, PASSES = 1024, 8


def main() -> None:
    """Write one half-precision EXR file for each sensor."""
    mi.set_variant("llvm_ad_rgb")
    scene = load_scene(FOLDER)
    parameters = scene_parameters(scene)
    for entry in tomllib.loads((FOLDER / "job.toml").read_text())["parameters"]:
        parameters[entry["key"]] = entry["true"]
    parameters.update()
    for name in SENSORS:
        sensor = select_sensor(scene, name)
        seeds = [derive_seed(0, "targets", name, count) for count in range(PASSES)]
        image = sum(mi.render(scene, sensor=sensor, spp=SPP, seed=seed) for seed in seeds) / PASSES
        bitmap = mi.Bitmap(image).convert(component_format=mi.Struct.Type.Float16)
        bitmap.write(str(FOLDER / "targets" / f"{name}.exr"))


if __name__ == "__main__":
    main()
