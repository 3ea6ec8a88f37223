"""Tables in Markdown."""

from __future__ import annotations

from itertools import groupby

from .measure import Row
from .result import Comparison

#: A mark in front of each word, so that a table reads at a glance.
MARKS = {"consistent": "✓", "biased": "✗", "inconclusive": "?", "failed": "!", "unsupported": "–"}

_COLUMNS = (
    "estimator",
    "verdict",
    "bias",
    "standard errors",
    "image bias",
    "deviation",
    "transposition",
    "cost",
    "efficiency",
    "memory",
    "why",
)
_HEADER = "| " + " | ".join(_COLUMNS) + " |\n|---|---|" + "--:|" * 8 + "---|\n"


def markdown(comparison: Comparison) -> str:
    """A heading and a table for every case."""
    parts = []
    for case, rows in groupby(comparison.rows, key=lambda row: row.case):
        picture = comparison.pictures.get(case)
        parts.append(f"## {case}\n\n")
        if picture:
            parts.append((f"{picture.hard}. " if picture.hard else "") + f"Truth: {picture.source}.\n\n")
        parts.append(_HEADER + "".join(_line(row) for row in rows) + "\n")
    return "".join(parts) + _legend(comparison)


def _line(row: Row) -> str:
    interval = ""
    if row.interval is not None:
        low, high = row.interval
        interval = f" [{percent(low)}, {percent(high)}]"
    cells = [
        f"`{row.estimator}`",
        f"{MARKS[row.word]} {row.word}",
        percent(row.relative_bias) + interval,
        number(row.standard_errors, "+.1f"),
        percent(row.image_bias, sign=False),
        percent(row.relative_deviation, sign=False),
        number(row.transposition, ".0e"),
        number(row.cost, ".1f"),
        number(row.efficiency, ".2g", "×"),
        number(row.memory, ".0f", " MiB"),
        row.reason.replace("|", "\\|"),
    ]
    return "| " + " | ".join(cells) + " |\n"


def percent(value: float | None, *, sign: bool = True) -> str:
    """A share as a percentage with about two digits."""
    if value is None:
        return ""
    digits = 2 if abs(value) < 0.01 else 1 if abs(value) < 0.1 else 0
    return f"{100 * value:{'+' if sign else ''}.{digits}f} %"


def number(value: float | None, form: str, unit: str = "") -> str:
    """A number with its unit, or nothing."""
    return "" if value is None else f"{value:{form}}{unit}"


def _legend(comparison: Comparison) -> str:
    settings = comparison.settings
    return (
        f"{settings['seeds']} seeds at {settings['spp']} spp. Bias: of Σ adjoint · image, relative, with its "
        f"{settings['confidence']:.1%} confidence interval (truncation included). Image bias: of the mean derivative "
        "image on pixel blocks, noise taken out. Deviation: of one gradient, relative. Transposition: relative "
        "difference of forward and reverse mode at equal seed. Cost: one gradient in primal "
        f"renders. Efficiency: 1/(variance · cost) over that of `{settings['baseline']}`. Memory: peak.\n"
    )
