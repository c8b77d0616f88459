"""The health check on real ledgers: free, held, locked, after a kill; and that it keeps a session from nothing."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import duckdb
import pytest

from storage.store import open_store
from tasks.health_checks import hours_to_look_in, ledger_checks, room_checks, skew_check
from trading.calendar import TradingCalendar
from trading.checks import CheckState
from trading.health import Looked
from trading.settings import Settings, parse_settings

DAY = date(2026, 1, 5)
HOURS = TradingCalendar("XNYS", DAY).hours(DAY)
NOW = datetime(2026, 1, 5, 15, 0, tzinfo=UTC)

SESSION = """
import os, signal, sys, time
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from storage.door import open_door
from storage.runners import this_runner
from storage.store import open_store
from trading.decisions import Action, Decision
from trading.ports import LedgerEntries
from trading.sessions import Mode, SessionRecord, SessionState

start, zero = datetime(2026, 1, 5, 14, 30, tzinfo=UTC), Decimal(0)
settings = '{"session": {"pace": "live", "timeframe": "1min"}}'
with open_store(Path(sys.argv[1])) as store, open_door(store, serve=sys.argv[2] != "shut") as door:
    store.ledger.take_lease("s", this_runner("r"), datetime(2026, 1, 5, 15, 0, tzinfo=UTC))
    store.ledger.open_session(
        SessionRecord("s", "trend", "paper", date(2026, 1, 5), Mode.LIVE, SessionState.RUNNING, start, settings, "f", zero, zero)
    )
    for minute in range(27, 30):
        at = start.replace(minute=30 + minute)
        failed = Decision("s", at, "SPY", Action.HOLD, 0, None, 1.0, "no weights")
        store.ledger.commit("s", LedgerEntries(decisions=[failed]), at)
    door.wait_until_open()
    print(flush=True)
    if sys.argv[2] == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(300)
"""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return parse_settings({"store": {"path": str(tmp_path / "ledger.duckdb")}}, "the test")


def session(settings: Settings, doing: str) -> "subprocess.Popen[str]":
    """A process that holds the ledger and has a session in it, whose newest bar is that of 09:59 in New York."""
    process = subprocess.Popen(
        [sys.executable, "-c", SESSION, str(settings.store.path), doing], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    process.stdout.readline()
    return process


@pytest.fixture
def trading(settings: Settings) -> "Iterator[subprocess.Popen[str]]":
    with session(settings, "trade") as process:
        yield process
        assert process.poll() is None
        process.send_signal(signal.SIGKILL)


def look(settings: Settings, now: datetime = NOW, expected: tuple[str, ...] = ("trend",)) -> list[Looked]:
    return list(ledger_checks(settings, HOURS, expected, now))


def unwell(looked: list[Looked]) -> dict[str, str]:
    return {one.check.subject: one.check.found for one in looked if one.check.state is not CheckState.OK}


@pytest.mark.usefixtures("trading")
def test_a_session_that_trades_is_asked_through_its_door(settings: Settings) -> None:
    looked = look(settings)
    assert {one.check.subject for one in looked} >= {
        "database",
        "session_missing",
        "data_stale",
        "lease",
        "discrepancy",
    }
    # Its policy failed on the last three bars; all else is well.
    assert unwell(looked) == {"policy": "the policy of s failed on the last 3 bars: no weights"}
    assert "data_stale" in unwell(look(settings, NOW + timedelta(minutes=4)))
    before = time.process_time()
    assert unwell(look(settings, expected=("trend", "other"))).keys() == {"policy", "session_missing"}
    assert time.process_time() - before < 0.5  # it stands beside a session that trades


def test_a_killed_session_is_found_by_its_process(settings: Settings) -> None:
    with session(settings, "die") as process:
        process.wait(30)
    found = unwell(look(settings))
    assert f"s says RUNNING and process {process.pid} is gone" in found["lease"]
    assert "data_stale" not in unwell(look(settings, NOW + timedelta(hours=1)))
    # It was started at 14:30: a clock that says less was set back.
    assert "clock" in unwell(look(settings, datetime(2026, 1, 5, 14, 29, tzinfo=UTC)))
    assert "clock" not in found


def test_a_database_that_somebody_locks_is_told_with_the_program(settings: Settings) -> None:
    with open_store(settings.store.path):
        pass
    with session(settings, "shut") as process:
        looked = look(settings)
        process.send_signal(signal.SIGKILL)
    [one] = looked
    assert (one.check.subject, one.check.state) == ("database", CheckState.BAD)
    assert f"held by process {process.pid}" in one.check.found
    assert Path(sys.executable).name in one.check.found


def test_what_stands_is_told_until_it_is_gone(settings: Settings) -> None:
    with open_store(settings.store.path):
        pass
    with duckdb.connect(str(settings.store.path)) as raw:
        raw.execute(
            "INSERT INTO halts (scope, halted_at, rule, reason) VALUES ('all', TIMESTAMPTZ '2026-01-05 14:50:00+00', 'operator', 'news')"
        )
        raw.execute(
            "INSERT INTO instrument_locks VALUES ('paper', 'SPY', TIMESTAMPTZ '2026-01-05 14:50:00+00', 'odd', NULL)"
        )
        raw.execute(
            "INSERT INTO reconciliations VALUES (1, 'paper', 's', TIMESTAMPTZ '2026-01-05 14:50:00+00', 'open', 2, 0, 2)"
        )
    looked = look(settings, expected=())
    assert [one.check.subject for one in looked if one.check.state is not CheckState.OK] == [
        "discrepancy",
        "discrepancy",
        "halt",
    ]
    with duckdb.connect(str(settings.store.path)) as raw:
        raw.execute("UPDATE halts SET cleared_at = now()")
        raw.execute("UPDATE instrument_locks SET lifted_at = now()")
        raw.execute(
            "INSERT INTO reconciliations VALUES (2, 'paper', 's', TIMESTAMPTZ '2026-01-05 14:55:00+00', 'schedule', 0, 0, 0)"
        )
        raw.execute("UPDATE halts SET reason = 'cleared'")
    assert unwell(look(settings, expected=())) == {}


def test_no_database_is_no_fault_and_a_broken_one_is(settings: Settings) -> None:
    assert unwell(look(settings)).keys() == {"session_missing"}
    assert not settings.store.path.exists()
    settings.store.path.write_text("no database")
    assert unwell(look(settings)).keys() == {"database"}


def test_clocks_that_differ_are_seen() -> None:
    assert skew_check(NOW, NOW + timedelta(seconds=5)).state is CheckState.OK
    ahead = skew_check(NOW, NOW + timedelta(seconds=6))
    assert (ahead.state, "6 s ahead of" in ahead.found) == (CheckState.WARN, True)
    assert "6 s behind" in skew_check(NOW, NOW - timedelta(seconds=6)).found


def test_each_disk_is_looked_at_once(settings: Settings, tmp_path: Path) -> None:
    looked = list(room_checks(settings, tmp_path / "none" / "below", tmp_path))
    subjects = [one.check.subject for one in looked]
    assert subjects.count("disk") == 1
    assert "memory" in subjects


@pytest.mark.parametrize(
    ("now", "said"),
    [
        (datetime(2026, 1, 5, 13, 44, tzinfo=UTC), "trades from 09:30 to 16:00 today, and it is 08:44"),
        (datetime(2026, 1, 5, 13, 45, tzinfo=UTC), None),
        (datetime(2026, 1, 5, 22, 0, tzinfo=UTC), None),
        (datetime(2026, 1, 5, 22, 1, tzinfo=UTC), "and it is 17:01"),
        # The day after Thanksgiving closes at 13:00.
        (datetime(2026, 11, 27, 19, 1, tzinfo=UTC), "trades from 09:30 to 13:00 today"),
        (datetime(2026, 1, 4, 15, 0, tzinfo=UTC), "no session on 2026-01-04; the next is on 2026-01-05"),
        # Seven in the evening in New York is the next day in UTC.
        (datetime(2026, 1, 6, 0, 30, tzinfo=UTC), "and it is 19:30"),
    ],
)
def test_it_looks_around_the_session_alone(settings: Settings, now: datetime, said: str | None) -> None:
    hours = hours_to_look_in(settings, now)
    if said is None:
        assert not isinstance(hours, str)
    else:
        assert isinstance(hours, str)
        assert said in hours


def test_a_session_that_wants_the_file_is_not_kept_waiting(settings: Settings) -> None:
    """A process looks all the time; opening to write comes through each time."""
    with open_store(settings.store.path):
        pass
    program = """
import sys
from datetime import UTC, date, datetime
from tasks.health_checks import ledger_checks
from trading.calendar import TradingCalendar
from trading.settings import parse_settings
settings, day = parse_settings({"store": {"path": sys.argv[1]}}, "x"), date(2026, 1, 5)
hours = TradingCalendar("XNYS", day).hours(day)
print(flush=True)
while True:
    list(ledger_checks(settings, hours, (), datetime(2026, 1, 5, 15, tzinfo=UTC)))
"""
    with subprocess.Popen(
        [sys.executable, "-c", program, str(settings.store.path)], stdout=subprocess.PIPE, env=os.environ
    ) as looking:
        assert looking.stdout is not None
        looking.stdout.readline()
        for _ in range(5):
            with open_store(settings.store.path) as store:
                assert store.connection.rows("SELECT count(*) FROM sessions") == [(0,)]
        assert looking.poll() is None
        looking.kill()
