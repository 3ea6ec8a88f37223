"""Depth and normals of what a sensor sees first, attached to the scene's parameters: the interior term alone."""

from __future__ import annotations

import drjit as dr
import mitsuba as mi

from ...sobol import SobolSampler


def render_first_hits(
    scene: mi.Scene, sensor: mi.Sensor, spp: int, seed: mi.UInt32
) -> tuple[mi.TensorXf, mi.TensorXf, mi.TensorXf]:
    """Mean distance and shading normal of the first hits in each pixel, over the samples that hit something.

    Along a fixed ray, hits move with surfaces; that other surfaces come into view has no part in the derivative.

    Args:
        spp: Samples per pixel.

    Returns:
        Distance from the sensor in scene units [H, W, 1], normal in world space [H, W, 3], and the share of samples
        that hit something, detached [H, W, 1].

    Example:
        >>> depth, normals, coverage = render_first_hits(scene, scene.sensors()[0], 4, mi.UInt32(0))
    """
    film = sensor.film()
    size = film.crop_size()
    width, height = int(size[0]), int(size[1])
    sampler = SobolSampler.over_pixels((width, height), spp, seed)
    index = dr.arange(mi.UInt32, width * height * spp) // spp
    pixel = mi.Vector2f(mi.Float(index % width), mi.Float(index // width)) + mi.Vector2f(sampler.next_2d())
    # Sensors count their film samples from the corner of the crop
    ray, _ = sensor.sample_ray(0.0, 0.5, mi.Point2f(pixel / mi.Vector2f(width, height)), mi.Point2f(0.5))
    si = scene.ray_intersect(ray)
    valid = dr.detach(si.is_valid())
    weight = dr.select(valid, mi.Float(1), mi.Float(0))
    count = dr.block_sum(weight, spp)
    normal = si.sh_frame.n

    def mean(values: mi.Float) -> mi.Float:
        return dr.block_sum(dr.select(valid, values, 0), spp) / dr.maximum(count, 1)

    channels = [mean(value) for value in (si.t, normal.x, normal.y, normal.z)]
    shape = (height, width, 1)
    normals = mi.TensorXf(dr.ravel(mi.Vector3f(*channels[1:])), (height, width, 3))
    return mi.TensorXf(channels[0], shape), normals, mi.TensorXf(count / spp, shape)
