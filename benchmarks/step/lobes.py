"""Directions drawn by the derivative of a lobe against those of images, at equal samples.

python benchmarks/step/lobes.py [--scene cornell_box ...] [--seeds 64] [--spp 16] [--size 32] [--write]

Derivatives by the roughness of a material: as an image, as a gradient whose adjoint is known, and as a whole step of
`pbdr.step`, whose noise is that of the image as well. The adjoint is that of a mean squared error, with a target whose
roughness is 1.25 times as large. Times are of interleaved reverse gradients.
"""

from __future__ import annotations

import argparse
import dataclasses

import cost
import mitsuba as mi
import numpy as np
import table

import pbdr
from pbdr.compare.estimators import forward_gradient, reverse_gradient
from pbdr.compare.perturbations import Perturbation
from pbdr.scene import load_scene

#: Parameters, and what their values are for a roughness α of the microfacets
ROUGHNESS = {
    "cornell_box": ("metal.alpha.value", lambda α: α),
    "material_ball": ("ball.bsdf.roughness.value", np.sqrt),
}
WIDTHS = (0.05, 0.1, 0.2, 0.5)


@dataclasses.dataclass
class Question:
    """A scene whose roughness differs from the target's."""

    setup: cost.Setup
    key: str
    adjoint: np.ndarray  #: [H, W, C]

    @classmethod
    def of(cls, name: str, α: float, size: int) -> Question:
        """Load a bundled scene and render what the adjoint needs."""
        key, parameter = ROUGHNESS[name]
        scene, images = load_scene(name), []
        params, sensor = mi.traverse(scene), scene.sensors()[0]
        params[f"{sensor.id()}.film.size"] = mi.ScalarVector2u(size)
        integrator = mi.load_dict({"type": "pbdr", "max_depth": 6})
        for width in (1.25 * α, α):
            params[key] = mi.Float(float(parameter(width)))
            params.update()
            images.append(mi.render(scene, sensor=sensor, integrator=integrator, spp=512, seed=1))
        target, image = images
        setup = cost.Setup(scene, sensor, {key: mi.Float(params[key])}, target)
        return cls(setup, key, np.array(2 * (image - target) / image.array.shape[0]))

    def derivative(self, integrator: mi.Integrator, spp: int, seed: int) -> np.ndarray:
        """The derivative image. [H, W, C]"""
        direction = Perturbation.uniform(self.key)
        return forward_gradient(self.setup.scene, direction, integrator, sensor=self.setup.sensor, spp=spp, seed=seed)

    def gradient(self, integrator: mi.Integrator, spp: int, seed: int) -> dict:
        """The same along the adjoint, in reverse mode."""
        direction = Perturbation.uniform(self.key)
        return {
            self.key: reverse_gradient(
                self.setup.scene, direction, integrator, self.adjoint, sensor=self.setup.sensor, spp=spp, seed=seed
            )
        }

    def step(self, integrator: mi.Integrator, spp: int, seed: int) -> float:
        """The gradient of a step."""
        done = pbdr.step(
            self.setup.scene, self.setup.values, self.setup.sensor, self.setup.loss,
            spp=spp, seed=seed, integrator=integrator,
        )  # fmt: skip
        return float(done.gradients[self.key][0])


def compare(name: str, α: float, options: argparse.Namespace) -> str:
    """One line of the table."""
    question, variances, seconds = Question.of(name, α, options.size), [], []
    pair = [mi.load_dict({"type": "pbdr", "max_depth": 6, "derivative_sampling": follows}) for follows in (False, True)]
    for integrator in pair:
        images = np.array([question.derivative(integrator, options.spp, seed) for seed in range(options.seeds)])
        steps = [question.step(integrator, options.spp, seed) for seed in range(options.seeds)]
        scalars = np.tensordot(images, question.adjoint, 3)
        variances.append([images.var(axis=0, ddof=1).sum(), scalars.var(ddof=1), np.var(steps, ddof=1)])
    for seed in range(options.seeds + 3):
        row = [cost.timed(question.gradient, integrator, options.spp, seed)[0] for integrator in pair]
        seconds += [row] if seed >= 3 else []
    times = np.array(seconds)
    ratio, gains = times[:, 1] / times[:, 0], np.divide(*variances)
    spread = f"{np.quantile(ratio, 0.1):.2f} – {np.median(ratio):.2f} – {np.quantile(ratio, 0.9):.2f}"
    cells = [f"{gain:.2f}" for gain in gains]
    return f"| {name} | {α:g} | " + " | ".join([*cells, spread, f"{gains[1] / np.median(ratio):.2f}"]) + " |"


def main() -> None:
    """Print the table."""
    options = table.start(__doc__, ROUGHNESS, seeds=64, spp=16, size=32)
    lines = [
        "| scene | α | variance of the derivative image, without / with | of the gradient, adjoint known | of a step | "
        "time, with / without: tenth – median – nine tenths | gradient at equal time |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    print(*lines, sep="\n")
    for name in options.scene:
        for α in WIDTHS:
            lines.append(compare(name, α, options))
            print(lines[-1], flush=True)
    if options.write:
        table.write("lobes.py", lines)


if __name__ == "__main__":
    main()
