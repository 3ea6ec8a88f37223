"""The integrator behind every plugin of pbdr: interior rule and boundary term put together."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import drjit as dr
import mitsuba as mi
from mitsuba.python.ad.integrators.common import RBIntegrator

from pbdr.boundary import BoundaryTerm, Opening, find
from pbdr.boundary.segments.base import thinned
from pbdr.errors import InputError
from pbdr.geometry.level_sets import level_sets
from pbdr.geometry.motion import registry_index
from pbdr.interior import Marked, Primal, Record, ReplayBackward, ReplayForward, Rule, Taped
from pbdr.interior.recording import Experience, Recording, Tracer
from pbdr.interior.reevaluation import require_separate_lobes
from pbdr.transport import film as films
from pbdr.transport.collection import without_collection
from pbdr.transport.context import Context, Setting
from pbdr.transport.film_edges import crosses_film_edges, film_edge_samples
from pbdr.transport.path import Limits, PathResult, Traits, first_hit, trace_path
from pbdr.transport.recorded import Walk, Warp, walk_backward, walk_forward
from pbdr.transport.sensor import (
    camera_rays,
    project_first_vertex,
    require_projective,
    sensor_moves,
    sensor_vertex,
)
from pbdr.transport.tangents import KEEP_TANGENTS, push_tangents
from pbdr.transport.vertices import Kept


def former_warped_area(props: mi.Properties, warp_depth: int) -> BoundaryTerm:
    """The boundary term of Mitsuba's former reparameterized integrators, from the properties that they had.

    Those of auxiliary rays keep their defaults; only ``warp_field="ratio"`` has such rays, other fields need none.

    Args:
        warp_depth: Path segments that are warped unless ``reparam_max_depth`` says otherwise; −1 all.
    """
    former = {"rays": 16, "kappa": 1e5, "exp": 3.0, "antithetic": False}
    values = {name: props.get(f"reparam_{name}", default) for name, default in former.items()}
    for name in ("rays", "kappa", "exp"):
        if values[name] <= 0:
            raise InputError(f"'reparam_{name}' must be greater than 0, got {values[name]}")
    props.get("reparam_unroll", False)
    if props.get("warp_field", "blend") == "ratio":
        for name, value in values.items():
            key = "warp_exponent" if name == "exp" else f"warp_{name}"
            props[key] = props.get(key, value)
    props["warp_depth"] = props.get("reparam_max_depth", warp_depth)
    return find("warped_area")(props)


#: Share of the memory budget that a pass takes if something moves: larger ones were not faster
MOVING_SHARE = 1 / 8


@dataclasses.dataclass(frozen=True)
class Begun:
    """What the passes of one gradient share."""

    setting: Setting
    memory: object = None  #: of the boundary term
    opening: Opening | None = None
    counts: tuple[int, ...] = ()  #: boundary samples of each kind in a pass
    crosses_film_edges: bool = False  #: whether anything moves where the film's own integrand ends
    found: list[dict | None] = dataclasses.field(default_factory=list)  #: boundary samples of the pass, by kind

    def marked(self, scene: mi.Scene) -> Marked:
        """The rule of a first pass that a replay follows."""
        return Marked(Kept.of(scene, self.setting.attachment), fewest=int(self.setting.sensor_moves))


class DifferentialIntegrator(RBIntegrator):
    """Renders images and their derivatives: interior estimator plus boundary term.

    Subclasses choose the parts; this class owns the order of passes.
    """

    def __init__(self, props: mi.Properties, *, taped: bool, boundary: BoundaryTerm):
        super().__init__(props)
        self.memory_budget = props.get("memory_budget", 1.0)
        if self.memory_budget <= 0:
            raise InputError(f"'memory_budget' must be greater than 0 GiB, got {self.memory_budget:g}")
        if taped and self.max_depth == 0xFFFFFFFF:
            raise InputError("'max_depth' must be finite with a taped interior, got -1")
        self.taped = taped
        self.boundary = boundary
        self.limits = Limits(self.max_depth, self.rr_depth, self.hide_emitters)
        self.experience = Experience()
        if mi.is_polarized:
            raise InputError(f"'{mi.variant()}' is polarized; pbdr's integrators render unpolarized light")

    # ------------------------------------------------------------------ passes

    @without_collection
    def render(self, scene, sensor=0, seed=0, spp=0, develop=True, evaluate=True):
        """Render an image: radiance of every camera sample, filtered by the film."""
        if not develop:
            raise InputError("pbdr's integrators return developed images: 'develop' must be True")
        sensor = scene.sensors()[sensor] if isinstance(sensor, int) else sensor
        with dr.suspend_grad():
            image = 0
            for p in films.plan_passes(sensor, spp, seed, self.memory_budget):
                camera = self.camera(sensor, p)
                traced = self.trace(scene, camera, Primal())
                alpha = dr.select(traced.valid, mi.Float(1), mi.Float(0))
                image += p.weight * films.develop(camera, traced.L, alpha=alpha)
            return image

    @without_collection
    def render_forward(self, scene, params, sensor=0, seed=0, spp=0):
        """Derivative of the image along the tangents set on the scene's parameters."""
        sensor = scene.sensors()[sensor] if isinstance(sensor, int) else sensor
        passes, begun = self.begin(scene, sensor, seed, spp)
        push_tangents(scene)
        gradient = 0
        for p in passes:
            begun = self.look_for_edges(scene, sensor, p, begun)
            tangent, opening = self._call("forward", self._forward, scene, sensor, p, begun)
            begun = dataclasses.replace(begun, opening=opening)
            gradient += p.weight * tangent
        self.end(scene, sensor, passes[0], begun)
        return gradient

    @without_collection
    def render_backward(self, scene, params, grad_in, sensor=0, seed=0, spp=0):
        """Accumulate derivatives of a loss, given its derivative by the image, into the scene's parameters."""
        sensor = scene.sensors()[sensor] if isinstance(sensor, int) else sensor
        passes, begun = self.begin(scene, sensor, seed, spp)
        for p in passes:
            begun = self.look_for_edges(scene, sensor, p, begun)
            weighted = mi.TensorXf(p.weight * grad_in)
            # Traversals end at the scene's parameters and continue to the user's variables only at the end
            with dr.isolate_grad():
                opening = self._call("backward", self._backward, scene, sensor, p, begun, weighted)
            begun = dataclasses.replace(begun, opening=opening)
            dr.eval()
        self.end(scene, sensor, passes[0], begun)

    @without_collection
    def record(self, scene, sensor=0, seed=0, spp=0, sets=1, reusable=False, allocation=None) -> Recording | None:
        """Render independent images whose derivatives cost no further image.

        Args:
            spp: Samples per pixel of each image.
            sets: Number of images.
            reusable: Whether to keep what images under other materials, textures and lights need.
            allocation: Which pixels get more samples than others, if any.

        Returns:
            None if something moves or nothing carries derivatives: then images and derivatives are different passes.
        """
        sensor = scene.sensors()[sensor] if isinstance(sensor, int) else sensor
        attachment = self.experience.attachment(scene)
        at_rest = not attachment.moves and not sensor_moves(sensor)
        if self.taped or not at_rest or not (reusable or attachment.surfaces.any or attachment.emitters.any):
            return None
        if reusable:
            require_separate_lobes(scene)
            attachment = self.experience.attachment(scene, everything=True)
        kept = Kept.of(scene, attachment, reusable=reusable)
        tracer = Tracer(self.camera, self.trace, RBIntegrator._splat_to_block, self.memory_budget, self.experience)
        return Recording(scene, sensor, kept, tracer, spp=spp, seed=mi.UInt32(seed), sets=sets, allocation=allocation)

    def _forward(self, scene, sensor, p, begun):
        with dr.suspend_grad():
            camera = self.camera(sensor, p)
            context = self.context(scene, sensor, p, begun)
            with dr.resume_grad():
                motion = self.motion(camera, context, begun, forward=True)
                parts = films.attached_parts(motion)
                ends = [motion.origin, motion.vertex] if motion else []
                attached = [part for part in (*parts, *ends) if dr.grad_enabled(part)]
                if attached:
                    dr.forward_to(*attached, flags=KEEP_TANGENTS)
                directions, end_tangents = [dr.grad(part) for part in parts], [dr.grad(end) for end in ends]
            if motion and self.boundary.field():
                path = self.trace(scene, camera, Record())
                L = path.L
                δL = walk_forward(self.walk(scene, path, motion, p), path.memory, path.count, end_tangents)
            elif self.taped:
                with dr.resume_grad():
                    attached = self.trace(scene, camera, Taped()).L
                    self.require_gradient(dr.grad_enabled(attached), motion)
                    δL = mi.Spectrum(dr.forward_to(attached, flags=KEEP_TANGENTS) if dr.grad_enabled(attached) else 0)
                L = dr.detach(attached, True)
            else:
                primal = self.trace(scene, camera, begun.marked(scene))
                L, rule = primal.L, ReplayForward(primal)
                δL = self.trace(scene, camera, rule, active=rule.active).δL
                self.require_gradient(rule.touched, motion)
            dr.eval(L, δL, directions)
            L = self.film_radiance(L, motion)
            return films.tangent(camera, motion, L, [δL, *directions]), begun.opening

    def _backward(self, scene, sensor, p, begun, grad_in):
        with dr.suspend_grad():
            camera = self.camera(sensor, p)
            context = self.context(scene, sensor, p, begun, adjoint=grad_in)
            with dr.resume_grad():
                motion = self.motion(camera, context, begun, forward=False)
                field = self.boundary.field() if motion else None
                taped = self.taped and field is None
                attached = self.trace(scene, camera, Taped()).L if taped else None
            primal = None if taped else self.trace(scene, camera, begun.marked(scene))
            if motion and primal:
                dr.schedule(primal.L, primal.valid, primal.memory, motion.owner)
            L = dr.detach(attached, True) if taped else primal.L
            δL, *adjoints = films.adjoint(camera, motion, self.film_radiance(L, motion), grad_in)
            dr.eval(δL, adjoints)
            parts = films.attached_parts(motion)
            if field:
                path = self.trace(scene, camera, Record())
                ends = walk_backward(self.walk(scene, path, motion, p), path.memory, path.count, δL)
                dr.eval(ends)
                parts, adjoints = [*parts, motion.origin, motion.vertex], [*adjoints, *ends]
            with dr.resume_grad():
                # One traversal: it clears the graph that all parts share
                if taped:
                    self.require_gradient(dr.grad_enabled(attached), motion)
                    parts, adjoints = [*parts, attached], [*adjoints, δL]
                for part, δ in zip(parts, adjoints, strict=True):
                    if dr.grad_enabled(part):
                        dr.set_grad(part, δ)
                        dr.enqueue(dr.ADMode.Backward, part)
                dr.traverse(dr.ADMode.Backward)
                if field:
                    motion.warp.deposit()
                    field.send_adjoints()
                    dr.traverse(dr.ADMode.Backward)
            if not taped and not field:
                rule = ReplayBackward(primal, δL)
                self.trace(scene, camera, rule, active=rule.active)
                self.require_gradient(rule.touched, motion)
            return begun.opening

    # ------------------------------------------------------------------ motion

    def begin(self, scene, sensor, seed, spp: int) -> tuple[list[films.Pass], Begun]:
        """The passes of a gradient and what they share; refuses what cannot be differentiated."""
        with dr.resume_grad():
            begun = Begun(Setting.of(scene, sensor, self.experience.attachment(scene)))
        share = MOVING_SHARE if begun.setting.moves else 1
        passes = films.plan_passes(sensor, spp, seed, self.memory_budget, share=share)
        if not begun.setting.moves:
            return passes, begun
        p = passes[0]
        require_projective(sensor)
        if reason := self.boundary.obstacle(scene):
            raise InputError(reason)
        self.boundary.prepare(scene, sensor)
        with dr.suspend_grad():
            memory = self.boundary.memory(self.context(scene, sensor, p, begun))
        begun = dataclasses.replace(begun, memory=memory)
        opening, crosses = self._call("open", self._open, scene, sensor, p, begun)
        begun = dataclasses.replace(begun, opening=opening, crosses_film_edges=bool(crosses[0]))
        counts = self.boundary.plan(self.context(scene, sensor, p, begun), opening)
        return passes, dataclasses.replace(begun, counts=counts)

    def look_for_edges(self, scene, sensor, p: films.Pass, begun: Begun) -> Begun:
        """Find the boundary samples of a pass, and drop those that contribute nothing."""
        if not begun.counts:
            return begun
        found, opening = self._call("find", self._find, scene, sensor, p, dataclasses.replace(begun, found=[]))
        return dataclasses.replace(begun, opening=opening, found=[thinned(samples) for samples in found])

    def end(self, scene, sensor, p: films.Pass, begun: Begun) -> None:
        """Remember what a gradient has seen."""
        if begun.setting.moves:
            self.boundary.keep(self.context(scene, sensor, p, begun), begun.opening)

    def _open(self, scene, sensor, p, begun):
        with dr.suspend_grad():
            context = self.context(scene, sensor, p, begun)
            return self.boundary.open(context, begun.memory), crosses_film_edges(context)

    def _find(self, scene, sensor, p, begun):
        with dr.suspend_grad():
            context = self.context(scene, sensor, p, begun)
            return self.boundary.find(context, begun.memory, begun.opening, begun.counts), begun.opening

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
            sampler = films.seeded_sampler(sensor, p, sets)
            pixels, measure = allocation or (None, mi.Float(1))
            corner, offset = films.sampled_positions(film, sampler, sets, pixels)
            ray, response = camera_rays(sensor, sampler, corner + offset)
            # A box filter takes whole pixels, so that rounding moves no sample to another pixel
            position = corner if film.rfilter().is_box_filter() else corner + offset
            return films.Camera(
                sensor, sampler, sampler.sample_count(), dr.detach(ray, True), dr.detach(response, True), position,
                RBIntegrator._splat_to_block, sets, dr.tile(measure, sets) if allocation else 1.0,
            )  # fmt: skip

    def trace(self, scene, camera: films.Camera, rule: Rule, active: mi.Bool | bool = True) -> PathResult:
        """Send the camera's rays through the path loop; every call uses the same random numbers."""
        with dr.resume_grad(when=rule.attached):
            traits = Traits.of(scene, rule.attached)
            origin = sensor_vertex(camera.sensor, camera.ray)
        return trace_path(
            scene, camera.sampler.clone(), camera.ray,
            rule=rule, limits=self.limits, traits=traits, origin=origin, active=mi.Bool(active),
        )  # fmt: skip

    def walk(self, scene, path: PathResult, motion: films.Motion, p: films.Pass) -> Walk:
        """Everything that a walk over recorded paths needs."""
        origin = dr.detach(motion.origin, True)
        field, depth = self.boundary.field(), self.boundary.warp_depth
        return Walk(scene, self.limits, field, mi.UInt32(p.seed), origin, path.L, depth, level_sets(scene))

    def context(self, scene, sensor, p: films.Pass, begun: Begun, adjoint: mi.TensorXf | None = None) -> Context:
        """What boundary terms are told about one pass.

        Args:
            adjoint: Derivative of the loss by the image, in reverse mode. [H, W, C]
        """

        def radiance(sampler: mi.Sampler, ray: mi.Ray3f, active: mi.Bool, limits: Limits) -> mi.Spectrum:
            with dr.suspend_grad():
                traits = Traits.of(scene, False)
                return trace_path(
                    scene, sampler, ray,
                    rule=Primal(), limits=limits, traits=traits, origin=mi.Point3f(0), active=mi.Bool(active),
                ).L  # fmt: skip

        return Context(
            scene, sensor, p.spp, p.seed, self.limits, radiance, begun.setting, None, begun.crosses_film_edges,
            begun.opening.levels if begun.opening else None, adjoint,
        )  # fmt: skip

    def motion(self, camera: films.Camera, context: Context, begun: Begun, *, forward: bool) -> films.Motion | None:
        """Everything that moves on the film, attached; None if nothing does."""
        if not begun.setting.moves:
            return None
        scene, warp = context.scene, None
        first, ray = first_hit(scene, camera.ray, self.limits, mi.Bool(True))
        moving = context.setting.can_move_on_film(first)
        if field := self.boundary.field():
            field.clear(forward=forward)
            stream = mi.sample_tea_32(mi.UInt32(context.seed), 0xCA3E)[0]
            warp = Warp(field.for_camera(), stream, self.boundary.warp_depth >= 1, forward=forward)
            context, moving = dataclasses.replace(context, bend=warp, crosses_film_edges=True), mi.Bool(True)
        moved = project_first_vertex(camera.sensor, first, ray, camera.position, warp, moving)
        samples = film_edge_samples(context)
        samples += self.boundary.samples(context, begun.memory, begun.opening, begun.counts, begun.found)
        return films.Motion(
            moved.position, moved.measure, samples, moved.origin, moved.vertex, warp, registry_index(first),
            context.levels,
        )  # fmt: skip

    @staticmethod
    def film_radiance(L: mi.Spectrum, motion: films.Motion | None) -> mi.Spectrum:
        """Radiance that moves on the film: an image at rest is linear in it, and it need not be known.

        Leaving it unevaluated lets the primal and the replay pass share one kernel.
        """
        if motion is None:
            return dr.zeros(mi.Spectrum, dr.width(L))
        dr.eval(L)
        if motion.levels is None:
            return L
        motion.levels.learn(motion.owner, L)
        return L - motion.levels.of_owner(motion.owner)

    @staticmethod
    def require_gradient(touched: bool, motion) -> None:
        """Refuse to return zeros when nothing that the image depends on carries derivatives."""
        if not touched and motion is None:
            raise InputError(
                "no parameter that the image depends on carries derivatives: call dr.enable_grad(params[key]) and "
                "params.update() before rendering"
            )
