"""A figure of 2562 vertices from eight views, beginning with a sphere, in plain Mitsuba."""

import drjit as dr
import mitsuba as mi
import numpy as np

KEY = "bunny.vertex_positions"
STEPS = 80
VIEWS = 8
BATCH = 4
GUIDING = "none"


def solve(folder, seed, observe, rate=1.0, spp=4):
    scene = mi.load_file(str(folder / "scene.xml"), optimize=False)
    targets = [
        mi.TensorXf(np.array(mi.Bitmap(str(folder / f"targets/view_{view}.exr")), np.float32)) for view in range(VIEWS)
    ]
    integrator = mi.load_dict({"type": "direct_projective", "hide_emitters": True, "guiding": GUIDING})
    params = mi.traverse(scene)
    smooth = mi.ad.LargeSteps(params[KEY], params["bunny.faces"], 15)
    optimizer = mi.ad.Adam(lr=rate * 0.1, uniform=True)
    optimizer["u"] = smooth.to_differential(params[KEY])
    for index in range(STEPS):
        for k in range(BATCH):
            view = (index * BATCH + k) % VIEWS
            params[KEY] = smooth.from_differential(optimizer["u"])
            params.update()
            image = mi.render(
                scene, params, sensor=view, integrator=integrator, spp=spp,
                seed=dr.opaque(mi.UInt32, BATCH * (index + STEPS * seed) + k),
            )  # fmt: skip
            dr.backward(dr.mean(dr.square(image - targets[view])) / BATCH)
        optimizer.step()
        observe({KEY: smooth.from_differential(optimizer["u"])})
