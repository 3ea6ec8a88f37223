"""Which views a step looks at, with how many samples, and when a run is over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import drjit as dr
import mitsuba as mi
import numpy as np

from ..seeds import derive_seed
from .job import Job
from .views.order import spread_batches

_PREFIX = "control/"


class Control:
    """Decisions that depend on how a run goes.

    Args:
        lines: Unit vectors along which the job's views look. [N, 3]

    Example:
        >>> control = Control(job, lines_of_sight(sensors))
        >>> control.views(step=0), control.spp(step=0)
        ([0, 1, 2], 16)
    """

    def __init__(self, job: Job, lines: np.ndarray):
        self.job = job
        self._lines = lines
        self._batches: tuple[int, list[list[int]]] = (-1, [])  #: an epoch and what it consists of
        self.losses: list[float] = []
        self.scale = 1  #: of spp, raised where the gradient is noise
        self._sums: dict[str, mi.Float] = {}
        self._squares: dict[str, mi.Float] = {}
        self._count = 0

    # ------------------------------------------------------------------ views

    def views(self, step: int) -> list[int]:
        """Positions of a step's views: all of them, or a share of the job's views, each once before any twice."""
        count = len(self.job.views)
        batch = self.job.batch or count
        if batch >= count:
            return list(range(count))
        epoch, position = divmod(step, -(-count // batch))
        if self._batches[0] != epoch:
            rng = np.random.default_rng(derive_seed(self.job.seed, "batch", epoch))
            self._batches = epoch, spread_batches(self._lines, batch, rng)
        return self._batches[1][position]

    # ---------------------------------------------------------------- samples

    def spp(self, step: int) -> int:
        """Samples per pixel of a step."""
        entry = self.job.sampling
        if entry.type == "steps":
            return ([self.job.spp] + [spp for at, spp in entry.at if at <= step])[-1]
        if entry.type == "adaptive":
            return max(self.job.spp, min(entry.maximum, self.job.spp * self.scale))
        return self.job.spp

    def observe(self, loss: float, gradients: Mapping[str, mi.Float]) -> str:
        """Take a finished step into account.

        Args:
            gradients: Of the variables, detached, by key.

        Returns:
            What was changed, in words; empty if nothing.
        """
        if self.job.stopping:
            self.losses = [*self.losses, loss][-2 * self.job.stopping.patience :]
        if self.job.sampling.type != "adaptive":
            return ""
        for key, gradient in gradients.items():
            gradient = gradient + 0
            if dr.width(self._sums.get(key, gradient)) != dr.width(gradient):
                # Other triangles: the window begins anew
                self._forget()
            self._sums[key] = self._sums.get(key, 0) + gradient
            self._squares[key] = self._squares.get(key, 0) + dr.squared_norm(gradient)
        self._count += 1
        dr.eval(self._sums, self._squares)
        if self._count < self.job.sampling.window:
            return ""
        before = self.spp(0)
        ratios = self.noise_ratios()
        self._forget()
        if np.median(list(ratios.values())) <= 1 or before >= self.job.sampling.maximum:
            return ""
        self.scale *= 2
        return f"the gradient's noise exceeds its size, so spp rises from {before} to {self.spp(0)}"

    def noise_ratios(self) -> dict[str, float]:
        """Variance of one step's gradient over its squared mean, estimated from the steps of the window."""
        n, ratios = self._count, {}
        for key, total in self._sums.items():
            squared_sum = float(dr.squared_norm(total)[0])
            variance = max(float(self._squares[key][0]) - squared_sum / n, 0) / (n - 1)
            size = squared_sum / n**2 - variance / n
            ratios[key] = variance / size if size > 0 else float("inf")
        return ratios

    def _forget(self) -> None:
        self._sums, self._squares, self._count = {}, {}, 0

    # -------------------------------------------------------------------- end

    def is_plateau(self) -> bool:
        """Whether the mean loss of the last steps is hardly lower than that of as many steps before."""
        entry = self.job.stopping
        if entry is None or len(self.losses) < 2 * entry.patience:
            return False
        before, now = np.mean(self.losses[: entry.patience]), np.mean(self.losses[entry.patience :])
        return bool(now > before - entry.tolerance * abs(before))

    # ------------------------------------------------------------- checkpoint

    def arrays(self) -> dict[str, np.ndarray]:
        """What a checkpoint must hold. See :meth:`restore`."""
        state = {"scale": np.array(self.scale), "count": np.array(self._count), "losses": np.array(self.losses)}
        state |= {f"sum/{key}": np.array(value) for key, value in self._sums.items()}
        state |= {f"square/{key}": np.array(value) for key, value in self._squares.items()}
        return {_PREFIX + name: value for name, value in state.items()}

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Go on from :meth:`arrays`; checkpoints without them leave everything as it was."""
        state = {name.removeprefix(_PREFIX): arrays[name] for name in arrays if name.startswith(_PREFIX)}
        if not state:
            return
        self.scale, self._count, self.losses = int(state["scale"]), int(state["count"]), state["losses"].tolist()
        self._sums = _floats(state, "sum/")
        self._squares = _floats(state, "square/")


def _floats(state: Mapping[str, np.ndarray], prefix: str) -> dict[str, mi.Float]:
    names: Sequence[str] = [name for name in state if name.startswith(prefix)]
    return {name.removeprefix(prefix): mi.Float(np.atleast_1d(state[name]).astype(np.float32)) for name in names}
