"""Rendering as a function of PyTorch tensors, so that a network can stand before or behind the renderer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import drjit as dr
import mitsuba as mi

from .errors import InputError, MissingExtra, suggestion
from .integrators import make_integrator
from .scene import select_sensor
from .scene_parameters import describe_parameters, numbers, scene_parameters
from .seeds import derive_seed, require_samples

if TYPE_CHECKING:
    import torch


def render(
    scene: mi.Scene,
    parameters: Mapping[str, torch.Tensor],
    *,
    sensor: int | str = 0,
    integrator: str | Mapping[str, object] | mi.Integrator = "pbdr",
    spp: int = 16,
    spp_gradient: int | None = None,
    seed: int = 0,
) -> torch.Tensor:
    """Render an image that PyTorch differentiates by the scene's parameters.

    The image and its derivative use different random numbers, both derived from ``seed``. The scene keeps the last
    values that it was given.

    Args:
        scene: From :func:`pbdr.scene.load_scene`, or loaded with ``optimize=False``.
        parameters: Tensors by parameter key, each with as many numbers as the parameter; those with ``requires_grad``
            receive gradients.
        sensor: Position or id.
        integrator: Name, specification or integrator.
        spp: Samples per pixel of the image.
        spp_gradient: Samples per pixel of the derivative; by default ``spp``.
        seed: Give each step another one.

    Returns:
        Image, on the device of the variant. [H, W, C]

    Example:
        >>> color = torch.tensor([0.5, 0.5, 0.5], requires_grad=True)
        >>> image = pbdr.torch.render(scene, {"wall.bsdf.reflectance.value": color}, seed=step)
        >>> ((image - photo) ** 2).mean().backward()
    """
    torch = _import_torch()
    spp_gradient = spp if spp_gradient is None else spp_gradient
    require_samples(spp)
    require_samples(spp_gradient, name="spp_gradient")
    if not isinstance(integrator, mi.Integrator):
        integrator = make_integrator(integrator)
    held = scene_parameters(scene)
    _check(scene, held, parameters, integrator)
    keys, camera = list(parameters), select_sensor(scene, sensor)

    @dr.wrap(source="torch", target="drjit")
    def rendered(*values):
        for key, value in zip(keys, values, strict=True):
            held[key] = _like(held[key], value)
        held.update()
        return mi.render(
            scene,
            held,
            sensor=camera,
            integrator=integrator,
            spp=spp,
            spp_grad=spp_gradient,
            seed=dr.opaque(mi.UInt32, derive_seed(seed, "primal", 0, 0)),
            seed_grad=dr.opaque(mi.UInt32, derive_seed(seed, "gradient", 0, 0)),
        )

    return rendered(*(value.to(torch.float32).contiguous() for value in parameters.values()))


def _import_torch():
    try:
        import torch
    except ImportError:
        raise MissingExtra("'pbdr.torch'", package="torch", extra="torch") from None
    return torch


def _check(scene: mi.Scene, held: mi.SceneParameters, parameters: Mapping, integrator: mi.Integrator) -> None:
    """Refuse keys that do not exist, tensors of another size, and gradients that the integrator cannot deliver."""
    from .capabilities import refusal

    torch = _import_torch()
    infos = {info.key: info for info in describe_parameters(scene)}
    for key, value in parameters.items():
        if key not in infos:
            raise InputError(f"no parameter of the scene is called '{key}'{suggestion(key, infos)}")
        if not isinstance(value, torch.Tensor):
            raise InputError(f"parameter '{key}' must be a tensor, got {type(value).__name__}")
        count = numbers(held[key])
        if count is None or value.numel() != count.size:
            size = "no numbers" if count is None else f"{count.size} numbers"
            raise InputError(f"parameter '{key}' holds {size}, got a tensor of {value.numel()}")
        if value.requires_grad and (reason := refusal(integrator, scene, infos[key])):
            raise InputError(reason)


def _like(current: object, value: mi.TensorXf) -> object:
    """A tensor's numbers as a value of the parameter's own type, attached."""
    kind, flat = type(current), dr.ravel(value) + dr.opaque(mi.Float, 0)
    if dr.is_tensor_v(current):
        return kind(flat, current.shape)
    if "Transform" in kind.__name__:
        size = len(current.matrix)
        matrix = type(current.matrix)(
            *(dr.gather(mi.Float, flat, size * i + j) for i in range(size) for j in range(size))
        )
        return kind(matrix)
    return dr.unravel(kind, flat) if dr.depth_v(current) > 1 else kind(flat)
