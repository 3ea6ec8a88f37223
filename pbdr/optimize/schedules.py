"""How learning rates and samples change over a run."""

from __future__ import annotations

import math
from typing import Literal

import pydantic

from .section import Positive, Samples, Section

_Count = pydantic.PositiveInt
#: Share of a run after which the rates of type ``hold`` fall
BEGIN = 2 / 3
#: The same where all numbers are divided by one moment that hardly falls: steps shrink with the gradient by themselves,
#: and what is left to do at the end is to average noise
UNIFORM_BEGIN = 5 / 6


class ScheduleEntry(Section):
    """Learning rates over the steps, as a factor of those that parameters have."""

    type: Literal["hold", "constant", "exponential", "cosine", "steps"] = "hold"
    final: float | None = pydantic.Field(default=None, gt=0, le=1)
    begin: float | None = pydantic.Field(default=None, ge=0, lt=1)
    warmup: int = pydantic.Field(default=0, ge=0)
    at: tuple[_Count, ...] = ()
    factor: float = pydantic.Field(default=0.5, gt=0, lt=1)

    @pydantic.model_validator(mode="after")
    def _check(self) -> ScheduleEntry:
        if self.begin is not None and self.type != "hold":
            raise ValueError("'begin' belongs to type 'hold'")
        if (self.type == "steps") != bool(self.at):
            raise ValueError("'at' lists the steps of type 'steps', and belongs to no other type")
        if list(self.at) != sorted(set(self.at)):
            raise ValueError(f"the steps in 'at' must grow, got {list(self.at)}")
        return self


class SamplingEntry(Section):
    """Samples per pixel over the steps."""

    type: Literal["constant", "steps", "adaptive"] = "constant"
    at: tuple[tuple[_Count, Samples], ...] = ()
    maximum: Samples = 256
    window: int = pydantic.Field(default=10, ge=3)

    @pydantic.model_validator(mode="after")
    def _check(self) -> SamplingEntry:
        if (self.type == "steps") != bool(self.at):
            raise ValueError("'at' lists pairs [step, spp] of type 'steps', and belongs to no other type")
        steps = [step for step, _ in self.at]
        if steps != sorted(set(steps)):
            raise ValueError(f"the steps in 'at' must grow, got {steps}")
        return self


class StoppingEntry(Section):
    """When a run ends before its last step."""

    patience: int = pydantic.Field(ge=2)
    tolerance: Positive = 0.01


def rate_factor(schedule: ScheduleEntry, step: int, progress: float, final: float, *, begin: float = BEGIN) -> float:
    """Factor of a learning rate.

    Args:
        step: Counted from 0.
        progress: Share of the run that is over, in [0, 1).
        final: Factor at the end, where the schedule does not state its own.
        begin: Share of the run after which the rates of type ``hold`` fall, likewise.

    Example:
        >>> rate_factor(ScheduleEntry(type="exponential", final=0.01), step=50, progress=0.5, final=0.1)
        0.1
    """
    final = schedule.final if schedule.final is not None else final
    begin = schedule.begin if schedule.begin is not None else begin
    factor = {
        # Small steps at the end average the noise of the gradients out
        "hold": lambda: final ** max(0.0, (progress - begin) / (1 - begin)),
        "constant": lambda: 1.0,
        "exponential": lambda: final**progress,
        "cosine": lambda: final + (1 - final) * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0))),
        "steps": lambda: schedule.factor ** sum(step >= at for at in schedule.at),
    }[schedule.type]()
    return factor * min(1.0, (step + 1) / (schedule.warmup + 1))
