"""Derivatives from recorded paths: equal to replay at equal seed, right in expectation, within the memory budget."""

from __future__ import annotations

import drjit as dr
import mitsuba as mi
import numpy as np
import pytest

import pbdr
from pbdr.compare.estimators import smooth_adjoint
from pbdr.compare.statistics import assert_unbiased
from pbdr.interior import recording as recordings
from pbdr.transport.tangents import attached_copy
from pbdr.transport.vertices import KINDS, VERTICES, Kept

from .interior_cases import MOVING, STILL, _spot, stage

SPP = 16


def integrator(**properties) -> mi.Integrator:
    return mi.load_dict({"type": "pbdr", "boundary": "none", "max_depth": 4, **properties})


def attach(scene: mi.Scene, key: str) -> dr.ArrayBase:
    """A fresh copy of a parameter that carries derivatives."""
    params = mi.traverse(scene)
    leaf, params[key] = attached_copy(params[key])
    params.update()
    return leaf


def seed(value: int) -> mi.UInt32:
    return dr.opaque(mi.UInt32, pbdr.seeds.derive_seed(value, "test"))


def replayed(scene, key, estimator, adjoint, spp=SPP) -> np.ndarray:
    leaf = attach(scene, key)
    estimator.render_backward(scene, mi.traverse(scene), adjoint, 0, seed(3), spp)
    return np.array(dr.grad(leaf))


def recorded(scene, key, estimator, adjoint, spp=SPP) -> tuple[np.ndarray, mi.TensorXf]:
    leaf = attach(scene, key)
    recording = pbdr.record(estimator, scene, 0, seed=seed(3), spp=spp)
    recording.backward([adjoint])
    return np.array(dr.grad(leaf)), recording.images[0]


def adjoint_of(scene: mi.Scene) -> mi.TensorXf:
    shape = integrator().render(scene, spp=1).shape
    return mi.TensorXf(smooth_adjoint(shape).astype(np.float32))


def assert_equals_replay(scene, key, **properties) -> None:
    estimator, adjoint = integrator(**properties), adjoint_of(scene)
    expected = replayed(scene, key, estimator, adjoint)
    found, image = recorded(scene, key, estimator, adjoint)
    assert np.abs(expected).max() > 0
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())
    np.testing.assert_allclose(image, estimator.render(scene, 0, seed(3), SPP), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", STILL)
def test_equals_replay_at_equal_seed(name):
    build, direction = STILL[name]
    assert_equals_replay(build(), direction.key)


def test_equals_replay_behind_hidden_emitters():
    build, direction = STILL["environment map"]
    assert_equals_replay(build(), direction.key, hide_emitters=True)


def test_equals_replay_of_an_environment_beside_a_lamp():
    """The lamp is in view and found by both strategies, but carries no derivatives."""
    glow = {"type": "area", "radiance": {"type": "rgb", "value": 3.0}}
    lamp = {"type": "sphere", "radius": 0.3, "center": [0.3, 0.2, 0.5], "emitter": glow}
    sky = {"type": "constant", "radiance": {"type": "rgb", "value": [1, 0.8, 0.6]}}
    assert_equals_replay(stage(lamp=None, light=sky, ball=lamp), "light.radiance.value")


@pytest.mark.parametrize("spot", [False, True])
def test_equals_replay_of_many_lamps(spot):
    """Textures and constants, in view from both sides, all attached, with a surface and without."""
    texels = mi.Bitmap(np.random.default_rng(3).uniform(1, 4, (3, 5, 3)).astype(np.float32))
    shining = {"type": "area", "radiance": {"type": "bitmap", "bitmap": texels, "raw": True}}
    glowing = {"type": "area", "radiance": {"type": "rgb", "value": [3.0, 2.0, 1.0]}}
    T = mi.ScalarTransform4f
    away = T().translate([-0.6, 0.5, 0.6]).rotate([1, 0, 0], 60).scale(0.3)
    scene = stage(
        lamp={"type": "cube", "to_world": T().translate([0.6, 0.6, 0.6]).scale(0.2), "emitter": shining},
        sheet={"type": "rectangle", "to_world": away, "emitter": shining},
        ball={"type": "sphere", "radius": 0.2, "center": [0, -0.4, 0.5], "emitter": glowing},
        sky={"type": "constant", "radiance": {"type": "rgb", "value": [0.5, 0.6, 0.7]}},
        **({"light": _spot()} if spot else {}),
    )
    estimator, adjoint = integrator(), adjoint_of(scene)
    lamps = ["lamp.emitter.radiance.data", "sheet.emitter.radiance.data", "ball.emitter.radiance.value"]
    lamps += ["sky.radiance.value"] + ["light.intensity.value"] * spot
    for keys in (lamps, [*lamps, "floor.bsdf.reflectance.data"]):
        gradients = []
        for record in (False, True):
            leaves = [attach(scene, key) for key in keys]
            if record:
                pbdr.record(estimator, scene, 0, seed=seed(3), spp=SPP).backward([adjoint])
            else:
                estimator.render_backward(scene, mi.traverse(scene), adjoint, 0, seed(3), SPP)
            gradients.append([np.array(dr.grad(leaf)) for leaf in leaves])
            apart = Kept.of(scene, estimator.experience.attachment(scene)).lights_apart
            assert apart is not spot
        for expected, found in zip(*gradients, strict=True):
            assert np.abs(expected).max() > 0
            np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("key", ["red.reflectance.value", "light.emitter.radiance.value"])
def test_equals_replay_with_wavelengths(key):
    mi.set_variant("llvm_ad_spectral")
    box = mi.cornell_box()
    box["sensor"]["film"].update(width=12, height=12)
    assert_equals_replay(mi.load_dict(box, optimize=False), key)


@pytest.mark.parametrize(
    ("name", "memory_budget"),
    [
        ("diffuse texture", 1),
        ("glass tint", 1),
        ("environment map", 1),
        ("diffuse texture", 1e-3),
        ("area light", 4e-4),
    ],
)
def test_forward_and_backward_are_transposes(name, memory_budget):
    """Also where vertices are more than expected, and more than fit."""
    build, direction = STILL[name]
    scene = build()
    estimators = [integrator(memory_budget=memory_budget) for _ in range(2)]
    for estimator in estimators:
        estimator.experience.densities = dict.fromkeys(KINDS, 0.5)
    adjoint = adjoint_of(scene)
    backward, _ = recorded(scene, direction.key, estimators[0], adjoint)
    leaf = attach(scene, direction.key)
    tangent = np.random.default_rng(1).uniform(-1, 1, backward.shape).astype(np.float32)
    dr.set_grad(leaf, type(leaf)(tangent))
    image = np.array(pbdr.record(estimators[1], scene, 0, seed=seed(3), spp=SPP).forward()[0])
    magnitude = float(np.abs(np.array(adjoint) * image).sum())
    assert magnitude > 0
    assert np.vdot(backward, tangent) == pytest.approx(np.vdot(np.array(adjoint), image), abs=1e-4 * magnitude)


@pytest.mark.parametrize("name", ["diffuse texture", "environment map", "principled roughness"])
def test_products_of_two_images_are_unbiased(name):
    """The gradient of a squared error against that of one adjoint, found with many samples."""
    build, direction = STILL[name]
    scene, estimator = build(), integrator()
    target = mi.TensorXf(0.1)

    def loss(image: mi.TensorXf) -> mi.TensorXf:
        return dr.mean(dr.square(image - target), axis=None)

    value = dr.detach(mi.traverse(scene)[direction.key])
    mean = sum(estimator.render(scene, 0, seed(k), 1024) for k in range(4)) / 4
    adjoint = 2 * (mean - target) / dr.prod(mean.shape)
    leaf = attach(scene, direction.key)
    pbdr.record(estimator, scene, 0, seed=seed(100), spp=2048).backward([adjoint])
    expected = np.array(dr.grad(leaf))
    samples = []
    for k in range(64):
        gradient = pbdr.step(scene, {direction.key: value}, 0, loss, spp=4, seed=k, integrator=estimator).gradients
        samples.append(float(np.vdot(np.array(gradient[direction.key]), expected)))
    assert_unbiased(samples, float(np.vdot(expected, expected)))


def test_moving_things_are_not_recorded():
    for name in ("camera rotation", "room size"):
        build, direction = MOVING[name]
        scene = build()
        with direction.bind(scene).attached():
            assert pbdr.record(integrator(), scene, 0, seed=seed(0), spp=4) is None
    build, _ = STILL["area light"]
    assert pbdr.record(integrator(), build(), 0, seed=seed(0), spp=4) is None


def test_too_many_vertices_for_the_first_guess(monkeypatch):
    monkeypatch.setattr(recordings, "FIRST_GUESS", dict.fromkeys(KINDS, 0.01))
    monkeypatch.setattr(recordings, "_SPARE", 1)
    build, direction = STILL["diffuse texture"]
    scene, estimator, adjoint = build(), integrator(), adjoint_of(build())
    estimator.experience.densities = dict.fromkeys(KINDS, 0.01)
    expected = replayed(scene, direction.key, estimator, adjoint)
    found, _ = recorded(scene, direction.key, estimator, adjoint)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())
    assert estimator.experience.densities[VERTICES] > 0.5


@pytest.mark.parametrize("known", [0.01, 4.0])
def test_little_memory_means_more_passes(known):
    """A budget for a part of the vertices, whether their number is known or not: an unbiased gradient either way.

    The box filter has no weights that depend on how samples are divided.
    """
    box, key = mi.cornell_box(), "white.reflectance.value"
    box["sensor"]["film"].update(width=12, height=12, rfilter={"type": "box"})
    scene = mi.load_dict(box, optimize=False)
    adjoint = adjoint_of(scene)
    large = [recorded_sum(scene, key, integrator(), adjoint, k) for k in range(8)]
    small = integrator(memory_budget=12 * 12 * SPP * 200 / 2**30)
    small.experience.densities = dict.fromkeys(KINDS, known)
    samples = [recorded_sum(scene, key, small, adjoint, 1000 + k) for k in range(8)]
    assert np.mean(samples) == pytest.approx(np.mean(large), abs=4 * np.hypot(np.std(samples), np.std(large)) / 8**0.5)


def recorded_sum(scene, key, estimator, adjoint, number: int) -> float:
    leaf = attach(scene, key)
    pbdr.record(estimator, scene, 0, seed=seed(number), spp=SPP).backward([adjoint])
    return float(np.array(dr.grad(leaf)).sum())


def test_a_texture_that_a_lamp_shares_with_a_surface():
    """The surface counts although most of its light comes from elsewhere: replay and recording see all its vertices."""
    shared = mi.load_dict({"type": "bitmap", "bitmap": mi.Bitmap(np.full((2, 2, 3), 0.5, np.float32)), "raw": True})
    move = mi.ScalarTransform4f()
    scene = stage(
        floor={"type": "rectangle", "bsdf": {"type": "diffuse", "reflectance": shared}},
        lamp={
            "type": "rectangle",
            "to_world": move.translate([0, 0, 2]).rotate([1, 0, 0], 180).scale(0.1),
            "emitter": {"type": "area", "radiance": shared},
        },
        sky={"type": "constant"},
    )
    key = next(key for key in mi.traverse(scene).keys() if key.endswith(".data"))  # noqa: SIM118
    taped = replayed(scene, key, integrator(interior="taped"), adjoint_of(scene))
    np.testing.assert_allclose(replayed(scene, key, integrator(), adjoint_of(scene)), taped, rtol=1e-3)
    assert_equals_replay(scene, key)
