"""Losses that compare neighbourhoods or whole shapes."""

from __future__ import annotations

import math

import drjit as dr
import mitsuba as mi

from .registry import register

#: Window and constants of [Wang et al. 2004, "Image quality assessment"], for images in [0, 1]
_RADIUS, _DEVIATION = 5, 1.5
_C1, _C2 = 0.01**2, 0.03**2


@register
def ssim(image: mi.TensorXf, target: mi.TensorXf) -> mi.TensorXf:
    """1 − SSIM in a Gaussian window of 11 × 11 pixels around each pixel, for images in [0, 1].

    Windows that reach over the border see the image reflected there.
    """
    mean_i, mean_t = _blurred(image), _blurred(target)
    variance_i = _blurred(dr.square(image)) - dr.square(mean_i)
    variance_t = _blurred(dr.square(target)) - dr.square(mean_t)
    covariance = _blurred(image * target) - mean_i * mean_t
    similarity = (2 * mean_i * mean_t + _C1) * (2 * covariance + _C2)
    return 1 - similarity / ((dr.square(mean_i) + dr.square(mean_t) + _C1) * (variance_i + variance_t + _C2))


@register
def silhouette(image: mi.TensorXf, target: mi.TensorXf) -> mi.TensorXf:
    """1 − Σ I T / Σ (I + T − I T), soft intersection over union of two masks in [0, 1]; one number.

    Each pixel's mask is the mean of its channels.
    """
    inside, wanted = (dr.mean(dr.clip(x, 0, 1), axis=2) for x in (image, target))
    both = inside * wanted
    return 1 - dr.sum(both, axis=None) / dr.maximum(dr.sum(inside + wanted - both, axis=None), 1e-6)


def _blurred(image: mi.TensorXf) -> mi.TensorXf:
    offsets = range(-_RADIUS, _RADIUS + 1)
    kernel = [math.exp(-0.5 * (k / _DEVIATION) ** 2) for k in offsets]
    kernel = [weight / sum(kernel) for weight in kernel]
    return dr.convolve(dr.convolve(image, kernel, axis=0, boundary="reflect"), kernel, axis=1, boundary="reflect")
