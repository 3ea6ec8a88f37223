"""Cost of one interior gradient against Mitsuba's `prb`, interleaved in one process, and its memory against path depth.

python benchmarks/interior_cost.py [--scene cornell_box ...] [--rounds 15] [--depths 4 64]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time

import drjit as dr
import mitsuba as mi
import numpy as np

import pbdr  # noqa: F401 (registers the integrators)
from pbdr.scene import load_scene
from pbdr.scene_parameters import find_parameters

#: One material, texture or light of each bundled scene in which nothing moves
PARAMETERS = {
    "cornell_box": "*.reflectance.value",
    "textured_wall": "*reflectance.data",
    "envmap_probe": "*.data",
    "material_ball": "*.roughness.value",
}


def gradient_seconds(scene: mi.Scene, params: mi.SceneParameters, key: str, integrator: mi.Integrator, seed: int):
    """Seconds of a primal, and of a gradient with everything evaluated inside the timer."""
    dr.enable_grad(params[key])
    params.update()
    start = time.perf_counter()
    image = mi.render(scene, params, integrator=integrator, spp=16, seed=dr.opaque(mi.UInt32, seed))
    dr.eval(image)
    dr.sync_thread()
    middle = time.perf_counter()
    dr.backward(dr.mean(dr.square(image)))
    dr.eval(dr.grad(params[key]))
    dr.sync_thread()
    end = time.perf_counter()
    dr.disable_grad(params[key])
    return middle - start, end - middle


def compare_cost(names: list[str], rounds: int) -> None:
    """Print the ratio of gradient times, min–median–max over interleaved rounds."""
    for name in names:
        parameter = PARAMETERS[name]
        scene = load_scene(name, float_textures=[parameter] if name == "textured_wall" else ())
        params = mi.traverse(scene)
        keys = find_parameters(scene, parameter)
        integrators = [mi.load_dict({"type": kind, "max_depth": 6}) for kind in ("pbdr", "prb")]
        ratios = []
        for seed in range(rounds + 2):
            ours, theirs = (gradient_seconds(scene, params, keys[0], i, seed) for i in integrators)
            if seed >= 2:
                ratios.append((ours[1] / theirs[1], ours[0] / theirs[0]))
        gradient, primal = np.array(ratios).T
        print(
            f"{name:16} gradient {gradient.min():.2f}–{np.median(gradient):.2f}–{gradient.max():.2f} × prb, "
            f"primal {np.median(primal):.2f} × prb"
        )


def peak_memory(depth: int) -> float:
    """Largest resident memory of a process that takes one gradient, MiB."""
    code = f"""
import pbdr, mitsuba as mi, drjit as dr, resource
mi.set_variant("llvm_ad_rgb")
box = mi.cornell_box()
box["sensor"]["film"].update(width=128, height=128)
scene = mi.load_dict(box, optimize=False)
params = mi.traverse(scene)
dr.enable_grad(params["red.reflectance.value"]); params.update()
integrator = mi.load_dict({{"type": "pbdr", "max_depth": {depth}, "rr_depth": 1000}})
dr.backward(dr.mean(mi.render(scene, params, integrator=integrator, spp=32)))
dr.eval(dr.grad(params["red.reflectance.value"])); dr.sync_thread()
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""
    return float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)


def main() -> None:
    """Print a line for each scene, and one about memory."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scene", nargs="*", choices=sorted(PARAMETERS), default=sorted(PARAMETERS))
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--depths", type=int, nargs=2, default=(4, 64), help="of the paths whose memory is compared")
    options = parser.parse_args()
    mi.set_variant("llvm_ad_rgb")
    compare_cost(options.scene, options.rounds)
    shallow, deep = (peak_memory(depth) for depth in options.depths)
    labels = [f"depth {depth}: {peak:.0f} MiB" for depth, peak in zip(options.depths, (shallow, deep), strict=True)]
    print(f"memory           {', '.join(labels)}, {deep / shallow:.2f} ×")


if __name__ == "__main__":
    main()
