"""docs/risk.md: one line for each limit, with the default that the settings have; the rules, events and commands it names exist."""

import re
from collections.abc import Iterator
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Any

import pytest

from trading import closing_out, risk_callbacks
from trading.policy_watch import POLICY_FAILURES
from trading.risk_events import RiskEventKind
from trading.risk_settings import RiskSettings
from trading.rule_book import rules_from
from trading.settings import Settings

PAGE = (Path(__file__).parents[2] / "docs" / "risk.md").read_text(encoding="utf-8")


def lines() -> Iterator[list[str]]:
    """The cells of the table of limits."""
    table = PAGE.split("## The limits")[1].split("\n\nBeside these")[0]
    for line in table.splitlines():
        if line.startswith("| `"):
            yield [cell.strip() for cell in line.strip("|").split("|")]


LIMITS = {cells[0].strip("`"): cells for cells in lines()}


def said(value: Any) -> str:
    """A default as the table writes it."""
    match value:
        case None | ():
            return "off"
        case Decimal() | int() | Enum():
            return str(value)
        case _:
            return "off"  # the guard of a section of its own, which is not enabled


def test_every_limit_has_its_line_and_every_line_its_limit() -> None:
    assert list(LIMITS) == list(RiskSettings.model_fields)


@pytest.mark.parametrize("name", LIMITS)
def test_a_line_states_the_default(name: str) -> None:
    stated = LIMITS[name][3].replace("none", "off")
    assert stated == said(getattr(RiskSettings(), name))


@pytest.mark.parametrize("name", LIMITS)
def test_a_line_has_meaning_unit_and_source(name: str) -> None:
    cells = LIMITS[name]
    assert len(cells) == 5
    assert cells[1]
    assert cells[2]


def test_every_rule_that_can_speak_is_named() -> None:
    everything = {
        "min_order_notional": 1,
        "max_gross_exposure": 1,
        "max_net_exposure": 1,
        "max_concentration_fraction": "0.5",
        "max_value_at_risk_fraction": "0.5",
        "max_expected_shortfall_fraction": "0.5",
        "not_tradable": ["SPY"],
        "pattern_day_trader": {"enabled": True, "brokers": ["paper"]},
    }
    settings = Settings.model_validate(
        {
            "risk": everything,
            "orders": {"tick_size": "0.01"},
            "session": {"pace": "live"},
            "policy": {"cooldown_bars": 1, "max_changes_per_session": 1},
        }
    )
    names = {rule.name for rule in rules_from(settings)} | {
        risk_callbacks.THROTTLE,
        risk_callbacks.MINIMUM_QUANTITY,
        risk_callbacks.LOT_SIZE,
        closing_out.FLATTEN_RULE,
        closing_out.WITHDRAWN_RULE,
        POLICY_FAILURES,
    }
    assert {name for name in names if f"`{name}`" not in PAGE} == set()


def test_every_event_is_named() -> None:
    table = PAGE.split("## Events")[1].split("\n## ")[0]
    assert set(re.findall(r"`([a-z_]+)`", table)) >= {str(kind) for kind in RiskEventKind}
