"""A minute cut into five seconds is the minute still, and always cut in the same way."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading.bars import Bar
from trading.rehearsal_gateway.five_second_bars import cut_bar, cut_prices

AT = datetime(2026, 1, 5, 14, 30, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def bar(opened: str, high: str, low: str, closed: str, volume: int | None = 1200) -> Bar:
    return Bar("SPY", AT, Decimal(opened), Decimal(high), Decimal(low), Decimal(closed), volume)


@st.composite
def micros(draw: st.DrawFn) -> tuple[int, int, int, int]:
    step = draw(st.sampled_from((1, 100, 10_000)))
    low, *inside = sorted(draw(st.lists(st.integers(1, 10**8), min_size=4, max_size=4)))
    high = inside.pop()
    opened, closed = draw(st.permutations(inside))
    return opened * step, high * step, low * step, closed * step


@given(micros(), st.none() | st.integers(0, 10**9), st.sampled_from((1, 2, 3, 4, 12, 60, 360)))
def test_the_pieces_together_are_the_bar(prices: tuple[int, int, int, int], volume: int | None, count: int) -> None:
    opened, high, low, closed = prices
    pieces = cut_prices(opened, high, low, closed, volume, count)
    assert len(pieces) == count
    assert (pieces[0].open, pieces[-1].close) == (opened, closed)
    assert max(piece.high for piece in pieces) == high
    assert min(piece.low for piece in pieces) == low
    assert all(before.close == after.open for before, after in pairwise(pieces))
    assert all(piece.low <= min(piece.open, piece.close) for piece in pieces)
    assert all(piece.high >= max(piece.open, piece.close) for piece in pieces)
    if volume is None:
        assert {piece.volume for piece in pieces} == {None}
    else:
        shares = [piece.volume or 0 for piece in pieces]
        assert sum(shares) == volume
        assert max(shares) - min(shares) <= 1


@given(micros(), st.integers(3, 60))
def test_prices_in_between_are_as_round_as_the_bars(prices: tuple[int, int, int, int], count: int) -> None:
    tick = next(tick for tick in (10_000, 100, 1) if all(price % tick == 0 for price in prices))
    assert all(piece.close % tick == 0 for piece in cut_prices(*prices, None, count))


def test_a_rising_minute_visits_its_low_first_and_goes_in_straight_lines() -> None:
    # From 10.00 down to 9.97, up to 10.06, down to 10.03: 3 + 9 + 3 cents, in 12 steps about 2, 8 and 2 of them.
    closes = [piece.close for piece in cut_bar(bar("10.00", "10.06", "9.97", "10.03"), MINUTE)]
    assert [f"{close:.2f}" for close in closes] == (
        ["9.99", "9.97", "9.98", "9.99", "10.00", "10.02", "10.03", "10.04", "10.05", "10.06", "10.05", "10.03"]
    )


def test_a_falling_minute_visits_its_high_first() -> None:
    pieces = cut_bar(bar("10.03", "10.06", "9.97", "10.00"), MINUTE)
    highest = max(range(12), key=lambda place: pieces[place].high)
    lowest = min(range(12), key=lambda place: pieces[place].low)
    assert highest < lowest


def test_pieces_are_five_seconds_apart_and_share_the_volume() -> None:
    pieces = cut_bar(bar("10", "10", "10", "10", volume=25), MINUTE)
    assert [piece.bar_time for piece in pieces] == [AT + timedelta(seconds=5 * place) for place in range(12)]
    assert [piece.volume for piece in pieces] == [2] * 11 + [3]
    assert {piece.close for piece in pieces} == {Decimal(10)}


def test_a_bar_that_has_no_whole_number_of_pieces_is_not_cut() -> None:
    with pytest.raises(ValueError, match="no whole number"):
        cut_bar(bar("10", "10", "10", "10"), timedelta(seconds=12))
