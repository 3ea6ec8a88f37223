"""Velocity fields for warped-area sampling: one a file, found by name."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable

from ...errors import InputError, suggestion
from ...transport.velocity import VelocityField

_fields: dict[str, type[VelocityField]] = {}


def register(name: str) -> Callable[[type[VelocityField]], type[VelocityField]]:
    """Class decorator that makes a field available as ``warp_field="name"``."""

    def add(field: type[VelocityField]) -> type[VelocityField]:
        field.name = name
        _fields[name] = field
        return field

    return add


def names() -> list[str]:
    """The velocity fields that exist, sorted.

    Example:
        >>> "blend" in names()
        True
    """
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
    return sorted(_fields)


def find(name: str) -> type[VelocityField]:
    """The velocity field of a name."""
    if name not in names():
        raise InputError(f"'warp_field' is '{name}', which does not exist{suggestion(name, _fields)}")
    return _fields[name]
