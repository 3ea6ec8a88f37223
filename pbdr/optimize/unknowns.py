"""What a job's list of parameters means in a scene."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

import mitsuba as mi

from ..capabilities import refusal
from ..errors import InputError
from ..scene_parameters import ParameterInfo, describe_parameters, find_parameters
from .aims import Aim, make_aims
from .entries import AnyParameter
from .grids import Refinement, make_refinement
from .meshes.unknown import MeshUnknown, make_meshes
from .parameters import Variable, is_environment_map, make_variable
from .poses import Pose, make_poses
from .schedules import ScheduleEntry


@dataclasses.dataclass
class Unknowns:
    """All that is to be recovered from a scene."""

    variables: list[Variable] = dataclasses.field(default_factory=list)  #: all, those of poses and meshes included
    poses: list[Pose | Aim] = dataclasses.field(default_factory=list)
    meshes: list[MeshUnknown] = dataclasses.field(default_factory=list)
    refinements: list[Refinement] = dataclasses.field(default_factory=list)
    schedules: dict[str, ScheduleEntry] = dataclasses.field(default_factory=dict)  #: by key, where not the job's
    moving: str = ""  #: key of a parameter that moves visibility, if there is one


def make_unknowns(
    scene: mi.Scene, parameters: mi.SceneParameters, integrator: mi.Integrator, entries: Sequence[AnyParameter]
) -> Unknowns:
    """Look the parameters of a job up, and refuse what the integrator cannot differentiate.

    Args:
        parameters: Of the scene, as its file says; they take initial values, ``parameters.update()`` must follow.
        entries: The job's list.
    """
    infos = {info.key: info for info in describe_parameters(scene)}
    unknowns, places = Unknowns(), {}
    for position, entry in enumerate(entries):
        where = f"parameters.{position}"
        made, keys = _make(scene, parameters, infos.values(), entry, where)
        for key in keys:
            if reason := refusal(integrator, scene, infos[key]):
                raise InputError(f"{where}: {reason}")
            if key in places:
                raise InputError(f"{where}: parameter '{key}' is named twice, here and in {places[key]}")
            places[key] = where
            unknowns.moving = key if infos[key].discontinuous else unknowns.moving
        if entry.kind in ("pose", "look_at"):
            unknowns.poses += made
            variables = [variable for pose in made for variable in pose.parts.values()]
        elif entry.kind == "mesh":
            unknowns.meshes += made
            variables = [mesh.variable for mesh in made]
        else:
            # Refused keys have been named by now, so that values are checked for those that stay
            variables = [make_variable(scene, parameters, key, entry, where) for key in keys]
            if entry.refine:
                refined = [make_refinement(v, entry.refine, is_environment_map(scene, v.key), where) for v in variables]
                unknowns.refinements += refined
                variables = [refinement.variable for refinement in refined]
        unknowns.variables += variables
        if entry.schedule is not None:
            unknowns.schedules |= {variable.key: entry.schedule for variable in variables}
    return unknowns


def _make(
    scene: mi.Scene,
    parameters: mi.SceneParameters,
    infos: Iterable[ParameterInfo],
    entry: AnyParameter,
    where: str,
) -> tuple[list, list[str]]:
    """What an entry means, if it is no plain value, and the scene parameters that it changes."""
    if entry.kind in ("pose", "look_at"):
        made = make_poses(parameters, entry, where) if entry.kind == "pose" else make_aims(scene, entry, where)
        return made, [key for pose in made for key in pose.keys]
    if entry.kind == "mesh":
        made = make_meshes(scene, entry, where)
        return made, [mesh.variable.key for mesh in made]
    try:
        return [], find_parameters(infos, entry.key)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
