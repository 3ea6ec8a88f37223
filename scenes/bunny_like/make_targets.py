"""Render the targets with the true mesh of ``make_mesh.py``: ``python make_targets.py``."""

from __future__ import annotations

from pathlib import Path

import mitsuba as mi

from pbdr.geometry.mesh import set_triangles, triangles
from pbdr.optimize.job import load_job
from pbdr.scene import load_scene, scene_parameters, select_sensor
from pbdr.seeds import derive_seed

FOLDER = Path(__file__).resolve().parent
SPP, PASSES = 512, 4


def main() -> None:
    """Write one half-precision EXR file for each view."""
    mi.set_variant("llvm_ad_rgb")
    job, scene = load_job(FOLDER / "job.toml"), load_scene(FOLDER)
    true = mi.load_dict({"type": "ply", "filename": job.parameters[0].true})
    set_triangles(scene_parameters(scene), job.parameters[0].key, *triangles(true))
    (FOLDER / "targets").mkdir(exist_ok=True)
    for view in job.views:
        sensor, name = select_sensor(scene, view.sensor), Path(view.target).name
        seeds = [derive_seed(0, "targets", name, count) for count in range(PASSES)]
        image = sum(mi.render(scene, sensor=sensor, spp=SPP, seed=seed) for seed in seeds) / PASSES
        bitmap = mi.Bitmap(image[..., :3]).convert(component_format=mi.Struct.Type.Float16)
        bitmap.write(str(FOLDER / "targets" / name))


if __name__ == "__main__":
    main()
