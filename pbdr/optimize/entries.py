"""The tables of a job file: views, parameters, integrator, optimizer and output (docs/jobs.md)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

import pydantic

from .meshes.entry import MeshEntry
from .schedules import ScheduleEntry
from .section import Number, Positive, Section

Initial = float | list[float] | str
#: What a pose consists of, in the order in which it is reported
POSE_PARTS = ("rotation", "translation", "scale")

_Triple = tuple[Number, Number, Number]
_Limit = float | tuple[float, float, float]


class ParameterEntry(Section):
    """Parameters to recover: one key, or all keys that a glob matches."""

    kind: Literal["value"] = "value"
    key: str
    initial: Initial = "current"
    bounds: tuple[float, float] | None = None
    learning_rate: Positive = 0.02
    reparameterization: str = "identity"
    schedule: ScheduleEntry | None = None
    refine: tuple[pydantic.PositiveInt, ...] = ()
    true: Initial | None = None

    @pydantic.model_validator(mode="after")
    def _check(self) -> ParameterEntry:
        if list(self.refine) != sorted(set(self.refine)):
            raise ValueError(f"the steps of 'refine' must grow, got {list(self.refine)}")
        return self


class RotationEntry(Section):
    """Rotation vector: its direction is the axis, its length the angle in degrees."""

    initial: _Triple = (0, 0, 0)
    bounds: tuple[_Limit, _Limit] | None = None
    learning_rate: Positive = 1.0
    representation: Literal["rotation_vector", "6d"] = "rotation_vector"
    true: _Triple | None = None


class TranslationEntry(Section):
    """Translation in scene units."""

    initial: _Triple = (0, 0, 0)
    bounds: tuple[_Limit, _Limit] | None = None
    learning_rate: Positive = 0.02
    true: _Triple | None = None


class ScaleEntry(Section):
    """Uniform scale; its logarithm is optimized."""

    initial: Positive = 1
    bounds: tuple[float, float] | None = None
    learning_rate: Positive = 0.02
    true: Positive | None = None


class PoseEntry(Section):
    """A motion to recover, on top of where the scene file puts a shape, a sensor or an emitter."""

    kind: Literal["pose"] = "pose"
    key: str
    pivot: _Triple | None = None
    rotation: RotationEntry | None = None
    translation: TranslationEntry | None = None
    scale: ScaleEntry | None = None
    schedule: ScheduleEntry | None = None


class PointEntry(Section):
    """A point in world space."""

    initial: _Triple | None = None
    bounds: tuple[_Limit, _Limit] | None = None
    learning_rate: Positive = 0.02
    true: _Triple | None = None


class LookAtEntry(Section):
    """A camera to place by where it stands and what it looks at."""

    kind: Literal["look_at"] = "look_at"
    key: str
    origin: PointEntry | None = None
    target: PointEntry | None = None
    up: _Triple | None = None
    schedule: ScheduleEntry | None = None


def _kind_of(entry: object) -> str:
    """Which kind of parameter an entry describes; poses are recognized by their parts, too."""
    if isinstance(entry, Section):
        return entry.kind
    if not isinstance(entry, Mapping):
        return "value"
    return str(entry.get("kind", "pose" if {*POSE_PARTS, "pivot"} & set(entry) else "value"))


PARAMETER_KINDS = {"value": ParameterEntry, "pose": PoseEntry, "look_at": LookAtEntry, "mesh": MeshEntry}
AnyParameter = Annotated[
    Annotated[ParameterEntry, pydantic.Tag("value")]
    | Annotated[PoseEntry, pydantic.Tag("pose")]
    | Annotated[LookAtEntry, pydantic.Tag("look_at")]
    | Annotated[MeshEntry, pydantic.Tag("mesh")],
    pydantic.Discriminator(_kind_of),
]


class Integrator(pydantic.BaseModel):
    """An integrator by plugin name; its other entries are the plugin's properties."""

    model_config = pydantic.ConfigDict(extra="allow", frozen=True)
    type: str = "pbdr"


class OptimizerEntry(pydantic.BaseModel):
    """One of Dr.Jit's optimizers; its other entries are the optimizer's options."""

    model_config = pydantic.ConfigDict(extra="allow", frozen=True)
    type: str = "adam"


class Output(Section):
    """What a run leaves, and how often."""

    image_every: int = pydantic.Field(default=25, ge=0)
    health_every: int = pydantic.Field(default=25, ge=0)
    tensorboard: bool = False
    wandb: str | None = None
    checkpoint_seconds: float = pydantic.Field(default=5.0, gt=0)
