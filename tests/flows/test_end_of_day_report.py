"""The flow end-of-day-report on a real Prefect server."""

import itertools
import time
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.objects import State
from prefect.client.schemas.schedules import CronSchedule

from flows.end_of_day_report import end_of_day_report
from flows.trading_session import trading_session
from storage.questions import ask
from storage.store import open_store
from tasks.composition import assemble
from tasks.end_of_day_steps import find_missed_days
from trading.calendar import TradingCalendar
from trading.errors import StoppedEarly
from trading.settings import Settings, parse_settings

pytestmark = pytest.mark.usefixtures("prefect_server")

DAY = date(2026, 1, 5)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A session of Monday that was killed in its sixth bar, holding what it bought; Friday before it was traded whole."""
    settings = parse_settings(
        {
            "session": {"symbols": ["AAA"], "timeframe": "30min", "account": "left-alone"},
            "policy": {"name": "buy_and_hold"},
            "feed": {"kind": "synthetic"},
            "store": {"path": str(tmp_path / "ledger.duckdb")},
        },
        "the test",
    )
    with assemble(settings, date(2026, 1, 2)) as desk:
        desk.agent.run_session()
    bars = itertools.count(1)
    with assemble(settings, DAY) as desk, pytest.raises(StoppedEarly):
        desk.agent.run_session(lambda: next(bars) == 6)
    with open_store(settings.store.path) as store, store.connection.transaction():
        store.connection.execute("UPDATE sessions SET state = 'RUNNING', reason = '' WHERE session_date = ?", [DAY])
    return settings


@pytest.fixture
def scheduled(settings: Settings) -> Iterator[str]:
    """A session deployment on the same ledger whose schedule is switched on."""
    with get_client(sync_client=True) as client:
        made = client.create_deployment(
            flow_id=client.create_flow(trading_session),
            name="forgotten",
            tags=["openbell", "session"],
            parameters={"settings": settings.model_dump(mode="json")},
            schedules=[
                DeploymentScheduleCreate(
                    schedule=CronSchedule(cron="15 9 * * 1-5", timezone="America/New_York"), active=True
                )
            ],
        )
        yield "forgotten"
        client.delete_deployment(made)


def events_of(session_id: str) -> list[dict[str, Any]]:
    """Events of a session, once there is one."""
    deadline = time.monotonic() + 60
    body = {"filter": {"resource": {"id": [f"openbell.session.{session_id}"]}}}
    with get_client(sync_client=True) as client:
        while True:
            found: list[dict[str, Any]] = client.request("POST", "/events/filter", json=body).json()["events"]
            if found:
                return found
            assert time.monotonic() < deadline
            time.sleep(0.2)


def test_a_day_is_closed_with_what_nobody_closed_and_the_day_before_that_was_missed(
    settings: Settings, scheduled: str, artifacts: Callable[[State[Any]], dict[str, Any]]
) -> None:
    name = f"{DAY}.left-alone.buy_and_hold"
    state = end_of_day_report(settings, DAY, return_state=True)
    assert state.is_completed(), state.message
    assert "2026-01-05, 1 fills" in str(state.message)
    assert ask(settings.store.path, "SELECT state FROM sessions WHERE session_date = '2026-01-05'").rows == (
        ("STOPPED",),
    )
    found = artifacts(state)
    assert set(found) == {
        "end-of-day-2026-01-02",
        "end-of-day-2026-01-05",
        "session-2026-01-02-left-alone-buy-and-hold",
        "session-2026-01-05-left-alone-buy-and-hold",
    }
    assert "Sessions that nobody closed" in found["end-of-day-2026-01-05"]
    assert "Positions were left open" in found["end-of-day-2026-01-05"]
    assert "its process ended without a word" in found["session-2026-01-05-left-alone-buy-and-hold"]
    assert "data:image/png;base64," in found["session-2026-01-05-left-alone-buy-and-hold"]
    [told] = events_of(name)
    assert told["event"] == "openbell.health.unfinished_session"
    assert "Ledger and broker agree" in told["payload"]["message"]
    assert "openbell reconcile" in told["payload"]["remedy"]

    # Again: nothing is left to end, and Friday is not missed any more.
    again = end_of_day_report(settings, DAY, return_state=True)
    assert again.result()["ended"] == []
    assert set(artifacts(again)) == {"end-of-day-2026-01-05", "session-2026-01-05-left-alone-buy-and-hold"}

    # It may well be missed of a strategy beside it, which has a ledger of its own.
    own = settings.model_copy(update={"session": settings.session.model_copy(update={"strategy": "Beside"})})
    missed = [[hours.session_date for hours in find_missed_days.fn(one, DAY, 4)] for one in (settings, own)]
    assert missed == [[], [date(2026, 1, 2)]]

    # The next session of the exchange: the schedule is there, and nobody trades it here.
    today = datetime.now(UTC).date()
    coming = TradingCalendar("XNYS", today).next_session_date(today)
    untraded = end_of_day_report(settings, coming, catch_up=False, return_state=True).result()
    [words] = untraded["not_traded"]
    assert words.startswith(f"not traded: buy_and_hold (deployment {scheduled})")


def test_a_day_without_a_session_ends_at_once_with_the_reason(tmp_path: Path) -> None:
    empty = parse_settings({"store": {"path": str(tmp_path / "ledger.duckdb")}}, "the test")
    state = end_of_day_report(empty, date(2026, 1, 19), return_state=True)
    assert (state.is_completed(), state.name) == (True, "ClosedDay")
    assert "Martin Luther King" in str(state.message)
    assert not (tmp_path / "ledger.duckdb").exists()
