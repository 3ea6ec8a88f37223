"""A pilot before the finite differences: which step, and which adjoint image tells most.

Noise falls with the step, truncation grows with it; and a scalar says most about a derivative when it weighs the parts
of the image by what they contribute over their noise.
"""

from __future__ import annotations

import dataclasses

import mitsuba as mi
import numpy as np

from ..seeds import derive_seed
from .perturbations import Curve, Perturbation
from .references import reference_integrator, render_image
from .statistics import block_grid, block_sums

#: The default step is doubled at most so often.
_DOUBLINGS = 4
#: Motions are not doubled further: beyond a few pixels the image changes in other ways than at its edges.
_DOUBLINGS_OF_MOTIONS = 3
#: A bias is found at about five standard errors; a reference has about 16 times the samples of its pilot.
_WEIGHT_OF_NOISE = 5 / 4


#: Where no block of the pilot's derivative stands out by more standard errors than this, it tells nothing.
_STANDS_OUT = 5.0


@dataclasses.dataclass(frozen=True)
class Pilot:
    """What a pilot found."""

    step: float  #: in units of the perturbation
    adjoint: np.ndarray | None  #: weights of the pixels; None where the derivative is lost in noise [H, W, C]


def run_pilot(
    scene: mi.Scene,
    direction: Perturbation,
    *,
    integrator,
    sensor: int | mi.Sensor = 0,
    spp: int = 64,
    repeats: int = 8,
    seed: int = 0,
) -> Pilot:
    """The step whose differences have the smallest error, noise and truncation together, and a telling adjoint.

    The renders of the pilot are thrown away, so that the choices leave no mark on the noise of the reference.

    Args:
        scene: A Mitsuba scene; it is changed during the call and restored.
        direction: What moves; a step that it states is kept.
        integrator: Name, dictionary or object of the integrator that renders.
        sensor: Index or object.
        spp: Samples per pixel of each render.
        repeats: Independent repeats, at least 2.
        seed: Every repeat derives its own from it.

    Returns:
        The step, the default one times a power of two, and the adjoint image.
    """
    curve = direction.bind(scene)
    doublings = allowed_doublings(curve) if direction.step is None else 0
    renderer = reference_integrator(integrator)
    # Differences with half the step, the step itself, twice the step, …
    offsets = [curve.step * 2.0**k for k in range(-1, doublings + 1)]
    rows = []
    for i in range(repeats):
        repeat_seed = derive_seed(seed, "pilot", i)
        row = []
        for offset in offsets:
            images = []
            for t in (offset, -offset):
                with curve.moved(t):
                    images.append(render_image(scene, renderer, sensor=sensor, spp=spp, seed=repeat_seed))
            row.append(block_sums(images[0] - images[1]) / (2 * offset))
        rows.append(row)
    differences = np.array(rows)
    step = best_step(differences, curve.step)
    chosen = round(np.log2(step / curve.step))
    samples = (4 * differences[:, chosen] - differences[:, chosen + 1]) / 3
    return Pilot(step, matched_adjoint(samples, images[0].shape))


def matched_adjoint(samples: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray | None:
    """Smooth weights of the pixels under which a derivative like the given one stands out of the noise most.

    Blocks are weighted by their mean over their variance, as a matched filter does, shrunk where they are themselves
    uncertain, and interpolated between their middles.

    Args:
        samples: Block sums of independent derivative images. [R, blocks]
        shape: Of the image.

    Returns:
        At most 1 in size, equal in all channels [H, W, C]; None if no block stands out.
    """
    mean, variance = samples.mean(axis=0), samples.var(axis=0, ddof=1) / len(samples)
    if not np.all(np.isfinite(mean)) or np.all(np.abs(mean) <= _STANDS_OUT * np.sqrt(variance)):
        return None
    floor = max(float(variance.mean()), 1e-12 * float(np.mean(mean**2)))
    weights = mean / (variance + floor) * mean**2 / (mean**2 + variance + 1e-30)
    rows, columns, size = block_grid(*shape[:2])
    grid = (weights / np.abs(weights).max()).reshape(len(rows), len(columns))
    grid = np.stack([np.interp(np.arange(shape[1]), columns + (size - 1) / 2, row) for row in grid])
    image = np.stack([np.interp(np.arange(shape[0]), rows + (size - 1) / 2, column) for column in grid.T], axis=1)
    return np.repeat(image[..., None], shape[2], axis=2)


def best_step(differences: np.ndarray, step: float) -> float:
    """The step with the smallest error.

    Args:
        differences: Differences on blocks of pixels with step/2, step, 2 step, …, of each repeat. [R, K + 1, blocks]
        step: The smallest step that may be chosen.

    Returns:
        The smallest step times a power of two below 2^K; the smallest where values are not finite.

    Example:
        >>> best_step(np.ones((4, 3, 5)), 0.1)
        0.1
    """
    repeats = len(differences)
    errors = []
    for k in range(differences.shape[1] - 1):
        fine, coarse = differences[:, k], differences[:, k + 1]
        samples, corrections = (4 * fine - coarse) / 3, (fine - coarse) / 3
        variance = samples.var(axis=0, ddof=1) / repeats
        noise_of_correction = corrections.var(axis=0, ddof=1) / repeats
        # What the correction could be at most, given its own noise
        truncation = float(np.sum(corrections.mean(axis=0) ** 2 - noise_of_correction))
        truncation = max(truncation, 0.0) + 2 * np.sqrt(2 * float(np.sum(noise_of_correction**2)))
        errors.append(_WEIGHT_OF_NOISE * np.sqrt(float(np.sum(variance))) + np.sqrt(truncation))
    return step * 2.0 ** int(np.argmin(errors)) if np.all(np.isfinite(errors)) else step


def allowed_doublings(curve: Curve) -> int:
    """How often the default step may be doubled without making a value unphysical.

    Entries between 0 and 1 stay there, as colours and roughnesses must, and positive ones stay positive.
    """
    if curve.tangent is None or curve.is_vertex_buffer:
        return _DOUBLINGS_OF_MOTIONS
    moving = curve.tangent != 0
    values, slopes = curve.flat_base()[moving], np.abs(curve.tangent[moving])
    if np.any(values < 0):
        return _DOUBLINGS
    room = np.where(values <= 1, np.minimum(values, 1 - values), values) / slopes
    ratio = float(room.min()) / curve.step
    return int(np.clip(np.floor(np.log2(ratio)), 0, _DOUBLINGS)) if ratio > 0 else 0
