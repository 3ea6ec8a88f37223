"""Which views are looked at together."""

from __future__ import annotations

from collections.abc import Sequence

import mitsuba as mi
import numpy as np

#: Exchanges of two views that are tried, for each view
_TRIALS = 20


def lines_of_sight(sensors: Sequence[mi.Sensor]) -> np.ndarray:
    """Unit vectors along which sensors look, world space. [N, 3]"""
    axes = [np.array(sensor.world_transform().matrix, np.float64).reshape(4, 4)[:3, 2] for sensor in sensors]
    return np.array([axis / max(np.linalg.norm(axis), 1e-30) for axis in axes]).reshape(-1, 3)


def spread_batches(lines: np.ndarray, size: int, rng: np.random.Generator) -> list[list[int]]:
    """Divide views into batches at random, so that those of a batch look along different lines.

    Views from one side, and those from the opposite one, which see the same outline, have similar gradients. Together
    in one batch they pull the shape where the next batch pushes it back. Starting with a random order, two views change
    places wherever that lowers the sum over pairs within batches of cos⁴ of the angle between their lines.

    Args:
        lines: Unit vectors along which views look. [N, 3]
        size: Views in each batch; the last one gets the rest.

    Returns:
        Positions of the views, each once.

    Example:
        >>> spread_batches(np.eye(3)[[0, 1, 0, 1]], 2, np.random.default_rng(0))
        [[3, 0], [1, 2]]
    """
    count = len(lines)
    closeness = (lines @ lines.T) ** 4
    batches = [list(part) for part in np.split(rng.permutation(count), range(size, count, size))]
    for i, j in rng.integers(count, size=(_TRIALS * count, 2)):
        (a, k), (b, m) = divmod(i, size), divmod(j, size)
        if a == b:
            continue
        first, second = batches[a][k], batches[b][m]
        gain = closeness[first] - closeness[second]
        others = batches[a][:k] + batches[a][k + 1 :], batches[b][:m] + batches[b][m + 1 :]
        if gain[others[0]].sum() - gain[others[1]].sum() > 1e-9:
            batches[a][k], batches[b][m] = second, first
    return [[int(view) for view in batch] for batch in batches]
