"""Wall colours, roughness and lamp power of a Cornell box."""

import pbdr
from pbdr.scene import load_scene

UNKNOWNS = {
    "wall_*.brdf_0.reflectance.value": {"learning_rate": 0.06},
    "metal.alpha.value": {"learning_rate": 0.015},
    "panel.emitter.radiance.value": {"learning_rate": 0.6},
}
ADAM = {"type": "adam", "beta_1": 0.8, "beta_2": 0.99}


def problem(folder, **settings):
    views = [{"sensor": name, "target": str(folder / f"targets/{name}.exr")} for name in ("front", "left", "right")]
    settings |= {"steps": 80, "spp": 4, "loss": "l2", "optimizer": ADAM}
    return pbdr.Problem.from_scene(load_scene(folder), UNKNOWNS, views=views, **settings)
