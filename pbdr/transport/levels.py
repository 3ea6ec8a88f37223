"""Brightness levels of things in view: a control variate for whatever moves on the film.

In surface form the radiance L of a camera sample is carried across the film by the point that it came from. Where L is
nearly constant that is noise for nothing: the slope of the pixel filter, sampled. So the image is split in two,

    I = ∫ h (L − c) du + ∫ h c du        (h: pixel filter; c: one value for each thing in view)

of which the first part stays in surface form, with less to carry. The second is piecewise constant, and its derivative
is a line integral over the edges at which c jumps, with their speed on the film:

    ∂/∂θ ∫ h c du = ∮ h (c_behind − c_front) (ḃ·n) dℓ        (n: into the thing in front)

Any c gives the same mean as long as it does not depend on this gradient's samples and jumps at known edges only. It is
the mean radiance that earlier gradients saw. Things whose bounding boxes meet may meet in curves that are no edges, and
share one level.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import drjit as dr
import mitsuba as mi
import numpy as np

from ..geometry.motion import registry_index
from ..seeds import derive_seed
from ..sobol import SobolSampler
from .camera_hits import first_hit
from .recollection import Recollection
from .sensor import camera_rays

if TYPE_CHECKING:
    from .context import Context

#: How much of the sums survives each gradient: radiance changes along with the scene
KEEP = 0.5

#: Camera samples that are looked at, about
LEARNED = 16384

#: Samples of the first gradient's pilot
LOOKED_AT = 4096

#: Boxes that are closer than this, as a share of the scene's extent, meet
CONTACT = 1e-5


def groups_in_contact(scene: mi.Scene) -> mi.UInt32:
    """The first shape of each cluster of shapes whose boxes meet, by registry index; 0 is what lies behind all. [R]"""
    shapes = scene.shapes()
    if not shapes:
        return mi.UInt32([0])
    index = np.array(dr.reinterpret_array(mi.UInt32, mi.ShapePtr(shapes)))
    low, high = (np.array([np.array(getattr(s.bbox(), end)) for s in shapes]) for end in ("min", "max"))
    margin = CONTACT * float(np.abs(high.max(0) - low.min(0)).max())
    group = np.arange(int(index.max()) + 1, dtype=np.uint32)
    pending = set(range(len(shapes)))
    while pending:
        first = min(pending)
        cluster, front = {first}, [first]
        while front:
            k = front.pop()
            meets = np.all((low <= high[k] + margin) & (high >= low[k] - margin), axis=1)
            new = set(np.flatnonzero(meets)) - cluster
            cluster |= new
            front += new
        group[index[list(cluster)]] = index[first]
        pending -= cluster
    return mi.UInt32(group)


@dataclasses.dataclass(frozen=True)
class Memory:
    """What earlier gradients saw of each thing."""

    total: mi.Spectrum | mi.Float  #: sum of radiance [R]
    count: mi.Float  #: number of samples [R]


@dataclasses.dataclass(frozen=True)
class Levels:
    """The levels of one gradient, and what it sees itself."""

    value: mi.Spectrum | mi.Float  #: level of each thing [R]
    measured: Memory

    @classmethod
    def of_memory(cls, before: Memory, group: mi.UInt32) -> Levels:
        """Derive levels from a memory.

        Args:
            group: Registry index of the group of each shape. [R]
        """
        size = dr.width(group)
        total, count = dr.zeros(type(before.total), size), dr.zeros(mi.Float, size)
        dr.scatter_add(total, before.total, group)
        dr.scatter_add(count, before.count, group)
        value = dr.gather(type(total), dr.select(count > 0, total / count, 0), group)
        levels = cls(value, Memory(before.total * KEEP, before.count * KEEP))
        # Targets that are written before they are computed would end the kernel that writes them
        dr.eval(before, levels)
        return levels

    def of(self, pi: mi.PreliminaryIntersection3f) -> mi.Spectrum:
        """Level of what was hit; 0 before anything was seen. [N]"""
        return self.of_owner(registry_index(pi))

    def of_owner(self, index: mi.UInt32) -> mi.Spectrum:
        """Level of shapes or instances given by registry index. [N]"""
        return mi.Spectrum(dr.gather(type(self.value), self.value, index, index < dr.width(self.value)))

    def learn(self, index: mi.UInt32, L: mi.Spectrum) -> None:
        """Remember radiance for the next gradient.

        Args:
            index: Registry index of what camera rays hit first. [N]
            L: Radiance along them. [N]
        """
        stride = max(1, dr.width(L) // LEARNED)
        seen = dr.arange(mi.UInt32, dr.width(L)) % stride == 0
        value = dr.mean(L) if isinstance(self.value, mi.Float) else L
        # Few targets, few writes: a copy for each thread would cost more, and kernels of its own
        dr.scatter_reduce(dr.ReduceOp.Add, self.measured.total, value, index, seen, mode=dr.ReduceMode.Local)
        dr.scatter_reduce(dr.ReduceOp.Add, self.measured.count, mi.Float(1), index, seen, mode=dr.ReduceMode.Local)
        dr.schedule(self.measured.total, self.measured.count)


def no_memory(size: int) -> Memory:
    """A memory of nothing.

    Args:
        size: R
    """
    # Wavelengths of spectral samples are random: one level for all of them
    kind = mi.Float if mi.is_spectral else mi.Spectrum
    return Memory(dr.zeros(kind, size), dr.zeros(mi.Float, size))


def look_around(context: Context, group: mi.UInt32) -> Recollection[Memory]:
    """A memory from a few samples of its own.

    Args:
        group: Registry index of the group of each shape. [R]
    """
    sensor = context.sensor
    seed = mi.sample_tea_32(mi.UInt32(context.seed), derive_seed(0, "levels"))[0]
    before = no_memory(dr.width(group))
    levels = Levels.of_memory(before, group)
    sampler = SobolSampler.along(LOOKED_AT, seed)
    film = sensor.film()
    position = sampler.next_2d() * mi.ScalarVector2f(film.crop_size()) + mi.ScalarVector2f(film.crop_offset())
    ray = mi.Ray3f(dr.detach(camera_rays(sensor, sampler, position)[0], True))
    pi, ray = first_hit(context.scene, ray, context.limits, mi.Bool(True))
    levels.learn(registry_index(pi), context.paths(sampler, ray, mi.Bool(True), context.limits).L)
    return Recollection.of(seed, before, levels.measured)
