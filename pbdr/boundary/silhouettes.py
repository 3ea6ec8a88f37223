"""Boundary term by explicit silhouette sampling in path space.

A path segment whose line touches the edge of an occluder is a boundary of visibility. In the surface form both ends of
the segment follow their surfaces, so what counts is how fast the edge point b moves *against the segment*. With its
ends x (toward the sensor) and y (toward the light), and s = |b−x| / |y−x|,

    dI/dθ = ∫ dℓ(b) ∫ dω  F(x, ω, y) ‖t×ω‖  m·(ḃ − (1−s) ẋ − s ẏ)

t is the edge's tangent, m the unit normal of the plane of t and ω that points into the occluder, and F the rest of the
path: film response at x per perpendicular area and solid angle, times radiance from y. Distant light keeps its
direction, so that the segment moves with x alone. This is the local form of the boundary integral [Zhang et al. 2020,
"Path-space differentiable rendering"; Zhang et al. 2023, "Projective sampling for differentiable rendering of
geometry"] with the relative velocity of the surface form: seams and creases stand still there and need no term.

Samples are found detached; those that contribute nothing, because something hides them or because nothing near them
moves, are dropped before anything is differentiated.
"""

from __future__ import annotations

import dataclasses
import math

import drjit as dr
import mitsuba as mi

from ..errors import InputError, suggestion
from ..geometry.curves import ROUND_SHAPES, Curves, build_curves
from ..geometry.edges import placed_shapes
from ..geometry.topology import Topology
from ..transport import levels
from ..transport.context import Context
from ..transport.film import Source
from ..transport.recollection import Recollection
from . import register
from .base import BoundaryTerm, Opening, obstacle_to_motion
from .segments import guide
from .segments.base import Segments, thinned
from .segments.guide import Sampling
from .segments.primary import Primary
from .segments.secondary import Direct, Indirect

#: Share of the samples that no kind of boundary falls short of
LEAST_SHARE = 1 / 16

#: What guides can learn from
GUIDES = ("contrast", "adjoint")


@dataclasses.dataclass(frozen=True)
class Memories:
    """What earlier gradients of one sensor left."""

    curves: Curves
    group: mi.UInt32  #: which shapes share a level [R]
    levels: Recollection[levels.Memory]
    guides: dict[str, Recollection[guide.Memory]]  #: of each kind of segments


@dataclasses.dataclass(frozen=True)
class Before:
    """The memories that a gradient began with."""

    levels: levels.Memory
    guides: dict[str, guide.Memory]  #: of each kind of segments


@dataclasses.dataclass(frozen=True)
class SilhouettesOpening(Opening):
    """Densities of one gradient."""

    curves: Curves | None = None
    samplings: dict[str, Sampling] = dataclasses.field(default_factory=dict)  #: of each kind of segments


@register("silhouettes")
class Silhouettes(BoundaryTerm):
    """Samples edges of meshes and outlines of spheres, disks and cylinders as they bound visibility and illumination.

    Where samples pay is remembered from call to call, for each sensor. The estimate of a call depends on its seed and
    on the calls before it, and repeating the last seed repeats the last samples.

    Properties:
        boundary_guide: What earlier gradients teach about where samples pay: ``contrast`` (default) is the size of
            what they contribute to the image, ``adjoint`` in reverse mode to the loss. With ``adjoint`` forward and
            reverse mode take different samples.
        boundary_spp: Boundary samples per pixel, divided among direct visibility, shadows and interreflection by the
            noise that earlier calls measured; 0 (default) takes half as many as interior samples.
    """

    handles_discontinuities = True

    def __init__(self, props: mi.Properties):
        self.boundary_spp = props.get("boundary_spp", 0)
        if self.boundary_spp < 0:
            raise InputError(f"'boundary_spp' must be at least 0, got {self.boundary_spp}")
        self.boundary_guide = props.get("boundary_guide", GUIDES[0])
        if self.boundary_guide not in GUIDES:
            raise InputError(
                f"'boundary_guide' is '{self.boundary_guide}', which does not exist"
                f"{suggestion(self.boundary_guide, GUIDES)}"
            )
        self._topology = Topology()
        self._curves: Curves | None = None
        self._guides: dict[str, dict[str, Recollection[guide.Memory]]] = {}  # by sensor and kind
        self._levels: dict[str, Recollection[levels.Memory]] = {}  # by sensor

    def prepare(self, scene: mi.Scene, sensor: mi.Sensor) -> None:
        if (kind := sensor.class_name()) != "PerspectiveCamera":
            raise InputError(
                f"sensor '{sensor.id()}' is a {kind}; boundary = 'silhouettes' needs a 'perspective' sensor, "
                "and boundary = 'none' leaves silhouettes out"
            )
        if self._topology.has_changed(scene):
            self._curves, self._guides = build_curves(scene), {}

    @staticmethod
    def obstacle(scene: mi.Scene) -> str | None:
        for owner in scene.shapes():
            members = placed_shapes(scene, owner)
            kinds = [m for m in members if not m.is_mesh() and (m is not owner or m.class_name() not in ROUND_SHAPES)]
            if kinds or not members:
                kind = (kinds or [owner])[0].class_name()
                return (
                    f"shape '{owner.id()}' is a {kind}, whose silhouette boundary = 'silhouettes' cannot sample "
                    "yet; it takes meshes, rectangles, spheres, disks, cylinders and instances of meshes"
                )
        return obstacle_to_motion(scene)

    def memory(self, context: Context) -> Memories | None:
        if self._curves is None:
            return None
        sensor, group = context.sensor.id(), levels.groups_in_contact(context.scene)
        if sensor not in self._levels or dr.width(self._levels[sensor].after.count) != dr.width(group):
            self._levels[sensor] = levels.look_around(context, group)
        guides = self._guides.setdefault(sensor, {})
        if unseen := [kind for kind in _kinds(context) if kind.name not in guides]:
            seen = levels.Levels.of_memory(self._levels[sensor].recall(context.seed), group)
            context = dataclasses.replace(context, levels=seen)
            guides.update({kind.name: self._look_around(context, kind) for kind in unseen})
        return Memories(self._curves, group, self._levels[sensor], {k.name: guides[k.name] for k in _kinds(context)})

    def open(self, context: Context, memory: Memories | None) -> tuple[Opening, Before | None]:
        if memory is None:
            return Opening(), None
        before = memory.levels.recall(context.seed)
        samplings, guides = {}, {}
        for kind in _kinds(context):
            samplings[kind.name], guides[kind.name] = kind(context, memory.curves).open(memory.guides[kind.name])
        seen = levels.Levels.of_memory(before, memory.group)
        return SilhouettesOpening(seen, memory.curves, samplings), Before(before, guides)

    def plan(self, context: Context, opening: Opening) -> tuple[int, ...]:
        """Samples of each kind, by the noise and the time of one: least variance for the whole budget.

        Powers of two of the budget, so that rounding decides nothing; no kind goes without.
        """
        if opening.levels is None:
            return ()
        kinds = _kinds(context)
        worth = [float(opening.samplings[kind.name].noise[0]) / kind.cost(opening.curves) ** 0.5 for kind in kinds]
        budget = self._budget(context)
        shares = [w / sum(worth) if sum(worth) > 0 else 1.0 for w in worth]
        return tuple(max(1, round(budget * 2.0 ** round(math.log2(max(share, LEAST_SHARE))))) for share in shares)

    def find(self, context: Context, opening: Opening, counts: tuple[int, ...]) -> list[dict]:
        # All kinds look for samples before the first is waited for
        return [one.start() for one in self._segments(context, opening, counts)]

    def sources(
        self, context: Context, opening: Opening, counts: tuple[int, ...], found: list[dict | None]
    ) -> list[Source]:
        by_adjoint = self.boundary_guide == "adjoint"
        pairs = zip(self._segments(context, opening, counts), found, strict=True)
        return [one.source(left, by_adjoint=by_adjoint) for one, left in pairs if left is not None]

    def keep(self, context: Context, opening: Opening, before: Before | None) -> None:
        if before is None:
            return
        sensor = context.sensor.id()
        self._levels[sensor] = Recollection.of(context.seed, before.levels, opening.levels.measured)
        for name, sampling in opening.samplings.items():
            self._guides[sensor][name] = Recollection.of(context.seed, before.guides[name], sampling.measured)

    @staticmethod
    def _segments(context: Context, opening: Opening, counts: tuple[int, ...]) -> list[Segments]:
        kinds = _kinds(context) if counts else []
        return [
            kind(context, opening.curves, opening.samplings[kind.name], count)
            for kind, count in zip(kinds, counts, strict=True)
        ]

    def _look_around(self, context: Context, kind: type[Segments]) -> Recollection[guide.Memory]:
        """What a kind of boundary segments measures before the first gradient."""
        sampling, before = kind(context, self._curves).open(None)
        pilot = kind(context, self._curves, sampling, self._budget(context) // 2)
        left = thinned(pilot.start("pilot"))
        if left:
            pilot.source(left)
        return Recollection.of(pilot.seed("pilot"), before, sampling.measured)

    def _budget(self, context: Context) -> int:
        size = context.sensor.film().crop_size()
        return max(2, int(int(size[0]) * int(size[1]) * (self.boundary_spp or context.spp / 2)))


def _kinds(context: Context) -> list[type[Segments]]:
    kinds: list[type[Segments]] = [Primary]
    # A camera moves no segment between surfaces
    if context.setting.surfaces_move:
        kinds += [Direct] * (context.limits.max_depth >= 2) + [Indirect] * (context.limits.max_depth >= 3)
    return kinds
