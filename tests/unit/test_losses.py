"""Losses, priors and what is put together from them, on plain arrays: values, and gradients against differences."""

from __future__ import annotations

import warnings
from pathlib import Path

import drjit as dr
import mitsuba as mi
import numpy as np
import pytest

from pbdr.errors import InputError
from pbdr.optimize import losses
from pbdr.optimize.constraints import find_reparameterization
from pbdr.optimize.losses import LossEntry, _losses, find_loss
from pbdr.optimize.losses.objective import Picture, Term, make_objective
from pbdr.optimize.losses.registry import PAIRED
from pbdr.optimize.parameters import Variable
from pbdr.optimize.priors import PRIORS, PriorEntry, make_priors

SHAPE = (14, 17, 3)


def arrays(count: int, shape: tuple[int, ...] = SHAPE) -> list[np.ndarray]:
    random = np.random.default_rng(5)
    return [random.uniform(0.05, 0.95, shape).astype(np.float32) for _ in range(count)]


def check_gradient(function, image: np.ndarray) -> None:
    """Derivatives along three random directions against central differences in single precision."""
    x = mi.TensorXf(image)
    dr.enable_grad(x)
    dr.backward(function(x))
    gradient = np.array(dr.grad(x), np.float64)
    assert np.isfinite(gradient).all() and gradient.any()
    random = np.random.default_rng(1)
    for _ in range(3):
        # Along the gradient, too, so that the derivative is not small beside its rounding
        v = random.normal(size=image.shape) * np.abs(gradient).max() + 3 * gradient
        v /= np.abs(v).max()
        h = 2e-3
        high, low = (float(np.ravel(function(mi.TensorXf((image + s * h * v).astype(np.float32))))[0]) for s in (1, -1))
        assert np.isclose((high - low) / (2 * h), np.sum(gradient * v), rtol=0.02)


_OPTIONS = [{"tonemap": "srgb"}, {"tonemap": "reinhard"}, {"tonemap": "log"}, {"pyramid": 3}]


@pytest.mark.parametrize(
    ("name", "options", "of_mask"),
    [(name, {}, name in ("l2", "silhouette", "ssim")) for name in sorted(_losses)]
    + [("l2", options, False) for options in _OPTIONS]
    + [(name, {"pyramid": 3, "tonemap": "srgb"}, True) for name in ("smape", "ssim", "l2_unbiased")],
)
def test_gradients_of_losses(name: str, options: dict, of_mask: bool) -> None:
    image, target, second, mask = arrays(4)
    term = Term(name, find_loss(name), **options)
    mask = mi.TensorXf(mask[..., :1]) if of_mask else None
    others = [mi.TensorXf(second)] if name in PAIRED else []
    check_gradient(lambda x: term(Picture([x, *others], mi.TensorXf(target), mask)), image)


@pytest.mark.parametrize("masked", [False, True])
def test_squares_of_residuals_add_up_to_the_loss(masked: bool) -> None:
    image, target, _, mask = arrays(4)
    entries = [LossEntry(type="l2", weight=3.0), LossEntry(type="relative_l2", weight=0.5, tonemap="srgb")]
    objective = make_objective("", entries)
    picture = Picture([mi.TensorXf(image)], mi.TensorXf(target), mi.TensorXf(mask[..., :1]) if masked else None)
    residuals = np.array(objective.residuals(picture), np.float64)
    assert np.isclose(np.sum(residuals**2), float(np.ravel(objective({"image": picture}))[0]), rtol=1e-4)


def test_values_of_pointwise_losses() -> None:
    image, target = (mi.TensorXf(np.full((2, 2, 3), value, np.float32)) for value in (1.0, 0.5))
    assert np.allclose(np.array(losses.smape(image, target)), 0.5 / 1.51)
    assert np.allclose(np.array(losses.l2_unbiased(image, target, 0 * image)), -0.25)


def test_ssim_against_its_formula() -> None:
    """One window in the middle, in double precision; equal images have no loss."""
    image, target = arrays(2)
    found = np.array(losses.ssim(mi.TensorXf(image), mi.TensorXf(target)))
    offsets = np.arange(-5, 6)
    window = np.exp(-0.5 * (offsets / 1.5) ** 2)
    window = np.outer(window, window) / window.sum() ** 2
    i, t = (x[2:13, 3:14, 1].astype(np.float64) for x in (image, target))
    mi_, mt = (window * i).sum(), (window * t).sum()
    vi, vt, cov = (window * i * i).sum() - mi_**2, (window * t * t).sum() - mt**2, (window * i * t).sum() - mi_ * mt
    expected = 1 - (2 * mi_ * mt + 1e-4) * (2 * cov + 9e-4) / ((mi_**2 + mt**2 + 1e-4) * (vi + vt + 9e-4))
    assert np.isclose(found[7, 8, 1], expected, atol=1e-5)
    assert np.abs(np.array(losses.ssim(mi.TensorXf(image), mi.TensorXf(image)))).max() < 1e-5


def test_silhouette_of_two_rectangles() -> None:
    first, second = np.zeros((10, 10, 3), np.float32), np.zeros((10, 10, 3), np.float32)
    first[2:6, 2:6], second[4:8, 2:6] = 1, 1
    assert np.isclose(float(losses.silhouette(mi.TensorXf(first), mi.TensorXf(second)).array[0]), 1 - 8 / 24)


def test_levels_of_a_pyramid_are_means_of_blocks() -> None:
    image, target = arrays(2, (8, 4, 3))
    expected = []
    for level in range(3):
        expected.append(np.mean((image - target) ** 2))
        if level == 2:
            break
        image, target = (
            x.reshape(x.shape[0] // 2, 2, x.shape[1] // 2, 2, 3).mean(axis=(1, 3)) for x in (image, target)
        )
    image, target = arrays(2, (8, 4, 3))
    term = Term("l2", losses.l2, pyramid=3)
    found = float(term(Picture([mi.TensorXf(image)], mi.TensorXf(target), None)).array[0])
    assert np.isclose(found, np.mean(expected), rtol=1e-5)


def test_masked_pixels_do_not_count_at_any_level() -> None:
    image, target = arrays(2)
    mask = np.ones((*SHAPE[:2], 1), np.float32)
    mask[3:9, 5:8] = 0
    spoiled = np.where(mask > 0, image, 77).astype(np.float32)
    for name in ("l1", "silhouette"):
        for pyramid in (1, 3):
            term = Term(name, find_loss(name), pyramid=pyramid)
            pictures = (Picture([mi.TensorXf(x)], mi.TensorXf(target), mi.TensorXf(mask)) for x in (image, spoiled))
            one, other = (float(term(picture).array[0]) for picture in pictures)
            assert np.isclose(one, other, rtol=1e-5), (name, pyramid)


def test_unbiased_squared_error_has_no_variance_in_it() -> None:
    """Mean over 400 pairs of noisy images of a known one; the ordinary loss exceeds it by the variance 0.04."""
    random = np.random.default_rng(2)
    truth, target = 0.5, mi.TensorXf(np.full(SHAPE, 0.4, np.float32))

    def noisy() -> mi.TensorXf:
        return mi.TensorXf((truth + 0.2 * random.normal(size=SHAPE)).astype(np.float32))

    pairs = [(noisy(), noisy()) for _ in range(400)]
    unbiased, plain = Term("l2_unbiased", losses.l2_unbiased), Term("l2", losses.l2)
    values = [float(unbiased(Picture([i, j], target, None)).array[0]) for i, j in pairs]
    error = np.std(values) / np.sqrt(len(values))
    assert abs(np.mean(values) - 0.01) < 4 * error < 1e-3
    assert np.mean([float(plain(Picture([i], target, None)).array[0]) for i, _ in pairs]) > 0.045


def test_weighted_sum() -> None:
    image, target = (mi.TensorXf(x) for x in arrays(2))
    objective = make_objective("l2", [LossEntry(type="l1", weight=2), LossEntry(type="ssim", weight=0.5)])
    parts = [float(Term(n, find_loss(n))(Picture([image], target, None)).array[0]) for n in ("l1", "ssim")]
    found = float(objective({"image": Picture([image], target, None)}).array[0])
    assert np.isclose(found, 2 * parts[0] + 0.5 * parts[1], rtol=1e-5)


def test_losses_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def cubic(image, target):\n    return (image - target) ** 3\n")
    for entry, words in (
        (LossEntry(type="l11"), "losses.0: .*did you mean 'l1'"),
        (LossEntry(type="nowhere_module:loss"), "cannot be imported"),
        (LossEntry(type=f"{tmp_path}/mine.py:qubic"), "did you mean 'cubic'"),
        (LossEntry(type="l2_unbiased", of="depth"), "compares images, not depth"),
    ):
        with pytest.raises(InputError, match=words):
            make_objective("l2", [entry])
    for data, words in (
        ({"type": "perceptual"}, "needs 'network'"),
        ({"of": "depth", "tonemap": "log"}, "belongs to images"),
    ):
        with pytest.raises(ValueError, match=words):
            LossEntry(**data)


def test_perceptual_loss_of_a_small_network(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.Tanh())
    with warnings.catch_warnings():
        # Newer versions of PyTorch announce another format
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.trace(network, torch.zeros(1, 3, 14, 17)).save(str(tmp_path / "features.pt"))
        objective = make_objective("l2", [LossEntry(type="perceptual", network=str(tmp_path / "features.pt"))])
    image, target = arrays(2)
    expected = [network(torch.tensor(x).permute(2, 0, 1)[None]) for x in (image, target)]
    expected = torch.mean((expected[0] - expected[1]) ** 2).item()
    picture = Picture([mi.TensorXf(image)], mi.TensorXf(target), None)
    assert np.isclose(float(objective({"image": picture}).array[0]), expected, rtol=1e-4)
    check_gradient(lambda x: objective({"image": Picture([x], mi.TensorXf(target), None)}), image)


# ----------------------------------------------------------------------- priors


def texture(values: np.ndarray) -> Variable:
    mapping = find_reparameterization("identity", "wall.data", (-np.inf, np.inf))
    return Variable("wall.data", values.shape, (-np.inf, np.inf), 0.1, mapping, values, None)


@pytest.mark.parametrize("name", sorted(PRIORS))
def test_gradients_of_priors(name: str) -> None:
    values, initial = arrays(2, (6, 5, 3))
    prior = make_priors([PriorEntry(type=name, weight=2.0)], {"wall.data": texture(initial)})[0]
    check_gradient(lambda x: prior(x.array), values)


def test_values_of_priors() -> None:
    ramp = np.repeat(np.linspace(0, 0.9, 10, dtype=np.float32)[None, :, None], 4, axis=0).repeat(3, axis=2)

    def value(name: str, values: np.ndarray, initial: np.ndarray) -> float:
        prior = make_priors([PriorEntry(type=name, weight=1.0)], {"wall.data": texture(initial)})[0]
        return float(prior(mi.Float(values.ravel()))[0])

    assert np.isclose(value("total_variation", ramp, ramp), 0.1 * 9 / 10, rtol=0.02)
    assert np.isclose(value("smoothness", ramp, ramp), 0.01 * 9 / 10, rtol=1e-4)
    assert np.isclose(value("near_initial", ramp + 0.5, ramp), 0.25, rtol=1e-4)
    tinted = ramp * 0 + np.float32([0.1, 0.2, 0.3])
    assert value("neutral", ramp, ramp) < 1e-10 and np.isclose(value("neutral", tinted, ramp), 0.02 / 3, rtol=1e-4)


def test_texels_of_a_sky_count_with_their_solid_angle() -> None:
    """Mean over the sphere, on which rows lie from pole to pole: the first one covers a cap."""
    initial = np.zeros((6, 10, 3), np.float32)

    def value(row: int, column: int) -> float:
        values = initial.copy()
        values[row, column] = 1
        entry = PriorEntry(type="near_initial", weight=1.0)
        prior = make_priors([entry], {"wall.data": texture(initial)}, lambda key: True)[0]
        return float(prior(mi.Float(values.ravel()))[0])

    assert np.isclose(value(1, 3) / value(2, 3), np.sin(np.pi / 5) / np.sin(2 * np.pi / 5), rtol=1e-4)
    # Hats of the rows times sin θ, integrated by the midpoint rule
    angle = (np.arange(10000) + 0.5) / 10000 * np.pi
    cap, ring = (np.sum(np.maximum(1 - np.abs(angle * 5 / np.pi - row), 0) * np.sin(angle)) for row in (0, 2))
    assert np.isclose(value(0, 3) / value(2, 3), cap / ring, rtol=1e-4)
    assert value(2, 0) == 0, "a repeated column"
    assert np.isclose(sum(value(row, 3) for row in range(6)), 1 / 8, rtol=1e-4)


def test_priors_that_do_not_fit() -> None:
    number = Variable(
        "box.alpha", (), (0, 1), 0.1, find_reparameterization("identity", "", (0, 1)), np.array(0.2), None
    )
    variables = {"box.alpha": number}
    for entry, words in (
        (PriorEntry(type="totalvariation", weight=1), "did you mean 'total_variation'"),
        (PriorEntry(type="total_variation", weight=1), "'box.alpha' is none"),
        (PriorEntry(type="neutral", weight=1), "'box.alpha' is none"),
        (PriorEntry(type="near_initial", key="box.alhpa", weight=1), "did you mean 'box.alpha'"),
    ):
        with pytest.raises(InputError, match=words):
            make_priors([entry], variables)
