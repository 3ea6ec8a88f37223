"""More samples where the loss depends on them: pixels get theirs in proportion to the adjoint of earlier steps."""

from __future__ import annotations

import drjit as dr
import mitsuba as mi

from ..errors import InputError
from ..transport import film as films

#: Share of the newest adjoint in the average over steps
_NEWEST = 0.3


class PixelAllocation:
    """Remembers the derivative of the loss by the pixels of each view, averaged over steps.

    Of the samples of an image, one per pixel is given to all. The others go to pixels in proportion to |adjoint| plus
    its mean, so that half of them do not depend on it. A sample counts with the reciprocal of the number that its pixel
    got. The numbers are known before a step begins, hence the mean of an image, and of the gradient, stays what it is;
    with film filters that are normalized by the weights of the samples themselves up to the bias that these have.
    """

    def __init__(self) -> None:
        self._adjoints: dict[int, tuple[mi.Sensor, mi.TensorXf]] = {}

    def learn(self, sensor: mi.Sensor, adjoint: mi.TensorXf) -> None:
        """Take the adjoint of a step in.

        Args:
            adjoint: Derivative of the loss by the image. [H, W, C]
        """
        known = self._known(sensor, adjoint.shape)
        newest = dr.detach(adjoint)
        average = newest if known is None else (1 - _NEWEST) * known + _NEWEST * newest
        dr.eval(average)
        self._adjoints[id(sensor)] = sensor, average

    def samples(self, sensor: mi.Sensor, spp: int, seed: mi.UInt32) -> list:
        """Where the samples of an image go.

        Args:
            spp: Samples per pixel in the mean.

        Returns:
            Pixel and weight of each sample, sorted by pixel; an empty list where all get as many. [H · W · spp] each
        """
        film = sensor.film()
        width, height = (int(n) for n in film.crop_size())
        if films.sampled_size(film) != (width, height):
            raise InputError(f"sensor '{sensor.id()}': samples cannot be allocated with 'sample_border'")
        known = self._known(sensor, (height, width))
        if known is None or spp == 1:
            return []
        importance = dr.sum(dr.abs(known), axis=2).array
        importance += dr.mean(importance)
        offset = mi.sample_tea_float32(mi.UInt32(seed), mi.UInt32(0xA110))
        return _divide(importance, spp, offset)

    def _known(self, sensor: mi.Sensor, shape: tuple[int, ...]) -> mi.TensorXf | None:
        """The average of a sensor whose film still has this size."""
        former, average = self._adjoints.get(id(sensor), (None, None))
        return average if former is sensor and average.shape[:2] == tuple(shape[:2]) else None


def _divide(importance: mi.Float, spp: int, offset: mi.Float) -> list:
    """One sample for each pixel and the others by importance, in systematic sampling.

    Args:
        importance: Of each pixel, positive unless all are zero. [P]
        offset: Random number in [0, 1). [1]

    Returns:
        Pixel and weight of each sample. [P · spp] each
    """
    count, others = dr.width(importance), dr.width(importance) * (spp - 1)
    # A running sum over millions of pixels needs double precision
    total = dr.cumsum(dr.float64_array_t(mi.Float)(importance))
    whole = dr.gather(type(total), total, count - 1)
    ends = mi.UInt32(dr.floor(total / dr.select(whole > 0, whole, 1) * others + offset))
    pixel = dr.arange(mi.UInt32, count)
    ends = dr.select(pixel == count - 1, others, dr.minimum(ends, others)) + pixel + 1
    dr.eval(ends)
    starts = dr.select(pixel > 0, dr.gather(mi.UInt32, ends, pixel - 1, pixel > 0), 0)
    # Every pixel has a first sample: counting those gives the pixel of each sample
    firsts = dr.zeros(mi.UInt32, count * spp)
    dr.scatter(firsts, mi.UInt32(1), starts)
    pixels = dr.cumsum(firsts) - 1
    share = spp / mi.Float(ends - starts)
    weights = dr.gather(mi.Float, share, pixels)
    dr.eval(pixels, weights)
    return [pixels, weights]
