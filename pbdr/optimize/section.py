"""What the sections of a job file have in common."""

from __future__ import annotations

from typing import Annotated

import pydantic

Positive = Annotated[float, pydantic.Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, pydantic.Field(ge=0, allow_inf_nan=False)]
Number = Annotated[float, pydantic.Field(allow_inf_nan=False)]


class Section(pydantic.BaseModel):
    """A table of a job file, in which only known entries are allowed."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, strict=False)
