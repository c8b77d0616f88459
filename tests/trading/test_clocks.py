import time
from datetime import UTC, datetime, timedelta

import pytest

from trading.clocks.bar_clock import BarClock
from trading.clocks.paced_clock import PacedClock
from trading.clocks.wall_clock import WallClock

OPEN = datetime(2024, 1, 16, 14, 30, tzinfo=UTC)


def test_bar_time_stands_still_until_somebody_waits() -> None:
    clock = BarClock(OPEN)
    assert clock.now() == OPEN
    clock.wait_until(OPEN + timedelta(minutes=1))
    assert clock.now() == OPEN + timedelta(minutes=1)


def test_waiting_for_the_past_does_not_turn_bar_time_back() -> None:
    clock = BarClock(OPEN)
    clock.wait_until(OPEN - timedelta(days=1))
    assert clock.now() == OPEN


def test_a_paced_hour_at_36000_times_the_wall_takes_a_tenth_of_a_second() -> None:
    clock = PacedClock(OPEN, 36_000)
    began = time.monotonic()
    clock.wait_until(OPEN + timedelta(hours=1))
    assert clock.now() >= OPEN + timedelta(hours=1)
    assert 0.09 <= time.monotonic() - began < 2


def test_paced_time_never_goes_back_and_does_not_wait_for_the_past() -> None:
    clock = PacedClock(OPEN, 1)
    began = time.monotonic()
    clock.wait_until(OPEN - timedelta(hours=1))
    assert time.monotonic() - began < 1
    assert OPEN <= clock.now() <= clock.now()


@pytest.mark.parametrize("speed", [0, -1, float("nan")])
def test_a_pace_that_is_not_positive_is_refused(speed: float) -> None:
    with pytest.raises(ValueError, match="speed"):
        PacedClock(OPEN, speed)


def test_clocks_refuse_a_start_without_a_zone() -> None:
    naive = OPEN.replace(tzinfo=None)
    with pytest.raises(ValueError, match="no time zone"):
        BarClock(naive)
    with pytest.raises(ValueError, match="no time zone"):
        PacedClock(naive, 1)


def test_the_wall_is_aware_utc_and_waiting_takes_real_time() -> None:
    clock = WallClock()
    began = clock.now()
    assert began.tzinfo is UTC
    clock.wait_until(began + timedelta(milliseconds=30))
    assert clock.now() - began >= timedelta(milliseconds=30)
