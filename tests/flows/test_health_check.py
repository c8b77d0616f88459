"""The health check on a real Prefect server: what it misses is an event that an alert can take up, and a table."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.objects import State
from prefect.client.schemas.schedules import CronSchedule
from prefect.states import Running

from flows.health_check import health_check
from flows.trading_session import trading_session
from storage.store import open_store
from trading.settings import Settings, parse_settings

pytestmark = pytest.mark.usefixtures("prefect_server")
IN_THE_SESSION = datetime(2026, 1, 5, 15, 0, tzinfo=UTC)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    made = parse_settings({"store": {"path": str(tmp_path / "ledger.duckdb")}}, "the test")
    with open_store(made.store.path):
        pass
    return made


def events_of(state: State[Any]) -> list[dict[str, Any]]:
    """Events of ours that are related to the run, once they are there."""
    run = f"prefect.flow-run.{state.state_details.flow_run_id}"
    body = {"filter": {"event": {"prefix": ["openbell.health."]}, "related": {"id": [run]}}, "limit": 50}
    deadline = time.monotonic() + 30
    with get_client(sync_client=True) as client:
        while True:
            found: list[dict[str, Any]] = client.request("POST", "/events/filter", json=body).json()["events"]
            if found or time.monotonic() > deadline:
                return found
            time.sleep(0.25)


def test_a_scheduled_session_that_did_not_begin_is_told(
    settings: Settings, artifacts: Callable[[State[Any]], dict[str, str]]
) -> None:
    """Also a run whose process is gone. One deployment is on this ledger, one on another."""
    made, run = [], None
    ended = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    with get_client(sync_client=True) as client:
        flow_id = client.create_flow(trading_session)
        schedule = DeploymentScheduleCreate(schedule=CronSchedule(cron="0 0 1 1 *"), active=True)
        for strategy, path in (
            ("trend", settings.store.path),
            ("elsewhere", settings.store.path.with_name("x.duckdb")),
        ):
            given = {"session": {"strategy": strategy}, "store": {"path": str(path)}}
            made.append(
                client.create_deployment(
                    flow_id,
                    f"{strategy}-{uuid4().hex[:6]}",
                    schedules=[schedule],
                    parameters={"settings": given},
                    tags=["openbell", "session"],
                )
            )
        try:
            run = client.create_flow_run(trading_session, name="lost run", tags=["openbell"]).id
            client.set_flow_run_state(run, Running(), force=True)
            client.update_flow_run(run, infrastructure_pid=ended.stdout.decode().strip())
            state = health_check(settings, at=IN_THE_SESSION, return_state=True)
        finally:
            for deployment in made:
                client.delete_deployment(deployment)
            if run is not None:
                client.delete_flow_run(run)
    assert (state.is_completed(), state.name) == (True, "Unwell")
    events = events_of(state)
    told = {event["event"]: event for event in events}
    missing = told["openbell.health.session_missing"]
    assert missing["payload"]["message"].startswith("No session of trend has begun today")
    assert missing["payload"]["remedy"]
    assert missing["payload"]["level"] == "bad"
    assert "elsewhere" not in str(told)
    # The server is shared: others may have left a run behind too.
    zombies = [event for event in events if event["event"] == "openbell.health.zombie_run"]
    [lost] = [event for event in zombies if "lost run" in event["payload"]["message"]]
    labels = [event["resource"]["openbell.health.subject"] for event in (missing, lost)]
    assert labels == ["session_missing", "other"]
    rows = json.loads(artifacts(state)["health"])
    assert {row["subject"]: row["state"] for row in rows}["database"] == "ok"
    assert rows[0]["state"] == "bad"


def test_on_a_closed_day_it_says_so_at_once(settings: Settings) -> None:
    settings.store.path.unlink()
    closed = health_check(settings, at=datetime(2026, 1, 4, 15, 0, tzinfo=UTC), return_state=True)
    assert (closed.is_completed(), closed.name) == (True, "Closed")
    assert "the next is on 2026-01-05" in str(closed.message)
