"""Sobol samplers: every sample is uniform by itself, and blocks of pixels are stratified."""

from __future__ import annotations

import drjit as dr
import mitsuba as mi
import numpy as np
import pytest

from pbdr.sobol import SobolSampler

WIDTH, HEIGHT = 16, 8


def over_pixels(spp: int, seed: int = 3, sets: int = 1) -> SobolSampler:
    return SobolSampler.over_pixels((WIDTH, HEIGHT), spp, mi.UInt32(seed), sets)


def one_sample(count: int, number: int) -> SobolSampler:
    """The same sample of the sequence under many keys."""
    keys = mi.sample_tea_32(dr.arange(mi.UInt32, count), mi.UInt32(7))[0]
    return SobolSampler(dr.brev(dr.full(mi.UInt32, number, count)), keys, mi.UInt32(0))


def strata(numbers: np.ndarray, count: int) -> set[int]:
    return set(np.floor(numbers * count).astype(int).ravel())


@pytest.mark.parametrize("number", [0, 1, 37, 70_001])
def test_each_sample_is_uniform_over_the_keys(number: int):
    count, bins = 2**16, 8
    sampler = one_sample(count, number)
    numbers = [*np.array(sampler.next_2d()), np.array(sampler.next_1d()), *np.array(sampler.next_2d())]
    for k, a in enumerate(numbers):
        for b in numbers[:k]:
            table, _, _ = np.histogram2d(a, b, bins, [[0, 1], [0, 1]])
            expected = count / bins**2
            χ2 = ((table - expected) ** 2 / expected).sum()
            # 63 degrees of freedom: mean 63, standard deviation 11
            assert χ2 < 63 + 5 * 11.3


@pytest.mark.parametrize("spp", [1, 2, 4, 8])
def test_pixels_and_blocks_of_them_are_stratified(spp: int):
    sampler = over_pixels(spp)
    sampler.next_1d()
    for _ in range(2):
        points = np.array(sampler.next_2d()).reshape(2, HEIGHT, WIDTH, spp)
        lines = np.array(sampler.next_1d()).reshape(HEIGHT, WIDTH, spp)
        for size in (1, 2, 4, 8):
            count = size * size * spp
            for y, x in np.ndindex(HEIGHT // size, WIDTH // size):
                block = np.s_[size * y : size * (y + 1), size * x : size * (x + 1)]
                assert len(strata(lines[block], count)) == count
                u, v = points[0][block].ravel(), points[1][block].ravel()
                # A (0, m, 2)-net: every division of the square into equal boxes has one point in each
                for columns in 2 ** np.arange(int(np.log2(count)) + 1):
                    cells = np.floor(u * columns) * count + np.floor(v * (count // columns))
                    assert len(set(cells)) == count


def test_any_number_of_samples():
    points = np.array(over_pixels(3).next_2d())
    assert points.shape == (2, 3 * WIDTH * HEIGHT)
    assert (points >= 0).all() and (points < 1).all()
    # Stretches of the sequence that are no power of two are nearly as even
    assert len(strata(points[0], 3 * WIDTH * HEIGHT)) > 0.8 * 3 * WIDTH * HEIGHT


def test_sets_are_independent():
    sampler = over_pixels(64, sets=2)
    first, second = np.array(sampler.next_1d()).reshape(2, -1)
    assert not np.allclose(first, second)
    assert abs(np.corrcoef(first, second)[0, 1]) < 5 / np.sqrt(len(first))


def test_dimensions_are_independent():
    sampler = over_pixels(64)
    numbers = np.stack([*np.array(sampler.next_2d()), np.array(sampler.next_1d()), *np.array(sampler.next_2d())])
    apart = np.corrcoef(numbers) - np.eye(5)
    assert np.abs(apart).max() < 5 / np.sqrt(numbers.shape[1])


def test_a_clone_goes_on_where_the_sampler_was():
    sampler = over_pixels(2)
    sampler.next_2d()
    clone = sampler.clone()
    expected = np.array(sampler.next_1d())
    sampler.next_2d()
    assert np.array_equal(np.array(clone.next_1d()), expected)


def test_seeds_differ_and_repeat():
    first, again, other = (np.array(over_pixels(4, seed).next_1d()) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.allclose(first, other)


def test_lines_are_stratified_along_stretches():
    numbers = np.array(SobolSampler.along(64, mi.UInt32(5), sets=2).next_1d()).reshape(2, 8, 8)
    for part in numbers.reshape(-1, 8):
        assert len(strata(part, 8)) == 8
    assert not np.allclose(numbers[0], numbers[1])
