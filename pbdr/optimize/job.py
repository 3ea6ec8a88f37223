"""Job files: what to recover from which images, in TOML (docs/jobs.md)."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path

import pydantic

from .. import resources
from ..errors import InputError, suggestion
from ..messages import requirement
from .entries import (
    PARAMETER_KINDS,
    AnyParameter,
    Initial,
    Integrator,
    OptimizerEntry,
    Output,
    PointEntry,
    RotationEntry,
    ScaleEntry,
    TranslationEntry,
)
from .losses.entry import LossEntry
from .meshes.entry import RegularizationEntry, RemeshEntry
from .priors import PriorEntry
from .schedules import SamplingEntry, ScheduleEntry, StoppingEntry
from .section import Positive, Samples, Section
from .user_functions import is_import_path, locate_function
from .views.entry import IMAGES, ExposureEntry, View


class Job(Section):
    """A whole job file, checked."""

    description: str = ""
    scene: str
    scene_parameters: dict[str, bool | int | float | str] = pydantic.Field(default_factory=dict)
    integrator: Integrator = Integrator()
    spp: Samples = 16
    spp_gradient: Samples | None = None
    control_variate: bool = False
    allocation: bool = False
    sampling: SamplingEntry = SamplingEntry()
    spp_evaluation: Samples = 256
    seed: int = pydantic.Field(default=0, ge=0)
    steps: int = pydantic.Field(default=100, ge=1)
    learning_rate_final: float = pydantic.Field(default=0.1, gt=0, le=1)
    schedule: ScheduleEntry = ScheduleEntry()
    minutes: Positive | None = None
    stopping: StoppingEntry | None = None
    batch: int | None = pydantic.Field(default=None, ge=1)
    loss: str = "relative_l2"
    losses: tuple[LossEntry, ...] = ()
    priors: tuple[PriorEntry, ...] = ()
    optimizer: OptimizerEntry = OptimizerEntry()
    views: list[View] = pydantic.Field(min_length=1)
    parameters: list[AnyParameter] = pydantic.Field(min_length=1)
    output: Output = Output()

    @pydantic.model_validator(mode="after")
    def _check(self) -> Job:
        if self.losses and "loss" in self.model_fields_set:
            raise ValueError("a job has either 'loss' or a list of 'losses'")
        return self


def locate_job(source: str | Path) -> Path:
    """The job file that a path, a folder, a bundled scene's name or ``NAME/FILE`` of a bundled job means."""
    path = Path(source)
    if path.suffix == ".xml":
        raise InputError(f"'{source}' is a scene; a job is a TOML file that names a scene, views and parameters")
    if path.is_file():
        return path
    if path.is_dir() and (path / "job.toml").is_file():
        return path / "job.toml"
    bundled = resources.folder("scenes") / str(source)
    for file in (bundled / "job.toml", bundled):
        if file.is_file() and file.suffix == ".toml":
            return file
    if path.is_dir():
        raise InputError(f"the folder '{source}' has no job.toml")
    names = [n for n in resources.scene_names() if (resources.folder("scenes") / n / "job.toml").is_file()]
    raise InputError(f"'{source}' is neither a job file nor a bundled job{suggestion(str(source), names)}")


def load_job(source: str | Path, overrides: Mapping[str, str] | None = None) -> Job:
    """Read and check a job; its paths come back absolute.

    Args:
        source: A TOML file, a folder with a ``job.toml``, or the name of a bundled scene.
        overrides: Dotted entries and their values as TOML, e.g. ``{"parameters.0.learning_rate": "0.1"}``.

    Example:
        >>> load_job("cornell_box", {"steps": "20"}).steps
        20
    """
    path = locate_job(source)
    try:
        # Some editors put a mark of the byte order before the text
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text: {error.reason} at byte {error.start}") from None
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{path}: not valid TOML: {error}") from None
    if isinstance(data.get("views"), str):
        data["views"] = _read_views(path.parent / data["views"], path.parent)
    for entry, value in sorted((overrides or {}).items(), key=lambda item: item[0] not in _REPLACED):
        _override(data, entry, value)
    job = check_job(data, path, text, overrides or {})
    return _with_absolute_paths(job, path.resolve().parent)


def _read_views(file: Path, folder: Path) -> list:
    """The views that a file of its own lists, with paths relative to the job's folder.

    Args:
        folder: Of the job file.
    """
    if not file.is_file():
        raise InputError(f"'views' names the file '{file}', which does not exist")
    try:
        views = tomllib.loads(file.read_text(encoding="utf-8-sig"))["views"]
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, KeyError) as error:
        raise InputError(f"{file}: not a TOML file with a list 'views': {error}") from None
    if not isinstance(views, list):
        raise InputError(f"{file}: 'views' must be a list of tables [[views]], got {views!r}")
    for view in views:
        for name in IMAGES:
            if isinstance(view, dict) and isinstance(view.get(name), str):
                view[name] = os.path.relpath((file.parent / view[name]).resolve(), folder.resolve())
    return views


def check_job(
    data: Mapping, path: Path | None = None, text: str = "", overrides: Mapping[str, str] | None = None
) -> Job:
    """A job from its entries, or one sentence about the first that is wrong.

    Args:
        data: The entries, as a job file would hold them.
        path: The file that they come from, if any, and its ``text``, for error sentences.
        overrides: Entries that were changed since.
    """
    try:
        return Job.model_validate(_with_groups(data))
    except pydantic.ValidationError as error:
        raise InputError(_sentence(_first(error.errors()), path, text, overrides or {})) from None


def _with_groups(data: Mapping) -> Mapping:
    """The entries with each parameter's group spelled out in it."""
    groups, parameters = data.get("groups", {}), data.get("parameters")
    if not isinstance(groups, Mapping) or not all(isinstance(group, Mapping) for group in groups.values()):
        raise InputError("'groups' must be tables [groups.NAME] of a parameter's entries")
    if keyed := [name for name, group in groups.items() if "key" in group]:
        raise InputError(f"[groups.{keyed[0]}]: each parameter has its own 'key'; a group has none")
    if not isinstance(parameters, list):
        return data
    used, resolved = set(), []
    for position, entry in enumerate(parameters):
        name = entry.get("group") if isinstance(entry, Mapping) else None
        if name is None:
            resolved.append(entry)
            continue
        if not isinstance(name, str) or name not in groups:
            raise InputError(f"parameters.{position}: there is no table [groups.{name}]{suggestion(str(name), groups)}")
        used.add(name)
        resolved.append({**groups[name], **{key: value for key, value in entry.items() if key != "group"}})
    if unused := [name for name in groups if name not in used]:
        raise InputError(f"[groups.{unused[0]}]: no parameter has group = '{unused[0]}'")
    return {**{key: value for key, value in data.items() if key != "groups"}, "parameters": resolved}


#: Entries that, changed to a name, replace the whole table
_REPLACED = ("optimizer", "optimizer.type", "integrator")


def _override(data: dict, entry: str, value: str) -> None:
    """Set one dotted entry; numbers in it count list items."""
    try:
        parsed = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        parsed = value
    if entry in _REPLACED:
        # Options of another method would not be its own
        entry, parsed = entry.partition(".")[0], {"type": parsed} if isinstance(parsed, str) else parsed
    *parents, last = entry.split(".")
    at: object = data
    for name in parents:
        if isinstance(at, list):
            if not name.isdigit() or int(name) >= len(at):
                raise InputError(f"--set {entry}: '{name}' is no position in a list of {len(at)}, which start at 0")
            at = at[int(name)]
        elif isinstance(at, dict):
            at = at.setdefault(name, {})
        else:
            raise InputError(f"--set {entry}: '{name}' lies inside a plain value")
    if isinstance(at, list):
        if not last.isdigit() or int(last) >= len(at):
            raise InputError(f"--set {entry}: '{last}' is no position in a list of {len(at)}, which start at 0")
        at[int(last)] = parsed
    elif isinstance(at, dict):
        at[last] = parsed
    else:
        raise InputError(f"--set {entry}: '{last}' lies inside a plain value")


def _sentence(problem: dict, path: Path | None, text: str, overrides: Mapping[str, str]) -> str:
    """One sentence for the first problem that pydantic found."""
    location, kind = _location(problem)
    name = ".".join(map(str, location))
    where = f"{path}, line {_line(text, location)}: " if path else ""
    if changed := [entry for entry in overrides if f"{name}.".startswith(f"{entry}.")]:
        where = f"--set {changed[-1]}: "
    if problem["type"] == "extra_forbidden":
        known = _allowed(location[:-1], kind)
        return f"{where}there is no entry '{name}'{suggestion(str(location[-1]), known)}"
    if problem["type"] == "missing":
        return f"{where}the entry '{name}' is missing"
    if problem["type"] == "union_tag_invalid":
        found = problem["ctx"]["tag"]
        return f"{where}'{name}.kind' is '{found}', which does not exist{suggestion(found, PARAMETER_KINDS)}"
    if problem["type"] in ("model_type", "model_attributes_type"):
        return f"{where}'{name}' is {problem['input']!r}, but must be a table"
    if problem["type"] == "list_type" and isinstance(problem["input"], Mapping):
        return f"{where}'{name}' is one table, but must be a list of them: [[{name}]]"
    if problem["type"] == "value_error":
        return f"{where}{f'{name!r}: ' if name else ''}{problem['ctx']['error']}"
    return f"{where}'{name}' is {problem['input']!r}, but {problem['requirement']}"


def _first(problems: list[dict]) -> dict:
    """The problem that says most, with its ``requirement``."""
    # A misspelled entry says more than the one that is missing for it
    first = min(problems, key=lambda problem: problem["type"] != "extra_forbidden")
    # Where a value may be of several types, the one that it nearly was complains from deepest inside
    place = _location(first)[0]
    same = [problem for problem in problems if _location(problem)[0][: len(place)] == place]
    deepest = max(same, key=lambda problem: len(_location(problem)[0]))
    choices = [requirement(problem) for problem in same if _location(problem) == _location(deepest)]
    *others, last = dict.fromkeys(choices)
    words = f"{', '.join(others)} or {last}" if others else last
    return {**deepest, "requirement": words.replace(", must be ", ", ").replace(" or must be ", " or ")}


def _location(problem: dict) -> tuple[list, str]:
    """Where a problem is, as names and positions of the job file, and the kind of the parameter that it concerns."""
    # pydantic also names the types among which a value may choose
    types = ("function", "list[", "tuple[", "constrained-")
    location = [part for part in problem["loc"] if not (isinstance(part, str) and part.startswith(types))]
    location = [part for part in location if part not in ("float", "str", "int", "bool", ExposureEntry.__name__)]
    kind = "value"
    if location[:1] == ["parameters"] and len(location) > 2 and location[2] in PARAMETER_KINDS:
        kind = location.pop(2)
    return location, kind


def _allowed(location: list, kind: str) -> list[str]:
    """Names of the entries that a section may have.

    Args:
        kind: Of the parameter, where the section belongs to one.
    """
    sections = {"views": View, "exposure": ExposureEntry, "parameters": PARAMETER_KINDS[kind], "output": Output}
    sections |= {"losses": LossEntry, "priors": PriorEntry}
    sections |= {"schedule": ScheduleEntry, "sampling": SamplingEntry, "stopping": StoppingEntry}
    sections |= {"rotation": RotationEntry, "translation": TranslationEntry, "scale": ScaleEntry}
    sections |= {"origin": PointEntry, "target": PointEntry}
    sections |= {"regularization": RegularizationEntry, "remesh": RemeshEntry}
    inner = [sections[part] for part in location if part in sections]
    return list((inner[-1] if inner else Job).model_fields)


def _line(text: str, location: list) -> int:
    """Line of an entry in the file, counted from 1; that of its section if it stands nowhere."""
    section, count, found = [], {}, 1
    for number, line in enumerate(text.splitlines(), start=1):
        if match := re.match(r"\s*\[\[?([\w.\s\"-]+)\]\]?", line):
            name = match[1].strip()
            count[name] = count.get(name, -1) + 1
            section = [name, count[name]] if line.lstrip().startswith("[[") else name.split(".")
            if section == location[: len(section)]:
                found = number
        elif match := re.match(r"\s*\"?([\w.-]+)\"?\s*=", line):
            entry = [*section, *match[1].split(".")]
            if entry == location[: len(entry)]:
                return number
    return found


def with_absolute_images(view: View, folder: Path) -> View:
    """Resolve the images that a view names against a folder."""
    files = {name: getattr(view, name) for name in IMAGES}
    return view.model_copy(update={name: file and str((folder / file).resolve()) for name, file in files.items()})


def _with_absolute_paths(job: Job, folder: Path) -> Job:
    """Resolve paths against the job file's folder; a scene may also be a bundled one."""

    def absolute(name: str) -> str:
        return str((folder / name).resolve())

    def values(initial: Initial | None) -> Initial | None:
        return (
            absolute(initial)
            if isinstance(initial, str) and initial not in ("current", "uniform", "noise")
            else initial
        )

    def network(name: str | None) -> str | None:
        if name is None or is_import_path(name):
            return name and locate_function(name, folder)
        return absolute(name)

    bundled = resources.folder("scenes") / job.scene / "scene.xml"
    scene = str(bundled) if bundled.is_file() and not (folder / job.scene).exists() else absolute(job.scene)
    if not Path(scene).exists() and Path(job.scene).name == job.scene and not Path(job.scene).suffix:
        hint = suggestion(job.scene, resources.scene_names(), allowed="bundled")
        raise InputError(f"'scene' is '{job.scene}', which is neither a file beside the job nor a bundled scene{hint}")
    views = [with_absolute_images(view, folder) for view in job.views]
    files = {"value": ("initial", "true"), "mesh": ("true",), "pose": (), "look_at": ()}
    parameters = [
        p.model_copy(update={name: values(getattr(p, name)) for name in files[p.kind]}) for p in job.parameters
    ]
    losses = tuple(
        entry.model_copy(update={"type": locate_function(entry.type, folder), "network": network(entry.network)})
        for entry in job.losses
    )
    priors = tuple(entry.model_copy(update={"type": locate_function(entry.type, folder)}) for entry in job.priors)
    update = {"scene": scene, "views": views, "parameters": parameters, "priors": priors}
    # An entry that is set counts as chosen
    update |= {"losses": losses} if losses else {"loss": locate_function(job.loss, folder)}
    return job.model_copy(update=update)
