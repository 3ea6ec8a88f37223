"""An image of a scene at rest with what its derivatives need, so that they cost no second image."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Iterator, Sequence

import drjit as dr
import mitsuba as mi

from ..geometry.attachment import Attachment
from ..transport import film as films
from ..transport.collection import without_collection
from ..transport.path import PathResult
from ..transport.tangents import push_tangents
from ..transport.vertices import Kept
from .frozen import Frozen
from .marked import Marked
from .primal import Primal
from .recorded_pass import Layout, Outcome, deposit, push, trace_pass
from .replay import ReplayBackward, ReplayForward

#: Vertices of a path that there is room for before any was counted
FIRST_GUESS = 4.0

#: Room beyond the largest count so far, as a factor and as a number; it grows in steps of a quarter of an octave, so
#: that it seldom changes
_MARGIN, _SPARE = 1.1, 256


@dataclasses.dataclass
class Experience:
    """What recordings of an integrator have learned."""

    density: float | None = None  #: kept vertices per path, the largest number so far
    frozen: Frozen = dataclasses.field(default_factory=Frozen)
    attachments: dict[tuple[str, ...], Attachment] = dataclasses.field(default_factory=dict)  #: by attached keys

    def attachment(self, scene: mi.Scene) -> Attachment:
        """What of a scene carries derivatives; asking each shape takes long, so answers are kept."""
        parameters = mi.traverse(scene)
        if not self.frozen.watch(scene, parameters):
            self.attachments.clear()
        attached = tuple(key for key, value in parameters if dr.grad_enabled(value))
        if attached not in self.attachments:
            self.attachments[attached] = Attachment.of(scene)
        return self.attachments[attached]


@dataclasses.dataclass(frozen=True)
class Tracer:
    """What a recording needs of an integrator."""

    camera: Callable[[mi.Sensor, films.Pass, int], films.Camera]
    trace: Callable[..., PathResult]  #: of scene, camera, rule and active lanes
    put: Callable  #: Mitsuba's conversion of a spectral sample to film channels
    memory_budget: float  #: GiB
    experience: Experience


class Recording:
    """Independent images of one view, and their derivatives by materials, textures and lights.

    If all vertices fit into the memory budget, derivatives trace no ray. Otherwise images come first and each pass is
    traced again; a pass with more vertices than the budget holds is replayed.
    """

    def __init__(self, scene: mi.Scene, sensor: mi.Sensor, kept: Kept, tracer: Tracer, *, spp: int, seed, sets: int):
        """Trace the images.

        Args:
            spp: Samples per pixel of each image; 0 stands for the sampler's own count.
            sets: Number of images.
        """
        self._scene, self._sensor, self._kept, self._tracer, self._sets = scene, sensor, kept, tracer, sets
        self._passes = self._plan(spp, seed)
        self._layout: Layout | None = None
        self._outcome: Outcome | None = None
        if len(self._passes) == 1:
            self._layout, self._outcome = self._record(self._passes[0])
            #: Images, detached. [H, W, C] each
            self.images = list(self._outcome.images)
            return
        self.images = [mi.TensorXf(0)] * sets
        with dr.suspend_grad():
            for p in self._passes:
                camera = self._camera(p)
                images, _ = films.develop_sets(camera, self._tracer.trace(scene, camera, Primal()))
                self.images = [a + p.weight * b for a, b in zip(self.images, images, strict=True)]
                dr.eval(self.images)

    @without_collection
    def backward(self, adjoints: Sequence[mi.TensorXf]) -> None:
        """Accumulate derivatives of a loss into the scene's parameters.

        Args:
            adjoints: Derivative of the loss by each image. [H, W, C] each
        """
        # Traversals end at the scene's parameters and go on from there once, after the last pass
        with dr.isolate_grad():
            for p, layout, outcome in self._recorded():
                weighted = [mi.TensorXf(p.weight * adjoint) for adjoint in adjoints]
                if outcome is None:
                    self._replay(p, weighted)
                else:
                    self._call("deposit", layout, deposit, weighted, outcome, put=self._tracer.put)

    @without_collection
    def forward(self) -> list[mi.TensorXf]:
        """Derivatives of the images along tangents, which what the scene's parameters come from holds.

        Each call needs parameters that were put into the scene anew; their values must be the same.

        Returns:
            One for each image. [H, W, C] each
        """
        push_tangents(self._scene)
        totals = [mi.TensorXf(0)] * self._sets
        with dr.suspend_grad():
            for p, layout, outcome in self._recorded():
                if outcome is None:
                    camera = self._camera(p)
                    rule = ReplayForward(self._tracer.trace(self._scene, camera, Marked(self._kept)))
                    δL = self._tracer.trace(self._scene, camera, rule, active=rule.active).δL
                else:
                    camera = outcome.camera(self._sensor, layout, self._tracer.put)
                    δL = push(self._scene, self._sensor, outcome, layout=layout, put=self._tracer.put)
                dr.eval(δL)
                # An image is linear in radiance
                tangents = [films.develop(camera.part(k), camera.share(δL, k)) for k in range(self._sets)]
                totals = [a + p.weight * b for a, b in zip(totals, tangents, strict=True)]
        return totals

    # ------------------------------------------------------------------ passes

    def _camera(self, p: films.Pass) -> films.Camera:
        return self._tracer.camera(self._sensor, p, self._sets)

    def _room(self) -> float:
        """Vertices per path that there should be room for."""
        known = self._tracer.experience.density
        density = FIRST_GUESS if known is None else max(known, 1e-3)
        return 2 ** (math.ceil(4 * math.log2(density * _MARGIN)) / 4)

    def _plan(self, spp: int, seed: mi.UInt32) -> list[films.Pass]:
        room = self._room() * self._kept.bytes_per_vertex
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
            count = int(outcome.counter[0])
            self._tracer.experience.density = max(self._tracer.experience.density or 0, count / dr.width(outcome.L))
            if count > layout.capacity:
                # More vertices than expected: once more with room for all, or never
                layout, outcome = self._record(p)
                outcome = outcome if count <= layout.capacity else None
            yield p, layout, outcome

    def _record(self, p: films.Pass) -> tuple[Layout, Outcome]:
        """Trace a pass and keep its vertices as far as there is room for them."""
        width, height = films.sampled_size(self._sensor.film())
        spp = films.true_spp(self._sensor, p.spp)
        path_count = width * height * spp * self._sets
        room = self._tracer.memory_budget * 2**30 - path_count * films.BYTES_PER_SAMPLE
        wanted = int(path_count * self._room()) + _SPARE
        capacity = max(min(wanted, int(room / self._kept.bytes_per_vertex)), 1)
        layout = Layout(spp, self._sets, path_count, capacity, self._kept.with_tables(None))
        tracer, tables = self._tracer, self._kept.tables
        outcome = self._call(
            "trace", layout, trace_pass, mi.UInt32(p.seed), tables, camera=tracer.camera, trace=tracer.trace
        )
        return layout, outcome

    def _call(self, name: str, layout: Layout, function: Callable, *arguments, **fixed):
        """Call one of the two kernels of a pass, frozen where that works."""
        bound = functools.partial(function, layout=layout, **fixed)
        return self._tracer.experience.frozen.call(name, layout, bound, self._scene, self._sensor, *arguments)

    def _replay(self, p: films.Pass, adjoints: Sequence[mi.TensorXf]) -> None:
        with dr.suspend_grad():
            camera = self._camera(p)
            primal = self._tracer.trace(self._scene, camera, Marked(self._kept))
            δL = films.adjoint_of_sets(camera, adjoints)
            dr.eval(primal.L, primal.valid, primal.memory, δL)
            rule = ReplayBackward(primal, δL)
            self._tracer.trace(self._scene, camera, rule, active=rule.active)
