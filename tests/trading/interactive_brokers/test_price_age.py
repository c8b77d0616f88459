"""Bars of a broker grow old by the wall, however fast its time goes: what comes late from history is not traded on."""

from datetime import UTC, datetime, timedelta

import pytest

from trading.interactive_brokers.server_clock import ServerClock
from trading.market_rules import FreshPrice
from trading.rule_book import rules_from
from trading.settings import parse_settings

OPENS = datetime(2026, 1, 5, 14, 30, tzinfo=UTC)


@pytest.mark.parametrize("speed", [1, 60, 600])
def test_a_bar_is_as_old_as_the_wall_says(speed: int) -> None:
    wall = 0.0
    clock = ServerClock(lambda: wall)
    for second in range(11):
        wall = float(second)
        clock.tell(OPENS + timedelta(seconds=speed * second))
    assert clock.seconds_since(OPENS + timedelta(seconds=speed * 7)) == pytest.approx(3, abs=0.1)
    assert clock.seconds_since(OPENS + timedelta(seconds=speed * 12)) == pytest.approx(-2, abs=0.1)


@pytest.mark.parametrize(
    ("feed", "pace", "asked"),
    [
        ("ib", "live", True),
        ("ib", "max", True),
        ("ib", 600, True),
        ("recorded", "live", True),
        ("recorded", 600, False),
    ],
)
def test_old_prices_are_refused_wherever_a_market_does_not_wait(feed: str, pace: object, asked: bool) -> None:
    settings = parse_settings({"feed": {"kind": feed}, "session": {"pace": pace}}, "a test")
    assert any(isinstance(rule, FreshPrice) for rule in rules_from(settings)) is asked
