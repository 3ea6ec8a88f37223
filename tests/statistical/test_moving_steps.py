"""Steps on geometry, cameras and lights whose images share their paths with the derivative."""

from __future__ import annotations

import drjit as dr
import mitsuba as mi
import numpy as np
import pytest

import pbdr
from pbdr.compare.estimators import forward_gradient, smooth_adjoint
from pbdr.compare.perturbations import Perturbation
from pbdr.compare.statistics import assert_unbiased

from .silhouette_cases import area, glowing, integrator, sky, stage
from .test_recording import attach

KEY = "box.vertex_positions"


def taken(leaf: dr.ArrayBase) -> np.ndarray:
    """A gradient, which is then reset."""
    found = np.array(dr.grad(leaf)).ravel()
    dr.clear_grad(leaf)
    return found


#: GiB; the second leaves room for a few samples per pixel at a time
BUDGETS = (1.0, 24 * 24 * 128 * 24 / 2**30)


@pytest.mark.parametrize(
    ("key", "memory_budget"),
    [
        (KEY, BUDGETS[0]),
        (KEY, BUDGETS[1]),
        pytest.param("camera.to_world", BUDGETS[0], marks=pytest.mark.slow),
        ("camera.to_world", BUDGETS[1]),
        ("lamp.to_world", BUDGETS[0]),
        pytest.param("lamp.to_world", BUDGETS[1], marks=pytest.mark.slow),
    ],
)
def test_equals_a_derivative_of_its_own(key, memory_budget):
    """One set of paths, kept or traced again, gives the image and the gradient of its seed."""
    scene, adjoint, seed = stage(area()), mi.TensorXf(smooth_adjoint((24, 24, 3))), dr.opaque(mi.UInt32, 5)
    leaf = attach(scene, key)
    settings = {"type": "pbdr", "max_depth": 3, "memory_budget": memory_budget}
    recording = pbdr.record(mi.load_dict(settings), scene, 0, spp=8, seed=seed, moving=True)
    recording.backward([adjoint])
    found = taken(leaf)
    own, one = mi.sample_tea_32(seed, mi.UInt32(0))[0], mi.load_dict(settings)
    np.testing.assert_allclose(recording.images[0], one.render(scene, 0, own, 8), rtol=1e-4, atol=1e-5)
    # A recording's derivative leaves nothing of the graph behind it
    leaf = attach(scene, key)
    one.render_backward(scene, None, adjoint, 0, own, 8)
    expected = taken(leaf)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())


@pytest.mark.parametrize(
    ("build", "key"),
    [
        pytest.param(lambda: stage(area()), KEY, id="occluder"),
        pytest.param(lambda: stage(area()), "camera.to_world", id="camera"),
        pytest.param(lambda: stage(sky(), glowing()), "box.to_world", id="glowing disk", marks=pytest.mark.slow),
    ],
)
def test_products_of_two_images_are_unbiased(build, key):
    """The gradient of a squared error against that of one adjoint, found with many samples."""
    scene, one = build(), integrator()
    target = mi.TensorXf(0.1)

    def loss(image: mi.TensorXf) -> mi.TensorXf:
        return dr.mean(dr.square(image - target), axis=None)

    value = dr.detach(mi.traverse(scene)[key])
    mean = sum(one.render(scene, 0, dr.opaque(mi.UInt32, k), 1024) for k in range(4)) / 4
    adjoint = 2 * (mean - target) / dr.prod(mean.shape)
    leaf = attach(scene, key)
    expected = 0
    for k in range(8):
        one.render_backward(scene, None, adjoint, 0, dr.opaque(mi.UInt32, 100 + k), 256)
        expected = expected + taken(leaf) / 8
    samples = []
    for k in range(64):
        found = pbdr.step(scene, {key: value}, 0, loss, spp=8, seed=k, integrator=one).gradients[key]
        found = np.array(found.matrix if isinstance(found, mi.Transform4f) else found).ravel()
        samples.append(float(found @ expected) / float(expected @ expected))
    assert_unbiased(samples, 1.0)
    assert one.experience.frozen.launched > 100


def test_warped_area_has_images_of_its_own():
    scene = stage(area())
    attach(scene, KEY)
    assert pbdr.record(integrator("warped_area"), scene, 0, spp=4, seed=0, moving=True) is None
    assert pbdr.record(integrator(), scene, 0, spp=4, seed=0) is None


def test_a_box_whose_faces_fly_apart_later():
    """Edges that two faces shared at the first gradient are two borders then."""
    scene, used, weights = stage(area()), integrator(), np.linspace(-1, 1, 24)[None, :, None]
    along = Perturbation.translate(KEY, (1, 0.3, 0.2))
    forward_gradient(scene, along, used, spp=16)

    params = mi.traverse(scene)
    corners = np.array(params[KEY], np.float64).reshape(-1, 3)
    a, b, c = (corners[np.array(params["box.faces"]).reshape(-1, 3)[:, k]] for k in range(3))
    outward = np.cross(b - a, c - a)
    outward /= np.linalg.norm(outward, axis=1, keepdims=True)
    apart = corners.copy()
    apart[np.array(params["box.faces"])] += 0.2 * np.repeat(outward, 3, axis=0)
    params[KEY] = mi.Float(np.float32(apart).ravel())
    params.update()
    again, fresh = (
        [(weights * forward_gradient(scene, along, one, spp=64, seed=seed)).sum() for seed in range(8)]
        for one in (used, integrator())
    )
    error = np.hypot(np.std(again), np.std(fresh)) / np.sqrt(8)
    assert abs(np.mean(again) - np.mean(fresh)) < 5 * error < 0.25 * abs(np.mean(fresh))
