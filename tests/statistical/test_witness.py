"""The witness itself: known failures of Mitsuba's integrators are biased or failed, and what is right is consistent."""

from __future__ import annotations

import gc

import pytest

from pbdr.compare.cache import Precision, reference_for
from pbdr.compare.cases import suite_cases
from pbdr.compare.distributions import sidak
from pbdr.compare.estimators import (
    estimator_integrator,
    forward_gradient,
    reverse_gradient,
    smooth_adjoint,
    telling_adjoint,
    transposition_residual,
)
from pbdr.compare.measure import Effort, measure
from pbdr.compare.references import central_differences
from pbdr.compare.statistics import Criteria, bias_of, compare_blocks


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    """References of one test session are shared, and none are left in the user's cache."""
    monkeypatch.setenv("PBDR_CACHE", str(tmp_path_factory.getbasetemp() / "references"))


@pytest.fixture(autouse=True)
def _no_other_scenes():
    """Attached scenes that wait to be collected would attach calls in the scene of a test as well."""
    gc.collect()


def judged(name: str, estimator: str, *, seeds: int = 8, spp: int = 64, budget: float = 6.0):
    """The row of one estimator on one case of the suite."""
    (case,) = suite_cases("gradients", name)
    scene = case.build()
    reference = reference_for(case, scene, Precision(budget=budget, relative_error=0.01, spp=256))
    integrator = estimator_integrator(estimator, case.max_depth)
    effort = Effort(seeds=seeds, spp=spp, budget=600)
    return measure(case, scene, estimator, integrator, reference, effort=effort, criteria=Criteria())[0]


@pytest.mark.parametrize("name", ["albedo_single_bounce", "emitter_scale", "shape_disk"])
def test_finite_differences_meet_the_closed_forms(name):
    (case,) = suite_cases("gradients", name)
    scene = case.build()
    truth = case.truth(scene)
    reference = central_differences(
        scene, case.direction, integrator={"type": "path", "max_depth": case.max_depth}, spp=256, repeats=8
    )
    correction = (reference.fine - reference.coarse).mean(axis=0) / 3
    blocks = compare_blocks(reference.samples, truth.samples, correction, criteria=Criteria())
    assert min(blocks.tail, blocks.worst_tail) > sidak(0.999, 2)
    adjoint = telling_adjoint(truth)
    exact = truth.scalar(adjoint)
    bias = bias_of(reference.scalar(adjoint), exact, scale=abs(exact.value), criteria=Criteria())
    assert bias.tail > 0.001
    assert abs(bias.relative) < 0.01


FAST = [
    ("texture_albedo", "prb", "consistent"),
    ("emitter_scale", "path", "consistent"),
    ("silhouette_welded", "prb", "biased"),
    ("shadow_moving_occluder", "prb", "biased"),
    ("emitter_point_position", "prb", "failed"),
    ("emitter_point_position", "path", "consistent"),
    ("camera_translation", "prb", "failed"),
]

SLOW = [
    ("material_plastic_albedo", "prb", "consistent"),
    ("emitter_environment_map", "prb", "consistent"),
    ("interreflection_albedo", "prb", "consistent"),
    ("shape_disk", "prb_projective", "consistent"),
    ("silhouette_welded", "prb_projective", "consistent"),
    ("silhouette_lit_creases", "prb_projective", "biased"),
    ("shadow_point_light", "prb_projective", "biased"),
    ("camera_rotation", "prb_projective", "failed"),
    ("shape_instance", "prb", "biased"),
    ("interreflection_albedo", "direct_projective", "unsupported"),
]


@pytest.mark.parametrize(("name", "estimator", "word"), FAST)
def test_known_verdicts(name, estimator, word):
    row = judged(name, estimator)
    assert row.word == word, row.reason


@pytest.mark.slow
@pytest.mark.parametrize(("name", "estimator", "word"), SLOW)
def test_known_verdicts_that_take_longer(name, estimator, word):
    # Projective sampling takes hundreds of primal renders for a gradient
    row = judged(name, estimator, budget=30, seeds=4 if word == "biased" else 8)
    assert row.word == word, row.reason


def test_zero_is_called_by_its_name():
    row = judged("shadow_moving_occluder", "prb", seeds=4)
    assert row.reason == "exactly zero, but the reference is not"
    assert row.relative_bias == pytest.approx(-1)
    assert row.image_bias == pytest.approx(1, abs=0.05)


@pytest.mark.slow
def test_split_vertices_double_the_silhouettes_of_projective_sampling():
    row = judged("silhouette_split_vertices", "prb_projective", budget=30, seeds=4)
    assert row.word == "biased"
    assert row.image_bias == pytest.approx(1.0, abs=0.1)
    assert row.relative_bias > 0.5


def test_equal_seeds_give_transposes():
    (case,) = suite_cases("gradients", "texture_albedo")
    scene, integrator = case.build(), estimator_integrator("prb", case.max_depth)
    adjoint = smooth_adjoint((48, 48, 3))
    forward = forward_gradient(scene, case.direction, integrator, spp=16, seed=3)
    same, other = (reverse_gradient(scene, case.direction, integrator, adjoint, spp=16, seed=seed) for seed in (3, 4))
    assert transposition_residual(forward, same, adjoint) < 1e-4
    assert transposition_residual(forward, other, adjoint) > 1e-4
