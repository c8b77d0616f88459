"""The server's time between two tellings: at any speed, stopped, going back, and told in whole seconds."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from trading.interactive_brokers.server_clock import ServerClock

START = datetime(2026, 1, 5, 14, 25, tzinfo=UTC)


class Machine:
    """A machine's seconds, moved by hand, and a server whose time goes ``speed`` times as fast."""

    def __init__(self, speed: float = 1.0) -> None:
        self.seconds = 1_000.0
        self.speed = speed
        self.truth = START
        self.clock = ServerClock(lambda: self.seconds)

    def go(self, seconds: float) -> None:
        self.seconds += seconds
        self.truth += timedelta(seconds=seconds * self.speed)

    def tell(self, late: float = 0.0) -> None:
        """The server tells whole seconds; the message takes ``late`` seconds of the wall."""
        told = self.truth.replace(microsecond=0)
        self.go(late)
        self.clock.tell(told)

    def behind(self) -> float:
        """Session seconds that the clock is behind the truth; below zero: ahead."""
        return (self.truth - self.clock.now()).total_seconds()


def test_before_anything_was_told_it_has_no_time() -> None:
    clock = ServerClock(lambda: 0.0)
    assert not clock.is_known
    with pytest.raises(RuntimeError, match="not told"):
        clock.now()


def test_at_the_speed_of_the_wall_it_is_never_ahead_and_less_than_a_second_behind() -> None:
    machine = Machine()
    machine.go(0.7)
    for pause in (0.3, 0.7, 1.0, *([5.0] * 30)):
        machine.tell(late=0.02)
        for _ in range(4):
            machine.go(pause / 4)
            assert -1e-5 <= machine.behind() < 1.1


def test_whole_seconds_get_better_with_every_telling() -> None:
    """Tellings at other parts of a second show where it begins."""
    machine = Machine()
    for part in (0.9, 0.35, 0.6, 0.2, 0.15):
        machine.go(5 + part)
        machine.tell()
    assert 0 <= machine.behind() < 0.3


@pytest.mark.parametrize("speed", [60.0, 600.0])
def test_at_other_speeds_it_goes_on_at_the_rate_that_was_seen(speed: float) -> None:
    machine = Machine(speed)
    for pause in (0.3, 0.7, 1.0, 1.0):
        machine.tell()
        machine.go(pause)
    machine.tell()
    assert machine.clock.rate == pytest.approx(speed, rel=0.02)
    machine.go(0.5)
    assert abs(machine.behind()) < 0.02 * speed + 1
    assert machine.clock.session_time_of(2.0).total_seconds() == pytest.approx(2 * speed, rel=0.02)


@pytest.mark.parametrize(("speed", "symbols"), [(60.0, 50), (600.0, 1), (600.0, 20)])
def test_bars_that_come_fast_tell_the_rate_too(speed: float, symbols: int) -> None:
    """Each bar of five seconds tells its end: hundreds of tellings within a second."""
    machine = Machine(speed)
    machine.tell()
    for _ in range(int(3 * speed / 5)):
        machine.go(5 / speed)
        for _ in range(symbols):
            machine.tell()
    assert machine.clock.rate == pytest.approx(speed, rel=0.05)
    # The bars stop, and time does not.
    machine.go(2.0)
    assert abs(machine.behind()) < 0.05 * 2 * speed + 2


def test_a_clock_of_another_speed_is_not_believed_for_ever() -> None:
    machine = Machine(60.0)
    for _ in range(5):
        machine.tell()
        machine.go(1.0)
    machine.tell()
    before = machine.clock.now()
    machine.seconds += 3_600
    assert machine.clock.now() - before <= timedelta(seconds=15 * 60 * 1.05)


def test_a_clock_of_the_walls_speed_goes_on_without_a_word() -> None:
    machine = Machine()
    for _ in range(5):
        machine.tell()
        machine.go(1.0)
    machine.go(3_600.0)
    assert 0 <= machine.behind() < 1


def test_a_server_whose_time_stands_still_stops_the_clock() -> None:
    machine = Machine(0.0)
    for _ in range(6):
        machine.tell()
        machine.go(1.0)
    assert machine.clock.rate == 0.0
    machine.go(60.0)
    # Before two tellings had shown it, a second and a half were taken for such of the wall.
    assert -2.0 <= machine.behind() <= 0.0


def test_a_server_that_starts_again_after_standing_still_is_followed() -> None:
    machine = Machine(0.0)
    for _ in range(10):
        machine.tell()
        machine.go(5.0)
    machine.speed = 60.0
    for _ in range(40):
        machine.go(1.0)
        machine.tell()
    assert machine.clock.rate > 20
    assert 0 <= machine.behind() < 61


def test_it_never_goes_back() -> None:
    machine = Machine()
    machine.tell()
    machine.go(10.0)
    machine.tell()
    before = machine.clock.now()
    machine.clock.tell(START)
    assert machine.clock.now() >= before
    seen = [before]
    for _ in range(20):
        machine.go(0.1)
        machine.clock.tell(START + timedelta(seconds=3))
        seen.append(machine.clock.now())
    assert seen == sorted(seen)


def waiting(clock: ServerClock, moment: datetime) -> tuple[threading.Thread, Callable[[float], bool]]:
    done = threading.Event()

    def wait() -> None:
        clock.wait_until(moment)
        done.set()

    thread = threading.Thread(target=wait)
    thread.start()
    return thread, done.wait


def test_who_waits_for_a_moment_is_woken_when_it_is_told() -> None:
    machine = Machine(0.0)
    machine.tell()
    thread, is_done = waiting(machine.clock, START + timedelta(minutes=1))
    assert not is_done(0.1)
    machine.clock.tell(START + timedelta(minutes=1))
    assert is_done(10)
    thread.join(10)


def test_who_waits_for_what_is_over_does_not_wait() -> None:
    machine = Machine()
    machine.tell()
    machine.clock.wait_until(START - timedelta(hours=1))
    machine.clock.wait_until(START)
