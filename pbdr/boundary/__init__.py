"""Boundary terms: one method a file, found by name."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable

from ..errors import InputError, suggestion
from .base import BoundaryTerm as BoundaryTerm
from .base import Opening as Opening

_terms: dict[str, type[BoundaryTerm]] = {}


def register(name: str) -> Callable[[type[BoundaryTerm]], type[BoundaryTerm]]:
    """Class decorator that makes a boundary term available as ``boundary="name"``."""

    def add(term: type[BoundaryTerm]) -> type[BoundaryTerm]:
        term.name = name
        _terms[name] = term
        return term

    return add


def names() -> list[str]:
    """The boundary terms that exist, sorted.

    Example:
        >>> "none" in names()
        True
    """
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
    return sorted(_terms)


def find(name: str) -> type[BoundaryTerm]:
    """The boundary term of a name."""
    if name not in names():
        raise InputError(f"'boundary' is '{name}', which does not exist{suggestion(name, _terms)}")
    return _terms[name]
