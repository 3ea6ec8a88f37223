"""An inverse problem: a scene, what is unknown in it, and the images that it should render to."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import drjit as dr
import mitsuba as mi
import numpy as np

from ..capabilities import is_own
from ..errors import InputError
from ..gradient_step import Memory
from ..integrators import make_integrator
from ..scene import load_scene, locate_scene, require_emitters
from ..scene_parameters import numbers, scene_parameters
from . import optimizers
from .aims import Aim
from .grids import Refinement
from .job import Job, check_job, load_job, with_absolute_images
from .losses.objective import Objective, make_objective
from .meshes.unknown import MeshUnknown
from .parameters import Variable, is_environment_map
from .poses import Pose
from .priors import Prior, make_priors
from .schedules import ScheduleEntry
from .unknowns import make_unknowns
from .views.view import View, make_view, require_alpha, split_arrays


@dataclasses.dataclass(frozen=True)
class Problem:
    """Everything that an optimization needs, checked.

    Example:
        >>> problem = Problem.from_job("cornell_box")
        >>> result = pbdr.optimize(problem, out="runs/box")
    """

    job: Job
    scene: mi.Scene
    integrator: mi.Integrator
    parameters: mi.SceneParameters
    variables: Sequence[Variable]  #: all of them, those of poses and meshes included
    poses: Sequence[Pose | Aim]
    views: Sequence[View]
    objective: Objective
    meshes: Sequence[MeshUnknown] = ()
    priors: Sequence[Prior] = ()
    refinements: Sequence[Refinement] = ()  #: textures that begin with fewer texels
    schedules: Mapping[str, ScheduleEntry] = dataclasses.field(default_factory=dict)  #: by key, where not the job's
    memory: Memory | None = None  #: of earlier steps, where the job wants one

    def __repr__(self) -> str:
        def count(number: int, what: str) -> str:
            return f"{number} {what}" + "s" * (number != 1)

        unknown = ", ".join(variable.key for variable in self.variables[:4]) + ", …" * (len(self.variables) > 4)
        return f"Problem({unknown}; {count(len(self.views), 'view')}, {count(self.job.steps, 'step')})"

    @classmethod
    def from_job(cls, source: str | Path | Job, overrides: Mapping[str, str] | None = None) -> Problem:
        """Load a job file and all that it names.

        Args:
            source: A TOML file, a folder with a ``job.toml``, the name of a bundled scene, or a checked job.
            overrides: Dotted entries to change, e.g. ``{"steps": "20"}``.
        """
        job = source if isinstance(source, Job) else load_job(source, overrides)
        _require_derivatives()
        return cls._check(job, _load_for(job))

    @classmethod
    def from_scene(
        cls,
        scene: mi.Scene | str | Path,
        parameters: Mapping[str, Mapping] | Sequence[str],
        targets: Sequence[np.ndarray] | None = None,
        **settings,
    ) -> Problem:
        """Pose a problem on a scene.

        Args:
            scene: Loaded with ``optimize=False``; or a file, a folder or the name of a bundled scene, with which a run
                folder gets the recovered scene as XML, too.
            parameters: Keys or globs, or a mapping from them to entries such as ``{"learning_rate": 0.05}``, in which
                ``initial`` and ``true`` may be arrays.
            targets: One linear image for each of the scene's sensors, in their order, or for each of ``views``
                [H, W, C]; None if ``views`` have them.
            settings: Other entries of a job: ``spp``, ``steps``, ``integrator`` (a name or mapping), ``views`` (a list
                of mappings; ``target``, ``mask``, ``depth`` and ``normals`` are files, whose paths start at the working
                directory, or arrays), ``loss`` (a name or a function of an image and its target), …

        Example:
            >>> problem = Problem.from_scene(scene, {"wall.bsdf.reflectance.value": {"initial": 0.5}}, [photo])
        """
        _require_derivatives()
        if not isinstance(scene, mi.Scene | str | Path):
            raise InputError(f"'scene' must be a mi.Scene, a file or a bundled scene, got a {type(scene).__name__}")
        count = 0 if targets is None else len(targets)
        views = settings.pop("views", [{"sensor": position} for position in range(count)])
        if targets is None and not views:
            raise InputError("there is nothing to match: give images as 'targets', or 'views' that name files")
        if targets is not None and count != len(views):
            raise InputError(f"there are {len(views)} views but {count} targets")
        views, arrays = split_arrays(views, targets)
        loss = settings.pop("loss") if callable(settings.get("loss")) else None
        entries = _parameter_entries(parameters)
        named = {name: settings.pop(name) for name in ("integrator", "optimizer") if name in settings}
        job = check_job(
            {
                "scene": "" if isinstance(scene, mi.Scene) else str(locate_scene(scene).resolve()),
                "views": views,
                "parameters": entries,
                **{name: {"type": value} if isinstance(value, str) else value for name, value in named.items()},
                **({} if loss is None else {"loss": f"{loss.__module__}:{loss.__qualname__}"}),
                **settings,
            }
        )
        if job.scene_parameters and isinstance(scene, mi.Scene):
            raise InputError("'scene_parameters' are for scene files, but this scene is loaded already")
        job = job.model_copy(update={"views": [with_absolute_images(view, Path.cwd()) for view in job.views]})
        return cls._check(job, scene if isinstance(scene, mi.Scene) else _load_for(job), arrays, loss)

    @classmethod
    def _check(
        cls,
        job: Job,
        scene: mi.Scene,
        arrays: Sequence[Mapping[str, np.ndarray]] | None = None,
        loss: Callable | None = None,
    ) -> Problem:
        require_emitters(scene)
        integrator = make_integrator(job.integrator.model_dump())
        objective = make_objective(job.loss if loss is None else loss, job.losses)
        parameters = scene_parameters(scene)
        unknowns = make_unknowns(scene, parameters, integrator, job.parameters)
        parameters.update()
        views = [
            make_view(scene, entry, position, {} if arrays is None else arrays[position])
            for position, entry in enumerate(job.views)
        ]
        _check_views(views, objective, unknowns.moving, is_own(integrator))
        if job.control_variate or job.allocation:
            _check_memory(objective, unknowns.moving)
        values = {variable.key: variable for variable in unknowns.variables if variable.in_scene}
        priors = make_priors(job.priors, values, lambda key: is_environment_map(scene, key))
        variables = unknowns.variables + [v.exposure for v in views if isinstance(v.exposure, Variable)]
        optimizers.make(job.optimizer, variables)
        return cls(
            job=job,
            scene=scene,
            integrator=integrator,
            parameters=parameters,
            variables=variables,
            poses=unknowns.poses,
            views=views,
            objective=objective,
            meshes=unknowns.meshes,
            priors=priors,
            refinements=unknowns.refinements,
            schedules=unknowns.schedules,
            memory=_make_memory(job),
        )

    def write_scene(self, latents: Mapping[str, mi.Float]) -> None:
        """Put the optimizer's variables into the scene, attached."""
        for variable in self.variables:
            if variable.in_scene:
                variable.write(latents[variable.key], self.parameters)
        for pose in self.poses:
            pose.write(latents, self.parameters)
        self.parameters.update()

    def values_in_scene(self) -> dict:
        """What the scene holds now of all that the variables change, by key, detached."""
        keys = [variable.key for variable in self.variables if variable.in_scene]
        keys += [key for pose in self.poses for key in pose.keys]
        return {key: dr.detach(self.parameters[key]) for key in keys}

    def scene_values(self, latents: Mapping[str, mi.Float]) -> dict[str, np.ndarray]:
        """Numbers of the scene parameters that the variables stand for, by key: what a scene file must hold."""
        if self.poses:
            with dr.suspend_grad():
                self.write_scene(latents)
        posed = [key for pose in self.poses for key in pose.keys]
        values = {v.key: v.values(latents[v.key]) for v in self.variables if v.in_scene}
        for mesh in self.meshes:
            values |= mesh.scene_values(latents[mesh.variable.key])
        return values | {key: numbers(self.parameters[key]) for key in posed}

    def with_meshes(self, meshes: Sequence[MeshUnknown]) -> Problem:
        """The problem with other triangles, which the scene gets at once."""
        variables = {mesh.variable.key: mesh.variable for mesh in meshes}
        for mesh in meshes:
            mesh.install(self.parameters)
        return dataclasses.replace(
            self,
            meshes=meshes,
            variables=[variables.get(variable.key, variable) for variable in self.variables],
            # What an integrator remembers of edges belongs to the triangles before
            integrator=make_integrator(self.job.integrator.model_dump()),
        )


def _parameter_entries(parameters: Mapping[str, Mapping] | Sequence[str]) -> list[dict]:
    """What :meth:`Problem.from_scene` is given, as entries of a job, with arrays as lists."""
    if isinstance(parameters, str):
        parameters = [parameters]
    if not isinstance(parameters, Mapping):
        parameters = {key: {} for key in parameters}
    for key, entry in parameters.items():
        if not isinstance(entry, Mapping):
            raise InputError(f"parameter '{key}' needs entries such as {{'initial': 0.5}}, got {entry!r}")
    return [{"key": key} | {name: _plain(value) for name, value in entry.items()} for key, entry in parameters.items()]


def _plain(value: object) -> object:
    if isinstance(value, np.ndarray) or dr.is_array_v(value):
        return numbers(value).ravel().tolist()
    return value


def _load_for(job: Job) -> mi.Scene:
    """The scene of a job, with the textures that it recovers in full precision."""
    keys = [entry.key for entry in job.parameters if entry.kind == "value" and entry.key.endswith(("data", "*"))]
    return load_scene(job.scene, job.scene_parameters, float_textures=keys)


def _check_views(views: Sequence[View], objective: Objective, moving: str, is_own_integrator: bool) -> None:
    """Refuse views that lack what a loss looks at or are too small for it, and alpha whose derivative is not known."""
    levels = max(term.pyramid for term in objective.terms)
    for position, view in enumerate(views):
        if min(view.target.shape[:2]) <= 2 ** (levels - 2):
            raise InputError(f"views.{position}: its image is too small for a pyramid of {levels} levels")
    for what in objective.pictures - {"image"}:
        if all(getattr(view, what) is None for view in views):
            lack = "target has an alpha channel" if what == "alpha" else f"view has an entry '{what}'"
            raise InputError(f"a loss looks at {what}, but no {lack}")
    if "alpha" in objective.pictures and not moving:
        raise InputError("a loss looks at alpha, but no unknown moves anything, and only that changes alpha")
    for position, view in enumerate(views):
        if "alpha" in objective.pictures and view.alpha is not None:
            require_alpha(view.sensor, f"views.{position}: a loss of alpha")
        who = "a loss looks at" if "alpha" in objective.pictures else "'background' needs" if view.background else ""
        if who and moving and not is_own_integrator:
            raise InputError(
                f"views.{position}: only pbdr's integrators are known to differentiate alpha, which {who} while "
                f"'{moving}' moves outlines; choose [integrator] type = 'pbdr'"
            )


def _make_memory(job: Job) -> Memory | None:
    if not (job.control_variate or job.allocation):
        return None
    return Memory(control_variate=job.control_variate, allocation=job.allocation)


def _check_memory(objective: Objective, moving: str) -> None:
    """Refuse to remember earlier steps where images are not recorded in pairs."""
    names = "'control_variate' and 'allocation' need"
    if moving:
        raise InputError(f"{names} recorded paths, which '{moving}' moves")
    if "image" not in objective.pictures or objective.crossed() is None:
        raise InputError(f"{names} squared errors of images, such as loss = 'l2', without a tonemap")


def _require_derivatives() -> None:
    """Refuse to work without a variant, or in one that has no derivatives."""
    if mi.variant() is None:
        raise InputError("no Mitsuba variant is set: call mi.set_variant('llvm_ad_rgb') first")
    if "_ad_" not in mi.variant():
        raise InputError(f"the variant '{mi.variant()}' cannot differentiate; use one such as llvm_ad_rgb")
