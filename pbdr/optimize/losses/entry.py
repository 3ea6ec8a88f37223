"""The entry of a job that adds a loss."""

from __future__ import annotations

from typing import Literal

import pydantic

from ..section import Positive, Section


class LossEntry(Section):
    """One of several losses whose weighted sum is minimized."""

    type: str = "relative_l2"
    weight: Positive = 1.0
    of: Literal["image", "alpha", "depth", "normals"] = "image"
    tonemap: Literal["none", "srgb", "reinhard", "log"] = "none"
    pyramid: int = pydantic.Field(default=1, ge=1, le=12)
    network: str | None = None

    @pydantic.model_validator(mode="after")
    def _check(self) -> LossEntry:
        if self.of != "image" and self.tonemap != "none":
            raise ValueError(f"'tonemap' belongs to images, not to {self.of}")
        if (self.type == "perceptual") != (self.network is not None):
            raise ValueError("'perceptual' needs 'network', and no other loss has one")
        return self
