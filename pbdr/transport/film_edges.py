"""Where the film's own integrand ends: the frame, and with the box filter every pixel's border.

In the surface form film positions follow material points. A point that crosses the end of the reconstruction filter's
domain enters or leaves a pixel, which is one more moving boundary; here it is the film that stands still:

    −∮ h L (V·n) dℓ      (V: film velocity of the material point; n: outward normal of the domain; attached: V)
"""

from __future__ import annotations

import drjit as dr
import mitsuba as mi

from ..seeds import derive_seed
from .film import Context, FilmSamples
from .path import first_hit
from .sensor import camera_rays, project_first_vertex


def film_edge_samples(context: Context) -> list[FilmSamples]:
    """Samples on the edges of the filter's domain; none if the film samples a border wide enough for its filter."""
    film = context.sensor.film()
    every_pixel = film.rfilter().is_box_filter()
    if film.sample_border() and not every_pixel:
        return []
    return [s for axis in (0, 1) for s in _edge_samples(context, axis, every_pixel=every_pixel)]


def _edge_samples(context: Context, axis: int, *, every_pixel: bool) -> list[FilmSamples]:
    """Samples on all edges normal to one axis of the film, ``spp`` on each pixel's length."""
    film = context.sensor.film()
    size, offset = mi.ScalarVector2i(film.crop_size()), mi.ScalarVector2i(film.crop_offset())
    along, lines = int(size[1 - axis]), int(size[axis]) + 1 if every_pixel else 2
    sampler = context.sensor.sampler().clone()
    count = context.spp * along * lines
    sampler.set_sample_count(1)
    sampler.set_samples_per_wavefront(1)
    sampler.seed(mi.sample_tea_32(mi.UInt32(context.seed), derive_seed(0, "film edge", axis))[0], count)

    # One lane for each sample: which line, and where on it
    lane = dr.arange(mi.UInt32, count)
    line = lane // (context.spp * along)
    cell = (lane // context.spp) % along
    step = 1 if every_pixel else int(size[axis])
    position = mi.Point2f(0)
    position[axis] = mi.Float(line * step) + int(offset[axis])
    position[1 - axis] = mi.Float(cell) + sampler.next_1d() + int(offset[1 - axis])

    with dr.suspend_grad():
        ray, response = camera_rays(context.sensor, sampler, position)
        L = context.radiance(sampler, ray, mi.Bool(True), context.limits) * response
        pi, ray = first_hit(context.scene, dr.detach(ray, True), context.limits, mi.Bool(True))
    moved = project_first_vertex(context.sensor, pi, ray, position)
    speed = moved.position[axis] - dr.detach(moved.position[axis])

    if not every_pixel:
        weight = dr.select(line == 0, speed, -speed)
        return [FilmSamples(position, L * weight, weight, ray.wavelengths)]
    # What leaves the pixel before the edge enters the one behind it
    samples = []
    for side, sign in ((-0.5, -1), (0.5, 1)):
        centre = mi.Point2f(position)
        centre[axis] += side
        samples.append(FilmSamples(centre, L * (sign * speed), sign * speed, ray.wavelengths))
    return samples
