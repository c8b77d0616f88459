"""Stopping and clearing from the terminal: at rest, while a session runs, and with the flag where nobody answers."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb

from deployments.terminal.exit_codes import ExitCode
from storage.halt_flag import flag_path

Command = Callable[..., Any]
HOUSE = Path(__file__).parents[3]
SECONDS_A_SESSION_MAY_TAKE = 60


def test_a_halt_refuses_the_next_session_until_it_is_cleared(openbell: Command) -> None:
    halted = openbell("halt", "--reason", "the feed is wrong", "--json")
    assert (halted.code, halted.answer["halted"], halted.answer["state"]) == (0, "all", "SUCCEEDED")

    refused = openbell("session", "--json")
    assert refused.code == 3
    assert "the feed is wrong" in refused.answer["message"]
    assert "openbell resume" in refused.answer["message"]

    cleared = openbell("resume", "--json")
    assert (cleared.code, cleared.answer["cleared"], cleared.answer["standing"]) == (0, 1, [])


def test_a_halt_is_cleared_under_its_own_scope_only(openbell: Command) -> None:
    openbell("halt", "--reason", "earnings", "--scope", "symbol:SPY")
    everywhere = openbell("resume", "--json")
    assert everywhere.answer["cleared"] == 0
    assert [one["scope"] for one in everywhere.answer["standing"]] == ["symbol:SPY"]
    assert openbell("resume", "--scope", "symbol:SPY", "--json").answer["standing"] == []


def test_a_scope_that_is_none_is_refused_with_an_example(openbell: Command) -> None:
    outcome = openbell("halt", "--reason", "x", "--scope", "SPY", "--json")
    assert outcome.code == 2
    assert "account:paper" in outcome.answer["message"]


def test_steps_are_shown_and_at_the_end_what_stands_and_how_to_clear_it(openbell: Command, traded: Any) -> None:
    assert traded.fills
    outcome = openbell("halt", "--reason", "fat finger", "--scope", "account:synthetic", "--minutes", 30)
    assert outcome.code == ExitCode.DONE, outcome.err
    actions = [line.split()[2] for line in outcome.out.splitlines() if " UTC  " in line]
    assert actions == ["halt", "cancel", "verify", "done"]
    assert "Stopped account:synthetic: fat finger. No order works at the broker." in outcome.out
    assert "stands: account:synthetic: fat finger (until 20" in outcome.out
    assert "clear it with openbell resume --scope account:synthetic" in outcome.out


def test_in_json_the_steps_are_beside_the_answer(openbell: Command) -> None:
    outcome = openbell("halt", "--reason", "x", "--json")
    assert [step["action"] for step in outcome.answer["steps"]] == ["halt"]
    assert "UTC  halt     all: x" in outcome.err


def test_a_name_that_nobody_knows_is_halted_all_the_same_and_told(openbell: Command, traded: Any) -> None:
    assert traded.fills
    outcome = openbell("halt", "--reason", "x", "--scope", "symbol:SPX")
    assert outcome.code == ExitCode.DONE
    assert "The symbol SPX is not known here (known: SPY)" in outcome.out


def test_what_cannot_be_flattened_is_told_with_an_example(openbell: Command) -> None:
    outcome = openbell("flatten", "--scope", "all", "--json")
    assert outcome.code == ExitCode.WRONG_USAGE
    assert "account:NAME or symbol:NAME" in outcome.answer["message"]
    assert openbell("flatten").code == ExitCode.WRONG_USAGE
    assert openbell("halt", "--reason", "x", "--minutes", 0).code == ExitCode.WRONG_USAGE


def test_positions_that_no_session_closes_are_an_alarm(openbell: Command, here: Path) -> None:
    with trading(here) as session:
        wait_until(lambda: held(openbell) > 0)
        session.kill()
        session.wait(30)
    quantity = held(openbell)
    outcome = openbell("flatten")
    assert outcome.code == ExitCode.FAILED
    assert "ALARM: account:synthetic could not be shown to be stopped." in outcome.out
    assert f"at the broker: {quantity} SPY are held" in outcome.out
    assert "Traceback" not in outcome.err


# While a session runs

TRADING = """
import sys
from tasks.composition import assemble
from trading.settings import Settings

document = {
    "session": {"pace": 120, "symbols": ["SPY"]},
    "feed": {"kind": "synthetic"},
    "policy": {"name": "buy_and_hold"},
    "store": {"serve": sys.argv[1] == "serve"},
}
with assemble(Settings.model_validate(document), None) as desk:
    print("begun", flush=True)
    desk.agent.run_session()
"""


@contextlib.contextmanager
def trading(here: Path, serve: bool = True) -> Iterator["subprocess.Popen[str]"]:
    """A session in a process of its own, two minutes a second."""
    session = subprocess.Popen(
        [sys.executable, "-c", TRADING, "serve" if serve else "alone"],
        cwd=here,
        env={**os.environ, "PYTHONPATH": str(HOUSE)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert session.stdout is not None
        assert session.stdout.readline() == "begun\n"
        yield session
    finally:
        if session.poll() is None:
            session.send_signal(signal.SIGKILL)
        session.wait(30)
        if session.stdout is not None:
            session.stdout.close()


def asked(openbell: Command, sql: str) -> list[list[Any]]:
    outcome = openbell("sql", sql, "--json")
    assert outcome.code == 0, outcome.err
    found: list[list[Any]] = outcome.answer["rows"]
    return found


def held(openbell: Command) -> int:
    return sum(int(quantity) for (quantity,) in asked(openbell, "select quantity from positions"))


def wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS_A_SESSION_MAY_TAKE
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_running_session_halts_and_resumes(openbell: Command, here: Path) -> None:
    with trading(here) as session:
        wait_until(lambda: held(openbell) > 0)
        halted = openbell("halt", "--reason", "odd prices", "--json")
        assert halted.code == ExitCode.DONE, halted.err
        assert (halted.answer["state"], halted.answer["answered_by"]) == ("SUCCEEDED", "session")
        assert [one["scope"] for one in halted.answer["standing"]] == ["all"]
        assert "UTC  verify" in halted.err
        assert held(openbell) > 0
        assert "RUNNING  HALTED  SYNTHETIC" in openbell("report").out

        resumed = openbell("resume")
        assert resumed.code == ExitCode.DONE, resumed.err
        assert "Cleared 1 halt of all, done by the session that runs." in resumed.out
        assert "RUNNING  WAS HALTED  SYNTHETIC" in openbell("report").out
        assert session.poll() is None
    assert asked(openbell, "select session_id <> '', state from stops") == [[True, "SUCCEEDED"]]


def test_a_running_session_is_flattened(openbell: Command, here: Path) -> None:
    with trading(here) as session:
        wait_until(lambda: held(openbell) > 0)
        outcome = openbell("flatten", "--reason", "news")
        assert outcome.code == ExitCode.DONE, outcome.out + outcome.err
        assert "Stopped account:synthetic: news. No order works at the broker and nothing is held." in outcome.out
        assert "stands: account:synthetic: news (until 2026-01-05T21:00" in outcome.out
        assert session.poll() is None
        assert held(openbell) == 0
        [[side, filled]] = asked(
            openbell, "select side, filled_quantity = quantity from orders order by created_at desc limit 1"
        )
        assert (side, filled) == ("SELL", True)
        [[expires]] = asked(openbell, "select expires_at from halts")
        assert expires.startswith("2026-01-05T21:00")  # the session's close


def test_another_accounts_stop_is_kept_for_it_and_told(openbell: Command, here: Path) -> None:
    with trading(here):
        wait_until(lambda: held(openbell) > 0)
        outcome = openbell("halt", "--reason", "x", "--scope", "account:other")
        # The halt stands; that nothing of the account works at its broker, nobody has looked.
        assert outcome.code == ExitCode.FAILED, outcome.err
        assert "No account other is known here (known: synthetic)" in outcome.out
        assert held(openbell) > 0


def test_a_touched_file_halts_a_running_session(openbell: Command, here: Path) -> None:
    flag = flag_path(here / "openbell.duckdb")
    with trading(here) as session:
        wait_until(lambda: held(openbell) > 0)
        flag.touch()
        wait_until(lambda: not flag.exists())
        assert asked(openbell, "select scope, cleared_at from halts") == [["all", None]]
        assert session.poll() is None
        assert openbell("resume", "--json").answer["cleared"] == 1


def test_a_session_without_a_door_obeys_the_flag(openbell: Command, here: Path) -> None:
    flag = flag_path(here / "openbell.duckdb")
    with trading(here, serve=False) as session:
        outcome = openbell("halt", "--reason", "no door", "--wait", 30)
        assert outcome.code == ExitCode.FAILED
        assert "NOT CONFIRMED. The session has obeyed the flag" in outcome.out
        assert not flag.exists()
        assert session.poll() is None
        assert openbell("resume", "--wait", 0).code == ExitCode.FAILED
    assert asked(openbell, "select scope, reason, cleared_at from halts") == [["all", "no door", None]]


def test_a_holder_that_hangs_leaves_the_flag_up_and_the_next_session_obeys_it(openbell: Command, here: Path) -> None:
    with trading(here) as session:
        wait_until(lambda: held(openbell) > 0)
        session.send_signal(signal.SIGSTOP)
        outcome = openbell("halt", "--reason", "it hangs", "--wait", 8, "--json")
        assert outcome.code == ExitCode.FAILED
        assert (outcome.answer["state"], outcome.answer["asked_by"], outcome.answer["flag_is_up"]) == (
            "ASKED",
            "flag",
            True,
        )
        session.send_signal(signal.SIGCONT)
        wait_until(lambda: not flag_path(here / "openbell.duckdb").exists())
        assert session.poll() is None
    assert asked(openbell, "select distinct reason from halts") == [["it hangs"]]


def test_a_session_that_dies_leaves_the_stop_to_the_command(openbell: Command, here: Path) -> None:
    with trading(here) as session:
        wait_until(lambda: held(openbell) > 0)
        session.send_signal(signal.SIGSTOP)
        killer = "import os, signal, sys, time; time.sleep(5); os.kill(int(sys.argv[1]), signal.SIGKILL)"
        with subprocess.Popen([sys.executable, "-c", killer, str(session.pid)]):
            outcome = openbell("halt", "--reason", "dead", "--json", "--wait", 60)
    assert outcome.code == ExitCode.DONE, outcome.err
    assert (outcome.answer["answered_by"], outcome.answer["state"]) == ("ledger", "SUCCEEDED")
    assert not flag_path(here / "openbell.duckdb").exists()
    with duckdb.connect(str(here / "openbell.duckdb"), read_only=True) as connection:
        assert connection.execute("SELECT count(*) FROM open_orders").fetchall() == [(0,)]
