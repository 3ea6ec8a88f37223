"""Losses by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ...errors import InputError, suggestion
from ..user_functions import is_import_path, load_function

if TYPE_CHECKING:
    import mitsuba as mi

#: Of an image and its target; those of :data:`PAIRED` take a second image, rendered with other random numbers
Loss = Callable[..., "mi.TensorXf"]

_losses: dict[str, Loss] = {}

#: Names of losses that compare two independent renderings of a view with its target
PAIRED: set[str] = set()


def register(loss: Loss) -> Loss:
    """Make a loss available under its function's name.

    It returns one value for each pixel and channel, or a single number for the whole image.
    """
    _losses[loss.__name__] = loss
    return loss


def register_paired(loss: Loss) -> Loss:
    """Make a loss ``(first, target, second)`` of two independent renderings available under its function's name."""
    PAIRED.add(loss.__name__)
    return register(loss)


def find_loss(name: str) -> Loss:
    """A loss by its name, or a function of the user by ``module:function``.

    Example:
        >>> find_loss("l2").__name__
        'l2'
    """
    if is_import_path(name):
        return load_function(name, "'loss'", arguments=2)
    if name not in _losses:
        raise InputError(f"'loss' is '{name}', which does not exist{suggestion(name, _losses)}")
    return _losses[name]
