"""An inverse problem: a scene, what is unknown in it, and the images that it should render to."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import drjit as dr
import mitsuba as mi
import numpy as np

from ..capabilities import refusal
from ..errors import InputError
from ..integrators import make_integrator
from ..scene import load_scene, require_emitters, select_sensor
from ..scene_parameters import ParameterInfo, describe_parameters, find_parameters, numbers, scene_parameters
from . import optimizers
from .job import Job, check_job, load_job
from .job import View as ViewEntry
from .losses import Loss, find_loss
from .meshes.unknown import MeshUnknown, make_meshes
from .parameters import Variable, make_variable
from .poses import Pose, make_poses

_LDR = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tga"})


@dataclasses.dataclass(frozen=True)
class View:
    """An image to match."""

    name: str
    sensor: mi.Sensor
    target: mi.TensorXf  #: linear radiance [H, W, C]
    mask: mi.TensorXf | None  #: weight of each pixel [H, W, 1]


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
    poses: Sequence[Pose]
    views: Sequence[View]
    loss: Loss
    meshes: Sequence[MeshUnknown] = ()

    @classmethod
    def from_job(cls, source: str | Path | Job, overrides: Mapping[str, str] | None = None) -> Problem:
        """Load a job file and all that it names.

        Args:
            source: A TOML file, a folder with a ``job.toml``, the name of a bundled scene, or a checked job.
            overrides: Dotted entries to change, e.g. ``{"steps": "20"}``.
        """
        job = source if isinstance(source, Job) else load_job(source, overrides)
        _require_derivatives()
        scene = load_scene(
            job.scene,
            float_textures=[p.key for p in job.parameters if p.kind == "value" and p.key.endswith(("data", "*"))],
        )
        return cls._check(job, scene)

    @classmethod
    def from_scene(
        cls,
        scene: mi.Scene,
        parameters: Mapping[str, Mapping] | Sequence[str],
        targets: Sequence[np.ndarray],
        **settings,
    ) -> Problem:
        """Pose a problem on a scene object.

        Args:
            scene: Loaded with ``optimize=False``.
            parameters: Keys or globs, or a mapping from them to entries such as ``{"learning_rate": 0.05}``.
            targets: One linear image for each of the scene's sensors, in their order. [H, W, C] each
            settings: Other entries of a job: ``spp``, ``steps``, ``loss``, ``integrator`` (a name or mapping), …

        Example:
            >>> problem = Problem.from_scene(scene, {"wall.bsdf.reflectance.value": {"initial": 0.5}}, [photo])
        """
        _require_derivatives()
        entries = parameters if isinstance(parameters, Mapping) else {key: {} for key in parameters}
        named = {name: settings.pop(name) for name in ("integrator", "optimizer") if name in settings}
        job = check_job(
            {
                "scene": "",
                "views": [{"sensor": k, "target": ""} for k in range(len(targets))],
                "parameters": [{"key": key, **entry} for key, entry in entries.items()],
                **{name: {"type": value} if isinstance(value, str) else value for name, value in named.items()},
                **settings,
            }
        )
        return cls._check(job, scene, targets)

    @classmethod
    def _check(cls, job: Job, scene: mi.Scene, targets: Sequence[np.ndarray] | None = None) -> Problem:
        require_emitters(scene)
        integrator = make_integrator(job.integrator.model_dump())
        loss = find_loss(job.loss)
        parameters = scene_parameters(scene)
        infos = {info.key: info for info in describe_parameters(scene)}
        places: dict[str, str] = {}
        variables: list[Variable] = []
        poses: list[Pose] = []
        meshes: list[MeshUnknown] = []
        for position, entry in enumerate(job.parameters):
            where = f"parameters.{position}"
            if entry.kind == "pose":
                made = make_poses(parameters, entry, where)
                keys = [key for pose in made for key in pose.keys]
            elif entry.kind == "mesh":
                made = make_meshes(scene, entry, where)
                keys = [mesh.variable.key for mesh in made]
            else:
                keys = _find_keys(infos.values(), entry.key, where)
            for key in keys:
                if reason := refusal(integrator, scene, infos[key]):
                    raise InputError(f"{where}: {reason}")
                if key in places:
                    raise InputError(f"{where}: parameter '{key}' is named twice, here and in {places[key]}")
                places[key] = where
            if entry.kind == "pose":
                poses += made
                variables += [variable for pose in made for variable in pose.parts.values()]
            elif entry.kind == "mesh":
                meshes += made
                variables += [mesh.variable for mesh in made]
            else:
                variables += [make_variable(scene, parameters, key, entry, where) for key in keys]
        parameters.update()
        optimizers.make(job.optimizer, variables)
        views = [
            _make_view(scene, entry, position, None if targets is None else targets[position])
            for position, entry in enumerate(job.views)
        ]
        return cls(job, scene, integrator, parameters, variables, poses, views, loss, meshes)

    def write_scene(self, latents: Mapping[str, mi.Float]) -> None:
        """Put the optimizer's variables into the scene, attached."""
        posed = {variable.key for pose in self.poses for variable in pose.parts.values()}
        for variable in self.variables:
            if variable.key not in posed:
                variable.write(latents[variable.key], self.parameters)
        for pose in self.poses:
            pose.write(latents, self.parameters)
        self.parameters.update()

    def scene_values(self, latents: Mapping[str, mi.Float]) -> dict[str, np.ndarray]:
        """Numbers of the scene parameters that the variables stand for, by key: what a scene file must hold."""
        if self.poses:
            with dr.suspend_grad():
                self.write_scene(latents)
        posed = [key for pose in self.poses for key in pose.keys]
        parts = {variable.key for pose in self.poses for variable in pose.parts.values()}
        values = {v.key: v.values(latents[v.key]) for v in self.variables if v.key not in parts}
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


def _find_keys(infos: Iterable[ParameterInfo], pattern: str, where: str) -> list[str]:
    try:
        return find_parameters(infos, pattern)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None


def _require_derivatives() -> None:
    """Refuse to work without a variant, or in one that has no derivatives."""
    if mi.variant() is None:
        raise InputError("no Mitsuba variant is set: call mi.set_variant('llvm_ad_rgb') first")
    if "_ad_" not in mi.variant():
        raise InputError(f"the variant '{mi.variant()}' cannot differentiate; use one such as llvm_ad_rgb")


def _make_view(scene: mi.Scene, entry: ViewEntry, position: int, image: np.ndarray | None) -> View:
    where = f"views.{position}"
    try:
        sensor = select_sensor(scene, entry.sensor)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
    target = np.asarray(image, np.float32) if image is not None else read_image(entry.target, entry.color_space, where)
    name = f"target of {where}" if image is not None else f"target '{entry.target}'"
    if target.ndim != 3:
        raise InputError(f"{where}: {name} must be an array [height, width, channels], got {target.ndim} axes")
    width, height = (int(n) for n in sensor.film().crop_size())
    if target.shape[:2] != (height, width):
        raise InputError(
            f"{where}: {name} has {target.shape[1]} × {target.shape[0]} pixels, but sensor '{sensor.id()}' takes "
            f"{width} × {height}"
        )
    if count := int((~np.isfinite(target)).sum()):
        raise InputError(f"{where}: {name} has {count} values that are NaN or infinite")
    mask = None
    if entry.mask:
        mask = read_image(entry.mask, "linear", where).mean(axis=-1, keepdims=True)
        if mask.shape[:2] != (height, width):
            raise InputError(f"{where}: mask '{entry.mask}' must have {width} × {height} pixels")
        if not mask.any():
            raise InputError(f"{where}: mask '{entry.mask}' hides every pixel")
        mask = mi.TensorXf(mask)
    view = sensor.id() or f"view_{position}"
    return View(f"{position}_{view}", sensor, mi.TensorXf(target[..., :3]), mask)


def read_image(path: str, color_space: str | None, where: str) -> np.ndarray:
    """An image file as linear RGB. [H, W, 3]

    Args:
        color_space: ``linear`` or ``srgb``; files with 8 bits must state it.
        where: Name of the job's entry for error sentences.
    """
    file = Path(path)
    if not file.is_file():
        raise InputError(f"{where}: the image '{path}' does not exist")
    if file.suffix.lower() in _LDR and color_space is None:
        raise InputError(f"{where}: '{file.name}' needs an entry 'color_space': 'srgb' (usual) or 'linear'")
    try:
        bitmap = mi.Bitmap(str(file))
    except RuntimeError as error:
        raise InputError(f"{where}: the image '{path}' cannot be read: {str(error).strip().splitlines()[-1]}") from None
    if color_space is not None:
        bitmap.set_srgb_gamma(color_space == "srgb")
    linear = bitmap.convert(mi.Bitmap.PixelFormat.RGB, mi.Struct.Type.Float32, srgb_gamma=False)
    return np.array(linear, dtype=np.float32)
