"""An image of a scene at rest with what its derivatives need, so that they cost no second image."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import drjit as dr
import mitsuba as mi

from ..transport import film as films
from ..transport.path import PathResult
from ..transport.vertices import Kept, VertexArrays
from .primal import Primal
from .replay import ReplayBackward, ReplayForward
from .store import Store, attached_light

#: Vertices of a path that there is room for before any was counted
FIRST_GUESS = 4.0

#: Room beyond the largest count so far, as a factor and as a number
_MARGIN, _SPARE = 1.15, 256


@dataclasses.dataclass
class Experience:
    """What recordings of an integrator have learned."""

    density: float = FIRST_GUESS  #: kept vertices per path, the largest number so far


@dataclasses.dataclass(frozen=True)
class Tracer:
    """What a recording needs of an integrator."""

    camera: Callable[[mi.Sensor, films.Pass, int], films.Camera]
    trace: Callable[..., PathResult]  #: of scene, camera, rule and active lanes
    memory_budget: float  #: GiB
    experience: Experience


@dataclasses.dataclass(frozen=True)
class _Share:
    """One pass: camera samples, radiance, and their vertices if these found room."""

    camera: films.Camera
    path: PathResult
    arrays: VertexArrays | None
    weight: float

    def images(self) -> list[mi.TensorXf]:
        """The share's part of each set's image."""
        alpha = dr.select(self.path.valid, mi.Float(1), mi.Float(0))
        return [
            self.weight * films.develop(part, self.camera.share(self.path.L, k), alpha=self.camera.share(alpha, k))
            for k, part in enumerate(self.camera.part(k) for k in range(self.camera.sets))
        ]


class Recording:
    """Independent images of one view, and their derivatives by materials, textures and lights.

    If all vertices fit into the memory budget, derivatives trace no ray. Otherwise images come first and each pass is
    traced again; a pass with more vertices than expected is replayed.
    """

    def __init__(self, scene: mi.Scene, sensor: mi.Sensor, kept: Kept, tracer: Tracer, *, spp: int, seed, sets: int):
        """Trace the images.

        Args:
            spp: Samples per pixel of each image; 0 stands for the sampler's own count.
            sets: Number of images.
        """
        self._scene, self._sensor, self._kept, self._tracer, self._sets = scene, sensor, kept, tracer, sets
        self._share: _Share | None = None
        with dr.suspend_grad():
            self._passes = self._plan(spp, seed)
            if len(self._passes) == 1:
                self._share = self._record(self._passes[0])
                if self._share.arrays is None:
                    # More vertices than expected: with what is known now they may fit into one pass or not
                    self._passes = self._plan(spp, seed)
                    self._share = self._record(self._passes[0]) if len(self._passes) == 1 else None
            if self._share:
                #: Images, detached. [H, W, C] each
                self.images = self._share.images()
            else:
                self.images = [mi.TensorXf(0)] * sets
                for p in self._passes:
                    share = self._trace(p)
                    self.images = [sum(pair) for pair in zip(self.images, share.images(), strict=True)]
                    dr.eval(self.images)

    def backward(self, adjoints: Sequence[mi.TensorXf]) -> None:
        """Accumulate derivatives of a loss into the scene's parameters.

        Args:
            adjoints: Derivative of the loss by each image. [H, W, C] each
        """
        # Traversals end at the scene's parameters and go on from there once, after the last pass
        with dr.isolate_grad(), dr.suspend_grad():
            for share in self._shares():
                camera, L = share.camera, share.path.L
                rest = dr.zeros(mi.Spectrum, dr.width(L) // self._sets)
                parts = [
                    films.adjoint(camera.part(k), None, rest, share.weight * adjoint)[0]
                    for k, adjoint in enumerate(adjoints)
                ]
                δL = mi.Spectrum(*(dr.concat(list(channel)) for channel in zip(*parts, strict=True)))
                δL = dr.select(share.path.valid, δL, 0)
                dr.eval(δL)
                if share.arrays is None:
                    self._tracer.trace(self._scene, camera, ReplayBackward(L, δL), active=share.path.valid)
                elif share.arrays.count():
                    self._deposit(share, δL)

    def forward(self) -> list[mi.TensorXf]:
        """Derivatives of the images along the tangents that the scene's parameters hold. [H, W, C] each"""
        totals = [mi.TensorXf(0)] * self._sets
        with dr.suspend_grad():
            for share in self._shares():
                camera, L = share.camera, share.path.L
                if share.arrays is None:
                    rule = ReplayForward(L)
                    δL = self._tracer.trace(self._scene, camera, rule, active=share.path.valid).δL
                else:
                    δL = self._tangent(share)
                dr.eval(δL)
                rest = dr.zeros(mi.Spectrum, dr.width(L) // self._sets)
                for k in range(self._sets):
                    tangent = films.tangent(camera.part(k), None, rest, [camera.share(δL, k)])
                    totals[k] = totals[k] + share.weight * tangent
        return totals

    # ------------------------------------------------------------------ passes

    def _plan(self, spp: int, seed: mi.UInt32) -> list[films.Pass]:
        room = self._tracer.experience.density * _MARGIN * self._kept.bytes_per_vertex
        width, height = films.sampled_size(self._sensor.film())
        budget = self._tracer.memory_budget
        cost = self._sets * (films.BYTES_PER_SAMPLE + room)
        if width * height * cost > budget * 2**30:
            # Not even one sample per pixel: every pass will be replayed
            cost = self._sets * films.BYTES_PER_SAMPLE
        return films.plan_passes(self._sensor, spp, seed, budget, cost)

    def _shares(self):
        """All passes, traced and recorded."""
        if self._share:
            yield self._share
            return
        for p in self._passes:
            yield self._record(p)
            dr.eval()

    def _record(self, p: films.Pass) -> _Share:
        """Trace a pass and keep its vertices; without them if there are too many."""
        camera = self._tracer.camera(self._sensor, p, self._sets)
        path_count = dr.width(camera.ray.o)
        room = self._tracer.memory_budget * 2**30 - path_count * films.BYTES_PER_SAMPLE
        capacity = min(
            int(path_count * self._tracer.experience.density * _MARGIN) + _SPARE,
            max(int(room / self._kept.bytes_per_vertex), 1),
        )
        arrays = VertexArrays(self._kept, capacity)
        path = self._tracer.trace(self._scene, camera, Store(arrays, path_count))
        dr.eval(arrays.counter, path.L, path.valid, camera.position)
        self._tracer.experience.density = max(self._tracer.experience.density, arrays.count() / path_count)
        return _Share(camera, path, arrays if arrays.count() <= capacity else None, p.weight)

    def _trace(self, p: films.Pass) -> _Share:
        """Trace a pass and keep nothing."""
        camera = self._tracer.camera(self._sensor, p, self._sets)
        return _Share(camera, self._tracer.trace(self._scene, camera, Primal()), None, p.weight)

    # ------------------------------------------------------------- derivatives

    def _deposit(self, share: _Share, δL: mi.Spectrum) -> None:
        vertices = share.arrays.load(share.camera.ray)
        adjoint = dr.gather(mi.Spectrum, δL, vertices.lane)
        with dr.resume_grad():
            light = attached_light(self._scene, share.arrays, vertices, share.path.L)
            if dr.grad_enabled(light):
                dr.backward_from(dr.sum(adjoint * light))

    def _tangent(self, share: _Share) -> mi.Spectrum:
        L = share.path.L
        if not share.arrays.count():
            return dr.zeros(mi.Spectrum, dr.width(L))
        vertices = share.arrays.load(share.camera.ray)
        with dr.resume_grad():
            light = attached_light(self._scene, share.arrays, vertices, L)
            δ = dr.forward_to(light, flags=dr.ADFlag.ClearEdges) if dr.grad_enabled(light) else mi.Spectrum(0)
        total = dr.zeros(mi.Spectrum, dr.width(L))
        dr.scatter_add(total, dr.detach(δ, True), vertices.lane)
        return dr.select(share.path.valid, total, 0)
