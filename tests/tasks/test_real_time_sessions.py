"""Sessions of today at pace live: they follow the wall, wait for the bell, and what comes late is treated as it is set."""

import os
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from storage.questions import ask
from tasks.composition import assemble
from tasks.feed_composition import is_in_real_time
from trading.clocks.wall_clock import WallClock, rehearsing_at
from trading.errors import AppointmentMissed, SessionOver, StoppedEarly, TooLate
from trading.sessions import SessionState, SessionSummary
from trading.settings import Settings, parse_settings

MONDAY = date(2026, 1, 5)
Walls = Callable[..., Any]


def new_york(clock: str, day: date = MONDAY) -> datetime:
    """In winter."""
    hour, minute = clock.split(":")
    return datetime(day.year, day.month, day.day, int(hour) + 5, int(minute), tzinfo=UTC)


NINE_FIFTEEN = new_york("09:15")


@pytest.fixture
def live(tmp_path: Path) -> Callable[..., Settings]:
    def make(session: dict[str, Any] | None = None, **sections: Any) -> Settings:
        return parse_settings(
            {
                "session": {"pace": "live", "timeframe": "30min", **(session or {})},
                "policy": {"name": "buy_and_hold"},
                "feed": {"kind": "synthetic"},
                "risk": {"max_price_age_seconds": "off"},
                "store": {"path": tmp_path / "l.duckdb"},
                **sections,
            },
            "the test",
        )

    return make


def traded(settings: Settings, stop_after: int | None = None) -> SessionSummary:
    """The session that a schedule wanted at a quarter past nine; stopped after so many bars."""
    bars = iter(range(stop_after or 1_000))
    with assemble(settings, None, scheduled_at=NINE_FIFTEEN) as desk:
        return desk.agent.run_session(lambda: stop_after is not None and next(bars) == stop_after - 1)


def told(folder: Path, query: str) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in ask(folder / "l.duckdb", query).rows]


def first_decision(folder: Path) -> datetime:
    [[first]] = told(folder, "select min(bar_time) from decisions")
    assert isinstance(first, datetime)
    return first.astimezone(UTC)


def test_the_bell_is_waited_for_and_the_close_ends_it(
    live: Callable[..., Settings], striding_wall: Walls, tmp_path: Path
) -> None:
    # On a machine where it is Tuesday already.
    os.environ["TZ"], before = "Pacific/Kiritimati", os.environ.get("TZ")
    time.tzset()
    try:
        wall = striding_wall(NINE_FIFTEEN, timedelta(minutes=10))
        with rehearsing_at(wall):
            summary = traded(live())
    finally:
        if before is None:
            del os.environ["TZ"]
        else:
            os.environ["TZ"] = before
        time.tzset()
    assert (summary.session_id, summary.state, summary.bars) == ("2026-01-05.synthetic.buy_and_hold", "COMPLETED", 13)
    assert first_decision(tmp_path) == new_york("09:30")
    assert new_york("16:00") <= wall.now() < new_york("16:11")
    # The bars of that day as they are traded on any other.
    with assemble(live(session={"pace": "max"}, store={"path": tmp_path / "other.duckdb"}), MONDAY) as desk:
        at_once = desk.agent.run_session()
    assert (summary.orders, summary.fills, summary.equity) == (at_once.orders, at_once.fills, at_once.equity)
    assert summary.fills > 0


def test_only_today_at_pace_live_follows_the_wall(live: Callable[..., Settings], striding_wall: Walls) -> None:
    # It is Tuesday already in Tokyo and in UTC.
    wall = striding_wall(datetime(2026, 1, 6, 2, 0, tzinfo=UTC))
    assert is_in_real_time(live(), MONDAY, wall)
    assert not is_in_real_time(live(), date(2026, 1, 6), wall)
    assert not is_in_real_time(live(session={"pace": "max"}), MONDAY, wall)
    assert not is_in_real_time(live(session={"pace": 60}), MONDAY, wall)
    assert not is_in_real_time(live(session={"exchange": "XTKS"}), MONDAY, wall)


def test_an_operator_is_heard_before_the_bell(
    live: Callable[..., Settings], striding_wall: Walls, tmp_path: Path
) -> None:
    wall = striding_wall(new_york("09:20"))
    asked: list[datetime] = []
    with rehearsing_at(wall), assemble(live(), None, scheduled_at=NINE_FIFTEEN) as desk:

        def ask_for_it(now: datetime) -> None:
            if now < new_york("09:24"):
                return
            if not asked:
                # As the door lets it in.
                desk.store.connection.execute(
                    "INSERT INTO operator_requests (request_id, kind, arguments, asked_by, asked_at)"
                    """ VALUES ('one', 'halt', '{"reason": "not today"}', 'anna', now())"""
                )
                asked.append(now)
            elif not heard and not desk.store.ledger.requests():
                heard.append(now)

        heard: list[datetime] = []
        wall.on_the_way = ask_for_it
        summary = desk.agent.run_session()
    assert heard
    assert asked[0] < heard[0] < new_york("09:30")
    assert (summary.orders, summary.halted) == (0, True)
    assert told(tmp_path, "select reason from halts") == [("not today",)]


def test_who_comes_late_may_trade_from_the_newest_bar_on(
    live: Callable[..., Settings], striding_wall: Walls, tmp_path: Path
) -> None:
    with rehearsing_at(striding_wall(new_york("12:05"))):
        summary = traded(live(session={"late_policy": "trade"}))
    # 11:30 was over when it came; eight more are to come.
    assert first_decision(tmp_path) == new_york("11:30")
    assert summary.bars == 9
    assert summary.fills > 0
    assert told(tmp_path, "select only_reduces from sessions") == [("",)]


def test_who_comes_late_opens_nothing_and_closes_what_is_held(
    live: Callable[..., Settings], striding_wall: Walls, tmp_path: Path
) -> None:
    holding = live(
        session={"pace": "max"},
        closing={"hold_overnight": True},
        feed={"kind": "synthetic", "synthetic": {"first_date": "2026-01-02"}},
    )
    with assemble(holding, None) as desk:
        assert desk.agent.run_session().fills == 1
    with rehearsing_at(striding_wall(new_york("12:05"))):
        summary = traded(live(policy={"name": "flat"}))
    # What Friday bought is sold; from flat on nothing would be bought anyway.
    assert (summary.fills, summary.session_date) == (1, MONDAY)
    with rehearsing_at(striding_wall(new_york("12:05"))):
        summary = traded(live(session={"strategy": "buyer"}))
    assert summary.orders == 0
    refused = "select distinct rule from risk_checks where verdict = 'REFUSED' and session_id like '%buyer'"
    assert ("late_start",) in told(tmp_path, refused)


def test_how_a_session_began_holds_until_its_end(
    live: Callable[..., Settings], striding_wall: Walls, tmp_path: Path
) -> None:
    # Begun on time, killed, taken up at noon: it goes on trading.
    with rehearsing_at(striding_wall(NINE_FIFTEEN)), pytest.raises(StoppedEarly):
        traded(live(), stop_after=2)
    with rehearsing_at(striding_wall(new_york("12:05"))):
        assert traded(live(session={"late_policy": "refuse"})).state is SessionState.COMPLETED
    # Begun late: it opens nothing after its restart either, whatever the file says now.
    other = {"strategy": "late"}
    with rehearsing_at(striding_wall(new_york("10:31"))), pytest.raises(StoppedEarly):
        traded(live(session=other), stop_after=2)
    with rehearsing_at(striding_wall(new_york("12:05"))):
        summary = traded(live(session={**other, "late_policy": "trade", "late_after_minutes": 600}))
    assert (summary.state, summary.orders) == (SessionState.COMPLETED, 0)
    assert told(tmp_path, "select strategy, only_reduces = '' from sessions order by 1") == [
        ("buy_and_hold", True),
        ("late", False),
    ]
    # Also after its close it is brought to its end, and nobody begins then.
    with rehearsing_at(striding_wall(new_york("16:00"))), pytest.raises(SessionOver, match="closed at 16:00"):
        traded(live(session={"strategy": "third"}))


def test_who_is_refused_for_coming_late_is_told_by_how_much_and_nothing_is_written(
    live: Callable[..., Settings], striding_wall: Walls, tmp_path: Path
) -> None:
    with rehearsing_at(striding_wall(new_york("10:11"))), pytest.raises(TooLate, match=r"41 minutes after .* 09:30"):
        traded(live(session={"late_policy": "refuse"}))
    assert told(tmp_path, "select count(*) from sessions") == [(0,)]
    # Another day than today's is never late, nor is a pace that is not the wall's.
    with rehearsing_at(striding_wall(new_york("10:11"))):
        assert traded(live(session={"late_policy": "refuse", "pace": "max"})).bars == 13


def test_a_machine_that_slept_through_the_bell_is_late(
    live: Callable[..., Settings], striding_wall: Walls, tmp_path: Path
) -> None:
    wall = striding_wall(NINE_FIFTEEN)

    def suspended(now: datetime) -> None:
        if now < new_york("09:30") and now > new_york("09:20"):
            wall.jump(timedelta(hours=3))

    wall.on_the_way = suspended
    with rehearsing_at(wall):
        summary = traded(live())
    assert summary.orders == 0
    [[why]] = told(tmp_path, "select only_reduces from sessions")
    assert "after the opening bell of 09:30" in why


class SetClock:
    """A machine whose time somebody sets: ``machine`` is what it says, ``steady`` the seconds that really pass."""

    def __init__(self, at: datetime) -> None:
        self.at = at
        self.seconds = 0.0
        self.sets: list[tuple[datetime, timedelta]] = []

    def sleep(self, seconds: float) -> None:
        passed = max(seconds, 240.0)
        self.seconds += passed
        self.at += timedelta(seconds=passed)
        if self.sets and self.at >= self.sets[0][0]:
            self.at += self.sets.pop(0)[1]

    def wall(self) -> WallClock:
        return WallClock(lambda: self.at, lambda: self.seconds, self.sleep)


@pytest.fixture
def machine() -> SetClock:
    return SetClock(NINE_FIFTEEN)


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_clock_that_is_set_in_mid_session_brings_no_bar_twice_and_leaves_none_out(
    live: Callable[..., Settings], machine: SetClock, tmp_path: Path, hours: int
) -> None:
    machine.sets = [(new_york("11:10"), timedelta(hours=hours))]
    with rehearsing_at(machine.wall()):
        summary = traded(live())
    assert machine.sets == []
    assert (summary.bars, summary.state) == (13, SessionState.COMPLETED)
    assert told(tmp_path, "select count(*), count(distinct bar_time) from decisions") == [(13, 13)]
    # Set forward it is there an hour sooner; set back nobody waits for an hour.
    expected = timedelta(hours=6, minutes=45) - timedelta(hours=max(hours, 0))
    assert abs(timedelta(seconds=machine.seconds) - expected) < timedelta(minutes=5)


def test_a_run_of_yesterday_opens_nothing_at_all(
    live: Callable[..., Settings], striding_wall: Walls, tmp_path: Path
) -> None:
    tuesday = new_york("09:20", date(2026, 1, 6))
    with (
        rehearsing_at(striding_wall(tuesday)),
        pytest.raises(AppointmentMissed, match="it is Tuesday 2026-01-06 there"),
    ):
        traded(live())
    assert list(tmp_path.iterdir()) == []
