"""Studies: cases × estimators, run cell by cell, resumable."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import hashlib
import importlib.util
import json
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import drjit as dr
import mitsuba as mi
import numpy as np

from .. import resources
from ..errors import InputError, suggestion
from ..integrators import make_integrator, own_integrators
from ..scene import load_scene, require_emitters
from .cache import Precision, reference_for
from .cases import Case, file_name, scene_case
from .estimators import estimator_integrator, import_modules, stated_depth
from .isolation import IsolatedTask, run_isolated
from .measure import Effort, Row, failure_row, measure
from .perturbations import Perturbation, default_direction
from .references import Reference
from .result import Comparison, Picture, with_efficiency
from .statistics import Criteria


@dataclasses.dataclass(frozen=True)
class Study:
    """What is compared, and how carefully.

    Attributes:
        cases: The questions.
        estimators: Integrators by name with properties, e.g. ``pbdr:boundary=none``.
        baseline: The estimator that efficiencies are relative to; by default the first.
        effort: Gradients per estimator.
        precision: Quality of the references.
        criteria: What counts as a bias.
        imports: Modules or Python files that register integrators.
        isolate: Whether each cell runs in a process of its own.
        use_cache: Whether references are kept on disk.
        time_limit: Seconds after which an isolated cell is given up; by default far more than its budget.
        share_budget: Whether time that one case leaves of its budgets goes to those after it.
    """

    cases: tuple[Case, ...]
    estimators: tuple[str, ...]
    baseline: str | None = None
    effort: Effort = dataclasses.field(default_factory=Effort)
    precision: Precision = dataclasses.field(default_factory=Precision)
    criteria: Criteria = dataclasses.field(default_factory=Criteria)
    imports: tuple[str, ...] = ()
    isolate: bool = False
    use_cache: bool = True
    time_limit: float | None = None
    share_budget: bool = False

    def __post_init__(self):
        if not self.cases or not self.estimators:
            raise InputError("a comparison needs at least one case and one estimator")
        for field in ("seeds", "spp"):
            if getattr(self.effort, field) < 2 - (field == "spp"):
                raise InputError(
                    f"'{field}' is {getattr(self.effort, field)}, but at least 2 seeds and 1 spp are needed"
                )
        if self.baseline is not None and self.baseline not in self.estimators:
            raise InputError(
                f"baseline '{self.baseline}' is not among the estimators{suggestion(self.baseline, self.estimators)}"
            )
        repeated = {name for name in self.estimators if self.estimators.count(name) > 1}
        repeated |= {case.name for case in self.cases if sum(other.name == case.name for other in self.cases) > 1}
        if repeated:
            raise InputError(f"'{sorted(repeated)[0]}' is listed twice")
        if self.isolate and any(not case.origin for case in self.cases):
            raise InputError("--isolate needs scenes from files or suites: another process cannot see a loaded scene")
        if self.time_limit is not None and not self.isolate:
            raise InputError("--time-limit needs --isolate: only another process can be ended")

    def settings(self) -> dict:
        """What the result depends on, as JSON data."""
        return {
            "seeds": self.effort.seeds,
            "most_seeds": self.effort.most_seeds,
            "spp": self.effort.spp,
            "budget": self.effort.budget,
            "seed": self.effort.seed,
            "confidence": self.criteria.confidence,
            "negligible": self.criteria.negligible,
            "tolerance": self.criteria.tolerance,
            "power": self.criteria.power,
            "reference": dataclasses.asdict(self.precision),
            "baseline": self.baseline or self.estimators[0],
            "versions": {"mitsuba": mi.__version__, "drjit": dr.__version__, "variant": mi.variant()},
        }


#: Folders of the package that pbdr's own integrators are made of.
_INTEGRATOR_PARTS = ("boundary", "geometry", "interior", "transport")

#: Called when a cell begins (row is None) and when it is finished: case, estimator, row.
Progress = Callable[[str, str, Row | None], None]


def run_study(study: Study, *, folder: Path | None = None, progress: Progress | None = None) -> Comparison:
    """Run every cell that is not already finished.

    Args:
        study: What is compared.
        folder: Keeps finished cells in ``folder/cells``, so that an interrupted study goes on where it stopped.
        progress: Is told of every cell.
    """
    if mi.variant() is None or "_ad_" not in mi.variant():
        raise InputError(f"gradients need a variant with '_ad_', not '{mi.variant()}': e.g. llvm_ad_rgb")
    import_modules(study.imports)
    for estimator in study.estimators:
        _check_name(estimator)
    rows, pictures, spare = [], {}, 0.0
    for case in study.cases:
        start = time.perf_counter()
        gradients: dict[str, np.ndarray] = {}
        scene = case.build()
        require_emitters(scene)
        if progress:
            progress(case.name, "reference", None)
        precision = dataclasses.replace(study.precision, budget=study.precision.budget + spare)
        reference = reference_for(case, scene, precision, use_cache=study.use_cache)
        effort = dataclasses.replace(study.effort, budget=study.effort.budget + spare)
        for row, image in _cells(study, case, scene, reference, effort=effort, folder=folder, progress=progress):
            rows.append(row)
            if image is not None:
                gradients[row.estimator] = image
        pictures[case.name] = Picture(reference.image, reference.primal, gradients, case.hard, case.source)
        # Dr.Jit compiles calls of all shapes that are alive, those of a forgotten scene included
        del scene
        gc.collect()
        if study.share_budget:
            own = study.precision.budget + len(study.estimators) * study.effort.budget
            spare = max(0.0, spare + own - (time.perf_counter() - start))
    settings = study.settings()
    return Comparison(with_efficiency(rows, settings["baseline"]), pictures, settings)


def _cells(
    study: Study,
    case: Case,
    scene: mi.Scene,
    reference: Reference,
    *,
    effort: Effort,
    folder: Path | None,
    progress: Progress | None,
) -> Iterator[tuple[Row, np.ndarray | None]]:
    """The cells of one case: row and mean derivative image of each estimator."""
    for estimator in study.estimators:
        if progress:
            progress(case.name, estimator, None)
        file = _cell_file(study, case, reference, estimator, folder)
        cell = _load_cell(file)
        if cell is None:
            cell = _run_cell(study, case, scene, estimator, reference, effort=effort)
            _store_cell(file, *cell)
        if progress:
            progress(case.name, estimator, cell[0])
        yield cell


def _run_cell(
    study: Study, case: Case, scene: mi.Scene, estimator: str, reference: Reference, *, effort: Effort
) -> tuple[Row, np.ndarray | None]:
    if study.isolate:
        limit = study.time_limit or _default_time_limit(effort)
        task = IsolatedTask(estimator, effort, study.criteria, study.imports, limit)
        return run_isolated(case, reference, task)
    try:
        integrator = estimator_integrator(estimator, case.max_depth)
    except InputError:
        raise
    except Exception as error:  # the constructor of a user's integrator may raise anything
        return failure_row(case.name, estimator, error), None
    return measure(case, scene, estimator, integrator, reference, effort=effort, criteria=study.criteria)


def _default_time_limit(effort: Effort) -> float:
    """Seconds for an isolated cell: four seeds are measured whatever the budget is, and each may be slow."""
    return 10 * effort.budget + 300


def _check_name(estimator: str) -> None:
    """Refuse a misspelled integrator or property before anything is rendered."""
    with contextlib.suppress(RuntimeError):
        # What else a constructor raises becomes a row of the table
        make_integrator(estimator)


def _cell_file(study: Study, case: Case, reference: Reference, estimator: str, folder: Path | None) -> Path | None:
    """Where a cell is kept; the name changes with everything that its result depends on."""
    if folder is None:
        return None
    settings = study.settings()
    # Efficiencies are relative to the baseline, but cells do not depend on it
    del settings["baseline"]
    description = json.dumps(
        [
            settings,
            case.origin,
            case.direction.to_dict(),
            case.max_depth,
            case.reference,
            estimator,
            _code(study.imports, estimator),
        ],
        sort_keys=True,
    )
    digest = hashlib.blake2b(description.encode(), digest_size=6).hexdigest()
    return folder / "cells" / file_name(case.name) / f"{file_name(estimator)}-{digest}.json"


def _code(imports: tuple[str, ...], estimator: str) -> str:
    """A hash of the source text that may stand behind an estimator, so that a corrected one is measured again."""
    files = []
    for name in imports:
        spec = None if name.endswith(".py") else importlib.util.find_spec(name)
        files.append(Path(name) if spec is None or spec.origin is None else Path(spec.origin))
    if estimator.split(":")[0] in own_integrators():
        package = Path(resources.__file__).parent
        files += sorted(resources.folder("plugins").glob("*.py"))
        files += sorted(file for part in _INTEGRATOR_PARTS for file in (package / part).rglob("*.py"))
    digest = hashlib.blake2b(digest_size=8)
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _load_cell(file: Path | None) -> tuple[Row, np.ndarray | None] | None:
    if file is None or not file.is_file():
        return None
    data = json.loads(file.read_text(encoding="utf-8"))
    image_file = file.with_suffix(".npy")
    return Row.from_dict(data), np.load(image_file) if image_file.is_file() else None


def _store_cell(file: Path | None, row: Row, image: np.ndarray | None) -> None:
    """Write the row last, because its file says that the cell is finished."""
    if file is None:
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    if image is not None:
        np.save(file.with_suffix(".npy"), image.astype(np.float32))
    part = file.with_suffix(".part")
    part.write_text(json.dumps(dataclasses.asdict(row)), encoding="utf-8")
    part.replace(file)


def compare(
    scene: str | Path | mi.Scene,
    parameters: str | Perturbation | Sequence[str | Perturbation],
    estimators: str | Sequence[str],
    *,
    seeds: int = 16,
    spp: int = 64,
    budget: float = 60.0,
    folder: str | Path | None = None,
) -> Comparison:
    """Compare gradient estimators with finite differences, with error bars on both.

    Args:
        scene: An XML file, the name of a bundled scene, or a loaded scene.
        parameters: Keys, or perturbations that say how a parameter moves.
        estimators: Integrators by name with properties, e.g. ``["prb", "pbdr:boundary=none"]``.
        seeds: Independent gradients per estimator.
        spp: Samples per pixel of each.
        budget: Seconds for each reference, and for each estimator once it has four gradients.
        folder: Where finished cells are kept and results are written; nothing is written without it.

    Returns:
        Frozen rows with ``to_dict``, ``to_markdown``, ``to_json`` and ``figure``.

    Example:
        >>> result = pbdr.compare("cornell_box", "wall_left.brdf_0.reflectance.value", ["prb", "pbdr"])
        >>> [row.word for row in result.rows]
        ['consistent', 'consistent']
    """
    if isinstance(parameters, str | Perturbation):
        parameters = [parameters]
    estimators = (estimators,) if isinstance(estimators, str) else tuple(estimators)
    loaded = load_scene(scene) if isinstance(scene, str | Path) else scene
    directions = [p if isinstance(p, Perturbation) else default_direction(loaded, p) for p in parameters]
    study = Study(
        cases=tuple(scene_case(scene, direction, max_depth=stated_depth(estimators)) for direction in directions),
        estimators=estimators,
        effort=Effort(seeds=seeds, spp=spp, budget=budget),
        precision=Precision(budget=budget),
    )
    result = run_study(study, folder=Path(folder) if folder else None)
    if folder:
        result.write(folder)
    return result
