"""When a session is said to be missing, silent, lost or without a policy; all times of Monday, 2026-01-05: 14:30 to 21:00 UTC."""

from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta

import pytest

from trading.calendar import TradingCalendar
from trading.checks import CheckState
from trading.health import Looked, failing_policies, lost_sessions, missing_sessions, stale_sessions

DAY = date(2026, 1, 5)
HOURS = TradingCalendar("XNYS", DAY).hours(DAY)


def at(hour: int, minute: int = 0, second: int = 0) -> datetime:
    return datetime(2026, 1, 5, hour, minute, second, tzinfo=UTC)


OPENED, NEWEST_BAR, LEASE_ENDS = at(14, 15), at(14, 39), at(14, 41)


@dataclass(frozen=True)
class Seen:
    """A session in real time that has just finished its bar of 14:39."""

    session_id: str = "s"
    strategy: str = "trend"
    session_date: date = DAY
    mode: str = "live"
    state: str = "RUNNING"
    started_at: datetime = OPENED
    last_bar_time: datetime | None = NEWEST_BAR
    pace: str = "live"
    bar_length: timedelta = timedelta(minutes=1)
    pid: int | None = 7
    is_gone: bool = False
    lease_expires_at: datetime | None = LEASE_ENDS
    failures: int = 0
    newest_failure: str = ""


def states(looked: "list[Looked]") -> list[str]:
    return [one.check.state.value for one in looked]


@pytest.mark.parametrize(
    ("now", "sessions", "state"),
    [
        (at(14, 34, 59), [], CheckState.OK),  # it has five minutes from the open
        (at(14, 35), [], CheckState.BAD),
        (at(20, 59), [], CheckState.BAD),
        (at(21), [], CheckState.OK),  # too late for today: others tell of it
        (at(14, 35), [Seen()], CheckState.OK),
        (at(14, 35), [Seen(state="COMPLETED")], CheckState.OK),
        (at(14, 35), [Seen(state="REFUSED")], CheckState.BAD),
        (at(14, 35), [Seen(strategy="other")], CheckState.BAD),
        (at(14, 35), [Seen(session_date=date(2026, 1, 2), started_at=at(14, 15) - timedelta(days=3))], CheckState.BAD),
        # A synthetic market is at a date of its own; its session was started this morning.
        (at(14, 35), [Seen(session_date=date(2026, 3, 2), mode="synthetic")], CheckState.OK),
        # A recorded day that somebody trades this morning is not today's.
        (at(14, 35), [Seen(session_date=date(2025, 3, 3), mode="recorded")], CheckState.BAD),
    ],
)
def test_a_session_that_is_scheduled_has_begun_five_minutes_after_the_open(
    now: datetime, sessions: list[Seen], state: CheckState
) -> None:
    [one] = missing_sessions(["trend"], sessions, HOURS, now)
    assert one.check.state is state
    assert (one.check.next_step != "") == (state is CheckState.BAD)


def test_each_strategy_is_missed_by_its_name_and_none_where_none_is_scheduled() -> None:
    looked = list(missing_sessions(["one", "two"], [replace(Seen(), strategy="one")], HOURS, at(15)))
    assert states(looked) == ["ok", "bad"]
    assert "no session of two has begun today" in looked[1].check.found
    assert states(list(missing_sessions([], [], HOURS, at(15)))) == ["ok"]
    # A strategy that only its bundle names: any session is its.
    assert states(list(missing_sessions([""], [Seen()], HOURS, at(15)))) == ["ok"]
    assert states(list(missing_sessions([""], [], HOURS, at(15)))) == ["bad"]


@pytest.mark.parametrize(
    ("now", "seen", "expected"),
    [
        # The bar of 14:39 ended at 14:40; three bars later is 14:43.
        (at(14, 43), Seen(), ["ok"]),
        (at(14, 43, 1), Seen(), ["bad"]),
        (at(14, 54, 59), Seen(bar_length=timedelta(minutes=5)), ["ok"]),
        (at(14, 59, 1), Seen(bar_length=timedelta(minutes=5)), ["bad"]),  # 14:44 and three times five
        # No bar yet: since the open, or since it came.
        (at(14, 33), Seen(last_bar_time=None), ["ok"]),
        (at(14, 33, 1), Seen(last_bar_time=None), ["bad"]),
        (at(15, 3), Seen(last_bar_time=None, started_at=at(15)), ["ok"]),
        # After the close no bar is awaited: that of 20:59 is the last.
        (at(21, 30), Seen(last_bar_time=at(20, 59)), ["ok"]),
        (at(21, 30), Seen(last_bar_time=at(20, 50)), ["bad"]),
        # What does not follow the clock is never late, nor what is over or gone.
        (at(20), Seen(pace="max"), []),
        (at(20), Seen(pace="60.0"), []),
        (at(20), Seen(state="STOPPED"), []),
        (at(20), Seen(is_gone=True), []),
        (at(20), Seen(session_date=date(2026, 3, 2)), []),
    ],
)
def test_a_session_in_real_time_is_stale_after_three_bars(now: datetime, seen: Seen, expected: list[str]) -> None:
    assert states(list(stale_sessions([seen], HOURS, now))) == expected


@pytest.mark.parametrize(
    ("now", "seen", "expected"),
    [
        (at(14, 42), Seen(), ["ok"]),  # its lease ended at 14:41, and may be renewed late
        (at(14, 42, 1), Seen(), ["bad"]),
        (at(14, 41), Seen(is_gone=True), ["bad"]),
        (at(20), Seen(lease_expires_at=None), ["ok"]),
        (at(20), Seen(state="COMPLETED", is_gone=True), []),
    ],
)
def test_a_session_that_says_running_has_a_process_and_a_lease(now: datetime, seen: Seen, expected: list[str]) -> None:
    looked = list(lost_sessions([seen], now))
    assert states(looked) == expected
    assert all(one.session_id == "s" for one in looked)


def test_a_policy_that_fails_three_bars_in_a_row_is_told() -> None:
    told = [list(failing_policies([Seen(failures=count, newest_failure="no weights")])) for count in (2, 3)]
    assert told[0] == []
    assert "failed on the last 3 bars: no weights" in told[1][0].check.found
