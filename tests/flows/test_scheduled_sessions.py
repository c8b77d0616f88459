"""Runs that a schedule made, on a real server: which day they are for, and what becomes of those that come late.

The runs are real ones of a real schedule, made for times in the past; the wall that they are held against is a rehearsed one.
"""

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from prefect import Flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.objects import State
from prefect.client.schemas.schedules import CronSchedule
from prefect.flow_engine import run_flow

from flows.trading_session import trading_session
from storage.questions import ask
from trading.clocks.wall_clock import rehearsing_at
from trading.risk_events import RiskEvent, RiskEventKind, hearing_sessions
from trading.sessions import SessionSummary

pytestmark = pytest.mark.usefixtures("prefect_server")

TUESDAY, BLACK_FRIDAY = date(2025, 11, 25), date(2025, 11, 28)


def new_york(day: date, clock: str) -> datetime:
    """In winter."""
    hour, minute = clock.split(":")
    return datetime(day.year, day.month, day.day, int(hour) + 5, int(minute), tzinfo=UTC)


def settings(folder: Path, **sections: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "session": {"timeframe": "30min", "symbols": ["AAA"], "pace": "live", **sections.get("session", {})},
        "feed": {"kind": "synthetic"},
        "policy": {"name": "buy_and_hold"},
        "risk": {"max_price_age_seconds": "off"},
        "store": {"path": str(folder / "ledger.duckdb")},
        **{name: section for name, section in sections.items() if name != "session"},
    }


@pytest.fixture
def client() -> Iterator[SyncPrefectClient]:
    with get_client(sync_client=True) as one:
        yield one


@pytest.fixture
def runs_of_schedule(client: SyncPrefectClient) -> Callable[..., list[UUID]]:
    """The runs that the session's schedule wanted between two days, both included, oldest first."""

    def make(parameters: dict[str, Any], first: date, last: date) -> list[UUID]:
        schedule = CronSchedule(cron="15 9 * * 1-5", timezone="America/New_York")
        deployment = client.create_deployment(
            flow_id=client.create_flow(trading_session),
            name=f"rehearsed {datetime.now(UTC).timestamp()}",
            parameters=parameters,
            schedules=[DeploymentScheduleCreate(schedule=schedule, active=True)],
            paused=False,
        )
        between = {
            "start_time": new_york(first, "00:00").isoformat(),
            "end_time": new_york(last, "18:00").isoformat(),
            "min_runs": 10,
            "max_runs": 10,
        }
        client.request("POST", f"/deployments/{deployment}/schedule", json=between).raise_for_status()
        body = {"deployments": {"id": {"any_": [str(deployment)]}}, "sort": "EXPECTED_START_TIME_ASC"}
        found = client.request("POST", "/flow_runs/filter", json=body).json()
        # The server's own scheduler looks ahead from today on.
        due = [one for one in found if one["expected_start_time"] < between["end_time"]]
        assert all(one["auto_scheduled"] for one in due)
        return [UUID(one["id"]) for one in due]

    return make


@pytest.fixture
def take_up(client: SyncPrefectClient) -> Callable[[UUID], State[Any]]:
    """Run one of them as a worker does."""

    def take(flow_run_id: UUID) -> State[Any]:
        run = client.read_flow_run(flow_run_id)
        flow: Flow[Any, Any] = trading_session
        parameters = flow.validate_parameters(run.parameters)
        state = run_flow(flow, flow_run=run, parameters=parameters, return_type="state")
        assert isinstance(state, State)
        return state

    return take


def test_after_an_outage_today_is_traded_and_nothing_else(
    tmp_path: Path,
    runs_of_schedule: Callable[..., list[UUID]],
    take_up: Callable[[UUID], State[Any]],
    striding_wall: type,
) -> None:
    # Tuesday to Friday; Thursday is Thanksgiving. The worker takes them up in whatever order.
    tuesday, wednesday, thursday, friday = runs_of_schedule({"settings": settings(tmp_path)}, TUESDAY, BLACK_FRIDAY)
    with rehearsing_at(striding_wall(new_york(BLACK_FRIDAY, "09:20"))):
        states = {name: take_up(run) for name, run in
                  {"wednesday": wednesday, "friday": friday, "tuesday": tuesday, "thursday": thursday}.items()}  # fmt: skip

    assert {name: state.name for name, state in states.items()} == {
        "tuesday": "Skipped", "wednesday": "Skipped", "thursday": "ClosedDay", "friday": "Completed",
    }  # fmt: skip
    assert all(state.is_completed() for state in states.values())
    assert "This run is for Wednesday 2025-11-26, 09:15 at XNYS, and it is Friday" in str(states["wednesday"].message)
    assert "Thanksgiving" in str(states["thursday"].message)
    # The bell was waited for, and a half day is over at one: seven bars of half an hour.
    rows = ask(tmp_path / "ledger.duckdb", "select session_date, state, only_reduces from sessions").rows
    assert rows == ((BLACK_FRIDAY, "COMPLETED", ""),)
    [[bars, first, orders]] = ask(
        tmp_path / "ledger.duckdb",
        "select count(distinct bar_time), min(bar_time), (select count(*) from orders) from decisions",
    ).rows
    assert (bars, first.astimezone(UTC)) == (7, new_york(BLACK_FRIDAY, "09:30"))
    assert orders > 0


def test_a_run_that_comes_late_on_its_day_only_reduces_and_stays_like_that(
    tmp_path: Path,
    runs_of_schedule: Callable[..., list[UUID]],
    take_up: Callable[[UUID], State[Any]],
    striding_wall: type,
) -> None:
    [friday] = runs_of_schedule({"settings": settings(tmp_path)}, BLACK_FRIDAY, BLACK_FRIDAY)
    heard: list[RiskEvent] = []
    with (
        rehearsing_at(striding_wall(new_york(BLACK_FRIDAY, "12:05"))),
        hearing_sessions(heard.append, [RiskEventKind.LATE_START]),
    ):
        state = take_up(friday)

    summary = state.result()
    assert isinstance(summary, SessionSummary)
    # From the bar on that was over at noon: 11:30, 12:00, 12:30.
    assert (summary.bars, summary.orders) == (3, 0)
    kept = ask(tmp_path / "ledger.duckdb", "select distinct rule, verdict from risk_checks").rows
    assert ("late_start", "REFUSED") in kept
    [[only_reduces]] = ask(tmp_path / "ledger.duckdb", "select only_reduces from sessions").rows
    assert "minutes after the opening bell of 09:30" in only_reduces
    assert [event.facts["policy"] for event in heard] == ["reduce_only"]


@pytest.mark.parametrize(
    ("clock", "policy", "words"),
    [("10:00", "refuse", "late_policy is refuse"), ("13:00", "trade", "The session of 2025-11-28 closed at 13:00")],
)
def test_a_run_that_is_refused_for_its_time_fails_where_somebody_sees_it(
    tmp_path: Path,
    runs_of_schedule: Callable[..., list[UUID]],
    take_up: Callable[[UUID], State[Any]],
    striding_wall: type,
    clock: str,
    policy: str,
    words: str,
) -> None:
    wanted = settings(tmp_path, session={"late_policy": policy, "timeframe": "1min"})
    [friday] = runs_of_schedule({"settings": wanted}, BLACK_FRIDAY, BLACK_FRIDAY)
    with rehearsing_at(striding_wall(new_york(BLACK_FRIDAY, clock))):
        state = take_up(friday)

    assert (state.is_failed(), state.name) == (True, "Failed")
    assert words in str(state.message)
    assert ask(tmp_path / "ledger.duckdb", "select count(*) from orders").rows == ((0,),)


def test_a_date_in_the_form_is_traded_whenever_the_run_was_scheduled(
    tmp_path: Path,
    runs_of_schedule: Callable[..., list[UUID]],
    take_up: Callable[[UUID], State[Any]],
) -> None:
    wanted = settings(tmp_path, session={"pace": "max", "timeframe": "1min", "granularity": "chunk"})
    parameters = {"settings": wanted, "session_date": BLACK_FRIDAY.isoformat()}
    [tuesday] = runs_of_schedule(parameters, TUESDAY, TUESDAY)
    summary = take_up(tuesday).result()
    # From half past nine to one.
    assert (summary.session_date, summary.bars) == (BLACK_FRIDAY, 210)
