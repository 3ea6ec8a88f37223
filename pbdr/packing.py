"""Arrays inside nested dataclasses, tuples, lists and dictionaries: taken out, put back, told apart from constants."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Hashable, Sequence

import drjit as dr


class _Slot:
    """Stands where an array was."""


_SLOT = _Slot()


def pack(value: object) -> list:
    """All arrays of a nested structure, in a fixed order.

    Example:
        >>> pack({"a": mi.Float(1), "b": (2, mi.Float(3))})
        [[1], [3]]
    """
    arrays = []

    def take(leaf: object) -> object:
        arrays.append(leaf)
        return leaf

    _rebuild(value, take)
    return arrays


def unpack(structure: object, arrays: Sequence) -> object:
    """A structure, or the :func:`outline` of one, with other arrays."""
    remaining = iter(arrays)
    return _rebuild(structure, lambda _: next(remaining))


def outline(value: object) -> object:
    """A structure without its arrays."""
    return _rebuild(value, lambda _: _SLOT)


def structure_key(value: object) -> Hashable:
    """Equal for structures that differ in their arrays only."""
    if _is_array(value):
        return _Slot
    if dataclasses.is_dataclass(value):
        parts = tuple(structure_key(getattr(value, f.name)) for f in dataclasses.fields(value))
        return type(value), parts
    if isinstance(value, dict):
        return dict, tuple((key, structure_key(item)) for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return type(value), tuple(structure_key(item) for item in value)
    return value


def _is_array(value: object) -> bool:
    return value is _SLOT or isinstance(value, dr.ArrayBase) or hasattr(type(value), "DRJIT_STRUCT")


def _rebuild(value: object, replace: Callable[[object], object]) -> object:
    if _is_array(value):
        return replace(value)
    if dataclasses.is_dataclass(value):
        names = [f.name for f in dataclasses.fields(value)]
        return type(value)(**{name: _rebuild(getattr(value, name), replace) for name in names})
    if isinstance(value, dict):
        return {key: _rebuild(item, replace) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_rebuild(item, replace) for item in value)
    return value
