"""An image of a scene at rest with what its derivatives need, so that they cost no second image."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import drjit as dr
import mitsuba as mi

from ..errors import InputError
from ..geometry.attachment import SHADING_KEYS
from ..scene_parameters import attached_values, scene_parameters
from ..transport import film as films
from ..transport.collection import without_collection
from ..transport.path import PathResult
from ..transport.tangents import (
    attached_copy,
    has_followers,
    of_this_scene,
    own,
    push_tangents,
    tangents_along,
    tangents_of,
)
from ..transport.vertices import LIGHTS, VERTICES, Kept
from .allocation import PixelAllocation
from .base import Rule
from .marked import Marked
from .primal import Primal
from .recorded_pass import Layout, Outcome, Tracer, deposit, develop_pushed, push, push_pass, trace_pass
from .reevaluation import put_values, reevaluate_pass, require_still
from .replay import ReplayBackward, ReplayForward

#: Records of a path that there is room for before any was counted: a little more than paths of six segments in a closed
#: room leave of two walls, a metal and the lamp
FIRST_GUESS = {VERTICES: 1.8, LIGHTS: 2.5}

#: Room beyond the largest count so far, as a factor and as a number; it grows in steps of a quarter of an octave, so
#: that it seldom changes, and shrinks where it was this much too large
_MARGIN, _SPARE = 1.1, 256
_MOST_ROOM = 1.5

#: Directions that one kernel pushes; more would take longer to compile than to launch twice
_DIRECTIONS_AT_ONCE = 8


@dataclasses.dataclass(frozen=True)
class Request:
    """Which images of a view are to be recorded."""

    seed: int | mi.UInt32
    spp: int  #: samples per pixel of each; 0 stands for the sampler's own count
    images: int = 1  #: how many
    reusable: bool = False  #: whether to keep what images under other materials, textures and lights need
    allocation: PixelAllocation | None = None  #: which pixels get more samples than others
    moving: bool = False  #: whether something may move


class Recording:
    """Independent images of one view, and their derivatives by materials, textures and lights.

    If all vertices fit into the memory budget, derivatives trace no ray. Otherwise images come first and each pass is
    traced again; a pass with more vertices than the budget holds is replayed.
    """

    def __init__(self, scene: mi.Scene, sensor: mi.Sensor, kept: Kept, tracer: Tracer, request: Request):
        """Trace the images.

        Args:
            kept: Which vertices are to be kept.
        """
        self._scene, self._sensor, self._kept, self._tracer = scene, sensor, kept, tracer
        self._attached = tracer.experience.attached
        self._sets, self._allocation = request.images, request.allocation
        self._passes = self._plan(request.spp, mi.UInt32(request.seed))
        self._layout: Layout | None = None
        self._outcome: Outcome | None = None
        is_single = kept.reusable or request.allocation is not None
        if is_single:
            self._require_room(request.spp)
        if len(self._passes) == 1:
            self._layout, self._outcome = self._record_all() if is_single else self._record(self._passes[0])
            #: Images, detached. [H, W, C] each
            self.images = list(self._outcome.images)
            return
        self.images = [mi.TensorXf(0)] * request.images
        with dr.suspend_grad():
            for p in self._passes:
                camera = self._camera(p)
                images, _ = films.develop_sets(camera, self._tracer.trace(scene, camera, Primal()))
                self.images = [a + p.weight * b for a, b in zip(self.images, images, strict=True)]
                dr.eval(self.images)

    @property
    def sensor(self) -> mi.Sensor:
        """The view's sensor."""
        return self._sensor

    @without_collection
    def backward(self, adjoints: Sequence[mi.TensorXf]) -> None:
        """Accumulate derivatives of a loss into the scene's parameters, once for each time that they were put into it.

        Args:
            adjoints: Derivative of the loss by each image. [H, W, C] each
        """
        if [adjoint.shape for adjoint in adjoints] != [image.shape for image in self.images]:
            raise InputError(f"'adjoints' must be {self._sets} of the images' shape, {list(self.images[0].shape)}")
        # Traversals end at the scene's parameters and go on from there once, after the last pass
        with dr.isolate_grad():
            for p, layout, outcome in self._recorded():
                weighted = [mi.TensorXf(p.weight * adjoint) for adjoint in adjoints]
                if outcome is None:
                    self._replay(p, weighted)
                else:
                    self._call("deposit", layout, deposit, weighted, outcome, put=self._tracer.put)

    def forward(self) -> list[mi.TensorXf]:
        """Derivatives of the images along tangents, which what the scene's parameters come from holds.

        Each call needs parameters that were put into the scene anew; their values must be the same.

        Returns:
            One for each image. [H, W, C] each
        """
        return [stack[0] for stack in self.jvp([self._without_cameras(tangents_of(self._scene))])]

    def directions(self, each: Iterable[None]) -> list[dict]:
        """Directions of the scene's parameters along tangents of what they come from, for :meth:`jvp`.

        Needs parameters that were put into the scene anew.

        Args:
            each: Gives what the parameters come from the tangents of the next direction.
        """
        return [self._without_cameras(direction) for direction in tangents_along(self._scene, each)]

    @without_collection
    def jvp(self, directions: Sequence[Mapping[str, dr.ArrayBase]]) -> list[mi.TensorXf]:
        """Derivatives of the images along many directions at once, from the same vertices: columns of their Jacobian.

        Args:
            directions: Tangents of scene parameters by key, of the types of the values (the matrix of a transform);
                parameters without one stay. Keys must have carried derivatives when the paths were recorded, unless
                the recording is reusable.

        Returns:
            For each image, one derivative per direction. [K, H, W, C] each

        Example:
            >>> recording = pbdr.record(integrator, scene, 0, spp=16, seed=0, reusable=True)
            >>> (columns,) = recording.jvp([{"metal.alpha.value": 1}, {"wall.reflectance.value": mi.Color3f(1)}])
        """
        if not directions:
            raise InputError("'directions' is empty: there is nothing to differentiate along")
        self._require_kept({key for direction in directions for key in direction})
        starts = range(0, len(directions), _DIRECTIONS_AT_ONCE)
        batches = [directions[start : start + _DIRECTIONS_AT_ONCE] for start in starts]
        totals = [[mi.TensorXf(0)] * len(batches) for _ in range(self._sets)]
        # Tangents that the user's variables may hold are none of these directions
        attached = {key: dr.detach(value) for key, value in attached_values(self._scene).items()}
        with put_values(self._scene, attached):
            for p, layout, outcome in self._recorded():
                for k, batch in enumerate(batches):
                    for images, part in zip(totals, self._push(p, layout, outcome, batch), strict=True):
                        images[k] = images[k] + p.weight * part
        return [dr.concat(images) for images in totals]

    @without_collection
    def reevaluate(self, values: Mapping[str, dr.ArrayBase]) -> list[mi.TensorXf]:
        """The images of the same paths under other materials, textures and lights: no ray is traced.

        Unbiased wherever the recorded paths can get, with a variance that grows with the distance between the values
        (:mod:`pbdr.interior.reevaluation`). Needs a recording with ``reusable=True``. The scene keeps its values.

        Args:
            values: Of scene parameters, by key; others stay what they were when the paths were recorded.

        Returns:
            One for each image of the recording, detached. [H, W, C] each

        Example:
            >>> recording = pbdr.record(integrator, scene, 0, spp=16, seed=0, reusable=True)
            >>> darker = recording.reevaluate({"wall.bsdf.reflectance.value": mi.Color3f(0.2)})[0]
        """
        if not self._kept.reusable:
            raise InputError("these paths cannot be reevaluated: record them with reusable=True")
        require_still(self._scene, values)
        with put_values(self._scene, values):
            return list(self._call("reevaluate", self._layout, reevaluate_pass, self._outcome, put=self._tracer.put))

    # -------------------------------------------------------------- directions

    def _require_kept(self, keys: Iterable[str]) -> None:
        """Refuse directions of parameters whose vertices were not kept."""
        for key in keys:
            if key.rpartition(".")[2] in SHADING_KEYS:
                raise InputError(f"recorded paths do not keep what changes with parameter '{key}': use mi.render()")
        if self._kept.reusable:
            require_still(self._scene, keys)
            return
        for key in keys:
            if key not in self._attached:
                raise InputError(
                    f"parameter '{key}' carried no derivatives when these paths were recorded: call dr.enable_grad() "
                    "before, or record with reusable=True"
                )

    def _without_cameras(self, direction: Mapping[str, dr.ArrayBase]) -> dict:
        """A direction as far as this view takes part: its own camera is at rest."""
        cameras = tuple(f"{sensor.id()}." for sensor in self._scene.sensors())
        return {key: tangent for key, tangent in direction.items() if not key.startswith(cameras)}

    def _push(
        self, p: films.Pass, layout: Layout, outcome: Outcome | None, directions: Sequence[Mapping]
    ) -> list[mi.TensorXf]:
        """Share of a pass in the derivatives of the images along some directions. [K, H, W, C] each"""
        params, put = scene_parameters(self._scene), self._tracer.put
        with self._attached_alone({key for direction in directions for key in direction}, params) as leaves:
            typed = [
                {key: _tangent(key, leaves[key], tangent) for key, tangent in direction.items()}
                for direction in directions
            ]
            if outcome is not None and not has_followers(leaves.values()):
                return self._call("push", layout, push_pass, typed, outcome, put=put)
        pushed = []
        if outcome is not None:
            # Hits are the same for all directions
            camera = outcome.camera(self._sensor, layout, put)
            terms = outcome.terms(self._scene, layout, camera)
        for direction in typed:
            with self._attached_alone(direction, params) as leaves:
                for key, tangent in direction.items():
                    dr.set_grad(leaves[key], tangent)
                push_tangents(params)
                with of_this_scene():
                    if outcome is not None:
                        pushed.append(push(terms, outcome))
                    else:
                        camera, δL = self._replay_forward(p)
                        pushed.append(δL)
        if outcome is not None:
            return develop_pushed(camera, terms, outcome, pushed)
        with dr.suspend_grad():
            return films.develop_tangents(camera, pushed)

    @contextlib.contextmanager
    def _attached_alone(self, keys: Iterable[str], params: mi.SceneParameters) -> Iterator[dict]:
        """Copies of some parameters in the scene that carry derivatives; gives what takes their tangents, by key."""
        copies = {key: attached_copy(params[key]) for key in keys}
        with put_values(self._scene, {key: value for key, (_, value) in copies.items()}, params):
            yield {key: leaf for key, (leaf, _) in copies.items()}

    def _replay_forward(self, p: films.Pass) -> tuple[films.Camera, mi.Spectrum]:
        """Derivatives of radiance without recorded vertices."""
        with dr.suspend_grad():
            camera = self._camera(p)
            rule = ReplayForward(self._trace(camera, Marked(self._kept)))
            return camera, self._trace(camera, rule, active=rule.active).δL

    # ------------------------------------------------------------------ passes

    def _camera(self, p: films.Pass) -> films.Camera:
        return self._tracer.camera(self._sensor, p, self._sets)

    def _trace(self, camera: films.Camera, rule: Rule, active: mi.Bool | bool = True) -> PathResult:
        """Paths of a derivative."""
        lobes = self._kept.attachment.lobes
        return self._tracer.trace(self._scene, camera, rule, active=active, lobes=lobes)

    def _room(self) -> list[float]:
        """Records per path of each kind that there should be room for."""
        known, rooms = self._tracer.experience.densities, self._tracer.experience.rooms
        for kind in self._kept.records:
            density = max(known.get(kind, FIRST_GUESS[kind]), 1e-3)
            # As large as before if that is enough: the largest of many counts creeps up
            if not density <= rooms.get(kind, 0) <= _MOST_ROOM * density:
                rooms[kind] = 2 ** (math.ceil(4 * math.log2(density * _MARGIN)) / 4)
        return [rooms[kind] for kind in self._kept.records]

    def _bytes(self, numbers: Sequence[float]) -> float:
        """Memory of so many records of each kind."""
        return sum(number * size for number, size in zip(numbers, self._kept.record_bytes.values(), strict=True))

    def _plan(self, spp: int, seed: mi.UInt32) -> list[films.Pass]:
        room = self._bytes(self._room())
        width, height = films.sampled_size(self._sensor.film())
        budget = self._tracer.memory_budget
        cost = self._sets * (films.BYTES_PER_SAMPLE + room)
        if width * height * cost > budget * 2**30:
            # Not even one sample per pixel: every pass will be replayed
            cost = self._sets * films.BYTES_PER_SAMPLE
        return films.plan_passes(self._sensor, spp, seed, budget, cost)

    def _recorded(self) -> Iterator[tuple[films.Pass, Layout, Outcome | None]]:
        """All passes with their vertices; without them where the budget does not hold them."""
        for p in self._passes:
            layout, outcome = (self._layout, self._outcome) if self._outcome else self._record(p)
            count = self._count(outcome)
            if not _fits(count, layout):
                # More than expected: once more with room for all, or never
                layout, outcome = self._record(p)
                outcome = outcome if _fits(count, layout) else None
            yield p, layout, outcome

    def _record(self, p: films.Pass) -> tuple[Layout, Outcome]:
        """Trace a pass and keep its vertices as far as there is room for them."""
        width, height = films.sampled_size(self._sensor.film())
        spp = self._tracer.sampling.spp(self._sensor, p.spp)
        path_count = width * height * spp * self._sets
        room = self._tracer.memory_budget * 2**30 - path_count * films.BYTES_PER_SAMPLE
        wanted = [int(path_count * number) + _SPARE for number in self._room()]
        share = min(room / self._bytes(wanted), 1)
        capacities = tuple(max(int(share * number), 1) for number in wanted)
        layout = Layout(spp, self._sets, path_count, capacities, self._kept.with_tables(None))
        tables = self._kept.tables
        allocation = self._allocation.samples(self._sensor, spp, p.seed) if self._allocation else []
        outcome = self._call("trace", layout, trace_pass, mi.UInt32(p.seed), tables, allocation, tracer=self._tracer)
        return layout, outcome

    def _require_room(self, spp: int) -> None:
        """Refuse what the memory budget does not hold: paths cannot be found again once parameters have changed."""
        if len(self._passes) > 1:
            raise InputError(
                f"sensor '{self._sensor.id()}': {self._sets} × {spp} samples per pixel of paths that are to be "
                f"reevaluated or allocated need more than the 'memory_budget' of {self._tracer.memory_budget:g} GiB"
            )

    def _record_all(self) -> tuple[Layout, Outcome]:
        """Trace the only pass and keep all of its vertices."""
        (p,) = self._passes
        for _ in range(2):
            layout, outcome = self._record(p)
            count = self._count(outcome)
            if _fits(count, layout):
                return layout, outcome
        raise InputError(
            f"sensor '{self._sensor.id()}': paths that are to be reevaluated or allocated need "
            f"{self._bytes(count) / 2**30:.2g} GiB, more than the 'memory_budget' of "
            f"{self._tracer.memory_budget:g} GiB holds"
        )

    def _count(self, outcome: Outcome) -> list[int]:
        """How many records of each kind wanted room, which is remembered."""
        counts = [int(forth[0]) + int(back[0]) for forth, back, *_ in outcome.records]
        known = self._tracer.experience.densities
        for kind, count in zip(self._kept.records, counts, strict=True):
            known[kind] = max(known.get(kind, 0), count / dr.width(outcome.L))
        return counts

    def _call(self, name: str, layout: Layout, function: Callable, *arguments, **fixed):
        """Call one of the two kernels of a pass, frozen where that works."""
        bound = functools.partial(function, layout=layout, **fixed)
        return self._tracer.experience.frozen.call(name, layout, bound, self._scene, self._sensor, *arguments)

    def _replay(self, p: films.Pass, adjoints: Sequence[mi.TensorXf]) -> None:
        with dr.suspend_grad():
            camera = self._camera(p)
            primal = self._trace(camera, Marked(self._kept))
            δL = films.adjoint_of_sets(camera, adjoints)
            dr.eval(primal.L, primal.valid, primal.memory, δL)
            rule = ReplayBackward(primal, δL)
            self._trace(camera, rule, active=rule.active)


def _fits(counts: Sequence[int], layout: Layout) -> bool:
    return all(count <= capacity for count, capacity in zip(counts, layout.capacities, strict=True))


def _tangent(key: str, leaf: dr.ArrayBase, value: object) -> dr.ArrayBase:
    """A tangent of the type of what it belongs to."""
    try:
        tangent = type(leaf)(value)
    except TypeError:
        tangent = None
    if tangent is None or (dr.is_tensor_v(leaf) and tangent.shape not in ((), leaf.shape)):
        raise InputError(f"a direction of '{key}' must be a {type(leaf).__name__} of its shape, got {value}")
    return own(tangent)
