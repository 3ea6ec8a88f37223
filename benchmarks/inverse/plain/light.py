"""An environment map from two balls, in plain Mitsuba."""

import drjit as dr
import mitsuba as mi
import numpy as np

KEY = "environment.data"
STEPS = 150
DEPTH = 4


def solve(folder, seed, observe, rate=1.0, spp=8):
    scene = mi.load_file(str(folder / "scene.xml"), optimize=False)
    targets = [
        mi.TensorXf(np.array(mi.Bitmap(str(folder / f"targets/{name}.exr")), np.float32)) for name in ("front", "back")
    ]
    integrator = mi.load_dict({"type": "prb", "max_depth": DEPTH})
    params = mi.traverse(scene)
    optimizer = mi.ad.Adam(lr=rate * 0.05, beta_1=0.8, beta_2=0.99)
    # The logarithm keeps radiance positive
    optimizer["log"] = dr.full(mi.TensorXf, dr.log(0.5), params[KEY].shape)
    for index in range(STEPS):
        for view, target in enumerate(targets):
            params[KEY] = dr.exp(optimizer["log"])
            params.update()
            image = mi.render(
                scene, params, sensor=view, integrator=integrator, spp=spp, spp_grad=max(1, spp // 2),
                seed=dr.opaque(mi.UInt32, 2 * (index + STEPS * seed) + view),
            )  # fmt: skip
            dr.backward(dr.mean(dr.square(image - target)) / len(targets))
        optimizer.step()
        observe({KEY: dr.exp(optimizer["log"])})
