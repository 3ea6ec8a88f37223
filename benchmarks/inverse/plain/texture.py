"""The albedo texture of a wall, in plain Mitsuba."""

import tempfile
from pathlib import Path

import drjit as dr
import mitsuba as mi
import numpy as np

KEY = "wall.bsdf.reflectance.data"
STEPS = 160
DEPTH = 4


def solve(folder, seed, observe, rate=1.0, spp=9):
    # Eight-bit textures have no derivative: begin with one in full precision
    grey = str(Path(tempfile.mkdtemp()) / "grey.exr")
    mi.Bitmap(np.full((128, 128, 3), 0.5, np.float32)).write(grey)
    scene = mi.load_file(str(folder / "scene.xml"), albedo=grey, optimize=False)
    targets = [
        mi.TensorXf(np.array(mi.Bitmap(str(folder / f"targets/{name}.exr")), np.float32)) for name in ("front", "side")
    ]
    integrator = mi.load_dict({"type": "prb", "max_depth": DEPTH})
    params = mi.traverse(scene)
    optimizer = mi.ad.Adam(lr=rate * 0.03, beta_1=0.8, beta_2=0.99)
    optimizer[KEY] = params[KEY]
    for index in range(STEPS):
        view = index % len(targets)
        params.update(optimizer)
        image = mi.render(
            scene, params, sensor=view, integrator=integrator, spp=spp, spp_grad=max(1, spp // 2),
            seed=dr.opaque(mi.UInt32, index + STEPS * seed),
        )  # fmt: skip
        dr.backward(dr.mean(dr.square(image - targets[view])))
        optimizer.step()
        optimizer[KEY] = dr.clip(optimizer[KEY], 0.001, 0.999)
        observe({KEY: optimizer[KEY]})
