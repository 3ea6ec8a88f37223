"""Variance of a gradient by where the random numbers of camera paths come from, without timing anything.

python benchmarks/step/sampling.py [--scene cornell_box ...] [--seeds 60] [--write]

Prints the variance of the gradient of `pbdr.step` with the samplers of the scenes, which are multijitter and stratify
within pixels, over that with Sobol's sequence, which stratifies over blocks of pixels as well.
"""

from __future__ import annotations

import cost
import mitsuba as mi
import numpy as np
import table

from pbdr.transport.samplers import SAMPLERS

#: Pixels in each direction (0 for the scene's own) and samples per pixel
SETTINGS = ((0, 16), (64, 4), (32, 1))


def compare(name: str, size: int, spp: int, seeds: int) -> str:
    """One line of the table."""
    setup, gradients = cost.Setup.of(name, size), {}
    for sampler in SAMPLERS:
        integrator = mi.load_dict({"type": "pbdr", "max_depth": 6, "sampler": sampler})
        samples = [cost.timed(cost.ours, setup, integrator, spp, seed)[1] for seed in range(seeds)]
        gradients[sampler] = np.array(samples)
    ratio = cost.variance_ratio(gradients["scene"], gradients["sobol"])
    width, height = setup.sensor.film().crop_size()
    return f"| {name} | {width} × {height} | {spp} | {ratio:.2f} |"


def main() -> None:
    """Print the table."""
    options = table.start(__doc__, cost.PARAMETERS, seeds=60)
    lines = ["| scene | pixels | spp | variance, scene's sampler / Sobol |", "| --- | --- | --- | --- |"]
    print(*lines, sep="\n")
    for name in options.scene:
        for size, spp in SETTINGS:
            lines.append(compare(name, size, spp, options.seeds))
            print(lines[-1], flush=True)
    if options.write:
        table.write("sampling.py", lines)


if __name__ == "__main__":
    main()
