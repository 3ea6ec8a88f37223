"""Errors that a user can cause, phrased for that user."""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Iterable, Iterator


class InputError(ValueError):
    """What the user gave cannot be used; the message is one sentence that says what, where and what is allowed.

    The command line prints the sentence and exits with code 2; Python users see an ordinary ``ValueError``.
    """


class MissingExtra(InputError):
    """An optional dependency is not installed.

    Example:
        >>> raise MissingExtra("large steps", package="cholespy", extra="mesh")
        Traceback (most recent call last):
        pbdr.errors.MissingExtra: large steps needs the package 'cholespy': pip install "pbdr[mesh]"
    """

    def __init__(self, what: str, *, package: str, extra: str):
        super().__init__(f"{what} needs the package '{package}': pip install \"pbdr[{extra}]\"")


class NonFiniteError(ArithmeticError):
    """A loss or gradient stayed non-finite for several steps in a row; the command line exits with code 3."""


def require_type(name: str, value: object, kind: type, hint: str = "") -> None:
    """Refuse an argument of another type.

    Args:
        hint: Ends the sentence.

    Example:
        >>> require_type("seed", "one", int)
        Traceback (most recent call last):
        pbdr.errors.InputError: 'seed' must be of type int, got a str
    """
    if not isinstance(value, kind):
        raise InputError(f"'{name}' must be of type {kind.__name__}, got a {type(value).__name__}{hint}")


def raise_interrupt(error: BaseException) -> None:
    """Raise ``KeyboardInterrupt`` if that is what an error came from, and nothing otherwise.

    Ctrl-C while a loop, a frozen function or a rendering is being recorded leaves Dr.Jit as a ``RuntimeError``; whoever
    catches one and goes on would ignore the user.
    """
    _raise_cause(error, KeyboardInterrupt)


def _raise_cause(error: BaseException, kind: type[BaseException]) -> None:
    """Raise what an error came from, if that is of the given kind."""
    for cause in causes(error):
        if isinstance(cause, kind):
            raise kind(*cause.args) from error


def causes(error: BaseException) -> Iterator[BaseException]:
    """An error, what it was raised from, and so on."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__


@contextlib.contextmanager
def unwrapped() -> Iterator[None]:
    """Let Ctrl-C leave as ``KeyboardInterrupt`` and refusals as ``InputError``, whatever Dr.Jit has made of them."""
    try:
        yield
    except RuntimeError as error:
        raise_interrupt(error)
        _raise_cause(error, InputError)
        raise


def closest(name: str, candidates: Iterable[str], count: int = 3) -> list[str]:
    """The candidates that a misspelled name most likely meant, best first.

    Args:
        name: What the user wrote.
        candidates: What would have been allowed.
        count: How many to return at most.

    Example:
        >>> closest("reflectence", ["reflectance", "radiance"])
        ['reflectance']
    """
    candidates = list(candidates)
    matches = difflib.get_close_matches(name, candidates, n=count, cutoff=0.5)
    # A key typed without its prefix ("alpha" for "glossy.bsdf.alpha.value") is closer than the ratio says
    matches += [c for c in candidates if name and name.lower() in c.lower() and c not in matches]
    return matches[:count]


def suggestion(name: str, candidates: Iterable[str], *, allowed: str = "allowed") -> str:
    """The tail of an error sentence: the closest matches for a typo, else everything that is allowed.

    Example:
        >>> suggestion("adm", ["adam", "sgd"])
        "; did you mean 'adam'?"
    """
    candidates = sorted(candidates)
    matches = closest(name, candidates)
    if matches:
        return "; did you mean " + " or ".join(f"'{m}'" for m in matches) + "?"
    if not candidates:
        return ""
    shown = ", ".join(candidates[:12]) + (", …" if len(candidates) > 12 else "")
    return f"; {allowed}: {shown}"
