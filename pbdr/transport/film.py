"""From path samples to images, and from image derivatives back to path samples."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import drjit as dr
import mitsuba as mi

from ..errors import InputError
from ..seeds import require_samples

if TYPE_CHECKING:
    from .levels import Levels
    from .path import PathResult
    from .samplers import Sampler
    from .velocity import Bend

#: Bytes of intermediate arrays per camera sample in a gradient pass (measured: 13 for materials, 36 for motion without
#: boundary term, 110 with silhouettes)
BYTES_PER_SAMPLE = 128


@dataclasses.dataclass(frozen=True)
class Pass:
    """One share of the samples of a rendering."""

    spp: int
    seed: mi.UInt32
    weight: float  #: share of all samples


def sampled_size(film: mi.Film) -> tuple[int, int]:
    """Width and height of the area that takes camera samples, pixels."""
    border = film.rfilter().border_size() if film.sample_border() else 0
    width, height = (int(n) + 2 * int(border) for n in film.crop_size())
    return width, height


def plan_passes(
    sensor: mi.Sensor,
    spp: int,
    seed: mi.UInt32,
    memory_budget: float,
    bytes_per_sample: float = BYTES_PER_SAMPLE,
    share: float = 1,
) -> list[Pass]:
    """Split a rendering so that no pass exceeds the memory budget or Dr.Jit's 2³² lanes.

    Args:
        spp: Samples per pixel; 0 stands for the sampler's own count.
        memory_budget: GiB that the intermediate arrays of one pass may take.
        bytes_per_sample: What they take for each camera sample.
        share: Of the budget, which passes keep to as long as one sample per pixel does.
    """
    require_samples(spp, least=0)
    spp = spp or sensor.sampler().sample_count()
    width, height = sampled_size(sensor.film())
    lane_count = min(2**32 - 1, int(memory_budget * 2**30 / bytes_per_sample))
    largest = lane_count // (width * height)
    if largest == 0:
        raise InputError(
            f"film of sensor '{sensor.id()}': {width} × {height} pixels need more than the 'memory_budget' of "
            f"{memory_budget:g} GiB at 1 sample per pixel; raise it to {width * height * bytes_per_sample / 2**30:.2g}"
        )
    largest = max(1, int(largest * share))
    count = -(-spp // largest)
    # Equal passes share their kernels, if twice as many are enough for that
    count = next((n for n in range(count, min(2 * count, spp) + 1) if spp % n == 0), count)
    if count == 1:
        return [Pass(spp, seed, 1.0)]
    shares = [spp // count + (i < spp % count) for i in range(count)]
    return [
        Pass(share, mi.sample_tea_32(mi.UInt32(seed), mi.UInt32(i))[0], share / spp) for i, share in enumerate(shares)
    ]


@dataclasses.dataclass(frozen=True)
class FilmSamples:
    """Samples of a boundary integral, ready for the film.

    Their :attr:`parts` have the value 0 and carry derivatives; the film filters them like radiance samples, so a sample
    stands for the film area of one radiance sample (1 / spp pixels).
    """

    position: mi.Point2f  #: film position, pixels, detached [M]
    value: mi.Spectrum  #: derivative of the filtered radiance [M]
    weight: mi.Float  #: derivative of the filter weight that normalizes it [M]
    wavelengths: mi.Wavelength  #: of the spectral samples [M]
    coverage: mi.Float | None = None  #: derivative of the filtered alpha; None where it stays [M]

    @property
    def parts(self) -> list:
        """What carries derivatives."""
        return [self.value, self.weight, *([] if self.coverage is None else [self.coverage])]


#: Attaches boundary samples to the scene's parameters; every call does it anew, of equal values
Source = Callable[[], Sequence[FilmSamples]]


@dataclasses.dataclass(frozen=True)
class Camera:
    """Camera samples of one pass."""

    sensor: mi.Sensor
    sampler: Sampler | None  #: after the random numbers that made the rays
    spp: int
    ray: mi.RayDifferential3f  #: detached [N]
    response: mi.Spectrum  #: sensor response of each ray [N]
    position: mi.Point2f  #: film positions, pixels; whole pixels for the box filter [N]
    put: Callable  #: Mitsuba's conversion of a spectral sample to film channels
    sets: int = 1  #: independent sets of ``spp`` samples per pixel, one after the other
    measure: mi.Float | float = 1.0  #: weight of each sample, where pixels have different numbers of them [N]

    def part(self, index: int) -> Camera:
        """One of the sets."""
        if self.sets == 1:
            return self
        ray = dr.zeros(mi.RayDifferential3f)
        ray.wavelengths = self.share(self.ray.wavelengths, index)
        response, position = self.share(self.response, index), self.share(self.position, index)
        measure = self.share(self.measure, index)
        return dataclasses.replace(self, ray=ray, response=response, position=position, sets=1, measure=measure)

    def share(self, values, index: int):
        """What belongs to one set of values of all samples. [N] → [N / sets]"""
        if self.sets == 1 or dr.width(values) <= 1:
            return values
        count = dr.width(values) // self.sets
        return dr.gather(type(values), values, dr.arange(mi.UInt32, count) + index * count)


def has_alpha(film: mi.Film) -> bool:
    """Whether images have an alpha channel."""
    return mi.has_flag(film.flags(), mi.FilmFlags.Alpha)


def sampled_pixels(film: mi.Film, spp: int, sets: int, pixels: mi.UInt32 | None = None) -> mi.Point2f:
    """Upper left corners of the pixels of camera samples, pixel after pixel, set after set.

    Args:
        pixels: Of the samples of one set; None where all have as many. [N / sets]

    Returns:
        Film positions, pixels. [N]
    """
    width, height = sampled_size(film)
    index = dr.arange(mi.UInt32, width * height * spp * sets) // dr.opaque(mi.UInt32, spp)
    if sets > 1:
        index %= width * height
    if pixels is not None:
        index = dr.gather(
            mi.UInt32, pixels, dr.arange(mi.UInt32, dr.width(index)) % dr.opaque(mi.UInt32, dr.width(pixels))
        )
    border = film.rfilter().border_size() if film.sample_border() else 0
    y = index // width
    corner = mi.Vector2i(mi.Int32(index - y * width), mi.Int32(y)) - border + mi.Vector2i(film.crop_offset())
    return mi.Point2f(corner)


@dataclasses.dataclass(frozen=True)
class Motion:
    """What moves on the film, attached to the scene's parameters."""

    position: mi.Point2f  #: film position of each camera sample's first material point, pixels [N]
    measure: mi.Float  #: value 1; change of film area around it [N]
    boundary: Sequence[FilmSamples]  #: boundary integrals, among them the film's own edges
    origin: mi.Point3f  #: sensor vertex of each camera sample [N]
    vertex: mi.Point3f  #: first vertex of each camera sample [N]
    warp: Bend | None  #: what camera rays were bent by
    owner: mi.UInt32  #: registry index of what each camera sample sees [N]
    levels: Levels | None  #: what the boundary term takes care of in camera samples


def in_sampled_area(film: mi.Film, position: mi.Point2f) -> mi.Bool:
    """Whether film positions, in pixels, lie where the film takes camera samples. [N]"""
    border = film.rfilter().border_size() if film.sample_border() else 0
    low = mi.ScalarVector2f(film.crop_offset()) - border
    high = low + mi.ScalarVector2f(film.crop_size()) + 2 * border
    return dr.all((position >= low) & (position < high))


def attached_parts(motion: Motion | None) -> list:
    """The arrays of ``motion`` that carry derivatives, in the order of :func:`develop`."""
    if motion is None:
        return []
    return [motion.position, motion.measure, *(part for samples in motion.boundary for part in samples.parts)]


def develop(camera: Camera, L: mi.Spectrum, *parts, alpha: mi.Float = 0, motion: Motion | None = None) -> mi.TensorXf:
    """Filter radiance samples into an image.

    Args:
        L: Radiance of each camera sample. [N]
        parts: With ``motion``, stand-ins for its :func:`attached_parts`.
        alpha: Coverage of each camera sample. [N]
        motion: What moves on the film.

    Returns:
        Image. [H, W, C]
    """
    film = camera.sensor.film()
    film.prepare([])
    position, measure, *boundary = parts or (camera.position, mi.Float(camera.measure))
    block = film.create_block()
    # Neighbouring lanes of a pixel are summed before they reach memory, which pays on GPUs alone
    is_gpu = dr.backend_v(mi.Float) == dr.JitBackend.CUDA
    block.set_coalesce(is_gpu and block.coalesce() and camera.spp >= 4)
    value = L * camera.response * measure
    camera.put(block, film, position, value, measure, alpha * measure, [], camera.ray.wavelengths)
    film.put_block(block)
    parts = iter(boundary)
    for samples in motion.boundary if motion else ():
        block = film.create_block()
        block.set_coalesce(False)
        value, weight, coverage = next(parts), next(parts), mi.Float(0)
        if samples.coverage is not None:
            coverage = next(parts)
        camera.put(block, film, samples.position, value, weight, coverage, [], samples.wavelengths)
        film.put_block(block)
    return film.develop()


def coverage(path: PathResult) -> mi.Float:
    """What each camera sample adds to the alpha channel. [N]"""
    return dr.select(path.valid, mi.Float(1), mi.Float(0))


def develop_sets(camera: Camera, path: PathResult) -> tuple[list[mi.TensorXf], list[mi.TensorXf]]:
    """An image of each set of samples, and the filter weights of its pixels. [H, W, C] and [H, W, 1] each"""
    alpha = coverage(path)
    images, weights = [], []
    for k in range(camera.sets):
        images.append(develop(camera.part(k), camera.share(path.L, k), alpha=camera.share(alpha, k)))
        weights.append(camera.sensor.film().develop(raw=True)[..., -1:])
    return images, weights


def develop_tangents(camera: Camera, tangents: Sequence[mi.Spectrum]) -> list[mi.TensorXf]:
    """Images of several derivatives of radiance: they are linear in it.

    Args:
        tangents: For each image, one value of each camera sample. [N] each

    Returns:
        For each set, all images. [K, H, W, C] each
    """
    stacks = []
    for k in range(camera.sets):
        part = camera.part(k)
        images = [develop(part, camera.share(tangent, k)) for tangent in tangents]
        stacks.append(mi.TensorXf(dr.concat([dr.ravel(image) for image in images]), (len(images), *images[0].shape)))
    return stacks


def adjoint_of_sets(
    camera: Camera, adjoints: Sequence[mi.TensorXf], weights: Sequence[mi.TensorXf] | None = None
) -> mi.Spectrum:
    """Derivative of a loss by all radiance samples.

    Args:
        adjoints: Derivative of the loss by the image of each set. [H, W, C] each
        weights: Filter weights of the pixels, where they are known; then nothing is splatted. [H, W, 1] each

    Returns:
        One value for each sample. [N]
    """
    film = camera.sensor.film()
    if weights and mi.is_rgb and "pixel_format = rgb" in str(film):
        parts = [_gather(camera.part(k), adjoints[k], weights[k]) for k in range(camera.sets)]
    else:
        width, height = sampled_size(film)
        rest = dr.zeros(mi.Spectrum, width * height * camera.spp)
        parts = [adjoint(camera.part(k), None, rest, mi.Float(0), adjoints[k])[0] for k in range(camera.sets)]
    return mi.Spectrum(*(dr.concat(list(channel)) for channel in zip(*parts, strict=True)))


def _gather(camera: Camera, grad_in: mi.TensorXf, weights: mi.TensorXf) -> mi.Spectrum:
    """Transpose of :func:`develop`: Σ w(pixel) grad_in(pixel) / Σ w, over the pixels around a sample. [N]"""
    film = camera.sensor.film()
    rfilter, (width, height) = film.rfilter(), (int(n) for n in film.crop_size())
    share = mi.TensorXf(dr.select(weights > 0, grad_in[..., :3] / weights, 0)).array
    pixel = dr.arange(mi.UInt32, width * height)
    # Four channels, so that one instruction takes all of a pixel
    padded = dr.ravel(mi.Vector4f(*(dr.gather(mi.Float, share, 3 * pixel + k) for k in range(3)), 0))
    dr.eval(padded)
    position = camera.position - mi.ScalarVector2f(film.crop_offset())
    is_box, radius = rfilter.is_box_filter(), rfilter.radius()
    corner = mi.Point2i(dr.floor(position)) if is_box else mi.Point2i(dr.ceil(position - 0.5 - radius))
    offset = mi.Vector2f(corner) + 0.5 - position
    taps = range(1 if is_box else math.ceil(2 * radius))
    across, down = ([mi.Float(1)] if is_box else [rfilter.eval(c + k) for k in taps] for c in offset)
    total = mi.Vector4f(0)
    for j in taps:
        for i in taps:
            x, y = corner.x + i, corner.y + j
            inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
            total += across[i] * down[j] * dr.gather(mi.Vector4f, padded, mi.UInt32(y * width + x), inside)
    return mi.Spectrum(total.x, total.y, total.z) * camera.response * camera.measure


def _leaves(motion: Motion | None, L: mi.Spectrum) -> list:
    leaves = [dr.detach(part, True) for part in (L, *attached_parts(motion))]
    dr.enable_grad(*leaves)
    return leaves


def tangent(
    camera: Camera, motion: Motion | None, L: mi.Spectrum, alpha: mi.Float, directions: Sequence
) -> mi.TensorXf:
    """Derivative of the image along tangents of the radiance samples and of the parts of ``motion``.

    Args:
        L: Radiance of each camera sample, as far as it moves. [N]
        alpha: Its coverage, as far as it moves. [N]
        directions: Tangent of L, then of each attached part.

    Returns:
        Derivative of the image. [H, W, C]
    """
    with dr.resume_grad():
        leaves = _leaves(motion, L)
        for leaf, direction in zip(leaves, directions, strict=True):
            dr.set_grad(leaf, direction)
        return dr.detach(dr.forward_to(develop(camera, *leaves, alpha=alpha, motion=motion)), True)


def adjoint(camera: Camera, motion: Motion | None, L: mi.Spectrum, alpha: mi.Float, grad_in: mi.TensorXf) -> list:
    """Derivatives of a loss by the radiance samples and the parts of ``motion``: the transpose of :func:`tangent`.

    Args:
        grad_in: Derivative of the loss by the image. [H, W, C]

    Returns:
        Derivative by L, then by each attached part.
    """
    with dr.resume_grad():
        leaves = _leaves(motion, L)
        image = develop(camera, *leaves, alpha=alpha, motion=motion)
        dr.set_grad(image, grad_in)
        dr.enqueue(dr.ADMode.Backward, image)
        dr.traverse(dr.ADMode.Backward)
        return [dr.detach(dr.grad(leaf), True) for leaf in leaves]
