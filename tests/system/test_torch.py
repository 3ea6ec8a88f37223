"""``pbdr.torch.render``: values and gradients are those of Mitsuba's own way, and a network before it learns."""

from __future__ import annotations

from pathlib import Path

import drjit as dr
import mitsuba as mi
import numpy as np
import pytest

import pbdr
from pbdr.errors import InputError
from pbdr.scene import load_scene, scene_parameters
from pbdr.seeds import derive_seed

from ..tiny import ALPHA, VERTICES, WALL, write_scene

torch = pytest.importorskip("torch")

INTEGRATOR = {"type": "pbdr", "max_depth": 3}


@pytest.mark.parametrize("spp_gradient", [None, 4])
def test_gradients_are_those_of_mitsuba(tmp_path: Path, spp_gradient: int | None) -> None:
    """Of a colour and a single number at once, with equal random numbers."""
    scene = load_scene(write_scene(tmp_path))
    color = torch.tensor([0.5, 0.4, 0.3], requires_grad=True)
    alpha = torch.tensor(0.25, requires_grad=True)
    samples = {"spp": 16, "spp_gradient": spp_gradient}
    image = pbdr.torch.render(scene, {WALL: color, ALPHA: alpha}, integrator=INTEGRATOR, seed=3, **samples)
    weights = torch.linspace(0, 1, image.numel()).reshape(image.shape)
    (image * weights).sum().backward()

    parameters = scene_parameters(load_scene(write_scene(tmp_path)))
    scene = load_scene(write_scene(tmp_path))
    parameters = scene_parameters(scene)
    parameters[WALL], parameters[ALPHA] = mi.Color3f(0.5, 0.4, 0.3), mi.Float(0.25)
    dr.enable_grad(parameters[WALL], parameters[ALPHA])
    parameters.update()
    seeds = {"seed": derive_seed(3, "primal", 0, 0), "seed_grad": derive_seed(3, "gradient", 0, 0)}
    expected = mi.render(
        scene, parameters, integrator=mi.load_dict(INTEGRATOR), spp=16, spp_grad=spp_gradient or 16, **seeds
    )
    assert np.allclose(image.detach().numpy(), np.array(expected), atol=1e-6)
    dr.backward(dr.sum(expected * mi.TensorXf(weights.numpy()), axis=None))
    assert np.allclose(color.grad.numpy(), np.ravel(dr.grad(parameters[WALL])), rtol=1e-4)
    assert np.allclose(alpha.grad.numpy(), np.ravel(dr.grad(parameters[ALPHA])), rtol=1e-4)


def test_a_network_before_the_renderer(tmp_path: Path) -> None:
    """A layer whose output is the wall's colour; the photograph shows 0.6, 0.3, 0.1."""
    scene = load_scene(write_scene(tmp_path))
    photo = torch.tensor(np.array(mi.render(scene, integrator=mi.load_dict(INTEGRATOR), spp=512, seed=9)))
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Sigmoid())
    optimizer = torch.optim.Adam(network.parameters(), lr=0.1)
    for step in range(60):
        optimizer.zero_grad()
        color = network(torch.ones(4))
        image = pbdr.torch.render(scene, {WALL: color}, integrator=INTEGRATOR, spp=8, seed=step)
        (((image - photo) / (photo + 0.01)) ** 2).mean().backward()
        optimizer.step()
    assert np.allclose(network(torch.ones(4)).detach().numpy(), [0.6, 0.3, 0.1], atol=0.04)


def test_refusals(tmp_path: Path) -> None:
    scene = load_scene(write_scene(tmp_path))
    for parameters, words in (
        ({"wall.bsdf.reflectence.value": torch.ones(3)}, f"did you mean '{WALL}'"),
        ({WALL: torch.ones(4)}, "holds 3 numbers, got a tensor of 4"),
        ({WALL: [1, 1, 1]}, "must be a tensor, got list"),
        ({VERTICES: torch.ones(72, requires_grad=True)}, "moves visibility"),
    ):
        with pytest.raises(InputError, match=words):
            pbdr.torch.render(scene, parameters, integrator={"type": "pbdr", "boundary": "none"})
