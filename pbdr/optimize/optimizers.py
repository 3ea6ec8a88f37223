"""Dr.Jit's optimizers by name, and their state as plain arrays."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import TYPE_CHECKING

import drjit as dr
import drjit.opt
import numpy as np

from ..errors import InputError, suggestion

if TYPE_CHECKING:
    from .job import OptimizerEntry
    from .parameters import Variable

_OPTIMIZERS = {name.lower(): getattr(drjit.opt, name) for name in ("Adam", "AdamW", "RMSProp", "SGD")}


def make(entry: OptimizerEntry, variables: Sequence[Variable]) -> drjit.opt.Optimizer:
    """An optimizer that holds the variables at their initial values, each with its learning rate."""
    kind = entry.type.lower()
    if kind not in _OPTIMIZERS:
        raise InputError(f"'optimizer.type' is '{entry.type}', which does not exist{suggestion(kind, _OPTIMIZERS)}")
    options = dict(entry.model_extra or {})
    known = [n for n in inspect.signature(_OPTIMIZERS[kind].__init__).parameters if n not in ("self", "lr", "params")]
    for name in options:
        if name not in known:
            raise InputError(f"optimizer '{entry.type}' has no option '{name}'{suggestion(name, known)}")
    try:
        optimizer = _OPTIMIZERS[kind](lr=0.02, **options)
    except (RuntimeError, TypeError) as error:
        raise InputError(f"optimizer '{entry.type}': {error}") from None
    for variable in variables:
        optimizer[variable.key] = variable.latent(variable.initial)
    set_learning_rates(optimizer, variables, 1.0)
    return optimizer


def set_learning_rates(optimizer: drjit.opt.Optimizer, variables: Sequence[Variable], factor: float) -> None:
    """Give every variable its own learning rate, times a common factor."""
    optimizer.set_learning_rate({v.key: v.learning_rate * factor for v in variables})


def state_arrays(optimizer: drjit.opt.Optimizer) -> dict[str, np.ndarray]:
    """Variables (``latent/<key>``) and moments (``state/<key>/<position>``) of an optimizer."""
    arrays = {}
    for key in optimizer.keys():  # noqa: SIM118 (a Dr.Jit mapping)
        arrays[f"latent/{key}"] = np.array(dr.detach(optimizer[key]))
        for position, leaf in _leaves(optimizer.state[key][3]):
            arrays[f"state/{key}/{position}"] = np.array(leaf)
    return arrays


def restore(optimizer: drjit.opt.Optimizer, arrays: dict[str, np.ndarray]) -> None:
    """Put the arrays of :func:`state_arrays` back."""
    for key in list(optimizer.keys()):
        optimizer[key] = type(optimizer[key])(arrays[f"latent/{key}"])
        value, promoted, rate, extra = optimizer.state[key]
        stored = dict(_leaves(extra))
        for position, leaf in stored.items():
            array = arrays[f"state/{key}/{position}"]
            stored[position] = int(array) if isinstance(leaf, int) else type(leaf)(array)
        optimizer.state[key] = (value, promoted, rate, _rebuild(extra, stored))


def _leaves(extra: object, position: str = "0") -> list[tuple[str, object]]:
    if isinstance(extra, tuple):
        return [leaf for k, item in enumerate(extra) for leaf in _leaves(item, f"{position}.{k}")]
    return [] if extra is None else [(position, extra)]


def _rebuild(extra: object, stored: dict[str, object], position: str = "0") -> object:
    if isinstance(extra, tuple):
        return tuple(_rebuild(item, stored, f"{position}.{k}") for k, item in enumerate(extra))
    return stored.get(position, extra)
