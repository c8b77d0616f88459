from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from trading.bars import Bar, BarSlice
from trading.brokers.paper import PaperBroker
from trading.orders import Execution, OrderIntent, OrderStatus, Side
from trading.settings import PaperSettings

OPEN = datetime(2026, 1, 5, 14, 30, tzinfo=UTC)


def at(minute: int) -> datetime:
    return OPEN + timedelta(minutes=minute)


class Account:
    """A simulated account in memory, shown one bar at a time."""

    def __init__(self, **settings: object) -> None:
        self.broker = PaperBroker("paper", PaperSettings.model_validate(settings), OPEN)

    def accept(self, name: str, side: Side, quantity: int, decided: int = 0, symbol: str = "SPY") -> None:
        self.broker.submit(
            OrderIntent(name, "s", "paper", at(decided), symbol, side, quantity, Decimal(100), at(decided + 1))
        )

    def see(self, bar: Bar) -> list[Execution]:
        """What one bar executes."""
        self.broker.poll()
        self.broker.see(BarSlice(bar.bar_time, {bar.symbol: bar}))
        return [one for one in self.broker.poll() if isinstance(one, Execution)]

    def working(self) -> list[str]:
        return [order.client_order_id for order in self.broker.account().open_orders]

    def status(self, name: str) -> OrderStatus:
        found = self.broker.find_order(name)
        assert found is not None
        return found.status


def bar(minute: int, opened: str, volume: int | None = 1_000, symbol: str = "SPY") -> Bar:
    price = Decimal(opened)
    return Bar(symbol, at(minute), price, price + 5, price - 5, price + 3, volume)


@pytest.mark.parametrize(("side", "price"), [(Side.BUY, "100.10"), (Side.SELL, "99.90")])
def test_a_fill_is_worse_than_the_next_open_by_the_slippage(side: Side, price: str) -> None:
    # 10 basis points of 100 are 0.10, whatever the close was.
    paper = Account(slippage_bps=10)
    paper.accept("a", side, 50)
    [execution] = paper.see(bar(1, "100"))
    assert (execution.price, execution.quantity, execution.executed_at) == (Decimal(price), 50, at(1))


def test_an_order_made_in_the_middle_of_a_bar_waits_for_the_next_open() -> None:
    # Decided on bar 0, sent half a minute into bar 1, whose open is past by then.
    paper = Account(slippage_bps=0)
    sent_at = at(1) + timedelta(seconds=30)
    paper.broker.submit(OrderIntent("a", "s", "paper", at(0), "SPY", Side.BUY, 50, Decimal(100), sent_at))
    assert paper.see(bar(1, "100")) == []
    [execution] = paper.see(bar(2, "101"))
    assert (execution.price, execution.executed_at) == (Decimal(101), at(2))


def test_an_order_cannot_fill_on_the_bar_it_was_decided_on_nor_on_an_earlier_one() -> None:
    paper = Account()
    paper.accept("a", Side.BUY, 50, decided=3)
    assert paper.see(bar(2, "100")) == []
    assert paper.see(bar(3, "100")) == []
    assert len(paper.see(bar(4, "100"))) == 1


def test_a_missing_bar_only_delays_the_fill() -> None:
    paper = Account(slippage_bps=0)
    paper.accept("a", Side.BUY, 50, decided=3)
    [execution] = paper.see(bar(9, "101"))
    assert (execution.price, execution.executed_at) == (Decimal("101"), at(9))


def test_a_bar_of_another_symbol_fills_nothing() -> None:
    paper = Account()
    paper.accept("a", Side.BUY, 50)
    assert paper.see(bar(1, "100", symbol="QQQ")) == []


def test_two_orders_share_the_volume_oldest_first() -> None:
    # A tenth of 1,000 shares is 100: 80 for the older order, 20 of 50 for the younger one, 30 with the next bar.
    paper = Account(max_volume_fraction="0.1")
    paper.accept("old", Side.BUY, 80)
    paper.accept("young", Side.SELL, 50)
    first = paper.see(bar(1, "100"))
    statuses = [paper.status("old"), paper.status("young")]
    second = paper.see(bar(2, "100"))
    assert [(one.client_order_id, one.quantity) for one in first] == [("old", 80), ("young", 20)]
    assert statuses == [OrderStatus.FILLED, OrderStatus.PARTIALLY_FILLED]
    assert [(one.client_order_id, one.quantity) for one in second] == [("young", 30)]
    assert paper.working() == []


def test_the_share_of_the_volume_is_rounded_down_to_whole_shares() -> None:
    paper = Account(max_volume_fraction="0.1")
    paper.accept("a", Side.BUY, 50)
    assert [one.quantity for one in paper.see(bar(1, "100", volume=199))] == [19]


@pytest.mark.parametrize("volume", [0, None, 9])
def test_a_bar_without_enough_volume_fills_nothing_where_volume_counts(volume: int | None) -> None:
    paper = Account(max_volume_fraction="0.1")
    paper.accept("a", Side.BUY, 50)
    assert paper.see(bar(1, "100", volume)) == []
    assert paper.working() == ["a"]


def test_without_a_volume_limit_volume_does_not_matter() -> None:
    paper = Account()
    paper.accept("a", Side.BUY, 50)
    assert [one.quantity for one in paper.see(bar(1, "100", None))] == [50]


def test_the_commission_minimum_is_paid_once_per_order_however_it_fills() -> None:
    # 0.005 x 100 and x 200 are below 1.00; at 300 shares 1.50 is due, 0.50 more than was paid.
    paper = Account(max_volume_fraction="0.1", slippage_bps=0)
    paper.accept("a", Side.BUY, 300)
    paid = [paper.see(bar(minute, "100"))[0].commission for minute in (1, 2, 3)]
    assert paid == [Decimal("1"), Decimal("0"), Decimal("0.50")]


def test_the_commission_is_per_share_above_the_minimum() -> None:
    paper = Account()
    paper.accept("a", Side.BUY, 1_000)
    assert paper.see(bar(1, "100"))[0].commission == Decimal("5")


def test_the_cap_is_a_fraction_of_the_trade_and_beats_the_minimum() -> None:
    # One per cent of 2 x 10 is 0.20, less than the minimum of 1.00.
    paper = Account(commission_maximum_fraction="0.01", slippage_bps=0)
    paper.accept("a", Side.BUY, 2)
    assert paper.see(bar(1, "10"))[0].commission == Decimal("0.20")


def test_a_capped_commission_grows_with_the_order_until_the_minimum_is_paid() -> None:
    # 10 shares at 5 a bar: 1 % of 50 is 0.50, of 100 is 1.00, of 150 would be 1.50 but the minimum is 1.00.
    paper = Account(commission_maximum_fraction="0.01", slippage_bps=0, max_volume_fraction="0.01")
    paper.accept("a", Side.BUY, 30)
    paid = [paper.see(Bar("SPY", at(minute), *[Decimal(5)] * 4, 1_000))[0].commission for minute in (1, 2, 3)]
    assert paid == [Decimal("0.50"), Decimal("0.50"), Decimal("0")]


def test_cash_and_positions_follow_the_executions() -> None:
    # 100,000 - 50 x 100 - 1 = 94,999; selling 80 at 110 for 1: 103,798, 30 short.
    paper = Account(slippage_bps=0)
    paper.accept("a", Side.BUY, 50)
    paper.see(bar(1, "100"))
    assert paper.broker.account().cash == Decimal("94999")
    assert [(held.quantity, held.average_cost) for held in paper.broker.account().positions] == [
        (50, Decimal("100.02"))
    ]
    paper.accept("b", Side.SELL, 80, decided=1)
    paper.see(bar(2, "110"))
    assert paper.broker.account().cash == Decimal("103798")
    # 30 of 80 shares opened the short: 3,300 less 0.375 of the commission, 109.9875 a share.
    assert [(held.quantity, held.average_cost) for held in paper.broker.account().positions] == [
        (-30, Decimal("109.9875"))
    ]


def test_a_flat_account_has_no_positions() -> None:
    paper = Account()
    for name, side in (("a", Side.BUY), ("b", Side.SELL)):
        paper.accept(name, side, 50)
    paper.see(bar(1, "100"))
    assert paper.broker.account().positions == ()


def test_the_rest_of_a_day_order_expires_at_the_close() -> None:
    paper = Account(max_volume_fraction="0.1")
    paper.accept("a", Side.BUY, 150)
    paper.see(bar(1, "100"))
    paper.broker.end_of_session(at(390))
    expired = paper.broker.find_order("a")
    assert expired is not None
    assert (expired.status, expired.filled) == (OrderStatus.EXPIRED, 100)
    assert paper.see(bar(391, "100")) == []


def test_only_orders_of_earlier_sessions_expire_at_an_open() -> None:
    paper = Account()
    paper.accept("yesterday", Side.BUY, 10, decided=-1_000)
    paper.accept("today", Side.BUY, 10)
    paper.broker.begin_session(resumed=True)
    assert paper.status("yesterday") is OrderStatus.EXPIRED
    assert paper.working() == ["today"]


def test_a_cancelled_order_does_not_fill_and_cannot_be_cancelled_again() -> None:
    paper = Account()
    paper.accept("a", Side.BUY, 50)
    paper.broker.cancel("a")
    assert paper.status("a") is OrderStatus.CANCELLED
    assert paper.see(bar(1, "100")) == []
    paper.broker.poll()
    paper.broker.cancel("a")
    assert paper.broker.poll() == ()


def test_every_execution_has_an_id_of_its_own() -> None:
    paper = Account(max_volume_fraction="0.01")
    paper.accept("a", Side.BUY, 25)
    paper.accept("b", Side.BUY, 5)
    found = [one.exec_id for minute in range(1, 6) for one in paper.see(bar(minute, "100"))]
    assert len(found) == len(set(found)) == 4
