"""Losses that compare pixel by pixel."""

from __future__ import annotations

import drjit as dr
import mitsuba as mi

from .registry import register

#: Added to radiance where a loss divides by it, so that black pixels do not dominate
RELATIVE_OFFSET = 0.01


@register
def l1(image: mi.TensorXf, target: mi.TensorXf) -> mi.TensorXf:
    """|I − T|."""
    return dr.abs(image - target)


@register
def l2(image: mi.TensorXf, target: mi.TensorXf) -> mi.TensorXf:
    """(I − T)²."""
    return dr.square(image - target)


@register
def relative_l2(image: mi.TensorXf, target: mi.TensorXf) -> mi.TensorXf:
    """((I − T) / (T + 0.01))²: bright and dark regions count alike, and noise in I stays unbiased to first order."""
    return dr.square((image - target) / (dr.abs(target) + RELATIVE_OFFSET))


@register
def smape(image: mi.TensorXf, target: mi.TensorXf) -> mi.TensorXf:
    """|I − T| / (|I| + |T| + 0.01): relative, and never more than 1, so that fireflies pull little."""
    return dr.abs(image - target) / (dr.abs(image) + dr.abs(target) + RELATIVE_OFFSET)


@register
def log_l1(image: mi.TensorXf, target: mi.TensorXf) -> mi.TensorXf:
    """|log(1 + I) − log(1 + T)|, for images with a few very bright pixels."""
    return dr.abs(dr.log(1 + dr.maximum(image, 0)) - dr.log(1 + dr.maximum(target, 0)))


@register
def huber(image: mi.TensorXf, target: mi.TensorXf) -> mi.TensorXf:
    """Quadratic up to a difference of 0.1, linear beyond: outliers pull less."""
    difference = dr.abs(image - target)
    return dr.select(difference < 0.1, dr.square(difference), 0.2 * difference - 0.01)
