"""Perturbations: one description for finite steps and for automatic differentiation."""

from __future__ import annotations

import json

import drjit as dr
import mitsuba as mi
import numpy as np
import pytest

from pbdr.cli.check import _job_cases
from pbdr.compare.perturbations import Perturbation, default_direction, direction_from, smooth_deformation
from pbdr.compare.references import central_differences
from pbdr.errors import InputError


@pytest.fixture
def scene():
    to_world = mi.ScalarTransform4f().look_at([0, -4, 2], [0, 0, 0], [0, 0, 1])
    texture = np.random.default_rng(0).uniform(0.2, 0.8, (4, 4, 3)).astype(np.float32)
    return mi.load_dict(
        {
            "type": "scene",
            "camera": {
                "type": "perspective",
                "to_world": to_world,
                "film": {"type": "hdrfilm", "width": 16, "height": 16},
            },
            "box": {"type": "cube", "bsdf": {"type": "diffuse", "reflectance": {"type": "rgb", "value": 0.5}}},
            "floor": {
                "type": "rectangle",
                "bsdf": {
                    "type": "diffuse",
                    "reflectance": {"type": "bitmap", "bitmap": mi.Bitmap(texture), "raw": True, "format": "variant"},
                },
            },
            "metal": {"type": "sphere", "bsdf": {"type": "roughconductor", "alpha": 0.2}},
            "lamp": {"type": "point", "position": [0, 0, 3]},
        },
        optimize=False,
    )


DIRECTIONS = [
    Perturbation.uniform("camera.x_fov"),
    Perturbation.component("box.bsdf.reflectance.value", 0),
    Perturbation.component("floor.bsdf.reflectance.data", 1, 2, 0),
    Perturbation.random("floor.bsdf.reflectance.data", seed=3),
    Perturbation.translate("box.vertex_positions", (1, 2, 0)),
    Perturbation.rotate("box.vertex_positions", (0, 0, 2)),
    Perturbation.scale("box.vertex_positions", (1, 0, 0)),
    Perturbation.translate("camera.to_world", (1, 0, 0)),
    Perturbation.rotate("metal.to_world", (1, 1, 0)),
    Perturbation.translate("lamp.position", (0, 1, 0)),
]


def as_numbers(value) -> np.ndarray:
    return np.array(value.matrix if "Transform" in type(value).__name__ else value, dtype=np.float64)


@pytest.mark.parametrize("direction", DIRECTIONS, ids=lambda direction: direction.label)
def test_finite_steps_and_derivatives_are_of_the_same_curve(scene, direction):
    curve = direction.bind(scene)
    step = 1e-2
    values = []
    for t in (step, -step):
        with curve.moved(t):
            values.append(as_numbers(curve.current()))
    with curve.attached() as t:
        dr.set_grad(t, 1.0)
        dr.forward_from(t, dr.ADFlag.ClearEdges)
        value = curve.current()
        tangent = as_numbers(dr.grad(value.matrix if curve.is_transform else value))
    difference = (values[0] - values[1]) / (2 * step)
    assert np.abs(difference).max() > 0.1
    np.testing.assert_allclose(tangent.reshape(difference.shape), difference, atol=2e-3)


@pytest.mark.parametrize("direction", DIRECTIONS, ids=lambda direction: direction.label)
def test_the_scene_is_restored_exactly(scene, direction):
    before = as_numbers(mi.traverse(scene)[direction.key])
    curve = direction.bind(scene)
    with pytest.raises(KeyError), curve.moved(0.1):
        raise KeyError
    with curve.attached():
        pass
    value = mi.traverse(scene)[direction.key]
    np.testing.assert_array_equal(as_numbers(value), before)
    assert not dr.grad_enabled(value)


@pytest.mark.parametrize("direction", DIRECTIONS, ids=lambda direction: direction.label)
def test_a_perturbation_survives_json(direction):
    assert Perturbation.from_dict(json.loads(json.dumps(direction.to_dict()))) == direction


def test_a_rotation_keeps_the_centre_and_the_size(scene):
    curve = Perturbation.rotate("box.vertex_positions", (1, 2, 3)).bind(scene)
    before = as_numbers(curve.current()).reshape(-1, 3)
    with curve.moved(0.7):
        after = as_numbers(curve.current()).reshape(-1, 3)
    np.testing.assert_allclose(after.mean(axis=0), before.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(after, axis=1), np.linalg.norm(before, axis=1), rtol=1e-5)
    assert np.abs(after - before).max() > 0.3


@pytest.mark.parametrize(
    ("direction", "sentence"),
    [
        (Perturbation.uniform("box.bsdf.reflectence.value"), "did you mean 'box.bsdf.reflectance.value'"),
        (Perturbation.uniform("box.faces"), "'box.faces' cannot be perturbed: it is an integer"),
        (Perturbation.uniform("camera.near_clip"), "it is a plain Python value"),
        (Perturbation.component("box.bsdf.reflectance.value", 3), r"no component \[3\]: its shape is \[3"),
        (Perturbation.along("box.bsdf.reflectance.value", np.ones(5)), "has 3 entries, but the tangent has 5"),
        (Perturbation.uniform("box.to_world"), "no parameter 'box.to_world'"),
        (Perturbation.uniform("metal.to_world"), "perturb it with translate, rotate or scale"),
        (Perturbation.rotate("metal.bsdf.alpha.value", (0, 0, 1)), "cannot be moved by 'rotate'"),
        (Perturbation.uniform("camera.x_fov", step=-1.0), "the step must be a positive number"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.label,
)
def test_what_cannot_be_perturbed_is_refused_in_one_sentence(scene, direction, sentence):
    with pytest.raises(InputError, match=sentence) as refusal:
        direction.bind(scene)
    assert "\n" not in str(refusal.value)


def test_images_that_are_not_finite_make_no_reference(scene):
    from mitsuba.python.ad.integrators.common import RBIntegrator

    class Broken(RBIntegrator):
        def sample(self, mode, scene, sampler, ray, δL, state_in, active, **kwargs):
            return mi.Spectrum(dr.nan), mi.Bool(active), [], None

    direction = Perturbation.uniform("metal.bsdf.alpha.value", step=0.01)
    with pytest.raises(InputError, match=r"'metal.bsdf.alpha.value' cannot be perturbed by 0.01: 768 values"):
        central_differences(scene, direction, integrator=Broken(mi.Properties("broken")), spp=4, repeats=2)


def test_motions_need_three_numbers():
    with pytest.raises(InputError, match="three finite numbers"):
        Perturbation.translate("box.vertex_positions", (1, 0))
    with pytest.raises(InputError, match="not all zero"):
        Perturbation.rotate("box.vertex_positions", (0, 0, 0))


def test_directions_from_options(scene):
    assert direction_from("a") is None
    assert direction_from("a", component=[2]).index == (2,)
    with pytest.raises(InputError, match="only one of"):
        direction_from("a", translate=[1, 0, 0], rotate=[1, 0, 0])
    assert default_direction(scene, "metal.bsdf.alpha.value").kind == "uniform"
    assert default_direction(scene, "floor.bsdf.reflectance.data").kind == "random"
    assert default_direction(scene, "camera.to_world").kind == "translate"
    with pytest.raises(InputError, match="no parameter"):
        default_direction(scene, "metal.alfa")


def test_smooth_deformation_is_smooth_and_fixed(scene):
    first, second = smooth_deformation(scene, "box"), smooth_deformation(scene, "box")
    assert first == second
    field = np.reshape(first.tangent, (-1, 3))
    positions = np.array(mi.traverse(scene)["box.vertex_positions"]).reshape(-1, 3)
    assert np.linalg.norm(field, axis=1).max() == pytest.approx(1)
    # Vertices that are one point move as one
    same = np.all(positions[:, None] == positions[None], axis=-1)
    assert np.abs(field[:, None] - field[None])[same].max() < 1e-12


@pytest.mark.parametrize(
    ("job", "labels", "reference"),
    [
        ("bunny_like", ["bunny.vertex_positions tangent"], "path:hide_emitters=true"),
        (
            "light_from_shadows",
            ["panel.to_world translate 1,1,1"],
            "path",
        ),
    ],
)
def test_what_a_job_is_checked_along(job, labels, reference):
    cases, _ = _job_cases(job, {})
    assert [case.direction.label for case in cases] == labels
    assert {case.reference for case in cases} == {reference}


def test_copies_of_a_vertex_move_together(monkeypatch):
    """A cube has three of each corner; moving one of them opens a crack, which has no derivative."""
    parts = {"type": "scene", "camera": {"type": "perspective"}, "box": {"type": "cube"}}
    cube = mi.load_dict(parts, optimize=False)
    said = []
    monkeypatch.setattr(mi, "Log", lambda level, text: said.append(text))
    key = "box.vertex_positions"
    curve = Perturbation.random(key).bind(cube)
    pairs = list(zip(np.array(curve.base).reshape(-1, 3), curve.tangent.reshape(-1, 3), strict=True))
    velocities = {tuple(corner): velocity for corner, velocity in pairs}
    assert len(velocities) == 8
    assert all((velocity == velocities[tuple(corner)]).all() for corner, velocity in pairs)
    assert len({tuple(velocity) for velocity in velocities.values()}) > 1
    Perturbation.uniform(key).bind(cube)
    Perturbation.translate(key, (1, 0, 0)).bind(cube)
    assert not said
    Perturbation.component(key, 4).bind(cube)
    assert "'box.vertex_positions[4]' moves vertices apart" in said[0]
