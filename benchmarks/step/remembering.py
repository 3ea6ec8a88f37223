"""Steps with images of earlier steps as control variates against steps without, at equal samples.

python benchmarks/step/remembering.py [--runs 16] [--write]

Parameters go from 0.8 to 0.97 times those of the target in 16 steps, the same way in each run. Variances and
correlations are those of the last step over the runs; times are of interleaved steps.
"""

from __future__ import annotations

import argparse

import cost
import drjit as dr
import mitsuba as mi
import numpy as np
import table

import pbdr

STEPS, SIZE, SPP = 16, 32, 4
#: First and last distance from the target's parameters, as a factor
WAY = (0.8, 0.97)


def scaled(near: dict, factor: float) -> dict:
    """The target's parameters times a factor, from those near to them."""
    share, values = factor / cost.NEAR, {}
    for key, value in near.items():
        kind = type(value)
        values[key] = kind(value.array * share, value.shape) if dr.is_tensor_v(value) else kind(value * share)
    return values


def walk(setup: cost.Setup, integrators: list[mi.Integrator], run: int) -> tuple[list, np.ndarray]:
    """One run, with and without.

    Returns:
        Images and gradients of the last two steps of both, and seconds of all steps. [STEPS, 2]
    """
    memories, steps, seconds = (pbdr.ControlVariate(), None), [], []
    for k in range(STEPS):
        values, kept = scaled(setup.values, WAY[0] + (WAY[1] - WAY[0]) * k / (STEPS - 1)), []

        def step(values, integrator, memory, seed, kept=kept):
            done = pbdr.step(
                setup.scene, values, setup.sensor, setup.loss,
                spp=SPP, seed=seed, integrator=integrator, control_variate=memory,
            )  # fmt: skip
            kept.append(np.array(done.images[0]))
            return done.gradients

        row = []
        for integrator, memory in zip(integrators, memories, strict=True):
            duration, gradient = cost.timed(step, values, integrator, memory, 1000 * run + k)
            row.append(duration)
            kept.append(gradient)
        seconds.append(row)
        steps.append(kept)
    return steps[-2:], np.array(seconds)


def compare(name: str, runs: int) -> str:
    """One line of the table."""
    setup = cost.Setup.of(name, SIZE)
    ends, seconds = [], []
    integrators = [mi.load_dict({"type": "pbdr", "max_depth": 6}) for _ in range(2)]
    for run in range(runs):
        end, duration = walk(setup, integrators, run)
        ends.append(end)
        seconds.append(duration)
    images, gradients = ([np.array([end[1][k + i] for end in ends]) for k in (0, 2)] for i in (0, 1))
    before = [np.array([end[0][k] for end in ends]) for k in (1, 3)]
    noise = images[1].var(axis=0, ddof=1).mean() / images[0].var(axis=0, ddof=1).mean()
    variances = [g.var(axis=0, ddof=1) for g in gradients]
    scale = np.maximum(sum(variances), 1e-30)
    fall = (variances[1] / scale).sum() / (variances[0] / scale).sum()
    alike = []
    for a, b in zip(before, gradients, strict=True):
        a, b = a - a.mean(axis=0), b - b.mean(axis=0)
        alike.append((a * b / scale).sum() / np.sqrt((a * a / scale).sum() * (b * b / scale).sum()))
    time = np.divide(*np.concatenate(seconds[1:]).T)
    return (
        f"| {name} | {noise:.1f} | {fall:.1f} | {alike[1]:.2f}, {alike[0]:.2f} | "
        f"{time.min():.2f} – {np.median(time):.2f} – {time.max():.2f} |"
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=16)
    parser.add_argument("--write", action="store_true", help="put the table into docs/performance.md")
    options = parser.parse_args()
    mi.set_variant("llvm_ad_rgb")
    mi.set_log_level(mi.LogLevel.Error)
    lines = [
        "| scene | variance of the image, without / with | of the gradient | correlation of successive gradients: "
        "without, with | time, with / without: min – median – max |",
        "| --- | --- | --- | --- | --- |",
    ]
    print(*lines, sep="\n")
    for name in sorted(cost.PARAMETERS):
        lines.append(compare(name, options.runs))
        print(lines[-1], flush=True)
    if options.write:
        table.write("remembering.py", lines)


if __name__ == "__main__":
    main()
