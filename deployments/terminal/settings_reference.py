"""Every setting as a Markdown page, from the models themselves: ``python -m deployments.terminal.settings_reference``.

``docs/settings.md`` is what this prints; a test compares them, so that the page cannot say anything else than the models.
"""

import json
from collections.abc import Iterator, Mapping
from datetime import date
from enum import Enum
from pathlib import Path
from typing import Any, get_args

from pydantic_core import PydanticUndefined

from trading.setting_types import Section
from trading.settings import Settings

_HEADING = """# Settings

Everything that `openbell.toml` can say. The same models are the parameters of the flow, so the form in the Prefect UI shows
the same keys with the same descriptions. Unknown keys are errors that name the nearest known one. Fractions are
fractions: 0.25 is 25 %. A setting whose default is "none" is off, or is found as its meaning says, where it is left out.

This page is generated: `python -m deployments.terminal.settings_reference > docs/settings.md`.
"""
_BOUNDS = (
    ("minimum", "at least"),
    ("exclusiveMinimum", "above"),
    ("maximum", "at most"),
    ("exclusiveMaximum", "below"),
)


def reference() -> str:
    """The whole page."""
    return "\n".join([_HEADING, *_section("", Settings)])


def _section_in(annotation: object) -> type[Section] | None:
    """The section that a key holds, also where it may be left out; None where it holds a value."""
    for kind in (annotation, *get_args(annotation)):
        if isinstance(kind, type) and issubclass(kind, Section):
            return kind
    return None


def _section(name: str, model: type[Section]) -> Iterator[str]:
    """One table for the section's own keys, then the sections inside it."""
    schema = model.model_json_schema()
    inside: list[tuple[str, type[Section]]] = []
    rows = []
    for key, field in model.model_fields.items():
        below = _section_in(field.annotation)
        if below is not None:
            inside.append((f"{name}.{key}" if name else key, below))
            continue
        default = field.get_default(call_default_factory=True)
        kind = _kind(schema["properties"][key], schema.get("$defs", {}))
        rows.append(f"| `{key}` | {kind} | {_default(default)} | {_cell(field.description or '')} |")
    if name:
        yield f"## [{name}]\n"
        yield f"{' '.join((model.__doc__ or '').split())}\n"
    if rows:
        yield "| key | value | default | meaning |"
        yield "| --- | --- | --- | --- |"
        yield from rows
        yield ""
    for inner, section in inside:
        yield from _section(inner, section)


def _kind(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> str:
    """What may be written, in words: from the JSON schema, because it has the bounds."""
    if "$ref" in schema:
        return _kind(definitions[schema["$ref"].rsplit("/", 1)[-1]], definitions)
    if "anyOf" in schema:
        return _either([part for part in schema["anyOf"] if part.get("type") != "null"], definitions)
    if "const" in schema or "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema.get("enum", [schema.get("const")]))
    match schema.get("type"):
        case "array":
            return f"list of {_kind(schema['items'], definitions)}"
        case "integer":
            return _bounded("whole number", schema)
        case "number":
            return _bounded("number", schema)
        case "boolean":
            return "`true`, `false`"
        case "object":
            return "table"
        case _:
            return {"date": "date", "path": "path"}.get(schema.get("format", ""), "text")


def _either(parts: list[Mapping[str, Any]], definitions: Mapping[str, Any]) -> str:
    numbers = [part for part in parts if part.get("type") == "number"]
    if numbers and any(part.get("type") == "string" and "enum" not in part for part in parts):
        return _bounded("decimal", numbers[0])
    return " or ".join(_kind(part, definitions) for part in parts)


def _bounded(word: str, schema: Mapping[str, Any]) -> str:
    bounds = [f"{words} {_number(schema[key])}" for key, words in _BOUNDS if key in schema and schema[key] < 2**62]
    return f"{word}, {', '.join(bounds)}" if bounds else word


def _number(value: float) -> str:
    return f"{int(value):,}" if value == int(value) else f"{value:g}"


def _default(value: object) -> str:
    match value:
        case None:
            return "none"
        case bool():
            return f"`{str(value).lower()}`"
        case Enum():
            return f'`"{value.value}"`'
        case tuple():
            return f"`{json.dumps([str(item) for item in value])}`"
        case str() | Path():
            return f'`"{value}"`'
        case date():
            return f"`{value.isoformat()}`"
        case dict() if not value:
            return "`{}`"
        case _ if value is PydanticUndefined:
            return "required"
        case _:
            return f"`{value}`"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    print(reference(), end="")
