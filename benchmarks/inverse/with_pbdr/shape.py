"""A figure of 2562 vertices from eight views, beginning with a sphere."""

import pbdr
from pbdr.scene import load_scene

UNKNOWNS = {"bunny": {"kind": "mesh", "learning_rate": 0.1, "smoothness": 15}}


def problem(folder, **settings):
    views = [{"sensor": f"view_{k}", "target": str(folder / f"targets/view_{k}.exr")} for k in range(8)]
    settings |= {"steps": 80, "spp": 4, "batch": 4, "loss": "l2"}
    settings |= {"integrator": {"type": "pbdr", "max_depth": 2, "hide_emitters": True}}
    return pbdr.Problem.from_scene(load_scene(folder), UNKNOWNS, views=views, **settings)
