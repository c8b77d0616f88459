"""What an account held when a bar was decided on, told afterwards from its fills and from the cash that was recorded."""

import contextlib
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tasks.decision_check import check_decisions
from tasks.policy_composition import assemble_policy
from trading.bars import Bar, BarSlice
from trading.bundles.folder import Bundle
from trading.bundles.network_file import Lstm
from trading.decision_replay import BookThen
from trading.decisions import EquityPoint
from trading.errors import StoppedEarly
from trading.orders import Execution, Fill, Side
from trading.policy_settings import PolicyChoice
from trading.settings import CostBasis, Settings

OPENS = datetime(2026, 1, 5, 14, 30, tzinfo=UTC)
ZERO = Decimal(0)


def minute(number: int) -> datetime:
    return OPENS + timedelta(minutes=number)


def fill(name: str, side: Side, quantity: int, price: int, at: datetime, session_id: str = "today") -> Fill:
    execution = Execution(name, f"order-{name}", "SPY", side, quantity, Decimal(price), Decimal(1), at)
    return Fill(execution, session_id, "paper", "paper")


def point(bar: int, cash: int, realized: int = 0) -> EquityPoint:
    amount = Decimal(cash)
    return EquityPoint("today", minute(bar), amount, ZERO, amount, Decimal(realized), ZERO, ZERO)


def moment(bar: int, close: int) -> BarSlice:
    price = Decimal(close)
    return BarSlice(minute(bar), {"SPY": Bar("SPY", minute(bar), price, price, price, price, 1_000)})


def book_then(fills: list[Fill], points: list[EquityPoint]) -> BookThen:
    return BookThen(CostBasis.FIFO, Decimal(100_000), fills, points, timedelta(minutes=1))


def test_a_fill_is_held_from_the_bar_on_whose_cash_has_it() -> None:
    # Bought 10 at 100 with a commission of 1 in minute 0; the broker told of it only before minute 2 was decided.
    book = book_then(
        [fill("a", Side.BUY, 10, 100, minute(0))], [point(0, 100_000), point(1, 100_000), point(2, 98_999)]
    )
    held = []
    for bar in range(3):
        assert book.move_to(moment(bar, 110))
        held.append(book.tracker.quantity("SPY"))
    assert held == [0, 0, 10]
    # 10 x 110 less the cost of 1,001, as a fraction of it.
    assert book.tracker.unrealized_fraction("SPY") == pytest.approx(99 / 1001)


def test_what_the_account_did_before_the_session_is_held_on_its_first_bar() -> None:
    # Bought 10 at 100 and sold 4 at 105, a commission of 1 each: cash 100,000 - 1,001 + 419, realized 420 - 1 - 400.4.
    earlier = [
        fill("a", Side.BUY, 10, 100, minute(-900), "yesterday"),
        fill("b", Side.SELL, 4, 105, minute(-800), "yesterday"),
    ]
    first = EquityPoint("today", minute(0), Decimal(99_418), ZERO, ZERO, Decimal("18.6"), ZERO, ZERO)
    book = book_then(earlier, [first])
    assert book.move_to(moment(0, 105))
    assert book.tracker.quantity("SPY") == 6


def test_fills_that_never_come_to_the_recorded_cash_are_a_guess_by_their_time() -> None:
    fills = [fill("a", Side.BUY, 10, 100, minute(0)), fill("b", Side.SELL, 10, 100, minute(2))]
    book = book_then(fills, [point(0, 12_345), point(1, 98_999)])
    assert not book.move_to(moment(0, 100))
    assert book.tracker.quantity("SPY") == 10
    # The next bar's cash is that of the first fill again, so that it is no guess any more.
    assert book.move_to(moment(1, 100))
    assert book.tracker.quantity("SPY") == 10


def test_a_bar_without_a_recorded_point_is_a_guess() -> None:
    book = book_then([fill("a", Side.BUY, 10, 100, minute(1))], [])
    assert not book.move_to(moment(0, 100))
    assert book.tracker.quantity("SPY") == 0
    assert not book.move_to(moment(1, 100))
    assert book.tracker.quantity("SPY") == 10


# A whole session with a memory

HALF_HOURS = {"session": {"timeframe": "30min"}}
CELL = Lstm(np.array([[60.0], [0.0], [90.0], [20.0]]), np.full((4, 1), 0.5), np.array([0, 1.5, 0, 0.5]))


@pytest.mark.parametrize("stops_after", [None, 1, 6])
def test_a_memory_is_begun_with_the_session_and_goes_through_a_restart(
    at_desk: Callable[..., Any], network_bundle: Callable[..., Bundle], tmp_path: Path, stops_after: int | None
) -> None:
    bundle = network_bundle(
        [[-6.0], [0.0], [6.0]], [{"name": "return"}], timeframe="30min", memory=CELL, kind="recurrent_ppo"
    )
    settings = Settings.model_validate({"policy": {"bundle": str(bundle.folder)}, **HALF_HOURS})

    def trade(day: date, stops_after: int | None = None) -> str:
        seen = iter(range(1, 100))
        with at_desk(day, decider=assemble_policy(settings.policy, settings, None), **HALF_HOURS) as desk:
            with contextlib.suppress(StoppedEarly):
                desk.agent.run_session(lambda: next(seen) == stops_after)
            session_id: str = desk.agent.session_id
            return session_id

    trade(date(2026, 1, 5))
    if stops_after is not None:
        trade(date(2026, 1, 6), stops_after)
    session_id = trade(date(2026, 1, 6))
    ledger = Settings.model_validate({"store": {"path": tmp_path / "ledger.duckdb"}})
    comparison = check_decisions(ledger, session_id, PolicyChoice(bundle=str(bundle.folder))).policy.comparison
    assert (comparison.compared, comparison.same) == (13, 13)
