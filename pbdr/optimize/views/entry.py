"""The entry of a job that names an image to match."""

from __future__ import annotations

from typing import Literal

import pydantic

from ..section import NonNegative, Positive, Section

#: Entries of a view that name files, or in Python are arrays
IMAGES = ("target", "mask", "depth", "normals")


class ExposureEntry(Section):
    """An unknown exposure of one image."""

    initial: Positive = 1.0
    learning_rate: Positive = 0.02
    true: Positive | None = None


class View(Section):
    """An image to match, and the sensor that took it."""

    sensor: int | str = 0
    target: str
    color_space: Literal["linear", "srgb"] | None = None
    mask: str | None = None
    exposure: Positive | ExposureEntry = 1.0
    alpha: Literal["ignore", "mask", "composite"] = "ignore"
    background: tuple[NonNegative, NonNegative, NonNegative] = (0, 0, 0)
    depth: str | None = None
    normals: str | None = None

    @pydantic.model_validator(mode="after")
    def _check(self) -> View:
        if any(self.background) and self.alpha != "composite":
            raise ValueError("'background' needs alpha = 'composite'")
        return self
