"""The entry of a job that makes the vertices of a mesh unknown."""

from __future__ import annotations

from typing import Literal

import pydantic

from ..schedules import ScheduleEntry
from ..section import NonNegative, Positive, Section


class RegularizationEntry(Section):
    """Weights of priors on the shape, added to the loss."""

    laplacian: NonNegative = 0
    normal_consistency: NonNegative = 0
    edge_length: NonNegative = 0


class RemeshEntry(Section):
    """When a mesh gets other triangles, and how large."""

    step: int = pydantic.Field(ge=1)
    edge_length: Positive
    smoothness: NonNegative | None = None


class MeshEntry(Section):
    """Vertex positions of a mesh to recover, or of all meshes that a glob matches."""

    kind: Literal["mesh"] = "mesh"
    key: str
    reparameterization: Literal["large_steps", "normal_offset", "identity"] = "large_steps"
    smoothness: NonNegative | None = None
    uniform: bool = True
    learning_rate: Positive | None = None
    regularization: RegularizationEntry = RegularizationEntry()
    remesh: tuple[RemeshEntry, ...] = ()
    schedule: ScheduleEntry | None = None
    true: str | None = None

    @pydantic.model_validator(mode="after")
    def _check(self) -> MeshEntry:
        if self.reparameterization == "identity" and self.smoothness:
            raise ValueError("'smoothness' belongs to 'large_steps' or 'normal_offset'")
        steps = [entry.step for entry in self.remesh]
        if steps != sorted(set(steps)):
            raise ValueError(f"the steps of 'remesh' must grow, got {steps}")
        return self
