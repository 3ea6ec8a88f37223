"""Wall colours, roughness and lamp power of a Cornell box."""

import pbdr
from pbdr.scene import load_scene

UNKNOWNS = ["wall_*.brdf_0.reflectance.value", "metal.alpha.value", "panel.emitter.radiance.value"]


def problem(folder, **settings):
    views = [{"sensor": name, "target": str(folder / f"targets/{name}.exr")} for name in ("front", "left", "right")]
    settings |= {"steps": 8, "spp": 4, "batch": 1, "loss": "l2", "optimizer": "gauss_newton"}
    return pbdr.Problem.from_scene(load_scene(folder), UNKNOWNS, views=views, **settings)
