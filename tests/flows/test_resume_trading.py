"""The flow resume-trading on a real Prefect server, at rest and beside a session."""

from collections.abc import Callable
from typing import Any

import pytest
from prefect.client.schemas.objects import State

from flows.emergency_stop import emergency_stop
from flows.resume_trading import resume_trading
from trading.settings import Settings

pytestmark = pytest.mark.usefixtures("prefect_server")

Artifacts = Callable[[State[Any]], dict[str, str]]


def test_a_halt_is_cleared_at_rest_and_what_stands_is_told(trading_settings: Settings, artifacts: Artifacts) -> None:
    emergency_stop("fat finger", settings=trading_settings)
    emergency_stop("earnings", "symbol:AAA", settings=trading_settings)
    state = resume_trading(settings=trading_settings, return_state=True)
    assert state.is_completed(), state.message
    shown = artifacts(state)["resume-trading"]
    assert "1 halts were cleared." in shown
    assert "Stands: **symbol:AAA**: earnings" in shown


def test_a_session_that_runs_takes_risk_again(running: Settings) -> None:
    emergency_stop("fat finger", settings=running)
    answer = resume_trading(settings=running)
    assert isinstance(answer, dict)
    assert (answer["cleared"], answer["standing"], answer["answered_by"]) == (1, [], "session")
