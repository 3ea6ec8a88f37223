"""Options that several commands share, and choosing the variant for the command line."""

from __future__ import annotations

import re
import sys
from typing import Annotated

import typer

from ..errors import InputError

#: ``--variant``: annotate the parameter with it, default None, and hand the value to :func:`use_variant`
VariantOption = Annotated[
    str | None,
    typer.Option(
        "--variant",
        help="Mitsuba variant, e.g. llvm_ad_rgb; default: cuda_ad_rgb if it can run here, else llvm_ad_rgb.",
    ),
]

#: ``--seed``: Mitsuba's samplers take 32 bits
SeedOption = Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Seed of the random numbers.")]

#: ``--set KEY=VALUE``, which may be repeated
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a value; may be repeated.")
]

#: ``--define KEY=VALUE`` for the ``<default>`` parameters of a scene file
DefineOption = Annotated[
    list[str] | None,
    typer.Option(
        "-D", "--define", metavar="NAME=VALUE", help="Value for a <default> of the scene file; may be repeated."
    ),
]


def use_variant(name: str | None) -> str:
    """Choose and set the Mitsuba variant of a command.

    Args:
        name: What the user asked for; None for the best one that can run here.

    Returns:
        The variant that is now set.
    """
    import mitsuba as mi

    from ..variants import default_variant, require_variant

    variant = require_variant(name) if name else default_variant()
    mi.set_log_level(mi.LogLevel.Error)
    mi.set_variant(variant)
    mi.set_log_level(mi.LogLevel.Warn)
    _log_to_stderr()
    return variant


def _log_to_stderr() -> None:
    """Send Mitsuba's warnings to stderr, each once and plain; by default they would mix with a command's output."""
    import mitsuba as mi

    said = set()
    date_and_place = re.compile(r"^[\d-]+ [\d:]+ [A-Z]+\s+(\[\w+\.py:\d+\] \w+\(\): )?")

    class PlainLines(mi.Appender):
        def append(self, level: mi.LogLevel, text: str) -> None:
            plain = date_and_place.sub("", re.sub(r"\x1b\[\d*m", "", text).strip())
            if plain not in said:
                said.add(plain)
                print(f"warning: {plain}", file=sys.stderr)

        def log_progress(self, *progress: object) -> None:
            pass

    mi.logger().clear_appenders()
    mi.logger().add_appender(PlainLines())


def parse_assignments(assignments: list[str] | None, option: str = "--set") -> dict[str, str]:
    """Split repeated ``KEY=VALUE`` arguments.

    Example:
        >>> parse_assignments(["metal.alpha.value=0.2"])
        {'metal.alpha.value': '0.2'}
    """
    pairs = {}
    for text in assignments or []:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            what = "NAME=VALUE" if option == "--define" else "KEY=VALUE"
            raise InputError(f"{option} needs {what}, got '{text}'")
        pairs[key.strip()] = value.strip()
    return pairs
