"""The two kernels of a recording: one traces paths and keeps vertices, the other differentiates at all of them.

Both are functions of a scene and of arrays alone, so that they can be frozen.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import drjit as dr
import mitsuba as mi

from ..transport import film as films
from ..transport.path import PathResult
from ..transport.tangents import KEEP_TANGENTS
from ..transport.vertices import Kept, VertexArrays
from .store import Store, attached_light
from .surfaces import Surfaces, inverse_densities

if TYPE_CHECKING:
    from .recording import Experience


@dataclasses.dataclass(frozen=True)
class Tracer:
    """What a recording needs of an integrator."""

    camera: Callable[[mi.Sensor, films.Pass, int, Sequence], films.Camera]  #: makes the camera samples of a pass
    trace: Callable[..., PathResult]  #: sends them through the path loop: of scene, camera, rule and active lanes
    put: Callable  #: Mitsuba's conversion of a spectral sample to film channels
    memory_budget: float  #: GiB
    experience: Experience


@dataclasses.dataclass(frozen=True)
class Layout:
    """What a pass looks like; passes that look alike share kernels."""

    spp: int
    sets: int  #: independent images
    path_count: int
    capacity: int  #: vertices that there is room for
    kept: Kept  #: without its tables


@dataclasses.dataclass
class Outcome:
    """What a traced pass leaves: all that derivatives need."""

    images: list  #: of each set, detached [H, W, C]
    weights: list  #: filter weights of their pixels [H, W, 1]
    L: mi.Spectrum  #: radiance of each path [N]
    valid: mi.Bool  #: whether its ray counts as covered [N]
    position: mi.Point2f  #: film positions, pixels [N]
    response: mi.Spectrum  #: of the sensor [N]
    time: mi.Float  #: of the camera rays [N]
    wavelengths: list  #: of the camera rays; empty in variants without
    vertices: list  #: numbers of the kept vertices, by fours [4 · capacity]
    counter: mi.UInt32  #: vertices that wanted room [1]
    last: list  #: slot of the last vertex of each path [N], if vertices are chained
    inverse_densities: list  #: of the direction taken at each vertex [V], likewise
    measure: list  #: weight of each camera sample [N], where pixels have different numbers of them

    def camera(self, sensor: mi.Sensor, layout: Layout, put: Callable) -> films.Camera:
        """The camera samples, as far as film and vertices need them."""
        ray = dr.zeros(mi.RayDifferential3f)
        ray.time = self.time
        if self.wavelengths:
            ray.wavelengths = type(ray.wavelengths)(*self.wavelengths)
        measure = self.measure[0] if self.measure else 1.0
        return films.Camera(sensor, None, layout.spp, ray, self.response, self.position, put, layout.sets, measure)

    def arrays(self, layout: Layout) -> VertexArrays:
        """The kept vertices."""
        return VertexArrays(layout.kept, layout.capacity, self.vertices, self.counter)


def trace_pass(
    scene: mi.Scene,
    sensor: mi.Sensor,
    seed: mi.UInt32,
    tables: Sequence[mi.UInt32],
    allocation: Sequence,
    *,
    layout: Layout,
    tracer: Tracer,
) -> Outcome:
    """Trace camera samples, develop an image of each set, and keep vertices.

    Args:
        tables: Of the flags that decide which vertices matter.
        allocation: Pixel and weight of each sample of a set; empty where all pixels have as many. [N / sets] each
    """
    with dr.suspend_grad():
        samples = tracer.camera(sensor, films.Pass(layout.spp, seed, 1.0), layout.sets, allocation)
        arrays = VertexArrays(layout.kept.with_tables(tables), layout.capacity)
        path = tracer.trace(scene, samples, Store(arrays, layout.path_count), lobes=arrays.kept.attachment.lobes)
        last = list(path.memory.values())
        dr.eval(arrays.counter, path.L, path.valid, samples.position, last)
        images, weights = films.develop_sets(samples, path)
        wavelengths = list(samples.ray.wavelengths) if mi.is_spectral else []
        outcome = Outcome(
            images, weights, path.L, path.valid, samples.position, samples.response, samples.ray.time, wavelengths,
            arrays.rows, arrays.counter, last, [], [samples.measure] if allocation else [],
        )  # fmt: skip
        if layout.kept.reusable:
            vertices = arrays.load(samples.ray)
            outcome.inverse_densities.append(inverse_densities(scene, layout.kept, vertices))
            dr.eval(outcome.inverse_densities)
        return outcome


def deposit(
    scene: mi.Scene,
    sensor: mi.Sensor,
    adjoints: Sequence[mi.TensorXf],
    outcome: Outcome,
    *,
    layout: Layout,
    put: Callable,
) -> None:
    """Accumulate derivatives of a loss into the scene's parameters.

    Args:
        adjoints: Derivative of the loss by the image of each set. [H, W, C] each
        put: Mitsuba's conversion of a spectral sample to film channels.
    """
    with dr.suspend_grad():
        camera = outcome.camera(sensor, layout, put)
        δL = dr.select(outcome.valid, films.adjoint_of_sets(camera, adjoints, outcome.weights), 0)
        dr.eval(δL)
        vertices = outcome.arrays(layout).load(camera.ray)
        adjoint = dr.gather(mi.Spectrum, δL, vertices.lane)
        with dr.resume_grad():
            light = attached_light(Surfaces(scene, layout.kept, vertices), outcome.L)
            if dr.grad_enabled(light):
                dr.backward_from(dr.sum(adjoint * light))


def push(surfaces: Surfaces, outcome: Outcome) -> mi.Spectrum:
    """Derivative of the light of each vertex along the tangents that the scene's parameters hold, unevaluated. [V]"""
    light = attached_light(surfaces, outcome.L)
    tangent = dr.forward_to(light, flags=KEEP_TANGENTS) if dr.grad_enabled(light) else mi.Spectrum(0)
    return mi.Spectrum(dr.detach(tangent, True))


def sum_over_paths(surfaces: Surfaces, outcome: Outcome, values: Sequence[mi.Spectrum]) -> list[mi.Spectrum]:
    """Sums over the vertices of each path, of several values of each vertex, in one kernel. [V] → [N] each"""
    with dr.suspend_grad():
        vertices = surfaces.vertices
        totals = [dr.zeros(mi.Spectrum, dr.width(outcome.L)) for _ in values]
        for total, value in zip(totals, values, strict=True):
            dr.scatter_add(total, value, vertices.lane, vertices.used)
        dr.eval(totals)
        return [dr.select(outcome.valid, total, 0) for total in totals]
