"""What an integrator estimates: forward-mode images, reverse-mode scalars, and whether they are transposes."""

from __future__ import annotations

import numpy as np

from ..seeds import derive_seed
from .perturbations import Perturbation


def forward_gradient(
    scene: mi.Scene,
    direction: Perturbation,
    integrator: mi.Integrator,
    *,
    sensor: int | mi.Sensor = 0,
    spp: int,
    seed: int = 0,
) -> np.ndarray:
    """The derivative image along a perturbation, in forward mode. [H, W, C]

    Args:
        scene: A Mitsuba scene; it is changed during the call and restored.
        direction: What moves.
        integrator: Whose estimate.
        sensor: Index or object.
        spp: Samples per pixel.
        seed: Equal seeds give equal samples in ``reverse_gradient``.
    """
    import drjit as dr

    curve = direction.bind(scene)
    with curve.attached() as t:
        # Derivatives of everything that is computed from the parameter, before the integrator isolates itself
        dr.set_grad(t, 1.0)
        dr.forward_from(t, dr.ADFlag.ClearEdges)
        image = integrator.render_forward(scene, curve.params, sensor=sensor, seed=seed, spp=spp)
        return np.array(image, dtype=np.float64)


def reverse_gradient(
    scene: mi.Scene,
    direction: Perturbation,
    integrator: mi.Integrator,
    adjoint: np.ndarray,
    *,
    sensor: int | mi.Sensor = 0,
    spp: int,
    seed: int = 0,
) -> float:
    """The derivative of Σ adjoint · image along a perturbation, in reverse mode.

    Args:
        scene: A Mitsuba scene; it is changed during the call and restored.
        direction: What moves.
        integrator: Whose estimate.
        adjoint: Derivative of a scalar with respect to the image. [H, W, C]
        sensor: Index or object.
        spp: Samples per pixel.
        seed: Equal seeds give equal samples in ``forward_gradient``.
    """
    import drjit as dr
    import mitsuba as mi

    curve = direction.bind(scene)
    with curve.attached() as t:
        integrator.render_backward(
            scene, curve.params, mi.TensorXf(np.float32(adjoint)), sensor=sensor, seed=seed, spp=spp
        )
        return float(dr.grad(t)[0])


def smooth_adjoint(shape: tuple[int, int, int], seed: int = 0) -> np.ndarray:
    """A fixed smooth random adjoint image: low cosine waves around one, different in each channel. [H, W, C]

    Smooth, so that the scalar sees all of the image; not constant, so that an object that only moves does not cancel.

    Example:
        >>> smooth_adjoint((8, 8, 3)).shape
        (8, 8, 3)
    """
    height, width, channels = shape
    generator = np.random.default_rng(derive_seed(seed, "adjoint"))
    y, x = np.meshgrid((np.arange(height) + 0.5) / height, (np.arange(width) + 0.5) / width, indexing="ij")
    image = np.ones(shape)
    for channel in range(channels):
        for _ in range(4):
            fx, fy = generator.uniform(-2, 2, 2)
            phase = generator.uniform(0, 2 * np.pi)
            image[..., channel] += 0.6 * np.cos(2 * np.pi * (fx * x + fy * y) + phase)
    return image


def transposition_residual(forward: np.ndarray, reverse: float, adjoint: np.ndarray) -> float:
    """|⟨adjoint, J v⟩ − ⟨Jᵀ adjoint, v⟩| of equal seeds, relative to the larger of the two products.

    Args:
        forward: Result of ``forward_gradient``. [H, W, C]
        reverse: Result of ``reverse_gradient`` with the same samples and seed.
        adjoint: The adjoint image given to it. [H, W, C]
    """
    product = float(np.sum(forward * adjoint))
    scale = max(abs(product), abs(reverse))
    return abs(product - reverse) / scale if scale > 0 else 0.0
