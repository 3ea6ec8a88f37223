"""Draw the true, the first and the recovered mesh of a run: ``python make_picture.py RUN OUT``."""

from __future__ import annotations

import sys
from pathlib import Path

import mitsuba as mi
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from pbdr.geometry.mesh import set_triangles, triangles
from pbdr.optimize.report import tonemap
from pbdr.scene import load_scene, scene_parameters, select_sensor

FOLDER = Path(__file__).resolve().parent
SIZE, SPP = 256, 400
#: Sensors, and what to say of them
ROWS = {"unseen": "a side that no target shows", "view_6": "one of the eight targets' sides"}


def pictures(mesh: Path) -> list[np.ndarray]:
    """A mesh in the place of the scene's own, seen by the sensors of ``ROWS``. [SIZE, SIZE, 3] each"""
    scene = load_scene(FOLDER, {"size": str(SIZE)})
    shape = mi.load_dict({"type": "ply", "filename": str(mesh)})
    set_triangles(scene_parameters(scene), "bunny", *triangles(shape))
    images = [mi.render(scene, sensor=select_sensor(scene, name), spp=SPP) for name in ROWS]
    return [tonemap(np.array(image)[..., :3]) for image in images]


def main() -> None:
    """Write the picture."""
    mi.set_variant("llvm_ad_rgb")
    run, target = Path(sys.argv[1]), Path(sys.argv[2])
    meshes = {
        "true figure": FOLDER / "meshes" / "bunny.ply",
        "start": FOLDER / "meshes" / "start.ply",
        "recovered from eight views": run / "scene" / "meshes" / "bunny.ply",
    }
    figure = Figure(figsize=(9.3, 6.5), dpi=110, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(ROWS), len(meshes))
    for column, (title, file) in enumerate(meshes.items()):
        for row, image in enumerate(pictures(file)):
            place = axes[row, column]
            place.imshow(image, interpolation="lanczos")
            place.set_xticks([])
            place.set_yticks([])
            if row == 0:
                place.set_title(title, fontsize=12)
            if column == 0:
                place.set_ylabel(list(ROWS.values())[row], fontsize=11)
    figure.savefig(target)


if __name__ == "__main__":
    main()
