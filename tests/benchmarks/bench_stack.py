"""How long a person waits for the local stack: until the UI can be used, and from starting a run to its first bar."""

import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx

from storage.questions import ask
from tasks.prefect_access import PrefectAccess

MAX_UP_SECONDS = 40.0
MAX_FIRST_BAR_SECONDS = 25.0
SECONDS = 300.0


def test_up_and_a_run_to_its_first_bar(figures: Any, tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name not in ("PREFECT_HOME", "PREFECT_API_URL")}
    began = time.monotonic()
    with (tmp_path / "said.log").open("w") as said:
        stack = subprocess.Popen(
            [str(Path(sys.executable).with_name("openbell")), "up", "--port", "0", "--json"],
            env={**environment, "OPENBELL_HOME": str(tmp_path)},
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=said,
            text=True,
        )
    assert stack.stdout is not None
    try:
        ready, _, _ = select.select([stack.stdout], [], [], SECONDS)
        line = stack.stdout.readline() if ready else ""
        assert line, (tmp_path / "said.log").read_text()
        api = json.loads(line)["api"]
        with httpx.Client(base_url=api, auth=PrefectAccess(api), timeout=30) as client:
            assert client.get(json.loads(line)["ui"]).status_code == 200
            up = time.monotonic() - began
            first_bar = _seconds_to_first_bar(client, tmp_path / "first.duckdb")
    finally:
        stopping = time.monotonic()
        stack.send_signal(signal.SIGTERM)
        assert stack.wait(150) == 0
        stopped = time.monotonic() - stopping
        stack.stdout.close()
    name = "openbell up"
    figures.add(
        f"{name}: to a usable UI", up, "s", at_most=MAX_UP_SECONDS, note="new home, all deployments, a worker online"
    )
    figures.add(f"{name}: of its limit", up / MAX_UP_SECONDS, "", at_most=1.0)
    figures.add(
        "deployment run to the first bar",
        first_bar,
        "s",
        at_most=MAX_FIRST_BAR_SECONDS,
        note="its bar is in the ledger",
    )
    figures.add("deployment run to the first bar: of its limit", first_bar / MAX_FIRST_BAR_SECONDS, "", at_most=1.0)
    figures.add(f"{name}: stopped with a session that runs", stopped, "s", note="the session ends in order first")


def _seconds_to_first_bar(client: httpx.Client, database: Path) -> float:
    """From the request that starts a session to the moment at which its first bar can be read; it goes on trading."""
    deployment = client.get("/deployments/name/trading-session/session").json()["id"]
    settings = {
        "session": {"symbols": ["AAA"], "pace": 60},
        "policy": {"name": "buy_and_hold"},
        "feed": {"kind": "synthetic"},
        "store": {"path": str(database)},
    }
    body = {"parameters": {"settings": settings, "session_date": "2026-01-05"}, "state": {"type": "SCHEDULED"}}
    began = time.monotonic()
    client.post(f"/deployments/{deployment}/create_flow_run", json=body).raise_for_status()
    while not database.exists() or ask(database, "SELECT count(*) FROM equity").rows[0][0] == 0:
        assert time.monotonic() - began < SECONDS
        time.sleep(0.2)
    return time.monotonic() - began
