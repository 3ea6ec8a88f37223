"""``pbdr compare``: estimators × parameters × scenes, judged against references."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import InputError
from ..seeds import MOST_SAMPLES
from ._cells import (
    ComponentOption,
    ImportOption,
    IsolateOption,
    NoCacheOption,
    RotateOption,
    ScaleOption,
    StepOption,
    TranslateOption,
    direction,
    integrators_option,
    require_parameter,
    run_and_print,
)
from ._outputs import check_folder
from .options import DefineOption, VariantOption, parse_assignments, use_variant

if TYPE_CHECKING:
    from ..compare.cases import Case
    from ..compare.study import Study
    from ..compare.study_file import StudyTable

_DEFAULT_ESTIMATORS = (
    "pbdr:boundary=silhouettes",
    "pbdr:boundary=warped_area",
    "pbdr:boundary=none",
    "path_taped",
    "prb",
    "prb_projective",
    "direct_projective",
)

#: How many times as many seeds as were asked for an inconclusive row may take
_MORE_SEEDS = 8

IntegratorsOption = integrators_option(
    "pbdr with and without boundary terms, path_taped, prb, prb_projective, direct_projective"
)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("compare")(compare)


def compare(
    sources: Annotated[
        list[str] | None, typer.Argument(metavar="[STUDY.toml | SCENE …]", help="A study file, or scenes.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="Folder for tables, figures and finished cells.")] = Path(
        "runs/compare"
    ),
    suite: Annotated[str | None, typer.Option(help="Benchmark suite, e.g. gradients.")] = None,
    cases: Annotated[str, typer.Option(help="Glob over the suite's cases; several with commas.")] = "*",
    param: Annotated[
        list[str] | None, typer.Option("--param", metavar="KEY", help="Parameter of the scenes; may be repeated.")
    ] = None,
    component: ComponentOption = None,
    translate: TranslateOption = None,
    rotate: RotateOption = None,
    scale: ScaleOption = None,
    step: StepOption = None,
    integrator: IntegratorsOption = None,
    baseline: Annotated[
        str | None, typer.Option(help="Estimator that efficiencies are relative to; default: the first.")
    ] = None,
    seeds: Annotated[int | None, typer.Option(min=2, help="Independent gradients per estimator; default 16.")] = None,
    spp: Annotated[
        int | None, typer.Option(min=1, max=MOST_SAMPLES, help="Samples per pixel of each gradient; default 64.")
    ] = None,
    budget: Annotated[
        float | None, typer.Option(min=0.1, help="Seconds for each reference and each estimator; default 60.")
    ] = None,
    isolate: IsolateOption = False,
    time_limit: Annotated[
        float | None,
        typer.Option(min=1, help="With --isolate: seconds after which a cell is given up; default 10 × budget + 300."),
    ] = None,
    imports: ImportOption = None,
    define: DefineOption = None,
    no_cache: NoCacheOption = False,
    variant: VariantOption = None,
) -> None:
    """Compare gradient estimators with references that have error bars.

    Writes results.json, table.md, figure.png and scatter.png. Finished cells are kept in the folder: run the same
    command again to go on after an interruption. Seeds are added where those asked for are inconclusive. Exit code:
    0 all consistent, 1 a biased or failed row, 4 otherwise.
    """
    check_folder(out)
    overrides = parse_assignments(define, "--define")
    use_variant(variant)
    sources = sources or []
    study_files = [source for source in sources if source.endswith(".toml")]
    options = {"component": component, "translate": translate, "rotate": rotate, "scale": scale}
    if study_files and (len(sources) > 1 or suite or param or overrides):
        raise InputError("a study file stands alone: scenes, --suite, --param and --define belong into it")
    require_parameter(param, options, step)
    stated = {"estimators": tuple(integrator or ()), "baseline": baseline, "seeds": seeds, "spp": spp}
    stated |= {"budget": budget, "imports": tuple(imports or ())}
    table = _table(study_files, suite, cases, stated)
    extra = [] if study_files else _scene_cases(sources, overrides, param or [], options, step, table.estimators)
    study = dataclasses.replace(_study(table, extra), isolate=isolate, use_cache=not no_cache, time_limit=time_limit)
    result = run_and_print(study, folder=out)
    print(f"{out}: results.json, table.md, figure.png, scatter.png")
    sys.exit(result.exit_code)


def _table(study_files: Sequence[str], suite: str | None, cases: str, stated: Mapping[str, object]) -> StudyTable:
    """What a study file says, or the command line in place of one.

    Args:
        stated: What options say, which counts more than the file.
    """
    from ..compare.study_file import StudyTable, read_study

    if study_files:
        table = read_study(Path(study_files[0]))
    else:
        table = StudyTable(estimators=_DEFAULT_ESTIMATORS, suite=suite, cases=cases)
    return table.model_copy(update={name: value for name, value in stated.items() if value})


def _scene_cases(
    sources: list[str],
    overrides: dict[str, str],
    keys: list[str],
    options: dict[str, str | None],
    step: float | None,
    estimators: Sequence[str],
) -> list[Case]:
    """A case for every scene and parameter given on the command line."""
    from ..compare.cases import scene_case
    from ..compare.estimators import stated_depth
    from ..compare.perturbations import default_direction
    from ..scene import load_scene

    if sources and not keys:
        raise InputError("scenes need at least one --param KEY; pbdr params SCENE lists them")
    cases = []
    for source in sources:
        loaded = load_scene(source, overrides)
        for key in keys:
            moved = direction(key, options, step) or default_direction(loaded, key, step=step)
            cases.append(scene_case(source, moved, overrides=overrides, max_depth=stated_depth(estimators)))
    return cases


def _study(table: StudyTable, extra: list[Case]) -> Study:
    """The study that a table and further cases describe."""
    from ..compare.cache import Precision
    from ..compare.measure import Effort
    from ..compare.study import Study
    from ..compare.study_file import study_cases

    cases = (*study_cases(table), *extra)
    if not cases:
        raise InputError("nothing to compare: give a study file, scenes with --param, or --suite gradients")
    return Study(
        cases=cases,
        estimators=table.estimators,
        baseline=table.baseline,
        effort=Effort(seeds=table.seeds, spp=table.spp, budget=table.budget, most_seeds=_MORE_SEEDS * table.seeds),
        precision=Precision(budget=table.budget),
        imports=table.imports,
    )
