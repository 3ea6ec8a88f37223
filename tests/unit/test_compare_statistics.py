"""The statistics on synthetic estimators whose bias and variance are known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pbdr.compare.distributions import chi_square_tail, sidak, t_quantile, t_tail
from pbdr.compare.references import Reference, analytic
from pbdr.compare.statistics import (
    Criteria,
    Estimate,
    assert_unbiased,
    bias_of,
    block_sums,
    combined_freedom,
    compare_blocks,
    judge,
    mean_with_error,
    signal_scale,
)

SHAPE = (24, 24, 3)
TRUTH = np.random.default_rng(0).uniform(0.5, 1.5, SHAPE)


def noisy_reference(generator: np.random.Generator, deviation: float, repeats: int = 8) -> Reference:
    samples = TRUTH + deviation * generator.standard_normal((repeats, *SHAPE))
    return Reference(coarse=samples, fine=samples, primals=samples)


def verdict(generator, *, bias=0.0, deviation=0.5, seeds=16, reference_deviation=0.2, criteria=None):
    """Judge an estimator of TRUTH with a relative bias and pixel noise, against a noisy reference."""
    criteria = criteria or Criteria()
    reference = noisy_reference(generator, reference_deviation)
    images = (1 + bias) * TRUTH + deviation * generator.standard_normal((seeds, *SHAPE))
    truth = reference.scalar(np.ones(SHAPE))
    scalar = bias_of(
        mean_with_error(images.sum(axis=(1, 2, 3))),
        truth,
        scale=signal_scale(reference.samples),
        criteria=criteria,
        tests=3,
    )
    blocks = compare_blocks(images, reference.samples, criteria=criteria)
    return judge(scalar, blocks, seeds=seeds, criteria=criteria), scalar


@pytest.mark.parametrize(
    ("t", "freedom", "tail"),
    [(12.706, 1, 0.05), (2.131, 15, 0.05), (4.073, 15, 0.001), (1.96, math.inf, 0.05), (3.291, math.inf, 0.001)],
)
def test_t_distribution_agrees_with_printed_tables(t, freedom, tail):
    assert t_tail(t, freedom) == pytest.approx(tail, rel=2e-3)
    assert t_quantile(tail, freedom) == pytest.approx(t, rel=1e-3)


@pytest.mark.parametrize(
    ("value", "freedom", "tail"), [(3.841, 1, 0.05), (18.307, 10, 0.05), (29.588, 10, 0.001), (124.342, 100, 0.05)]
)
def test_chi_square_agrees_with_printed_tables(value, freedom, tail):
    assert chi_square_tail(value, freedom) == pytest.approx(tail, rel=2e-3)


def test_sidak_of_independent_tests_restores_the_confidence():
    assert (1 - sidak(0.999, 7)) ** 7 == pytest.approx(0.999)


def alarms(samples: np.ndarray, truths: np.ndarray, level: float) -> int:
    """How often means of samples of the same mean are told apart. [trials, count] each"""
    found = 0
    for sample, truth in zip(samples, truths, strict=True):
        mean, reference = mean_with_error(sample), mean_with_error(truth)
        t = (mean.value - reference.value) / math.hypot(mean.error, reference.error)
        found += t_tail(t, combined_freedom(mean, reference)) < level
    return found


def test_the_t_test_alarms_as_often_as_it_says():
    rng, level, trials = np.random.default_rng(1), 0.05, 20000
    found = alarms(rng.normal(size=(trials, 8)), rng.normal(0, 0.5, size=(trials, 6)), level)
    assert found == pytest.approx(level * trials, abs=4 * math.sqrt(level * (1 - level) * trials))


@pytest.mark.parametrize("count", [2, 4, 8])
def test_few_samples_against_a_good_reference_alarm_no_more_often(count):
    rng, level, trials = np.random.default_rng(3), 0.001, 20000
    assert alarms(rng.normal(size=(trials, count)), rng.normal(0, 0.2, size=(trials, 8)), level) < 3 * level * trials


def test_no_false_alarms_beyond_the_stated_level():
    generator = np.random.default_rng(2)
    criteria = Criteria(confidence=0.95, negligible=0)
    words = [verdict(generator, criteria=criteria)[0].word for _ in range(200)]
    # 10 of 200 are expected; 23 is four standard deviations more
    assert words.count("biased") <= 23


def test_no_false_alarm_in_200_trials_at_the_default_level():
    generator = np.random.default_rng(3)
    words = [verdict(generator)[0].word for _ in range(200)]
    # 0.2 are expected at 99.9 %; three or more happen once in a thousand such tests
    assert words.count("biased") <= 2


def test_a_bias_of_one_percent_is_found_with_the_stated_power():
    generator = np.random.default_rng(4)
    found, trials, detectable = 0, 150, []
    for _ in range(trials):
        judged, scalar = verdict(generator, bias=0.01, deviation=0.18, reference_deviation=0.03, seeds=16)
        found += judged.word == "biased"
        detectable.append(scalar.relative_detectable)
    # The set-up is such that the smallest detectable bias is about that of the estimator
    assert np.mean(detectable) < 0.01
    assert found / trials >= 0.9 - 4 * math.sqrt(0.9 * 0.1 / trials)


def test_zero_where_the_reference_is_not_is_biased():
    reference = noisy_reference(np.random.default_rng(5), 0.2)
    criteria = Criteria()
    truth = reference.scalar(np.ones(SHAPE))
    scalar = bias_of(mean_with_error(np.zeros(16)), truth, scale=truth.value, criteria=criteria, tests=3)
    blocks = compare_blocks(np.zeros((16, *SHAPE)), reference.samples, criteria=criteria)
    judged = judge(scalar, blocks, seeds=16, criteria=criteria, is_zero=True)
    assert (judged.word, judged.reason) == ("biased", "exactly zero, but the reference is not")
    assert scalar.relative == pytest.approx(-1)
    assert blocks.bias == pytest.approx(1, rel=0.01)


def test_noise_that_could_hide_a_bias_is_inconclusive_and_says_how_many_seeds_are_needed():
    judged, _ = verdict(np.random.default_rng(6), deviation=20.0, seeds=8)
    assert judged.word == "inconclusive"
    assert judged.seeds_needed > 8
    again, _ = verdict(np.random.default_rng(7), deviation=20.0, seeds=4 * judged.seeds_needed)
    assert again.word == "consistent"


def test_a_reference_that_drowns_in_noise_makes_nobody_consistent():
    generator = np.random.default_rng(8)
    criteria = Criteria()
    samples = 10 * generator.standard_normal((8, *SHAPE))
    reference = Reference(coarse=samples, fine=samples, primals=samples)
    scalar = bias_of(mean_with_error(np.zeros(8)), reference.scalar(np.ones(SHAPE)), scale=0, criteria=criteria)
    blocks = compare_blocks(np.zeros((8, *SHAPE)), samples, criteria=criteria)
    assert judge(scalar, blocks, seeds=8, criteria=criteria).word == "inconclusive"


def test_an_exact_zero_is_a_truth_that_can_be_met():
    criteria = Criteria()
    zero = analytic(np.zeros(SHAPE), TRUTH)
    images = np.random.default_rng(9).standard_normal((16, *SHAPE))
    scalar = bias_of(
        mean_with_error(images.sum(axis=(1, 2, 3))), zero.scalar(np.ones(SHAPE)), scale=0, criteria=criteria
    )
    blocks = compare_blocks(images, zero.samples, criteria=criteria)
    assert judge(scalar, blocks, seeds=16, criteria=criteria, is_exact=True).word == "consistent"


def test_blocks_see_a_bias_that_cancels_in_the_sum():
    generator = np.random.default_rng(10)
    tilt = np.linspace(-0.1, 0.1, SHAPE[1])[None, :, None]
    images = TRUTH + tilt + 0.3 * generator.standard_normal((16, *SHAPE))
    with pytest.raises(AssertionError, match="biased: χ²"):
        assert_unbiased(images, noisy_reference(generator, 0.1))
    assert_unbiased(images - tilt, noisy_reference(generator, 0.1))


def test_the_noise_is_taken_out_of_the_image_bias():
    generator = np.random.default_rng(11)
    images = 1.05 * TRUTH + 3 * generator.standard_normal((64, *SHAPE))
    test = compare_blocks(images, noisy_reference(generator, 0.1).samples, criteria=Criteria())
    assert test.bias == pytest.approx(0.05, abs=0.02)


def test_truncation_is_forgiven_and_reported():
    reference = Estimate(1.0, 0.001, 7, truncation=0.05)
    bias = bias_of(Estimate(1.04, 0.001, 15), reference, scale=1, criteria=Criteria())
    assert bias.tail == 1
    assert bias.relative_detectable > 0.05
    assert bias_of(Estimate(1.07, 0.001, 15), reference, scale=1, criteria=Criteria()).tail < 1e-4


def test_blocks_keep_the_sum_and_stay_within_64():
    image = np.random.default_rng(12).uniform(size=(2, 100, 37, 3))
    sums = block_sums(image)
    assert sums.shape[1] <= 64
    assert np.allclose(sums.sum(axis=1), image.sum(axis=(1, 2, 3)))


def test_assert_unbiased_on_scalars():
    assert_unbiased([0.9, 1.1, 1.02, 0.98], 1.0)
    with pytest.raises(AssertionError, match="standard errors"):
        assert_unbiased(np.random.default_rng(13).normal(1.1, 0.01, 16), 1.0)
    with pytest.raises(AssertionError):
        assert_unbiased([1.0, math.nan, 1.0], 1.0)
