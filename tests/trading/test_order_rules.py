"""Each rule at its limit, just under it and just over it. The order is 100 SPY at 50 unless a case says otherwise."""

from decimal import Decimal
from typing import Any

import pytest

from trading.order_rules import (
    CancelsPerMinute,
    DuplicateOrders,
    EntryWindow,
    MaxOrderNotional,
    MaxOrderShares,
    MinOrderNotional,
    NotHalted,
    OnTime,
    OrdersPerSecond,
    OrdersPerSession,
    PriceCollar,
    ShortSelling,
    TickSize,
    Tradable,
)
from trading.orders import Side
from trading.risk_rules import Rule

BUY, SELL = Side.BUY, Side.SELL
NOT_A_NUMBER, ENDLESS = Decimal("NaN"), Decimal("Infinity")


def money(**amounts: str | None) -> dict[str, Decimal | None]:
    return {name: None if amount is None else Decimal(amount) for name, amount in amounts.items()}


# Whether it may be at all


@pytest.mark.parametrize("side", Side)
def test_no_new_risk_in_a_session_that_began_late(allowed, risk_view, side: Side) -> None:
    assert allowed(OnTime(), side=side) is None
    objection = OnTime().object_to(risk_view(side=side, late="it begins 30 minutes after the bell"))
    assert (objection.rule, objection.allowed, objection.reason) == (
        "late_start", 0, "it begins 30 minutes after the bell",
    )  # fmt: skip


@pytest.mark.parametrize("side", Side)
def test_no_new_risk_while_a_halt_stands(allowed, risk_view, side: Side) -> None:
    assert allowed(NotHalted(), side=side) is None
    objection = NotHalted().object_to(risk_view(side=side, halted="fat finger"))
    assert (objection.rule, objection.allowed, objection.reason) == ("halted", 0, "trading is halted: fat finger")


@pytest.mark.parametrize("side", Side)
def test_no_entries_while_they_are_closed(allowed, risk_view, side: Side) -> None:
    assert allowed(EntryWindow(), side=side) is None
    objection = EntryWindow().object_to(risk_view(side=side, entries_closed="no entries before 09:45"))
    assert (objection.rule, objection.allowed, objection.reason) == ("entry_window", 0, "no entries before 09:45")


@pytest.mark.parametrize(("barred", "answer"), [({"SPY"}, 0), ({"QQQ"}, None), ({"QQQ", "SPY"}, 0), (set(), None)])
def test_nothing_is_opened_in_a_barred_symbol(allowed, barred: set[str], answer: int | None) -> None:
    assert allowed(Tradable(frozenset(barred))) == answer


def test_a_barred_symbol_is_named(risk_view) -> None:
    objection = Tradable(frozenset({"SPY"})).object_to(risk_view())
    assert (objection.rule, objection.reason) == ("not_tradable", "SPY is not to be traded")


@pytest.mark.parametrize(("allowing", "side", "answer"), [(False, SELL, 0), (True, SELL, None), (False, BUY, None)])
def test_selling_what_is_not_held_must_be_allowed(allowed, allowing: bool, side: Side, answer: int | None) -> None:
    assert allowed(ShortSelling(allowing), side=side) == answer


def test_a_refused_short_sale_says_what_is_held(risk_view) -> None:
    objection = ShortSelling(False).object_to(risk_view(side=SELL, position=-7))
    assert objection.rule == "short_selling"
    assert objection.reason == "short selling is not allowed; SPY position is -7"


# Its size


@pytest.mark.parametrize("side", Side)
@pytest.mark.parametrize(("quantity", "answer"), [(499, None), (500, None), (501, 500), (10**9, 500)])
def test_an_order_has_at_most_so_many_shares(allowed, side: Side, quantity: int, answer: int | None) -> None:
    assert allowed(MaxOrderShares(500), side=side, quantity=quantity) == answer


def test_what_an_order_reduces_does_not_count_as_its_size(allowed) -> None:
    assert allowed(MaxOrderShares(100), quantity=900, adding=100) is None
    assert allowed(MaxOrderShares(99), quantity=900, adding=100) == 99


def test_the_size_that_was_seen_is_told(risk_view) -> None:
    objection = MaxOrderShares(99).object_to(risk_view())
    assert (objection.rule, objection.observed, objection.limit_value) == ("max_order_shares", 100, 99)
    assert objection.reason == "the order is too large"


@pytest.mark.parametrize(
    ("limit", "case", "answer"),
    [
        # 100 x 50 = 5,000.
        ("5000", {}, None),
        ("5000.01", {}, None),
        # 4,999.99 / 50 = 99.9998.
        ("4999.99", {}, 99),
        ("49.99", {}, 0),
        # A limit or stop above the last price is what may have to be paid: 100 x 50.01 = 5,001.
        ("5001", money(limit_price="50.01"), None),
        ("5000.99", money(limit_price="50.01"), 99),
        ("5001", money(stop_price="50.01"), None),
        ("5000.99", money(stop_price="50.01"), 99),
        # One below does not make it cheaper: a sale there would fill at the market.
        ("4999.99", money(limit_price="40"), 99),
        # Only what adds counts.
        ("5000", {"quantity": 900, "adding": 100}, None),
        ("4999.99", {"quantity": 900, "adding": 100}, 99),
    ],
)
@pytest.mark.parametrize("side", Side)
def test_an_order_is_worth_at_most_so_much(
    allowed, side: Side, limit: str, case: dict[str, Any], answer: int | None
) -> None:
    assert allowed(MaxOrderNotional(Decimal(limit)), side=side, **case) == answer


def test_the_worth_that_was_seen_is_told(risk_view) -> None:
    objection = MaxOrderNotional(Decimal(4_000)).object_to(risk_view())
    assert (objection.rule, objection.observed, objection.limit_value) == ("max_order_notional", 5_000, 4_000)
    assert objection.reason == "the order is worth too much"


@pytest.mark.parametrize(
    ("limit", "case", "answer"),
    [
        ("5000", {}, None),
        ("4999.99", {}, None),
        ("5000.01", {}, 0),
        # What is bought dearer than the last price is not worth more: it is judged at the last price.
        ("5000.01", money(limit_price="60"), 0),
        # 90 of 100 shares reduce: 10 x 50 = 500 are opened.
        ("500", {"quantity": 100, "adding": 10}, None),
        ("500.01", {"quantity": 100, "adding": 10}, 0),
    ],
)
@pytest.mark.parametrize("side", Side)
def test_an_order_is_worth_at_least_so_much(
    allowed, side: Side, limit: str, case: dict[str, Any], answer: int | None
) -> None:
    assert allowed(MinOrderNotional(Decimal(limit)), side=side, **case) == answer


def test_a_worth_that_is_too_little_is_told(risk_view) -> None:
    objection = MinOrderNotional(Decimal(6_000)).object_to(risk_view())
    assert (objection.rule, objection.observed, objection.limit_value) == ("min_order_notional", 5_000, 6_000)
    assert objection.reason == "the order is worth too little"


# Its price


@pytest.mark.parametrize(
    ("side", "case", "answer"),
    [
        # Five per cent of 50 are 2.50: a purchase may go up to 52.50, a sale down to 47.50.
        (BUY, money(limit_price="52.50"), None),
        (BUY, money(limit_price="52.51"), 0),
        (BUY, money(limit_price="52.49"), None),
        (SELL, money(limit_price="47.50"), None),
        (SELL, money(limit_price="47.49"), 0),
        (SELL, money(limit_price="47.51"), None),
        # A limit that waits for a better price is no danger.
        (BUY, money(limit_price="1"), None),
        (SELL, money(limit_price="500"), None),
        # Five per cent of the close before.
        (BUY, money(price="52.50"), None),
        (BUY, money(price="52.51"), 0),
        (BUY, money(price="47.50"), None),
        (BUY, money(price="47.49"), 0),
        (SELL, money(price="52.51"), 0),
        (SELL, money(price="47.49"), 0),
        # The first bar ever has none before it.
        (BUY, money(price="500", previous_price=None), None),
        (BUY, {}, None),
    ],
)
def test_a_price_that_looks_like_a_slip_is_refused(
    allowed, side: Side, case: dict[str, Any], answer: int | None
) -> None:
    assert allowed(PriceCollar(Decimal("0.05")), side=side, **case) == answer


@pytest.mark.parametrize(
    ("case", "observed", "reason"),
    [
        (money(price="40"), "0.2", "the last price 40 is far from 50 before it"),
        (money(limit_price="60"), "0.2", "the limit 60 is far beyond the last price 50"),
    ],
)
def test_a_slip_is_told_as_a_fraction(risk_view, case: dict[str, Any], observed: str, reason: str) -> None:
    objection = PriceCollar(Decimal("0.05")).object_to(risk_view(**case))
    assert (objection.rule, objection.observed, objection.limit_value, objection.reason) == (
        "max_price_deviation_fraction",
        Decimal(observed),
        Decimal("0.05"),
        reason,
    )


def test_a_sale_beyond_is_told_with_a_positive_fraction(risk_view) -> None:
    objection = PriceCollar(Decimal("0.05")).object_to(risk_view(side=SELL, **money(limit_price="40")))
    assert objection.observed == Decimal("0.2")


@pytest.mark.parametrize(
    ("case", "answer"),
    [
        ({}, None),
        (money(limit_price="50.01"), None),
        (money(limit_price="50.011"), 0),
        (money(limit_price="50.009999"), 0),
        (money(stop_price="50.02"), None),
        (money(stop_price="50.021"), 0),
        (money(limit_price="50.01", stop_price="50.021"), 0),
        (money(limit_price="50.011", stop_price="50.02"), 0),
    ],
)
@pytest.mark.parametrize("side", Side)
def test_prices_lie_on_the_exchanges_grid(allowed, side: Side, case: dict[str, Any], answer: int | None) -> None:
    assert allowed(TickSize(Decimal("0.01")), side=side, **case) == answer


def test_a_price_beside_the_grid_is_named(risk_view) -> None:
    objection = TickSize(Decimal("0.05")).object_to(risk_view(**money(limit_price="50.01")))
    assert (objection.rule, objection.observed, objection.limit_value) == (
        "tick_size",
        Decimal("50.01"),
        Decimal("0.05"),
    )
    assert objection.reason == "50.01 is no multiple of the tick 0.05"


# How many there were


@pytest.mark.parametrize(
    ("alike", "answer"),
    [
        ((), None),
        ((100,), None),
        # The third of the same quantity.
        ((100, 100), 0),
        ((100, 100, 100), 0),
        ((99, 101), None),
        ((99, 100, 101, 100), 0),
        ((99, 100, 101), None),
    ],
)
@pytest.mark.parametrize("side", Side)
def test_the_same_order_again_and_again_is_a_fault(
    allowed, side: Side, alike: tuple[int, ...], answer: int | None
) -> None:
    assert allowed(DuplicateOrders(3, 60), side=side, activity={"alike": alike}) == answer


def test_an_order_that_also_reduces_is_compared_as_it_is_sent(allowed) -> None:
    turning = {"quantity": 150, "adding": 50}
    assert allowed(DuplicateOrders(2, 60), **turning, activity={"alike": (150,)}) == 0
    assert allowed(DuplicateOrders(2, 60), **turning, activity={"alike": (50,)}) is None


def test_a_duplicate_is_counted_and_described(risk_view) -> None:
    objection = DuplicateOrders(3, 90).object_to(risk_view(activity={"alike": (100, 100)}))
    assert (objection.rule, objection.observed, objection.limit_value) == ("max_duplicate_orders", 3, 3)
    assert objection.reason == "BUY 100 SPY for the 3. time within 90 s"


@pytest.mark.parametrize(
    ("rule", "counted", "within", "beyond"),
    [
        # The order itself is the fiftieth, and then the fifty-first.
        (OrdersPerSecond(50), "orders_last_second", 49, 50),
        (OrdersPerSession(50), "orders_in_session", 49, 50),
        # A hundred cancels are the limit: from there on nothing that could be cancelled again.
        (CancelsPerMinute(100), "cancels_last_minute", 99, 100),
    ],
)
@pytest.mark.parametrize("side", Side)
def test_orders_and_cancels_are_bounded(
    allowed, side: Side, rule: Rule, counted: str, within: int, beyond: int
) -> None:
    assert allowed(rule, side=side, activity={counted: 0}) is None
    assert allowed(rule, side=side, activity={counted: within - 1}) is None
    assert allowed(rule, side=side, activity={counted: within}) is None
    assert allowed(rule, side=side, activity={counted: beyond}) == 0
    assert allowed(rule, side=side, activity={counted: beyond + 1}) == 0


@pytest.mark.parametrize(
    ("rule", "activity", "name", "reason"),
    [
        (OrdersPerSecond(2), {"orders_last_second": 3}, "max_orders_per_second", "too many orders within a second"),
        (OrdersPerSession(2), {"orders_in_session": 3}, "max_orders_per_session", "too many orders in the session"),
        (CancelsPerMinute(2), {"cancels_last_minute": 4}, "max_cancels_per_minute", "too many cancels within a minute"),
    ],
)
def test_what_was_counted_is_told(risk_view, rule: Rule, activity: dict[str, int], name: str, reason: str) -> None:
    objection = rule.object_to(risk_view(activity=activity))
    assert (objection.rule, objection.observed, objection.limit_value, objection.reason) == (name, 4, 2, reason)


# What cannot be told


@pytest.mark.parametrize(
    ("rule", "unusable"),
    [
        (MaxOrderNotional(Decimal(10**9)), {"price": NOT_A_NUMBER}),
        (MaxOrderNotional(Decimal(10**9)), {"price": Decimal(0)}),
        (MaxOrderNotional(Decimal(10**9)), {"limit_price": NOT_A_NUMBER}),
        (MaxOrderNotional(Decimal(10**9)), {"limit_price": ENDLESS}),
        (MaxOrderNotional(Decimal(10**9)), {"stop_price": NOT_A_NUMBER}),
        (MinOrderNotional(Decimal(1)), {"price": NOT_A_NUMBER}),
        (MinOrderNotional(Decimal(1)), {"price": Decimal(0)}),
        (PriceCollar(Decimal("0.05")), {"price": NOT_A_NUMBER}),
        (PriceCollar(Decimal("0.05")), {"previous_price": NOT_A_NUMBER}),
        (PriceCollar(Decimal("0.05")), {"previous_price": Decimal(0)}),
        (PriceCollar(Decimal("0.05")), {"limit_price": NOT_A_NUMBER}),
        (TickSize(Decimal("0.01")), {"limit_price": NOT_A_NUMBER}),
        (TickSize(Decimal("0.01")), {"stop_price": NOT_A_NUMBER}),
        (TickSize(Decimal(0)), {"limit_price": Decimal(50)}),
        # Nobody counted.
        (DuplicateOrders(3, 60), {"activity": None}),
        (OrdersPerSecond(50), {"activity": None}),
        (OrdersPerSession(50), {"activity": None}),
        (CancelsPerMinute(100), {"activity": None}),
        (OrdersPerSecond(50), {"activity": {"orders_last_second": NOT_A_NUMBER}}),
    ],
)
@pytest.mark.parametrize("side", Side)
def test_what_cannot_be_told_refuses(refused, side: Side, rule: Rule, unusable: dict[str, Any]) -> None:
    assert refused(rule, side=side, **unusable)
