"""Sessions that nobody closed, and what is left of a day: ended where nobody trades them, told, and never repaired."""

import itertools
import uuid
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from storage.overnight import last_sign, positions_after
from storage.questions import ask
from storage.runners import this_runner
from storage.store import open_store
from tasks.composition import assemble
from tasks.day_report import day_page, days_to_report, report_of_day
from tasks.session_replays import prepare_replay
from tasks.unfinished_sessions import end_unfinished, unfinished_sessions, write_end
from trading.calendar import TradingCalendar
from trading.errors import ClosedDay, ConfigurationError, StoppedEarly
from trading.settings import Settings, parse_settings

DAY = date(2026, 1, 5)
HOURS = TradingCalendar("XNYS", DAY).hours(DAY)
NAME = "2026-01-05.paper-account.buy_and_hold"
NOW = datetime(2026, 1, 5, 22, 0, tzinfo=UTC)
SEEN = datetime(2026, 1, 5, 17, 12, 30, tzinfo=UTC)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return parse_settings(
        {
            "session": {"symbols": ["AAA"], "timeframe": "30min", "account": "paper-account"},
            "policy": {"name": "buy_and_hold"},
            "feed": {"kind": "synthetic"},
            "store": {"path": str(tmp_path / "ledger.duckdb")},
        },
        "the test",
    )


@pytest.fixture
def killed(settings: Settings) -> Callable[..., Settings]:
    """A session that bought and was killed in its sixth bar, as a kill leaves it: its runner says nothing more."""

    def kill(alive: bool = False) -> Settings:
        bars = itertools.count(1)
        with assemble(settings, DAY) as desk, pytest.raises(StoppedEarly):
            desk.agent.run_session(lambda: next(bars) == 6)
        runner = this_runner(uuid.uuid4().hex)
        with open_store(settings.store.path) as store, store.connection.transaction():
            store.connection.execute("UPDATE sessions SET state = 'RUNNING', ended_at = NULL, reason = ''")
            store.connection.execute(
                "UPDATE session_leases SET released_at = NULL, host = ?, pid = ?, process_started = ?, run = ?, renewed_at = ?,"
                " expires_at = '2100-01-01'",
                [runner.host, runner.pid, runner.started if alive else "1", runner.run, SEEN],
            )
        return settings

    return kill


def state_of(settings: Settings) -> tuple[object, ...]:
    [row] = ask(settings.store.path, "SELECT state, ended_at, reason FROM sessions").rows
    return row


def test_one_whose_process_is_gone_is_ended_when_it_was_last_seen_and_told(killed: Callable[..., Settings]) -> None:
    settings = killed()
    fills = ask(settings.store.path, "FROM fills").rows
    assert unfinished_sessions(settings, DAY, NOW) == [NAME]
    ended = end_unfinished(settings, NAME, 0, NOW)
    assert ended.is_ended
    state, ended_at, reason = state_of(settings)
    assert (state, ended_at) == ("STOPPED", SEEN)
    assert "its process ended without a word" in str(reason)
    assert "Ledger and broker agree" in ended.message
    assert "17:12:30 UTC" in ended.message
    assert "openbell reconcile --account paper-account" in ended.remedy
    assert ask(settings.store.path, "FROM fills").rows == fills
    assert unfinished_sessions(settings, DAY, NOW) == []
    assert not end_unfinished(settings, NAME, 0, NOW).is_ended
    assert state_of(settings) == (state, ended_at, reason)


def test_it_goes_on_when_it_is_started_again(killed: Callable[..., Settings]) -> None:
    settings = killed()
    end_unfinished(settings, NAME, 0, NOW)
    with assemble(settings, DAY) as desk:
        assert desk.agent.run_session().bars == 13


def test_one_that_somebody_may_trade_is_left_alone(killed: Callable[..., Settings]) -> None:
    settings = killed(alive=True)
    assert unfinished_sessions(settings, DAY, NOW) == []
    told = end_unfinished(settings, NAME, 0, NOW)
    assert not told.is_ended
    assert "is traded by process" in told.message
    assert state_of(settings)[0] == "RUNNING"


def test_one_that_was_started_again_while_its_broker_was_asked_stays_as_that_left_it(
    killed: Callable[..., Settings],
) -> None:
    settings = killed()
    with open_store(settings.store.path, read_only=True) as store:
        record, seen = store.ledger.find_session(NAME), last_sign(store, NAME)
    assert record is not None
    with assemble(settings, DAY) as desk:
        assert desk.agent.run_session().bars == 13
    traded = state_of(settings)
    told = write_end(settings, record, seen, "Ledger and broker agree.", 0, NOW)
    assert not told.is_ended
    assert "was started again meanwhile" in told.message
    assert (traded[0], state_of(settings)) == ("COMPLETED", traded)


def test_sessions_of_later_days_and_of_replays_are_nobodys_business_here(killed: Callable[..., Settings]) -> None:
    settings = killed()
    assert unfinished_sessions(settings, date(2026, 1, 4), NOW) == []
    with open_store(settings.store.path) as store, store.connection.transaction():
        store.connection.execute(
            "UPDATE sessions SET session_id = '2026-01-05.replay-x.buy_and_hold', account = 'replay-x'"
        )
    assert unfinished_sessions(settings, DAY, NOW) == []


def test_a_broker_that_cannot_be_asked_is_told_and_what_differs_is_not_repaired(
    killed: Callable[..., Settings],
) -> None:
    settings = killed()
    account = settings.store.path.with_name("ledger.paper-account.sqlite")
    elsewhere = account.with_name("away.sqlite")
    account.rename(elsewhere)
    told = end_unfinished(settings, NAME, 0, NOW)
    assert told.is_ended
    assert "could not be compared with the broker: " in told.message
    assert "there is no paper account" in told.message
    elsewhere.rename(account)
    # The broker has an execution that the ledger lacks.
    with open_store(settings.store.path) as store, store.connection.transaction():
        store.connection.execute("UPDATE sessions SET state = 'RUNNING'")
        store.connection.execute("DELETE FROM fills")
        store.connection.execute("DELETE FROM position_snapshots")
    differing = end_unfinished(settings, NAME, 0, NOW)
    assert "Ledger and broker differ in" in differing.message
    assert ask(settings.store.path, "FROM fills").rows == ()


def test_positions_that_were_left_open_stand_in_the_day_and_in_its_session(killed: Callable[..., Settings]) -> None:
    settings = killed()
    ended = [end_unfinished(settings, NAME, 0, NOW)]
    report = report_of_day(settings, HOURS)
    [page] = report.pages
    with open_store(settings.store.path, read_only=True) as store:
        held = positions_after(store, "paper-account", DAY)
        assert positions_after(store, "paper-account", date(2026, 1, 4)) == {}
    assert held["AAA"] > 0
    assert page.overnight.positions == held
    assert f"**Positions were left open: AAA {held['AAA']:,}.**" in page.page
    assert "![Equity and drawdown](data:image/png;base64," in page.page
    assert "![Trades in AAA](data:image/png;base64," in page.page
    day = day_page(report, ended)
    assert "# Monday 2026-01-05" in day
    assert f"Positions were left open: AAA {held['AAA']:,}" in day
    assert ended[0].message in day
    assert "| buy_and_hold | paper-account | STOPPED |" in day


def test_a_day_that_is_in_order_says_so_and_replays_are_no_part_of_it(settings: Settings) -> None:
    with assemble(settings, DAY) as desk:
        summary = desk.agent.run_session()
    replay = prepare_replay(settings, DAY, DAY)
    for chunk in replay.chunks:
        replay.trade(chunk)
    report = report_of_day(settings, HOURS)
    assert [page.summary for page in report.pages] == [summary]
    assert "Nothing: no position and no order." in report.pages[0].page
    assert "1 session on 2026-01-05, 2 fills" in day_page(report)
    assert "## Sessions that nobody closed" not in day_page(report)


def test_orders_that_should_be_over_are_unexplained(killed: Callable[..., Settings]) -> None:
    settings = killed()
    with open_store(settings.store.path) as store, store.connection.transaction():
        store.connection.execute("UPDATE orders SET status = 'UNKNOWN'")
    [page] = report_of_day(settings, HOURS).pages
    assert not page.overnight.is_in_order
    assert "is UNKNOWN and should be over" in page.page


@pytest.mark.parametrize(
    ("scheduled", "now", "meant"),
    [
        # 16:20 New York is 21:20 UTC; the run came late, on the next day.
        ("2026-01-05 21:20", "2026-01-06 03:00", [5]),
        (None, "2026-01-05 22:00", [5]),
        # By hand in the morning before the bell: the day before. While it is traded: today.
        (None, "2026-01-06 13:00", [5]),
        (None, "2026-01-06 15:00", [6]),
        (None, "2026-01-11 15:00", [9]),
    ],
)
def test_the_day_that_is_meant(scheduled: str | None, now: str, meant: list[int]) -> None:
    at = None if scheduled is None else datetime.fromisoformat(f"{scheduled}+00:00")
    days = days_to_report("XNYS", at, datetime.fromisoformat(f"{now}+00:00"), None, None)
    assert [hours.session_date.day for hours in days] == meant


def test_where_the_next_day_is_about_to_begin_the_one_before_is_meant() -> None:
    # 16:20 in New York is 06:20 on the next day in Tokyo, and 08:20 in Sydney.
    at = datetime(2026, 1, 6, 21, 20, tzinfo=UTC)
    for exchange in ("XTKS", "XASX", "XNYS"):
        assert [hours.session_date.day for hours in days_to_report(exchange, at, at, None, None)] == [6]


def test_days_that_are_named_and_days_that_are_none() -> None:
    assert [
        hours.session_date.day for hours in days_to_report("XNYS", None, NOW, date(2026, 1, 2), date(2026, 1, 6))
    ] == [2, 5, 6]
    assert [hours.session_date.day for hours in days_to_report("XNYS", None, NOW, DAY, None)] == [5]
    with pytest.raises(ClosedDay, match="Martin Luther King"):
        days_to_report("XNYS", datetime(2026, 1, 19, 21, 20, tzinfo=UTC), NOW, None, None)
    with pytest.raises(ClosedDay, match="weekend"):
        days_to_report("XNYS", None, NOW, date(2026, 1, 3), date(2026, 1, 4))
    with pytest.raises(ConfigurationError, match="no range"):
        days_to_report("XNYS", None, NOW, date(2026, 1, 6), DAY)
