"""Physical bounds, and reparameterizations that keep a parameter inside its domain."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import drjit as dr
import mitsuba as mi
import numpy as np

from ..errors import InputError, suggestion
from ..material_parameters import lobe_ends

_FRACTION = (0.0, 1.0)
_ROUGHNESS = (1e-3, 1.0)
_POSITIVE = (0.0, float("inf"))
_FREE = (float("-inf"), float("inf"))

#: Of these, nothing but direct light depends on a change from 0: paths end where a surface is black
_REFLECTANCES = (
    "reflectance", "base_color", "diffuse_reflectance", "specular_reflectance", "specular_transmittance",
)  # fmt: skip

#: How far jobs stay away from such values
_MARGIN = 1e-3

#: Bounds by the name of the quantity that a key ends in
_BOUNDS = {
    **dict.fromkeys((*_REFLECTANCES, "albedo", "opacity", "weight"), _FRACTION),
    **dict.fromkeys(("metallic", "specular", "clearcoat", "clearcoat_gloss"), _FRACTION),
    **dict.fromkeys(("sheen", "sheen_tint", "spec_tint", "anisotropic", "flatness", "spec_trans"), _FRACTION),
    **dict.fromkeys(("alpha", "alpha_u", "alpha_v", "roughness"), _ROUGHNESS),
    "x_fov": (1.0, 179.0),
    **dict.fromkeys(("radiance", "irradiance", "intensity", "sigma_t", "scale"), _POSITIVE),
}


def default_bounds(key: str, *, is_environment: bool) -> tuple[float, float]:
    """What a parameter can be physically, judged by its key.

    Args:
        is_environment: Whether the key belongs to an environment emitter, whose ``data`` are radiance.

    Example:
        >>> default_bounds("metal.alpha.value", is_environment=False)
        (0.001, 1.0)
    """
    if is_environment and key.endswith(".data"):
        return _POSITIVE
    return _BOUNDS.get(_quantity(key), _FREE)


def inner_bounds(key: str, bounds: tuple[float, float]) -> tuple[float, float]:
    """Bounds without the values at which a material takes one of its lobes no more, or a surface is black.

    Paths do not see what changes there, so that descent would never leave these values.

    Example:
        >>> inner_bounds("ball.bsdf.opacity.value", (0.0, 1.0))
        (0.001, 1.0)
    """
    quantity = _quantity(key)
    ends = {0} if quantity in _REFLECTANCES else lobe_ends(quantity)
    low, high = bounds
    return low + _MARGIN * (low in ends), high - _MARGIN * (high in ends)


def _quantity(key: str) -> str:
    """What a key is about.

    Example:
        >>> _quantity("wall.bsdf.reflectance.value")
        'reflectance'
    """
    names = key.split(".")
    return names[-2] if len(names) > 1 and names[-1] in ("value", "data") else names[-1]


@dataclasses.dataclass(frozen=True)
class Reparameterization:
    """A map from the variable that the optimizer sees to the parameter, and its inverse on numbers."""

    forward: Callable[[mi.Float, float, float], mi.Float]
    inverse: Callable[[np.ndarray, float, float], np.ndarray]
    is_bounded: bool  #: keeps its own bounds, so that none need be enforced after a step


def _logit(x: np.ndarray, low: float, high: float) -> np.ndarray:
    u = np.clip((x - low) / (high - low), 1e-4, 1 - 1e-4)
    return np.log(u / (1 - u))


def _between_logarithms(z: mi.Float, low: float, high: float) -> mi.Float:
    return low * dr.exp(math.log(high / low) * dr.rcp(1 + dr.exp(-z)))


_reparameterizations = {
    "identity": Reparameterization(lambda z, low, high: z, lambda x, low, high: x, False),
    "unit": Reparameterization(lambda z, low, high: low + (high - low) * dr.rcp(1 + dr.exp(-z)), _logit, True),
    "positive": Reparameterization(
        lambda z, low, high: dr.exp(z), lambda x, low, high: np.log(np.maximum(x, 1e-6)), False
    ),
    "log": Reparameterization(
        _between_logarithms, lambda x, low, high: _logit(np.log(x), np.log(low), np.log(high)), True
    ),
}


def find_reparameterization(name: str, key: str, bounds: tuple[float, float]) -> Reparameterization:
    """A reparameterization by name, checked against a parameter's bounds.

    ``identity`` optimizes the parameter itself, ``positive`` its logarithm, ``unit`` a sigmoid between finite bounds,
    ``log`` a sigmoid between their logarithms.
    """
    if name not in _reparameterizations:
        raise InputError(
            f"parameter '{key}': 'reparameterization' is '{name}', which does not exist"
            f"{suggestion(name, _reparameterizations)}"
        )
    if name == "unit" and not np.isfinite(bounds).all():
        raise InputError(f"parameter '{key}': reparameterization 'unit' needs two finite bounds, got {list(bounds)}")
    if name == "log" and not (np.isfinite(bounds).all() and bounds[0] > 0):
        raise InputError(
            f"parameter '{key}': reparameterization 'log' needs two finite bounds greater than 0, got {list(bounds)}"
        )
    if name == "positive" and bounds[0] < 0:
        raise InputError(f"parameter '{key}': reparameterization 'positive' needs a lower bound of at least 0")
    return _reparameterizations[name]
