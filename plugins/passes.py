"""What the passes of a gradient consist of: camera samples, paths, what moves, boundary samples."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import drjit as dr
import mitsuba as mi
from mitsuba.python.ad.integrators.common import RBIntegrator

from pbdr.boundary import Opening
from pbdr.boundary.segments.base import thinned
from pbdr.errors import InputError
from pbdr.geometry.edges import children, single_shapes
from pbdr.geometry.level_sets import level_sets
from pbdr.geometry.motion import registry_index
from pbdr.geometry.rough_lobes import RoughLobes
from pbdr.interior import Marked, Primal, Rule
from pbdr.transport import film as films
from pbdr.transport.camera_hits import first_hit
from pbdr.transport.context import Context, Setting
from pbdr.transport.film_edges import crosses_film_edges, film_edge_source, has_film_edges
from pbdr.transport.path import Limits, PathResult, Start, Traits, trace_path
from pbdr.transport.recorded import Walk, Warp
from pbdr.transport.samplers import CameraSampling, Sampler
from pbdr.transport.sensor import (
    FilmPoint,
    camera_rays,
    project_first_vertex,
    require_projective,
    sensor_moves,
    sensor_vertex,
)
from pbdr.transport.vertices import Kept

#: Share of the memory budget that a pass takes if something moves: one of twice the size was 6 % faster
MOVING_SHARE = 1 / 16

#: The same for images whose paths are kept until the loss is known
KEPT_SHARE = 1 / 8


@dataclasses.dataclass(frozen=True)
class Begun:
    """What the passes of one gradient share."""

    setting: Setting
    memory: object = None  #: of the boundary term: what it began with
    opening: Opening | None = None
    counts: tuple[int, ...] = ()  #: boundary samples of each kind in a pass
    crosses_film_edges: bool = False  #: whether anything moves where the film's own integrand ends
    found: list[dict | None] = dataclasses.field(default_factory=list)  #: boundary samples of the pass, by kind

    def lean(self, **changes) -> Begun:
        """The same without what functions of a pass need not know."""
        return dataclasses.replace(self, memory=None, **changes)

    def marked(self, scene: mi.Scene) -> Marked:
        """The rule of a first pass that a replay follows."""
        return Marked(Kept.of(scene, self.setting.attachment), fewest=int(self.setting.sensor_moves))


@dataclasses.dataclass(frozen=True)
class Moving:
    """Arrays that move on the film, to be attached where their derivatives are wanted."""

    attach: Callable[[], list]
    count: int  #: of arrays
    width: int  #: N

    @classmethod
    def of(cls, source: films.Source, samples: Sequence[films.FilmSamples]) -> Moving:
        """Boundary samples.

        Args:
            samples: What the source gives.
        """

        def attach() -> list:
            return [part for one in source() for part in one.parts]

        return cls(attach, sum(len(one.parts) for one in samples), dr.width(samples[0].position))


@dataclasses.dataclass(frozen=True)
class TracedSet:
    """Paths of one pass, as far as derivatives need them."""

    image: mi.TensorXf  #: [H, W, C]
    path: PathResult  #: of a ``Marked`` rule
    owner: mi.UInt32  #: registry index of what each camera sample sees [N]


def _shines_by_attribute(emitter: mi.Emitter) -> bool:
    """Whether a lamp takes its radiance from its vertices or faces, also as a part of a pattern."""
    if emitter.class_name() != "AreaLight":
        return False
    textures = children(emitter)
    inner = (one for texture in textures for one in children(texture))
    return any(one.class_name() == "MeshAttribute" for one in (*textures, *inner))


class GradientPasses(RBIntegrator):
    """The parts of which :class:`~pbdr.plugins.common.DifferentialIntegrator` makes images and derivatives."""

    def __init__(self, props: mi.Properties):
        super().__init__(props)
        self.sampling = CameraSampling(props.get("sampler", "sobol"))

    @staticmethod
    def sensor(scene: mi.Scene, sensor: mi.Sensor | int) -> mi.Sensor:
        """A sensor or the one of that number; refuses scenes of which the path loop would leave something out."""
        if shape := next((shape for shape in single_shapes(scene) if shape.is_medium_transition()), None):
            raise InputError(
                f"shape '{shape.id()}' has a participating medium, which pbdr's integrators do not render; 'volpath' "
                "does, and 'prbvolpath' differentiates it"
            )
        if lamp := next((one for one in scene.emitters() if one.class_name() == "DirectionalArea"), None):
            raise InputError(
                f"shape '{lamp.get_shape().id()}' is a 'directionalarea' emitter, which shines along its normals only, "
                "where no path from a camera finds it; use 'area', 'spot' or 'directional'"
            )
        if lamp := next(filter(_shines_by_attribute, scene.emitters()), None):
            raise InputError(
                f"shape '{lamp.get_shape().id()}' shines with a 'mesh_attribute', which is black where Mitsuba looks "
                "for light, so that it would light nothing; use a 'bitmap' or a number as its radiance"
            )
        return scene.sensors()[sensor] if isinstance(sensor, int) else sensor

    # ------------------------------------------------------------------ motion

    def begin(self, scene, sensor, seed, spp: int, *, keep: bool = False) -> tuple[list[films.Pass], Begun]:
        """The passes of a gradient and what they share; refuses what cannot be differentiated.

        Args:
            keep: Whether :meth:`trace_set` will be asked for the image, should one pass be enough.
        """
        with dr.resume_grad():
            begun = Begun(Setting.of(scene, sensor, self.experience.attachment(scene)))
        shares = [KEPT_SHARE, MOVING_SHARE] if keep else [MOVING_SHARE]
        for share in shares if begun.setting.moves else [1]:
            passes = films.plan_passes(sensor, spp, seed, self.memory_budget, share=share)
            if len(passes) == 1:
                break
        if not begun.setting.moves:
            return passes, begun
        p = passes[0]
        require_projective(sensor)
        if reason := self.boundary.obstacle(scene):
            raise InputError(reason)
        self.boundary.prepare(scene, sensor)
        if self.boundary.handles_discontinuities:
            self.experience.look_through(scene, sensor)
        with dr.suspend_grad():
            memory = self.boundary.memory(self.context(scene, sensor, p, begun))
        opening, before, crosses = self._call("open", self._open, scene, sensor, p, begun, memory)
        begun = dataclasses.replace(begun, opening=opening, crosses_film_edges=bool(crosses[0]), memory=before)
        counts = self.boundary.plan(self.context(scene, sensor, p, begun), opening)
        return passes, dataclasses.replace(begun, counts=counts)

    def look_for_edges(self, scene, sensor, p: films.Pass, begun: Begun) -> Begun:
        """Find the boundary samples of a pass, and drop those that contribute nothing."""
        if not begun.counts:
            return begun
        found, opening = self._call("find", self._find, scene, sensor, p, begun.lean(found=[]))
        return dataclasses.replace(begun, opening=opening, found=[thinned(samples) for samples in found])

    def end(self, scene, sensor, p: films.Pass, begun: Begun) -> None:
        """Remember what a gradient has seen."""
        if begun.setting.moves:
            self.boundary.keep(self.context(scene, sensor, p, begun), begun.opening, begun.memory)

    def trace_set(self, scene, sensor, p: films.Pass, begun: Begun) -> TracedSet:
        """An image whose paths :meth:`backward_pass` can use."""
        return self._call("trace set", self._trace_set, scene, sensor, p, Begun(begun.setting))

    def _trace_set(self, scene, sensor, p, begun):
        with dr.suspend_grad():
            camera = self.camera(sensor, p)
            path = self.trace(scene, camera, begun.marked(scene), lobes=begun.setting.lobes)
            owner = registry_index(first_hit(scene, camera.ray, self.limits, mi.Bool(True))[0])
            dr.schedule(path.L, path.valid, path.memory, owner)
            image = films.develop(camera, path.L, alpha=films.coverage(path))
            path = PathResult(path.L, mi.Spectrum(0), path.valid, path.memory, mi.UInt32(0))
            return TracedSet(image, path, owner)

    def _open(self, scene, sensor, p, begun, memory):
        with dr.suspend_grad():
            context = self.context(scene, sensor, p, begun)
            return *self.boundary.open(context, memory), crosses_film_edges(context)

    def _find(self, scene, sensor, p, begun):
        with dr.suspend_grad():
            context = self.context(scene, sensor, p, begun)
            return self.boundary.find(context, begun.opening, begun.counts), begun.opening

    def _call(self, name: str, function: Callable, scene, sensor, p: films.Pass, *arguments):
        """Call a function of one pass, frozen unless it follows velocity fields or is taped."""

        def bound(scene, sensor, seed, *arguments):
            return function(scene, sensor, films.Pass(p.spp, seed, 1.0), *arguments)

        if self.taped or self.boundary.field():
            return bound(scene, sensor, p.seed, *arguments)
        return self.experience.frozen.call(name, p.spp, bound, scene, sensor, mi.UInt32(p.seed), *arguments)

    # ------------------------------------------------------------------- parts

    def camera(self, sensor, p: films.Pass, sets: int = 1, allocation: Sequence = ()) -> films.Camera:
        """Camera samples of one pass, detached.

        Args:
            allocation: Pixel and weight of each sample of a set; empty where all pixels have as many. [N / sets] each
        """
        with dr.suspend_grad():
            film = sensor.film()
            spp = self.sampling.spp(sensor, p.spp)
            sampler = self.sampling.seeded(sensor, p, sets, in_rows=bool(allocation))
            pixels, measure = allocation or (None, mi.Float(1))
            corner, offset = films.sampled_pixels(film, spp, sets, pixels), sampler.next_2d()
            ray, response = camera_rays(sensor, sampler, corner + offset)
            # A box filter takes whole pixels, so that rounding moves no sample to another pixel
            position = corner if film.rfilter().is_box_filter() else corner + offset
            return films.Camera(
                sensor, sampler, spp, dr.detach(ray, True), dr.detach(response, True), position,
                RBIntegrator._splat_to_block, sets, dr.tile(measure, sets) if allocation else 1.0,
            )  # fmt: skip

    def trace(
        self,
        scene: mi.Scene,
        camera: films.Camera,
        rule: Rule,
        active: mi.Bool | bool = True,
        lobes: RoughLobes | None = None,
    ) -> PathResult:
        """Send the camera's rays through the path loop; every call uses the same random numbers."""
        origin = dr.detach(sensor_vertex(camera.sensor, camera.ray))
        with dr.resume_grad(when=rule.attached):
            traits = Traits.of(scene, rule.attached)
            moving = camera.sensor if rule.attached and sensor_moves(camera.sensor) else None
        return trace_path(
            scene, camera.sampler.clone(), Start(camera.ray, origin, mi.Bool(active), moving),
            rule=rule, limits=self.limits, traits=traits, lobes=lobes,
        )  # fmt: skip

    def walk(self, context: Context, path: PathResult, motion: films.Motion) -> Walk:
        """Everything that a walk over recorded paths needs."""
        scene, origin = context.scene, dr.detach(motion.origin, True)
        return Walk(
            scene, self.limits, self.boundary.field(), mi.UInt32(context.seed), origin, path.L,
            self.boundary.warp_depth, level_sets(scene), context.setting.lobes,
        )  # fmt: skip

    def context(self, scene, sensor, p: films.Pass, begun: Begun, adjoint: mi.TensorXf | None = None) -> Context:
        """What boundary terms are told about one pass.

        Args:
            adjoint: Derivative of the loss by the image, in reverse mode. [H, W, C]
        """

        def paths(sampler: Sampler, ray: mi.Ray3f, active: mi.Bool, limits: Limits) -> PathResult:
            with dr.suspend_grad():
                traits = Traits.of(scene, False)
                start = Start(ray, mi.Point3f(0), mi.Bool(active))
                return trace_path(scene, sampler, start, rule=Primal(), limits=limits, traits=traits, lobes=None)

        return Context(
            scene, sensor, p.spp, p.seed, self.limits, paths, begun.setting, None, begun.crosses_film_edges,
            begun.opening.levels if begun.opening else None, adjoint,
        )  # fmt: skip

    def motion(
        self, camera: films.Camera, context: Context, begun: Begun, *, forward: bool
    ) -> tuple[films.Motion | None, list[Moving]]:
        """Everything that moves on the film, attached where derivatives are; None if nothing does.

        Returns:
            What moves, and the same for those who attach it themselves, in the order of ``films.attached_parts``.
        """
        if not begun.setting.moves:
            return None, []
        scene, warp = context.scene, None
        first, ray = first_hit(scene, camera.ray, self.limits, mi.Bool(True))
        moving = context.setting.can_move_on_film(first)
        if field := self.boundary.field():
            field.clear(forward=forward)
            stream = mi.sample_tea_32(mi.UInt32(context.seed), 0xCA3E)[0]
            warp = Warp(field.for_camera(), stream, self.boundary.warp_depth >= 1, forward=forward)
            has_edges, moving = has_film_edges(camera.sensor.film()), mi.Bool(True)
            context = dataclasses.replace(context, bend=warp, crosses_film_edges=has_edges)

        def first_points() -> FilmPoint:
            return project_first_vertex(camera.sensor, first, ray, camera.position, warp, moving)

        moved = first_points()
        sources = [film_edge_source(context)] if context.crosses_film_edges else []
        sources += self.boundary.sources(context, begun.opening, begun.counts, begun.found)
        samples = [source() for source in sources]
        motion = films.Motion(
            moved.position, moved.measure, [one for some in samples for one in some], moved.origin, moved.vertex, warp,
            registry_index(first), context.levels,
        )  # fmt: skip
        pairs = zip(sources, samples, strict=True)
        return motion, [
            Moving(lambda: [(point := first_points()).position, point.measure], 2, dr.width(camera.position)),
            *(Moving.of(source, some) for source, some in pairs),
        ]

    @staticmethod
    def film_light(context: Context, path: PathResult, motion: films.Motion | None) -> tuple[mi.Spectrum, mi.Float]:
        """Radiance and coverage that move on the film: an image at rest is linear in them, and they need not be known.

        Leaving them unevaluated lets the primal and the replay pass share one kernel.
        """
        L = dr.detach(path.L, True)
        if motion is None:
            return dr.zeros(mi.Spectrum, dr.width(L)), mi.Float(0)
        alpha = mi.Float(0)
        if films.has_alpha(context.sensor.film()):
            alpha = films.coverage(path) - context.covered(motion.owner != 0)
        dr.eval(L, alpha)
        if motion.levels is None:
            return L, alpha
        motion.levels.learn(motion.owner, L)
        return L - motion.levels.of_owner(motion.owner), alpha

    @staticmethod
    def require_gradient(touched: bool, motion) -> None:
        """Refuse to return zeros when nothing that the image depends on carries derivatives."""
        if not touched and motion is None:
            raise InputError(
                "no parameter that the image depends on carries derivatives: call dr.enable_grad(params[key]) and "
                "params.update() before rendering"
            )
