"""What ``pbdr gradient``, ``pbdr check`` and ``pbdr compare`` share: options, progress, the table."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import InputError
from ..seeds import MOST_SAMPLES

if TYPE_CHECKING:
    from ..compare.measure import Row
    from ..compare.perturbations import Perturbation
    from ..compare.result import Comparison
    from ..compare.study import Progress, Study

SeedsOption = Annotated[int, typer.Option(min=2, help="Independent gradients per estimator.")]
SppOption = Annotated[int, typer.Option(min=1, max=MOST_SAMPLES, help="Samples per pixel of each gradient.")]
BudgetOption = Annotated[
    float, typer.Option(min=0, help="Seconds for each reference, and for each estimator once it has four gradients.")
]
IsolateOption = Annotated[
    bool, typer.Option("--isolate", help="Run each estimator in its own process: a crash becomes a row.")
]
ImportOption = Annotated[
    list[str] | None,
    typer.Option("--import", metavar="MODULE", help="Module or .py file that registers integrators; may be repeated."),
]
NoCacheOption = Annotated[bool, typer.Option("--no-cache", help="Neither look up nor store references on disk.")]
ComponentOption = Annotated[
    str | None, typer.Option(metavar="I[,J,…]", help="Move one entry of the parameter, by its index.")
]
TranslateOption = Annotated[
    str | None,
    typer.Option(metavar="X,Y,Z", help="Derivative by t: move by t times a world-space vector (scene units)."),
]
RotateOption = Annotated[
    str | None,
    typer.Option(
        metavar="X,Y,Z", help="Derivative by t: turn by t radians around a world-space axis through the middle."
    ),
]
ScaleOption = Annotated[
    str | None,
    typer.Option(metavar="X,Y,Z", help="Derivative by t: scale by 1 + t times these factors along the world's axes."),
]
StepOption = Annotated[
    float | None, typer.Option(help="Step of t in the finite differences; by default from the parameter's size.")
]


def integrators_option(default: str) -> object:
    """``--integrator`` of a command that takes several.

    Args:
        default: What it takes without the option, in words.
    """
    words = f"Estimator; may be repeated. Default: {default}."
    return Annotated[list[str] | None, typer.Option("--integrator", metavar="NAME[:PROPERTY=VALUE,…]", help=words)]


def numbers(option: str, text: str | None, kind: type = float) -> tuple | None:
    """Comma-separated numbers of an option.

    Example:
        >>> numbers("--translate", "1,0,0")
        (1.0, 0.0, 0.0)
    """
    if text is None:
        return None
    try:
        return tuple(kind(part) for part in text.split(","))
    except ValueError:
        what = "integers" if kind is int else "numbers"
        raise InputError(f"{option} needs comma-separated {what}, got '{text}'") from None


def direction(key: str, options: dict[str, str | None], step: float | None) -> Perturbation | None:
    """The perturbation that the options ask for, or ``None`` if they state no direction."""
    from ..compare.perturbations import direction_from

    given = {name: numbers(f"--{name}", text, int if name == "component" else float) for name, text in options.items()}
    return direction_from(key, **given, step=step)


def require_parameter(keys: list[str] | None, options: dict[str, str | None], step: float | None) -> None:
    """Refuse options that say how a parameter moves, where none is named."""
    if not keys and (any(options.values()) or step is not None):
        raise InputError("--component, --translate, --rotate, --scale and --step need a --param")


@contextlib.contextmanager
def cell_progress(total: int) -> Iterator[Progress]:
    """A progress bar over cells on a terminal, else a line for each finished cell, on stderr."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console, start = Console(stderr=True), time.monotonic()
    if not console.is_terminal:

        def report(case: str, estimator: str, row: Row | None) -> None:
            if row is not None:
                console.print(
                    f"[{time.monotonic() - start:.0f} s] {case} · {estimator}: {row.word}, {row.reason}",
                    markup=False,
                    highlight=False,
                    soft_wrap=True,
                )

        yield report
        return

    columns = [BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.description}", markup=False)]
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=total)

        def advance(case: str, estimator: str, row: Row | None) -> None:
            bar.update(task, advance=row is not None, description=f"{case} · {estimator}")

        yield advance


def run_and_print(study: Study, *, folder: Path | None = None, json_file: Path | None = None) -> Comparison:
    """Run a study with its progress on stderr, and print its rows.

    Args:
        folder: For finished cells, tables and figures.
        json_file: For the rows.
    """
    from ..compare.study import run_study

    with cell_progress(len(study.cases) * len(study.estimators)) as progress:
        result = run_study(study, folder=folder, progress=progress)
    if folder:
        result.write(folder)
    print_rows(result.rows)
    if json_file:
        json_file.parent.mkdir(parents=True, exist_ok=True)
        json_file.write_text(result.to_json() + "\n", encoding="utf-8")
    return result


def print_rows(rows: tuple[Row, ...]) -> None:
    """The rows as a table on stdout."""
    from rich.table import Table

    from ..compare.report import MARKS, number, percent
    from ._tables import print_table

    styles = {"consistent": "green", "biased": "red", "failed": "red", "inconclusive": "yellow", "unsupported": "dim"}
    table = Table(box=None, pad_edge=False)
    for name in ("parameter", "estimator", "verdict"):
        table.add_column(name, overflow="fold")
    for name in ("bias", "± se", "image", "cost"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("why", overflow="fold")
    for row in rows:
        table.add_row(
            row.case,
            row.estimator,
            f"[{styles[row.word]}]{MARKS[row.word]} {row.word}[/]",
            percent(row.relative_bias),
            number(row.standard_errors, "+.1f"),
            percent(row.image_bias, sign=False),
            number(row.cost, ".1f", "×"),
            row.reason,
        )
    print_table(table, pipe_width=160)
