"""Reading ``study.toml``: which scenes, parameters and estimators are compared."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated

import mitsuba as mi
import pydantic

from ..errors import InputError, suggestion
from ..messages import requirement
from ..scene import load_scene
from ..seeds import MOST_SAMPLES
from .cases import Case, scene_case, suite_cases
from .perturbations import Perturbation, default_direction, direction_from

Triple = tuple[float, float, float]


class _Table(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)


class ParameterTable(_Table):
    """``[[scenes.parameters]]``: a key and how it moves."""

    key: str
    component: Annotated[tuple[int, ...], pydantic.Field(min_length=1)] | None = None
    translate: Triple | None = None
    rotate: Triple | None = None
    scale: Triple | None = None
    step: Annotated[float, pydantic.Field(gt=0)] | None = None


class SceneTable(_Table):
    """``[[scenes]]``: a scene file or bundled scene, and its parameters."""

    scene: str
    parameters: Annotated[tuple[ParameterTable, ...], pydantic.Field(min_length=1)]
    scene_parameters: dict[str, bool | int | float | str] = pydantic.Field(default_factory=dict)
    max_depth: int | None = None
    sensor: Annotated[int, pydantic.Field(ge=0)] = 0


class StudyTable(_Table):
    """A whole study file.

    Example:
        >>> StudyTable(estimators=["prb"], suite="gradients", cases="shadow_*").estimators
        ('prb',)
    """

    estimators: Annotated[tuple[str, ...], pydantic.Field(min_length=1)]
    baseline: str | None = None
    suite: str | None = None
    cases: str = "*"
    scenes: tuple[SceneTable, ...] = ()
    imports: tuple[str, ...] = ()
    seeds: Annotated[int, pydantic.Field(ge=2)] = 16
    spp: Annotated[int, pydantic.Field(ge=1, le=MOST_SAMPLES)] = 64
    budget: Annotated[float, pydantic.Field(gt=0)] = 60.0


def read_study(path: Path) -> StudyTable:
    """Read and check a study file; paths in it are relative to it.

    Args:
        path: A TOML file.
    """
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise InputError(f"the study '{path}' cannot be read: {error.strerror}") from error
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{path}: malformed TOML: {error}") from error
    try:
        table = StudyTable.model_validate(data)
    except pydantic.ValidationError as error:
        raise InputError(f"{path}: {_first_problem(error)}") from error
    scenes = tuple(
        entry.model_copy(update={"scene": str(path.parent / entry.scene)})
        if (path.parent / entry.scene).exists()
        else entry
        for entry in table.scenes
    )
    return table.model_copy(update={"scenes": scenes})


def study_cases(table: StudyTable) -> list[Case]:
    """The cases of a study file, those of a suite first."""
    cases = suite_cases(table.suite, table.cases) if table.suite else []
    for entry in table.scenes:
        loaded = load_scene(entry.scene, entry.scene_parameters)
        settings = {"overrides": entry.scene_parameters, "max_depth": entry.max_depth, "sensor": entry.sensor}
        for parameter in entry.parameters:
            direction = _direction(loaded, parameter)
            cases.append(scene_case(entry.scene, direction, **settings))
    return cases


def _direction(scene: mi.Scene, parameter: ParameterTable) -> Perturbation:
    options = parameter.model_dump(exclude={"key"})
    return direction_from(parameter.key, **options) or default_direction(scene, parameter.key, step=parameter.step)


def _first_problem(error: pydantic.ValidationError) -> str:
    """One sentence about the first thing that is wrong."""
    problem = error.errors()[0]
    place = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        tables = (StudyTable, SceneTable, ParameterTable)
        known = tables[min(len(problem["loc"]) // 2, 2)].model_fields
        return f"there is no key '{place}'{suggestion(str(problem['loc'][-1]), known)}"
    if problem["type"] == "missing":
        return f"the key '{place}' is missing"
    return f"'{place}' {requirement(problem)}, got {problem['input']!r}"
