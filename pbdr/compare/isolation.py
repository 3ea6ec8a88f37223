"""A cell in a process of its own, so that a crash of one estimator is a row and not the end."""

from __future__ import annotations

import dataclasses
import json
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import mitsuba as mi
import numpy as np

from .cache import load_reference, store_reference
from .cases import Case, case_from_origin
from .estimators import estimator_integrator, import_modules
from .measure import Effort, Row, failure_row, measure
from .references import Reference
from .statistics import Criteria


@dataclasses.dataclass(frozen=True)
class IsolatedTask:
    """What another process is asked to measure.

    Attributes:
        estimator: Name and properties of the integrator.
        effort: How many gradients.
        criteria: What counts as a bias.
        imports: Modules or Python files that register integrators.
        time_limit: Seconds after which the process is ended.
    """

    estimator: str
    effort: Effort
    criteria: Criteria
    imports: tuple[str, ...]
    time_limit: float


def run_isolated(case: Case, reference: Reference, task: IsolatedTask) -> tuple[Row, np.ndarray | None]:
    """Measure one estimator in another process; what kills that process becomes a *failed* row."""
    with tempfile.TemporaryDirectory() as folder:
        store_reference(Path(folder) / "reference.npz", reference)
        request = {"variant": mi.variant(), "origin": case.origin, **dataclasses.asdict(task)}
        (Path(folder) / "request.json").write_text(json.dumps(request), encoding="utf-8")
        command = [sys.executable, "-m", "pbdr.compare.isolation", folder]
        try:
            process = subprocess.run(command, capture_output=True, text=True, timeout=task.time_limit)
        except subprocess.TimeoutExpired:
            return Row(case.name, task.estimator, "failed", f"no result after {task.time_limit:.0f} s"), None
        result = Path(folder) / "row.json"
        if not result.is_file():
            return Row(case.name, task.estimator, "failed", _cause_of_death(process)), None
        data = json.loads(result.read_text(encoding="utf-8"))
        image = Path(folder) / "image.npy"
        return Row.from_dict(data), np.load(image) if image.is_file() else None


def _cause_of_death(process: subprocess.CompletedProcess) -> str:
    """How a process without a result ended, in a few words."""
    if process.returncode < 0:
        return f"the process was killed by {signal.Signals(-process.returncode).name}"
    lines = [line.strip() for line in process.stderr.splitlines() if line.strip()]
    return f"the process ended with code {process.returncode}" + (f": {lines[-1][:160]}" if lines else "")


def _serve(folder: Path) -> None:
    """The other side: read the request, measure, write row and image."""
    request = json.loads((folder / "request.json").read_text(encoding="utf-8"))
    mi.set_variant(request["variant"])
    import_modules(tuple(request["imports"]))
    case, estimator = case_from_origin(request["origin"]), request["estimator"]
    try:
        integrator = estimator_integrator(estimator, case.max_depth)
    except Exception as error:  # a user's constructor may raise anything; it becomes a row of the table
        row, image = failure_row(case.name, estimator, error), None
    else:
        row, image = measure(
            case,
            case.build(),
            estimator,
            integrator,
            load_reference(folder / "reference.npz"),
            effort=Effort(**request["effort"]),
            criteria=Criteria(**request["criteria"]),
        )
    if image is not None:
        np.save(folder / "image.npy", image)
    part = folder / "row.part"
    part.write_text(json.dumps(dataclasses.asdict(row)), encoding="utf-8")
    part.replace(folder / "row.json")


if __name__ == "__main__":
    import pbdr  # noqa: F401  registers the plugins

    _serve(Path(sys.argv[1]))
