"""Render the targets of jobs that recover poses, with their true poses: ``python make_pose_targets.py [SCENE …]``."""

from __future__ import annotations

import sys
from pathlib import Path

import mitsuba as mi

from pbdr.optimize.job import load_job
from pbdr.optimize.poses import make_poses
from pbdr.scene import load_scene, scene_parameters, select_sensor
from pbdr.seeds import derive_seed

SCENES = ("light_from_shadows", "pose_from_image", "shadow_puppet")
SPP, PASSES = 529, 8


def make_targets(folder: Path) -> None:
    """Write one half-precision EXR file for each view of each job of a scene."""
    for file in sorted(folder.glob("job*.toml")):
        job, scene = load_job(file), load_scene(folder)
        parameters = scene_parameters(scene)
        for entry in job.parameters:
            for pose in make_poses(parameters, entry, file.name):
                truth = {part.key: part.latent(part.truth) for part in pose.parts.values()}
                pose.write(truth, parameters)
        parameters.update()
        for view in job.views:
            sensor, name = select_sensor(scene, view.sensor), Path(view.target).name
            seeds = [derive_seed(0, "targets", name, count) for count in range(PASSES)]
            image = sum(mi.render(scene, sensor=sensor, spp=SPP, seed=seed) for seed in seeds) / PASSES
            bitmap = mi.Bitmap(image).convert(component_format=mi.Struct.Type.Float16)
            bitmap.write(str(folder / "targets" / name))


if __name__ == "__main__":
    mi.set_variant("llvm_ad_rgb")
    for scene_name in sys.argv[1:] or SCENES:
        make_targets(Path(__file__).resolve().parent / scene_name)
