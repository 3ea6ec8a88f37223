"""What an integrator estimates: forward-mode images, reverse-mode scalars, and whether they are transposes."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import drjit as dr
import mitsuba as mi
import numpy as np

from ..errors import InputError
from ..integrators import make_integrator, parse_integrator
from ..seeds import derive_seed
from .perturbations import Curve, Perturbation
from .references import Reference
from .statistics import block_sums


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
    return timed_forward(scene, direction.bind(scene), integrator, sensor=sensor, spp=spp, seed=seed)[0]


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
    return timed_reverse(scene, direction.bind(scene), integrator, adjoint, sensor=sensor, spp=spp, seed=seed)[0]


def timed_forward(
    scene: mi.Scene, curve: Curve, integrator: mi.Integrator, *, sensor: int | mi.Sensor, spp: int, seed: int
) -> tuple[np.ndarray, float]:
    """The derivative image [H, W, C] and the seconds that the integrator took."""
    with curve.attached() as t:
        # Derivatives of everything that is computed from the parameter, before the integrator isolates itself
        dr.set_grad(t, 1.0)
        dr.forward_from(t, dr.ADFlag.ClearEdges)
        dr.eval(dr.grad(curve.current()))
        opaque_seed = dr.opaque(mi.UInt32, seed)
        dr.sync_thread()
        start = time.perf_counter()
        image = np.array(
            integrator.render_forward(scene, curve.params, sensor=sensor, seed=opaque_seed, spp=spp), np.float64
        )
        return image, time.perf_counter() - start


def timed_reverse(
    scene: mi.Scene,
    curve: Curve,
    integrator: mi.Integrator,
    adjoint: np.ndarray,
    *,
    sensor: int | mi.Sensor,
    spp: int,
    seed: int,
) -> tuple[float, float]:
    """The derivative of Σ adjoint · image and the seconds that the integrator took."""
    with curve.attached() as t:
        weights = mi.TensorXf(np.float32(adjoint))
        opaque_seed = dr.opaque(mi.UInt32, seed)
        dr.eval(weights)
        dr.sync_thread()
        start = time.perf_counter()
        integrator.render_backward(scene, curve.params, weights, sensor=sensor, seed=opaque_seed, spp=spp)
        value = float(dr.grad(t)[0])
        return value, time.perf_counter() - start


def timed_primal(
    scene: mi.Scene, integrator: mi.Integrator, *, sensor: int | mi.Sensor, spp: int, seed: int
) -> tuple[np.ndarray, float]:
    """An image without derivatives [H, W, C] and the seconds that it took."""
    camera = scene.sensors()[sensor] if isinstance(sensor, int) else sensor
    opaque_seed = dr.opaque(mi.UInt32, seed)
    dr.sync_thread()
    start = time.perf_counter()
    with dr.suspend_grad():
        image = np.array(integrator.render(scene, sensor=camera, seed=opaque_seed, spp=spp), np.float64)
    return image, time.perf_counter() - start


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
            fx, fy = generator.uniform(-3, 3, 2)
            phase = generator.uniform(0, 2 * np.pi)
            image[..., channel] += 0.6 * np.cos(2 * np.pi * (fx * x + fy * y) + phase)
    return image


def telling_adjoint(reference: Reference, count: int = 8) -> np.ndarray:
    """The adjoint that the reference's pilot found; else a smooth random one under which blocks do not cancel.

    It depends on the reference alone, so that all estimators are asked the same.

    Args:
        reference: The true derivative as far as it is known.
        count: How many random adjoints are tried; the best of them is taken if all cancel.

    Returns:
        [H, W, C]
    """
    if reference.adjoint is not None:
        return reference.adjoint
    candidates = [smooth_adjoint(reference.image.shape, seed) for seed in range(count)]
    telling = []
    for adjoint in candidates:
        blocks = block_sums(reference.image * adjoint)
        size = float(np.linalg.norm(blocks))
        telling.append(abs(float(blocks.sum())) / size if size > 0 else 0.0)
        if telling[-1] > 1:
            break
    return candidates[int(np.argmax(telling))]


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


def stated_depth(specs: Iterable[str]) -> int | None:
    """The path length that all of these integrators state; None if one states none, or another one."""
    depths = {parse_integrator(spec).get("max_depth") for spec in specs}
    return depths.pop() if len(depths) == 1 else None


def estimator_integrator(spec: str, max_depth: int) -> mi.Integrator:
    """An integrator by name and properties, with the case's path length.

    Args:
        spec: ``name`` or ``name:property=value,…``.
        max_depth: Path length; integrators without such a property keep theirs.

    Raises:
        NotImplementedError: It states another path length.
    """
    stated = parse_integrator(spec).get("max_depth")
    if stated is not None and stated != max_depth:
        lengths = ["any length" if d == -1 else f"at most {d} segments" for d in (stated, max_depth)]
        raise NotImplementedError(
            f"not supported: '{spec}' renders paths of {lengths[0]}, the reference those of {lengths[1]}"
        )
    if stated is not None:
        return make_integrator(spec)
    try:
        return make_integrator(f"{spec}{',' if ':' in spec else ':'}max_depth={max_depth}")
    except InputError:
        return make_integrator(spec)


def import_modules(names: tuple[str, ...]) -> None:
    """Import modules, or Python files, that register integrators for the active variant."""
    for name in names:
        path = Path(name)
        try:
            if path.suffix == ".py":
                spec = importlib.util.spec_from_file_location(path.stem, path)
                module = importlib.util.module_from_spec(spec)
                sys.modules[path.stem] = module
                spec.loader.exec_module(module)
            else:
                if "" not in sys.path:
                    sys.path.insert(0, "")
                importlib.import_module(name)
        except FileNotFoundError as error:
            raise InputError(f"--import {name}: the file does not exist") from error
        except ModuleNotFoundError as error:
            raise InputError(f"--import {name}: there is no module '{error.name}'") from error
