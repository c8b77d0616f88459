"""The same commands in a second terminal while a session trades in the first."""

import contextlib
import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

Command = Callable[..., Any]

SESSION = """
import sys
from datetime import date
from tasks.composition import assemble
from trading.settings import parse_settings

settings = parse_settings(
    {
        "session": {"symbols": ["SPY"], "pace": float(sys.argv[1])},
        "feed": {"kind": "synthetic"},
        "policy": {"parameters": {"fast": 3, "slow": 8}},
    },
    source="a test",
)
with assemble(settings, date(2026, 1, 5)) as desk:
    print("begun", flush=True)
    summary = desk.agent.run_session()
print(summary.state, summary.fills, flush=True)
"""


def start(here: Path, pace: float) -> "subprocess.Popen[str]":
    session = subprocess.Popen(
        [sys.executable, "-c", SESSION, str(pace)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=here,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
    )
    assert session.stdout is not None
    assert session.stdout.readline() == "begun\n"
    return session


@pytest.fixture
def running(here: Path) -> Iterator["subprocess.Popen[str]"]:
    """A session of the synthetic market in another process, an hour a second; killed at the end."""
    with start(here, 3_600) as session:
        yield session
        session.kill()


def bars_done(openbell: Command) -> int:
    outcome = openbell("sql", "select count(*) as bars from equity", "--json")
    assert outcome.code == 0, outcome.err
    return int(outcome.answer["rows"][0][0])


def test_a_session_is_asked_while_it_trades_and_trades_on(openbell: Command, running: "subprocess.Popen[str]") -> None:
    seen = []
    while running.poll() is None:
        seen.append(bars_done(openbell))
    assert len({bars for bars in seen if 0 < bars < 390}) >= 3  # in the middle, more each time
    assert seen == sorted(seen)
    assert running.stdout is not None
    state, fills = running.stdout.read().split()
    assert state == "COMPLETED"
    assert bars_done(openbell) == 390
    assert openbell("sql", "select count(*) from fills", "--json").answer["rows"] == [[int(fills)]]


def test_a_report_of_a_running_session(openbell: Command, running: "subprocess.Popen[str]") -> None:
    while not bars_done(openbell):
        pass
    outcome = openbell("report", "2026-01-05", "--json")
    assert running.poll() is None
    assert outcome.code == 0, outcome.err
    [session] = outcome.answer["sessions"]
    assert session["state"] == "RUNNING"
    assert 0 < session["bars"] < 390


def test_a_snapshot_of_a_running_session(openbell: Command, running: "subprocess.Popen[str]") -> None:
    while not bars_done(openbell):
        pass
    outcome = openbell("snapshot", "copy.duckdb", "--json")
    assert running.poll() is None
    assert outcome.code == 0, outcome.err
    assert outcome.answer["rows"]["equity"] > 0
    copied = openbell("sql", "select count(*) from equity", "--db", "copy.duckdb", "--json")
    assert copied.answer["rows"] == [[outcome.answer["rows"]["equity"]]]


def test_a_snapshot_when_no_session_runs(openbell: Command, here: Path, traded: Any) -> None:
    outcome = openbell("snapshot", "copy.duckdb")
    assert (outcome.code, outcome.err) == (0, "")
    assert "copy.duckdb: " in outcome.out
    again = openbell("snapshot", "copy.duckdb", "--json")
    assert again.code == 2
    assert "--force" in again.answer["message"]
    assert openbell("snapshot", "copy.duckdb", "--force").code == 0
    assert openbell("snapshot", "other.duckdb", "--db", "none.duckdb").code == 1
    assert not (here / "other.duckdb").exists()
    assert openbell("snapshot").code == 2
    assert traded.fills == openbell("sql", "from fills", "--db", "copy.duckdb").out.count("\n") - 1


def test_a_killed_session_leaves_a_database_that_answers(openbell: Command, running: "subprocess.Popen[str]") -> None:
    while not bars_done(openbell):
        pass
    os.kill(running.pid, signal.SIGKILL)
    running.wait()
    assert bars_done(openbell) > 0
    assert openbell("sql", "select state from sessions", "--json").answer["rows"] == [["RUNNING"]]


def test_sessions_begin_and_end_under_a_prompt(here: Path, traded: Any) -> None:
    ours, theirs = pty.openpty()
    prompt = subprocess.Popen(
        [sys.executable, "-m", "deployments.terminal", "sql", "--json"],
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=here,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
    )
    assert prompt.stdout is not None

    def ask() -> int:
        os.write(ours, b"select count(*) from sessions;\n")
        while True:
            line = prompt.stdout.readline()  # type: ignore[union-attr]
            assert line, "the prompt ended"
            if "{" in line:
                return int(json.loads(line[line.index("{") :])["rows"][0][0])

    try:
        assert ask() == 1
        with held(here / "openbell.duckdb"):
            assert ask() == 1
        assert ask() == 1
        with held(here / "openbell.duckdb"):
            assert ask() == 1
    finally:
        prompt.kill()
        prompt.wait()
        os.close(ours)
        os.close(theirs)
    assert traded.fills


HOLDER = """
import sys
from pathlib import Path
from storage.door import open_door
from storage.store import open_store

with open_store(Path(sys.argv[1])) as store, open_door(store) as door:
    print(door.wait_until_open(), flush=True)
    sys.stdin.read()
"""


@contextlib.contextmanager
def held(path: Path) -> Iterator[None]:
    """Another process holds the database with its door open."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "True\n"
        yield
        holder.communicate("")
