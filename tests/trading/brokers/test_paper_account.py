from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from trading.bars import Bar
from trading.brokers.paper_account import PaperAccount, PaperOrder
from trading.orders import Execution, OrderStatus, Side, TimeInForce
from trading.settings import PaperSettings

OPEN = datetime(2026, 1, 5, 14, 30, tzinfo=UTC)


def at(minute: int) -> datetime:
    return OPEN + timedelta(minutes=minute)


def account(**settings: object) -> PaperAccount:
    return PaperAccount(PaperSettings.model_validate(settings))


def order(name: str, side: Side, quantity: int, decided: int = 0, symbol: str = "SPY") -> PaperOrder:
    return PaperOrder(
        name, f"P-{name}", symbol, side, quantity, TimeInForce.DAY, at(decided), OrderStatus.SUBMITTED, at(decided)
    )


def bar(minute: int, opened: str, volume: int | None = 1_000, symbol: str = "SPY") -> Bar:
    price = Decimal(opened)
    return Bar(symbol, at(minute), price, price + 5, price - 5, price + 3, volume)


def executions(seen: list[tuple[PaperOrder, Execution]]) -> list[Execution]:
    return [execution for _, execution in seen]


@pytest.mark.parametrize(("side", "price"), [(Side.BUY, "100.10"), (Side.SELL, "99.90")])
def test_a_fill_is_worse_than_the_next_open_by_the_slippage(side: Side, price: str) -> None:
    # 10 basis points of 100 are 0.10, whatever the close was.
    paper = account(slippage_bps=10)
    paper.accept(order("a", side, 50))
    [execution] = executions(paper.see(bar(1, "100")))
    assert (execution.price, execution.quantity, execution.executed_at) == (Decimal(price), 50, at(1))


def test_an_order_cannot_fill_on_the_bar_it_was_decided_on_nor_on_an_earlier_one() -> None:
    paper = account()
    paper.accept(order("a", Side.BUY, 50, decided=3))
    assert paper.see(bar(2, "100")) == []
    assert paper.see(bar(3, "100")) == []
    assert len(paper.see(bar(4, "100"))) == 1


def test_a_missing_bar_only_delays_the_fill() -> None:
    paper = account(slippage_bps=0)
    paper.accept(order("a", Side.BUY, 50, decided=3))
    [execution] = executions(paper.see(bar(9, "101")))
    assert (execution.price, execution.executed_at) == (Decimal("101"), at(9))


def test_a_bar_of_another_symbol_fills_nothing() -> None:
    paper = account()
    paper.accept(order("a", Side.BUY, 50))
    assert paper.see(bar(1, "100", symbol="QQQ")) == []


def test_two_orders_share_the_volume_oldest_first() -> None:
    # A tenth of 1,000 shares is 100: 80 for the older order, 20 of 50 for the younger one, 30 with the next bar.
    paper = account(max_volume_fraction="0.1")
    paper.accept(order("old", Side.BUY, 80))
    paper.accept(order("young", Side.SELL, 50))
    first, second = paper.see(bar(1, "100")), paper.see(bar(2, "100"))
    assert [(one.client_order_id, one.quantity) for one in executions(first)] == [("old", 80), ("young", 20)]
    assert [changed.status for changed, _ in first] == [OrderStatus.FILLED, OrderStatus.PARTIALLY_FILLED]
    assert [(one.client_order_id, one.quantity) for one in executions(second)] == [("young", 30)]
    assert paper.working == {}


def test_the_share_of_the_volume_is_rounded_down_to_whole_shares() -> None:
    paper = account(max_volume_fraction="0.1")
    paper.accept(order("a", Side.BUY, 50))
    assert [one.quantity for one in executions(paper.see(bar(1, "100", volume=199)))] == [19]


@pytest.mark.parametrize("volume", [0, None, 9])
def test_a_bar_without_enough_volume_fills_nothing_where_volume_counts(volume: int | None) -> None:
    paper = account(max_volume_fraction="0.1")
    paper.accept(order("a", Side.BUY, 50))
    assert paper.see(bar(1, "100", volume)) == []
    assert list(paper.working) == ["a"]


def test_without_a_volume_limit_volume_does_not_matter() -> None:
    paper = account()
    paper.accept(order("a", Side.BUY, 50))
    assert [one.quantity for one in executions(paper.see(bar(1, "100", None)))] == [50]


def test_the_commission_minimum_is_paid_once_per_order_however_it_fills() -> None:
    # 0.005 x 100 and x 200 are below 1.00; at 300 shares 1.50 is due, 0.50 more than was paid.
    paper = account(max_volume_fraction="0.1", slippage_bps=0)
    paper.accept(order("a", Side.BUY, 300))
    paid = [executions(paper.see(bar(minute, "100")))[0].commission for minute in (1, 2, 3)]
    assert paid == [Decimal("1"), Decimal("0"), Decimal("0.50")]


def test_the_commission_is_per_share_above_the_minimum() -> None:
    paper = account()
    paper.accept(order("a", Side.BUY, 1_000))
    assert executions(paper.see(bar(1, "100")))[0].commission == Decimal("5")


def test_the_cap_is_a_fraction_of_the_trade_and_beats_the_minimum() -> None:
    # One per cent of 2 x 10 is 0.20, less than the minimum of 1.00.
    paper = account(commission_maximum_fraction="0.01", slippage_bps=0)
    paper.accept(order("a", Side.BUY, 2))
    assert executions(paper.see(bar(1, "10")))[0].commission == Decimal("0.20")


def test_a_capped_commission_grows_with_the_order_until_the_minimum_is_paid() -> None:
    # 10 shares at 5 a bar: 1 % of 50 is 0.50, of 100 is 1.00, of 150 would be 1.50 but the minimum is 1.00.
    paper = account(commission_maximum_fraction="0.01", slippage_bps=0, max_volume_fraction="0.01")
    paper.accept(order("a", Side.BUY, 30))
    paid = [
        executions(paper.see(Bar("SPY", at(minute), *[Decimal(5)] * 4, 1_000)))[0].commission for minute in (1, 2, 3)
    ]
    assert paid == [Decimal("0.50"), Decimal("0.50"), Decimal("0")]


def test_cash_and_positions_follow_the_executions() -> None:
    # 100,000 - 50 x 100 - 1 = 94,999; selling 80 at 110 for 1: 103,798, 30 short.
    paper = account(slippage_bps=0)
    paper.accept(order("a", Side.BUY, 50))
    paper.see(bar(1, "100"))
    assert paper.cash == Decimal("94999")
    assert [(held.quantity, held.average_cost) for held in paper.positions()] == [(50, Decimal("100.02"))]
    paper.accept(order("b", Side.SELL, 80, decided=1))
    paper.see(bar(2, "110"))
    assert paper.cash == Decimal("103798")
    # 30 of 80 shares opened the short: 3,300 less 0.375 of the commission, 109.9875 a share.
    assert [(held.quantity, held.average_cost) for held in paper.positions()] == [(-30, Decimal("109.9875"))]


def test_a_flat_account_has_no_positions() -> None:
    paper = account()
    for name, side in (("a", Side.BUY), ("b", Side.SELL)):
        paper.accept(order(name, side, 50))
    paper.see(bar(1, "100"))
    assert paper.positions() == ()


def test_the_rest_of_a_day_order_expires_at_the_close() -> None:
    paper = account(max_volume_fraction="0.1")
    paper.accept(order("a", Side.BUY, 150))
    paper.see(bar(1, "100"))
    [expired] = paper.expire_day_orders(at(390))
    assert (expired.status, expired.filled, expired.status_at) == (OrderStatus.EXPIRED, 100, at(390))
    assert paper.see(bar(391, "100")) == []


def test_only_orders_of_earlier_sessions_expire_at_an_open() -> None:
    paper = account()
    paper.accept(order("yesterday", Side.BUY, 10, decided=-1_000))
    paper.accept(order("today", Side.BUY, 10))
    assert [one.client_order_id for one in paper.expire_day_orders(at(0), decided_before=at(0))] == ["yesterday"]
    assert list(paper.working) == ["today"]


def test_a_cancelled_order_does_not_fill_and_cannot_be_cancelled_again() -> None:
    paper = account()
    paper.accept(order("a", Side.BUY, 50))
    cancelled = paper.cancel("a", at(1))
    assert cancelled is not None
    assert cancelled.status is OrderStatus.CANCELLED
    assert paper.see(bar(1, "100")) == []
    assert paper.cancel("a", at(2)) is None


def test_every_execution_has_an_id_of_its_own() -> None:
    paper = account(max_volume_fraction="0.01")
    paper.accept(order("a", Side.BUY, 25))
    paper.accept(order("b", Side.BUY, 5))
    found = [one.exec_id for minute in range(1, 6) for one in executions(paper.see(bar(minute, "100")))]
    assert len(found) == len(set(found)) == 4


def test_an_account_restored_from_its_executions_is_the_same_account() -> None:
    paper = account(max_volume_fraction="0.03")
    history = []
    for minute, (side, quantity) in enumerate([(Side.BUY, 50), (Side.SELL, 90), (Side.BUY, 20)]):
        paper.accept(order(str(minute), side, quantity, decided=minute))
        history += executions(paper.see(bar(minute + 1, f"{100 + minute}.37")))
    restored = account(max_volume_fraction="0.03")
    restored.restore(history)
    assert (restored.cash, restored.positions()) == (paper.cash, paper.positions())
