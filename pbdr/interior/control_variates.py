"""Images of earlier steps as control variates for the image of this one.

Parameters change little from step to step, and so do images. With the paths of step t evaluated under the parameters of
step t and, again, under those of step t − 1, the image is estimated by

    F_t = I_t(θ_t) + α (F_{t−1} − I_t(θ_{t−1})),    α = Cov(I_t(θ_t), I_t(θ_{t−1})) / (Var I_t(θ_{t−1}) + Var F_{t−1}),

a recursion whose variance falls as long as the parameters hardly move and returns to that of I_t where they jump
[Nicolet et al. 2023, "Recursive Control Variates for Inverse Rendering"; the weight is that of Rousselle et al. 2016,
"Image-space Control Variates for Rendering"]. The second evaluation traces no ray (``reevaluation.py``).

The recursion runs over independent images of a step, which have F_{t−1}, the mean of the former ones, in common. Their
differences give the variances, summed over the image, hence one α for all pixels.

For a fixed sequence of parameters F_t is consistent: each term has the right mean, and α, which is found from the same
samples, is a ratio of sums over all pixels. In a descent parameters follow from earlier images, so that the errors of
F_{t−1} and θ_t are correlated, and errors of successive steps are alike instead of independent: averaging over steps,
as momentum does, gains less than it does without the recursion.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING

import drjit as dr
import mitsuba as mi

if TYPE_CHECKING:
    from .recording import Recording


@dataclasses.dataclass(frozen=True)
class _Former:
    """What a view leaves to its next step."""

    sensor: mi.Sensor
    image: mi.TensorXf  #: F, mean over independent images [H, W, C]
    variance: mi.Float  #: of that mean, over that of one of the images that it was made of [1]
    values: Mapping[str, dr.ArrayBase]  #: parameters that it belongs to


class ControlVariate:
    """Remembers an image of each view, so that later images of it have less noise.

    A view that was not seen for long counts with the parameters that it had then.
    """

    def __init__(self) -> None:
        self._former: dict[int, _Former] = {}
        #: α of the last image; 0 where there was none before [1]
        self.coefficient = mi.Float(0)

    def improve(self, recording: Recording, values: Mapping[str, dr.ArrayBase]) -> list[mi.TensorXf]:
        """The images of a recording with less noise.

        Args:
            recording: Reusable, of two images or more.
            values: Parameters that it was recorded with, by key.

        Returns:
            One for each image; they share the error of the former step alone. [H, W, C] each
        """
        former, images = self._former.get(id(recording.sensor)), list(recording.images)
        count = len(images)
        fits = former is not None and former.sensor is recording.sensor and former.values.keys() == values.keys()
        if fits and former.image.shape == images[0].shape:
            before = recording.reevaluate(former.values)
            spread, spread_before = _spread(images), _spread(before)
            unit = dr.sum(dr.square(spread_before))
            slope, growth = (dr.select(unit > 0, dr.sum(spread * x) / unit, 0) for x in (spread_before, spread))
            α = dr.maximum(slope, 0) / (1 + former.variance)
            shift = mi.TensorXf(α, (1, 1, 1))
            images = [image + shift * (former.image - b) for image, b in zip(images, before, strict=True)]
            variance = (growth - 2 * α * slope + dr.square(α)) / count + dr.square(α) * former.variance
            variance = dr.select(growth > 0, variance / growth, 1 / count)
        else:
            # Literals would be part of the next step's kernels
            α, variance = dr.opaque(mi.Float, 0), dr.opaque(mi.Float, 1 / count)
        mean = sum(images) / count
        dr.eval(images, mean, variance, α)
        self.coefficient = α
        kept = {key: _copy(value) for key, value in values.items()}
        self._former[id(recording.sensor)] = _Former(recording.sensor, mean, variance, kept)
        return images


def _spread(images: list[mi.TensorXf]) -> mi.Float:
    """Deviations of independent images from their mean; sums of products are in proportion to (co)variances."""
    mean = sum(images) / len(images)
    return dr.concat([dr.ravel(image - mean) for image in images])


def _copy(value: dr.ArrayBase) -> dr.ArrayBase:
    value = dr.detach(value)
    return type(value)(value.array, value.shape) if dr.is_tensor_v(value) else type(value)(value)
