"""Where the film's own integrand ends: the frame, and with the box filter every pixel's border.

In the surface form film positions follow material points. A point that crosses the end of the reconstruction filter's
domain enters or leaves a pixel, which is one more moving boundary; here it is the film that stands still:

    −∮ h L (V·n) dℓ      (V: film velocity of the material point; n: outward normal of the domain; attached: V)
"""

from __future__ import annotations

import drjit as dr
import mitsuba as mi

from ..seeds import derive_seed
from ..sobol import SobolSampler
from .camera_hits import first_hit
from .context import Context
from .film import FilmSamples, Source, coverage, has_alpha
from .sensor import camera_rays, project_first_vertex


def crosses_film_edges(context: Context) -> mi.Bool:
    """Whether anything moves across the edges of the filter's domain; the edge samples of a gradient look. [1]

    They need not look where the film samples a border wide enough for its filter.
    """
    if not has_film_edges(context.sensor.film()):
        return mi.Bool(False)
    if context.bend or context.setting.sensor_moves or context.sensor.film().rfilter().is_box_filter():
        return mi.Bool(True)
    with dr.suspend_grad():
        _, _, _, _, pi, _ = _edge_points(context)
        return dr.any(context.setting.attachment.moving.hit(pi))


def film_edge_source(context: Context) -> Source:
    """Samples on the edges of the filter's domain, for contexts in which something crosses them."""
    with dr.suspend_grad():
        position, vertical, first, (sampler, response), pi, ray = _edge_points(context)
        moving = mi.Bool(True) if context.bend else context.setting.can_move_on_film(pi)
        path = context.paths(sampler, ray, moving, context.limits)
        L = context.excess(path.L, pi) * response
        α = coverage(path) - context.covered(pi.is_valid()) if has_alpha(context.sensor.film()) else None
        # Evaluated with the radiance of the pixels, or each kernel that uses it would trace these paths again
        dr.schedule(L, α)

    def samples(position: mi.Point2f, weight: mi.Float) -> FilmSamples:
        return FilmSamples(position, L * weight, weight, ray.wavelengths, None if α is None else α * weight)

    def attach() -> list[FilmSamples]:
        moved = project_first_vertex(context.sensor, pi, ray, position, context.bend, moving)
        speed = dr.select(vertical, moved.position.x, moved.position.y)
        speed -= dr.detach(speed)
        if not context.sensor.film().rfilter().is_box_filter():
            return [samples(position, dr.select(first, speed, -speed))]
        # What leaves the pixel before the edge enters the one behind it
        step = mi.Vector2f(dr.select(vertical, 0.5, 0), dr.select(vertical, 0, 0.5))
        return [samples(position + step * sign, sign * speed) for sign in (-1, 1)]

    return attach


def has_film_edges(film: mi.Film) -> bool:
    """Whether the filter's domain ends where it is not 0."""
    return film.rfilter().is_box_filter() or not film.sample_border()


def _edge_points(context: Context) -> tuple:
    """What the camera sees at film positions on all edges; first as :func:`_edge_positions`, then hits and rays. [N]"""
    every_pixel = context.sensor.film().rfilter().is_box_filter()
    position, vertical, first, sampler = _edge_positions(context, every_pixel=every_pixel)
    ray, response = camera_rays(context.sensor, sampler, position)
    pi, ray = first_hit(context.scene, dr.detach(ray, True), context.limits, mi.Bool(True))
    return position, vertical, first, (sampler, response), pi, ray


def _edge_positions(context: Context, *, every_pixel: bool) -> tuple[mi.Point2f, mi.Bool, mi.Bool, SobolSampler]:
    """Stratified film positions on all edges, ``spp`` on each pixel's length.

    Returns:
        Positions, whether their edge is vertical, whether it is the first of its direction [N], and the sampler.
    """
    film = context.sensor.film()
    size, offset = mi.ScalarVector2i(film.crop_size()), mi.ScalarVector2i(film.crop_offset())
    width, height = int(size[0]), int(size[1])
    columns, rows = (width + 1, height + 1) if every_pixel else (2, 2)
    vertical_count, horizontal_count = context.spp * height * columns, context.spp * width * rows
    count = vertical_count + horizontal_count
    sampler = SobolSampler.along(count, mi.sample_tea_32(mi.UInt32(context.seed), derive_seed(0, "film edge"))[0])

    # One lane for each sample: which line, and where on it
    lane = dr.arange(mi.UInt32, count)
    vertical = lane < vertical_count
    pixel = dr.select(vertical, lane, lane - vertical_count) // context.spp
    line = dr.select(vertical, pixel // height, pixel // width)
    along = mi.Float(dr.select(vertical, pixel % height, pixel % width)) + sampler.next_1d()
    across = mi.Float(line) * dr.select(vertical, 1.0 if every_pixel else width, 1.0 if every_pixel else height)
    position = mi.Point2f(dr.select(vertical, across, along), dr.select(vertical, along, across))
    return position + mi.Point2f(offset), vertical, line == 0, sampler
