"""Variance of a gradient by how samples are divided between image and derivative, without timing anything.

python benchmarks/step/sharing.py [--scene cornell_box ...] [--seeds 24] [--spp 16] [--write]

Prints variances over that of independent passes of N samples each for image and derivative: with N/4 for the
derivative, and with two images of N/2 that serve both. A factor says how far the parameters are from the target's.
"""

from __future__ import annotations

import cost
import mitsuba as mi
import numpy as np
import table

import pbdr

FACTORS = (0.97, 0.8, 0.5)


def independent(setup: cost.Setup, integrator: mi.Integrator, spp: tuple[int, int], seed: int) -> np.ndarray:
    """A gradient from an image and a derivative of their own."""
    gradients = cost.stock(setup, integrator, spp[0], seed, spp_gradient=spp[1])
    return np.concatenate([np.array(gradient, np.float64).ravel() for gradient in gradients.values()])


def shared(setup: cost.Setup, integrator: mi.Integrator, spp: int, seed: int) -> np.ndarray:
    """A gradient of pbdr.step."""
    done = pbdr.step(setup.scene, setup.values, setup.sensor, setup.loss, spp=spp, seed=seed, integrator=integrator)
    return np.concatenate([np.array(g, np.float64).ravel() for g in done.gradients.values()])


def compare(name: str, factor: float, spp: int, seeds: int) -> str:
    """One line of the table."""
    cost.NEAR = factor
    setup, integrator = cost.Setup.of(name, 0), mi.load_dict({"type": "pbdr", "max_depth": 6})
    samples = [
        [independent(setup, integrator, (spp, n), seed) for seed in range(seeds)] for n in (spp, max(1, spp // 4))
    ]
    samples.append([shared(setup, integrator, spp, seed) for seed in range(seeds)])
    variances = [np.var(s, axis=0, ddof=1) for s in samples]
    scale = np.maximum(sum(variances), 1e-30)
    few, both = ((v / scale).sum() / (variances[0] / scale).sum() for v in variances[1:])
    return f"| {name} | {factor:g} | {few:.2f} | {both:.2f} |"


def main() -> None:
    """Print the table."""
    options = table.start(__doc__, cost.PARAMETERS, seeds=24, spp=16)
    lines = ["| scene | factor | N and N/4 | two times N/2 for both |", "| --- | --- | --- | --- |"]
    print(*lines, sep="\n")
    for name in options.scene:
        for factor in FACTORS:
            lines.append(compare(name, factor, options.spp, options.seeds))
            print(lines[-1], flush=True)
    if options.write:
        table.write("sharing.py", lines)


if __name__ == "__main__":
    main()
