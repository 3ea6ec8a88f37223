"""Rotation and translation of a teapot."""

import pbdr
from pbdr.scene import load_scene

UNKNOWNS = {"teapot": {"kind": "pose", "rotation": {"learning_rate": 3.0}, "translation": {"learning_rate": 0.06}}}
ADAM = {"type": "adam", "beta_1": 0.8, "beta_2": 0.95}


def problem(folder, **settings):
    views = [{"sensor": name, "target": str(folder / f"targets/{name}.exr")} for name in ("front", "side")]
    settings |= {"steps": 128, "spp": 16, "batch": 1, "loss": "l2", "optimizer": ADAM}
    settings |= {"integrator": {"type": "pbdr", "max_depth": 3}}
    return pbdr.Problem.from_scene(load_scene(folder), UNKNOWNS, views=views, **settings)
