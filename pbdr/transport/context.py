"""What an integrator hands to its boundary term."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import drjit as dr
import mitsuba as mi

from ..geometry.attachment import Attachment
from ..geometry.edges import has_instances
from .camera_hits import background_covers
from .emitter import emitters_move
from .path import PathResult
from .sensor import sensor_moves

if TYPE_CHECKING:
    from ..geometry.rough_lobes import RoughLobes
    from .levels import Levels
    from .path import Limits
    from .velocity import Bend


@dataclasses.dataclass(frozen=True)
class Setting:
    """What is asked of a scene and a sensor before anything is traced: kernels cannot ask it."""

    attachment: Attachment
    sensor_moves: bool
    emitters_move: bool
    has_instances: bool
    centre: mi.Point3f  #: of the scene's box [1]
    extent: mi.Float  #: the longest diagonal of that box [1]
    unsampled: mi.UInt32 | None  #: emitters that only scattered rays find, by their place in the scene, if any [K]

    @classmethod
    def of(cls, scene: mi.Scene, sensor: mi.Sensor, attachment: Attachment) -> Setting:
        """Ask."""
        with dr.resume_grad():
            moving = sensor_moves(sensor), emitters_move(scene)
        box = scene.bbox()
        # Not literals: kernels would be compiled anew whenever the scene's extent changes
        centre = mi.Point3f(*(dr.opaque(mi.Float, float(x)) for x in box.center()))
        extent = dr.opaque(mi.Float, max(float(dr.norm(box.extents())), 1e-6))
        return cls(attachment, *moving, has_instances(scene), centre, extent, _unsampled(scene))

    @property
    def surfaces_move(self) -> bool:
        """Whether a surface or an emitter carries derivatives of its place."""
        return self.attachment.moves

    @property
    def moves(self) -> bool:
        """Whether anything carries derivatives of its place."""
        return self.sensor_moves or self.attachment.moves

    @property
    def lobes(self) -> RoughLobes | None:
        """Materials whose directions are drawn by the derivative of a lobe."""
        return self.attachment.lobes

    def can_move_on_film(self, pi: mi.PreliminaryIntersection3f) -> mi.Bool:
        """Whether the film positions of hits carry derivatives. [N]"""
        return mi.Bool(True) if self.sensor_moves else self.attachment.moving.hit(pi)


def _unsampled(scene: mi.Scene) -> mi.UInt32 | None:
    """Emitters of sampling weight 0 that rays can meet, by their place in the scene; None if there are none. [K]"""
    places = [
        place
        for place, emitter in enumerate(scene.emitters())
        if emitter.sampling_weight() == 0 and not mi.has_flag(emitter.flags(), mi.EmitterFlags.Delta)
    ]
    return mi.UInt32(places) if places else None


@dataclasses.dataclass(frozen=True)
class Context:
    """What an integrator hands to its boundary term."""

    scene: mi.Scene
    sensor: mi.Sensor
    spp: int  #: samples per pixel of this pass
    seed: mi.UInt32
    limits: Limits  #: where paths end
    #: paths(sampler, ray, active, limits), by the integrator's own path loop, detached
    paths: Callable[[mi.Sampler, mi.Ray3f, mi.Bool, Limits], PathResult]
    setting: Setting  #: what moves, and where
    bend: Bend | None  #: lets camera rays follow a velocity field instead of material points
    crosses_film_edges: bool  #: whether anything moves where the film's own integrand ends
    levels: Levels | None  #: what the boundary term takes care of in camera samples
    adjoint: mi.TensorXf | None  #: derivative of the loss by the image, in reverse mode [H, W, C]

    def excess(self, L: mi.Spectrum, pi: mi.PreliminaryIntersection3f) -> mi.Spectrum:
        """Radiance of camera samples that moves with surfaces: what exceeds the level of their first hit. [N]"""
        return L if self.levels is None else L - self.levels.of(pi)

    def covered(self, is_hit: mi.Bool) -> mi.Float:
        """Level of the alpha channel where camera rays hit something or nothing, as known as those of radiance. [N]"""
        if self.levels is None:
            return mi.Float(0)
        return dr.select(is_hit | background_covers(self.scene, self.limits), mi.Float(1), 0)

    def importance(self, position: mi.Point2f) -> mi.Float:
        """How much the loss depends on samples at film positions, up to a factor; 1 in forward mode. [N]"""
        if self.adjoint is None:
            return mi.Float(1)
        height, width, _ = self.adjoint.shape
        pixel = mi.Point2i(dr.floor(position)) - mi.ScalarVector2i(self.sensor.film().crop_offset())
        index = dr.clip(pixel.y, 0, height - 1) * width + dr.clip(pixel.x, 0, width - 1)
        return dr.gather(mi.Float, self._reach, index)

    @functools.cached_property
    def _reach(self) -> mi.Float:
        """Sum of the absolute adjoints of all pixels that a sample in a given pixel may reach. [H * W]"""
        height, width, channels = self.adjoint.shape
        radius = math.ceil(self.sensor.film().rfilter().radius())
        row, column = dr.arange(mi.Int32, height * width) // width, dr.arange(mi.Int32, height * width) % width
        total = mi.Float(0)
        for dy, dx, c in itertools.product(range(-radius, radius + 1), range(-radius, radius + 1), range(channels)):
            y, x = row + dy, column + dx
            inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
            total += dr.abs(dr.gather(mi.Float, self.adjoint.array, (y * width + x) * channels + c, inside))
        return total
