"""The kinds of values that settings have, and the section that they stand in."""

from decimal import Decimal
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

Symbol = Annotated[str, Field(pattern=r"^[A-Z0-9][A-Z0-9.\-]{0,11}$")]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_\-]{1,40}$")]
Fraction = Annotated[Decimal, Field(gt=0, le=1)]
PositiveMoney = Annotated[Decimal, Field(gt=0, max_digits=18, decimal_places=6)]
Multiple = Annotated[Decimal, Field(gt=0, le=1_000)]
NonNegativeMoney = Annotated[Decimal, Field(ge=0, max_digits=18, decimal_places=6)]

Off = BeforeValidator(lambda value: None if value == "off" else value)
"""Takes the word `off` for no limit at all: TOML has no null."""


class Section(BaseModel):
    """A part of the settings: frozen, and closed to keys that it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)
