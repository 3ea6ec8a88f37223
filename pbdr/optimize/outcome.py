"""What a run tells while it goes, and when it is over."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np

#: Called after each step; one with a method ``close`` is closed at the end of the run
Progress = Callable[["Step"], None]


@dataclasses.dataclass(frozen=True)
class Step:
    """What one step did, for progress displays and histories."""

    index: int  #: counted from 0
    count: int  #: steps of the whole run
    loss: float
    seconds: float  #: of this step
    problem: str  #: empty, or what was not finite
    spp: int = 0  #: samples per pixel of this step
    notes: tuple[str, ...] = ()  #: signs that something goes wrong, see docs/failure_modes.md
    parameters: dict = dataclasses.field(default_factory=dict)  #: key → values after the step, large ones summarized
    images: tuple[np.ndarray, np.ndarray] | None = None  #: first view and its target, every ``image_every`` steps


@dataclasses.dataclass(frozen=True)
class Result:
    """The outcome of a run."""

    loss_initial: float  #: with many samples, before the first step
    loss_final: float  #: with many samples, after the last step
    steps: int
    seconds: float
    parameters: dict[str, dict]  #: key → initial, final, and true with error where the job states the truth
    values: dict[str, np.ndarray]  #: key → final numbers in the parameter's shape
    folder: Path | None  #: run folder, if there is one
    end: str  #: why it ended: steps, plateau, minutes or interrupted
    meshes: dict[str, dict]  #: id → vertices, triangles, and how many triangles are flipped, degenerate, …

    def to_dict(self) -> dict:
        """As JSON data."""
        return {
            "loss_initial": self.loss_initial,
            "loss_final": self.loss_final,
            "steps": self.steps,
            "end": self.end,
            "seconds": self.seconds,
            "parameters": self.parameters,
            **({"meshes": self.meshes} if self.meshes else {}),
        }
