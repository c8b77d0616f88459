"""The flow change-limits on a real Prefect server."""

from collections.abc import Callable
from typing import Any

import pytest
from prefect.client.schemas.objects import State

from flows.change_limits import change_limits
from tasks.manual_limits import limits_in_force
from trading.settings import Settings

pytestmark = pytest.mark.usefixtures("prefect_server")

Artifacts = Callable[[State[Any]], dict[str, str]]


def test_without_a_session_it_fails_and_names_the_file(trading_settings: Settings) -> None:
    state = change_limits({"max_daily_loss": 500}, settings=trading_settings, return_state=True)
    assert state.is_failed()
    assert "[risk] of the settings file" in str(state.message)


def test_a_session_that_runs_takes_them_all_or_none(running: Settings, artifacts: Artifacts) -> None:
    wrong = change_limits({"max_daily_loss": 500, "max_dayly_loss": 400}, settings=running, return_state=True)
    assert wrong.is_failed()
    assert "did you mean max_daily_loss" in str(wrong.message)
    assert limits_in_force(running)["changed"] == {}

    state = change_limits({"max_daily_loss": 500, "max_order_notional": "off"}, settings=running, return_state=True)
    assert state.is_completed(), state.message
    assert "| `max_daily_loss` | 1000 | 500 |" in artifacts(state)["change-limits"]
    assert limits_in_force(running)["limits"]["max_daily_loss"] == "500"
