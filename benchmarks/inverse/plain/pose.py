"""Rotation and translation of a teapot, in plain Mitsuba."""

import drjit as dr
import mitsuba as mi
import numpy as np

KEY = "teapot.vertex_positions"
STEPS = 128
DEPTH = 3
GUIDING = "none"


def solve(folder, seed, observe, rate=1.0, spp=16):
    scene = mi.load_file(str(folder / "scene.xml"), optimize=False)
    targets = [
        mi.TensorXf(np.array(mi.Bitmap(str(folder / f"targets/{name}.exr")), np.float32)) for name in ("front", "side")
    ]
    integrator = mi.load_dict({"type": "prb_projective", "max_depth": DEPTH, "guiding": GUIDING})
    params = mi.traverse(scene)
    start = dr.unravel(mi.Point3f, params[KEY])
    centre = mi.Point3f(dr.mean(start.x), dr.mean(start.y), dr.mean(start.z))
    optimizer = mi.ad.Adam(lr=0.06, beta_1=0.8, beta_2=0.95)
    optimizer["rotation"] = mi.Vector3f(0)
    optimizer["translation"] = mi.Vector3f(0)
    optimizer.set_learning_rate({"rotation": rate * 0.052, "translation": rate * 0.06})

    def place():
        rotation = optimizer["rotation"]
        angle = dr.norm(rotation + 1e-9)
        axis = (rotation + 1e-9) / angle
        x = start - centre
        turned = x * dr.cos(angle) + dr.cross(axis, x) * dr.sin(angle) + axis * dr.dot(axis, x) * (1 - dr.cos(angle))
        return dr.ravel(mi.Point3f(turned + centre + optimizer["translation"]))

    for index in range(STEPS):
        view = index % len(targets)
        params[KEY] = place()
        params.update()
        image = mi.render(
            scene, params, sensor=view, integrator=integrator, spp=spp,
            seed=dr.opaque(mi.UInt32, index + STEPS * seed),
        )  # fmt: skip
        dr.backward(dr.mean(dr.square(image - targets[view])))
        optimizer.step()
        observe({KEY: place()})
