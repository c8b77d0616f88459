"""The kinds of values that settings have, and the section that they stand in."""

from datetime import time
from decimal import Decimal
from typing import Annotated, Any, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

Symbol = Annotated[str, Field(pattern=r"^[A-Z0-9][A-Z0-9.\-]{0,11}$")]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_\-]{1,40}$")]
Scope = Annotated[str, Field(pattern=r"^(all|(account|strategy|symbol):[A-Za-z0-9_.\-]{1,40})$")]
Reason = Annotated[str, Field(max_length=500)]
Fraction = Annotated[Decimal, Field(gt=0, le=1)]
PositiveMoney = Annotated[Decimal, Field(gt=0, max_digits=18, decimal_places=6)]
Multiple = Annotated[Decimal, Field(gt=0, le=1_000)]
NonNegativeMoney = Annotated[Decimal, Field(ge=0, max_digits=18, decimal_places=6)]
TimeOfDay = Annotated[
    time, WithJsonSchema({"type": "string", "pattern": r"^([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9])?$"})
]
"""A time on some wall. A form that is told `format: time` wants an offset from UTC with it, and refuses what has none."""

Off = BeforeValidator(lambda value: None if value == "off" else value)
"""Takes the word `off` for no limit at all: TOML has no null."""


def _describe_sections(schema: dict[str, Any], model: type[BaseModel]) -> None:
    """A section in a section is described by its own first words: a form shows descriptions of fields only."""
    for name, field in model.model_fields.items():
        for kind in (field.annotation, *get_args(field.annotation)):
            if isinstance(kind, type) and issubclass(kind, Section):
                schema["properties"][name].setdefault("description", " ".join((kind.__doc__ or "").split()))


class Section(BaseModel):
    """A part of the settings: frozen, and closed to keys that it does not know."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, json_schema_extra=_describe_sections
    )
