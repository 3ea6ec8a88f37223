"""``pbdr check``: is this gradient right?"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import InputError
from ._cells import (
    BudgetOption,
    ComponentOption,
    ImportOption,
    IsolateOption,
    NoCacheOption,
    RotateOption,
    ScaleOption,
    SeedsOption,
    SppOption,
    StepOption,
    TranslateOption,
    direction,
    integrators_option,
    require_parameter,
    run_and_print,
)
from ._outputs import check_file
from .options import DefineOption, VariantOption, parse_assignments, use_variant

if TYPE_CHECKING:
    import mitsuba as mi

    from ..compare.cases import Case
    from ..compare.perturbations import Perturbation
    from ..optimize.entries import LookAtEntry, ParameterEntry, PoseEntry
    from ..optimize.meshes.entry import MeshEntry


#: Of references: standard error over size at which no more repeats are added, and samples per pixel of each render
_PRECISION = {"relative_error": 0.004, "spp": 144}

#: How many times as many seeds as were asked for an inconclusive row may take
_MORE_SEEDS = 64

IntegratorsOption = integrators_option("that of the job, else pbdr")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("check")(check)


def check(
    source: Annotated[str, typer.Argument(metavar="SCENE|JOB", help="Scene file, bundled scene, or job.toml.")],
    param: Annotated[
        list[str] | None,
        typer.Option("--param", metavar="KEY", help="Parameter or glob; may be repeated. Default: those of the job."),
    ] = None,
    component: ComponentOption = None,
    translate: TranslateOption = None,
    rotate: RotateOption = None,
    scale: ScaleOption = None,
    step: StepOption = None,
    sensor: Annotated[
        str | None,
        typer.Option(help="Position or id of the sensor; default: the first, or that of the job's first view."),
    ] = None,
    integrator: IntegratorsOption = None,
    seeds: SeedsOption = 8,
    spp: SppOption = 64,
    budget: BudgetOption = 40.0,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the rows to this file.")] = None,
    isolate: IsolateOption = False,
    imports: ImportOption = None,
    define: DefineOption = None,
    no_cache: NoCacheOption = False,
    variant: VariantOption = None,
) -> None:
    """Check gradients against central differences with error bars.

    Exit code: 0 all consistent, 1 a biased or failed gradient, 4 inconclusive or unsupported. Without --param, the
    parameters of the job (or of the bundled scene's job) are checked with the job's integrator: large arrays along
    fixed random signs, meshes along a smooth deformation, poses along one motion of each kind. Seeds are added where
    those asked for are inconclusive, and time that one parameter leaves of its budget goes to those after it.
    """
    overrides = parse_assignments(define, "--define")
    if json_file:
        check_file(json_file)
    use_variant(variant)
    from ..compare.cache import Precision
    from ..compare.measure import Effort
    from ..compare.study import Study

    options = {"component": component, "translate": translate, "rotate": rotate, "scale": scale}
    require_parameter(param, options, step)
    if param:
        cases, own = _scene_cases(source, overrides, param, options, step, sensor or "0"), "pbdr"
    else:
        cases, own = _job_cases(source, overrides, sensor)
    study = Study(
        cases=tuple(cases),
        estimators=tuple(integrator or (own,)),
        effort=Effort(seeds=seeds, spp=spp, budget=budget, most_seeds=_MORE_SEEDS * seeds),
        precision=Precision(budget=budget, **_PRECISION),
        imports=tuple(imports or ()),
        isolate=isolate,
        use_cache=not no_cache,
        share_budget=True,
    )
    sys.exit(run_and_print(study, json_file=json_file).exit_code)


def _scene_cases(
    source: str,
    overrides: dict[str, str],
    patterns: list[str],
    options: dict[str, str | None],
    step: float | None,
    sensor: str,
) -> list[Case]:
    """A case for every parameter of a scene that matches."""
    from ..compare.cases import scene_case
    from ..compare.perturbations import default_direction
    from ..scene import load_scene, sensor_position

    if source.endswith(".toml"):
        raise InputError("--param needs a scene; a job states its own parameters")
    loaded = load_scene(source, overrides)
    keys = dict.fromkeys(key for pattern in patterns for key in _matching(loaded, pattern))
    place = sensor_position(loaded, sensor)
    moved = [direction(key, options, step) or default_direction(loaded, key, step=step) for key in keys]
    return [scene_case(source, within_bounds(loaded, each), overrides=overrides, sensor=place) for each in moved]


def _matching(scene: mi.Scene, pattern: str) -> Sequence[str]:
    """The keys that a key or glob means; a glob leaves out what cannot be differentiated."""
    from ..scene import describe_parameters, find_parameters

    infos = describe_parameters(scene)
    found = find_parameters(infos, pattern)
    if found == [pattern]:
        return found
    differentiable = {info.key for info in infos if info.differentiable}
    if not differentiable.intersection(found):
        raise InputError(f"no parameter that '{pattern}' matches is differentiable; pbdr params SCENE says why")
    return [key for key in found if key in differentiable]


def _job_cases(source: str, overrides: dict[str, str], sensor: str | None = None) -> tuple[list[Case], str]:
    """Cases for all parameters of a job, as a sensor sees them, by default its first view's; and its integrator."""
    from ..compare.cases import scene_case
    from ..optimize.job import load_job
    from ..scene import load_scene, sensor_position

    if source.endswith(".xml"):
        raise InputError("a scene file needs at least one --param KEY; pbdr params SCENE lists them")
    job = load_job(source)
    overrides = {**job.scene_parameters, **overrides}
    textures = [entry.key for entry in job.parameters if entry.kind == "value"]
    loaded = load_scene(job.scene, overrides, float_textures=textures)
    place = sensor_position(loaded, job.views[0].sensor if sensor is None else sensor)
    integrator = job.integrator.model_dump()
    name, depth = integrator.pop("type"), integrator.get("max_depth")
    moved = [
        each for place, entry in enumerate(job.parameters) for each in _directions(loaded, entry, f"parameters.{place}")
    ]
    settings = {"overrides": overrides, "max_depth": depth, "sensor": place}
    settings |= {"hide_emitters": bool(integrator.get("hide_emitters"))}
    cases = [scene_case(job.scene, each, **settings) for each in dict.fromkeys(moved)]
    properties = ",".join(f"{key}={str(value).lower()}" for key, value in integrator.items())
    return cases, f"{name}:{properties}" if properties else name


def _directions(
    scene: mi.Scene, entry: LookAtEntry | MeshEntry | ParameterEntry | PoseEntry, where: str
) -> list[Perturbation]:
    """Along what an entry of a job is checked: its values, a deformation, or each kind of motion."""
    from ..compare.perturbations import Perturbation, default_direction, smooth_deformation
    from ..geometry.mesh import find_meshes
    from ..optimize.aims import make_aims
    from ..optimize.poses import make_poses
    from ..scene import find_parameters, scene_parameters

    if entry.kind == "mesh":
        try:
            return [smooth_deformation(scene, name) for name in find_meshes(scene, entry.key)]
        except InputError as error:
            raise InputError(f"{where}: {error}") from None
    if entry.kind == "look_at":
        places = [aim.place for aim in make_aims(scene, entry, where)]
        return [move(place, (1, 1, 1)) for place in places for move in (Perturbation.rotate, Perturbation.translate)]
    if entry.kind == "pose":
        motions = {"rotation": Perturbation.rotate, "translation": Perturbation.translate, "scale": Perturbation.scale}
        poses = make_poses(scene_parameters(scene), entry, where)
        return [motions[part](pose.place, (1, 1, 1)) for pose in poses for part in pose.parts]
    try:
        keys = find_parameters(scene, entry.key)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
    return [within_bounds(scene, default_direction(scene, key)) for key in keys]


def within_bounds(scene: mi.Scene, moved: Perturbation) -> Perturbation:
    """The perturbation with a step that keeps a single value or colour physical; refused if there is no room.

    Large arrays are left alone: an image continues smoothly where a few texels leave their bounds.
    """
    from ..material_parameters import is_polynomial
    from ..optimize.constraints import default_bounds

    curve = moved.bind(scene)
    if moved.is_motion or curve.tangent.size > 16 or is_polynomial(curve.params, moved.key):
        return moved
    low, high = default_bounds(moved.key, is_environment=False)
    values = curve.flat_base()[curve.tangent != 0]
    reach, room = curve.step * float(abs(curve.tangent).max()), float(min((values - low).min(), (high - values).min()))
    if reach <= room:
        return moved
    if moved.step is not None or room < 0.1 * reach:
        raise InputError(
            f"'{moved.key}' cannot be perturbed by {reach:g}: it would leave its bounds, {low:g} to {high:g}"
        )
    return dataclasses.replace(moved, step=curve.step * room / reach)
