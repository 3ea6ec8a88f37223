"""The sum of losses that a job minimizes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import drjit as dr
import mitsuba as mi

from ...errors import InputError
from .entry import LossEntry
from .perceptual import make_perceptual
from .pointwise import RELATIVE_OFFSET
from .registry import PAIRED, Loss, find_loss
from .unbiased import COUNTERPARTS

#: Pictures that the integrator renders
SPLATTED = frozenset({"image", "alpha"})


@dataclasses.dataclass(frozen=True)
class Picture:
    """What was rendered of a view, and what it should be.

    Example:
        >>> Picture([image], target, None)
    """

    renderings: Sequence[mi.TensorXf]  #: one, or two with independent noise [H, W, C] each
    target: mi.TensorXf  #: [H, W, C]
    mask: mi.TensorXf | None  #: weight of each pixel [H, W, 1]


@dataclasses.dataclass(frozen=True)
class Term:
    """A loss with the images that it compares."""

    name: str
    function: Loss
    weight: float = 1.0
    of: str = "image"  #: image, alpha, depth or normals
    tonemap: str = "none"
    pyramid: int = 1  #: levels, each of half the resolution of the one before

    @property
    def is_paired(self) -> bool:
        """Whether it needs two renderings."""
        return self.name in PAIRED

    def __call__(self, picture: Picture) -> mi.TensorXf:
        """The loss of a picture, without the term's weight: the mean over the pyramid's levels. [1]"""
        curve = _CURVES[self.tonemap]
        images = list(picture.renderings)
        if not self.is_paired:
            images = [sum(images) / len(images)] if len(images) > 1 else images
        images, target, mask = [curve(image) for image in images], curve(picture.target), picture.mask
        total = 0
        for level in range(self.pyramid):
            if level:
                *images, target = (_halved(x, mask) for x in (*images, target))
                mask = None if mask is None else _halved(mask, None)
            total = total + self._compare(images, target, mask)
        return total / self.pyramid

    def residuals(self, picture: Picture) -> mi.TensorXf:
        """Numbers whose sum of squares is the term, with its weight; for squared differences alone. [N]"""
        curve = _CURVES[self.tonemap]
        target = curve(picture.target)
        difference = curve(picture.renderings[0]) - target
        if self.name == "relative_l2":
            difference = difference / (dr.abs(target) + RELATIVE_OFFSET)
        weights = dr.full(mi.TensorXf, 1, difference.shape)
        if picture.mask is not None:
            weights = weights * picture.mask
        return difference * dr.sqrt(self.weight * weights / dr.sum(weights, axis=None))

    def _compare(self, images: Sequence[mi.TensorXf], target: mi.TensorXf, mask: mi.TensorXf | None) -> mi.TensorXf:
        values = self.function(images[0], target, *images[1:])
        values = mi.TensorXf(values) if dr.is_array_v(values) else values
        if not dr.is_array_v(values) or (dr.prod(values.shape) != 1 and values.shape[:2] != target.shape[:2]):
            found = f"shape {list(values.shape)}" if dr.is_array_v(values) else f"type {type(values).__name__}"
            raise InputError(
                f"loss '{self.name}' returns a value of {found}; allowed are one number and an array like the target, "
                f"{list(target.shape)}"
            )
        is_number = dr.prod(values.shape) == 1 and dr.prod(target.shape) > 1
        if is_number and mask is not None:
            values = self.function(images[0] * mask, target * mask, *(image * mask for image in images[1:]))
        if is_number or mask is None:
            return dr.mean(values, axis=None)
        weights = mask + dr.zeros(mi.TensorXf, values.shape)
        return dr.sum(values * weights, axis=None) / dr.sum(weights, axis=None)


@dataclasses.dataclass(frozen=True)
class Objective:
    """A weighted sum of losses."""

    terms: Sequence[Term]

    @property
    def is_paired(self) -> bool:
        """Whether any loss needs two renderings of each view."""
        return any(term.is_paired for term in self.terms)

    def crossed(self) -> Objective | None:
        """The losses as products of two independent renderings, whose derivatives may share the samples of both.

        None unless each loss of an image or its alpha is a squared error of linear values: other losses bend the noise
        of the rendering that they look at, and half the samples would bend it more.
        """
        terms = []
        for term in self.terms:
            if term.of not in SPLATTED:
                terms.append(term)
                continue
            function = term.function if term.is_paired else COUNTERPARTS.get(term.function)
            if function is None or term.tonemap != "none":
                return None
            terms.append(dataclasses.replace(term, name=function.__name__, function=function))
        return Objective(terms)

    @property
    def pictures(self) -> set[str]:
        """What it looks at: ``image``, ``alpha``, ``depth``, ``normals``."""
        return {term.of for term in self.terms}

    def residuals(self, picture: Picture) -> mi.Float:
        """Numbers whose sum of squares is the loss, if all terms are squared differences. [N]"""
        return dr.concat([dr.ravel(term.residuals(picture)) for term in self.terms])

    def __call__(self, pictures: Mapping[str, Picture]) -> mi.TensorXf:
        """The loss of a view; losses of pictures that the view does not have add nothing. [1]

        Args:
            pictures: By what they show.
        """
        values = [term.weight * term(pictures[term.of]) for term in self.terms if term.of in pictures]
        return sum(values[1:], values[0]) if values else dr.zeros(mi.TensorXf, ())


def make_objective(loss: str | Callable, entries: Sequence[LossEntry]) -> Objective:
    """The losses of a job, checked.

    Args:
        loss: The job's single ``loss``, used if there are no ``entries``; in Python also a function.
        entries: The job's list of ``losses``.

    Example:
        >>> make_objective("l2", []).terms[0].name
        'l2'
    """
    if not entries:
        return Objective([Term("loss", loss) if callable(loss) else Term(loss, find_loss(loss))])
    terms = []
    for position, entry in enumerate(entries):
        where = f"losses.{position}"
        if entry.network is not None:
            function = make_perceptual(entry.network, where)
        else:
            try:
                function = find_loss(entry.type)
            except InputError as error:
                raise InputError(f"{where}: {error}".replace("'loss'", "'type'")) from None
        if entry.of != "image" and entry.type in PAIRED:
            raise InputError(f"{where}: '{entry.type}' compares images, not {entry.of}")
        terms.append(Term(entry.type, function, entry.weight, entry.of, entry.tonemap, entry.pyramid))
    return Objective(terms)


def _srgb(x: mi.TensorXf) -> mi.TensorXf:
    """The transfer function of sRGB, continued beyond 1."""
    positive = dr.maximum(x, 0)
    return dr.select(x <= 0.0031308, 12.92 * positive, 1.055 * dr.power(dr.maximum(x, 0.0031308), 1 / 2.4) - 0.055)


_CURVES: dict[str, Callable[[mi.TensorXf], mi.TensorXf]] = {
    "none": lambda x: x,
    "srgb": _srgb,
    "reinhard": lambda x: _srgb(dr.maximum(x, 0) / (1 + dr.maximum(x, 0))),
    "log": lambda x: dr.log(1 + dr.maximum(x, 0)),
}


def _halved(image: mi.TensorXf, mask: mi.TensorXf | None) -> mi.TensorXf:
    """Means of blocks of 2 × 2 pixels, weighted with the mask; blocks at an odd border have fewer pixels."""
    height, width, _ = image.shape
    if mask is None:
        return _pooled(image, height, width)
    weights = _pooled(mask, height, width)
    return _pooled(image * mask, height, width) / dr.maximum(weights, 1e-6)


def _pooled(x: mi.TensorXf, height: int, width: int) -> mi.TensorXf:
    """The last row and column count twice where their number is odd."""
    rows = 0.5 * (x[0:height:2] + x[dr.minimum(dr.arange(mi.UInt, 1, height + height % 2, 2), height - 1)])
    columns = dr.minimum(dr.arange(mi.UInt, 1, width + width % 2, 2), width - 1)
    return 0.5 * (rows[:, 0:width:2] + rows[:, columns])
