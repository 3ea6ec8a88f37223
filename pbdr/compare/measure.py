"""One cell of a comparison: one estimator on one case, measured and judged."""

from __future__ import annotations

import dataclasses
import math
import re
import time
from collections.abc import Callable, Iterator

import mitsuba as mi
import numpy as np

from ..errors import InputError, raise_interrupt
from ..seeds import derive_seed
from .cases import Case
from .estimators import telling_adjoint, timed_forward, timed_primal, timed_reverse, transposition_residual
from .observation import peak_memory, recorded_warnings
from .perturbations import Curve
from .references import Reference
from .statistics import (
    Bias,
    BlockTest,
    Criteria,
    Verdict,
    bias_of,
    compare_blocks,
    judge,
    mean_with_error,
    signal_scale,
)

#: An integrator whose own image differs from the reference's by less than this share is taken to render the same.
_PRIMAL_CRITERIA = Criteria(confidence=0.9999, negligible=0.02)
_LEAST_SEEDS = 4
_REFUSAL = re.compile(r"(not|n't) (yet )?(be )?(support|implement|differentiab)|unsupported|cannot differentiate", re.I)


@dataclasses.dataclass(frozen=True)
class Effort:
    """How long an estimator is watched.

    Attributes:
        seeds: Independent gradients, in reverse and in forward mode.
        spp: Samples per pixel of each.
        budget: Seconds after which no further seed is begun, once there are four; compilation does not count.
        seed: Every gradient derives its own from it.
        most_seeds: Up to how many seeds are added where ``seeds`` of them are inconclusive and the budget allows it;
            of those only the reverse-mode scalars are computed.
    """

    seeds: int = 16
    spp: int = 64
    budget: float = 60.0
    seed: int = 0
    most_seeds: int = 0


@dataclasses.dataclass(frozen=True)
class Row:
    """What was found out about one estimator on one case.

    Attributes:
        case: Name of the case.
        estimator: Name and properties of the integrator.
        word: Verdict; see ``Verdict`` for the definitions.
        reason: The sentence that explains it.
        seeds_needed: How many would settle an inconclusive case.
        seeds: Independent gradients that were measured.
        spp: Samples per pixel of each.
        value, error: Mean of the scalar and its standard error.
        reference, reference_error, truncation: The same of the reference, and its truncation bound.
        scale: Size by which relative numbers are divided; 0 where the truth is zero or unknown.
        standard_errors: Bias in standard errors, the reference's error included.
        relative_bias, interval, detectable: Relative bias, its confidence interval, smallest one that would be seen.
        image_bias: Root mean square error of the mean image on pixel blocks, noise taken out, relative.
        chi_square, blocks, image_tail: Test of the image on pixel blocks.
        relative_deviation: Standard deviation of one gradient over the scale.
        transposition: Relative difference of forward and reverse mode at equal seed.
        seconds, primal_seconds: Median time of one gradient, and of one primal render at the same spp.
        cost: Median of their ratios, interleaved in one process.
        memory: Peak memory of a gradient's arrays, above what was in use before, MiB.
        efficiency: 1 / (variance · time) over that of the baseline estimator.
        messages: Warnings, exceptions, and what was left out.
    """

    case: str
    estimator: str
    word: str
    reason: str
    seeds: int = 0
    spp: int = 0
    value: float | None = None
    error: float | None = None
    reference: float | None = None
    reference_error: float | None = None
    truncation: float | None = None
    scale: float | None = None
    standard_errors: float | None = None
    relative_bias: float | None = None
    interval: tuple[float, float] | None = None
    detectable: float | None = None
    image_bias: float | None = None
    chi_square: float | None = None
    blocks: int | None = None
    image_tail: float | None = None
    relative_deviation: float | None = None
    transposition: float | None = None
    seconds: float | None = None
    primal_seconds: float | None = None
    cost: float | None = None
    memory: float | None = None
    efficiency: float | None = None
    seeds_needed: int | None = None
    messages: tuple[str, ...] = ()

    @classmethod
    def from_dict(cls, data: dict) -> Row:
        """The inverse of ``dataclasses.asdict``, after a way through JSON."""
        return cls(**{key: tuple(value) if isinstance(value, list) else value for key, value in data.items()})


@dataclasses.dataclass
class _Trials:
    """Samples collected so far, one entry per seed, and how to collect more."""

    modes: dict[str, Callable]
    start: float = 0.0
    looks: list[np.ndarray] = dataclasses.field(default_factory=list)
    primals: list[np.ndarray] = dataclasses.field(default_factory=list)
    reverse: list[float] = dataclasses.field(default_factory=list)
    forward: list[np.ndarray] = dataclasses.field(default_factory=list)
    primal_seconds: list[float] = dataclasses.field(default_factory=list)
    seconds: list[float] = dataclasses.field(default_factory=list)
    errors: dict[str, Exception] = dataclasses.field(default_factory=dict)
    memory: float | None = None

    def collect(self, effort: Effort) -> None:
        """Interleave primal, reverse and forward until there are enough seeds or the time is used up."""
        if "primal" in self.errors:
            return
        for i in range(len(self.primals), effort.seeds if len(self.modes) > 1 else 0):
            if i >= _LEAST_SEEDS and self._is_late(effort):
                return
            try:
                self.add(i, derive_seed(effort.seed, "gradient", i))
            except Exception as error:  # an estimator may raise anything; what breaks for one seed is broken
                raise_interrupt(error)
                self.errors = {"reverse": error, "forward": error}
                return

    def collect_scalars(self, seeds: int, effort: Effort) -> None:
        """Add reverse-mode scalars alone, for where only their noise is in the way of a verdict."""
        for i in range(len(self.reverse), seeds):
            if self._is_late(effort):
                return
            try:
                self.reverse.append(self.modes["reverse"](derive_seed(effort.seed, "gradient", i))[0])
            except Exception as error:  # as above
                raise_interrupt(error)
                self.errors = {"reverse": error, "forward": error}
                return

    def _is_late(self, effort: Effort) -> bool:
        return time.perf_counter() - self.start > effort.budget

    def add(self, i: int, seed: int) -> None:
        """One image, and one gradient in each mode that exists."""
        image, seconds = self.modes["primal"](derive_seed(seed, "primal"))
        self.primals.append(image)
        self.primal_seconds.append(seconds)
        if "reverse" in self.modes:
            value, seconds = self.modes["reverse"](seed)
            self.reverse.append(value)
            self.seconds.append(seconds)
        if "forward" in self.modes and (i > 0 or "reverse" not in self.modes):
            image, seconds = self.modes["forward"](seed)
            # The very first image is there from the warm-up
            self.forward[i:] = [image]
            if "reverse" not in self.modes:
                self.seconds.append(seconds)


def measure(
    case: Case,
    scene: mi.Scene,
    estimator: str,
    integrator: mi.Integrator,
    reference: Reference,
    *,
    effort: Effort,
    criteria: Criteria,
) -> tuple[Row, np.ndarray | None]:
    """Measure and judge one estimator on one case.

    Args:
        case: The question.
        scene: ``case.build()``; it is changed during the call and restored.
        estimator: Name for the table.
        integrator: The estimator.
        reference: The true derivative as far as it is known.
        effort: How many gradients.
        criteria: What counts as a bias.

    Returns:
        The row, and the mean derivative image where there is one. [H, W, C]
    """
    adjoint = telling_adjoint(reference)
    with recorded_warnings() as messages:
        curve = case.direction.bind(scene)
        trials = _warm_up(_modes(case, scene, curve, integrator, adjoint, effort), reference, effort)
        trials.start = time.perf_counter()
        if not _other_image(trials, reference):
            trials.collect(effort)
        row = _judged(case.name, estimator, trials, reference, adjoint, criteria)
        while row.seeds_needed and len(trials.reverse) < effort.most_seeds and trials.reverse:
            before = len(trials.reverse)
            trials.collect_scalars(min(math.ceil(1.3 * row.seeds_needed), effort.most_seeds), effort)
            row = _judged(case.name, estimator, trials, reference, adjoint, criteria)
            if len(trials.reverse) == before:
                break
    notes = [*dict.fromkeys(messages)]
    notes += [f"no {mode} mode: {_sentence(error)}" for mode, error in trials.errors.items() if mode != "primal"]
    row = dataclasses.replace(row, spp=effort.spp, memory=trials.memory, messages=tuple(notes))
    return row, (np.mean(trials.forward, axis=0) if trials.forward else None)


def _modes(
    case: Case, scene: mi.Scene, curve: Curve, integrator: mi.Integrator, adjoint: np.ndarray, effort: Effort
) -> dict[str, Callable]:
    """What can be run with a seed; each returns a result and the seconds that it took."""
    settings = {"sensor": case.sensor, "spp": effort.spp}
    return {
        "primal": lambda seed: timed_primal(scene, integrator, seed=seed, **settings),
        "reverse": lambda seed: timed_reverse(scene, curve, integrator, adjoint, seed=seed, **settings),
        "forward": lambda seed: timed_forward(scene, curve, integrator, seed=seed, **settings),
    }


def _warm_up(modes: dict[str, Callable], reference: Reference, effort: Effort) -> _Trials:
    """Compile the kernels, measure memory, and find out which modes exist and whether there is time for both."""
    trials = _Trials(modes)
    try:
        modes["primal"](0)
        seeds = [derive_seed(effort.seed, "look", i) for i in range(_LEAST_SEEDS)]
        trials.looks = [modes["primal"](seed)[0] for seed in seeds]
    except Exception as error:  # an estimator may raise anything; it becomes a row of the table
        raise_interrupt(error)
        trials.errors = dict.fromkeys(modes, error)
        return trials
    if _other_image(trials, reference):
        return trials
    try:
        start = time.perf_counter()
        trials.memory = peak_memory(lambda: modes["reverse"](0))
        # Compilation is in the first gradient; only a slow one is worth a second look
        if time.perf_counter() - start > effort.budget / 4:
            trials.add(0, derive_seed(effort.seed, "gradient", 0))
    except Exception as error:  # as above
        raise_interrupt(error)
        trials.errors["reverse"] = error
        del modes["reverse"]
    if trials.seconds and trials.seconds[0] > effort.budget / 4:
        seconds = trials.seconds[0]
        trials.errors["forward"] = TimeoutError(f"a gradient takes {seconds:.1f} s, so only scalars are measured")
        del modes["forward"]
        return trials
    # The first forward image is kept: its seconds only count where there is no reverse mode
    try:
        trials.forward.append(modes["forward"](derive_seed(effort.seed, "gradient", 0))[0])
    except Exception as error:  # as above
        raise_interrupt(error)
        trials.errors["forward"] = error
        del modes["forward"]
    return trials


def _judged(
    case: str, estimator: str, trials: _Trials, reference: Reference, adjoint: np.ndarray, criteria: Criteria
) -> Row:
    """The row of an estimator from its samples."""
    if failure := _failure(trials, reference):
        return Row(case, estimator, failure.word, failure.reason)
    products = [float(np.sum(image * adjoint)) for image in trials.forward]
    samples = np.array(trials.reverse or products)
    truth = reference.scalar(adjoint)
    scale = signal_scale(reference.samples * adjoint, truth.truncation)
    tests = 3 if trials.forward else 1
    bias = bias_of(mean_with_error(samples), truth, scale=scale, criteria=criteria, tests=tests)
    image = None
    if trials.forward:
        correction = (reference.fine - reference.coarse).mean(axis=0) / 3
        image = compare_blocks(np.stack(trials.forward), reference.samples, correction, criteria=criteria)
    is_zero = not np.any(samples) and not any(np.any(picture) for picture in trials.forward)
    verdict = judge(bias, image, seeds=len(samples), criteria=criteria, is_zero=is_zero, is_exact=truth.error == 0)
    row = Row(case, estimator, verdict.word, verdict.reason, seeds_needed=verdict.seeds_needed)
    row = _filled(row, bias, image)
    estimate = mean_with_error(samples)
    deviation = float(samples.std(ddof=1)) / scale if scale > 0 else None
    # Seeds that were added have no primal image of their own
    ratios = np.array(trials.seconds) / np.array(trials.primal_seconds[: len(trials.seconds)])
    return dataclasses.replace(
        row,
        seeds=len(samples),
        value=estimate.value,
        error=estimate.error,
        reference=truth.value,
        reference_error=truth.error,
        truncation=truth.truncation,
        relative_deviation=deviation,
        transposition=(
            transposition_residual(trials.forward[0], trials.reverse[0], adjoint)
            if trials.forward and trials.reverse
            else None
        ),
        seconds=float(np.median(trials.seconds)),
        primal_seconds=float(np.median(trials.primal_seconds)),
        cost=float(np.median(ratios)),
    )


def _filled(row: Row, bias: Bias, image: BlockTest | None) -> Row:
    """The row with the numbers of its tests."""
    row = dataclasses.replace(
        row,
        scale=abs(bias.scale),
        standard_errors=bias.standard_errors,
        relative_bias=bias.relative,
        interval=bias.relative_interval,
        detectable=bias.relative_detectable,
    )
    if image is None:
        return row
    return dataclasses.replace(
        row, image_bias=image.bias, chi_square=image.chi_square, blocks=image.blocks, image_tail=image.tail
    )


def _failure(trials: _Trials, reference: Reference) -> Verdict | None:
    """A verdict that needs no statistics."""
    errors = trials.errors
    if share := _other_image(trials, reference):
        return Verdict("unsupported", f"renders another image than the reference ({share:.0%} different)")
    # Forward mode is a bonus; what breaks in reverse mode is broken
    if "reverse" in errors and ("forward" in errors or not is_refusal(errors["reverse"])):
        word = "unsupported" if is_refusal(errors["reverse"]) else "failed"
        return Verdict(word, _sentence(errors["reverse"]))
    images = (*trials.looks, *trials.primals, *trials.forward)
    if not all(np.all(np.isfinite(values)) for values in (trials.reverse, *images)):
        return Verdict("failed", "a gradient or image is not finite")
    return None


def _other_image(trials: _Trials, reference: Reference) -> float | None:
    """By how much the integrator's image differs from the reference's, where it is not the same."""
    images = [*trials.looks, *trials.primals]
    if not images or not np.all(np.isfinite(images)):
        return None
    primal = compare_blocks(np.stack(images), reference.primals, criteria=_PRIMAL_CRITERIA)
    is_other = min(primal.tail, primal.worst_tail) < 1e-4 and (primal.bias or 0) > _PRIMAL_CRITERIA.negligible
    return primal.bias if is_other else None


def failure_row(case: str, estimator: str, error: Exception) -> Row:
    """The row of an estimator that raised before anything was measured."""
    return Row(case, estimator, "unsupported" if is_refusal(error) else "failed", _sentence(error))


def exception_chain(error: BaseException) -> Iterator[BaseException]:
    """An exception and its causes, innermost last: Dr.Jit wraps what a plugin raised."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def is_refusal(error: Exception) -> bool:
    """Whether an integrator says that it cannot do this, as opposed to breaking while it tries."""
    return any(
        isinstance(link, InputError | NotImplementedError) or _REFUSAL.search(str(link))
        for link in exception_chain(error)
    )


def _sentence(error: Exception) -> str:
    """The first sentence of the innermost exception."""
    root = list(exception_chain(error))[-1]
    lines = [line.strip() for line in str(root).splitlines() if line.strip()]
    sentence = re.split(r"(?<=[.!?]) ", lines[0])[0] if lines else ""
    return f"{type(root).__name__}: {sentence}"[:200]
