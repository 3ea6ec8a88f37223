"""The kernels of a recording: one traces paths and keeps vertices, others differentiate at all of them.

All are functions of a scene and of arrays alone, so that they can be frozen.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import drjit as dr
import mitsuba as mi

from ..transport import film as films
from ..transport.path import PathResult
from ..transport.samplers import CameraSampling
from ..transport.tangents import KEEP_TANGENTS, attached_storage
from ..transport.vertices import Kept, PathRecords
from .store import Store, Terms
from .surfaces import inverse_densities

if TYPE_CHECKING:
    from .experience import Experience


@dataclasses.dataclass(frozen=True)
class Tracer:
    """What a recording needs of an integrator."""

    camera: Callable[[mi.Sensor, films.Pass, int, Sequence], films.Camera]  #: makes the camera samples of a pass
    trace: Callable[..., PathResult]  #: sends them through the path loop: of scene, camera, rule and active lanes
    put: Callable  #: Mitsuba's conversion of a spectral sample to film channels
    sampling: CameraSampling
    memory_budget: float  #: GiB
    experience: Experience


@dataclasses.dataclass(frozen=True)
class Layout:
    """What a pass looks like; passes that look alike share kernels."""

    spp: int
    sets: int  #: independent images
    path_count: int
    capacities: tuple[int, ...]  #: records of each kind that there is room for
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
    records: list  #: counters and numbers of each kind of record
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

    def kept(self, layout: Layout) -> PathRecords:
        """What was kept of the paths."""
        return PathRecords(layout.kept, layout.capacities, self.records)

    def terms(self, scene: mi.Scene, layout: Layout, camera: films.Camera) -> Terms:
        """What of the light of the paths depends on the scene as it is now."""
        return Terms(scene, self.kept(layout), camera.ray)


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
        records = PathRecords(layout.kept.with_tables(tables), layout.capacities)
        path = tracer.trace(scene, samples, Store(records, layout.path_count), lobes=records.kept.attachment.lobes)
        last = list(path.memory.values())
        dr.eval(records.arrays, path.L, path.valid, samples.position, last)
        images, weights = films.develop_sets(samples, path)
        wavelengths = list(samples.ray.wavelengths) if mi.is_spectral else []
        outcome = Outcome(
            images, weights, path.L, path.valid, samples.position, samples.response, samples.ray.time, wavelengths,
            records.arrays, last, [], [samples.measure] if allocation else [],
        )  # fmt: skip
        if layout.kept.reusable:
            vertices = records.vertices(samples.ray)
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
        terms = outcome.terms(scene, layout, camera)
        with dr.resume_grad():
            for light, lane in zip(terms.light(outcome.L), terms.lanes, strict=True):
                if dr.grad_enabled(light):
                    dr.backward_from(dr.sum(dr.gather(mi.Spectrum, δL, lane) * light))


def push_pass(
    scene: mi.Scene,
    sensor: mi.Sensor,
    directions: Sequence[Mapping],
    outcome: Outcome,
    *,
    layout: Layout,
    put: Callable,
) -> list[mi.TensorXf]:
    """Derivatives of the images along directions of parameters that carry derivatives.

    Args:
        directions: Tangents of what takes them, by key; nothing in the scene may be computed from it
            (:func:`~pbdr.transport.tangents.has_followers`).
        put: Mitsuba's conversion of a spectral sample to film channels.

    Returns:
        For each set, one derivative per direction. [K, H, W, C] each
    """
    with dr.suspend_grad():
        camera = outcome.camera(sensor, layout, put)
        terms = outcome.terms(scene, layout, camera)
        with dr.resume_grad():
            leaves = attached_storage(scene)
        pushed = []
        # These alone: calls also reach variables of other scenes in memory, which come from elsewhere
        with dr.resume_grad(*leaves.values()):
            for direction in directions:
                dr.clear_grad(leaves)
                for key, tangent in direction.items():
                    dr.set_grad(leaves[key], tangent)
                pushed.append(push(terms, outcome))
        return develop_pushed(camera, terms, outcome, pushed)


def push(terms: Terms, outcome: Outcome) -> list[mi.Spectrum]:
    """Derivatives of the light of all records along the tangents that the scene's parameters hold, unevaluated."""
    tangents = []
    for light in terms.light(outcome.L):
        tangent = dr.forward_to(light, flags=KEEP_TANGENTS) if dr.grad_enabled(light) else mi.Spectrum(0)
        tangents.append(mi.Spectrum(dr.detach(tangent, True)))
    return tangents


def develop_pushed(
    camera: films.Camera, terms: Terms, outcome: Outcome, values: Sequence[Sequence[mi.Spectrum]]
) -> list[mi.TensorXf]:
    """Images of several values of each record.

    Args:
        values: For each image, one value of each record of each kind.

    Returns:
        For each set, all images. [K, H, W, C] each
    """
    with dr.suspend_grad():
        totals = [dr.zeros(mi.Spectrum, dr.width(outcome.L)) for _ in values]
        for total, parts in zip(totals, values, strict=True):
            for part, lane, used in zip(parts, terms.lanes, terms.used, strict=True):
                dr.scatter_add(total, part, lane, used)
        dr.eval(totals)
        return films.develop_tangents(camera, [dr.select(outcome.valid, total, 0) for total in totals])
