"""How long a person waits for a session: the whole command on a warm machine, and a session shown stage by stage."""

import os
import subprocess
import sys
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from prefect.client.orchestration import get_client
from prefect.testing.utilities import prefect_test_harness

from flows.trading_session import trading_session
from storage.store import open_store
from trading.settings import Settings

BARS = 390
MAX_STAGE_SECONDS = 15.0


def test_wall_time_of_the_command(figures: Any, tmp_path: Path) -> None:
    """What `make session` runs, twice: the first time makes Prefect's own database and warms the disk."""
    for run in ("cold", "warm"):
        database = tmp_path / f"{run}.duckdb"
        started = datetime.now(UTC)
        done = subprocess.run(
            [str(Path(sys.executable).with_name("openbell")), "session", "--json", "--db", str(database)],
            env=os.environ | {"PREFECT_HOME": str(tmp_path / "prefect")},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        ended = datetime.now(UTC)
        assert done.returncode == 0, done.stderr
    with open_store(database, read_only=True) as store:
        [(opened_at, closed_at)] = store.connection.rows("SELECT started_at, ended_at FROM sessions")
    name = "openbell session"
    figures.add(f"{name}: whole", (ended - started).total_seconds(), "s", note="warm machine, temporary Prefect server")
    figures.add(f"{name}: start-up", (opened_at - started).total_seconds(), "s", note="until the session is open")
    figures.add(f"{name}: session", (closed_at - opened_at).total_seconds(), "s", note=f"{BARS} bars and their tasks")
    figures.add(f"{name}: shutdown", (ended - closed_at).total_seconds(), "s", note="report, flow and server ended")


def test_a_session_shown_stage_by_stage(figures: Any, tmp_path: Path) -> None:
    settings = Settings.model_validate(
        {
            "session": {"granularity": "stage"},
            "feed": {"kind": "synthetic"},
            "store": {"path": tmp_path / "stages.duckdb"},
        }
    )
    with prefect_test_harness(server_startup_timeout=120):
        state = trading_session(settings, date(2026, 1, 5), return_state=True)
        assert state.is_completed(), state.message
        assert state.state_details.flow_run_id is not None
        with get_client(sync_client=True) as client:
            flow_run = client.read_flow_run(state.state_details.flow_run_id)
    with open_store(settings.store.path, read_only=True) as store:
        [(bars, closed_at)] = store.connection.rows(
            "SELECT (SELECT count(*) FROM equity), ended_at FROM sessions WHERE state = 'COMPLETED'"
        )
    assert bars == BARS
    assert flow_run.start_time is not None
    figures.add(
        f"{BARS} bars with stage task runs",
        (closed_at - flow_run.start_time).total_seconds(),
        "s",
        at_most=MAX_STAGE_SECONDS,
        note="from the flow's start to the session's close in the ledger",
    )
    figures.add(
        "the same, to the end of the flow",
        flow_run.total_run_time.total_seconds(),
        "s",
        note="with run history compared and artifacts written",
    )
