from datetime import date, datetime, timedelta
from typing import Any

import pytest

from trading.calendar import TradingCalendar
from trading.closing_steps import ClosingStep, ClosingSteps
from trading.risk_settings import ClosingSettings

FULL, HALF = date(2026, 1, 5), date(2026, 11, 27)
OPEN, WARN, REDUCE, FLATTEN, AUCTION = ClosingStep
SECOND = timedelta(seconds=1)


def steps(day: date = FULL, minutes: int = 1, **settings: Any) -> ClosingSteps:
    hours = TradingCalendar("XNYS", day).hours(day)
    return ClosingSteps.of(ClosingSettings.model_validate(settings), hours, timedelta(minutes=minutes))


def before_the_close(closing: ClosingSteps, minutes: float) -> datetime:
    return closing.closes_at - timedelta(minutes=minutes)


@pytest.mark.parametrize("day", [FULL, HALF])
@pytest.mark.parametrize(
    ("minutes", "step"),
    [
        (390, OPEN),
        (11, OPEN),
        (10, REDUCE),
        (6, REDUCE),
        (5, FLATTEN),
        (2, FLATTEN),
        (1, AUCTION),
        (0, AUCTION),
        (-60, AUCTION),
    ],
)
def test_the_steps_of_a_day_of_minutes(day: date, minutes: int, step: ClosingStep) -> None:
    closing = steps(day)
    assert closing.at(before_the_close(closing, minutes)) is step


def test_a_half_day_closes_earlier() -> None:
    # 13:00 and 16:00 in New York.
    assert steps(HALF).closes_at.isoformat() == "2026-11-27T18:00:00+00:00"
    assert steps(FULL).closes_at.isoformat() == "2026-01-05T21:00:00+00:00"


def test_each_step_begins_at_its_own_minute() -> None:
    closing = steps(warn_minutes=60, reduce_only_minutes=30, flatten_minutes=20.5, market_on_close_minutes=10)
    for minutes, step in ((60, WARN), (30, REDUCE), (20.5, FLATTEN), (10, AUCTION)):
        begins = before_the_close(closing, minutes)
        assert closing.begin_of(step) == begins
        assert closing.at(begins) is step
        assert closing.at(begins - SECOND) is ClosingStep(step - 1)


def test_without_an_auction_positions_are_flattened_until_the_close() -> None:
    closing = steps(market_on_close_minutes=None)
    assert closing.at(before_the_close(closing, 5)) is closing.at(before_the_close(closing, 1)) is FLATTEN
    assert closing.begin_of(AUCTION) > closing.closes_at


def test_steps_of_the_same_minute_are_all_taken() -> None:
    closing = steps(warn_minutes=15, reduce_only_minutes=15, flatten_minutes=15, market_on_close_minutes=15)
    assert closing.at(before_the_close(closing, 16)) is OPEN
    assert closing.at(before_the_close(closing, 15)) is AUCTION
    assert closing.begin_of(WARN) == closing.begin_of(AUCTION) == before_the_close(closing, 15)


@pytest.mark.parametrize(
    ("day", "minutes", "last_useful"),
    [
        # Orders sent at the end of the last bar but one fill in the last.
        (FULL, 30, 30),
        (HALF, 30, 30),
        (FULL, 10, 10),
        (FULL, 15, 15),
        (FULL, 1, 1),
    ],
)
def test_a_step_that_comes_too_late_to_trade_is_taken_at_the_last_bar_that_can(
    day: date, minutes: int, last_useful: int
) -> None:
    closing = steps(day, minutes, warn_minutes=0, reduce_only_minutes=0, flatten_minutes=0, market_on_close_minutes=0)
    last = before_the_close(closing, last_useful)
    assert closing.at(last - SECOND) is OPEN
    assert closing.at(last) is AUCTION
    assert closing.begin_of(WARN) == closing.begin_of(AUCTION) == last


def test_bars_of_half_an_hour_flatten_with_the_bar_before_the_last() -> None:
    closing = steps(FULL, 30)
    assert closing.at(before_the_close(closing, 60)) is OPEN
    assert closing.at(before_the_close(closing, 30)) is AUCTION
    early = steps(FULL, 30, warn_minutes=90, reduce_only_minutes=60, flatten_minutes=40)
    assert [early.at(before_the_close(early, minutes)) for minutes in (120, 90, 60, 30)] == [
        OPEN,
        WARN,
        REDUCE,
        AUCTION,
    ]


def test_a_last_bar_that_the_close_cuts_short_still_trades() -> None:
    # 390 minutes are four bars of 90 and one of 30: the last useful end is half an hour before the close.
    hours = TradingCalendar("XNYS", FULL).hours(FULL)
    closing = ClosingSteps.of(ClosingSettings(), hours, timedelta(minutes=90))
    assert closing.begin_of(FLATTEN) == hours.closes_at - timedelta(minutes=30)


def test_a_session_of_one_bar_is_closed_from_the_start() -> None:
    hours = TradingCalendar("XNYS", FULL).hours(FULL)
    closing = ClosingSteps.of(ClosingSettings(), hours, timedelta(minutes=390))
    assert closing.at(hours.opens_at) is AUCTION


def test_positions_that_may_stay_overnight_are_never_closed() -> None:
    for minutes in (1, 30):
        staying = steps(FULL, minutes, hold_overnight=True)
        assert staying.begins == ()
        assert staying.at(staying.closes_at) is staying.at(staying.closes_at + timedelta(days=3)) is OPEN
        assert staying.begin_of(FLATTEN) == staying.closes_at + timedelta(days=1)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"warn_minutes": 9}, "closing.warn_minutes must not be less than closing.reduce_only_minutes"),
        ({"flatten_minutes": 11}, "closing.reduce_only_minutes must not be less than closing.flatten_minutes"),
        (
            {"market_on_close_minutes": 6},
            "closing.flatten_minutes must not be less than closing.market_on_close_minutes",
        ),
    ],
)
def test_the_steps_come_in_their_order(wrong: dict[str, int], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        ClosingSettings.model_validate(wrong)


@pytest.mark.parametrize(
    ("minutes", "clear_from"),
    # Positions are flattened at the ends of bars 5, 10 and 30 minutes before the close: one bar earlier.
    [(1, 6), (5, 10), (10, 20), (30, 60)],
)
@pytest.mark.parametrize("day", [FULL, HALF])
def test_what_could_be_in_the_way_is_gone_one_bar_before_positions_are_flattened(
    day: date, minutes: int, clear_from: int
) -> None:
    closing, length = steps(day, minutes), timedelta(minutes=minutes)
    assert not closing.clears_at(before_the_close(closing, clear_from + minutes), length)
    assert closing.clears_at(before_the_close(closing, clear_from), length)
    assert closing.clears_at(before_the_close(closing, clear_from - minutes), length)
    assert not steps(day, minutes, hold_overnight=True).clears_at(closing.closes_at, length)
