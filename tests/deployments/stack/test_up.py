"""``openbell up`` for real: from nothing to a session that a worker trades, and to nothing again.

One stack for all of it, with a password, in another time zone, without a terminal and without HOME.
"""

import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from storage.questions import ask
from tasks.prefect_access import PrefectAccess

HOUSE = Path(__file__).parents[3]
PASSWORD = "operator:only-for-this-test"
SECONDS = 240.0
SETTINGS = """
[session]
timeframe = "30min"
symbols = ["AAA"]
[policy]
name = "buy_and_hold"
[feed]
kind = "synthetic"
"""


@dataclass(frozen=True)
class Stack:
    """A stack that is up: what it said of itself, and a client that knows the password."""

    home: Path
    process: "subprocess.Popen[str]"
    said: dict[str, Any]
    client: httpx.Client
    environment: dict[str, str]

    def start_run(self, **settings: Any) -> str:
        """Start a session as the form does; the id of its flow run."""
        deployment = self.client.get("/deployments/name/trading-session/session").json()
        document = {
            "session": {"timeframe": "30min", "symbols": ["AAA"], "pace": "max", **settings.pop("session", {})},
            "policy": {"name": "buy_and_hold"},
            "feed": {"kind": "synthetic"},
            **settings,
        }
        body = {"parameters": {"settings": document, "session_date": "2026-01-05"}, "state": {"type": "SCHEDULED"}}
        answer = self.client.post(f"/deployments/{deployment['id']}/create_flow_run", json=body)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def state_of(self, run: str) -> str:
        return str(self.client.get(f"/flow_runs/{run}").json()["state"]["type"])

    def workers_words(self) -> str:
        """The end of the worker's log, with what its runs said."""
        return (self.home / ".openbell" / "prefect" / "logs" / "worker.log").read_text()[-4_000:]

    def processes(self) -> list[int]:
        """Everything that runs in its home, by the environment: whatever group or parent it has."""
        mark = f"OPENBELL_HOME={self.home}".encode()
        found = []
        for folder in Path("/proc").iterdir():
            try:
                if folder.name.isdigit() and mark in (folder / "environ").read_bytes().split(b"\0"):
                    found.append(int(folder.name))
            except OSError:
                continue
        return found


def wait_until(is_so: Callable[[], bool], process: "subprocess.Popen[str] | None" = None) -> None:
    deadline = time.monotonic() + SECONDS
    while not is_so():
        assert time.monotonic() < deadline
        assert process is None or process.poll() is None
        time.sleep(0.2)


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "deployments.terminal", *map(str, arguments)]


def write_deployments(home: Path) -> None:
    """Those of the house, none of which begins by itself while the stack is up, whatever the day and the hour: in New York a session
    would at a quarter past nine, and hold the database that a test trades on."""
    document = yaml.safe_load((HOUSE / "prefect.yaml").read_text(encoding="utf-8"))
    on_another_day = datetime.now(UTC) + timedelta(days=2)
    for one in document["deployments"]:
        for schedule in one.get("schedules", []):
            schedule |= {"cron": f"{on_another_day:%M %H %d %m} *", "timezone": "UTC"}
    (home / "prefect.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    home = tmp_path_factory.mktemp("home").resolve()
    (home / "openbell.toml").write_text(SETTINGS)
    write_deployments(home)
    environment = {
        name: value for name, value in os.environ.items() if name not in ("HOME", "PREFECT_HOME", "PREFECT_API_URL")
    }
    environment.update(
        OPENBELL_HOME=str(home),
        PYTHONPATH=str(HOUSE),
        TZ="Asia/Tokyo",
        PATH="/usr/bin:/bin",
        PREFECT_SERVER_API_AUTH_STRING=PASSWORD,
    )
    with (home / "said.log").open("w") as said:
        process = subprocess.Popen(
            command("up", "--port", 0, "--json"),
            cwd="/",
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=said,
            text=True,
            # As a terminal has it, also where tests run in the background.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
    assert process.stdout is not None
    try:
        ready, _, _ = select.select([process.stdout], [], [], SECONDS)
        line = process.stdout.readline() if ready else ""
        assert line, (home / "said.log").read_text()
        answer = json.loads(line)
        access = PrefectAccess(answer["api"], environment)
        with httpx.Client(base_url=answer["api"], auth=access, timeout=30) as client:
            yield Stack(home, process, answer, client, environment)
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(150)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        process.stdout.close()


def test_the_page_and_its_api_are_there_and_ask_for_the_password(stack: Stack) -> None:
    with httpx.Client(timeout=30) as stranger:
        page = stranger.get(stack.said["ui"])
        assert (page.status_code, "<html" in page.text.lower()) == (200, True)
        settings = stranger.get(f"{stack.said['ui']}/ui-settings").json()
        assert (settings["api_url"], settings["auth"]) == (stack.said["api"], "BASIC")
        assert stranger.get(f"{stack.said['api']}/health").json() is True
        assert stranger.get(f"{stack.said['api']}/admin/version").status_code == 401
        assert stranger.get(f"{stack.said['api']}/admin/version", auth=("operator", "guessed")).status_code == 401
    assert stack.client.post("/deployments/filter", json={}).status_code == 200
    # A form on somebody else's page could send as much, with the password that the browser knows: it has no token.
    asked, form = f"{stack.said['api']}/deployments/filter", {"Content-Type": "text/plain"}
    name, _, secret = PASSWORD.partition(":")
    assert httpx.post(asked, content=b"{}", headers=form, auth=(name, secret), timeout=30).status_code == 403
    # A page of somebody else that is open in the same browser is not let in.
    preflight = {"Origin": "http://elsewhere.example", "Access-Control-Request-Method": "POST"}
    assert "access-control-allow-origin" not in stack.client.options("/deployments/filter", headers=preflight).headers


def test_deployments_are_written_scheduled_and_taken_by_a_worker(stack: Stack) -> None:
    found = stack.client.post("/deployments/filter", json={"deployments": {"tags": {"all_": ["openbell"]}}}).json()
    assert "session" in {one["name"] for one in found}
    workers = stack.client.post("/work_pools/openbell/workers/filter", json={}).json()
    assert [one["status"] for one in workers] == ["ONLINE"]
    [session] = [one for one in found if one["name"] == "session"]
    scheduled = {"flow_runs": {"deployment_id": {"any_": [session["id"]]}, "state": {"type": {"any_": ["SCHEDULED"]}}}}
    wait_until(lambda: len(stack.client.post("/flow_runs/filter", json=scheduled).json()) >= 1)


def test_a_second_one_of_the_same_home_says_where_the_first_is(stack: Stack) -> None:
    second = subprocess.run(
        command("up", "--json"),
        cwd="/",
        env=stack.environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert second.returncode == 0, second.stderr
    assert json.loads(second.stdout)["api"] == stack.said["api"]


def test_sessions_are_traded_and_the_one_that_runs_at_the_end_ends_in_order(stack: Stack) -> None:
    stopped = stack.home / "stopped.duckdb"
    done = stack.start_run()
    running = stack.start_run(session={"timeframe": "1min", "pace": 60}, store={"path": str(stopped)})
    wait_until(lambda: stack.state_of(done) in ("COMPLETED", "FAILED", "CRASHED"), stack.process)
    assert stack.state_of(done) == "COMPLETED", stack.workers_words()
    # Its settings named no database: it is in the home, where the run worked.
    assert ask(stack.home / "openbell.duckdb", "SELECT state FROM sessions").rows == (("COMPLETED",),)
    bars = "SELECT count(DISTINCT bar_time) FROM equity"
    wait_until(lambda: stopped.exists() and ask(stopped, bars).rows[0][0] >= 1, stack.process)
    assert stack.state_of(running) == "RUNNING"
    assert stack.process.pid in stack.processes()

    stack.process.send_signal(signal.SIGTERM)
    assert stack.process.wait(150) == 0

    assert stack.processes() == []
    [(state, last_bar)] = ask(stopped, "SELECT state, last_bar_time IS NOT NULL FROM sessions").rows
    assert (state, last_bar) == ("STOPPED", True)
    with pytest.raises(httpx.TransportError):
        stack.client.get("/health")


def test_a_host_that_others_reach_is_refused_without_a_password(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "PREFECT_SERVER_API_AUTH_STRING"}
    for asked in ("up",):
        refused = subprocess.run(
            command(asked, "--host", "0.0.0.0", "--port", 0),
            cwd=tmp_path,
            env={**environment, "OPENBELL_HOME": str(tmp_path), "PYTHONPATH": str(HOUSE)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert refused.returncode == 2
        assert "PREFECT_SERVER_API_AUTH_STRING" in refused.stderr
    assert not (tmp_path / ".openbell").exists()


def test_a_port_that_somebody_has_is_refused_with_who_it_is(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        refused = subprocess.run(
            command("up", "--port", taken.getsockname()[1]),
            cwd=tmp_path,
            env={**os.environ, "OPENBELL_HOME": str(tmp_path), "PYTHONPATH": str(HOUSE)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert refused.returncode == 2
    assert f"process {os.getpid()}" in refused.stderr
    assert "--port" in refused.stderr
