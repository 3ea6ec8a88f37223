"""The albedo texture of a wall."""

import pbdr
from pbdr.scene import load_scene

KEY = "wall.bsdf.reflectance.data"
ADAM = {"type": "adam", "beta_1": 0.8, "beta_2": 0.99}


def problem(folder, **settings):
    views = [{"sensor": name, "target": str(folder / f"targets/{name}.exr")} for name in ("front", "side")]
    unknowns = {KEY: {"initial": 0.5, "learning_rate": 0.03}}
    settings |= {"integrator": {"type": "pbdr", "max_depth": 4}}
    settings |= {"steps": 160, "spp": 4, "batch": 1, "loss": "l2", "optimizer": ADAM}
    return pbdr.Problem.from_scene(load_scene(folder, float_textures=[KEY]), unknowns, views=views, **settings)
