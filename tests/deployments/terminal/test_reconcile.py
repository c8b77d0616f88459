"""``openbell reconcile``: the differences in words, the repairs when asked for, and the way through a running session."""

import contextlib
import os
import pty
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import duckdb
import pytest

from deployments.terminal.exit_codes import ExitCode
from storage.door_sign import read_sign
from trading.sessions import SessionSummary

pytestmark = pytest.mark.usefixtures("traded")

Command = Callable[..., "object"]
HOUSE = Path(__file__).parents[3]
SECONDS_A_SESSION_MAY_TAKE_TO_OPEN = 60


def lose_a_fill(here: Path) -> str:
    """The newest fill is gone from the ledger, and its order works there again; its execution's id."""
    with duckdb.connect(str(here / "openbell.duckdb")) as connection:
        [(exec_id, order_id)] = connection.execute(
            "DELETE FROM fills WHERE booking = (SELECT max(booking) FROM fills) RETURNING exec_id, client_order_id"
        ).fetchall()
        connection.execute(
            "UPDATE orders SET status = 'ACCEPTED', filled_quantity = 0 WHERE client_order_id = ?", [order_id]
        )
    return str(exec_id)


def lose_an_execution(here: Path) -> None:
    """The broker no longer has its first execution."""
    with contextlib.closing(sqlite3.connect(here / "openbell.synthetic.sqlite")) as connection, connection:
        connection.execute("DELETE FROM executions WHERE sequence = (SELECT min(sequence) FROM executions)")


def ask(here: Path, sql: str) -> list[tuple[object, ...]]:
    with duckdb.connect(str(here / "openbell.duckdb"), read_only=True) as connection:
        return connection.execute(sql).fetchall()


def test_books_that_agree_end_with_zero(openbell: Command) -> None:
    outcome = openbell("reconcile")
    assert (outcome.code, outcome.out) == (ExitCode.DONE, "Account synthetic: ledger and broker agree.\n")


def test_without_repair_it_tells_and_changes_nothing(openbell: Command, here: Path) -> None:
    exec_id = lose_a_fill(here)
    before = {file.name: file.read_bytes() for file in here.iterdir()}
    for option in ([], ["--dry-run"]):
        outcome = openbell("reconcile", *option)
        assert outcome.code == ExitCode.REFUSED
        assert "missing_fill" in outcome.out
        assert exec_id in outcome.out
        assert "book it with the broker's price, quantity, commission and time" in outcome.out
        assert "Nothing was changed. --repair would do 1 of them." in outcome.out
    assert {file.name: file.read_bytes() for file in here.iterdir()} == before


def test_repair_does_it_and_the_next_comparison_finds_nothing(openbell: Command, here: Path) -> None:
    exec_id = lose_a_fill(here)
    outcome = openbell("reconcile", "--repair")
    assert outcome.code == ExitCode.DONE
    assert f"repaired: missing_fill {exec_id}: booked SELL" in outcome.out
    assert openbell("reconcile").code == ExitCode.DONE
    assert ask(
        here, "SELECT stage, session_id, repairs FROM reconciliations ORDER BY reconciliation_id DESC LIMIT 1"
    ) == [("manual", "", 1)]


def test_what_needs_a_person_ends_with_three_and_locks(openbell: Command, here: Path) -> None:
    lose_an_execution(here)
    outcome = openbell("reconcile", "--repair")
    assert outcome.code == ExitCode.REFUSED
    assert "unconfirmed_fill" in outcome.out
    assert "locked: no new risk in SPY since" in outcome.out
    assert "1 difference needs a person" in outcome.out


def test_the_answer_in_json_has_it_all(openbell: Command, here: Path, traded: SessionSummary) -> None:
    exec_id = lose_a_fill(here)
    answer = openbell("reconcile", "--json").answer
    assert {"account", "discrepancies", "repairs", "remaining", "locks", "db"} <= answer.keys()
    assert (answer["account"], answer["db"], answer["answered_by"]) == ("synthetic", traded.db, "ledger")
    [found] = answer["discrepancies"]
    assert (found["kind"], found["subject"], found["symbol"]) == ("missing_fill", exec_id, "SPY")
    assert (found["repairable"], found["locking"], found["remains"]) == (True, False, True)
    repaired = openbell("reconcile", "--json", "--repair").answer
    assert (repaired["remaining"], repaired["locks"]) == ([], [])
    assert [(one["kind"], one["subject"]) for one in repaired["repairs"]] == [("missing_fill", exec_id)]


def test_a_claim_makes_a_trade_made_elsewhere_ours(openbell: Command, here: Path) -> None:
    with contextlib.closing(sqlite3.connect(here / "openbell.synthetic.sqlite")) as connection, connection:
        columns = "symbol, side, quantity, price, commission, executed_at"
        connection.execute(
            f"INSERT INTO executions (exec_id, client_order_id, {columns}) SELECT 'x1', '', {columns} FROM executions LIMIT 1"
        )
    assert "external_fill" in openbell("reconcile").out
    outcome = openbell("reconcile", "--repair", "--claim", "spy")
    assert outcome.code == ExitCode.DONE
    assert "repaired: external_fill x1: claimed: booked BUY" in outcome.out
    assert ask(here, "SELECT source FROM fills WHERE exec_id = 'x1'") == [("claimed",)]
    assert openbell("reconcile").code == ExitCode.DONE


def test_a_database_that_something_else_holds_is_told_with_who_holds_it(openbell_process: Command, here: Path) -> None:
    keeper = "import sys, duckdb; held = duckdb.connect('openbell.duckdb'); print('held', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", keeper], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=here
    ) as held:
        assert held.stdout is not None
        assert held.stdin is not None
        assert held.stdout.readline() == b"held\n"
        outcome = openbell_process("reconcile", "--json", "--wait", "0")
        held.stdin.close()
    assert outcome.code == ExitCode.FAILED
    assert outcome.answer["error"] == "store busy"
    assert f"is held by process {held.pid}. No session that can be asked" in outcome.answer["message"]


def test_a_claim_of_nothing_is_told(openbell: Command) -> None:
    outcome = openbell("reconcile", "--repair", "--claim", "qqq")
    assert outcome.code == ExitCode.DONE
    assert "Nothing was claimed in QQQ: there is no trade made elsewhere that is not claimed already." in outcome.out


def test_a_lock_that_nothing_asks_for_any_more_is_told_with_what_lifts_it(openbell: Command, here: Path) -> None:
    with duckdb.connect(str(here / "openbell.duckdb")) as connection:
        connection.execute(
            "INSERT INTO instrument_locks (account, symbol, locked_at, reason) VALUES ('synthetic', 'SPY', now(), 'x')"
        )
    assert "Nothing found now locks SPY. --repair lifts it, and so does" in openbell("reconcile").out
    assert "lock" not in openbell("reconcile", "--repair").out


def test_a_claim_without_repair_is_wrong_usage(openbell: Command) -> None:
    outcome = openbell("reconcile", "--claim", "SPY")
    assert outcome.code == ExitCode.WRONG_USAGE
    assert "give --repair with it" in outcome.err


def test_repair_and_dry_run_exclude_each_other(openbell: Command) -> None:
    assert openbell("reconcile", "--repair", "--dry-run").code == ExitCode.WRONG_USAGE


def test_an_account_that_is_not_there_is_named_with_those_that_are(openbell: Command) -> None:
    outcome = openbell("reconcile", "--account", "paper")
    assert outcome.code == ExitCode.WRONG_USAGE
    assert "it has synthetic" in outcome.err


def test_a_database_that_is_not_there_is_not_made(openbell: Command, here: Path) -> None:
    assert openbell("reconcile", "--repair", "--db", "other.duckdb").code == ExitCode.WRONG_USAGE
    assert not (here / "other.duckdb").exists()


def test_a_missing_account_file_is_not_flat_and_is_not_made(openbell: Command, here: Path) -> None:
    (here / "openbell.synthetic.sqlite").unlink()
    outcome = openbell("reconcile", "--repair", "--json")
    assert outcome.code == ExitCode.REFUSED
    assert "That says nothing about what is held" in outcome.answer["message"]
    assert not (here / "openbell.synthetic.sqlite").exists()


def test_a_broker_that_does_not_answer_is_not_flat(openbell: Command, here: Path) -> None:
    (here / "openbell.synthetic.sqlite").write_bytes(b"not an account" * 1000)
    outcome = openbell("reconcile", "--json")
    assert outcome.code == ExitCode.REFUSED
    assert "The broker did not answer, which says nothing about what is held" in outcome.answer["message"]
    assert "discrepancies" not in outcome.answer


def test_a_terminal_shows_every_word_of_every_difference(here: Path) -> None:
    exec_id = lose_a_fill(here)
    controller, terminal = pty.openpty()
    done = subprocess.Popen(
        [sys.executable, "-m", "deployments.terminal", "reconcile"],
        cwd=here,
        env={**os.environ, "PYTHONPATH": str(HOUSE), "COLUMNS": "80", "TERM": "xterm"},
        stdout=terminal,
        stdin=subprocess.DEVNULL,
    )
    os.close(terminal)
    shown = b""
    with contextlib.suppress(OSError):  # the terminal is gone with its last user
        while part := os.read(controller, 4096):
            shown += part
    os.close(controller)
    assert done.wait(60) == ExitCode.REFUSED
    # Whole, so that it can be copied; narrower than its columns, it is one value a line.
    assert exec_id in shown.decode()
    assert f"no such fill of {exec_id.split(':')[0]}" in shown.decode()
    for word in ("missing_fill", "quantity", "commission", "--repair does it"):
        assert word in shown.decode()


def test_two_people_repair_at_once_and_it_is_done_once(here: Path) -> None:
    exec_id = lose_a_fill(here)
    command = [sys.executable, "-m", "deployments.terminal", "reconcile", "--repair"]
    both = [
        subprocess.Popen(
            command,
            cwd=here,
            env={**os.environ, "PYTHONPATH": str(HOUSE)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for _ in range(2)
    ]
    told = [person.communicate(timeout=60) for person in both]
    assert [person.returncode for person in both] == [ExitCode.DONE, ExitCode.DONE], told
    assert ask(here, f"SELECT count(*) FROM fills WHERE exec_id = '{exec_id}'") == [(1,)]
    assert ask(here, "SELECT sum(repairs) FROM reconciliations WHERE stage = 'manual'") == [(1,)]


# While a session holds the database


@contextlib.contextmanager
def process(script: str, here: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process of its own that has the database with its door open."""
    holder = subprocess.Popen(
        [sys.executable, "-c", script], cwd=here, env={**os.environ, "PYTHONPATH": str(HOUSE)}, stdin=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + SECONDS_A_SESSION_MAY_TAKE_TO_OPEN
        while read_sign(here / "openbell.duckdb") is None:
            assert holder.poll() is None, "the holder ended before its door was open"
            assert time.monotonic() < deadline
            time.sleep(0.1)
        yield holder
    finally:
        if holder.poll() is None:
            holder.send_signal(signal.SIGKILL)
        holder.wait(30)


TRADING = """
from tasks.composition import assemble
from trading.settings import Settings
settings = Settings.model_validate({"session": {"pace": 300, "granularity": "chunk"}})
with assemble(settings, None) as desk:
    desk.agent.run_session()
"""
DEAF = """
import sys, time
from pathlib import Path
from storage.door import open_door
from storage.store import open_store
with open_store(Path("openbell.duckdb")) as store, open_door(store, True):
    time.sleep({seconds})
"""


def test_a_session_that_runs_answers_itself(openbell: Command, here: Path) -> None:
    with process(TRADING, here) as session:
        compared = openbell("reconcile", "--json")
        repaired = openbell("reconcile", "--json", "--repair")
        assert session.poll() is None
    assert compared.code == ExitCode.DONE, compared.err
    assert (compared.answer["answered_by"], compared.answer["discrepancies"]) == ("session", [])
    assert (repaired.code, repaired.answer["answered_by"]) == (ExitCode.DONE, "session")
    assert repaired.answer["session_id"].startswith("2026-01-06")
    stages = ask(
        here, "SELECT stage FROM reconciliations WHERE session_id LIKE '2026-01-06%' ORDER BY reconciliation_id"
    )
    assert stages[0] == ("open",)
    assert ("manual",) in stages


def test_a_session_that_trades_another_account_says_which(openbell: Command, here: Path) -> None:
    with process(TRADING, here):
        outcome = openbell("reconcile", "--account", "paper")
    assert outcome.code == ExitCode.WRONG_USAGE
    assert "trades account synthetic, not paper" in outcome.err


def test_a_holder_that_does_not_answer_is_not_waited_for_for_ever(openbell: Command, here: Path) -> None:
    with process(DEAF.format(seconds=120), here):
        outcome = openbell("reconcile", "--wait", "1")
    assert outcome.code == ExitCode.FAILED
    assert "has not answered within 1 s" in outcome.err
    assert "minutes apart" in outcome.err


def test_a_session_that_ends_without_answering_leaves_the_comparison_to_the_command(
    openbell: Command, here: Path
) -> None:
    exec_id = lose_a_fill(here)
    with process(DEAF.format(seconds=8), here):
        outcome = openbell("reconcile", "--json", "--repair", "--wait", "60")
    assert outcome.code == ExitCode.DONE, outcome.err
    assert outcome.answer["answered_by"] == "ledger"
    assert [one["subject"] for one in outcome.answer["repairs"]] == [exec_id]
    assert ask(here, "SELECT count(*) FROM operator_requests WHERE answered_at IS NULL") == [(0,)]
