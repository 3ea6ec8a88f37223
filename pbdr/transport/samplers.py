"""Where the random numbers of camera paths come from."""

from __future__ import annotations

from typing import Protocol

import mitsuba as mi

from ..errors import InputError, suggestion
from ..sobol import SobolSampler
from .film import Pass, sampled_size


class Sampler(Protocol):
    """Random numbers in [0, 1) for each lane: Mitsuba's samplers, or :class:`~pbdr.sobol.SobolSampler`."""

    def next_1d(self) -> mi.Float:
        """One number for each. [N]"""

    def next_2d(self) -> mi.Point2f:
        """Two numbers for each. [N]"""


#: What camera paths can take
SAMPLERS = ("sobol", "scene")


class CameraSampling:
    """The choice of a sampler.

    Attributes:
        name: ``sobol`` stratifies over blocks of pixels; ``scene`` takes the sampler that belongs to the sensor.
    """

    def __init__(self, name: str):
        if name not in SAMPLERS:
            raise InputError(f"'sampler' is '{name}', which does not exist{suggestion(name, SAMPLERS)}")
        self.name = name

    def spp(self, sensor: mi.Sensor, spp: int) -> int:
        """Samples per pixel that are taken where this number is asked for: some of Mitsuba's samplers round up."""
        if self.name == "sobol":
            return spp
        sampler = sensor.sampler().clone()
        sampler.set_sample_count(spp)
        return sampler.sample_count()

    def seeded(self, sensor: mi.Sensor, p: Pass, sets: int, *, in_rows: bool = False) -> Sampler:
        """A sampler for all camera samples of one pass: pixel after pixel, set after set.

        Args:
            sets: Independent sets of samples.
            in_rows: Whether pixels have different numbers of samples: then neighbours are those of a row.
        """
        spp, (width, height) = self.spp(sensor, p.spp), sampled_size(sensor.film())
        if self.name == "scene":
            sampler = sensor.sampler().clone()
            sampler.set_sample_count(spp)
            sampler.set_samples_per_wavefront(spp)
            sampler.seed(p.seed, width * height * spp * sets)
            return sampler
        if in_rows:
            return SobolSampler.along(width * height * spp, p.seed, sets)
        return SobolSampler.over_pixels((width, height), spp, p.seed, sets)
