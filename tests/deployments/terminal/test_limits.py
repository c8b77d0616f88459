"""``openbell limits``: what is in force, and changing it while a session runs."""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

from deployments.terminal.exit_codes import ExitCode

Command = Callable[..., Any]
HOUSE = Path(__file__).parents[3]
SECONDS_A_SESSION_MAY_TAKE = 60

TRADING = """
from tasks.composition import assemble
from trading.settings import Settings

document = {"session": {"pace": 60}, "risk": {"max_daily_loss": 900}, "feed": {"kind": "synthetic"}}
with assemble(Settings.model_validate(document), None) as desk:
    print("begun", flush=True)
    desk.agent.run_session()
"""


@contextlib.contextmanager
def trading(here: Path) -> Iterator["subprocess.Popen[str]"]:
    """A session in a process of its own, a minute a second, with a limit of its own."""
    running = subprocess.Popen(
        [sys.executable, "-c", TRADING],
        cwd=here,
        env={**os.environ, "PYTHONPATH": str(HOUSE)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert running.stdout is not None
    try:
        assert running.stdout.readline() == "begun\n"
        yield running
    finally:
        running.kill()
        running.wait(30)
        running.stdout.close()


def limits_in_session(openbell: Command) -> dict[str, Any]:
    """What is told once the session is open: its process has the database a little earlier."""
    deadline = time.monotonic() + SECONDS_A_SESSION_MAY_TAKE
    while True:
        found: dict[str, Any] = openbell("limits", "--json").answer
        if found["session_id"] is not None:
            return found
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.fixture
def session(here: Path) -> Iterator["subprocess.Popen[str]"]:
    with trading(here) as running:
        yield running


def test_without_a_session_the_file_says_them(openbell: Command, here: Path) -> None:
    (here / "openbell.toml").write_text('[risk]\nmax_daily_loss = 77\nmax_participation_fraction = "off"\n')
    outcome = openbell("limits")
    assert outcome.code == ExitCode.DONE, outcome.err
    shown = {line.split()[0]: line.split()[1] for line in outcome.out.splitlines() if line.strip()}
    assert (shown["max_daily_loss"], shown["max_participation_fraction"]) == ("77", "off")
    assert shown["pattern_day_trader.enabled"] == "false"
    assert "No session runs" in outcome.out
    assert openbell("limits", "--json").answer["limits"]["max_daily_loss"] == "77"


def test_without_a_session_nothing_is_changed_and_the_file_is_named(openbell: Command) -> None:
    outcome = openbell("limits", "--set", "max_daily_loss=500", "--json")
    assert outcome.code == ExitCode.WRONG_USAGE
    assert "Write max_daily_loss into [risk] of the settings file" in outcome.answer["message"]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("max_dayly_loss=5", "did you mean max_daily_loss?"),
        ("max_daily_loss=-5", "risk.max_daily_loss = '-5'"),
        ("max_order_shares=off", "risk.max_order_shares = 'off'"),
        ("pattern_day_trader.enabeld=true", "did you mean enabled?"),
        ("max_daily_loss", "is not NAME=VALUE"),
        ("max_daily_loss=", "is not NAME=VALUE"),
    ],
)
def test_a_slip_is_told_at_once(openbell: Command, change: str, named: str) -> None:
    outcome = openbell("limits", "--set", change, "--json")
    assert outcome.code == ExitCode.WRONG_USAGE
    assert named in outcome.answer["message"]


def test_a_running_session_takes_other_limits(openbell: Command, session: "subprocess.Popen[str]") -> None:
    before = limits_in_session(openbell)
    assert before["session_id"] == "2026-01-05.synthetic.sma_crossover"
    assert (before["limits"]["max_daily_loss"], before["changed"]) == ("900", {})

    changed = openbell("limits", "--set", "max_daily_loss=500", "--set", "max_order_notional=off", "--json")
    assert changed.code == ExitCode.DONE, changed.err
    assert changed.answer["answered_by"] == "session"
    assert changed.answer["changed"]["max_daily_loss"] == ["900", "500"]
    assert changed.answer["changed"]["max_order_notional"][1] is None

    after = openbell("limits", "--json").answer
    assert (after["limits"]["max_daily_loss"], after["limits"]["max_order_notional"]) == ("500", None)
    assert sorted(after["changed"]) == ["max_daily_loss", "max_order_notional"]
    assert session.poll() is None


def test_lists_and_sections_are_changed_too(openbell: Command, session: "subprocess.Popen[str]") -> None:
    limits_in_session(openbell)
    changed = openbell(
        "limits",
        "--set",
        "not_tradable=SPY,QQQ",
        "--set",
        "pattern_day_trader.max_day_trades=1",
        "--set",
        "max_positions=3",
    )
    assert changed.code == ExitCode.DONE, changed.err
    assert "not_tradable: none -> SPY,QQQ" in changed.out
    assert "max_positions: 20 -> 3" in changed.out
    limits = openbell("limits", "--json").answer["limits"]
    assert limits["not_tradable"] == ["SPY", "QQQ"]
    assert (limits["pattern_day_trader"]["max_day_trades"], limits["pattern_day_trader"]["sessions"]) == (1, 5)
    assert openbell("limits", "--set", "not_tradable=none").code == ExitCode.DONE
    assert openbell("limits", "--json").answer["limits"]["not_tradable"] == []
    assert session.poll() is None


def test_a_session_that_was_killed_and_says_that_it_runs_is_not_taken_for_the_one_that_does(
    openbell: Command, session: "subprocess.Popen[str]", here: Path
) -> None:
    limits_in_session(openbell)
    session.kill()
    session.wait(30)
    with duckdb.connect(str(here / "openbell.duckdb")) as connection:
        later = "'2027-01-04.other.flat' AS session_id, DATE '2027-01-04' AS session_date, 'other' AS account"
        connection.execute(f"INSERT INTO sessions SELECT * REPLACE ({later}, '{{}}' AS settings) FROM sessions")
    assert openbell("limits", "--json").answer["session_id"] is None
    with trading(here):
        assert limits_in_session(openbell)["session_id"] == "2026-01-05.synthetic.sma_crossover"
