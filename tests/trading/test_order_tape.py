from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from trading.order_tape import OrderTape
from trading.orders import Execution, Fill, OpenOrder, OrderIntent, OrderStatus, Side
from trading.risk_rules import Activity

AT = datetime(2026, 1, 5, 16, 0, tzinfo=UTC)
SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)
MICRO = timedelta(microseconds=1)
BUY, SELL = Side.BUY, Side.SELL


def an_order(
    ago: timedelta = timedelta(0), symbol: str = "SPY", side: Side = BUY, shares: int = 100, price: str = "50"
) -> OrderIntent:
    at = AT - ago
    return OrderIntent(f"{symbol}-{side}-{at.isoformat()}", "s", "paper", at, symbol, side, shares, Decimal(price), at)


def a_fill(
    side: Side, shares: int, ago: timedelta = timedelta(0), symbol: str = "SPY", order: str = "", price: str = "50"
) -> Fill:
    at = AT - ago
    order = order or f"{symbol}-{side}-{at.isoformat()}"
    execution = Execution(f"x-{order}-{shares}-{at}", order, symbol, side, shares, Decimal(price), Decimal(0), at)
    return Fill(execution, "s", "paper", "paper")


def now(tape: OrderTape, open_orders: Mapping[str, OpenOrder] | None = None, **more: Any) -> Activity:
    return tape.before(an_order(), open_orders or {}, **more)


def test_a_session_begins_with_nothing_done() -> None:
    assert now(OrderTape()) == Activity(0, 0, (), 0, Decimal(0), Decimal(0), 0, 0, opened_today=False)


# Changes of mind


def test_a_symbols_orders_that_change_sides_are_counted_with_the_one_that_is_asked() -> None:
    tape = OrderTape()
    turned = []
    for minutes, side in ((9, BUY), (8, BUY), (7, SELL), (6, BUY), (5, BUY)):
        tape.note_order(an_order(minutes * MINUTE, side=side))
        turned.append(tape.before(an_order(side=SELL), {}).turns)
    # Orders so far B, BB, BBS, BBSB, BBSBB, and a sale after each.
    assert turned == [1, 1, 1, 3, 3]
    assert now(tape).turns == 2
    tape.note_order(an_order(symbol="QQQ", side=SELL))
    assert now(tape).turns == 2
    assert tape.before(an_order(symbol="IWM"), {}).turns == 0


def test_how_long_ago_the_symbols_last_order_was_made() -> None:
    tape = OrderTape()
    tape.note_order(an_order(7 * MINUTE))
    tape.note_order(an_order(4 * MINUTE, side=SELL))
    tape.note_order(an_order(MINUTE, symbol="QQQ"))
    assert now(tape).since_last_order == 4 * MINUTE
    assert tape.before(an_order(symbol="IWM"), {}).since_last_order is None


# Orders and cancels


@pytest.mark.parametrize(
    ("ago", "counted"), [(timedelta(0), 1), (SECOND - MICRO, 1), (SECOND, 0), (SECOND + MICRO, 0), (HOUR, 0)]
)
def test_orders_of_the_last_second_are_counted_whosever_they_are(ago: timedelta, counted: int) -> None:
    tape = OrderTape()
    tape.note_order(an_order(ago, symbol="QQQ", side=SELL))
    assert now(tape).orders_last_second == counted
    assert now(tape).orders_in_session == tape.orders == 1


def test_a_window_shorter_than_a_second_leaves_the_second_as_it_is() -> None:
    tape = OrderTape(timedelta(milliseconds=500))
    tape.note_order(an_order(SECOND - MICRO))
    assert now(tape).orders_last_second == 1
    assert now(tape).alike == ()
    tape.note_order(an_order(SECOND / 2))
    assert now(tape).alike == ()
    tape.note_order(an_order(SECOND / 2 - MICRO))
    assert now(tape).alike == (100,)


@pytest.mark.parametrize(
    ("ago", "counted"), [(timedelta(0), True), (MINUTE - MICRO, True), (MINUTE, False), (HOUR, False)]
)
def test_orders_of_the_same_kind_are_counted_within_the_window(ago: timedelta, counted: bool) -> None:
    tape = OrderTape()
    tape.note_order(an_order(ago, shares=70))
    assert now(tape).alike == ((70,) if counted else ())
    longer = OrderTape(10 * MINUTE)
    longer.note_order(an_order(ago + 9 * MINUTE, shares=70))
    assert now(longer).alike == ((70,) if counted else ())


def test_orders_of_another_symbol_or_side_are_not_alike() -> None:
    tape = OrderTape()
    for order in (an_order(symbol="QQQ"), an_order(side=SELL), an_order(shares=7), an_order(shares=8)):
        tape.note_order(order)
    assert now(tape).alike == (7, 8)
    assert tape.before(an_order(side=SELL), {}).alike == (100,)
    assert tape.before(an_order(symbol="QQQ"), {}).alike == (100,)
    assert now(tape).orders_last_second == now(tape).orders_in_session == 4


def test_a_window_that_is_changed_counts_from_then_on() -> None:
    tape = OrderTape()
    tape.note_order(an_order(30 * SECOND))
    tape.duplicate_window = 20 * SECOND
    assert now(tape).alike == ()


def test_orders_are_forgotten_oldest_first_and_only_those_past_the_window() -> None:
    tape = OrderTape()
    for seconds in (120, 61, 60, 59, 1):
        tape.note_order(an_order(seconds * SECOND, shares=seconds))
    assert now(tape).alike == (59, 1)
    assert now(tape).orders_in_session == 5


@pytest.mark.parametrize(("ago", "counted"), [(timedelta(0), 3), (MINUTE - MICRO, 3), (MINUTE, 0), (MINUTE + MICRO, 0)])
def test_cancels_of_the_last_minute_are_counted(ago: timedelta, counted: int) -> None:
    tape = OrderTape()
    tape.note_cancels(3, AT - ago)
    assert now(tape).cancels_last_minute == counted


def test_cancels_add_up() -> None:
    tape = OrderTape()
    tape.note_cancels(2, AT - 2 * MINUTE)
    tape.note_cancels(0, AT)
    tape.note_cancels(1, AT - SECOND)
    tape.note_cancels(1, AT)
    assert now(tape).cancels_last_minute == 2


# Money


@pytest.mark.parametrize(
    ("ago", "last_hour"),
    [(timedelta(0), 1_000), (HOUR - MICRO, 1_000), (HOUR, 0), (HOUR + MICRO, 0), (3 * HOUR, 0)],
)
def test_money_is_counted_within_an_hour_and_within_the_day(ago: timedelta, last_hour: int) -> None:
    tape = OrderTape()
    tape.note_fills([a_fill(SELL, 20, ago)])
    activity = now(tape)
    assert (activity.traded_last_hour, activity.traded_today) == (last_hour, 1_000)
    assert tape.traded_today == 1_000


def test_fills_that_come_late_are_forgotten_at_their_own_time() -> None:
    tape = OrderTape()
    tape.note_fills([a_fill(BUY, 1, 10 * MINUTE), a_fill(BUY, 2, 2 * HOUR), a_fill(BUY, 4, 59 * MINUTE)])
    # 250 of five shares; the two are over.
    assert now(tape).traded_last_hour == 250
    assert now(tape).traded_today == 350
    later = tape.before(an_order(-30 * MINUTE), {})
    assert later.traded_last_hour == 50
    assert tape.before(an_order(-HOUR), {}).traded_last_hour == 0


def test_open_orders_count_with_what_is_left_of_them() -> None:
    tape = OrderTape()
    open_orders = {
        "a": OpenOrder(an_order(shares=100, price="50"), OrderStatus.ACCEPTED, 40),
        "b": OpenOrder(an_order(shares=10, price="7"), OrderStatus.ACCEPTED, 0),
    }
    activity = now(tape, open_orders)
    # 60 x 50 and 10 x 7.
    assert (activity.traded_last_hour, activity.traded_today) == (3_070, 3_070)
    with_this_bar = now(tape, open_orders, ordered=Decimal(500), approved=2)
    assert (with_this_bar.traded_last_hour, with_this_bar.traded_today, with_this_bar.trades) == (3_570, 3_570, 4)


# Trades


def test_orders_that_traded_or_may_still_are_trades() -> None:
    tape = OrderTape()
    tape.note_fills([a_fill(BUY, 5, order="a"), a_fill(BUY, 6, order="a"), a_fill(BUY, 7, order="b")])
    assert now(tape).trades == 2
    open_orders = {name: OpenOrder(an_order(), OrderStatus.ACCEPTED, 0) for name in ("b", "c")}
    # b has traded in part already.
    assert now(tape, open_orders).trades == 3
    assert now(tape, open_orders, approved=1).trades == 4


# Round trips within a day


@pytest.mark.parametrize(
    ("held", "fills", "complete", "counted", "opened"),
    [
        ({}, [], 0, 0, False),
        # What is opened counts as a round trip to come.
        ({}, [(BUY, 10)], 0, 1, True),
        ({}, [(SELL, 10)], 0, 1, True),
        ({}, [(BUY, 10), (BUY, 5)], 0, 1, True),
        ({}, [(BUY, 10), (SELL, 10)], 1, 1, False),
        ({}, [(SELL, 10), (BUY, 10)], 1, 1, False),
        # Closed in parts by two orders, and by one.
        ({}, [(BUY, 10), (SELL, 4)], 1, 2, True),
        ({}, [(BUY, 10), (SELL, 4), (SELL, 6)], 2, 2, False),
        ({}, [(BUY, 10), (SELL, 4, "o"), (SELL, 6, "o")], 1, 1, False),
        # Turned over: what is held now was opened today as well.
        ({}, [(BUY, 10), (SELL, 15)], 1, 2, True),
        # Twice around.
        ({}, [(BUY, 1), (SELL, 1), (BUY, 1), (SELL, 1)], 2, 2, False),
        # What was held overnight is no round trip when it goes, and one once it is opened anew.
        ({"SPY": 10}, [(SELL, 10)], 0, 0, False),
        ({"SPY": 10}, [(SELL, 4)], 0, 0, False),
        ({"SPY": -10}, [(BUY, 10)], 0, 0, False),
        ({"SPY": 10}, [(SELL, 10), (BUY, 5)], 0, 1, True),
        ({"SPY": 10}, [(SELL, 15)], 0, 1, True),
        ({"SPY": 10}, [(SELL, 15), (BUY, 5)], 1, 1, False),
    ],
)
def test_round_trips_within_the_day(
    held: dict[str, int], fills: list[Any], complete: int, counted: int, opened: bool
) -> None:
    tape = OrderTape()
    tape.take_up([], [], [], held)
    tape.note_fills(
        [a_fill(side, shares, order=name[0] if name else f"o{at}") for at, (side, shares, *name) in enumerate(fills)]
    )
    activity = now(tape)
    assert (tape.day_trades_today, activity.day_trades, activity.opened_today) == (complete, counted, opened)


def test_round_trips_of_other_symbols_and_of_earlier_days_count() -> None:
    tape = OrderTape()
    tape.take_up([], [], [], {}, day_trades_before=2)
    tape.note_fills(
        [a_fill(BUY, 1, symbol="QQQ"), a_fill(SELL, 1, symbol="QQQ", order="c"), a_fill(BUY, 1, symbol="IWM")]
    )
    activity = now(tape)
    assert (activity.day_trades, activity.opened_today) == (4, False)
    assert tape.before(an_order(symbol="IWM"), {}).opened_today


# After a restart


def test_a_tape_that_is_taken_up_counts_as_the_one_that_went_on() -> None:
    orders = [an_order(2 * MINUTE), an_order(30 * SECOND, shares=7), an_order(SECOND / 2, shares=8, side=SELL)]
    cancels = [AT - 2 * MINUTE, AT - SECOND]
    fills = [a_fill(BUY, 5, 2 * HOUR), a_fill(SELL, 5, 10 * MINUTE), a_fill(SELL, 3, MINUTE)]
    lived = OrderTape()
    lived.take_up([], [], [], {"SPY": 4}, 1)
    for order in orders:
        lived.note_order(order)
    for at in cancels:
        lived.note_cancels(1, at)
    lived.note_fills(fills)
    restarted = OrderTape()
    restarted.take_up(orders, cancels, fills, {"SPY": 4}, 1)
    assert now(restarted) == now(lived)
    assert now(restarted) == Activity(
        1, 3, (7,), 1, Decimal(400), Decimal(650), 3, 1, opened_today=False, turns=2, since_last_order=SECOND / 2
    )
