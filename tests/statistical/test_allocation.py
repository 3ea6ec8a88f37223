"""More samples for pixels on which the loss depends: the same means of images and gradients."""

from __future__ import annotations

import drjit as dr
import mitsuba as mi
import numpy as np
import pytest

import pbdr
from pbdr.compare.statistics import Criteria, Estimate, assert_unbiased, compare_blocks, mean_with_error
from pbdr.errors import InputError
from pbdr.interior.allocation import PixelAllocation, _divide
from pbdr.scene import load_scene

from ..tiny import ALPHA, WALL, write_scene

VALUES = {WALL: (0.4, 0.4, 0.4), ALPHA: (0.2,)}


def values() -> dict:
    return {WALL: mi.Color3f(*VALUES[WALL]), ALPHA: mi.Float(*VALUES[ALPHA])}


def loss(image: mi.TensorXf) -> mi.TensorXf:
    """Only the upper left matters, and most of it little."""
    weight = np.zeros(image.shape, np.float32)
    weight[:6, :6], weight[2, 2] = 0.1, 1
    return dr.mean(mi.TensorXf(weight) * dr.square(image - 0.3), axis=None)


@pytest.mark.parametrize("offset", [0.0, 0.37, 0.9999])
def test_samples_follow_importance(offset):
    importance = np.random.default_rng(0).exponential(size=300).astype(np.float32)
    importance[100:110] = 40
    pixels, weights = (np.array(x) for x in _divide(mi.Float(importance), 5, mi.Float(offset)))
    counts = np.bincount(pixels, minlength=300)
    assert np.all(np.diff(pixels.astype(np.int64)) >= 0)
    assert counts.sum() == 1500 and counts.min() == 1
    assert np.abs(counts - 1 - 1200 * importance / importance.sum()).max() < 1.01
    np.testing.assert_allclose(weights, 5 / counts[pixels], rtol=1e-6)


def test_means_stay(tmp_path):
    """Images and gradients of steps that know the adjoint, against those of steps that do not."""
    scene, integrator = load_scene(write_scene(tmp_path)), mi.load_dict({"type": "pbdr", "max_depth": 3})
    images, gradients = {True: [], False: []}, {True: [], False: []}
    memory = pbdr.Memory(control_variate=False, allocation=True)
    for k in range(66):
        for remember in (True, False):
            done = pbdr.step(
                scene, values(), 0, loss, spp=8, seed=k + 1000 * remember, integrator=integrator,
                memory=memory if remember else None,
            )  # fmt: skip
            if k > 1:
                images[remember].append(np.array(done.images[0]))
                gradients[remember].append([float(x) for g in done.gradients.values() for x in np.array(g).ravel()])
    pixels = memory.allocation.samples(scene.sensors()[0], 4, mi.UInt32(3))[0]
    counts = np.bincount(np.array(pixels), minlength=256).reshape(16, 16)
    assert counts[2, 2] > 50 and counts[:6, :6].mean() > 2 * counts[6:].mean()
    test = compare_blocks(np.array(images[True]), np.array(images[False]), criteria=Criteria(negligible=0.0))
    assert min(test.tail, test.worst_tail) > 1e-4
    # Far more samples where they matter: the gradient has less variance, too
    with_memory, without = np.array(gradients[True]), np.array(gradients[False])
    assert np.all(without.var(axis=0)[:3] > 1.5 * with_memory.var(axis=0)[:3])
    for number in range(4):
        truth = mean_with_error(without[:, number])
        assert_unbiased(with_memory[:, number], Estimate(truth.value, truth.error, truth.freedom))


def test_together_with_control_variates(tmp_path):
    scene, integrator = load_scene(write_scene(tmp_path)), mi.load_dict({"type": "pbdr", "max_depth": 3})
    memory, images, plain = None, [], []
    for run in range(24):
        memory = pbdr.Memory(control_variate=True, allocation=True)
        for k in range(5):
            seed = 100 * run + k
            done = pbdr.step(scene, values(), 0, loss, spp=8, seed=seed, integrator=integrator, memory=memory)
        images.append(np.array(done.images[0]))
        done = pbdr.step(scene, values(), 0, loss, spp=8, seed=9000 + run, integrator=integrator)
        plain.append(np.array(done.images[0]))
    assert integrator.experience.frozen.works
    test = compare_blocks(np.array(images), np.array(plain), criteria=Criteria(negligible=0.0))
    assert min(test.tail, test.worst_tail) > 1e-4


def test_borders_are_refused(tmp_path):
    film = {"type": "hdrfilm", "width": 8, "height": 8, "sample_border": True}
    sensor = mi.load_dict({"type": "perspective", "film": film})
    with pytest.raises(InputError, match="samples cannot be allocated with 'sample_border'"):
        PixelAllocation().samples(sensor, 4, mi.UInt32(0))
