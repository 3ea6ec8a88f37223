"""Wall colours, roughness and lamp power of a Cornell box, in plain Mitsuba."""

import drjit as dr
import mitsuba as mi
import numpy as np

KEYS = {
    "wall_left.brdf_0.reflectance.value": (mi.Color3f, 0.06, 0.001, 0.999),
    "wall_right.brdf_0.reflectance.value": (mi.Color3f, 0.06, 0.001, 0.999),
    "metal.alpha.value": (mi.Float, 0.015, 0.01, 1.0),
    "panel.emitter.radiance.value": (mi.Float, 0.6, 0.0, 1e6),
}
STEPS = 80
DEPTH = 6


def solve(folder, seed, observe, rate=1.0, spp=4):
    scene = mi.load_file(str(folder / "scene.xml"), optimize=False)
    targets = [
        mi.TensorXf(np.array(mi.Bitmap(str(folder / f"targets/{name}.exr")), np.float32))
        for name in ("front", "left", "right")
    ]
    integrator = mi.load_dict({"type": "prb", "max_depth": DEPTH})
    params = mi.traverse(scene)
    optimizer = mi.ad.Adam(lr=0.01, beta_1=0.8, beta_2=0.99)
    for key, (_, step, _, _) in KEYS.items():
        optimizer[key] = params[key]
        optimizer.set_learning_rate({key: rate * step})
    for index in range(STEPS):
        view = index % len(targets)
        params.update(optimizer)
        image = mi.render(
            scene, params, sensor=view, integrator=integrator, spp=spp, spp_grad=max(1, spp // 2),
            seed=dr.opaque(mi.UInt32, index + STEPS * seed),
        )  # fmt: skip
        dr.backward(dr.mean(dr.square(image - targets[view])))
        optimizer.step()
        for key, (kind, _, low, high) in KEYS.items():
            optimizer[key] = kind(dr.clip(optimizer[key], low, high))
        observe({key: optimizer[key] for key in KEYS})
