"""Reference derivatives with error bars: central differences with common random numbers."""

from __future__ import annotations

import dataclasses
import time

import drjit as dr
import mitsuba as mi
import numpy as np

from ..errors import InputError
from ..integrators import make_integrator
from ..seeds import derive_seed, require_samples
from .perturbations import Perturbation
from .statistics import Estimate, mean_with_error

#: Russian roulette starts beyond every path length used: a path survives alike on both sides of a difference.
NO_ROULETTE = 1_000_000
#: Samples in one kernel launch; more are split into passes with their own seeds.
_SAMPLES_PER_PASS = 1 << 23


@dataclasses.dataclass(frozen=True)
class Reference:
    """The derivative of an image along a perturbation, and how well it is known.

    Attributes:
        coarse: Central differences with step h, one image per repeat. [R, H, W, C]
        fine: The same with step h/2 and the same random numbers. [R, H, W, C]
        primals: The image itself, one per repeat. [R, H, W, C]
        source: ``central differences`` or ``closed form``.
        step: h, in units of the perturbation; 0 for a closed form.
        spp: Samples per pixel of each render.
        seconds: Time spent.
        adjoint: Weights of the pixels that a pilot found to tell most. [H, W, C]
    """

    coarse: np.ndarray
    fine: np.ndarray
    primals: np.ndarray
    source: str = "central differences"
    step: float = 0.0
    spp: int = 0
    seconds: float = 0.0
    adjoint: np.ndarray | None = None

    @property
    def samples(self) -> np.ndarray:
        """One independent estimate per repeat, free of the h² term of the truncation error. [R, H, W, C]"""
        return (4 * self.fine - self.coarse) / 3

    @property
    def image(self) -> np.ndarray:
        """Mean derivative image. [H, W, C]"""
        return self.samples.mean(axis=0)

    @property
    def primal(self) -> np.ndarray:
        """Mean image. [H, W, C]"""
        return self.primals.mean(axis=0)

    @property
    def error(self) -> np.ndarray:
        """Standard error of ``image``, per pixel; 0 for a closed form. [H, W, C]"""
        repeats = len(self.fine)
        if repeats < 2:
            return np.zeros(self.image.shape)
        return self.samples.std(axis=0, ddof=1) / np.sqrt(repeats)

    @property
    def truncation(self) -> np.ndarray:
        """Bound of the truncation error, per pixel: the size of the h² term that was taken out. [H, W, C]"""
        return np.abs((self.fine - self.coarse).mean(axis=0)) / 3

    def scalar(self, adjoint: np.ndarray) -> Estimate:
        """Σ adjoint · image with its standard error and truncation bound.

        Args:
            adjoint: Weights of the pixels. [H, W, C]
        """
        estimate = mean_with_error(np.tensordot(self.samples, adjoint, axes=3))
        correction = np.tensordot(self.fine - self.coarse, adjoint, axes=3).mean() / 3
        return dataclasses.replace(estimate, truncation=abs(float(correction)))


def reference_integrator(spec: str | dict | mi.Integrator) -> mi.Integrator:
    """An integrator for reference renders; Russian roulette is off unless ``rr_depth`` is stated."""
    if isinstance(spec, mi.Integrator):
        return spec
    if isinstance(spec, str):
        spec = {"type": spec}
    return make_integrator({"rr_depth": NO_ROULETTE, **spec})


def render_image(
    scene: mi.Scene, integrator: mi.Integrator, *, sensor: int | mi.Sensor = 0, spp: int, seed: int
) -> np.ndarray:
    """Render without derivatives, in passes where one launch would be too large. [H, W, C]"""

    camera = scene.sensors()[sensor] if isinstance(sensor, int) else sensor
    passes = -(-int(np.prod(camera.film().crop_size())) * spp // _SAMPLES_PER_PASS)
    counts = [spp // passes + (i < spp % passes) for i in range(passes)]
    total = 0.0
    for i, count in enumerate(counts):
        with dr.suspend_grad():
            pass_seed = seed if passes == 1 else derive_seed(seed, "pass", i)
            image = mi.render(
                scene, sensor=camera, integrator=integrator, spp=count, seed=dr.opaque(mi.UInt32, pass_seed)
            )
        total = total + np.array(image, dtype=np.float64) * (count / spp)
    return total


def central_differences(
    scene: mi.Scene,
    direction: Perturbation,
    *,
    integrator="path",
    sensor: int | mi.Sensor = 0,
    spp: int = 256,
    repeats: int = 8,
    seed: int = 0,
) -> Reference:
    """Differentiate a render by finite differences, at two step sizes, with an error bar for every pixel.

    All renders of one repeat use the same random numbers, so that most noise cancels; repeats are independent.
    Russian roulette is off, because it would decide differently on the two sides of a difference.

    Args:
        scene: A Mitsuba scene; it is changed during the call and restored.
        direction: What moves.
        integrator: Name, dictionary or object of the integrator that renders.
        sensor: Index or object.
        spp: Samples per pixel of each of the 5 · ``repeats`` renders.
        repeats: Independent repeats, at least 2.
        seed: Every repeat derives its own from it.

    Example:
        >>> red = Perturbation.component("wall.bsdf.reflectance.value", 0)
        >>> reference = central_differences(scene, red, spp=64, repeats=4)
        >>> reference.image.shape, reference.error.max()
    """
    require_samples(spp)
    if repeats < 2:
        raise InputError(f"central differences need 'repeats' of at least 2, got {repeats}")
    start = time.perf_counter()
    curve = direction.bind(scene)
    renderer = reference_integrator(integrator)
    images = [
        _differences(scene, curve, renderer, sensor=sensor, spp=spp, seed=derive_seed(seed, "reference", i))
        for i in range(repeats)
    ]
    coarse, fine, primals = (np.stack(column).astype(np.float32) for column in zip(*images, strict=True))
    return Reference(
        coarse=coarse,
        fine=fine,
        primals=primals,
        step=curve.step,
        spp=spp,
        seconds=time.perf_counter() - start,
    )


def _differences(
    scene: mi.Scene, curve, integrator: mi.Integrator, *, sensor: int | mi.Sensor, spp: int, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Central differences with steps h and h/2 and the image itself, all with one seed."""
    images = {}
    for factor in (1.0, -1.0, 0.5, -0.5, 0.0):
        t = factor * curve.step
        with curve.moved(t):
            images[factor] = render_image(scene, integrator, sensor=sensor, spp=spp, seed=seed)
        if bad := int(np.sum(~np.isfinite(images[factor]))):
            raise InputError(
                f"'{curve.perturbation.label}' cannot be perturbed by {t:g}: {bad} values of the image are not finite"
            )
    coarse = (images[1.0] - images[-1.0]) / (2 * curve.step)
    fine = (images[0.5] - images[-0.5]) / curve.step
    return coarse, fine, images[0.0]


def merged(first: Reference, second: Reference) -> Reference:
    """The repeats of two references of the same quantity together."""
    return dataclasses.replace(
        first,
        coarse=np.concatenate([first.coarse, second.coarse]),
        fine=np.concatenate([first.fine, second.fine]),
        primals=np.concatenate([first.primals, second.primals]),
        seconds=first.seconds + second.seconds,
    )


def analytic(image: np.ndarray, primal: np.ndarray) -> Reference:
    """A reference from a closed form: no noise and no truncation.

    Args:
        image: True derivative. [H, W, C]
        primal: True image. [H, W, C]
    """
    image = np.asarray(image, np.float32)[None]
    return Reference(coarse=image, fine=image, primals=np.asarray(primal, np.float32)[None], source="closed form")
