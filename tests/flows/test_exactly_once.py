"""Runs that start twice, are retried or are killed with their worker: one session, each order once.

Everything here is a process of its own, as in use: the command, Prefect's engine, Prefect's worker.
"""

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.states import Pending

from flows.trading_session import trading_session
from storage.questions import ask
from storage.store import open_store
from tasks.composition import assemble
from trading.errors import StoreBusy
from trading.settings import Settings, parse_settings

pytestmark = pytest.mark.usefixtures("prefect_server")

HOUSE = Path(__file__).parents[2]
DAY = date(2026, 1, 5)
SOME_SECONDS = 6_000.0
"""Times real time: the session of six and a half hours then takes about four seconds."""
LONGER = 2_000.0
"""Twelve seconds: longer than anybody waits for a database that is held."""
ROOM_FOR_SOME_BARS = 60_000
"""Bytes of DuckDB's log: a session of these settings writes about twice as many."""
HAS_IT = re.compile(r"held by (process \d+|another)|another runner|traded by")
"""How whoever came second is told that somebody else has the session."""
CONFIG = """
[session]
symbols = ["AAA", "BBB"]
timeframe = "10min"
account = "once"
granularity = "chunk"
[feed]
kind = "synthetic"
[policy]
parameters = { fast = 2, slow = 4 }
[orders]
allow_short = true
[broker.paper]
max_volume_fraction = "0.0005"
"""


@dataclass(frozen=True)
class Place:
    """A folder with a database, its paper account, and settings."""

    folder: Path
    ledgers: Path | None = None
    """Where the database is, if not in the folder."""

    @property
    def ledger(self) -> Path:
        return (self.ledgers or self.folder) / "ledger.duckdb"

    @property
    def account(self) -> Path:
        return self.folder / "ledger.once.sqlite"

    def document(self, pace: float | str = SOME_SECONDS) -> dict[str, Any]:
        """The settings as a flow run takes them."""
        return {
            "session": {
                "symbols": ["AAA", "BBB"],
                "timeframe": "10min",
                "account": "once",
                "pace": pace,
                "granularity": "chunk",
            },
            "feed": {"kind": "synthetic"},
            "policy": {"parameters": {"fast": 2, "slow": 4}},
            "orders": {"allow_short": True},
            "broker": {"paper": {"max_volume_fraction": "0.0005", "path": str(self.account)}},
            "store": {"path": str(self.ledger)},
        }

    def settings(self, pace: float | str = SOME_SECONDS) -> Settings:
        return parse_settings(self.document(pace), "the test")

    def session(self, pace: float = SOME_SECONDS) -> "subprocess.Popen[str]":
        """`openbell session` in a process of its own."""
        config = self.folder / "openbell.toml"
        config.write_text(f'{CONFIG}path = "{self.account}"\n')
        options = ["--config", str(config), "--db", str(self.ledger), "--date", DAY.isoformat(), "--json"]
        options += ["--pace", str(pace)]
        return subprocess.Popen(
            [sys.executable, "-m", "deployments.terminal", "session", *options],
            cwd=HOUSE,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
        )

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

    def wait_for_orders(self, count: int) -> None:
        deadline = time.monotonic() + 90
        while self.orders_at_the_broker() < count:
            assert time.monotonic() < deadline, "the session does not trade"
            time.sleep(0.02)

    def state(self) -> tuple[object, ...]:
        """What the ledger says of the session, its end on the wall included. Waits until nobody holds the ledger."""
        deadline = time.monotonic() + 30
        while True:
            try:
                with open_store(self.ledger, read_only=True):
                    break
            except StoreBusy:  # a killed process lets go of its files a little after the kill
                assert time.monotonic() < deadline, "the ledger is held still"
                time.sleep(0.05)
        [row] = ask(self.ledger, "SELECT state, ended_at, (SELECT count(*) FROM orders) FROM sessions").rows
        return tuple(row)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """The same session, traded by one process that nobody disturbs."""
    quiet = Place(tmp_path_factory.mktemp("undisturbed"))
    with assemble(quiet.settings("max"), DAY) as desk:
        summary = desk.agent.run_session()
    assert summary.orders >= 10
    assert summary.fills > summary.orders
    return quiet


@pytest.fixture
def equal_to_undisturbed(undisturbed: Place) -> Callable[[Place], None]:
    """Compares a place's tables with those of the undisturbed session, and its account with its ledger."""

    def compare(place: Place) -> None:
        done = subprocess.run(
            [sys.executable, HOUSE / "tests" / "crash", "--same", undisturbed.ledger, place.ledger],
            cwd=HOUSE,
            env={**os.environ, "PYTHONPATH": str(HOUSE)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert place.orders_at_the_broker() == undisturbed.orders_at_the_broker()

    return compare


def ended(process: "subprocess.Popen[str]") -> tuple[int, dict[str, Any], str]:
    """Exit code, the JSON answer and what was said on the side."""
    out, err = process.communicate(timeout=120)
    return process.returncode, json.loads(out or "{}"), err


def test_of_two_processes_one_trades_and_the_other_is_told_who(
    place: Place, equal_to_undisturbed: Callable[[Place], None]
) -> None:
    first, second = place.session(LONGER), place.session(LONGER)
    outcomes = sorted((ended(first), ended(second)), key=lambda outcome: outcome[0])

    (winners_code, winner, _), (losers_code, loser, said) = outcomes
    assert (winners_code, winner["state"]) == (0, "COMPLETED")
    assert losers_code in (1, 3)
    assert HAS_IT.search(loser["message"]), loser
    assert loser["message"].split(".")[0] in " ".join(said.split())
    equal_to_undisturbed(place)

    code, told, aside = ended(place.session())
    assert code == 0
    assert told["orders"] == winner["orders"]
    assert "was traded before; nothing was traded now" in " ".join(aside.split())
    equal_to_undisturbed(place)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own, whose size can be changed."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.geteuid() != 0 or mount("-t", "tmpfs", "-o", "size=64m", "tmpfs", str(folder)) != 0:
        pytest.skip("only root can make a disk, and not everywhere")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def mount(*arguments: str) -> int:
    return subprocess.run(["mount", *arguments], capture_output=True, check=False).returncode


def test_a_full_disk_stops_the_session_and_with_room_the_same_command_goes_on(
    disk: Path, equal_to_undisturbed: Callable[[Place], None]
) -> None:
    place = Place(disk.parent, ledgers=disk)
    with open_store(place.ledger):
        pass
    used = place.ledger.stat().st_size
    assert mount("-o", f"remount,size={used + ROOM_FOR_SOME_BARS}", str(disk)) == 0

    code, refused, _ = ended(place.session())
    assert code == 1
    assert "disk is full" in refused["message"]
    assert "Make room and run the same command again" in refused["message"]
    state, _, intended = place.state()
    assert state in ("RUNNING", "STOPPED")  # the end itself needs room to be written down
    assert isinstance(intended, int)
    assert 0 < place.orders_at_the_broker() <= intended

    assert mount("-o", "remount,size=64m", str(disk)) == 0
    code, answer, _ = ended(place.session())
    assert (code, answer["state"]) == (0, "COMPLETED")
    equal_to_undisturbed(place)


def flow_run(place: Place, pace: float = SOME_SECONDS) -> FlowRun:
    with get_client(sync_client=True) as client:
        parameters = {"settings": place.settings(pace), "session_date": DAY}
        return client.create_flow_run(trading_session, parameters=parameters, state=Pending())


def engine(run: UUID) -> "subprocess.Popen[str]":
    """Prefect's engine executing a flow run, as a worker's child does."""
    return subprocess.Popen(
        [sys.executable, "-m", "prefect.engine"],
        cwd=HOUSE,
        env={
            **os.environ,
            "PREFECT__FLOW_RUN_ID": str(run),
            "PREFECT__FLOW_ENTRYPOINT": "flows/trading_session.py:trading_session",
            "PYTHONPATH": str(HOUSE),
        },
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def test_one_flow_run_in_two_processes_trades_once(place: Place, equal_to_undisturbed: Callable[[Place], None]) -> None:
    run = flow_run(place, LONGER)
    executing = [engine(run.id), engine(run.id)]
    said = [process.communicate(timeout=120)[0] for process in executing]

    assert sorted(bool(HAS_IT.search(text)) for text in said) == [False, True], said
    assert place.state()[0] == "COMPLETED"
    with get_client(sync_client=True) as client:
        finished = client.read_flow_run(run.id).state
    assert finished is not None
    assert finished.is_completed(), finished.message
    equal_to_undisturbed(place)


def test_a_flow_run_that_is_retried_after_its_success_tells_it_and_trades_nothing(
    place: Place, equal_to_undisturbed: Callable[[Place], None]
) -> None:
    run = flow_run(place)
    engine(run.id).communicate(timeout=120)
    traded = place.state()
    assert traded[0] == "COMPLETED"

    retried = subprocess.run(
        [sys.executable, "-m", "prefect", "flow-run", "retry", str(run.id), "--entrypoint", "flows/trading_session.py:trading_session"],
        cwd=HOUSE, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert retried.returncode == 0, retried.stdout + retried.stderr

    with get_client(sync_client=True) as client:
        again = client.read_flow_run(run.id)
    assert again.run_count == 2
    assert again.state is not None
    assert again.state.is_completed()
    assert place.state() == traded
    equal_to_undisturbed(place)


def descendants(pid: int) -> list[int]:
    """Processes that ``pid`` has started, directly or not; the youngest generation last."""
    listed = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True).stdout.split()
    parents = dict(zip(map(int, listed[::2]), map(int, listed[1::2]), strict=True))
    found = [pid]
    for known in found:
        found += [child for child, parent in parents.items() if parent == known]
    return found[1:]


@pytest.fixture
def worker(deployed_house: Path) -> Iterator["subprocess.Popen[str]"]:
    """A process worker for one run of the deployed session; it and its children are gone afterwards."""
    assert deployed_house.is_dir()
    command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", "openbell", "--run-once", "--limit", "1"]
    process = subprocess.Popen(
        command, cwd=HOUSE, env={**os.environ}, text=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    yield process
    for pid in [process.pid, *descendants(process.pid)] if process.poll() is None else []:
        os.kill(pid, signal.SIGKILL)
    process.wait(timeout=30)


def test_a_worker_killed_while_trading_leaves_a_session_that_goes_on_where_it_was(
    place: Place, equal_to_undisturbed: Callable[[Place], None], worker: "subprocess.Popen[str]"
) -> None:
    with get_client(sync_client=True) as client:
        deployment = client.read_deployment_by_name("trading-session/session")
        client.create_flow_run_from_deployment(
            deployment.id, parameters={"settings": place.document(), "session_date": DAY.isoformat()}
        )
    place.wait_for_orders(3)
    for pid in [worker.pid, *descendants(worker.pid)]:
        os.kill(pid, signal.SIGKILL)
    worker.wait(timeout=30)
    assert place.state()[0] == "RUNNING"
    before = place.orders_at_the_broker()

    code, answer, _ = ended(place.session())

    assert (code, answer["state"]) == (0, "COMPLETED")
    assert answer["orders"] > before
    equal_to_undisturbed(place)
