"""The flow load-history on a real Prefect server, with a rehearsal gateway on a socket as the broker."""

import socket
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import State

from flows.load_history import load_history
from flows.replay_sessions import replay_sessions
from storage.questions import ask
from storage.store import open_store
from trading.errors import BrokerNotReady, SessionHeld
from trading.settings import Settings

pytestmark = pytest.mark.usefixtures("prefect_server")

PER_DAY = "SELECT CAST(bar_time AS DATE) AS day, count(*) FROM bars WHERE symbol = 'SPY' GROUP BY day ORDER BY day"


@pytest.fixture
def closed_port() -> int:
    """A port on which nobody listens."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    assert isinstance(port, int)
    return port


def settings_for(port: int, folder: Path) -> Settings:
    return Settings.model_validate(
        {
            "feed": {"kind": "ib"},
            "broker": {"ib": {"port": port, "connect_timeout_seconds": 5}},
            "store": {"path": folder / "ledger.duckdb"},
        }
    )


def test_gaps_are_filled_over_the_wire_and_what_differs_is_told(
    tmp_path: Path, start_gateway: Callable[..., Any], artifacts: Callable[[State[Any]], dict[str, Any]]
) -> None:
    with start_gateway("--feed", "synthetic", "--date", "2026-01-08") as gateway:
        settings = settings_for(gateway.port, tmp_path)
        first = load_history(settings, days=4, return_state=True)
        assert first.is_completed(), first.message
        # Thursday the eighth is being played there, and not over.
        assert ask(tmp_path / "ledger.duckdb", PER_DAY).rows == tuple((date(2026, 1, day), 390) for day in (5, 6, 7))
        assert first.result()["going"] == date(2026, 1, 8)
        run = FlowRunFilter(id=FlowRunFilterId(any_=[first.state_details.flow_run_id]))
        with get_client(sync_client=True) as client:
            names = {task.name for task in client.read_task_runs(flow_run_filter=run)}
        assert names == {"find gaps", "SPY 2026-01-05", "SPY 2026-01-06", "SPY 2026-01-07", "publish"}

        with open_store(settings.store.path) as store, store.connection.transaction():
            store.connection.execute("DELETE FROM bars WHERE bar_time = ?", [datetime(2026, 1, 6, 15, 0, tzinfo=UTC)])
            store.connection.execute(
                "UPDATE bars SET volume = 1 WHERE bar_time = ?", [datetime(2026, 1, 6, 15, 1, tzinfo=UTC)]
            )
        second = load_history(settings, symbols=["SPY", "NOSUCH"], days=3, return_state=True)
        assert second.is_completed(), second.message
    found = artifacts(second)
    assert "781 bars were missing in 2 sessions" in found["load-history"]
    assert "2026-01-06 15:01 UTC" in str(found["load-history-differences"])
    assert ask(tmp_path / "ledger.duckdb", PER_DAY).rows[1] == (date(2026, 1, 6), 390)
    notes = {(one["symbol"], one["loaded"]): one["note"] for one in second.result()["by_session"]}
    assert notes["SPY", 1] == ""
    assert "NOSUCH" in notes["NOSUCH", 0]


def test_without_a_source_it_ends_at_once_and_without_a_gateway_it_fails_in_words(
    tmp_path: Path, closed_port: int
) -> None:
    nowhere = load_history(Settings.model_validate({"store": {"path": tmp_path / "ledger.duckdb"}}), return_state=True)
    assert (nowhere.is_completed(), nowhere.name) == (True, "NothingToLoadFrom")
    assert not (tmp_path / "ledger.duckdb").exists()
    failed = load_history(settings_for(closed_port, tmp_path), return_state=True)
    assert failed.is_failed()
    assert isinstance(failed.result(raise_on_failure=False), BrokerNotReady)
    assert str(closed_port) in str(failed.message)


def test_beside_a_session_that_runs_nothing_is_written_and_the_state_says_why(
    running: Settings, tmp_path: Path
) -> None:
    """The session trades AAA and holds the database; its door answers who only looks."""
    lines = [f"2026-01-02T{14 + (30 + minute) // 60}:{(30 + minute) % 60:02d}:00Z,1,1,1,1,100" for minute in range(390)]
    (tmp_path / "AAA.csv").write_text("\n".join(["timestamp,open,high,low,close,volume", *lines]) + "\n")
    held = load_history(
        running,
        until=date(2026, 1, 2),
        days=1,
        files=str(tmp_path / "AAA.csv"),
        wait_minutes=0,
        return_state=True,
    )
    assert (held.is_failed(), held.name) == (True, "DatabaseHeld")
    assert "The bars of AAA 2026-01-02 are not stored" in str(held.message)
    assert "390 are still missing" in str(held.message)
    replayed = replay_sessions(running, date(2026, 1, 5), date(2026, 1, 6), return_state=True)
    assert replayed.is_failed()
    assert isinstance(replayed.result(raise_on_failure=False), SessionHeld)
    assert ask(running.store.path, "SELECT count(*) FROM bars").rows == ((0,),)
