from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading.exposures import Exposures
from trading.orders import Execution, Fill, OpenOrder, OrderIntent, OrderStatus, OrderType, Side
from trading.pnl_tracker import PnLTracker
from trading.risk_callbacks import ApprovedOrder, PreTradeVerdict
from trading.risk_rules import OtherPositions

AT = datetime(2026, 1, 5, 15, 0, tzinfo=UTC)
BUY, SELL = Side.BUY, Side.SELL


def book(held: Mapping[str, int], prices: Mapping[str, str] | None = None) -> PnLTracker:
    """Shares that were bought or sold short at 10, and what each symbol is worth now (10 where nothing is said)."""
    tracker = PnLTracker()
    fills = [
        Fill(
            Execution(f"x-{symbol}", f"o-{symbol}", symbol, BUY if shares > 0 else SELL, abs(shares), Decimal(10), Decimal(0), AT),
            "s", "paper", "paper",
        )
        for symbol, shares in held.items()
    ]  # fmt: skip
    tracker.initialize_portfolio_state(Decimal(100_000), fills, dict.fromkeys(held, Decimal(10)))
    tracker.mark({symbol: Decimal(price) for symbol, price in (prices or {}).items()})
    return tracker


def an_intent(symbol: str, side: Side, shares: int, reference: str = "10", **more: Any) -> OrderIntent:
    kind = OrderType.MARKET
    if "limit_price" in more:
        kind = OrderType.STOP_LIMIT if "stop_price" in more else OrderType.LIMIT
    elif "stop_price" in more:
        kind = OrderType.STOP
    prices = {name: Decimal(value) if name.endswith("price") else value for name, value in more.items()}
    return OrderIntent(
        f"{symbol}-{side}-{shares}", "s", "paper", AT, symbol, side, shares, Decimal(reference), AT, kind, **prices
    )


def working(symbol: str, side: Side, shares: int, filled: int = 0, **more: Any) -> OpenOrder:
    return OpenOrder(an_intent(symbol, side, shares + filled, **more), OrderStatus.ACCEPTED, filled)


def approved(symbol: str, side: Side, shares: int, **more: Any) -> ApprovedOrder:
    return ApprovedOrder(an_intent(symbol, side, shares, **more), PreTradeVerdict(shares, ()))


def others(gross: int | str, up: int | str, down: int | str, count: int, held: bool = False) -> OtherPositions:
    return OtherPositions(Decimal(gross), Decimal(up), Decimal(down), count, held=held)


def test_an_empty_account_holds_nothing_besides() -> None:
    empty = Exposures(book({}), [])
    assert empty.besides("SPY") == others(0, 0, 0, 0)
    assert empty.ordered("SPY", BUY) == empty.ordered("SPY", SELL) == (0, 0)


def test_longs_and_shorts_add_up_in_gross_and_cancel_out_in_net() -> None:
    # 30 x 20 long and 10 x 5 short.
    held = Exposures(book({"SPY": 30, "QQQ": -10}, {"SPY": "20", "QQQ": "5"}), [])
    assert held.besides("IWM") == others(650, 550, 550, 2)
    assert held.besides("SPY") == others(50, -50, -50, 1, held=True)
    assert held.besides("QQQ") == others(600, 600, 600, 1, held=True)


@pytest.mark.parametrize(
    ("orders", "expected"),
    [
        # 30 held at 10. More bought: all of it held.
        ([("SPY", BUY, 20)], others(500, 500, 300, 1)),
        # Sold in part: until it fills all of it is held; once it does a third of it.
        ([("SPY", SELL, 20)], others(300, 300, 100, 1)),
        # Sold short on balance: 70 short would be more than 30 long.
        ([("SPY", SELL, 100)], others(700, 300, -700, 1)),
        # Both at once: the worse of both.
        ([("SPY", BUY, 20), ("SPY", SELL, 100)], others(700, 500, -700, 1)),
        ([("SPY", BUY, 80), ("SPY", SELL, 100)], others(1_100, 1_100, -700, 1)),
        # Two on one side.
        ([("SPY", BUY, 20), ("SPY", BUY, 5)], others(550, 550, 300, 1)),
        # A symbol that is only ordered is about to be held.
        ([("QQQ", BUY, 5)], others(350, 350, 300, 2)),
        ([("QQQ", SELL, 5)], others(350, 300, 250, 2)),
    ],
)
def test_open_orders_count_where_they_make_the_book_worse(
    orders: list[tuple[str, Side, int]], expected: OtherPositions
) -> None:
    tracker = book({"SPY": 30})
    assert Exposures(tracker, [working(*order) for order in orders]).besides("IWM") == expected
    # What was approved a moment ago counts the same.
    later = Exposures(tracker, [])
    later.add_new([approved(*order) for order in orders])
    assert later.besides("IWM") == expected


def test_only_what_can_still_fill_counts() -> None:
    held = Exposures(book({"SPY": 30}), [working("SPY", BUY, 20, filled=500)])
    assert held.besides("IWM") == others(500, 500, 300, 1)


@pytest.mark.parametrize(
    ("prices", "worth"),
    [
        # 10 are held and 5 ordered: 15 at the worst price of them.
        ({}, "150"),
        ({"limit_price": "11"}, "165"),
        ({"limit_price": "9"}, "150"),
        ({"stop_price": "12"}, "180"),
        ({"limit_price": "11", "stop_price": "12"}, "180"),
        ({"limit_price": "13", "stop_price": "12"}, "195"),
        ({"reference": "14"}, "210"),
        ({"reference": "6"}, "150"),
    ],
)
def test_shares_count_at_the_worst_price_of_their_orders(prices: dict[str, str], worth: str) -> None:
    tracker = book({"SPY": 10})
    assert Exposures(tracker, [working("SPY", BUY, 5, **prices)]).besides("IWM").gross == Decimal(worth)
    later = Exposures(tracker, [])
    later.add_new([approved("SPY", BUY, 5, **prices)])
    assert later.besides("IWM").gross == Decimal(worth)


def test_a_symbol_that_is_only_ordered_counts_at_its_last_price_where_that_is_worse() -> None:
    tracker = book({}, {"SPY": "12"})
    assert Exposures(tracker, [working("SPY", BUY, 5)]).besides("IWM").gross == 60
    # Without any it is the order's own.
    assert Exposures(book({}), [working("SPY", BUY, 5)]).besides("IWM").gross == 50


def test_orders_that_protect_a_position_are_left_out() -> None:
    child = working("SPY", SELL, 500, parent_id="o")
    held = Exposures(book({"SPY": 30}), [child])
    assert held.besides("IWM") == others(300, 300, 300, 1)
    assert held.ordered("SPY", BUY)[1] == 0


def test_orders_of_the_other_side_are_told() -> None:
    orders = [working("SPY", BUY, 5), working("SPY", BUY, 6), working("SPY", SELL, 7), working("QQQ", SELL, 9)]
    held = Exposures(book({"SPY": 30}), orders)
    assert held.ordered("SPY", SELL)[1] == 11
    assert held.ordered("SPY", BUY)[1] == 7
    assert (held.ordered("QQQ", SELL)[1], held.ordered("QQQ", BUY)[1]) == (0, 9)


def test_orders_of_its_own_side_are_told_beside_them() -> None:
    held = Exposures(book({"SPY": 30}), [working("SPY", BUY, 5), working("SPY", SELL, 7, filled=2)])
    assert (held.ordered("SPY", BUY), held.ordered("SPY", SELL)) == ((5, 7), (7, 5))
    held.add_new([approved("SPY", BUY, 4)])
    assert held.ordered("SPY", BUY) == (9, 7)
    assert held.ordered("IWM", BUY) == (0, 0)


def test_approved_orders_are_counted_once_however_often_they_are_shown() -> None:
    held = Exposures(book({"SPY": 30}), [])
    bar = [approved("SPY", BUY, 5)]
    held.add_new(bar)
    held.add_new(bar)
    assert held.besides("IWM") == others(350, 350, 300, 1)
    bar.append(approved("QQQ", SELL, 7))
    held.add_new(bar)
    held.add_new(bar)
    assert held.besides("IWM") == others(420, 350, 230, 2)
    assert held.besides("SPY") == others(70, 0, -70, 1, held=True)
    bar.append(approved("SPY", BUY, 6))
    held.add_new(bar)
    assert held.besides("IWM") == others(480, 410, 230, 2)


SYMBOLS = ("SPY", "QQQ", "IWM")
SHARES = st.integers(1, 500)
ORDERS = st.lists(st.tuples(st.sampled_from(SYMBOLS), st.sampled_from(Side), SHARES), max_size=8)


@given(held=st.dictionaries(st.sampled_from(SYMBOLS), st.integers(-300, 300)), open_ones=ORDERS, new_ones=ORDERS)
def test_one_after_the_other_is_the_same_as_all_at_once(
    held: dict[str, int], open_ones: list[tuple[str, Side, int]], new_ones: list[tuple[str, Side, int]]
) -> None:
    tracker = book({symbol: shares for symbol, shares in held.items() if shares})
    step_by_step = Exposures(tracker, [working(*order) for order in open_ones])
    for count in range(len(new_ones)):
        step_by_step.add_new([approved(*order) for order in new_ones[: count + 1]])
    at_once = Exposures(tracker, [working(*order) for order in [*open_ones, *new_ones]])
    for symbol in (*SYMBOLS, "DIA"):
        assert step_by_step.besides(symbol) == at_once.besides(symbol)
        # Recomputed: every other symbol in its worse case, at 10.
        gross = up = down = 0
        count = 0
        for other in SYMBOLS:
            bought = sum(shares for name, side, shares in [*open_ones, *new_ones] if (name, side) == (other, BUY))
            sold = sum(shares for name, side, shares in [*open_ones, *new_ones] if (name, side) == (other, SELL))
            shares = held.get(other, 0)
            if other == symbol or not (shares or bought or sold):
                continue
            gross += 10 * max(abs(shares + bought), abs(shares - sold))
            up += 10 * (shares + bought)
            down += 10 * (shares - sold)
            count += 1
        own = bool(held.get(symbol)) or any(name == symbol for name, _, _ in [*open_ones, *new_ones])
        assert at_once.besides(symbol) == others(gross, up, down, count, held=own)
