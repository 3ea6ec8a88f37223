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
from .path import first_hit
from .sensor import camera_rays

if TYPE_CHECKING:
    from .film import Context

#: How much of the sums survives each gradient: radiance changes along with the scene
KEEP = 0.5

#: Camera samples that are looked at, about
LEARNED = 16384

#: Samples of the first gradient's pilot
LOOKED_AT = 4096

#: Boxes that are closer than this, as a share of the scene's extent, meet
CONTACT = 1e-5


def groups_in_contact(scene: mi.Scene) -> np.ndarray:
    """The first shape of each cluster of shapes whose boxes meet, by registry index; 0 is what lies behind all. [R]"""
    shapes = scene.shapes()
    if not shapes:
        return np.zeros(1, np.uint32)
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
    return group


@dataclasses.dataclass(frozen=True)
class Memory:
    """What earlier gradients saw of each thing."""

    total: mi.Spectrum | mi.Float  #: sum of radiance [R]
    count: mi.Float  #: number of samples [R]


class Levels:
    """The levels of one gradient, and what it sees itself."""

    def __init__(self, before: Memory, group: mi.UInt32):
        """Derive levels from a memory.

        Args:
            group: Registry index of the group of each shape. [R]
        """
        size = dr.width(group)
        total, count = dr.zeros(type(before.total), size), dr.zeros(mi.Float, size)
        dr.scatter_add(total, before.total, group)
        dr.scatter_add(count, before.count, group)
        self._value = dr.gather(type(total), dr.select(count > 0, total / count, 0), group)
        self.measured = Memory(before.total * KEEP, before.count * KEEP)
        # Targets that are written before they are computed would end the kernel that writes them
        dr.eval(before, self._value, self.measured)

    def of(self, pi: mi.PreliminaryIntersection3f) -> mi.Spectrum:
        """Level of what was hit; 0 before anything was seen. [N]"""
        return self.of_owner(registry_index(pi))

    def of_owner(self, index: mi.UInt32) -> mi.Spectrum:
        """Level of shapes or instances given by registry index. [N]"""
        return mi.Spectrum(dr.gather(type(self._value), self._value, index, index < dr.width(self._value)))

    def learn(self, pi: mi.PreliminaryIntersection3f, L: mi.Spectrum) -> None:
        """Remember radiance for the next gradient.

        Args:
            pi: First hits of camera rays. [N]
            L: Radiance along them. [N]
        """
        stride = max(1, dr.width(L) // LEARNED)
        index = registry_index(pi)
        seen = dr.arange(mi.UInt32, dr.width(L)) % stride == 0
        value = dr.mean(L) if isinstance(self._value, mi.Float) else L
        # Few targets, few writes: a copy for each thread would cost more, and kernels of its own
        dr.scatter_reduce(dr.ReduceOp.Add, self.measured.total, value, index, seen, mode=dr.ReduceMode.Local)
        dr.scatter_reduce(dr.ReduceOp.Add, self.measured.count, mi.Float(1), index, seen, mode=dr.ReduceMode.Local)
        dr.schedule(self.measured.total, self.measured.count)


class LevelMemory:
    """Levels of one sensor from gradient to gradient.

    A repeated seed is answered with the memory that its first call had, so that forward and reverse mode agree.
    """

    def __init__(self):
        self._seed: mi.UInt32 | None = None  #: of the last gradient
        self._before: Memory | None = None  #: the memory that it used
        self._after: Memory | None = None  #: with what it saw

    def open(self, scene: mi.Scene, seed: mi.UInt32) -> Levels:
        """Begin a gradient."""
        group = groups_in_contact(scene)
        before = self._recall(mi.UInt32(seed), len(group))
        levels = Levels(before, mi.UInt32(group))
        self._seed, self._before, self._after = mi.UInt32(seed), before, levels.measured
        return levels

    @property
    def is_empty(self) -> bool:
        """Whether nothing has been seen yet."""
        return self._after is None

    def _recall(self, seed: mi.UInt32, size: int) -> Memory:
        # Wavelengths of spectral samples are random: one level for all of them
        kind = mi.Float if mi.is_spectral else mi.Spectrum
        if self._after is None or dr.width(self._after.count) != size:
            return Memory(dr.zeros(kind, size), dr.zeros(mi.Float, size))
        again = seed == self._seed
        return Memory(
            dr.select(again, self._before.total, self._after.total),
            dr.select(again, self._before.count, self._after.count),
        )


def look_around(memory: LevelMemory, context: Context) -> None:
    """Fill an empty memory from a few samples of its own."""
    sensor = context.sensor
    seed = mi.sample_tea_32(mi.UInt32(context.seed), derive_seed(0, "levels"))[0]
    levels = memory.open(context.scene, seed)
    sampler = mi.load_dict({"type": "independent"})
    sampler.seed(seed, LOOKED_AT)
    film = sensor.film()
    position = sampler.next_2d() * mi.ScalarVector2f(film.crop_size()) + mi.ScalarVector2f(film.crop_offset())
    ray = mi.Ray3f(dr.detach(camera_rays(sensor, sampler, position)[0], True))
    pi, ray = first_hit(context.scene, ray, context.limits, mi.Bool(True))
    levels.learn(pi, context.radiance(sampler, ray, mi.Bool(True), context.limits))
