"""Squared errors without the variance of the rendering, from two independent renderings I and J of a view."""

from __future__ import annotations

import drjit as dr
import mitsuba as mi

from .pointwise import RELATIVE_OFFSET, l2, relative_l2
from .registry import register_paired


@register_paired
def l2_unbiased(image: mi.TensorXf, target: mi.TensorXf, second: mi.TensorXf) -> mi.TensorXf:
    """(I − T) (J − T), whose expectation is the squared error of the noise-free image; it can be negative."""
    return (image - target) * (second - target)


@register_paired
def relative_l2_unbiased(image: mi.TensorXf, target: mi.TensorXf, second: mi.TensorXf) -> mi.TensorXf:
    """(I − T) (J − T) / (T + 0.01)²."""
    return l2_unbiased(image, target, second) / dr.square(dr.abs(target) + RELATIVE_OFFSET)


#: Losses of two renderings, by the loss of one that has the same expectation but for the rendering's variance
COUNTERPARTS = {l2: l2_unbiased, relative_l2: relative_l2_unbiased}
