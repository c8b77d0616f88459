"""The flow on a real Prefect server: its states, its task runs, its artifacts. Sessions of 30-minute bars are quick."""

import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State

from flows.trading_session import run, trading_session
from storage.questions import ask
from trading.errors import ClosedDay, Unreconciled
from trading.sessions import SessionState
from trading.settings import Settings, parse_settings

pytestmark = pytest.mark.usefixtures("prefect_server")

Make = Callable[..., Settings]


@pytest.fixture
def settings(tmp_path: Path) -> Make:
    def make(**sections: dict[str, Any]) -> Settings:
        session = {"timeframe": "30min", "symbols": ["AAA", "BBB"], **sections.pop("session", {})}
        policy = {"parameters": {"fast": 2, "slow": 4}, **sections.pop("policy", {})}
        store = {"path": str(tmp_path / "ledger.duckdb")}
        feed = {"kind": "synthetic"}
        return parse_settings(
            {"session": session, "policy": policy, "store": store, "feed": feed, **sections}, "the test"
        )

    return make


def task_runs(state: State[Any]) -> list[dict[str, Any]]:
    """All task runs of the flow run that the server has, in the order in which they started."""
    flow_run_id = str(state.state_details.flow_run_id)
    with get_client(sync_client=True) as client:
        body = {"flow_runs": {"id": {"any_": [flow_run_id]}}, "limit": 200}
        found: list[dict[str, Any]] = client.request("POST", "/task_runs/filter", json=body).json()
    return sorted(found, key=lambda one: one["start_time"])


def settled_task_runs(state: State[Any], expected: int) -> list[dict[str, Any]]:
    """Task runs once the server has written down as many as are expected; events reach it a little later."""
    deadline = time.monotonic() + 30
    while len(found := task_runs(state)) < expected and time.monotonic() < deadline:
        time.sleep(0.2)
    return found


def artifacts(flow_run_id: UUID | None) -> dict[str, dict[str, Any]]:
    with get_client(sync_client=True) as client:
        body = {"artifacts": {"flow_run_id": {"any_": [str(flow_run_id)]}}}
        found = client.request("POST", "/artifacts/filter", json=body).json()
    return {one["key"]: one for one in found}


def test_a_session_shows_the_stages_of_each_bar_under_readable_names(settings: Make) -> None:
    state = trading_session(settings(session={"granularity": "stage"}), date(2026, 1, 5), return_state=True)

    names = [one["name"] for one in settled_task_runs(state, 58)]
    # 6.5 hours hold 13 bars of half an hour.
    bars = [f"{label} {stage}" for label in half_hours() for stage in ("decide", "risk", "route")]
    assert [name for name in names if name in set(bars)] == bars
    assert [name for name in names if name not in set(bars)] == [
        "open session",
        "load warmup",
        "validation",
        "reconcile: open",
        # Bars of half an hour, a comparison each quarter: one before each bar but the first.
        *["reconcile: scheduled"] * 12,
        "end of session",
        "reconcile: close",
        "end of day P&L",
    ]
    assert state.is_completed()


def half_hours() -> list[str]:
    return [f"{minutes // 60:02d}:{minutes % 60:02d}" for minutes in range(9 * 60 + 30, 16 * 60, 30)]


@pytest.mark.parametrize(("granularity", "label", "runs"), [("bar", " bar", 13), ("chunk", " and on", 1)])
def test_a_setting_chooses_how_much_one_task_run_shows(settings: Make, granularity: str, label: str, runs: int) -> None:
    state = trading_session(settings(session={"granularity": granularity}), date(2026, 1, 5), return_state=True)

    assert (
        sum(label in one["name"] for one in settled_task_runs(state, runs + 7 + (12 if granularity == "bar" else 0)))
        == runs
    )


def test_every_granularity_trades_the_same(settings: Make, tmp_path: Path) -> None:
    summaries = []
    for granularity in ("stage", "bar", "chunk"):
        chosen = settings(session={"granularity": granularity}, store={"path": str(tmp_path / f"{granularity}.duckdb")})
        summaries.append(run(chosen, date(2026, 1, 5)))

    assert summaries[0].bars == 13
    assert summaries[0].orders > 0
    assert len({(one.orders, one.fills, one.equity, one.realized_pnl) for one in summaries}) == 1


def test_the_run_ends_with_full_progress_and_a_closing_report(settings: Make) -> None:
    state = trading_session(settings(), date(2026, 1, 5), return_state=True)

    found = artifacts(state.state_details.flow_run_id)
    assert found["session-progress"]["data"] == 100.0
    report = found["session-2026-01-05-synthetic-sma-crossover"]["data"]
    assert report.startswith("# Session 2026-01-05 (SYNTHETIC prices)")
    assert "Ledger and broker agree." in report
    assert "`decide`: All 13 task runs of the bars are recorded." in report


def test_a_completed_session_is_not_traded_again(settings: Make) -> None:
    first = run(settings(), date(2026, 1, 5))
    state = trading_session(settings(), date(2026, 1, 5), return_state=True)

    assert state.result() == first
    assert [one["name"] for one in settled_task_runs(state, 1)] == ["open session"]


def test_a_closed_day_completes_at_once_and_says_why(settings: Make) -> None:
    with pytest.raises(ClosedDay, match="Martin Luther King"):
        run(settings(), date(2026, 1, 19))

    state = trading_session(settings(), date(2026, 1, 19), return_state=True)
    assert state.is_completed()
    assert state.name == "ClosedDay"
    assert state.message is not None
    assert "The next session is on 2026-01-20" in state.message


def test_a_refused_session_fails_with_the_reason_and_the_ledger_keeps_it(settings: Make, tmp_path: Path) -> None:
    run(settings(policy={"name": "buy_and_hold", "parameters": {}}), date(2026, 1, 5))
    # The account forgets: its file is gone, while the ledger holds shares.
    (tmp_path / "ledger.synthetic.sqlite").unlink()

    with pytest.raises(Unreconciled, match=r"AAA.*broker no such execution"):
        run(settings(policy={"name": "buy_and_hold", "parameters": {}}), date(2026, 1, 6))

    kept = ask(tmp_path / "ledger.duckdb", "select state, reason from sessions where session_date = '2026-01-06'")
    assert kept.rows[0][0] == SessionState.REFUSED
    assert "disagree" in kept.rows[0][1]


def test_the_form_of_the_flow_describes_every_setting(settings: Make) -> None:
    del settings
    schema = trading_session.parameters.model_dump()
    sections = schema["definitions"]["Settings"]["properties"]
    assert {"session", "sizing", "risk", "orders", "broker", "policy", "store"} <= set(sections)
    fraction = schema["definitions"]["RiskSettings"]["properties"]["max_position_fraction"]
    assert "fraction of equity" in fraction["description"]
