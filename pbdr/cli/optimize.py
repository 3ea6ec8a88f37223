"""``pbdr optimize``: recover the parameters of a job."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ._outputs import check_folder
from .options import SetOption, VariantOption, parse_assignments, use_variant

if TYPE_CHECKING:
    from ..optimize import Result, Step


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("optimize")(optimize)


def optimize(
    job: Annotated[str, typer.Argument(help="Job file (TOML), folder with a job.toml, or bundled scene.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Run folder; default: runs/<name of the job>.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier run in the folder.")] = False,
    steps: Annotated[int | None, typer.Option(help="Number of steps; default: the job's.")] = None,
    minutes: Annotated[
        float | None, typer.Option(help="End after this many minutes, before the last step if need be.")
    ] = None,
    assignments: SetOption = None,
    variant: VariantOption = None,
) -> None:
    """Recover scene parameters from images.

    --set changes entries of the job, e.g. --set steps=20 or --set parameters.0.learning_rate=0.1.
    """
    use_variant(variant)
    from ..capabilities import automatic_boundary
    from ..optimize import Problem, load_job
    from ..optimize.job import locate_job
    from ..optimize.loop import optimize as run_problem
    from ..optimize.symptoms import ambiguities, never_due, quicker

    if minutes is not None:
        assignments = [*(assignments or []), f"minutes={minutes}"]
    checked = load_job(job, parse_assignments(assignments))
    name = locate_job(job).resolve()
    folder = out or Path("runs") / (name.parent.name if name.stem == "job" else name.stem)
    check_folder(folder)
    problem = Problem.from_job(checked)
    title, taken = checked.description or job, partial(automatic_boundary, problem.integrator)
    count = steps or checked.steps
    notes = [*ambiguities(problem), *never_due(problem, count), *quicker(problem)]
    with _Display(title, count, taken, notes) as display:
        try:
            result = run_problem(
                problem, steps=steps, out=folder, resume=resume, overwrite=overwrite, progress=display.show
            )
        except KeyboardInterrupt:
            again = _resume_command(job, folder, steps, assignments, variant)
            display.interrupted = f"stopped; continue with: {again}"
            raise
    _print_result(result)


def _resume_command(
    job: str, folder: Path, steps: int | None, assignments: list[str] | None, variant: str | None
) -> str:
    """What to type to go on with the same run."""
    words = ["pbdr", "optimize", job, "--out", str(folder), "--resume"]
    words += ["--steps", str(steps)] if steps is not None else []
    words += [word for text in assignments or [] for word in ("--set", text)]
    words += ["--variant", variant] if variant else []
    return shlex.join(words)


class _Display:
    """A progress bar on a terminal; plain lines elsewhere."""

    def __init__(self, title: str, steps: int, boundary: Callable[[], str | None], remarks: Sequence[str]):
        self.title, self.steps, self.boundary, self.remarks = title, steps, boundary, remarks
        self.is_terminal = sys.stdout.isatty()
        self.interrupted = ""
        self._bar = None

    def __enter__(self) -> _Display:
        print(self.title)
        if self.is_terminal:
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            self._bar = Progress(
                MofNCompleteColumn(),
                BarColumn(),
                TextColumn("{task.description}"),
                TimeRemainingColumn(),
            )
            self._task = self._bar.add_task("compiling", total=self.steps)
            self._bar.start()
        return self

    def show(self, step: Step) -> None:
        """Report one step."""
        if self.boundary and (name := self.boundary()):
            print(f"boundary: {name}, chosen by boundary = 'auto'")
        for remark in self.remarks:
            print(f"note: {remark}", file=sys.stderr)
        self.boundary, self.remarks = None, ()
        if step.problem:
            print(f"step {step.index}: {step.problem}; the step is left out", file=sys.stderr)
        for note in step.notes:
            print(f"step {step.index}: {note}", file=sys.stderr)
        if self._bar:
            said = f"loss {step.loss:.3g}  {1000 * step.seconds:.0f} ms per step"
            self._bar.update(self._task, completed=step.index + 1, description=said)
        elif step.index % max(1, step.count // 20) == 0 or step.index + 1 == step.count:
            left = step.seconds * (step.count - step.index - 1)
            print(
                f"step {step.index + 1}/{step.count}  loss {step.loss:.4g}  "
                f"{1000 * step.seconds:.0f} ms  {left:.0f} s left",
                flush=True,
            )

    def __exit__(self, *exception: object) -> None:
        if self._bar:
            self._bar.stop()
        if self.interrupted:
            print(self.interrupted, file=sys.stderr)


def _print_result(result: Result) -> None:
    """A table of what was recovered, and where it lies."""
    from rich.console import Console
    from rich.table import Table

    def text(value: object) -> str:
        if isinstance(value, dict):
            return f"mean {value['mean']:.4g} ({value['min']:.3g} … {value['max']:.3g})"
        if isinstance(value, list):
            return ", ".join(f"{x:.4f}" for x in _flat(value))
        return f"{value:.4f}"

    table = Table("parameter", "initial", "final", "true", "error")
    for key, entry in result.parameters.items():
        truth = text(entry["true"]) if "true" in entry else "–"
        error = f"{entry['error']:.4f}" if "error" in entry else "–"
        name = f"{key} ({entry['unit']})" if "unit" in entry else key
        table.add_row(name, text(entry["initial"]), text(entry["final"]), truth, error)
    console = Console(width=None if sys.stdout.isatty() else 160)
    console.print(table)
    change = _change(result.loss_initial, result.loss_final)
    print(f"loss {result.loss_initial:.4g} → {result.loss_final:.4g}{change} in {result.seconds:.1f} s")
    for name, counts in result.meshes.items():
        print(f"mesh {name}: " + ", ".join(f"{count} {what.replace('_', '-')}" for what, count in counts.items()))
    print(f"report: {result.folder / 'report.png'}")


def _change(initial: float, final: float) -> str:
    """By what factor the loss has fallen or risen, if both numbers have one.

    Example:
        >>> _change(2.0, 1.0)
        ' (2 times lower)'
    """
    if not (initial > 0 and final > 0):
        return ""
    ratio, word = (initial / final, "lower") if final <= initial else (final / initial, "higher")
    if ratio < 1.05:
        return " (hardly changed)"
    return f" ({ratio:.0f} times {word})" if ratio >= 10 else f" ({ratio:.2g} times {word})"


def _flat(value: list) -> list:
    return [x for item in value for x in (_flat(item) if isinstance(item, list) else [item])]
