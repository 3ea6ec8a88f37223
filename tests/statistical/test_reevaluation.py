"""Recorded paths under other materials and lights: the same image where nothing changed, the right mean elsewhere."""

from __future__ import annotations

import dataclasses
import functools

import drjit as dr
import mitsuba as mi
import numpy as np
import pytest

import pbdr
from pbdr.compare.statistics import Criteria, compare_blocks
from pbdr.errors import InputError
from pbdr.transport.vertices import KINDS

from .interior_cases import STILL, _ball, _lit

SMOOTH_PLASTIC = functools.partial(
    _ball, {"type": "plastic", "diffuse_reflectance": {"type": "rgb", "value": [0.7, 0.5, 0.2]}}
)
BLACK_CHANNEL = functools.partial(_ball, {"type": "diffuse", "reflectance": {"type": "rgb", "value": [0.7, 0.0, 0.2]}})

#: name → (scene, key, what is done to its numbers)
CASES = {
    "diffuse texture": (STILL["diffuse texture"][0], "floor.bsdf.reflectance.data", lambda x: 0.9 - 0.5 * x),
    "lobes of plastic": (SMOOTH_PLASTIC, "ball.bsdf.diffuse_reflectance.value", lambda x: 0.2 * x),
    "black channel": (BLACK_CHANNEL, "ball.bsdf.reflectance.value", lambda x: 0.6 - 0.5 * x),
    "glass tint": (STILL["glass tint"][0], "ball.bsdf.specular_transmittance.value", lambda x: 0.5 * x),
    "roughness": (STILL["conductor roughness"][0], "ball.bsdf.alpha.value", lambda x: 0.4 * x),
    "opacity": (STILL["opacity"][0], "ball.bsdf.opacity.value", lambda x: 0.7 * x),
    "blend weight": (STILL["blend weight"][0], "ball.bsdf.weight.value", lambda x: 1.5 * x),
    "area light": (STILL["area light"][0], "lamp.emitter.radiance.value", lambda x: 7 - x),
    "environment map": (STILL["environment map"][0], "light.data", lambda x: 1 - x),
    "spot": (STILL["spot intensity"][0], "light.intensity.value", lambda x: 2 * x),
}

#: Materials whose lobes are chosen by their parameters, under others
REFUSED = (
    "share of a mirror", "share of smooth plastic", "share of smooth plastic over a mirror",
    "share of smooth plastic under thin glass", "share of two smooth plastics, twosided",
    "smooth plastic in a blend under a normal map",
    "opacity over a mirror in a blend",
)  # fmt: skip


def integrator(**properties) -> mi.Integrator:
    return mi.load_dict({"type": "pbdr", "max_depth": 4, **properties})


def seed(value: int) -> mi.UInt32:
    return dr.opaque(mi.UInt32, pbdr.seeds.derive_seed(value, "reevaluation"))


def changed(scene: mi.Scene, key: str, change) -> dr.ArrayBase:
    value = mi.traverse(scene)[key]
    return type(value)(change(value.array), value.shape) if dr.is_tensor_v(value) else type(value)(change(value))


@pytest.mark.parametrize("name", [*CASES, "directional irradiance", "rotation of an environment map"])
def test_unchanged_values_give_the_recorded_image(name):
    """Which is the one that is rendered with the same seed; also when kernels are launched again."""
    scene, key = (CASES[name][0](), CASES[name][1]) if name in CASES else (STILL[name][0](), STILL[name][1].key)
    estimator = integrator()
    for k in range(3):
        recording = pbdr.record(estimator, scene, 0, spp=16, seed=seed(k), reusable=True)
        (image,) = recording.reevaluate({key: mi.traverse(scene)[key]})
        np.testing.assert_allclose(image, recording.images[0], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(image, estimator.render(scene, 0, seed(k), 16), rtol=1e-4, atol=1e-5)
    assert estimator.experience.frozen.works


def assert_right_mean(scene: mi.Scene, key: str, value: dr.ArrayBase, count: int = 16) -> None:
    """Compare reevaluated images with those rendered under the new value."""
    estimator, former = integrator(), np.array(mi.traverse(scene)[key])
    recorded, found, expected = [], [], []
    for k in range(count):
        recording = pbdr.record(estimator, scene, 0, spp=16, seed=seed(k), reusable=True)
        recorded.append(np.array(recording.images[0]))
        found.append(np.array(recording.reevaluate({key: value})[0]))
    np.testing.assert_array_equal(np.array(mi.traverse(scene)[key]), former)
    params = mi.traverse(scene)
    params[key] = value
    params.update()
    for k in range(count):
        expected.append(np.array(estimator.render(scene, 0, seed(1000 + k), 16)))
    criteria = Criteria(negligible=0.0)
    test = compare_blocks(np.array(found), np.array(expected), criteria=criteria)
    assert min(test.tail, test.worst_tail) > 1e-4
    # The test would have seen the recorded images
    test = compare_blocks(np.array(recorded), np.array(expected), criteria=criteria)
    assert min(test.tail, test.worst_tail) < 1e-3


@pytest.mark.parametrize("name", CASES)
def test_other_values_give_the_right_mean(name):
    build, key, change = CASES[name]
    scene = build()
    assert_right_mean(scene, key, changed(scene, key, change))


def test_with_wavelengths():
    mi.set_variant("llvm_ad_spectral")
    box, key = mi.cornell_box(), "white.reflectance.value"
    box["sensor"]["film"].update(width=16, height=16)
    scene, estimator = mi.load_dict(box, optimize=False), integrator()
    recording = pbdr.record(estimator, scene, 0, spp=16, seed=seed(1), reusable=True)
    params = mi.traverse(scene)
    (image,) = recording.reevaluate({key: params[key]})
    np.testing.assert_allclose(image, recording.images[0], rtol=1e-5, atol=1e-6)
    # A spectrum is held by coefficients: those of another wall
    assert_right_mean(scene, key, type(params[key])(params["red.reflectance.value"]), 8)


@pytest.mark.parametrize("name", REFUSED)
def test_lobes_that_parameters_choose_are_refused(name):
    scene, direction = STILL[name]
    scene = scene()
    with pytest.raises(InputError, match="cannot be reevaluated; make it rough"):
        pbdr.record(integrator(), scene, 0, spp=4, seed=seed(0), reusable=True).reevaluate(
            {direction.key: mi.traverse(scene)[direction.key]}
        )


@pytest.mark.parametrize("name", [name for name in STILL if name not in REFUSED and "rotation" not in name])
def test_derivatives_are_differences_of_reevaluated_images(name):
    """On the same paths the only error is that of the central difference."""
    build, direction = STILL[name]
    scene, key = build(), direction.key
    recording = pbdr.record(integrator(), scene, 0, spp=16, seed=seed(1), reusable=True)
    value = mi.traverse(scene)[key]
    along = np.random.default_rng(2).uniform(0.5, 1, np.array(value).shape).astype(np.float32)
    step = 1e-2

    def moved(by: float) -> dr.ArrayBase:
        if dr.is_tensor_v(value):
            return type(value)(value.array + by * mi.Float(along.ravel()), value.shape)
        return type(value)(value + by * type(value)(along))

    ahead, behind = (np.array(recording.reevaluate({key: moved(by)})[0]) for by in (step, -step))
    expected = (ahead - behind) / (2 * step)
    found = np.array(recording.jvp([{key: type(value)(along)}])[0])
    assert found.shape == (1, *expected.shape)
    # Of the size of the third derivative where roughness changes, of rounding elsewhere
    np.testing.assert_allclose(found[0], expected, rtol=0.01, atol=0.01 * np.abs(expected).max())


@pytest.mark.parametrize("memory_budget", [1, 1e-3])
def test_many_directions_are_many_derivatives(memory_budget):
    """More than one kernel takes, and with less memory than the vertices need."""
    build, direction = STILL["diffuse texture"]
    scene, estimator = build(), integrator(memory_budget=memory_budget)
    estimator.experience.densities = dict.fromkeys(KINDS, 0.5)
    params = mi.traverse(scene)
    keys = [direction.key, "lamp.emitter.radiance.value"]
    for key in keys:
        dr.enable_grad(params[key])
    params.update()
    recording = pbdr.record(estimator, scene, 0, spp=16, seed=seed(1))
    shape = params[direction.key].shape
    patterns = np.random.default_rng(2).uniform(-1, 1, (9, *shape)).astype(np.float32)
    directions = [{direction.key: mi.TensorXf(pattern)} for pattern in patterns]
    directions += [{keys[1]: mi.Color3f(1, 0, 0)}, {direction.key: mi.TensorXf(patterns[0]), keys[1]: mi.Color3f(1)}]
    first = np.array(recording.jvp(directions[:1])[0])[0]
    # What the variables hold is no part of these
    for key in keys:
        dr.set_grad(params[key], 1)
    together = np.array(recording.jvp(directions)[0])
    np.testing.assert_allclose(together[0], first, rtol=1e-4, atol=1e-5 * np.abs(first).max())
    assert together.shape == (11, *recording.images[0].shape)
    for k in (0, 8, 9, 10):
        alone = np.array(recording.jvp([directions[k]])[0])[0]
        assert np.abs(alone).max() > 0
        np.testing.assert_allclose(together[k], alone, rtol=1e-4, atol=1e-5 * np.abs(alone).max())
    assert np.abs(together[8] - together[0]).max() > 0
    # Parameters still carry the user's derivatives
    recording.backward([recording.images[0]])
    assert all(np.abs(np.array(dr.grad(params[key]))).max() > 0 for key in keys)


def test_behind_hidden_emitters():
    scene, estimator = STILL["environment map"][0](), integrator(hide_emitters=True)
    recording = pbdr.record(estimator, scene, 0, spp=16, seed=seed(1), reusable=True)
    (image,) = recording.reevaluate({})
    np.testing.assert_allclose(image, estimator.render(scene, 0, seed(1), 16), rtol=1e-4, atol=1e-5)


def test_derivatives_stay_those_of_the_recording():
    """Also after a reevaluation, and of parameters that carry derivatives."""
    build, direction = STILL["diffuse texture"]
    scene, estimator, gradients = build(), integrator(), []
    for reusable in (False, True):
        params = mi.traverse(scene)
        value = dr.detach(params[direction.key])
        leaf = type(value)(value.array + dr.opaque(mi.Float, 0), value.shape)
        dr.enable_grad(leaf)
        params[direction.key] = leaf
        params.update()
        recording = pbdr.record(estimator, scene, 0, spp=16, seed=seed(1), reusable=reusable)
        if reusable:
            with dr.suspend_grad():
                recording.reevaluate({direction.key: type(value)(0.5 * value.array, value.shape)})
        recording.backward([recording.images[0]])
        gradients.append(np.array(dr.grad(leaf)))
    assert np.abs(gradients[0]).max() > 0
    np.testing.assert_allclose(*gradients, rtol=1e-4, atol=1e-5 * np.abs(gradients[0]).max())


def test_bad_input():
    scene, estimator = STILL["diffuse texture"][0](), integrator()
    key = "floor.bsdf.reflectance.data"
    assert pbdr.record(mi.load_dict({"type": "prb"}), scene, 0, spp=4, seed=seed(0), reusable=True) is None
    recording = pbdr.record(estimator, scene, 0, spp=4, seed=seed(0), reusable=True)
    with pytest.raises(InputError, match=r"a direction of 'floor\.bsdf\.reflectance\.data' must be a TensorXf of its"):
        recording.jvp([{key: dr.ones(mi.TensorXf, (2, 2, 3))}])
    with pytest.raises(InputError, match=r"'lamp\.to_world' moves paths"):
        recording.reevaluate({"lamp.to_world": mi.Transform4f()})
    with pytest.raises(InputError, match=r"'camera\.x_fov' moves paths"):
        recording.reevaluate({"camera.x_fov": mi.Float(3)})
    with pytest.raises(InputError, match=r"no parameter of the scene is called 'floor\.bsdf\.reflectance\.dat'"):
        recording.reevaluate({"floor.bsdf.reflectance.dat": mi.Float(3)})
    params = mi.traverse(scene)
    dr.enable_grad(params[key])
    params.update()
    with pytest.raises(InputError, match=r"'lamp\.emitter\.radiance\.value' carried no derivatives"):
        pbdr.record(estimator, scene, 0, spp=4, seed=seed(0)).jvp([{"lamp.emitter.radiance.value": mi.Color3f(1)}])
    with pytest.raises(InputError, match="reusable=True"):
        pbdr.record(estimator, scene, 0, spp=4, seed=seed(0)).reevaluate({})
    with pytest.raises(InputError, match=r"'memory_budget' of 0\.0002 GiB"):
        pbdr.record(integrator(memory_budget=2e-4), scene, 0, spp=16, seed=seed(0), reusable=True)
    masked = _ball({"type": "mask", "opacity": 0.6, "nested": {"type": "conductor"}})
    with pytest.raises(InputError, match="shape 'ball': paths over a perfectly specular material inside a 'mask'"):
        pbdr.record(estimator, masked, 0, spp=4, seed=seed(0), reusable=True)
    ball = {"type": "sphere", "bsdf": {"type": "mask", "nested": {"type": "conductor"}}}
    group = {"type": "shapegroup", "ball": ball}
    place = {"type": "instance", "group": {"type": "ref", "id": "group"}}
    parts = {"type": "scene", "camera": {"type": "perspective"}, "sky": {"type": "constant"}}
    placed = mi.load_dict(parts | {"group": group, "place": place}, optimize=False)
    with pytest.raises(InputError, match="shape 'ball': paths over a perfectly specular material inside a 'mask'"):
        pbdr.record(estimator, placed, 0, spp=4, seed=seed(0), reusable=True)


def test_more_vertices_than_expected():
    scene, estimator = _lit({"type": "constant"}), integrator()
    estimator.experience.densities = dict.fromkeys(KINDS, 0.1)
    recording = pbdr.record(estimator, scene, 0, spp=16, seed=seed(0), reusable=True)
    np.testing.assert_allclose(recording.reevaluate({})[0], recording.images[0], rtol=1e-5, atol=1e-6)
    estimator.experience = dataclasses.replace(estimator.experience, densities=dict.fromkeys(KINDS, 1e-3))
    small = integrator(memory_budget=20 * 16 * 16 * 140 / 2**30)
    small.experience.densities = dict.fromkeys(KINDS, 1e-3)
    with pytest.raises(InputError, match="paths that are to be reevaluated or allocated need"):
        pbdr.record(small, scene, 0, spp=16, seed=seed(0), reusable=True)
