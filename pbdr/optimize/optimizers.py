"""Dr.Jit's optimizers by name, and their state as plain arrays."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import drjit as dr
import drjit.opt
import mitsuba as mi
import numpy as np

from ..errors import InputError, suggestion

if TYPE_CHECKING:
    from .entries import OptimizerEntry
    from .parameters import Variable

#: Methods that take steps of their own, see ``second_order``
OTHERS = ("gauss_newton", "levenberg_marquardt", "lbfgs")

#: A derivative is cut where it exceeds the root of the largest second moment this many times
LARGEST = 3.0

_OPTIMIZERS = {name.lower(): getattr(drjit.opt, name) for name in ("Adam", "AdamW", "RMSProp", "SGD")}


def make(entry: OptimizerEntry, variables: Sequence[Variable]) -> drjit.opt.Optimizer:
    """An optimizer that holds the variables at their initial values, each with its learning rate."""
    kind = entry.type.lower()
    if kind == "muon":
        raise InputError("'optimizer.type' is 'muon', which is for matrices of neural networks; use 'adam'")
    if kind not in _OPTIMIZERS and kind not in OTHERS:
        raise InputError(
            f"'optimizer.type' is '{entry.type}', which does not exist{suggestion(kind, [*_OPTIMIZERS, *OTHERS])}"
        )
    options = {} if kind in OTHERS else dict(entry.model_extra or {})
    # Methods of pbdr keep the variables in an optimizer that they never ask for a step
    kind = "sgd" if kind in OTHERS else kind
    known = [n for n in inspect.signature(_OPTIMIZERS[kind].__init__).parameters if n not in ("self", "lr", "params")]
    for name in options:
        if name not in known:
            raise InputError(f"optimizer '{entry.type}' has no option '{name}'{suggestion(name, known)}")
        if not isinstance(options[name], int | float):
            raise InputError(f"optimizer '{entry.type}': '{name}' is {options[name]!r}, but must be a number")
    try:
        optimizer = _OPTIMIZERS[kind](lr=0.02, **options)
    except (RuntimeError, TypeError) as error:
        raise InputError(f"optimizer '{entry.type}': {error}") from None
    for variable in variables:
        optimizer[variable.key] = variable.latent(variable.initial)
    set_learning_rates(optimizer, variables, dict.fromkeys((v.key for v in variables), 1.0))
    return optimizer


def set_learning_rates(
    optimizer: drjit.opt.Optimizer, variables: Sequence[Variable], factors: Mapping[str, float]
) -> None:
    """Give every variable its own learning rate, times its factor."""
    optimizer.set_learning_rate({v.key: v.learning_rate * factors[v.key] for v in variables})


def step(optimizer: drjit.opt.Optimizer, variables: Sequence[Variable]) -> None:
    """Take a step; uniform variables with the uniform variant of Adam, if it is Adam.

    It divides by the largest second moment instead of each number's own, so that a smooth gradient stays smooth
    [Nicolet et al. 2021, "Large steps in inverse rendering of geometry"]. So a single outlier, such as a rare sample of
    a silhouette, would shorten the steps of all numbers for hundreds of steps; it is cut first.
    """
    uniform = [v.key for v in variables if v.is_uniform]
    if not uniform or not isinstance(optimizer, drjit.opt.Adam):
        optimizer.step()
        return
    chosen, state = optimizer.uniform, optimizer.state
    groups = [(True, uniform), (chosen, [key for key in state if key not in uniform])]
    for key in uniform:
        _cut_outliers(optimizer, key)
    try:
        for is_uniform, keys in groups:
            optimizer.uniform, optimizer.state = is_uniform, {key: state[key] for key in keys}
            optimizer.step()
            state.update(optimizer.state)
    finally:
        optimizer.uniform, optimizer.state = chosen, state


def _cut_outliers(optimizer: drjit.opt.Adam, key: str) -> None:
    """Limit a gradient by what earlier steps let expect."""
    count, _, square, _ = optimizer.state[key][3]
    expected = dr.sqrt(dr.max(square) / (1 - dr.power(optimizer.beta_2, mi.Float(count))))
    limit = dr.select(count > 0, LARGEST * expected, dr.inf)
    gradient = dr.grad(optimizer[key])
    dr.set_grad(optimizer[key], dr.clip(gradient, -limit, limit))


def transfer(
    optimizer: drjit.opt.Optimizer,
    key: str,
    latent: mi.Float,
    move: Callable[[np.ndarray], np.ndarray],
    factor: float,
) -> None:
    """Replace a variable by one of another size and carry its moments over.

    Args:
        latent: The new variable. [size]
        move: From an array like the old variable to one like the new.
        factor: By which derivatives by the new numbers are larger.
    """
    _, promoted, rate, extra = optimizer.state[key]
    is_square = isinstance(optimizer, drjit.opt.RMSProp)
    moved = {}
    for position, leaf in _leaves(extra):
        if isinstance(leaf, int) or dr.width(leaf) == 1:
            continue
        # Adam: count, first moment, second moment, largest second moment
        power = 2 if is_square or (isinstance(optimizer, drjit.opt.Adam) and position != "0.1") else 1
        moved[position] = type(leaf)((move(np.array(leaf)) * factor**power).astype(np.float32))
    optimizer[key] = latent
    value = optimizer.state[key][0]
    optimizer.state[key] = (value, promoted, rate, _rebuild(extra, moved))


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
