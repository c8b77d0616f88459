"""The market's time runs as fast as it is told, and never past what has not been shown."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from trading.rehearsal_gateway.market_clock import MarketClock

START = datetime(2026, 1, 5, 14, 25, tzinfo=UTC)


class Wall:
    """Seconds that pass when the test says so."""

    seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def wall() -> Wall:
    return Wall()


def test_time_stands_still_until_it_begins(wall: Wall) -> None:
    clock = MarketClock(START, 60, wall)
    wall.seconds += 10
    assert clock.now() == START
    clock.begin()
    wall.seconds += 2
    clock.begin()  # has begun
    assert clock.now() == START + timedelta(minutes=2)


def test_time_does_not_pass_a_barrier_and_little_is_made_good(wall: Wall) -> None:
    clock = MarketClock(START, 10, wall)
    clock.begin()
    clock.hold_at(START + timedelta(seconds=5))
    wall.seconds += 0.6
    assert clock.now() == START + timedelta(seconds=5)
    clock.hold_at(START + timedelta(seconds=10))
    # A tenth of a second late: it is where it would have been.
    assert clock.now() == START + timedelta(seconds=6)


def test_what_a_slow_machine_has_lost_is_not_hurried_after(wall: Wall) -> None:
    clock = MarketClock(START, 10, wall)
    clock.begin()
    clock.hold_at(START + timedelta(seconds=5))
    wall.seconds += 60
    clock.hold_at(START + timedelta(seconds=100))
    assert clock.now() == START + timedelta(seconds=5)
    wall.seconds += 1
    assert clock.now() == START + timedelta(seconds=15)


def test_a_stepped_clock_moves_by_command_and_never_back(wall: Wall) -> None:
    clock = MarketClock(START, None, wall)
    clock.begin()
    wall.seconds += 1000
    assert clock.is_stepped
    assert clock.now() == START
    clock.move_to(START + timedelta(minutes=1))
    clock.move_to(START)
    assert clock.now() == START + timedelta(minutes=1)
    with pytest.raises(ValueError, match="stepped"):
        asyncio.run(clock.wait_until(START))


def test_waiting_ends_when_the_moment_has_come() -> None:
    async def wait() -> datetime:
        clock = MarketClock(START, 600)
        asyncio.get_running_loop().call_later(0.01, clock.begin)
        await clock.wait_until(START + timedelta(seconds=30))
        return clock.now()

    assert asyncio.run(wait()) >= START + timedelta(seconds=30)


@pytest.mark.parametrize("speed", [0, -1, float("nan")])
def test_a_speed_is_positive(speed: float) -> None:
    with pytest.raises(ValueError, match="not positive"):
        MarketClock(START, speed)
