"""Efficiency of silhouette sampling against Mitsuba's `prb_projective` at its best guiding, case by case.

python benchmarks/boundary_efficiency.py [--cases 'shadow_*'] [--seeds 10] [--guidings none grid octree]

Efficiency is 1 / (variance · time) of one number, the derivative of Σ adjoint · image in reverse mode, with 64 samples
per pixel for each estimator, interleaved in one process. Mitsuba builds its guiding structure anew for every gradient;
it is charged a tenth of that here, as if ten steps could share one. pbdr's guide is kept, and paid for in full.
"""

from __future__ import annotations

import argparse
import fnmatch
import gc

import mitsuba as mi
import numpy as np

import pbdr  # noqa: F401 (registers the integrators)
from pbdr.compare.cases import suite_cases
from pbdr.compare.estimators import smooth_adjoint, timed_primal, timed_reverse
from pbdr.integrators import make_integrator

SPP = 64
STEPS_PER_GUIDING = 10
GUIDINGS = ("none", "grid", "octree")
#: Cases that both estimators get right; elsewhere an efficiency says nothing
CASES = (
    "silhouette_welded", "silhouette_single_vertex", "silhouette_open_border", "shape_disk", "shape_sphere",
    "shape_rectangle", "shadow_moving_occluder", "shadow_moving_light", "reflection_glossy",
)  # fmt: skip


def measure(case, seeds: int, guidings: list[str]) -> dict[str, tuple[float, float, float, float]]:
    """Mean, variance, seconds per gradient and seconds per primal of each estimator."""
    scene = case.build()
    curve = case.direction.bind(scene)
    names = ["pbdr:boundary=silhouettes", *(f"prb_projective:guiding={guiding}" for guiding in guidings)]
    integrators = {name: make_integrator(f"{name},max_depth={case.max_depth}") for name in names}
    adjoint, _ = timed_primal(scene, integrators[names[0]], sensor=case.sensor, spp=1, seed=0)
    adjoint = smooth_adjoint(adjoint.shape)
    samples = {name: [] for name in names}
    for seed in range(-1, seeds):
        for name, integrator in integrators.items():
            settings = {"sensor": case.sensor, "spp": SPP, "seed": seed + 1}
            primal = timed_primal(scene, integrator, **settings)[1]
            value, seconds = timed_reverse(scene, curve, integrator, adjoint, **settings)
            if seed >= 0:
                samples[name].append((value, seconds, primal))
    found = {}
    for name, rows in samples.items():
        values, seconds, primals = np.array(rows).T
        found[name] = values.mean(), values.var(ddof=1), float(np.median(seconds)), float(np.median(primals))
    for guiding in guidings:
        if guiding == "none":
            continue
        unguided = found["prb_projective:guiding=none"][2]
        mean, variance, seconds, primal = found[f"prb_projective:guiding={guiding}"]
        amortized = min(seconds, unguided + (seconds - unguided) / STEPS_PER_GUIDING)
        found[f"prb_projective:guiding={guiding}"] = mean, variance, amortized, primal
    return found


def is_consistent(ours: tuple, theirs: tuple, seeds: int) -> bool:
    """Whether two means differ by less than 4 standard errors or 1 %: a wrong estimate has no efficiency."""
    error = np.sqrt((ours[1] + theirs[1]) / seeds)
    return abs(ours[0] - theirs[0]) < max(4 * error, 0.01 * abs(ours[0]))


def main() -> None:
    """Print a table, one line per case."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", default="*", help="glob over the cases that both get right")
    parser.add_argument("--seeds", type=int, default=10, help="gradients of each estimator")
    parser.add_argument(
        "--guidings", nargs="+", choices=GUIDINGS, default=GUIDINGS, help="of prb_projective; octrees take minutes"
    )
    options = parser.parse_args()
    if "none" not in options.guidings:
        parser.error("--guidings must include 'none', by which the time of others is divided")
    mi.set_variant("llvm_ad_rgb")
    print("| case | best guiding | variance | time | efficiency | pbdr, primals | prb_projective, primals |")
    print("| --- | --- | --: | --: | --: | --: | --: |")
    ratios = []
    for case in suite_cases("gradients"):
        if case.name not in CASES or not fnmatch.fnmatch(case.name, options.cases):
            continue
        found = measure(case, options.seeds, list(options.guidings))
        ours = found.pop("pbdr:boundary=silhouettes")
        found = {name: one for name, one in found.items() if is_consistent(ours, one, options.seeds)}
        if not found:
            print(f"| {case.name} | all guidings are wrong | | | | {ours[2] / ours[3]:.1f} | |", flush=True)
            continue
        best = min(found, key=lambda name: found[name][1] * found[name][2])
        theirs = found[best]
        variance, time = theirs[1] / ours[1], theirs[2] / ours[2]
        ratios.append(variance * time)
        print(
            f"| {case.name} | {best.split('=')[1]} | {variance:.3g} | {time:.3g} | {variance * time:.3g} "
            f"| {ours[2] / ours[3]:.1f} | {theirs[2] / theirs[3]:.1f} |",
            flush=True,
        )
        gc.collect()
    print(f"median efficiency {np.median(ratios):.3g}: theirs is 1; variance and time are theirs over pbdr's")


if __name__ == "__main__":
    main()
