"""The integrator behind every plugin of pbdr: interior rule and boundary term put together."""

from __future__ import annotations

import dataclasses
import itertools

import drjit as dr
import mitsuba as mi
from mitsuba.python.ad.integrators.common import RBIntegrator
from pbdr.plugins.passes import Begun, GradientPasses, TracedSet

from pbdr.boundary import BoundaryTerm, find
from pbdr.errors import InputError
from pbdr.interior import Primal, Record, ReplayBackward, ReplayForward, Taped
from pbdr.interior.experience import Experience
from pbdr.interior.moving_recording import MovingRecording
from pbdr.interior.recorded_pass import Tracer
from pbdr.interior.recording import Recording, Request
from pbdr.interior.reevaluation import require_separate_lobes
from pbdr.transport import film as films
from pbdr.transport.collection import without_collection
from pbdr.transport.path import Limits
from pbdr.transport.recorded import walk_backward, walk_forward
from pbdr.transport.sensor import sensor_moves
from pbdr.transport.tangents import KEEP_TANGENTS, of_this_scene, push_adjoints, push_tangents


def former_warped_area(props: mi.Properties, warp_depth: int) -> BoundaryTerm:
    """The boundary term of Mitsuba's former reparameterized integrators, from the properties that they had.

    Those of auxiliary rays keep their defaults; only ``warp_field="ratio"`` has such rays, other fields need none.

    Args:
        warp_depth: Path segments that are warped unless ``reparam_max_depth`` says otherwise; −1 all.
    """
    former = {"rays": 16, "kappa": 1e5, "exp": 3.0, "antithetic": False}
    values = {name: props.get(f"reparam_{name}", default) for name, default in former.items()}
    for name in ("rays", "kappa", "exp"):
        if not values[name] > 0:
            raise InputError(f"'reparam_{name}' must be greater than 0, got {values[name]}")
    props.get("reparam_unroll", False)
    if props.get("warp_field", "blend") == "ratio":
        for name, value in values.items():
            key = "warp_exponent" if name == "exp" else f"warp_{name}"
            props[key] = props.get(key, value)
    props["warp_depth"] = props.get("reparam_max_depth", warp_depth)
    return find("warped_area")(props)


class DifferentialIntegrator(GradientPasses):
    """Renders images and their derivatives: interior estimator plus boundary term.

    Subclasses choose the parts; this class owns the order of passes.
    """

    def __init__(self, props: mi.Properties, *, taped: bool, boundary: BoundaryTerm, derivative_sampling: bool = False):
        super().__init__(props)
        self.memory_budget = props.get("memory_budget", 1.0)
        if not self.memory_budget > 0:
            raise InputError(f"'memory_budget' must be greater than 0 GiB, got {self.memory_budget:g}")
        if taped and self.max_depth == 0xFFFFFFFF:
            raise InputError("'max_depth' must be finite with a taped interior, got -1")
        self.taped = taped
        self.boundary = boundary
        self.limits = Limits(self.max_depth, self.rr_depth, self.hide_emitters)
        self.experience = Experience(follows_lobes=derivative_sampling)
        if mi.is_polarized:
            raise InputError(f"'{mi.variant()}' is polarized; pbdr's integrators render unpolarized light")

    # ------------------------------------------------------------------ passes

    @without_collection
    def render(self, scene, sensor=0, seed=0, spp=0, develop=True, evaluate=True):
        """Render an image: radiance of every camera sample, filtered by the film."""
        if not develop:
            raise InputError("pbdr's integrators return developed images: 'develop' must be True")
        sensor = self.sensor(scene, sensor)
        passes = films.plan_passes(sensor, spp, seed, self.memory_budget)
        return sum(p.weight * self._image(scene, sensor, p) for p in passes)

    @without_collection
    def image(self, scene: mi.Scene, sensor: int | mi.Sensor, seed: int | mi.UInt32, spp: int) -> mi.TensorXf:
        """The same as :meth:`render`, evaluated, from kernels of earlier calls: for images in an optimization.

        What changes must be a parameter of the scene, as Mitsuba's traversal knows it.
        """
        sensor = self.sensor(scene, sensor)
        self.experience.look(scene)
        passes = films.plan_passes(sensor, spp, seed, self.memory_budget)
        return sum(p.weight * self._call("image", self._image, scene, sensor, p) for p in passes)

    @without_collection
    def render_forward(self, scene, params, sensor=0, seed=0, spp=0):
        """Derivative of the image along the tangents set on the scene's parameters."""
        sensor = self.sensor(scene, sensor)
        passes, begun = self.begin(scene, sensor, seed, spp)
        push_tangents(scene)
        gradient = 0
        for p in passes:
            begun = self.look_for_edges(scene, sensor, p, begun)
            with of_this_scene():
                tangent, opening = self._call("forward", self._forward, scene, sensor, p, begun.lean())
            begun = dataclasses.replace(begun, opening=opening)
            gradient += p.weight * tangent
        self.end(scene, sensor, passes[0], begun)
        return gradient

    @without_collection
    def render_backward(self, scene, params, grad_in, sensor=0, seed=0, spp=0):
        """Accumulate derivatives of a loss, given its derivative by the image, into the scene's parameters."""
        sensor = self.sensor(scene, sensor)
        passes, begun = self.begin(scene, sensor, seed, spp)
        for p in passes:
            begun = self.backward_pass(scene, sensor, p, begun, mi.TensorXf(p.weight * grad_in))
            dr.eval()
        self.end(scene, sensor, passes[0], begun)

    def backward_pass(
        self, scene, sensor, p: films.Pass, begun: Begun, grad_in: mi.TensorXf, traced: TracedSet | None = None
    ) -> Begun:
        """The share of one pass in :meth:`render_backward`.

        Args:
            traced: Its paths, if they are known.
        """
        begun = self.look_for_edges(scene, sensor, p, begun)
        # Traversals end at the scene's parameters and continue to the user's variables only at the end
        with dr.isolate_grad():
            opening = self._call("backward", self._backward, scene, sensor, p, begun.lean(), grad_in, traced)
        return dataclasses.replace(begun, opening=opening)

    @without_collection
    def record(self, scene: mi.Scene, sensor: int | mi.Sensor, request: Request) -> Recording | MovingRecording | None:
        """Render independent images whose derivatives cost no further image.

        Returns:
            None if nothing carries derivatives, if something moves and must not, or if normals or texture coordinates
            do, which vertices do not keep: then images and derivatives are different passes. Recordings of what moves
            know images and ``backward`` alone.
        """
        sensor = self.sensor(scene, sensor)
        attachment = self.experience.attachment(scene)
        at_rest = not attachment.moves and not sensor_moves(sensor)
        if not at_rest and request.moving and not self.taped and not self.boundary.bends_rays(scene):
            return MovingRecording(self, scene, sensor, spp=request.spp, seed=request.seed, sets=request.images)
        if (
            self.taped
            or not at_rest
            or attachment.turns
            or not (request.reusable or attachment.surfaces.any or attachment.emitters.any)
        ):
            return None
        if request.reusable:
            require_separate_lobes(scene)
            self.experience.attachment(scene, everything=True)
        kept = self.experience.to_keep(scene, reusable=request.reusable)
        tracer = Tracer(
            self.camera, self.trace, RBIntegrator._splat_to_block, self.sampling, self.memory_budget, self.experience
        )
        return Recording(scene, sensor, kept, tracer, request)

    def _image(self, scene, sensor, p):
        with dr.suspend_grad():
            camera = self.camera(sensor, p)
            traced = self.trace(scene, camera, Primal())
            return films.develop(camera, traced.L, alpha=films.coverage(traced))

    def _forward(self, scene, sensor, p, begun):
        with dr.suspend_grad():
            camera = self.camera(sensor, p)
            context = self.context(scene, sensor, p, begun)
            with dr.resume_grad():
                motion, _ = self.motion(camera, context, begun, forward=True)
                parts = films.attached_parts(motion)
                ends = [motion.origin, motion.vertex] if motion else []
                attached = [part for part in (*parts, *ends) if dr.grad_enabled(part)]
                if attached:
                    dr.forward_to(*attached, flags=KEEP_TANGENTS)
                directions, end_tangents = [dr.grad(part) for part in parts], [dr.grad(end) for end in ends]
            if motion and self.boundary.field():
                path = self.trace(scene, camera, Record(), lobes=begun.setting.lobes)
                δL = walk_forward(self.walk(context, path, motion), path.memory, path.count, end_tangents)
            elif self.taped:
                with dr.resume_grad():
                    path = self.trace(scene, camera, Taped(), lobes=begun.setting.lobes)
                    is_attached = dr.grad_enabled(path.L)
                    self.require_gradient(is_attached, motion)
                    δL = mi.Spectrum(dr.forward_to(path.L, flags=KEEP_TANGENTS) if is_attached else 0)
            else:
                path = self.trace(scene, camera, begun.marked(scene), lobes=begun.setting.lobes)
                rule = ReplayForward(path)
                δL = self.trace(scene, camera, rule, active=rule.active, lobes=begun.setting.lobes).δL
                self.require_gradient(rule.touched, motion)
            dr.eval(δL, directions, [dr.detach(path.L, True), path.valid, motion.owner] if motion else [])
            L, alpha = self.film_light(context, path, motion)
            return films.tangent(camera, motion, L, alpha, [δL, *directions]), begun.opening

    def _backward(self, scene, sensor, p, begun, grad_in, traced):
        with dr.suspend_grad():
            camera = self.camera(sensor, p)
            context = self.context(scene, sensor, p, begun, adjoint=grad_in)
            field = self.boundary.field() if begun.setting.moves else None
            taped = self.taped and field is None
            with dr.resume_grad(when=field is not None):
                motion, moving = self.motion(camera, context, begun, forward=False)
            with dr.resume_grad():
                attached = self.trace(scene, camera, Taped(), lobes=begun.setting.lobes) if taped else None
            if traced:
                primal, motion = traced.path, dataclasses.replace(motion, owner=traced.owner)
            else:
                primal = attached or self.trace(scene, camera, begun.marked(scene), lobes=begun.setting.lobes)
            if motion and not taped:
                dr.schedule(primal.L, primal.valid, primal.memory, motion.owner)
            light = self.film_light(context, primal, motion)
            δL, *adjoints = films.adjoint(camera, motion, *light, grad_in)
            dr.eval(δL, adjoints)
            if field:
                self._follow_field(context, camera, motion, δL, adjoints)
                return begun.opening
            rest = iter(adjoints)
            for part in moving:
                push_adjoints(part.attach, list(itertools.islice(rest, part.count)), part.width)
            if taped:
                with dr.resume_grad():
                    is_attached = dr.grad_enabled(attached.L)
                    self.require_gradient(is_attached, motion)
                    if is_attached:
                        dr.backward_from(attached.L * δL)
            else:
                rule = ReplayBackward(primal, δL)
                self.trace(scene, camera, rule, active=rule.active, lobes=begun.setting.lobes)
                self.require_gradient(rule.touched, motion)
            return begun.opening

    def _follow_field(self, context, camera, motion, δL, adjoints):
        path = self.trace(context.scene, camera, Record(), lobes=context.setting.lobes)
        ends = walk_backward(self.walk(context, path, motion), path.memory, path.count, δL)
        dr.eval(ends)
        with dr.resume_grad():
            # One traversal: it clears the graph that all parts share
            parts = [*films.attached_parts(motion), motion.origin, motion.vertex]
            for part, δ in zip(parts, [*adjoints, *ends], strict=True):
                if dr.grad_enabled(part):
                    dr.set_grad(part, δ)
                    dr.enqueue(dr.ADMode.Backward, part)
            dr.traverse(dr.ADMode.Backward)
            motion.warp.deposit()
            self.boundary.field().send_adjoints()
            dr.traverse(dr.ADMode.Backward)
