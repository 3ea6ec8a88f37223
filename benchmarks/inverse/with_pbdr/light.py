"""An environment map from two balls."""

import pbdr
from pbdr.scene import load_scene

UNKNOWNS = {"environment.data": {"initial": 0.5, "learning_rate": 0.05, "reparameterization": "positive"}}
ADAM = {"type": "adam", "beta_1": 0.8, "beta_2": 0.99}


def problem(folder, **settings):
    views = [{"sensor": name, "target": str(folder / f"targets/{name}.exr")} for name in ("front", "back")]
    settings |= {"steps": 150, "spp": 8, "loss": "l2", "optimizer": ADAM}
    settings |= {"integrator": {"type": "pbdr", "max_depth": 4}}
    return pbdr.Problem.from_scene(load_scene(folder), UNKNOWNS, views=views, **settings)
