"""Which step the differences of a reference take."""

from __future__ import annotations

import dataclasses

import mitsuba as mi
import numpy as np
import pytest

from pbdr.compare.estimators import smooth_adjoint
from pbdr.compare.perturbations import Perturbation
from pbdr.compare.references import central_differences
from pbdr.compare.step_choice import allowed_doublings, best_step, matched_adjoint, run_pilot


def differences(*, noise: float, curvature: float, doublings: int = 4, repeats: int = 8, seed: int = 0) -> np.ndarray:
    """Differences of a function with a third derivative, whose noise falls with the root of the step."""
    generator = np.random.default_rng(seed)
    steps = 0.5 * 2.0 ** np.arange(doublings + 1)
    truth = 1 + curvature * steps**2
    scatter = noise / np.sqrt(steps)[:, None] * generator.standard_normal((repeats, doublings + 1, 36))
    return truth[:, None] + scatter


@pytest.mark.parametrize(
    ("noise", "curvature", "chosen"),
    [(0.1, 0.0, (8, 8)), (0.0, 0.1, (1, 1)), (1e-6, 0.1, (1, 1)), (0.1, 0.02, (1, 4)), (1.0, 1e-4, (8, 8))],
)
def test_noise_asks_for_large_steps_and_curvature_for_small_ones(noise, curvature, chosen):
    low, high = chosen
    for seed in range(5):
        assert low <= best_step(differences(noise=noise, curvature=curvature, seed=seed), 1.0) <= high


def test_values_that_are_not_finite_leave_the_default():
    table = differences(noise=0.1, curvature=0.0)
    table[0, 3, 0] = np.nan
    assert best_step(table, 0.3) == 0.3


@pytest.fixture(scope="module")
def scene() -> mi.Scene:
    return mi.load_dict(
        {
            "type": "scene",
            "sensor": {
                "type": "perspective",
                "to_world": mi.ScalarTransform4f().look_at([0, 0, 4], [0, 0, 0], [0, 1, 0]),
                "film": {"type": "hdrfilm", "width": 16, "height": 16},
            },
            "sky": {"type": "constant", "radiance": {"type": "rgb", "value": 30.0}},
            "wall": {"type": "rectangle", "bsdf": {"type": "diffuse", "reflectance": {"type": "rgb", "value": 0.9}}},
            "metal": {"type": "sphere", "radius": 0.3, "bsdf": {"type": "roughconductor", "alpha": 0.9}},
        }
    )


@pytest.mark.parametrize(
    ("direction", "count"),
    [
        # 2 % of 0.9 may grow to a tenth, where the albedo is 1
        (Perturbation.uniform("wall.bsdf.reflectance.value"), 2),
        (Perturbation.uniform("metal.bsdf.alpha.value"), 2),
        (Perturbation.uniform("sky.radiance.value"), 4),
        (Perturbation.translate("wall.to_world", (1, 0, 0)), 3),
    ],
)
def test_values_stay_physical(scene, direction, count):
    assert allowed_doublings(direction.bind(scene)) == count


def test_a_stated_step_is_kept_and_others_are_doubled(scene):
    direction = Perturbation.uniform("sky.radiance.value")
    default = direction.bind(scene).step
    stated = dataclasses.replace(direction, step=0.123)
    assert run_pilot(scene, stated, integrator="path", spp=4, repeats=2).step == 0.123
    # A linear parameter has no truncation, so that any larger step is as good or better
    pilot = run_pilot(scene, direction, integrator={"type": "path", "max_depth": 2}, spp=4, repeats=4)
    assert pilot.step / default in (1, 2, 4, 8, 16)
    assert pilot.adjoint.shape == (*reversed(scene.sensors()[0].film().size()), 3)


def test_matched_adjoint_stands_out_of_the_noise():
    shape, generator = (64, 64, 3), np.random.default_rng(0)
    truth = np.zeros(64)
    truth[[10, 11, 40]] = 3, -2, 4
    noise = np.where(np.arange(64) % 2, 0.2, 2.0)
    samples = truth + noise * generator.normal(size=(8, 64))
    adjoint = matched_adjoint(samples, shape)
    assert adjoint.shape == shape
    assert np.abs(adjoint).max() <= 1

    def stands_out(image):
        weights = image[4::8, 4::8, 0].ravel()
        return abs(np.sum(weights * truth)) / np.linalg.norm(weights * noise)

    assert stands_out(adjoint) > 2 * max(stands_out(smooth_adjoint(shape, seed)) for seed in range(8))
    assert matched_adjoint(0.1 * noise * generator.normal(size=(64, 64)), shape) is None


@pytest.mark.parametrize("kind", ["colour", "texture"])
def test_spectral_reflectances_are_polynomials(kind):
    """Coefficients belong to powers of the wavelength: no step may change reflectances by more than some hundredths."""
    mi.set_variant("llvm_ad_spectral")
    texels = mi.Bitmap(np.random.default_rng(0).uniform(0.2, 0.8, (4, 4, 3)).astype(np.float32))
    colours = {"colour": {"type": "rgb", "value": [0.2, 0.5, 0.3]}, "texture": {"type": "bitmap", "bitmap": texels}}
    floor = {"type": "rectangle", "bsdf": {"type": "diffuse", "reflectance": colours[kind]}}
    film = {"type": "hdrfilm", "width": 8, "height": 8, "rfilter": {"type": "box"}}
    camera = {
        "type": "orthographic",
        "film": film,
        "to_world": mi.ScalarTransform4f().look_at([0, 0, 2], [0, 0, 0], [0, 1, 0]),
    }
    scene = mi.load_dict(
        {"type": "scene", "floor": floor, "camera": camera, "sky": {"type": "constant"}}, optimize=False
    )
    key = {"colour": "floor.bsdf.reflectance.value", "texture": "floor.bsdf.reflectance.data"}[kind]
    step = Perturbation.uniform(key).bind(scene).step
    images = []
    for size in (step, step / 8):
        moved = Perturbation.uniform(key, step=size)
        images.append(central_differences(scene, moved, spp=16, repeats=4, integrator="path").image)
    assert np.abs(images[1]).mean() > 0
    np.testing.assert_allclose(images[0].mean(), images[1].mean(), rtol=0.01)
