"""Render the targets of bundled jobs, with what they state as true: ``python make_targets.py [SCENE …]``.

Another run gives the same images up to noise.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path

import mitsuba as mi

from pbdr.geometry.mesh import set_triangles, triangles
from pbdr.optimize.job import load_job
from pbdr.optimize.poses import make_poses
from pbdr.scene import load_scene, scene_parameters, select_sensor
from pbdr.seeds import derive_seed

SCENES = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Recipe:
    """How the targets of a scene are rendered."""

    spp: int  #: of one rendering
    passes: int  #: renderings that are averaged
    images: dict[str, str] = field(default_factory=dict)  #: XML defaults that put true images into the scene


RECIPES = {
    "bunny_like": Recipe(512, 4),
    "cornell_box": Recipe(1024, 8),
    "envmap_probe": Recipe(256, 16, {"sky": "textures/sky.exr"}),
    "light_from_shadows": Recipe(529, 8),
    "material_ball": Recipe(1024, 8),
    "mural": Recipe(64, 4, {"albedo": "textures/albedo.png"}),
    "pose_from_image": Recipe(529, 8),
    "shadow_puppet": Recipe(529, 8),
    "textured_wall": Recipe(256, 8, {"albedo": "textures/albedo.png"}),
}


def true_scene(job, folder: Path, images: dict[str, str]) -> mi.Scene:
    """The scene with what the job states as true."""
    scene = load_scene(folder, images)
    parameters = scene_parameters(scene)
    for entry in job.parameters:
        if entry.kind == "mesh":
            true = mi.load_dict({"type": "ply", "filename": entry.true})
            set_triangles(parameters, entry.key, *triangles(true))
        elif entry.kind == "pose":
            for pose in make_poses(parameters, entry, entry.key):
                pose.write({part.key: part.latent(part.truth) for part in pose.parts.values()}, parameters)
        elif not images:
            parameters[entry.key] = entry.true
    parameters.update()
    return scene


def make_targets(name: str) -> None:
    """Write one half-precision EXR file for each view of each job of a scene."""
    folder, recipe = SCENES / name, RECIPES[name]
    (folder / "targets").mkdir(exist_ok=True)
    for file in sorted(folder.glob("job*.toml")):
        job = load_job(file)
        scene = true_scene(job, folder, recipe.images)
        for view in job.views:
            sensor, target = select_sensor(scene, view.sensor), Path(view.target)
            seeds = [derive_seed(0, "targets", target.stem, count) for count in range(recipe.passes)]
            image = sum(mi.render(scene, sensor=sensor, spp=recipe.spp, seed=seed) for seed in seeds) / recipe.passes
            bitmap = mi.Bitmap(image[..., :3]).convert(component_format=mi.Struct.Type.Float16)
            bitmap.write(str(folder / "targets" / target.name))


if __name__ == "__main__":
    mi.set_variant("llvm_ad_rgb")
    for scene_name in sys.argv[1:] or RECIPES:
        make_targets(scene_name)
