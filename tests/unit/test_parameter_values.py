"""Values of parameters: first values, bounds, reparameterizations, losses and optimizers by name."""

from __future__ import annotations

from pathlib import Path

import drjit as dr
import mitsuba as mi
import numpy as np
import pytest

from pbdr.errors import InputError
from pbdr.optimize.constraints import default_bounds, find_reparameterization, inner_bounds
from pbdr.optimize.job import Job
from pbdr.optimize.losses import find_loss
from pbdr.optimize.optimizers import make, restore, state_arrays
from pbdr.optimize.parameters import Variable, read_values


def variable(name: str, bounds: tuple[float, float], initial: np.ndarray) -> Variable:
    mapping = find_reparameterization(name, "key", bounds)
    return Variable("key", initial.shape, bounds, 0.1, mapping, initial, None)


# --------------------------------------------------------------- first values


def test_one_number_fills_and_a_colour_repeats() -> None:
    held = np.zeros((2, 3, 3))
    assert (read_values(0.5, held, "x") == 0.5).all()
    assert (read_values([0.1, 0.2, 0.3], held, "x") == [0.1, 0.2, 0.3]).all()
    assert read_values(0.5, np.zeros(()), "x").shape == ()


def test_current_and_uniform() -> None:
    held = np.random.default_rng(1).uniform(size=(4, 5, 3))
    assert (read_values("current", held, "x") == held).all()
    uniform = read_values("uniform", held, "x")
    assert np.allclose(uniform, held.mean(axis=(0, 1))), "each channel keeps its mean"
    assert np.allclose(read_values("uniform", np.array([1.0, 3.0]), "x"), 2)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), [0.1, float("nan"), 0.2]])
def test_values_must_be_finite(value: object) -> None:
    with pytest.raises(InputError, match="x must be finite"):
        read_values(value, np.zeros(3), "x")


def test_wrong_number_of_values() -> None:
    with pytest.raises(InputError, match="x holds 2 numbers, but the parameter takes 3"):
        read_values([1, 2], np.zeros(3), "x")
    for size in (12, 72):
        with pytest.raises(InputError, match=f"x holds 1 number, but the parameter takes {size}"):
            read_values(0.5, np.zeros(size), "x", is_buffer=True)


def test_values_from_files(tmp_path: Path) -> None:
    pixels = np.random.default_rng(2).uniform(size=(4, 6, 3)).astype(np.float32)
    mi.Bitmap(pixels).write(str(tmp_path / "map.exr"))
    np.save(tmp_path / "map.npy", pixels)
    for name in ("map.exr", "map.npy"):
        assert np.allclose(read_values(str(tmp_path / name), np.zeros((4, 6, 3)), "x"), pixels)
    with pytest.raises(InputError, match=r"none\.exr' does not exist"):
        read_values(str(tmp_path / "none.exr"), np.zeros((4, 6, 3)), "x")
    (tmp_path / "text.exr").write_text("no image")
    (tmp_path / "text.npy").write_text("no array")
    for name in ("text.exr", "text.npy"):
        with pytest.raises(InputError, match="cannot be read"):
            read_values(str(tmp_path / name), np.zeros((4, 6, 3)), "x")


@pytest.mark.parametrize("suffix", ["exr", "npy"])
def test_environment_maps_get_the_columns_that_mitsuba_adds(tmp_path: Path, suffix: str) -> None:
    pixels = np.random.default_rng(3).uniform(size=(4, 8, 3)).astype(np.float32)
    file = tmp_path / f"sky.{suffix}"
    if suffix == "exr":
        mi.Bitmap(pixels).write(str(file))
    else:
        np.save(file, pixels)
    light = mi.load_dict({"type": "envmap", "bitmap": mi.Bitmap(pixels)})
    held = np.array(mi.traverse(light)["data"])
    assert held.shape == (4, 10, 3)
    assert np.allclose(read_values(str(file), held, "x"), held)


# ---------------------------------------------------- bounds, reparameterization


@pytest.mark.parametrize(
    ("key", "bounds"),
    [
        ("wall.bsdf.reflectance.value", (0, 1)),
        ("wall.bsdf.reflectance.data", (0, 1)),
        ("wall.bsdf.brdf_0.base_color.data", (0, 1)),
        ("ball.bsdf.metallic.value", (0, 1)),
        ("metal.alpha.value", (1e-3, 1)),
        ("metal.alpha_u", (1e-3, 1)),
        ("ball.bsdf.roughness.value", (1e-3, 1)),
        ("lamp.emitter.radiance.value", (0, np.inf)),
        ("spot.intensity.value", (0, np.inf)),
        ("box.vertex_positions", (-np.inf, np.inf)),
        ("metal.k.value", (-np.inf, np.inf)),
    ],
)
def test_default_bounds(key: str, bounds: tuple[float, float]) -> None:
    assert default_bounds(key, is_environment=False) == bounds


@pytest.mark.parametrize(
    ("key", "bounds"),
    [
        ("wall.bsdf.reflectance.data", (0.001, 1)),
        ("ball.bsdf.metallic.value", (0, 0.999)),
        ("ball.bsdf.weight.value", (0.001, 0.999)),
        ("ball.bsdf.flatness.value", (0, 1)),
    ],
)
def test_jobs_keep_away_from_values_without_derivative(key: str, bounds: tuple[float, float]) -> None:
    assert inner_bounds(key, (0.0, 1.0)) == bounds


def test_default_bounds_of_environment_maps() -> None:
    assert default_bounds("sky.data", is_environment=True) == (0, np.inf)
    assert default_bounds("sky.data", is_environment=False) == (-np.inf, np.inf)
    assert default_bounds("sky.scale", is_environment=True) == (0, np.inf)


@pytest.mark.parametrize(
    ("name", "bounds"),
    [("identity", (0.0, 1.0)), ("unit", (0.0, 1.0)), ("unit", (-2.0, 3.0)), ("positive", (0.0, np.inf))],
)
def test_reparameterizations_round_trip(name: str, bounds: tuple[float, float]) -> None:
    values = np.array([0.01, 0.2, 0.5, 0.97])
    held = variable(name, bounds, values)
    assert np.allclose(held.values(held.latent(values)), values, rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "bounds"),
    [("identity", (0.1, 0.9)), ("unit", (0.1, 0.9)), ("positive", (0.0, 2.0)), ("identity", (0.0, np.inf))],
)
def test_reparameterizations_keep_bounds(name: str, bounds: tuple[float, float]) -> None:
    held = variable(name, bounds, np.full(3, 0.5))
    far = held.project(mi.Float([-50.0, 0.3, 50.0]))
    values = held.values(far)
    assert (values >= bounds[0] - 1e-6).all() and (values <= bounds[1] + 1e-6).all()
    assert np.isfinite(values).all()


def test_reparameterizations_have_derivatives() -> None:
    for name, expected in (("identity", 1.0), ("positive", 0.3), ("unit", 0.3 * 0.7)):
        held = variable(name, (0.0, 1.0), np.array([0.3]))
        latent = held.latent(held.initial)
        dr.enable_grad(latent)
        dr.backward(held.reparameterization.forward(latent, *held.bounds))
        assert np.allclose(dr.grad(latent), expected, rtol=1e-4)


def test_reparameterizations_that_do_not_fit() -> None:
    with pytest.raises(InputError, match="did you mean 'positive'"):
        find_reparameterization("positiv", "key", (0, 1))
    with pytest.raises(InputError, match="needs two finite bounds"):
        find_reparameterization("unit", "key", (0, np.inf))
    with pytest.raises(InputError, match="lower bound of at least 0"):
        find_reparameterization("positive", "key", (-1, 1))


# ----------------------------------------------------------- losses, optimizers


@pytest.mark.parametrize(
    ("name", "expected"),
    [("l1", 0.5), ("l2", 0.25), ("relative_l2", (0.5 / 0.51) ** 2), ("log_l1", np.log(2 / 1.5)), ("huber", 0.09)],
)
def test_losses(name: str, expected: float) -> None:
    image, target = (mi.TensorXf(np.full((2, 2, 3), value, np.float32)) for value in (1.0, 0.5))
    assert np.allclose(np.array(find_loss(name)(image, target)), expected, rtol=1e-5)


def test_unknown_loss() -> None:
    with pytest.raises(InputError, match="did you mean 'relative_l2'"):
        find_loss("relative_l3")


@pytest.mark.parametrize("options", [{}, {"type": "sgd", "momentum": 0.9}, {"type": "sgd"}, {"type": "RMSProp"}])
def test_state_of_optimizers_round_trips(options: dict) -> None:
    entry = Job(
        scene="", views=[{"target": ""}], parameters=[{"key": "key"}], optimizer={"type": "adam", **options}
    ).optimizer
    variables = [variable("identity", (-np.inf, np.inf), np.array([1.0, 2.0]))]

    def advance(optimizer: object, count: int) -> np.ndarray:
        for _ in range(count):
            dr.backward(dr.sum(dr.square(optimizer["key"] - 0.3)))
            optimizer.step()
        return np.array(dr.detach(optimizer["key"]))

    first, second = make(entry, variables), make(entry, variables)
    advance(first, 3)
    restore(second, state_arrays(first))
    assert np.allclose(advance(first, 3), advance(second, 3), rtol=1e-6)
