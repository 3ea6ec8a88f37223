"""Bias and efficiency of the velocity fields of warped area, as a table and a figure.

python benchmarks/velocity_fields.py --output docs/images/velocity_fields.png

Fields take turns, so that other programs slow all of them alike; only ratios of times mean anything.
"""

from __future__ import annotations

import argparse
import time

import matplotlib.pyplot as plt
import mitsuba as mi
import numpy as np

import pbdr  # noqa: F401 (registers the integrators)
from pbdr.compare.estimators import forward_gradient, smooth_adjoint
from pbdr.compare.perturbations import Perturbation

SETTINGS = [(field, reach) for field in ("blend", "caps") for reach in (0.1, 0.2, 0.4)]
SPP = 64


def stage(light: dict) -> mi.Scene:
    transform = mi.ScalarTransform4f()
    camera = {
        "type": "perspective",
        "fov": 40,
        "to_world": transform.look_at(origin=[0.5, -4, 2.5], target=[0, 0, 0.3], up=[0, 0, 1]),
        "film": {"type": "hdrfilm", "width": 32, "height": 32, "pixel_format": "rgb", "rfilter": {"type": "gaussian"}},
        "sampler": {"type": "independent"},
    }
    box = transform.translate([0, 0, 0.9]).rotate([0, 0, 1], 25).scale(0.4)
    return mi.load_dict(
        {
            "type": "scene",
            "camera": camera,
            "floor": {"type": "rectangle", "to_world": transform.scale(3)},
            "box": {"type": "cube", "to_world": box},
            "lamp": light,
        },
        optimize=False,
    )


def cases() -> dict[str, tuple[mi.Scene, int]]:
    """Scene and ``max_depth`` by name; the box moves in all of them."""
    lamp = mi.ScalarTransform4f().translate([0.6, -0.4, 2.8]).rotate([1, 0, 0], 180).scale(0.5)
    area = {"type": "rectangle", "to_world": lamp, "emitter": {"type": "area", "radiance": 6.0}}
    return {"silhouette before the sky": (stage({"type": "constant"}), 2), "soft shadow": (stage(area), 2)}


def integrator(max_depth: int, **properties) -> mi.Integrator:
    return mi.load_dict({"type": "pbdr", "max_depth": max_depth, **properties})


def measure(scene: mi.Scene, max_depth: int, seeds: int) -> list[tuple[str, float, float, float, float]]:
    """Mean, its standard error and seconds a gradient of silhouette sampling, and of each setting; rows of a table."""
    direction = Perturbation.translate("box.vertex_positions", (1, 0.2, 0.1))
    estimators = {"silhouettes": integrator(max_depth, boundary="silhouettes")}
    for field, reach in SETTINGS:
        estimators[f"{field}, reach {reach}"] = integrator(
            max_depth, boundary="warped_area", warp_field=field, warp_reach=reach
        )
    values, seconds = {name: [] for name in estimators}, {name: [] for name in estimators}
    for seed in range(seeds + 1):
        for name, estimator in estimators.items():
            start = time.perf_counter()
            image = forward_gradient(scene, direction, estimator, spp=SPP, seed=seed)
            # The first round compiles
            if seed:
                seconds[name].append(time.perf_counter() - start)
                values[name].append(np.vdot(smooth_adjoint(image.shape), image))
    return [
        (name, np.mean(v), np.std(v, ddof=1) / len(v) ** 0.5, np.median(seconds[name])) for name, v in values.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", default="velocity_fields.png", help="figure")
    parser.add_argument("--seeds", type=int, default=24)
    arguments = parser.parse_args()
    mi.set_variant("llvm_ad_rgb")
    all_cases = cases()
    figure, axes = plt.subplots(1, len(all_cases), figsize=(9, 3.2), layout="constrained")
    for axis, (case, (scene, max_depth)) in zip(axes, all_cases.items(), strict=True):
        rows = measure(scene, max_depth, arguments.seeds)
        truth, truth_error, first_seconds = rows[0][1:]
        print(f"\n{case}\n\n| field | mean / silhouettes | time | efficiency |\n|---|---|---|---|")
        reference = 1 / (truth_error**2 * first_seconds)
        for name, mean, error, seconds in rows:
            efficiency = 1 / (error**2 * seconds) / reference
            print(
                f"| {name} | {mean / truth:.3f} ± {abs(error / truth):.3f} | {seconds / first_seconds:.2f} | "
                f"{efficiency:.3g} |"
            )
        bars = [abs(error / truth) for _, _, error, _ in rows]
        axis.errorbar([mean / truth for _, mean, _, _ in rows], range(len(rows)), xerr=bars, fmt="o")
        axis.axvline(1, color="gray", linewidth=0.8)
        axis.set_yticks(range(len(rows)), [row[0] for row in rows])
        axis.invert_yaxis()
        axis.set_title(case)
        axis.set_xlabel("mean, relative to silhouette sampling")
    figure.savefig(arguments.output, dpi=110)


if __name__ == "__main__":
    main()
