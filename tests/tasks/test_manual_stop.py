"""Stopping an account that nobody trades, and asking for a stop where somebody may."""

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest

from storage.halt_flag import flag_path, flagged
from tasks.composition import assemble
from tasks.manual_reconciliation import reconcile_by_hand
from tasks.manual_stop import ASKED, resume_by_hand, stop_by_hand
from trading.errors import ConfigurationError, Halted, StoppedEarly
from trading.sessions import SessionState
from trading.settings import Settings

HOUSE = Path(__file__).parents[2]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Half-hour bars of the invented market; whoever buys, buys on the first one."""
    return Settings.model_validate(
        {
            "session": {"timeframe": "30min", "symbols": ["SPY", "QQQ"]},
            "feed": {"kind": "synthetic"},
            "policy": {"name": "buy_and_hold"},
            "store": {"path": tmp_path / "l.duckdb"},
        }
    )


def traded_for(settings: Settings, bars: int) -> None:
    """A session that was stopped after so many bars. After one its two purchases work, after two they are held."""
    left = iter([False] * (bars - 1))
    with assemble(settings, None) as desk, pytest.raises(StoppedEarly):
        desk.agent.run_session(lambda: next(left, True))


def rows(settings: Settings, sql: str) -> list[tuple[Any, ...]]:
    with duckdb.connect(str(settings.store.path)) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        return connection.execute(sql).fetchall()


def at_the_broker(settings: Settings, sql: str = "SELECT symbol, status FROM orders ORDER BY symbol") -> list[Any]:
    with contextlib.closing(sqlite3.connect(settings.store.path.with_name("l.synthetic.sqlite"))) as connection:
        return connection.execute(sql).fetchall()


def steps(answer: dict[str, Any]) -> list[tuple[str, bool]]:
    return [(step["action"], step["succeeded"]) for step in answer["steps"]]


def test_what_works_is_cancelled_and_the_broker_shows_it(settings: Settings) -> None:
    traded_for(settings, 1)
    told: list[Any] = []
    answer = stop_by_hand(settings, "all", "fat finger", told=told.append)
    assert (answer["state"], answer["left"], answer["answered_by"]) == ("SUCCEEDED", [], "ledger")
    assert steps(answer) == [("halt", True), ("cancel", True), ("verify", True), ("done", True)]
    assert told == answer["steps"]
    assert at_the_broker(settings) == [("QQQ", "CANCELLED"), ("SPY", "CANCELLED")]
    assert rows(settings, "SELECT symbol, status FROM orders ORDER BY symbol") == [
        ("QQQ", "CANCELLED"),
        ("SPY", "CANCELLED"),
    ]
    assert rows(settings, "SELECT scope, reason, cleared_at FROM halts") == [("all", "fat finger", None)]
    assert rows(settings, "SELECT stop_id, account, session_id, state FROM stops") == [
        (answer["stop_id"], "synthetic", "", "SUCCEEDED")
    ]
    assert rows(settings, "SELECT number, action FROM stop_steps ORDER BY number") == [
        (1, "halt"),
        (2, "cancel"),
        (3, "verify"),
        (4, "done"),
    ]


def test_a_cancel_is_written_before_it_is_asked_for(settings: Settings) -> None:
    traded_for(settings, 1)
    stop_by_hand(settings, "all", "x")
    events = rows(settings, "SELECT status FROM order_events WHERE client_order_id LIKE '%SPY%' ORDER BY rowid")
    assert [status for (status,) in events][-2:] == ["CANCEL_PENDING", "CANCELLED"]


def test_a_second_stop_finds_nothing_left(settings: Settings) -> None:
    traded_for(settings, 1)
    stop_by_hand(settings, "all", "x")
    again = stop_by_hand(settings, "all", "y")
    assert again["state"] == "SUCCEEDED"
    assert next(step["detail"] for step in again["steps"] if step["action"] == "cancel") == "nothing to do"


def test_positions_cannot_be_closed_at_rest_and_that_is_an_alarm(settings: Settings) -> None:
    traded_for(settings, 2)
    answer = stop_by_hand(settings, "all", "x", flatten=True)
    assert answer["state"] == "ALARM"
    assert sorted(words.split()[1:] for words in answer["left"]) == [["QQQ", "are", "held"], ["SPY", "are", "held"]]
    assert ("flatten", False) in steps(answer)
    assert ("alarm", False) in steps(answer)
    # Whoever takes the account up trades as he is told then.
    assert rows(settings, "SELECT state, ended_at IS NULL FROM stops") == [("ALARM", False)]
    assert len(rows(settings, "SELECT scope FROM halts WHERE cleared_at IS NULL")) == 1


def test_positions_are_left_alone_without_flatten(settings: Settings) -> None:
    traded_for(settings, 2)
    assert stop_by_hand(settings, "all", "x")["state"] == "SUCCEEDED"


def test_a_symbol_is_stopped_alone(settings: Settings) -> None:
    traded_for(settings, 1)
    answer = stop_by_hand(settings, "symbol:QQQ", "x")
    assert (answer["state"], answer["notes"]) == ("SUCCEEDED", [])
    assert at_the_broker(settings) == [("QQQ", "CANCELLED"), ("SPY", "ACCEPTED")]


def test_a_strategy_is_stopped_alone(settings: Settings) -> None:
    traded_for(settings, 1)
    other = stop_by_hand(settings, "strategy:other", "x")
    assert (other["state"], len(other["notes"])) == ("SUCCEEDED", 1)
    assert at_the_broker(settings) == [("QQQ", "ACCEPTED"), ("SPY", "ACCEPTED")]
    assert stop_by_hand(settings, "strategy:buy_and_hold", "x")["state"] == "SUCCEEDED"
    assert at_the_broker(settings) == [("QQQ", "CANCELLED"), ("SPY", "CANCELLED")]


def test_a_scope_that_nobody_knows_is_halted_for_later_and_told(settings: Settings) -> None:
    traded_for(settings, 1)
    account = stop_by_hand(settings, "account:mine", "x")
    symbol = stop_by_hand(settings, "symbol:XYZ", "x")
    assert account["notes"] == [
        "No account mine is known here (known: synthetic): the halt waits for its first session."
    ]
    assert "(known: QQQ, SPY)" in symbol["notes"][0]
    assert [one["scope"] for one in symbol["standing"]] == ["account:mine", "symbol:XYZ"]
    assert at_the_broker(settings) == [("QQQ", "ACCEPTED"), ("SPY", "ACCEPTED")]


def test_before_the_first_session_the_halt_alone_is_the_stop(settings: Settings) -> None:
    answer = stop_by_hand(settings, "all", "not today")
    assert (answer["state"], steps(answer)) == ("SUCCEEDED", [("halt", True)])
    with assemble(settings, None) as desk, pytest.raises(Halted, match="not today"):
        desk.agent.run_session()


def test_a_broker_that_cannot_be_asked_is_an_alarm_and_the_cancels_stay_wanted(settings: Settings) -> None:
    traded_for(settings, 1)
    account = settings.store.path.with_name("l.synthetic.sqlite")
    account.rename(account.with_name("elsewhere"))
    answer = stop_by_hand(settings, "all", "x")
    assert answer["state"] == "ALARM"
    assert "That says nothing about what works there" in answer["left"][0]
    assert not account.exists()
    assert set(rows(settings, "SELECT status FROM orders")) == {("CANCEL_PENDING",)}
    assert len(rows(settings, "FROM halts")) == 1

    account.with_name("elsewhere").rename(account)
    assert stop_by_hand(settings, "all", "once more")["state"] == "SUCCEEDED"
    assert at_the_broker(settings) == [("QQQ", "CANCELLED"), ("SPY", "CANCELLED")]


def test_an_order_that_is_over_here_and_works_at_the_broker_is_cancelled_too(settings: Settings) -> None:
    traded_for(settings, 1)
    rows(settings, "UPDATE orders SET status = 'EXPIRED' WHERE symbol = 'SPY'")
    assert stop_by_hand(settings, "all", "x")["state"] == "SUCCEEDED"
    assert at_the_broker(settings) == [("QQQ", "CANCELLED"), ("SPY", "CANCELLED")]
    assert rows(settings, "SELECT DISTINCT status FROM orders") == [("CANCELLED",)]


def test_an_order_made_elsewhere_is_told_as_left(settings: Settings) -> None:
    traded_for(settings, 1)
    account = settings.store.path.with_name("l.synthetic.sqlite")
    with contextlib.closing(sqlite3.connect(account)) as connection, connection:
        connection.execute("UPDATE orders SET client_order_id = 'theirs' WHERE symbol = 'SPY'")
    answer = stop_by_hand(settings, "all", "x")
    assert (answer["state"], answer["left"]) == ("ALARM", ["order theirs is ACCEPTED"])
    assert at_the_broker(settings) == [("QQQ", "CANCELLED"), ("SPY", "ACCEPTED")]


def test_a_cancelled_order_stays_open_here_until_what_it_filled_is_booked(settings: Settings) -> None:
    # An order takes a hundred-thousandth of a bar's volume: some of it is filled on the second bar, the rest works on.
    paper = settings.broker.paper.model_copy(update={"max_volume_fraction": Decimal("0.00001")})
    slow = settings.model_copy(update={"broker": settings.broker.model_copy(update={"paper": paper})})
    traded_for(slow, 2)
    [(filled,)] = rows(slow, "SELECT filled_quantity FROM orders WHERE symbol = 'SPY'")
    assert filled > 0
    rows(slow, "DELETE FROM fills")
    rows(slow, "UPDATE orders SET filled_quantity = 0, status = 'ACCEPTED'")
    assert stop_by_hand(slow, "all", "x")["state"] == "SUCCEEDED"
    assert at_the_broker(slow) == [("QQQ", "CANCELLED"), ("SPY", "CANCELLED")]
    assert set(rows(slow, "SELECT status FROM orders")) == {("CANCEL_PENDING",)}
    assert reconcile_by_hand(slow, repair=True)["remaining"] == []
    assert rows(slow, "SELECT status, filled_quantity FROM orders WHERE symbol = 'SPY'") == [("CANCELLED", filled)]


# A bar in whose middle the process ended


def interrupted_in_its_first_bar(settings: Settings) -> None:
    """As after a process that died when its orders were sent, and before the bar was committed."""
    traded_for(settings, 1)
    rows(settings, "UPDATE sessions SET last_bar_time = NULL, state = 'RUNNING'")
    for table in ("equity", "decisions", "session_bars", "risk_checks"):
        rows(settings, f"DELETE FROM {table}")
    rows(settings, "DELETE FROM order_events")
    rows(settings, "UPDATE orders SET status = 'CREATED', broker_order_id = NULL, attempts = 0")


def test_what_an_interrupted_bar_sent_is_cancelled_and_the_session_finds_it_so(settings: Settings) -> None:
    interrupted_in_its_first_bar(settings)
    assert stop_by_hand(settings, "all", "x")["state"] == "SUCCEEDED"
    assert at_the_broker(settings) == [("QQQ", "CANCELLED"), ("SPY", "CANCELLED")]
    assert resume_by_hand(settings)["cleared"] == 1
    # The bar decides again under the same ids: they are cancelled at the broker and stay so; the next bar buys anew.
    with assemble(settings, None) as desk:
        assert desk.agent.run_session().state is SessionState.COMPLETED
    first = rows(
        settings, "SELECT symbol, status, filled_quantity FROM orders WHERE bar_time = '2026-01-05 14:30:00+00'"
    )
    assert sorted(first) == [("QQQ", "CANCELLED", 0), ("SPY", "CANCELLED", 0)]
    assert len(at_the_broker(settings, "SELECT 1 FROM orders WHERE status = 'ACCEPTED'")) == 0
    open_here = rows(settings, "SELECT count(*) FROM open_orders")
    assert open_here == [(0,)]


def test_what_an_interrupted_bar_never_sent_stays_for_that_bar(settings: Settings, tmp_path: Path) -> None:
    quick = settings.model_copy(
        update={"orders": settings.orders.model_copy(update={"settle_seconds": settings.orders.settle_seconds * 0})}
    )
    interrupted_in_its_first_bar(quick)
    with contextlib.closing(sqlite3.connect(tmp_path / "l.synthetic.sqlite")) as connection, connection:
        connection.execute("DELETE FROM reports")
        connection.execute("DELETE FROM orders")
    assert stop_by_hand(quick, "all", "x")["state"] == "SUCCEEDED"
    assert rows(quick, "SELECT DISTINCT status FROM orders") == [("CREATED",)]
    resume_by_hand(quick)
    with assemble(quick, None) as desk:
        assert desk.agent.run_session().state is SessionState.COMPLETED
    assert rows(quick, "SELECT DISTINCT status FROM orders WHERE bar_time = '2026-01-05 14:30:00+00'") == [("FILLED",)]


# Halts by hand


def test_a_halt_of_minutes_ends_by_itself(settings: Settings) -> None:
    before = datetime.now(UTC)
    answer = stop_by_hand(settings, "all", "lunch", minutes=30)
    [halt] = answer["standing"]
    expires_at = datetime.fromisoformat(halt["expires_at"])
    assert before + timedelta(minutes=30) <= expires_at <= datetime.now(UTC) + timedelta(minutes=30)


def test_what_makes_no_sense_is_refused_before_anything_is_done(settings: Settings) -> None:
    for scope, reason, minutes, named in (
        ("SPY", "x", None, "account:paper"),
        ("all", "  ", None, "reason is empty"),
        ("all", "x", 0, "0 minutes are none"),
        (None, "x", None, "needs a scope"),
    ):
        with pytest.raises(ConfigurationError, match=named):
            stop_by_hand(settings, scope, reason, minutes=minutes)
    assert not settings.store.path.exists()


def test_a_flatten_needs_an_account_that_is_there(settings: Settings) -> None:
    with pytest.raises(ConfigurationError, match="no database"):
        stop_by_hand(settings, None, "x", flatten=True, until_close=True)
    traded_for(settings, 2)
    answer = stop_by_hand(settings, None, "x", flatten=True, until_close=True)
    assert (answer["scope"], answer["state"]) == ("account:synthetic", "ALARM")


def test_a_flag_that_nobody_has_obeyed_is_a_halt_that_resume_clears(settings: Settings) -> None:
    traded_for(settings, 1)
    flag_path(settings.store.path).write_text("the building is on fire")
    other = resume_by_hand(settings, "symbol:SPY")
    assert [(one["scope"], one["reason"], one["is_flag"]) for one in other["standing"]] == [
        ("all", "the building is on fire", True)
    ]
    assert resume_by_hand(settings)["cleared"] == 1
    assert flagged(settings.store.path) == []


# While another process holds the database

HOLDER = """
import sys, time
from pathlib import Path
from storage.door import open_door
from storage.store import open_store
with open_store(Path(sys.argv[1])) as store, open_door(store, sys.argv[2] == "open") as door:
    if sys.argv[2] == "open":
        door.wait_until_open()
    print("held", flush=True)
    sys.stdin.read()
"""


@contextlib.contextmanager
def held(settings: Settings, door: str) -> Iterator["subprocess.Popen[str]"]:
    """A process that has the database and obeys nobody."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(settings.store.path), door],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(HOUSE)},
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        try:
            yield holder
        finally:
            if holder.poll() is None:
                holder.communicate("")


def test_a_door_that_stays_shut_gets_a_flag_and_the_stop_is_not_called_done(settings: Settings) -> None:
    traded_for(settings, 1)
    with held(settings, "shut"):
        answer = stop_by_hand(settings, "all", "x", wait_seconds=1)
        assert (answer["state"], answer["asked_by"], answer["standing"]) == (ASKED, "flag", None)
        [flag] = flagged(settings.store.path)
        assert (flag.request_id, flag.arguments["scope"], flag.arguments["reason"]) == (answer["stop_id"], "all", "x")
    assert at_the_broker(settings) == [("QQQ", "ACCEPTED"), ("SPY", "ACCEPTED")]


def test_a_holder_that_leaves_without_obeying_leaves_the_stop_to_the_command(settings: Settings) -> None:
    traded_for(settings, 1)
    with held(settings, "shut") as holder:
        assert holder.stdin is not None
        leaves = "import sys, time, os, signal; time.sleep(6); os.kill(int(sys.argv[1]), signal.SIGTERM)"
        with subprocess.Popen([sys.executable, "-c", leaves, str(holder.pid)]):
            answer = stop_by_hand(settings, "all", "x", wait_seconds=60)
    assert (answer["state"], answer["asked_by"], answer["answered_by"]) == ("SUCCEEDED", "flag", "ledger")
    assert flagged(settings.store.path) == []
    assert rows(settings, "SELECT request_id, answered_at IS NOT NULL FROM operator_requests") == [
        (answer["stop_id"], True)
    ]
    assert at_the_broker(settings) == [("QQQ", "CANCELLED"), ("SPY", "CANCELLED")]


def test_a_holder_that_was_asked_and_does_not_answer_is_not_waited_for_for_ever(settings: Settings) -> None:
    traded_for(settings, 1)
    with held(settings, "open"):
        answer = stop_by_hand(settings, "all", "x", wait_seconds=2)
    assert (answer["state"], answer["asked_by"]) == (ASKED, "door")
    assert rows(settings, "SELECT request_id, kind FROM operator_requests") == [(answer["stop_id"], "halt")]


def test_a_holder_that_hangs_is_passed_by_with_the_flag(settings: Settings) -> None:
    traded_for(settings, 1)
    with held(settings, "open") as holder:
        os.kill(holder.pid, signal.SIGSTOP)
        try:
            answer = stop_by_hand(settings, "all", "x", wait_seconds=8)
        finally:
            os.kill(holder.pid, signal.SIGCONT)
        assert (answer["state"], answer["asked_by"]) == (ASKED, "flag")
        assert len(flagged(settings.store.path)) == 1
