"""Steps that remember earlier steps against steps that do not, at equal samples.

python benchmarks/step/remembering.py [--scene cornell_box ...] [--runs 16] [--spp 8] [--write]

Parameters go from 0.8 to 0.97 times those of the target in 16 steps, the same way in each run. Variances and
correlations are those of the last step over the runs; times are of interleaved steps.
"""

from __future__ import annotations

import cost
import drjit as dr
import mitsuba as mi
import numpy as np
import table

import pbdr

STEPS, SIZE = 16, 32
#: First and last distance from the target's parameters, as a factor
WAY = (0.8, 0.97)
#: What is remembered, the first being nothing
KINDS = ((False, False), (True, False), (False, True), (True, True))


def scaled(near: dict, factor: float) -> dict:
    """The target's parameters times a factor, from those near to them."""
    share, values = factor / cost.NEAR, {}
    for key, value in near.items():
        kind = type(value)
        values[key] = kind(value.array * share, value.shape) if dr.is_tensor_v(value) else kind(value * share)
    return values


def walk(setup: cost.Setup, integrators: list[mi.Integrator], spp: int, run: int) -> tuple[np.ndarray, np.ndarray]:
    """One run of each kind.

    Returns:
        Gradients of the last two steps [2, kinds, P], and seconds of all steps [STEPS, kinds].
    """
    memories = [pbdr.Memory(control_variate=c, allocation=a) if c or a else None for c, a in KINDS]

    def step(values, integrator, memory, seed):
        return pbdr.step(
            setup.scene, values, setup.sensor, setup.loss, spp=spp, seed=seed, integrator=integrator, memory=memory
        ).gradients

    gradients, seconds = [], []
    for k in range(STEPS):
        values = scaled(setup.values, WAY[0] + (WAY[1] - WAY[0]) * k / (STEPS - 1))
        row = [
            cost.timed(step, values, integrator, memory, 1000 * run + k)
            for integrator, memory in zip(integrators, memories, strict=True)
        ]
        seconds.append([duration for duration, _ in row])
        gradients.append([gradient for _, gradient in row])
    return np.array(gradients[-2:]), np.array(seconds)


def compare(name: str, spp: int, runs: int) -> str:
    """One line of the table."""
    setup = cost.Setup.of(name, SIZE)
    integrators = [mi.load_dict({"type": "pbdr", "max_depth": 6}) for _ in KINDS]
    ends, seconds = zip(*(walk(setup, integrators, spp, run) for run in range(runs)), strict=True)
    deviations = np.array(ends) - np.mean(ends, axis=0)
    before, last = deviations[:, 0], deviations[:, 1]
    # Each number of the gradient counts by its own variance, so that units do not matter
    scale = np.maximum((last**2).sum(axis=(0, 1)), 1e-30)

    def product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return (a * b / scale).sum(axis=(0, 2))

    variance = product(last, last)
    alike = product(before, last) / np.sqrt(product(before, before) * variance)
    times = np.concatenate(seconds[1:])
    ratios = np.median(times[:, 1:] / times[:, :1], axis=0)
    cells = [*(f"{x:.1f}" for x in variance[0] / variance[1:]), f"{alike[0]:.2f}, {alike[1]:.2f}"]
    return f"| {name} | " + " | ".join([*cells, ", ".join(f"{ratio:.2f}" for ratio in ratios)]) + " |"


def main() -> None:
    """Print the table."""
    options = table.start(__doc__, cost.PARAMETERS, runs=16, spp=8)
    lines = [
        "| scene | variance of the gradient, without / with control variates | with allocation | with both | "
        "correlation of successive gradients: without, with control variates | time, with the three / without |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    print(*lines, sep="\n")
    for name in options.scene:
        lines.append(compare(name, options.spp, options.runs))
        print(lines[-1], flush=True)
    if options.write:
        table.write("remembering.py", lines)


if __name__ == "__main__":
    main()
