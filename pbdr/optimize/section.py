"""What the sections of a job file have in common."""

from __future__ import annotations

from typing import Annotated

import pydantic

from ..seeds import MOST_SAMPLES

Positive = Annotated[float, pydantic.Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, pydantic.Field(ge=0, allow_inf_nan=False)]
Samples = Annotated[int, pydantic.Field(ge=1, le=MOST_SAMPLES)]
Number = Annotated[float, pydantic.Field(allow_inf_nan=False)]


class Section(pydantic.BaseModel):
    """A table of a job file, in which only known entries are allowed."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    @pydantic.field_validator("*", mode="before")
    @classmethod
    def _no_truth_for_numbers(cls, value: object, info: pydantic.ValidationInfo) -> object:
        """Refuse ``true`` where a number is wanted, which pydantic takes for 1."""
        if isinstance(value, bool) and cls.model_fields[info.field_name].annotation is not bool:
            raise ValueError(f"{str(value).lower()} is not allowed here")
        return value
