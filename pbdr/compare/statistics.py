"""From samples to verdicts: the one place where an estimator is declared right or wrong."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Literal

import numpy as np

from .distributions import chi_square_tail, normal_score, sidak, t_quantile, t_tail

#: Degrees of freedom below which a standard error is hardly known
_FEW = 5

Word = Literal["consistent", "biased", "inconclusive", "failed", "unsupported"]


@dataclasses.dataclass(frozen=True)
class Criteria:
    """When a difference counts.

    Attributes:
        confidence: Probability that a right estimator is not called biased, all tests of a verdict together.
        negligible: Relative bias that is tolerated: rounding in single precision, and the film, whose normalization of
            the pixel filter is itself biased by about 0.1 % at 64 spp.
        tolerance: An estimator is only called consistent if a relative bias of this size would have been found.
        power: Probability with which it would have been found.
    """

    confidence: float = 0.999
    negligible: float = 0.003
    tolerance: float = 0.05
    power: float = 0.9


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A mean with its uncertainty.

    Attributes:
        value: Mean.
        error: Standard error of the mean.
        freedom: Degrees of freedom of the standard error; infinite when it is exact.
        truncation: Bound of a systematic error.
    """

    value: float
    error: float = 0.0
    freedom: float = math.inf
    truncation: float = 0.0


@dataclasses.dataclass(frozen=True)
class Bias:
    """The difference between an estimator's mean and the reference.

    Attributes:
        difference: Estimate minus reference.
        error: Standard error of the difference, reference's included.
        reference_error: The reference's share of it.
        freedom: Its degrees of freedom (Welch-Satterthwaite).
        allowance: Difference that is forgiven: truncation of the reference plus the negligible bias.
        scale: Size of the true value, with its sign, by which relative numbers are divided; 0 where the truth is zero.
        tail: Probability of so large a difference if there were no bias.
        detectable: Smallest bias that this many samples would have found, in absolute terms.
        interval: Confidence interval of the difference, truncation included.
        sufficient_error: Standard error at which a bias of the tolerance would be found, given many samples.
    """

    difference: float
    error: float
    reference_error: float
    freedom: float
    allowance: float
    scale: float
    tail: float
    detectable: float
    interval: tuple[float, float]
    sufficient_error: float

    @property
    def standard_errors(self) -> float:
        """The difference in units of its standard error, positive where the estimate is too large in absolute terms."""
        difference = math.copysign(1, self.scale) * self.difference
        if difference == 0:
            return 0.0
        return difference / self.error if self.error > 0 else math.copysign(math.inf, difference)

    @property
    def relative(self) -> float | None:
        """Difference over scale; ``None`` where the truth is zero."""
        return self.difference / self.scale if self.scale else None

    @property
    def relative_interval(self) -> tuple[float, float] | None:
        """Confidence interval over scale; ``None`` where the truth is zero."""
        if not self.scale:
            return None
        low, high = sorted(end / self.scale for end in self.interval)
        return low, high

    @property
    def relative_detectable(self) -> float | None:
        """Smallest bias that would have been found over scale; ``None`` where the truth is zero."""
        return self.detectable / abs(self.scale) if self.scale else None


@dataclasses.dataclass(frozen=True)
class BlockTest:
    """Comparison of two images on blocks of pixels.

    Attributes:
        chi_square: Sum of the squared normal scores of all blocks.
        blocks: Number of blocks that differ or have noise.
        tail: Tail probability of ``chi_square``.
        worst_tail: Tail probability of the worst block, Šidák-corrected over the blocks.
        bias: Root mean square difference over root mean square reference, with the noise taken out of both;
            ``None`` where the reference is zero within its noise.
    """

    chi_square: float
    blocks: int
    tail: float
    worst_tail: float
    bias: float | None


@dataclasses.dataclass(frozen=True)
class Verdict:
    """One of the five words, and the sentence that explains it.

    ``consistent``: no test rejects, and a bias of ``Criteria.tolerance`` would have been found.
    ``biased``: a test rejects: the difference exceeds truncation, negligible bias and noise.
    ``inconclusive``: no test rejects, but a bias of ``Criteria.tolerance`` could have hidden in the noise.
    ``failed``: an exception, a crash, a time-out or a value that is not finite.
    ``unsupported``: the integrator refuses the parameter, or renders another image than the reference.
    """

    word: Word
    reason: str
    seeds_needed: int | None = None


def mean_with_error(samples: np.ndarray | Sequence[float]) -> Estimate:
    """Mean and standard error of independent samples.

    Args:
        samples: One number per seed. [N]

    Example:
        >>> mean_with_error([1.0, 2.0, 3.0]).value
        2.0
    """
    samples = np.asarray(samples, np.float64)
    count = len(samples)
    # Equal samples of an analytic reference or of a deterministic estimator are exact
    if count == 1 or np.all(samples == samples[0]):
        return Estimate(float(samples[0]))
    return Estimate(float(samples.mean()), float(samples.std(ddof=1) / math.sqrt(count)), count - 1)


def combined_freedom(first: Estimate, second: Estimate) -> float:
    """Degrees of freedom of the standard error of a difference (Welch-Satterthwaite).

    Those of the smaller of two sets where it is very small: its variance is often far too low by chance, and then the
    formula goes by the other set. At two samples, right estimators were called biased 90 times too often.
    """
    if (fewest := min(first.freedom, second.freedom)) < _FEW:
        return fewest
    variances = first.error**2, second.error**2
    weight = variances[0] ** 2 / first.freedom + variances[1] ** 2 / second.freedom
    return sum(variances) ** 2 / weight if weight > 0 else math.inf


def bias_of(estimate: Estimate, reference: Estimate, *, scale: float, criteria: Criteria, tests: int = 1) -> Bias:
    """Compare a mean with a reference, both uncertain.

    Args:
        estimate: The estimator's mean.
        reference: The truth as far as it is known.
        scale: Size of the true value for relative numbers; 0 where it is zero.
        criteria: What counts.
        tests: How many tests share the confidence (Šidák).
    """
    difference = estimate.value - reference.value
    error = math.hypot(estimate.error, reference.error)
    freedom = combined_freedom(estimate, reference)
    truncation = estimate.truncation + reference.truncation
    allowance = truncation + criteria.negligible * scale
    excess = max(0.0, abs(difference) - allowance)
    level, miss = sidak(criteria.confidence, tests), 2 * (1 - criteria.power)
    quantile = t_quantile(level, freedom)
    margin = quantile * error + truncation
    return Bias(
        difference=difference,
        error=error,
        reference_error=reference.error,
        freedom=freedom,
        allowance=allowance,
        scale=math.copysign(scale, reference.value) if scale else 0.0,
        tail=t_tail(excess / error, freedom) if error > 0 else float(excess == 0),
        detectable=(quantile + t_quantile(miss, freedom)) * error + allowance,
        interval=(difference - margin, difference + margin),
        sufficient_error=_sufficient_error(criteria.tolerance * scale - allowance, reference, level, miss),
    )


def _sufficient_error(room: float, reference: Estimate, level: float, miss: float) -> float:
    """The standard error at which a bias of size ``room`` is found, where only the reference has few samples."""
    error = freedom = math.inf
    for _ in range(8):
        error = room / (t_quantile(level, freedom) + t_quantile(miss, freedom))
        # Welch-Satterthwaite, the rest of the error being well known
        if reference.error > 0:
            freedom = max(reference.freedom * (error / reference.error) ** 4, reference.freedom)
    return error


def block_grid(height: int, width: int) -> tuple[np.ndarray, np.ndarray, int]:
    """First rows and columns of the blocks of an image, and how many pixels wide they are."""
    size = max(8, -(-max(height, width) // 8))
    return np.arange(0, height, size), np.arange(0, width, size), size


def block_sums(images: np.ndarray) -> np.ndarray:
    """Sums over square blocks of pixels and over channels, at most 8 × 8 blocks of at least 8 pixels.

    Args:
        images: Any number of images. [..., H, W, C]

    Returns:
        [..., blocks]
    """
    rows, columns, _ = block_grid(*images.shape[-3:-1])
    sums = np.add.reduceat(np.add.reduceat(images.sum(axis=-1, dtype=np.float64), rows, axis=-2), columns, axis=-1)
    return sums.reshape(*images.shape[:-3], -1)


def _moments(samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and squared standard error along the first axis; a single sample is exact."""
    count = len(samples)
    variance = samples.var(axis=0, ddof=1) / count if count > 1 else np.zeros(samples.shape[1:])
    return samples.mean(axis=0), variance


def compare_blocks(
    estimates: np.ndarray, references: np.ndarray, truncation: np.ndarray | None = None, *, criteria: Criteria
) -> BlockTest:
    """Compare two sets of independent images block by block.

    Args:
        estimates: One image per seed. [N, H, W, C]
        references: One image per repeat; a single image is exact. [R, H, W, C]
        truncation: Image of signed systematic corrections, whose block sums are forgiven. [H, W, C]
        criteria: What counts.
    """
    mean, variance = _moments(block_sums(estimates))
    truth, truth_variance = _moments(block_sums(references))
    signal = float(np.sum(truth**2 - truth_variance))
    # Relative to the block itself, or to a typical one where there is little in it
    allowance = criteria.negligible * np.maximum(np.abs(truth), math.sqrt(max(signal, 0.0) / truth.size))
    if truncation is not None:
        allowance = allowance + np.abs(block_sums(truncation))
    excess = np.maximum(np.abs(mean - truth) - allowance, 0)
    error = np.sqrt(variance + truth_variance)
    is_tested = (error > 0) | (excess > 0)

    # A t-value of few samples, turned into the normal score of the same probability
    tails = np.ones(truth.size)
    for block in np.flatnonzero(is_tested):
        freedom = combined_freedom(
            Estimate(0, math.sqrt(variance[block]), max(len(estimates) - 1, 1)),
            Estimate(0, math.sqrt(truth_variance[block]), max(len(references) - 1, 1)),
        )
        tails[block] = t_tail(excess[block] / error[block], freedom) if error[block] > 0 else 0.0
    scores = np.array([normal_score(tail) for tail in tails[is_tested]])
    count = int(is_tested.sum())
    chi_square = float(np.sum(scores**2))
    is_known = signal > 4 * math.sqrt(2 * float(np.sum(truth_variance**2)))
    noise_free = float(np.sum((mean - truth) ** 2 - variance - truth_variance))
    return BlockTest(
        chi_square=chi_square,
        blocks=count,
        tail=chi_square_tail(chi_square, count) if count else 1.0,
        worst_tail=-math.expm1(count * math.log1p(-min(float(tails.min()), 1 - 1e-16))) if count else 1.0,
        bias=math.sqrt(max(noise_free, 0.0) / signal) if is_known and signal > 0 else None,
    )


def signal_scale(references: np.ndarray, truncation: float = 0.0) -> float:
    """The size of a scalar Σ adjoint · image by which relative biases are divided.

    It is the absolute value of the scalar; where positive and negative blocks cancel to less than a quarter of it, the
    root of the sum of the squared block contributions, noise taken out; 0 where neither stands out of the noise.

    Args:
        references: Adjoint times derivative image, one per repeat. [R, H, W, C]
        truncation: Bound of the systematic error of the scalar.
    """
    total = mean_with_error(block_sums(references).sum(axis=-1))
    blocks, variances = _moments(block_sums(references))
    signal, noise = float(np.sum(blocks**2 - variances)), math.sqrt(2 * float(np.sum(variances**2)))
    value = abs(total.value) if abs(total.value) > 4 * total.error + truncation else 0.0
    size = math.sqrt(signal) if signal > 4 * noise else 0.0
    return value if value > size / 4 else size


def judge(
    scalar: Bias | None,
    image: BlockTest | None,
    *,
    seeds: int,
    criteria: Criteria,
    is_zero: bool = False,
    is_exact: bool = False,
) -> Verdict:
    """Turn the tests into one of the words *consistent*, *biased* and *inconclusive*.

    Args:
        scalar: Test of the reverse-mode scalar, if there is reverse mode.
        image: Test of the forward-mode image, if there is forward mode.
        seeds: Number of independent estimates behind them.
        criteria: What counts.
        is_zero: Whether every estimate is exactly zero.
        is_exact: Whether the reference has no noise.
    """
    tails = [scalar.tail] if scalar else []
    tails += [image.tail, image.worst_tail] if image else []
    level = sidak(criteria.confidence, len(tails))
    if min(tails) < level:
        if is_zero:
            return Verdict("biased", "exactly zero, but the reference is not")
        if scalar and scalar.tail < level and scalar.relative is not None:
            return Verdict("biased", f"{scalar.relative:+.1%} at {abs(scalar.standard_errors):.1f} standard errors")
        if image and image.bias is not None:
            size = f"by {image.bias:.1%}" if image.bias > criteria.negligible else "in few blocks"
            return Verdict("biased", f"image off {size}, χ² {image.chi_square:.0f}/{image.blocks}")
        return Verdict("biased", "not zero, but the reference is")
    detectable = scalar.relative_detectable if scalar else None
    if detectable is None:
        return _judge_without_scale(scalar, image, is_exact=is_exact)
    if detectable > criteria.tolerance:
        return _inconclusive(scalar, seeds=seeds, criteria=criteria)
    return Verdict("consistent", f"a bias above {detectable:.1%} would have been seen")


def _inconclusive(scalar: Bias, *, seeds: int, criteria: Criteria) -> Verdict:
    """What it would take to see a bias of the size of the tolerance."""
    room = criteria.tolerance * abs(scalar.scale) - scalar.allowance
    if room <= 0:
        share = scalar.allowance / abs(scalar.scale)
        return Verdict("inconclusive", f"the reference's truncation is {share:.1%}: take a smaller step")
    # The noise that may remain, of which the reference takes its share
    target = scalar.sufficient_error**2 - scalar.reference_error**2
    hidden = f"a bias of {scalar.relative_detectable:.1%} could hide"
    if target <= 0:
        return Verdict("inconclusive", f"{hidden}: the reference needs more samples or a larger budget")
    needed = max(seeds + 1, math.ceil(seeds * (scalar.error**2 - scalar.reference_error**2) / target))
    return Verdict("inconclusive", f"{hidden}; needs {needed} seeds", needed)


def _judge_without_scale(scalar: Bias | None, image: BlockTest | None, *, is_exact: bool) -> Verdict:
    """The verdict where nothing was rejected and no relative bias can be stated for the scalar."""
    if is_exact and scalar:
        return Verdict("consistent", f"the truth is zero; a bias above {scalar.detectable:.2g} would have been seen")
    if image and image.bias is not None:
        return Verdict("inconclusive", "the image agrees, but there is no reverse-mode scalar to bound its bias")
    return Verdict("inconclusive", "the reference is zero within its noise: more reference samples are needed")


def assert_unbiased(samples, reference, *, confidence: float = 0.9995) -> None:
    """Raise ``AssertionError`` if samples are not those of an unbiased estimator.

    Args:
        samples: One number per seed [N], or one image per seed [N, H, W, C].
        reference: A number, an ``Estimate``, or for images a ``Reference``.
        confidence: Probability that a right estimator passes.

    Example:
        >>> assert_unbiased([0.9, 1.1, 1.02, 0.98], 1.0)
    """
    samples = np.asarray(samples, np.float64)
    criteria = Criteria(confidence=confidence)
    if samples.ndim == 1:
        truth = reference if isinstance(reference, Estimate) else Estimate(float(reference))
        bias = bias_of(mean_with_error(samples), truth, scale=abs(truth.value), criteria=criteria)
        if not (np.all(np.isfinite(samples)) and bias.tail >= sidak(confidence, 1)):
            raise AssertionError(
                f"biased: mean {samples.mean():.6g}, reference {truth.value:.6g}, "
                f"{bias.standard_errors:+.1f} standard errors"
            )
        return
    if not np.all(np.isfinite(samples)):
        raise AssertionError("biased: a sample is not finite")
    test = compare_blocks(
        samples, reference.samples, (reference.fine - reference.coarse).mean(axis=0) / 3, criteria=criteria
    )
    if min(test.tail, test.worst_tail) < sidak(confidence, 2):
        share = "unknown" if test.bias is None else f"{test.bias:.1%}"
        raise AssertionError(
            f"biased: χ² {test.chi_square:.0f} on {test.blocks} blocks, worst block {test.worst_tail:.1e}, bias {share}"
        )
