"""What is assumed about parameters before any image is seen: terms that are added to the loss."""

from __future__ import annotations

import dataclasses
import fnmatch
from collections.abc import Callable, Mapping, Sequence

import drjit as dr
import mitsuba as mi
import numpy as np

from ..errors import InputError, suggestion
from .parameters import Variable, sky_weights
from .section import Positive, Section
from .user_functions import is_import_path, load_function

#: Rounds the corner of total variation, so that its derivative is finite where neighbours are equal
_ROUNDING = 1e-3


class PriorEntry(Section):
    """A prior on parameters, or on all that a glob matches."""

    type: str
    key: str = "*"
    weight: Positive


#: Of a parameter's values, in its shape, and its first values
PriorFunction = Callable[["mi.TensorXf", "mi.TensorXf"], "mi.TensorXf"]


@dataclasses.dataclass(frozen=True)
class Prior:
    """A prior on one variable."""

    function: PriorFunction
    weight: float
    variable: Variable
    is_sky: bool = False  #: whether rows are circles of latitude, which count with their length

    def __call__(self, latent: mi.Float) -> mi.Float:
        """Its weighted value, attached to the optimizer's variable. [1]"""
        values, initial = self._values(latent), self._tensor(mi.Float(self.variable.initial.ravel()))
        prior = self.function(values, initial)
        if not dr.is_array_v(prior):
            raise InputError(f"the prior of '{self.variable.key}' returns a {type(prior).__name__}, not a tensor")
        return self._weighted(mi.TensorXf(prior))

    def curved(self, latent: mi.Float, at: mi.Float) -> mi.Float:
        """A function whose derivative at a point is that of the prior, and which a quadratic describes better. [1]

        Args:
            at: The variable at that point.
        """
        if self.function is not total_variation:
            return self(latent)
        return self._weighted(_lagged_variation(self._values(latent), self._values(dr.detach(at))))

    def _values(self, latent: mi.Float) -> mi.TensorXf:
        return self._tensor(self.variable.attached(latent))

    def _tensor(self, flat: mi.Float) -> mi.TensorXf:
        return mi.TensorXf(flat, self.variable.shape or (1,))

    def _weighted(self, prior: mi.TensorXf) -> mi.Float:
        if self.is_sky and len(prior.shape) == 3:
            prior = prior * mi.TensorXf(np.float32(sky_weights(*prior.shape[:2])))
        return self.weight * dr.mean(prior, axis=None).array


def total_variation(values: mi.TensorXf, initial: mi.TensorXf) -> mi.TensorXf:
    """Mean length of a texture's gradient: prefers even areas and keeps edges. Distances are in texels."""
    across, down = _differences(values)
    return dr.sqrt(dr.square(across) + dr.square(down) + _ROUNDING**2) - _ROUNDING


def _lagged_variation(values: mi.TensorXf, at: mi.TensorXf) -> mi.TensorXf:
    """Total variation with the lengths of gradients taken elsewhere, which makes it quadratic."""
    (across, down), (across_at, down_at) = _differences(values), _differences(at)
    length = dr.sqrt(dr.square(across_at) + dr.square(down_at) + _ROUNDING**2)
    return (dr.square(across) + dr.square(down)) / (2 * length)


def smoothness(values: mi.TensorXf, initial: mi.TensorXf) -> mi.TensorXf:
    """Mean squared gradient of a texture: prefers slow changes and blurs edges."""
    across, down = _differences(values)
    return dr.square(across) + dr.square(down)


def near_initial(values: mi.TensorXf, initial: mi.TensorXf) -> mi.TensorXf:
    """Mean squared distance from the first value: what no image tells stays as it was."""
    return dr.square(values - initial)


def neutral(values: mi.TensorXf, initial: mi.TensorXf) -> mi.TensorXf:
    """Variance between a colour's channels: prefers grey, e.g. of a light beside coloured walls."""
    last = len(values.shape) - 1
    mean = dr.sum(values, axis=last) / values.shape[last]
    return dr.square(values - _repeated(mean, values.shape))


def _repeated(mean: mi.TensorXf, shape: tuple[int, ...]) -> mi.TensorXf:
    """The mean of each colour beside every channel."""
    return mi.TensorXf(dr.repeat(dr.ravel(mean), shape[-1]), shape)


#: By name, with the number of axes that values must have; 0 for any
PRIORS: dict[str, tuple[PriorFunction, int]] = {
    "total_variation": (total_variation, 3),
    "smoothness": (smoothness, 3),
    "near_initial": (near_initial, 0),
    "neutral": (neutral, 0),
}


def make_priors(
    entries: Sequence[PriorEntry], variables: Mapping[str, Variable], is_sky: Callable[[str], bool] = lambda key: False
) -> list[Prior]:
    """The priors of a job, checked.

    Args:
        variables: Those that stand for numbers of the scene, by key.
        is_sky: Whether a key belongs to an environment map.
    """
    priors = []
    for position, entry in enumerate(entries):
        where = f"priors.{position}"
        if is_import_path(entry.type):
            function, axes = load_function(entry.type, f"{where}.type", arguments=2), 0
        elif entry.type in PRIORS:
            function, axes = PRIORS[entry.type]
        else:
            raise InputError(f"{where}: there is no prior '{entry.type}'{suggestion(entry.type, PRIORS)}")
        keys = [key for key in variables if key == entry.key or fnmatch.fnmatchcase(key, entry.key)]
        if not keys:
            raise InputError(
                f"{where}: none of the parameters with kind 'value' is called '{entry.key}'"
                f"{suggestion(entry.key, variables)}"
            )
        for key in keys:
            shape = variables[key].shape
            if axes and len(shape) != axes:
                raise InputError(f"{where}: '{entry.type}' is for textures; '{key}' is none")
            if entry.type == "neutral" and (not shape or shape[-1] != 3):
                raise InputError(f"{where}: 'neutral' is for colours; '{key}' is none")
            priors.append(Prior(function, entry.weight, variables[key], is_sky(key)))
    return priors


def _differences(values: mi.TensorXf) -> tuple[mi.TensorXf, mi.TensorXf]:
    """To the right and lower neighbour of each texel; zero at the border. [H, W, C] each"""
    height, width, _ = values.shape
    right = dr.minimum(dr.arange(mi.UInt, 1, width + 1), width - 1)
    below = dr.minimum(dr.arange(mi.UInt, 1, height + 1), height - 1)
    return values[:, right] - values, values[below] - values
