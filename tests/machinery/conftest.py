"""A whole stack of ``openbell up`` with alerts that arrive, and sessions of its deployments that take long enough to be hurt."""

import json
import os
import select
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from storage.questions import ask
from storage.store import open_store
from tasks.composition import assemble
from tasks.prefect_access import PrefectAccess
from trading.errors import StoreBusy
from trading.settings import parse_settings

HOUSE = Path(__file__).parents[2]
PATIENCE_SECONDS = 180.0
DAY = date(2026, 1, 5)
DEPLOYED = ("session", "reconciliation", "flatten")
ENDED = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")


def wait_until(is_so: Callable[[], Any], what: str, seconds: float = PATIENCE_SECONDS) -> Any:
    """The first true value of ``is_so``."""
    deadline = time.monotonic() + seconds
    while not (found := is_so()):
        assert time.monotonic() < deadline, f"not within {seconds:g} seconds: {what}"
        time.sleep(0.05)
    return found


@dataclass(frozen=True)
class Place:
    """A folder with a database, its paper account and the settings of a session, which trades two symbols by turns."""

    folder: Path

    @property
    def ledger(self) -> Path:
        return self.folder / "ledger.duckdb"

    @property
    def account(self) -> Path:
        return self.folder / "account.sqlite"

    def document(self, pace: float | str, **more: Any) -> dict[str, Any]:
        """The settings as a flow run takes them. At a pace of 600 a bar takes a second, and the session 39."""
        document = {
            "session": {
                "symbols": ["AAA", "BBB"],
                "timeframe": "10min",
                "account": self.folder.name,
                "pace": pace,
                "granularity": "chunk",
            },
            "feed": {"kind": "synthetic"},
            "policy": {"parameters": {"fast": 2, "slow": 4}},
            "orders": {"allow_short": True},
            "broker": {"paper": {"max_volume_fraction": "0.0005", "path": str(self.account)}},
            "store": {"path": str(self.ledger)},
        }
        return document | more

    def orders_at_the_broker(self) -> int:
        """How many orders the broker has; SQLite answers while a session trades."""
        if not self.account.exists():
            return 0
        try:
            with closing(sqlite3.connect(self.account, timeout=5)) as account:
                [(count,)] = account.execute("SELECT count(*) FROM orders").fetchall()
        except sqlite3.OperationalError:  # it is being made
            return 0
        return int(count)

    def asked(self, sql: str) -> list[tuple[Any, ...]]:
        """What the ledger says, through its holder's door while a session runs. Nothing where there is none yet."""
        return [tuple(row) for row in ask(self.ledger, sql).rows] if self.ledger.exists() else []

    def state(self) -> str:
        [[state]] = self.asked("SELECT state FROM sessions") or [[""]]
        return str(state)

    def wait_until_let_go(self) -> None:
        """A killed process lets go of its files a little after the kill."""

        def is_free() -> bool:
            try:
                with open_store(self.ledger, read_only=True):
                    return True
            except StoreBusy:
                return False

        wait_until(is_free, "the ledger is free")


class Receiver:
    """Where alerts arrive: JSON by POST."""

    def __init__(self) -> None:
        self.subjects: list[str] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                said = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                receiver.subjects.append(f"{said.get('subject', '')} {said['text'].splitlines()[0]}")
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self._server.server_port}/"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@dataclass
class Stack:
    """A stack in a home of its own: its processes by their pids, its server by a client, its alerts."""

    home: Path
    alerts: Receiver
    process: "subprocess.Popen[str]" = field(init=False)
    client: httpx.Client = field(init=False)
    port: int = 0

    def start(self) -> None:
        """Bring it up; a second time on the port of the first."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT")}
        environment.update(
            OPENBELL_HOME=str(self.home),
            PYTHONPATH=str(HOUSE),
            OPENBELL_ALERT_WEBHOOK_URL=self.alerts.address,
            DO_NOT_TRACK="1",
        )
        with (self.home / "said.log").open("a") as said:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "deployments.terminal", "up", "--port", str(self.port), "--json"],
                cwd=self.home,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=said,
                text=True,
                # As a terminal has it, also where tests run in the background.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
            )
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], PATIENCE_SECONDS)
        line = self.process.stdout.readline() if ready else ""
        answer = json.loads(line or "{}")
        assert "api" in answer, f"{line}{(self.home / 'said.log').read_text()}"
        self.connect(answer["api"])

    def connect(self, api: str) -> None:
        """Ask the server at this address from now on."""
        self.client = httpx.Client(base_url=api, timeout=150, auth=PrefectAccess(api, {}))
        self.port = int(httpx.URL(api).port or 0)

    def stop(self) -> None:
        """End it in order, or by force where it does not."""
        if self.process.poll() is None:
            self.process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(120)
        self.kill()
        if self.process.stdout is not None:
            self.process.stdout.close()

    def kill(self) -> None:
        """End all of its processes at once, as a machine does that loses its power."""
        while found := self.pids():
            for pid in found:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            if self.process.pid in found:
                self.process.wait(30)
            time.sleep(0.05)

    def pids(self, *words: str) -> list[int]:
        """Its processes by the environment, whatever parent they have; those with all of the words in their command."""
        mark = f"OPENBELL_HOME={self.home}".encode()
        found = []
        for folder in Path("/proc").iterdir():
            try:
                if not folder.name.isdigit() or mark not in (folder / "environ").read_bytes().split(b"\0"):
                    continue
                command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if all(word in command for word in words):
                found.append(int(folder.name))
        return sorted(found)

    def pid_of(self, run: str) -> int:
        """The process that executes a flow run."""
        mark = f"PREFECT__FLOW_RUN_ID={run}".encode()
        found = [pid for pid in self.pids("prefect") if mark in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")]
        assert found, f"no process executes {run}"
        return next(pid for pid in found if os.getpgid(pid) == pid)

    def worker_pid(self) -> int:
        """Prefect's worker, below the guard that keeps it up."""
        return self.pids("prefect worker start")[0]

    def start_run(
        self, document: dict[str, Any], deployment: str = "trading-session/session", **parameters: Any
    ) -> str:
        """A run of a deployment as the form starts it, a session of ``DAY``; its id."""
        found = self.asked("GET", f"/deployments/name/{deployment}")
        if deployment.startswith("trading-session"):
            parameters.setdefault("session_date", DAY.isoformat())
        body = {"parameters": {"settings": document, **parameters}, "state": {"type": "SCHEDULED"}}
        answer = self.asked("POST", f"/deployments/{found['id']}/create_flow_run", body)
        return str(answer["id"])

    def set_state(self, run: str, kind: str, name: str | None = None) -> dict[str, Any]:
        """What the buttons of the UI do."""
        body = {"state": {"type": kind, "name": name or kind.capitalize()}}
        answer: dict[str, Any] = self.asked("POST", f"/flow_runs/{run}/set_state", body)
        return answer

    def state_of(self, run: str) -> dict[str, Any]:
        state: dict[str, Any] = self.asked("GET", f"/flow_runs/{run}")["state"]
        return state

    def ended(self, run: str, seconds: float = PATIENCE_SECONDS) -> dict[str, Any]:
        """The state that the run ended in."""

        def final() -> dict[str, Any] | None:
            with suppress(httpx.TransportError):  # the server may be the one that was hurt
                state = self.state_of(run)
                return state if state["type"] in ENDED else None
            return None

        state: dict[str, Any] = wait_until(final, f"run {run} ends", seconds)
        return state

    def runs_of(self, flow: str) -> list[dict[str, Any]]:
        body = {"flows": {"name": {"any_": [flow]}}, "sort": "START_TIME_DESC", "limit": 50}
        found: list[dict[str, Any]] = self.asked("POST", "/flow_runs/filter", body)
        return found

    def asked(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """What the server answers; one that is busy with its database says so at once, and is asked again."""
        answer = self.client.request(method, path, json=body)
        while answer.status_code == 503:
            time.sleep(0.5)
            answer = self.client.request(method, path, json=body)
        assert answer.is_success, answer.text
        return answer.json()

    until = staticmethod(wait_until)

    def is_told(self, *words: str) -> bool:
        return any(all(word in subject for word in words) for subject in self.alerts.subjects)


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    home = tmp_path_factory.mktemp("machinery").resolve()
    document = yaml.safe_load((HOUSE / "prefect.yaml").read_text(encoding="utf-8"))
    document["deployments"] = [one for one in document["deployments"] if one["name"] in DEPLOYED]
    # None begins by itself meanwhile, whatever the day and the hour.
    on_another_day = datetime.now(UTC) + timedelta(days=2)
    for one in document["deployments"]:
        for schedule in one.get("schedules", []):
            schedule |= {"cron": f"{on_another_day:%M %H %d %m} *", "timezone": "UTC"}
    (home / "prefect.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
    (home / "openbell.toml").write_text('[feed]\nkind = "synthetic"\n[alerts]\nno_heartbeat_minutes = "2"\n')
    receiver = Receiver()
    stack = Stack(home, receiver)
    try:
        stack.start()
        yield stack
    finally:
        stack.stop()
        receiver.close()


@pytest.fixture
def place(tmp_path: Path) -> Place:
    (tmp_path / "hurt").mkdir()
    return Place(tmp_path / "hurt")


@pytest.fixture(scope="session")
def equal_to_undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Place], None]:
    """Compares a place's tables with those of the same session that nobody disturbed, and its account with its ledger."""
    quiet = Place(tmp_path_factory.mktemp("undisturbed") / "hurt")
    quiet.folder.mkdir()
    with assemble(parse_settings(quiet.document("max"), "the test"), DAY) as desk:
        summary = desk.agent.run_session()
    assert summary.fills > summary.orders >= 10

    def compare(place: Place) -> None:
        place.wait_until_let_go()
        done = subprocess.run(
            [sys.executable, HOUSE / "tests" / "crash", "--same", quiet.ledger, place.ledger],
            cwd=HOUSE,
            env={**os.environ, "PYTHONPATH": str(HOUSE)},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert place.orders_at_the_broker() == quiet.orders_at_the_broker()

    return compare
