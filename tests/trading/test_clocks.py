import time
from datetime import UTC, datetime, timedelta

import pytest

from trading.clocks.attentive_clock import AttentiveClock
from trading.clocks.bar_clock import BarClock
from trading.clocks.paced_clock import PacedClock
from trading.clocks.wall_clock import WallClock, rehearsing_at, the_wall
from trading.errors import StoppedEarly

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


class SetMachine:
    """A machine whose time somebody sets: ``ahead`` of what really passes."""

    def __init__(self) -> None:
        self.passed = timedelta()
        self.ahead = timedelta()

    def sleep(self, seconds: float) -> None:
        self.passed += timedelta(seconds=seconds)

    def wall(self) -> WallClock:
        return WallClock(lambda: OPEN + self.passed + self.ahead, lambda: self.passed.total_seconds(), self.sleep)


def test_a_wall_that_is_set_forward_is_there_at_once() -> None:
    machine = SetMachine()
    clock = machine.wall()
    machine.ahead = timedelta(hours=1)
    assert clock.now() == OPEN + timedelta(hours=1)
    clock.wait_until(OPEN + timedelta(minutes=50))
    assert machine.passed == timedelta()


def test_a_wall_that_is_set_back_goes_on_and_nobody_waits_for_it_to_catch_up() -> None:
    machine = SetMachine()
    clock = machine.wall()
    clock.wait_until(OPEN + timedelta(minutes=10))
    machine.ahead = -timedelta(hours=1)
    assert clock.now() == OPEN + timedelta(minutes=10)
    clock.wait_until(OPEN + timedelta(minutes=15))
    assert machine.passed == timedelta(minutes=15)
    assert clock.now() == OPEN + timedelta(minutes=15)


def test_a_wall_that_is_corrected_by_less_than_a_second_stands_until_it_is_right() -> None:
    machine = SetMachine()
    clock = machine.wall()
    clock.wait_until(OPEN + timedelta(minutes=10))
    machine.ahead = -timedelta(milliseconds=500)
    machine.sleep(0.2)
    assert clock.now() == OPEN + timedelta(minutes=10)
    machine.sleep(0.4)
    assert clock.now() == OPEN + timedelta(minutes=10, milliseconds=100)


def test_a_rehearsal_has_a_wall_of_its_own_and_only_inside() -> None:
    with rehearsing_at(BarClock(OPEN)):
        assert the_wall().now() == OPEN
    assert the_wall().now() > OPEN + timedelta(days=365)


class TickingWall:
    """A person's clock that is a second later each time it is looked at."""

    def __init__(self) -> None:
        self._now = OPEN

    def now(self) -> datetime:
        self._now += timedelta(seconds=1)
        return self._now

    def wait_until(self, moment: datetime) -> None:
        self._now = max(self._now, moment)


def test_an_attentive_clock_looks_up_while_it_waits_and_arrives_all_the_same() -> None:
    heard: list[datetime] = []
    clock = AttentiveClock(BarClock(OPEN), TickingWall(), timedelta(seconds=10), timedelta(seconds=2))
    clock.wait_until(OPEN + timedelta(seconds=30))  # nobody to tell
    clock.attend = lambda: heard.append(clock.now())
    clock.wait_until(OPEN + timedelta(minutes=2))
    assert clock.now() == OPEN + timedelta(minutes=2)
    assert len(heard) >= 3
    assert all(OPEN + timedelta(seconds=30) <= moment < OPEN + timedelta(minutes=2) for moment in heard)


def test_an_attentive_clock_is_not_asked_more_often_than_wanted() -> None:
    heard: list[int] = []
    clock = AttentiveClock(BarClock(OPEN), TickingWall(), None, timedelta(seconds=100))
    clock.attend = lambda: heard.append(1)
    for minute in range(50):
        clock.wait_until(OPEN + timedelta(minutes=minute))
    assert len(heard) == 0
    for minute in range(50, 110):
        clock.wait_until(OPEN + timedelta(minutes=minute))
    assert len(heard) == 1


def test_what_is_raised_while_a_clock_looks_up_ends_the_wait() -> None:
    def stop() -> None:
        raise StoppedEarly("an operator said so")

    clock = AttentiveClock(PacedClock(OPEN, 1.0), TickingWall(), timedelta(milliseconds=1), timedelta(seconds=0))
    clock.attend = stop
    with pytest.raises(StoppedEarly):
        clock.wait_until(OPEN + timedelta(hours=1))
