"""One gradient step, `pbdr.step` against Mitsuba's `prb` with its own best way, interleaved in one process.

python benchmarks/step/cost.py [--rounds 15] [--scene cornell_box ...] [--write]

Prints the tables of docs/performance.md. Stock: `mi.render` with `prb` and a seed for the gradient, a squared error,
`dr.backward`; gradients are evaluated inside the timer, seeds are opaque, and both take the samplers of the scenes,
which are multijitter. At equal time, variances count as falling with 1 / samples.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable

import drjit as dr
import mitsuba as mi
import numpy as np
import table

import pbdr
from pbdr.scene import load_scene
from pbdr.scene_parameters import find_parameters
from pbdr.seeds import derive_seed

#: Materials, textures and lights of the bundled scenes in which nothing moves
PARAMETERS = {
    "cornell_box": ("wall_*.reflectance.value", "metal.alpha.value", "panel.emitter.radiance.value"),
    "textured_wall": ("wall.bsdf.reflectance.data",),
    "envmap_probe": ("environment.data",),
    "material_ball": ("ball.bsdf.base_color.value", "ball.bsdf.roughness.value", "ball.bsdf.metallic.value"),
}
#: Pixels in each direction (0 for the scene's own) and samples per pixel
SETTINGS = ((0, 16), (64, 4), (32, 4), (32, 1))
#: Distance of the parameters from those of the target image, as a factor: near the end of a recovery
NEAR = 0.97


@dataclasses.dataclass
class Setup:
    """A scene with a target image and the parameters that differ from it."""

    scene: mi.Scene
    sensor: mi.Sensor
    values: dict
    target: mi.TensorXf

    @classmethod
    def of(cls, name: str, size: int) -> Setup:
        """Load a bundled scene.

        Args:
            size: Pixels in each direction; 0 for the scene's own.
        """
        patterns = PARAMETERS[name]
        scene = load_scene(name, float_textures=patterns if name == "textured_wall" else ())
        params, sensor = mi.traverse(scene), scene.sensors()[0]
        if size:
            params[f"{sensor.id()}.film.size"] = mi.ScalarVector2u(size)
            params.update()
        keys = [key for pattern in patterns for key in find_parameters(scene, pattern)]
        integrator = mi.load_dict({"type": "pbdr", "max_depth": 6})
        target = sum(mi.render(scene, sensor=sensor, integrator=integrator, spp=256, seed=seed) for seed in (1, 2)) / 2
        values = {key: type(params[key])(dr.detach(params[key]) * NEAR) for key in keys}
        dr.eval(values, target)
        return cls(scene, sensor, values, target)

    def loss(self, image: mi.TensorXf) -> mi.TensorXf:
        """Mean squared error."""
        return dr.mean(dr.square(image - self.target), axis=None)


def ours(setup: Setup, integrator: mi.Integrator, spp: int, seed: int) -> dict:
    """A step of pbdr."""
    done = pbdr.step(setup.scene, setup.values, setup.sensor, setup.loss, spp=spp, seed=seed, integrator=integrator)
    return done.gradients


def stock(setup: Setup, integrator: mi.Integrator, spp: int, seed: int, spp_gradient: int = 0) -> dict:
    """A step with Mitsuba's own means; the derivative takes as many samples as the image unless told otherwise."""
    params, zero = mi.traverse(setup.scene), dr.opaque(mi.Float, 0)
    leaves = {}
    for key, value in setup.values.items():
        leaf = type(value)(value.array + zero, value.shape) if dr.is_tensor_v(value) else type(value)(value + zero)
        dr.enable_grad(leaf)
        leaves[key] = leaf
    params.update(leaves)
    seeds = [dr.opaque(mi.UInt32, derive_seed(seed, label)) for label in ("primal", "gradient")]
    image = mi.render(
        setup.scene, params, sensor=setup.sensor, integrator=integrator, spp=spp, spp_grad=spp_gradient,
        seed=seeds[0], seed_grad=seeds[1],
    )  # fmt: skip
    dr.backward(setup.loss(image))
    return {key: dr.grad(leaf) for key, leaf in leaves.items()}


def timed(step: Callable, *arguments) -> tuple[float, np.ndarray]:
    """Seconds of a step with all it computes, and its gradients as one vector."""
    dr.sync_thread()
    start = time.perf_counter()
    gradients = step(*arguments)
    dr.eval(gradients)
    dr.sync_thread()
    seconds = time.perf_counter() - start
    return seconds, np.concatenate([np.array(g, np.float64).ravel() for g in gradients.values()])


def variance_ratio(above: np.ndarray, below: np.ndarray) -> float:
    """Ratio of the variances of gradients; each number counts by its own, so that units do not matter. [S, P] each"""
    above, below = above.var(axis=0, ddof=1), below.var(axis=0, ddof=1)
    scale = np.maximum(above + below, 1e-30)
    return float((above / scale).sum() / (below / scale).sum())


def compare(name: str, size: int, spp: int, rounds: int) -> str:
    """One line of the table."""
    setup = Setup.of(name, size)
    integrators = [mi.load_dict({"type": kind, "max_depth": 6}) for kind in ("pbdr", "prb")]
    seconds, gradients = [], []
    for seed in range(rounds + 3):
        pairs = [
            timed(step, setup, integrator, spp, seed)
            for step, integrator in zip((ours, stock), integrators, strict=True)
        ]
        if seed >= 3:
            seconds.append([pair[0] for pair in pairs])
            gradients.append([pair[1] for pair in pairs])
    times, g = np.array(seconds), np.array(gradients)
    ratio = times[:, 1] / times[:, 0]
    noise = variance_ratio(g[:, 1], g[:, 0])
    width, height = setup.sensor.film().crop_size()
    return (
        f"| {name} | {width} × {height} | {spp} | {ratio.min():.2f} – {np.median(ratio):.2f} – {ratio.max():.2f} | "
        f"{noise:.2f} | {noise * np.median(ratio):.2f} |"
    )


def main() -> None:
    """Print the table."""
    options = table.start(__doc__, PARAMETERS, rounds=15)
    lines = [
        "| scene | pixels | spp | time, stock / pbdr: min – median – max | variance, stock / pbdr | at equal time |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    print(*lines, sep="\n")
    for name in options.scene:
        for size, spp in SETTINGS:
            lines.append(compare(name, size, spp, options.rounds))
            print(lines[-1], flush=True)
    if options.write:
        table.write("cost.py", lines)


if __name__ == "__main__":
    main()
