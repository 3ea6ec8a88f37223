"""Images of earlier steps as control variates: less variance at equal samples, the right mean on a given way."""

from __future__ import annotations

import functools

import drjit as dr
import mitsuba as mi
import numpy as np
import pytest

import pbdr
from pbdr.compare.statistics import Criteria, assert_unbiased, compare_blocks
from pbdr.errors import InputError

from .interior_cases import MOVING, STILL

STEPS, RUNS = 10, 32
ROUGHNESS, TEXTURE = "ball.bsdf.alpha.value", "floor.bsdf.reflectance.data"


@pytest.fixture(scope="module", autouse=True)
def _let_go():
    """Attached scenes in memory change what integrators do in other scenes."""
    yield
    roughness.cache_clear()


def loss(image: mi.TensorXf) -> mi.TensorXf:
    return dr.mean(dr.square(image - 0.1), axis=None)


@functools.cache
def roughness() -> tuple[mi.Scene, mi.Integrator]:
    # Independent samples, whose noise is larger than that of stratified ones
    return STILL["conductor roughness"][0](), mi.load_dict({"type": "pbdr", "max_depth": 3, "sampler": "scene"})


def on_the_way(step: int) -> dict:
    """Roughness falls from 0.3 to 0.2."""
    return {ROUGHNESS: mi.Float(0.3 - 0.1 * step / STEPS)}


def last_of(run: int, memory: pbdr.Memory | None) -> pbdr.step:
    """The last step of the way; without a memory the earlier ones do not matter."""
    scene, integrator = roughness()
    for step in range(STEPS + 1) if memory else [STEPS]:
        seed = 1000 * run + step + (0 if memory else 500)
        done = pbdr.step(scene, on_the_way(step), 0, loss, spp=4, seed=seed, integrator=integrator, memory=memory)
    return done


@functools.cache
def samples(remember: bool) -> tuple[np.ndarray, np.ndarray]:
    """Images and gradients of the last step. [RUNS, H, W, C] and [RUNS]"""
    done = [last_of(run, pbdr.Memory() if remember else None) for run in range(RUNS)]
    gradients = [float(np.array(step.gradients[ROUGHNESS])[0]) for step in done]
    return np.array([np.array(step.images[0]) for step in done]), np.array(gradients)


def test_variance_falls_and_the_mean_stays():
    (remembered, gradients), (plain, others) = samples(True), samples(False)
    assert plain.var(axis=0, ddof=1).mean() > 4 * remembered.var(axis=0, ddof=1).mean()
    assert others.var(ddof=1) > 2 * gradients.var(ddof=1)
    test = compare_blocks(remembered, plain, criteria=Criteria(negligible=0.0))
    assert min(test.tail, test.worst_tail) > 1e-4


def test_gradients_are_unbiased():
    """Against that of a squared error between the mean image and the target, found with many samples."""
    scene, integrator = roughness()
    value = mi.Float(on_the_way(STEPS)[ROUGHNESS])
    dr.enable_grad(value)
    params = mi.traverse(scene)
    params[ROUGHNESS] = value
    params.update()
    mean = sum(integrator.render(scene, 0, dr.opaque(mi.UInt32, k), 4096) for k in range(4)) / 4
    recording = pbdr.record(integrator, scene, 0, spp=8192, seed=dr.opaque(mi.UInt32, 77))
    recording.backward([2 * (mean - 0.1) / dr.prod(mean.shape)])
    assert_unbiased(samples(True)[1], float(np.array(dr.grad(value))[0]))


def test_forgets_what_has_become_different():
    """A texture that is replaced: little of the former image is taken, and the mean is right."""
    scene, integrator = STILL["diffuse texture"][0](), mi.load_dict({"type": "pbdr", "max_depth": 3})
    first = mi.TensorXf(mi.traverse(scene)[TEXTURE])
    second = mi.TensorXf(1 - first)
    remembered, plain, coefficients = [], [], []
    for run in range(RUNS):
        memory = pbdr.Memory()
        values = [first, first, second]
        for step, value in enumerate(values):
            seed = 1000 * run + step
            done = pbdr.step(scene, {TEXTURE: value}, 0, loss, spp=4, seed=seed, integrator=integrator, memory=memory)
            coefficients.append(float(memory.control_variate.coefficient[0]))
        remembered.append(np.array(done.images[0]))
        done = pbdr.step(scene, {TEXTURE: second}, 0, loss, spp=4, seed=5000 + run, integrator=integrator)
        plain.append(np.array(done.images[0]))
    zero, same, other = np.mean(np.reshape(coefficients, (RUNS, 3)), axis=0)
    assert zero == 0
    assert same == pytest.approx(2 / 3, abs=1e-3)
    assert other < same
    test = compare_blocks(np.array(remembered), np.array(plain), criteria=Criteria(negligible=0.0))
    assert min(test.tail, test.worst_tail) > 1e-4


def test_starts_anew_with_other_parameters_and_views():
    # Not the scene of the other tests: an attached texture that stays in memory stands in the way of forward mode
    scene, integrator = roughness.__wrapped__()
    memory, coefficients = pbdr.Memory(), []
    floor = {TEXTURE: mi.TensorXf(mi.traverse(scene)[TEXTURE])}
    other = mi.load_dict({"type": "perspective", "film": {"type": "hdrfilm", "width": 8, "height": 8}})
    for values, sensor in [(on_the_way(0), 0), (on_the_way(0), 0), (floor, 0), (floor, other), (floor, 0)]:
        pbdr.step(scene, values, sensor, loss, spp=4, seed=1, integrator=integrator, memory=memory)
        coefficients.append(float(memory.control_variate.coefficient[0]))
    assert [c > 0 for c in coefficients] == [False, True, False, False, True]


def test_needs_recorded_paths():
    build, direction = MOVING["room size"]
    scene, memory = build(), pbdr.Memory()
    with pytest.raises(InputError, match="'control_variate' and 'allocation' need recorded paths"):
        params = mi.traverse(scene)
        matrix = mi.Matrix4f(params[direction.key].matrix)
        pbdr.step(scene, {direction.key: mi.Transform4f(matrix)}, 0, loss, spp=4, seed=0, memory=memory)
    scene, _ = roughness()
    with pytest.raises(InputError, match="'control_variate' and 'allocation' need recorded paths"):
        prb = mi.load_dict({"type": "prb"})
        pbdr.step(scene, on_the_way(0), 0, loss, spp=4, seed=0, integrator=prb, memory=memory)
