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

import mitsuba as mi

from ..errors import InputError
from ..geometry.curves import ROUND_SHAPES, Curves, build_curves
from ..geometry.edges import placed_shapes
from ..transport.film import Context, FilmSamples
from . import register
from .base import BoundaryTerm
from .segments.base import Moves, Segments
from .segments.guide import Guide, Sampling
from .segments.primary import Primary
from .segments.secondary import Direct, Indirect


@register("silhouettes")
class Silhouettes(BoundaryTerm):
    """Samples edges of meshes and outlines of spheres, disks and cylinders as they bound visibility and illumination.

    Where samples pay is remembered from call to call, for each sensor. The estimate of a call depends on its seed and
    on the calls before it, and repeating the last seed repeats the last samples.

    Properties:
        boundary_spp: Boundary samples per pixel of each kind of boundary; 0 (default) takes a share of the interior's
            that depends on the kind.
    """

    handles_discontinuities = True

    def __init__(self, props: mi.Properties):
        self.boundary_spp = props.get("boundary_spp", 0)
        if self.boundary_spp < 0:
            raise InputError(f"'boundary_spp' must be at least 0, got {self.boundary_spp}")
        self._topology: tuple | None = None
        self._curves: Curves | None = None
        self._guides: dict[tuple[str, str], Guide] = {}
        self._samplings: dict[str, Sampling] = {}

    def prepare(self, scene: mi.Scene, sensor: mi.Sensor) -> None:
        self._samplings = {}
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

    def samples(self, context: Context) -> list[FilmSamples]:
        if reason := self.obstacle(context.scene):
            raise InputError(reason)
        if (kind := context.sensor.class_name()) != "PerspectiveCamera":
            raise InputError(
                f"sensor '{context.sensor.id()}' is a {kind}; boundary = 'silhouettes' needs a 'perspective' sensor"
            )
        if self._curves is None:
            return []
        moves = Moves.of(context)
        kinds: list[type[Segments]] = [Primary]
        # A camera moves no segment between surfaces
        if moves.shapes.any or moves.emitters:
            kinds += [Direct] * (context.limits.max_depth >= 2) + [Indirect] * (context.limits.max_depth >= 3)
        begun = [self._begin(kind(context, self._curves, moves, self._count(context, kind))) for kind in kinds]
        finished = [segments.finish(sampling, found) for segments, sampling, found in begun]
        return [samples for samples in finished if samples is not None]

    def _count(self, context: Context, kind: type[Segments]) -> int:
        size = context.sensor.film().crop_size()
        return int(size[0]) * int(size[1]) * (self.boundary_spp or max(1, round(kind.share * context.spp)))

    def _begin(self, segments: Segments) -> tuple[Segments, Sampling, dict]:
        """Let one kind of segments look for samples where earlier calls found some."""
        key = (segments.context.sensor.id(), segments.name)
        if key not in self._guides:
            # The first call looks around before it samples
            guide = self._guides[key] = Guide()
            sampling = segments.open(guide, pilot=True)
            segments.finish(sampling, segments.start(sampling, pilot=True))
            sampling.schedule()
        if segments.name not in self._samplings:
            self._samplings[segments.name] = segments.open(self._guides[key])
        sampling = self._samplings[segments.name]
        return segments, sampling, segments.start(sampling)
