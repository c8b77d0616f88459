from datetime import UTC, datetime
from decimal import Decimal

import pytest

from trading.orders import OpenOrder, OrderIntent, OrderStatus, Side
from trading.ports import BrokerAccount, BrokerOrder, BrokerPosition
from trading.reconciliation import compare_books, compare_orders

AT = datetime(2026, 1, 5, 14, 30, tzinfo=UTC)


def account(cash: str = "100", positions: tuple[BrokerPosition, ...] = (), *orders: BrokerOrder) -> BrokerAccount:
    return BrokerAccount("paper", Decimal(cash), positions, orders)


def held(symbol: str, quantity: int) -> BrokerPosition:
    return BrokerPosition(symbol, quantity, Decimal(10))


def ours(name: str, filled: int = 0) -> OpenOrder:
    intent = OrderIntent(name, "s", "paper", AT, "SPY", Side.BUY, 10, Decimal(100), AT)
    return OpenOrder(intent, OrderStatus.ACCEPTED, filled)


def theirs(name: str, filled: int = 0) -> BrokerOrder:
    return BrokerOrder(name, "B1", "SPY", "BUY", 10, filled, OrderStatus.ACCEPTED)


def test_books_that_agree_have_no_difference() -> None:
    assert compare_books(Decimal(100), {"SPY": 5, "QQQ": 0}, account(positions=(held("SPY", 5),))) == []


def test_a_position_may_be_missing_on_either_side_or_differ() -> None:
    found = compare_books(
        Decimal(100),
        {"ONLY_OURS": 5, "BOTH": -3},
        account(positions=(held("ONLY_THEIRS", -7), held("BOTH", 3))),
    )
    assert [(one.kind, one.subject, one.ours, one.brokers) for one in found] == [
        ("position", "BOTH", "-3", "3"),
        ("position", "ONLY_OURS", "5", "0"),
        ("position", "ONLY_THEIRS", "0", "-7"),
    ]
    assert found[0].proposed_repair == "find the executions behind +6 BOTH and book them"


@pytest.mark.parametrize(("cash", "differs"), [("100.01", False), ("99.99", False), ("100.010001", True), ("98", True)])
def test_cash_may_differ_by_a_rounded_cent(cash: str, differs: bool) -> None:
    assert bool(compare_books(Decimal(100), {}, account(cash))) is differs


def test_a_difference_in_cash_has_its_sign() -> None:
    [found] = compare_books(Decimal(100), {}, account("98.50"))
    assert (found.kind, found.subject) == ("cash", "paper")
    assert "transfer of -1.50" in found.proposed_repair


def test_orders_that_agree_have_no_difference() -> None:
    assert compare_orders([ours("a", 4)], account("0", (), theirs("a", 4))) == []


def test_orders_may_be_gone_unknown_or_filled_differently() -> None:
    found = compare_orders(
        [ours("gone"), ours("half", 2)], account("0", (), theirs("half", 5), theirs("z"), theirs("new"))
    )
    assert [(one.kind, one.subject, one.ours, one.brokers) for one in found] == [
        ("order_gone", "gone", "BUY 10 SPY ACCEPTED", "not working"),
        ("order_filled", "half", "filled 2", "filled 5"),
        ("order_unknown", "new", "no such order", "BUY 10 SPY ACCEPTED"),
        ("order_unknown", "z", "no such order", "BUY 10 SPY ACCEPTED"),
    ]
