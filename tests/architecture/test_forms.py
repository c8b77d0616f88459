"""The forms that Prefect shows are the documentation: every field says what it means and what it takes."""

import importlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from prefect import Flow
from prefect.utilities.schema_tools.validation import validate

HOUSE = Path(__file__).parents[2]
MODULES = sorted(file.stem for file in (HOUSE / "flows").glob("*.py") if file.stem != "__init__")
SAYS_WHAT_IT_TAKES = {"pattern", "maxLength", "enum", "const", "format", "minimum", "exclusiveMinimum", "propertyNames"}


def flow_in(module: str) -> Flow[..., Any]:
    """The one flow that a module deploys."""
    found = vars(importlib.import_module(f"flows.{module}"))
    [flow] = [one for one in found.values() if isinstance(one, Flow) and one.fn.__module__ == f"flows.{module}"]
    return flow


def schema_of(module: str) -> Mapping[str, Any]:
    return flow_in(module).parameters.model_dump()


def plain(field: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """A field's kinds of values: those in a list, and those that may be left out."""
    for kind in field.get("anyOf", [field]):
        yield from plain(kind["items"]) if kind.get("type") == "array" else [kind]


@pytest.mark.parametrize("module", MODULES)
def test_every_parameter_says_what_it_means(module: str) -> None:
    for name, field in schema_of(module)["properties"].items():
        assert len(field.get("description", "")) > 10, name


@pytest.mark.parametrize("module", MODULES)
def test_every_parameter_says_what_it_takes(module: str) -> None:
    for name, field in schema_of(module)["properties"].items():
        for kind in plain(field):
            if "$ref" in kind or kind.get("type") in ("boolean", "null"):
                continue
            assert SAYS_WHAT_IT_TAKES & ({*kind} | {*field}), f"{name}: {kind}"


@pytest.mark.parametrize("module", MODULES)
def test_no_parameter_has_to_be_filled_in(module: str) -> None:
    # A schedule, a trigger and an operator in a hurry give none.
    assert not schema_of(module).get("required")


@pytest.mark.parametrize("module", MODULES)
def test_a_form_that_nobody_changed_can_be_submitted(module: str) -> None:
    # The UI fills in what stands in the schema, and has the server compare it with the schema before a run is made.
    schema = flow_in(module).parameters.model_dump()
    filled_in = {name: field["default"] for name, field in schema["properties"].items() if "default" in field}
    complaints = validate(filled_in, schema, preprocess=True, ignore_required=True, allow_none_with_default=True)
    assert not [f"{'.'.join(map(str, one.path))}: {one.message}" for one in complaints]


def test_every_setting_and_every_section_is_described_in_the_form() -> None:
    definitions = schema_of("trading_session")["definitions"]
    assert {"Settings", "RiskSettings", "SessionSettings"} <= set(definitions)
    for model, definition in definitions.items():
        for name, field in definition.get("properties", {}).items():
            assert field.get("description"), f"{model}.{name}"
    assert definitions["Settings"]["properties"]["sizing"]["description"].startswith("How large a position")


@pytest.mark.parametrize(
    ("module", "parameters"),
    [
        ("emergency_stop", {"scope": "AAPL"}),
        ("emergency_stop", {"minutes": 0}),
        ("resume_trading", {"scope": "symbol:"}),
        ("reconciliation", {"claim": ["aapl"]}),
        ("reconciliation", {"account": "U 1"}),
        ("promote_policy", {"stage": "production"}),
    ],
)
def test_a_form_refuses_what_cannot_be_meant(module: str, parameters: dict[str, Any]) -> None:
    [name] = parameters
    with pytest.raises(Exception, match=name):
        flow_in(module).validate_parameters(parameters)
