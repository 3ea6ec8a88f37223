"""Interior gradients: transposes at equal seed, taped against replay, and means against central differences."""

from __future__ import annotations

import drjit as dr
import mitsuba as mi
import numpy as np
import pytest

from pbdr import step
from pbdr.compare.estimators import forward_gradient, reverse_gradient, smooth_adjoint
from pbdr.compare.perturbations import Perturbation
from pbdr.compare.references import central_differences
from pbdr.compare.statistics import assert_unbiased

from .interior_cases import MOVING, STILL, rough_glass

CASES = {**STILL, **MOVING}
FAST = (
    "diffuse texture",
    "mirror tint",
    "share of a mirror",
    "share of smooth plastic over a mirror",
    "smooth plastic in a blend under a normal map",
    "opacity under a bump map",
    "tint of thin glass under a normal map",
    "pigments of hair",
    "environment map",
    "camera before gloss",
    "camera rotation",
    "room size",
)


def integrator(interior: str, **properties) -> mi.Integrator:
    return mi.load_dict({"type": "pbdr", "interior": interior, "boundary": "none", "max_depth": 4, **properties})


def assert_transposes(backward: float, adjoint: np.ndarray, image: np.ndarray) -> None:
    """⟨Jᵀ δI, v⟩ = ⟨δI, J v⟩, to 1e-4 of the magnitudes that are summed."""
    assert backward == pytest.approx(np.vdot(adjoint, image), abs=1e-4 * np.abs(adjoint * image).sum())


def marked(names) -> list:
    return [pytest.param(name, marks=[] if name in FAST else pytest.mark.slow) for name in names]


@pytest.mark.parametrize("name", marked(CASES))
def test_forward_and_backward_are_transposes(name):
    build, direction = CASES[name]
    scene, replay = build(), integrator("replay")
    image = forward_gradient(scene, direction, replay, spp=16, seed=3)
    adjoint = smooth_adjoint(image.shape)
    backward = reverse_gradient(scene, direction, replay, adjoint, spp=16, seed=3)
    assert_transposes(backward, adjoint, image)


@pytest.mark.parametrize("name", marked(CASES))
def test_taped_equals_replay(name):
    build, direction = CASES[name]
    scene = build()
    replay = forward_gradient(scene, direction, integrator("replay"), spp=16, seed=3)
    taped = forward_gradient(scene, direction, integrator("taped"), spp=16, seed=3)
    adjoint = smooth_adjoint(replay.shape)
    assert np.abs(replay).max() > 0
    np.testing.assert_allclose(taped, replay, rtol=1e-3, atol=1e-4 * np.abs(replay).max())
    backward = reverse_gradient(scene, direction, integrator("taped"), adjoint, spp=16, seed=3)
    assert_transposes(backward, adjoint, taped)


@pytest.mark.parametrize("name", marked(CASES))
def test_mean_equals_central_differences(name):
    build, direction = CASES[name]
    scene = build()
    reference = central_differences(scene, direction, integrator=integrator("replay"), spp=256, repeats=8)
    samples = [forward_gradient(scene, direction, integrator("replay"), spp=64, seed=seed) for seed in range(8)]
    assert_unbiased(np.stack(samples), reference)


@pytest.mark.parametrize("material", [{"type": "null"}, {"type": "mask", "opacity": 0.4, "bsdf": {"type": "diffuse"}}])
def test_transparent_lamps_in_view(material):
    """Radiance is linear in that of the only lamp, also where nothing but the lamp is met."""
    lamp = {"type": "rectangle", "bsdf": material, "emitter": {"type": "area", "radiance": 1.0}}
    to_world = mi.ScalarTransform4f().look_at(origin=[0, 0, 4], target=[0, 0, 0], up=[0, 1, 0])
    film = {"type": "hdrfilm", "width": 16, "height": 16, "pixel_format": "rgba"}
    camera = {"type": "perspective", "to_world": to_world, "film": film}
    scene, one = mi.load_dict({"type": "scene", "camera": camera, "lamp": lamp}, optimize=False), integrator("replay")
    image = np.array(mi.render(scene, integrator=one, spp=16, seed=3), np.float64)
    derivative = forward_gradient(scene, Perturbation.uniform("lamp.emitter.radiance.value"), one, spp=16, seed=3)
    assert image[..., :3].max() > 0.9
    np.testing.assert_allclose(derivative[..., :3], image[..., :3], atol=1e-5)
    np.testing.assert_allclose(image[..., 3], image[..., 0], atol=1e-5)
    values = {"lamp.emitter.radiance.value": mi.Float(1)}
    done = step(scene, values, 0, lambda image: dr.sum(image[..., :3], axis=None), spp=16, seed=3, integrator=one)
    assert done.gradients["lamp.emitter.radiance.value"][0] == pytest.approx(image[..., :3].sum(), rel=0.02)


@pytest.mark.parametrize("lobe", ["specular_reflectance", "specular_transmittance"])
def test_tints_of_rough_glass(lobe):
    """They decide nothing along a path: differences of images from equal random numbers are exact, noise and all."""
    scene, one, key = rough_glass(lobe), integrator("replay"), f"ball.bsdf.{lobe}.value"
    parameters = mi.traverse(scene)

    def image(value: float) -> np.ndarray:
        parameters[key] = type(parameters[key])(value)
        parameters.update()
        return np.array(mi.render(scene, integrator=one, spp=16, seed=3), np.float64)

    difference = (image(0.62) - image(0.58)) / 0.04
    image(0.6)
    derivative = forward_gradient(scene, Perturbation.uniform(key), one, spp=16, seed=3)
    np.testing.assert_allclose(derivative, difference, rtol=1e-3, atol=1e-3 * np.abs(difference).max())
