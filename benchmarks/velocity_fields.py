"""Bias and efficiency of the velocity fields of warped area: two tables and a figure.

python benchmarks/velocity_fields.py [--seeds 10] [--rays 2 4 ...] [--output docs/images/velocity_fields.png]

One number is asked of each image: the velocity of its centre of brightness, Σ x ∂I, which nothing in these scenes lets
cancel. Fields take turns, so that other programs slow all of them alike; only ratios of times mean anything.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections.abc import Sequence

import matplotlib.pyplot as plt
import mitsuba as mi
import numpy as np

import pbdr  # noqa: F401 (registers the integrators)
from pbdr.compare.estimators import forward_gradient
from pbdr.compare.perturbations import Perturbation

RAYS = (2, 4, 8, 16, 32, 64)
REACHES = (0.1, 0.2, 0.4)
SIZE, SPP = 24, 32

#: Settings of the field of auxiliary rays, by the name of their curve
RATIOS = {
    "ratio": {},
    "ratio, jackknife": {"warp_jackknife": True},
    "ratio, Mitsuba 3.4's settings": {"warp_kappa": 1e5, "warp_exponent": 3.0, "warp_antithetic": False},
}


@dataclasses.dataclass(frozen=True)
class Result:
    """What one setting estimates."""

    mean: float
    error: float
    variance: float  #: of one gradient
    seconds: float  #: median of a gradient


def stage(contents: dict, box: dict, *, fov: float, view: tuple) -> mi.Scene:
    """A box that floats, and what else there is; ``view`` is where the camera stands and what it looks at."""
    transform = mi.ScalarTransform4f()
    film = {"type": "hdrfilm", "width": SIZE, "height": SIZE, "pixel_format": "rgb", "rfilter": {"type": "gaussian"}}
    camera = {
        "type": "perspective",
        "fov": fov,
        "to_world": transform.look_at(*view, up=[0, 0, 1]),
        "film": film,
        "sampler": {"type": "independent"},
    }
    pose = transform.translate([0, 0, 0.9]).rotate([0, 0, 1], 25).scale(0.4)
    return mi.load_dict(
        {"type": "scene", "camera": camera, "box": {"type": "cube", "to_world": pose, **box}, **contents},
        optimize=False,
    )


def cases() -> dict[str, tuple[mi.Scene, int]]:
    """Scene and ``max_depth`` by name; the box moves in all of them."""
    transform = mi.ScalarTransform4f()
    lamp = transform.translate([0.6, -0.4, 2.8]).rotate([1, 0, 0], 180).scale(0.5)
    glow = {"emitter": {"type": "area", "radiance": 1.0}}
    room = {
        "floor": {"type": "rectangle", "to_world": transform.scale(3)},
        "lamp": {"type": "rectangle", "to_world": lamp, "emitter": {"type": "area", "radiance": 6.0}},
    }
    above, below = ([0.5, -4, 2.5], [0, 0, 0.8]), ([0, -2.2, 0.4], [0, -0.3, 0])
    return {
        "silhouette of a glowing box": (stage({}, glow, fov=40, view=above), 1),
        "soft shadow of a box outside the view": (stage(room, {}, fov=30, view=below), 2),
    }


def integrator(max_depth: int, **properties) -> mi.Integrator:
    return mi.load_dict({"type": "pbdr", "max_depth": max_depth, **properties})


def warped(max_depth: int, field: str, **properties) -> mi.Integrator:
    return integrator(max_depth, boundary="warped_area", warp_field=field, **properties)


def gradient(scene: mi.Scene, estimator: mi.Integrator, *, spp: int, seed: int) -> float:
    direction = Perturbation.translate("box.vertex_positions", (1, 0.2, 0.1))
    image = forward_gradient(scene, direction, estimator, spp=spp, seed=seed)
    columns = (np.arange(image.shape[1]) + 0.5) / image.shape[1] - 0.5
    return float(np.einsum("hwc,w->", image, columns))


def measure(scene: mi.Scene, estimators: dict[str, mi.Integrator], *, spp: int, seeds: int) -> dict[str, Result]:
    """Run all estimators in turn."""
    values, seconds = {name: [] for name in estimators}, {name: [] for name in estimators}
    for seed in range(seeds + 1):
        for name, estimator in estimators.items():
            start = time.perf_counter()
            value = gradient(scene, estimator, spp=spp, seed=seed)
            # The first round compiles
            if seed:
                seconds[name].append(time.perf_counter() - start)
                values[name].append(value)
    return {
        name: Result(float(np.mean(v)), float(np.std(v, ddof=1) / len(v) ** 0.5), float(np.var(v, ddof=1)),
                     float(np.median(seconds[name])))
        for name, v in values.items()
    }  # fmt: skip


def estimators(max_depth: int, numbers: Sequence[int]) -> dict[str, mi.Integrator]:
    """Everything that is compared, by name; silhouette sampling first.

    Args:
        numbers: Of auxiliary rays.
    """
    found = {"silhouettes": integrator(max_depth, boundary="silhouettes")}
    for reach in REACHES:
        found[f"blend, reach {reach:g}"] = warped(max_depth, "blend", warp_reach=reach)
    found["caps, reach 0.2"] = warped(max_depth, "caps")
    for name, settings in RATIOS.items():
        for rays in numbers:
            # A jackknife needs two antithetic pairs
            if not (settings.get("warp_jackknife") and rays < 4):
                found[f"{name}, {rays} rays"] = warped(max_depth, "ratio", warp_rays=rays, **settings)
    return found


def relative(result: Result, truth: Result) -> tuple[float, float]:
    """Relative bias and its standard error, that of the reference included."""
    return result.mean / truth.mean - 1, float(np.hypot(result.error, truth.error)) / abs(truth.mean)


def efficiency(result: Result, results: dict[str, Result]) -> float:
    """1 / (variance · time), relative to silhouette sampling."""
    first = results["silhouettes"]
    return first.variance * first.seconds / (result.variance * result.seconds)


def table(results: dict[str, Result], truth: Result) -> str:
    lines = ["| field | bias | time | efficiency |", "|---|--:|--:|--:|"]
    for name, result in results.items():
        bias, error = relative(result, truth)
        slower = result.seconds / results["silhouettes"].seconds
        lines.append(
            f"| {name} | {100 * bias:+.1f} ± {100 * error:.1f} % | {slower:.1f} | {efficiency(result, results):.2g} |"
        )
    return "\n".join(lines)


def draw(axes: np.ndarray, case: str, results: dict[str, Result], truth: Result, numbers: Sequence[int]) -> None:
    """Bias and efficiency of one case, over the number of auxiliary rays."""
    bias_axis, efficiency_axis = axes
    for k, name in enumerate(RATIOS):
        rows = [(n, results[f"{name}, {n} rays"]) for n in numbers if f"{name}, {n} rays" in results]
        rays = np.array([n for n, _ in rows]) * 1.04 ** (k - 1)
        biases = np.array([relative(result, truth) for _, result in rows])
        style = {"marker": "os^"[k], "markersize": 4, "linewidth": 1.2, "color": f"C{k}", "label": name}
        bias_axis.errorbar(rays, 100 * np.abs(biases[:, 0]), yerr=100 * biases[:, 1], capsize=2, **style)
        efficiency_axis.plot(rays, [efficiency(result, results) for _, result in rows], **style)
    for k, field in enumerate(("blend", "caps")):
        result = results[f"{field}, reach 0.2"]
        bias, error = relative(result, truth)
        style = {"color": f"C{3 + k}", "linestyle": ("-", "--")[k], "label": f"{field} (no rays)"}
        bias_axis.axhline(100 * abs(bias), **style)
        bias_axis.axhspan(100 * max(abs(bias) - error, 0), 100 * (abs(bias) + error), color=f"C{3 + k}", alpha=0.15)
        efficiency_axis.axhline(efficiency(result, results), **style)
    for axis in axes:
        axis.set_xscale("log", base=2)
        axis.set_xticks(numbers, [str(n) for n in numbers])
        axis.grid(alpha=0.3)
    bias_axis.set_title(case, fontsize=10)
    bias_axis.set_ylim(bottom=0)
    efficiency_axis.set_yscale("log")
    efficiency_axis.set_xlabel("auxiliary rays")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", default="velocity_fields.png", help="figure")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--rays", type=int, nargs="+", default=RAYS, help="numbers of auxiliary rays")
    parser.add_argument(
        "--reference", type=int, nargs=2, default=(16, 256), help="seeds and samples per pixel of what counts as true"
    )
    arguments = parser.parse_args()
    mi.set_variant("llvm_ad_rgb")
    all_cases = cases()
    figure, axes = plt.subplots(2, len(all_cases), figsize=(9, 6), layout="constrained", sharex=True)
    for column, (case, (scene, max_depth)) in enumerate(all_cases.items()):
        seeds, spp = arguments.reference
        reference = {"silhouettes": integrator(max_depth, boundary="silhouettes")}
        truth = measure(scene, reference, spp=spp, seeds=seeds)["silhouettes"]
        results = measure(scene, estimators(max_depth, arguments.rays), spp=SPP, seeds=arguments.seeds)
        print(f"\n{case}: {truth.mean:.6g} ± {truth.error:.2g}\n\n{table(results, truth)}", flush=True)
        draw(axes[:, column], case, results, truth, arguments.rays)
    axes[0, 0].set_ylabel("|bias|, % of the truth")
    axes[1, 0].set_ylabel("1 / (variance · time),\nrelative to silhouettes")
    figure.legend(*axes[1, 0].get_legend_handles_labels(), loc="outside upper center", ncols=5, fontsize=8)
    figure.savefig(arguments.output, dpi=110)


if __name__ == "__main__":
    main()
