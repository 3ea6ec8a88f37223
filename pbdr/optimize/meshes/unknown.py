"""A mesh whose vertices are recovered: what its entry of a job means for the scene and the optimizer."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import mitsuba as mi
import numpy as np

from ...errors import InputError
from ...geometry.mesh import face_key, find_meshes, position_key, set_triangles, surface_data, triangles
from ..constraints import Reparameterization
from ..parameters import Variable
from .deformation import Deformation
from .entry import MeshEntry
from .health import Health, measure_health
from .regularizers import Regularizer
from .remeshing import Transfer, import_gpytoolbox, remesh, require_remeshable, surface_distance
from .surface import Surface, edge_lengths, make_surface

#: Step of a vertex and λ where the job does not say: a share of the bounding box's diagonal, and the paper's value
LEARNING_RATE, SMOOTHNESS = 0.005, 19.0


@dataclasses.dataclass(frozen=True)
class MeshUnknown:
    """A mesh at one resolution; remeshing makes another one.

    Example:
        >>> unknown = make_meshes(scene, entry, "parameters.0")[0]
        >>> unknown.variable.key
        'bunny.vertex_positions'
    """

    name: str  #: id of the shape
    entry: MeshEntry
    surface: Surface  #: where the variable is zero
    smoothness: float  #: λ
    remeshed: int  #: entries of ``remesh`` that have been carried out
    variable: Variable
    regularizer: Regularizer
    true_faces: np.ndarray | None  #: of the true mesh, where the job names one [F, 3]

    @property
    def channels(self) -> int:
        """Numbers of the variable for each point."""
        return 1 if self.entry.reparameterization == "normal_offset" else 3

    def install(self, parameters: mi.SceneParameters) -> None:
        """Give the scene's mesh these triangles."""
        set_triangles(parameters, self.name, self.surface.positions, self.surface.faces)

    def penalty(self, latent: mi.Float) -> mi.Float | None:
        """Weighted priors, attached; None without any. [1]

        Args:
            latent: The optimizer's variable.
        """
        return self.regularizer(self.variable.attached(latent)) if self.regularizer else None

    def health(self, latent: mi.Float) -> Health:
        """What is wrong with the triangles."""
        return measure_health(self.surface, self.surface.points(self._positions(latent)))

    def is_remesh_due(self, step: int) -> bool:
        """Whether other triangles are wanted before a step."""
        rest = self.entry.remesh[self.remeshed :]
        return bool(rest) and rest[0].step <= step

    def remesh(self, latent: mi.Float) -> tuple[MeshUnknown, Transfer, float]:
        """The mesh with other triangles.

        Returns:
            The new unknown, whose variable begins at zero; how values at points are carried over; and the factor of
            the loss's derivatives by one point, which have the size of the surface that belongs to it.
        """
        wanted = self.entry.remesh[self.remeshed]
        points = self.surface.points(self._positions(latent))
        surface, transfer = remesh(self.surface, points, wanted.edge_length)
        smoothness = self.smoothness if wanted.smoothness is None else wanted.smoothness
        return self._on(surface, smoothness, self.remeshed + 1), transfer, len(points) / surface.point_count

    def arrays(self) -> dict[str, np.ndarray]:
        """What a checkpoint must hold besides the variable. See :meth:`restored`."""
        return {
            f"mesh/{self.name}/positions": self.surface.positions,
            f"mesh/{self.name}/faces": self.surface.faces,
            f"mesh/{self.name}/state": np.array([self.smoothness, self.remeshed]),
        }

    def restored(self, arrays: dict[str, np.ndarray]) -> MeshUnknown:
        """The unknown that :meth:`arrays` describes."""
        positions, faces, state = (arrays[f"mesh/{self.name}/{part}"] for part in ("positions", "faces", "state"))
        return self._on(make_surface(positions, faces), float(state[0]), int(state[1]))

    def _on(self, surface: Surface, smoothness: float, remeshed: int) -> MeshUnknown:
        """The same unknown on another surface.

        Its learning rate is such that a step of a single point moves it by the same share of its edges as before.
        """
        share = _reach(surface, smoothness) / _reach(self.surface, self.smoothness)
        variable = dataclasses.replace(
            self.variable,
            shape=(surface.positions.size,),
            learning_rate=self.variable.learning_rate * share,
            reparameterization=_mapping(self.entry, surface, smoothness),
            error=_error(surface.faces, self.true_faces),
        )
        regularizer = Regularizer(surface, self.entry.regularization.model_dump())
        return dataclasses.replace(
            self, surface=surface, smoothness=smoothness, remeshed=remeshed, variable=variable, regularizer=regularizer
        )

    def scene_values(self, latent: mi.Float) -> dict[str, np.ndarray]:
        """Numbers of the mesh's buffers by key: what a scene file must hold."""
        return {
            face_key(self.name): self.surface.faces.ravel().astype(np.uint32),
            position_key(self.name): self.variable.values(latent),
        }

    def _positions(self, latent: mi.Float) -> np.ndarray:
        return self.variable.values(latent).reshape(-1, 3).astype(np.float64)


def make_meshes(scene: mi.Scene, entry: MeshEntry, where: str) -> list[MeshUnknown]:
    """The unknowns that an entry of a job means, checked.

    Args:
        scene: As its file says.
        entry: Names a mesh, or several with a glob.
        where: Name of the entry for error sentences, e.g. ``parameters.0``.
    """
    try:
        names = find_meshes(scene, entry.key)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
    shapes = {shape.id(): shape for shape in scene.shapes()}
    parameters = mi.traverse(scene)
    made = []
    for name in names:
        surface = make_surface(*triangles(shapes[name]))
        what = f"{where}: mesh '{name}'"
        if not len(surface.triangles):
            raise InputError(f"{what} has no triangles")
        if entry.remesh:
            require_remeshable(surface, [wanted.edge_length for wanted in entry.remesh], what)
            if lost := surface_data(parameters, name):
                raise InputError(f"{what} cannot be remeshed: its {', '.join(lost)} would be lost")
        made.append(_make(name, entry, surface, what))
    return made


def _make(name: str, entry: MeshEntry, surface: Surface, what: str) -> MeshUnknown:
    smoothness = entry.smoothness
    if smoothness is None:
        smoothness = 0.0 if entry.reparameterization == "identity" else SMOOTHNESS
    diagonal = float(np.linalg.norm(np.ptp(surface.positions, axis=0)))
    truth, true_faces = (None, None) if entry.true is None else _read_true_mesh(Path(entry.true), what)
    variable = Variable(
        key=position_key(name),
        shape=(surface.positions.size,),
        bounds=(float("-inf"), float("inf")),
        learning_rate=entry.learning_rate or LEARNING_RATE * diagonal,
        reparameterization=_mapping(entry, surface, smoothness),
        initial=surface.positions.ravel(),
        truth=None if truth is None else truth.ravel(),
        unit="scene units",
        error=_error(surface.faces, true_faces),
        summary=extent,
        is_uniform=entry.uniform,
    )
    regularizer = Regularizer(surface, entry.regularization.model_dump())
    return MeshUnknown(name, entry, surface, smoothness, 0, variable, regularizer, true_faces)


def _mapping(entry: MeshEntry, surface: Surface, smoothness: float) -> Reparameterization:
    along_normals = entry.reparameterization == "normal_offset"
    deformation = Deformation(surface, smoothness=smoothness, along_normals=along_normals)
    return Reparameterization(
        lambda latent, low, high: deformation.positions(latent),
        lambda values, low, high: deformation.latent(values),
        is_bounded=True,
    )


def _reach(surface: Surface, smoothness: float) -> float:
    """How large a step of a single point, of six neighbours, may be before smoothing, up to a factor."""
    return float(edge_lengths(surface, surface.points()).mean()) * (1 + 6 * smoothness)


def extent(positions: np.ndarray) -> list[float]:
    """Size of a mesh's bounding box. [3]

    Args:
        positions: [3V]
    """
    return np.ptp(positions.reshape(-1, 3), axis=0).astype(float).tolist()


def _error(faces: np.ndarray, true_faces: np.ndarray | None) -> Callable[[np.ndarray, np.ndarray], float]:
    def error(positions: np.ndarray, truth: np.ndarray) -> float:
        return surface_distance((positions.reshape(-1, 3), faces), (truth.reshape(-1, 3), true_faces))

    return error


def _read_true_mesh(file: Path, what: str) -> tuple[np.ndarray, np.ndarray]:
    """Positions [V, 3] and faces [F, 3] of a mesh file that Mitsuba reads."""
    import_gpytoolbox(f"{what}: 'true'")
    if not file.is_file():
        raise InputError(f"{what}: 'true' names the file '{file}', which does not exist")
    try:
        shape = mi.load_dict({"type": file.suffix.removeprefix("."), "filename": str(file)})
    except RuntimeError as error:
        raise InputError(f"{what}: the mesh '{file}' cannot be read: {str(error).strip().splitlines()[-1]}") from None
    return triangles(shape)
