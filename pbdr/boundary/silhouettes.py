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
moves, are dropped before radiance is traced and before anything is differentiated.
"""

from __future__ import annotations

import math

import drjit as dr
import mitsuba as mi

from ..errors import InputError, suggestion
from ..geometry.curves import ROUND_SHAPES, Curves, build_curves
from ..geometry.edges import placed_shapes
from ..transport.film import Context, FilmSamples
from ..transport.levels import LevelMemory, Levels, look_around
from . import register
from .base import BoundaryTerm
from .segments.base import Moves, Segments
from .segments.guide import Guide, Sampling
from .segments.primary import Primary
from .segments.secondary import Direct, Indirect

#: Share of the samples that no kind of boundary falls short of
LEAST_SHARE = 1 / 16

#: What guides can learn from
GUIDES = ("contrast", "adjoint")


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
        self._topology: tuple | None = None
        self._curves: Curves | None = None
        self._guides: dict[tuple[str, str], Guide] = {}
        self._samplings: dict[str, Sampling] = {}
        self._level_memories: dict[str, LevelMemory] = {}
        self._levels: Levels | None = None

    def prepare(self, scene: mi.Scene, sensor: mi.Sensor) -> None:
        self._samplings, self._levels = {}, None
        topology = tuple(
            (shape.id(), shape.class_name(), *((s.vertex_count(), s.face_count()) for s in [shape] if s.is_mesh()))
            for shape in scene.shapes()
        )
        if topology != self._topology:
            self._topology, self._curves, self._guides = topology, build_curves(scene), {}

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
            for shape in members:
                if shape.bsdf() is not None and mi.has_flag(shape.bsdf().flags(), mi.BSDFFlags.Delta):
                    return (
                        f"shape '{shape.id()}' is perfectly specular, and boundary = 'silhouettes' cannot follow "
                        "silhouettes that are seen through it; give it some roughness"
                    )
        return None

    def levels(self, context: Context) -> Levels | None:
        if self._curves is None:
            return None
        if self._levels is None:
            memory = self._level_memories.setdefault(context.sensor.id(), LevelMemory())
            if memory.is_empty:
                look_around(memory, context)
            self._levels = memory.open(context.scene, context.seed)
        return self._levels

    def samples(self, context: Context) -> list[FilmSamples]:
        if (kind := context.sensor.class_name()) != "PerspectiveCamera":
            raise InputError(
                f"sensor '{context.sensor.id()}' is a {kind}; boundary = 'silhouettes' needs a 'perspective' sensor, "
                "and boundary = 'none' leaves silhouettes out"
            )
        if self._curves is None:
            return []
        moves = Moves.of(context)
        kinds: list[type[Segments]] = [Primary]
        # A camera moves no segment between surfaces
        if moves.shapes.any or moves.emitters:
            kinds += [Direct] * (context.limits.max_depth >= 2) + [Indirect] * (context.limits.max_depth >= 3)
        by_adjoint = self.boundary_guide == "adjoint"
        segments = [kind(context, self._curves, moves, by_adjoint=by_adjoint) for kind in kinds]
        for one in segments:
            self._open(one)
        counts = self._allocate(context, segments)
        # All kinds look for samples before the first is waited for
        found = [one.start(self._samplings[one.name], n) for one, n in zip(segments, counts, strict=True)]
        finished = [
            one.finish(self._samplings[one.name], *rest) for one, *rest in zip(segments, counts, found, strict=True)
        ]
        return [samples for samples in finished if samples is not None]

    def _open(self, segments: Segments) -> None:
        """Prepare the density of one kind of segments; all passes of a gradient share it."""
        if segments.name in self._samplings:
            return
        key = (segments.context.sensor.id(), segments.name)
        if key not in self._guides:
            # The first call looks around before it samples
            guide = self._guides[key] = Guide()
            sampling, count = segments.open(guide, pilot=True), self._budget(segments.context) // 2
            segments.finish(sampling, count, segments.start(sampling, count, pilot=True))
        self._samplings[segments.name] = segments.open(self._guides[key])

    def _budget(self, context: Context) -> int:
        size = context.sensor.film().crop_size()
        return max(2, int(int(size[0]) * int(size[1]) * (self.boundary_spp or context.spp / 2)))

    def _allocate(self, context: Context, segments: list[Segments]) -> list[int]:
        """Samples of each kind, by the noise and the time of one: least variance for the whole budget.

        Powers of two of the budget, so that rounding decides nothing; no kind goes without.
        """
        noise = [self._samplings[one.name].noise for one in segments]
        dr.eval(noise)
        worth = [float(n[0]) / one.cost**0.5 for n, one in zip(noise, segments, strict=True)]
        budget = self._budget(context)
        shares = [w / sum(worth) if sum(worth) > 0 else 1.0 for w in worth]
        return [max(1, round(budget * 2.0 ** round(math.log2(max(share, LEAST_SHARE))))) for share in shares]
