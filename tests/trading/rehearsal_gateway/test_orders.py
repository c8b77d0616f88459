"""What a client reads of its orders, over TCP: statuses, executions, refusals, in the order in which TWS tells them."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from ib_insync import IB, LimitOrder, MarketOrder, Order, Stock, StopLimitOrder, StopOrder, Trade

from trading.settings import PaperSettings

Run = Callable[..., None]
SPY = Stock("SPY", "SMART", "USD")


def standing(trade: Trade) -> tuple[str, float, float]:
    """Status, filled and remaining."""
    told = trade.orderStatus
    return told.status, told.filled, told.remaining


def test_a_filled_market_order_is_told_in_the_order_of_tws(at_the_gateway: Run) -> None:
    async def trade(there: Any) -> None:
        raw = await there.connect_raw()
        await raw.until(9)
        client = await there.connect(2)
        order = MarketOrder("BUY", 100, tif="DAY", orderRef="260105-093000-SPY-0123456789")
        client.place(order)
        await there.asked()
        # Another client's order is none of the first one's business, its own is.
        template = _as_sent(client.ib, 1, order)
        await raw.send(*template)
        taken = await raw.until(3)
        await there.show("100", "101", "99", "100.50")
        told = [*taken[-2:], *await raw.until(59)]
        assert [message[0] for message in told] == ["5", "3", "11", "5", "3", "5", "3", "59"]
        assert [message[2] for message in told if message[0] == "3"] == ["PreSubmitted", "Filled", "Filled"]
        # The first openOrder that says Filled knows no commission yet, the second does.
        assert [message.count("1.7976931348623157E308") for message in (told[3], told[5])] == [12, 11]
        execution = told[2]
        exec_id, when, account, exchange, side, shares, price = execution[14:21]
        assert (when, account, side, shares, price) == (
            "20260105 09:30:00 US/Eastern",
            "DU1234567",
            "BOT",
            "100",
            "100",
        )
        assert told[-1][2:4] == [exec_id, "1"]
        assert told[-1][5] == "1.7976931348623157E308"  # nothing was closed: no realized P&L
        assert exchange == "NYSE"

    at_the_gateway(trade)


def _as_sent(ib: IB, order_id: int, order: Order) -> list[str]:
    """The fields of a placeOrder message as the library writes them, taken off its own line."""
    sent: list[str] = []
    client = ib.client
    original = client.sendMsg
    client.sendMsg = sent.append
    try:
        client.placeOrder(order_id, SPY, order)
    finally:
        client.sendMsg = original
    return sent[0].split("\0")[:-1]


BARS = [("100", "100.40", "99.60", "100"), ("100", "102", "98", "101"), ("101", "101", "101", "101")]


@pytest.mark.parametrize(
    ("order", "steps"),
    [
        # Waits in the book until the price trades through its limit.
        (LimitOrder("BUY", 10, 99, tif="DAY"), [("Submitted", 0), ("Filled", 99)]),
        (LimitOrder("SELL", 10, 105, tif="GTC"), [("Submitted", 0), ("Submitted", 0)]),
        (StopOrder("SELL", 10, 99, tif="DAY"), [("PreSubmitted", 0), ("Filled", 99)]),
        (StopLimitOrder("BUY", 10, 101.5, 101, tif="DAY"), [("PreSubmitted", 0), ("Filled", 101)]),
        # A dollar below the best price, which after the first bar is 100.40.
        (
            Order(action="SELL", totalQuantity=10, orderType="TRAIL", auxPrice=1, tif="DAY"),
            [("PreSubmitted", 0), ("Filled", 99.4)],
        ),
        # One percent below 100.40.
        (
            Order(action="SELL", totalQuantity=10, orderType="TRAIL", trailingPercent=1, tif="DAY"),
            [("PreSubmitted", 0), ("Filled", 99.396)],
        ),
        (LimitOrder("BUY", 10, 99, tif="IOC"), [("Cancelled", 0)]),
        (LimitOrder("BUY", 10, 100, tif="IOC"), [("Filled", 100)]),
        (LimitOrder("BUY", 10, 99, tif="FOK"), [("Cancelled", 0)]),
        (Order(action="BUY", totalQuantity=10, orderType="MOC", tif="DAY"), [("PreSubmitted", 0), ("PreSubmitted", 0)]),
        (Order(action="BUY", totalQuantity=10, orderType="LOC", lmtPrice=99, tif="DAY"), [("PreSubmitted", 0)]),
        (Order(action="BUY", totalQuantity=10, orderType="MKT", tif="OPG"), [("PreSubmitted", 0), ("PreSubmitted", 0)]),
    ],
    ids=lambda value: f"{value.orderType}-{value.tif}" if isinstance(value, Order) else "",
)
def test_each_kind_of_order_waits_and_trades(at_the_gateway: Run, order: Order, steps: list[tuple[str, float]]) -> None:
    async def trade(there: Any) -> None:
        await there.show("100", "100", "100", "100")
        client = await there.connect()
        placed = client.place(order)
        for bar, (status, price) in zip(BARS, steps, strict=False):
            await there.asked()
            await there.show(*bar)
            await there.heard(client)
            assert (placed.orderStatus.status, placed.orderStatus.avgFillPrice) == (status, price)

    at_the_gateway(trade)


def test_the_close_fills_its_orders_and_ends_those_of_the_day(at_the_gateway: Run) -> None:
    async def trade(there: Any) -> None:
        client = await there.connect()
        kinds = [
            Order(action="BUY", totalQuantity=10, orderType="MOC", tif="DAY"),
            Order(action="BUY", totalQuantity=10, orderType="LOC", lmtPrice=99, tif="DAY"),
            LimitOrder("BUY", 10, 90, tif="DAY"),
            LimitOrder("BUY", 10, 90, tif="GTC"),
        ]
        placed = [client.place(order) for order in kinds]
        await there.asked()
        await there.flat("100")
        hours = there.market.hours(there.market.now())
        await there.market.advance_to(hours.closes_at)
        await there.heard(client)
        assert [trade.orderStatus.status for trade in placed] == ["Filled", "Cancelled", "Cancelled", "PreSubmitted"]
        assert client.codes(placed[2].order.orderId) == [202]
        # Once: the day is not closed again.
        await there.market.advance_to(hours.closes_at + timedelta(minutes=1))
        await there.heard(client)
        assert client.codes(placed[2].order.orderId) == [202]
        completed = await client.ib.reqCompletedOrdersAsync(False)
        assert {(one.order.orderId, one.order.clientId) for one in completed} == {(0, 0)}
        assert sorted(one.orderStatus.status for one in completed) == ["Cancelled", "Cancelled", "Filled"]
        assert {one.order.permId for one in completed} == {trade.order.permId for trade in placed[:3]}

    at_the_gateway(trade)


def test_a_bracket_sleeps_until_its_parent_fills_and_one_child_ends_the_other(at_the_gateway: Run) -> None:
    async def trade(there: Any) -> None:
        client = await there.connect()
        parent, target, stop = client.ib.bracketOrder("BUY", 10, 100, 103, 98, tif="DAY")
        placed = [client.place(parent), client.place(target)]
        await there.asked()
        # Nothing is transmitted before its last part.
        assert [trade.orderStatus.status for trade in placed] == ["PendingSubmit", "PendingSubmit"]
        await there.flat("99")
        assert there.gateway.book.executions() == []
        placed.append(client.place(stop))
        await there.asked()
        assert [(one.orderStatus.status, one.orderStatus.whyHeld) for one in placed] == [
            ("Submitted", ""),
            ("PreSubmitted", "child"),
            ("PreSubmitted", "child"),
        ]
        assert [one.orderStatus.parentId for one in placed] == [0, parent.orderId, parent.orderId]
        await there.flat("99.50")
        await there.heard(client)
        assert [(one.orderStatus.status, one.orderStatus.whyHeld) for one in placed] == [
            ("Filled", ""),
            ("Submitted", ""),
            ("PreSubmitted", "trigger"),
        ]
        await there.show("100", "104", "100", "104")
        await there.heard(client)
        assert [standing(one) for one in placed[1:]] == [("Filled", 10, 0), ("Cancelled", 0, 10)]
        assert client.codes(stop.orderId) == [202]
        assert client.ib.positions() == []

    at_the_gateway(trade)


def test_a_group_is_cancelled_or_reduced_by_a_fill_as_its_type_says(at_the_gateway: Run) -> None:
    async def trade(there: Any) -> None:
        await there.flat("100")
        client = await there.connect()
        placed = {}
        for kind in (1, 2):
            first = LimitOrder("SELL", 1_000, 101, tif="DAY", ocaGroup=f"group-{kind}", ocaType=kind)
            second = StopOrder("SELL", 2_000, 95, tif="DAY", ocaGroup=f"group-{kind}", ocaType=kind)
            placed[kind] = client.place(first), client.place(second)
        await there.asked()
        # 2,000 shares a bar can be taken, a tenth: the first of each group fills in part.
        await there.show("100", "102", "100", "101", volume=12_000)
        await there.heard(client)
        assert standing(placed[1][0]) == ("Filled", 1_000, 0)
        assert standing(placed[1][1]) == ("Cancelled", 0, 2_000)
        assert standing(placed[2][0]) == ("Submitted", 200, 800)
        assert standing(placed[2][1]) == ("PreSubmitted", 0, 1_800)

    at_the_gateway(trade, paper=PaperSettings(slippage_bps=Decimal(0), max_volume_fraction=Decimal("0.1")))


def test_an_order_is_changed_under_its_number_in_price_quantity_and_kind(at_the_gateway: Run) -> None:
    async def trade(there: Any) -> None:
        await there.flat("100")
        client = await there.connect()
        dearer, at_once = LimitOrder("BUY", 10, 95, tif="DAY"), LimitOrder("BUY", 10, 90, tif="DAY")
        placed = [client.place(order) for order in (dearer, at_once)]
        await there.asked()
        perm_ids = [one.order.permId for one in placed]
        dearer.lmtPrice, dearer.totalQuantity = 98, 30
        client.place(dearer)
        at_once.orderType, at_once.lmtPrice, at_once.totalQuantity = "MKT", 0, 5
        client.place(at_once)
        await there.asked()
        assert standing(placed[0]) == ("Submitted", 0, 30)
        await there.show("99", "100", "97.50", "98")
        await there.heard(client)
        assert [standing(one) for one in placed] == [("Filled", 30, 0), ("Filled", 5, 0)]
        assert [one.orderStatus.avgFillPrice for one in placed] == [98, 99]
        assert list(there.gateway.book.orders) == perm_ids

    at_the_gateway(trade)


def test_a_change_of_what_is_over_or_of_another_order_is_refused(at_the_gateway: Run) -> None:
    async def trade(there: Any) -> None:
        await there.flat("100")
        client = await there.connect()
        working = LimitOrder("BUY", 10, 95, tif="DAY")
        filled, cancelled = MarketOrder("BUY", 10, tif="DAY"), LimitOrder("BUY", 10, 95, tif="DAY")
        for order in (working, filled, cancelled):
            client.place(order)
        await there.asked()
        client.ib.cancelOrder(cancelled)
        await there.flat("100")
        await there.heard(client)
        raw = client.ib.client
        raw.placeOrder(filled.orderId, SPY, filled)
        raw.placeOrder(cancelled.orderId, SPY, cancelled)
        raw.placeOrder(working.orderId, SPY, LimitOrder("SELL", 10, 95, tif="DAY"))
        raw.placeOrder(working.orderId, SPY, LimitOrder("BUY", 10, 95.005, tif="DAY"))
        await there.heard(client)
        assert client.codes(filled.orderId) == [104]
        assert client.codes(cancelled.orderId) == [202, 103]
        assert client.codes(working.orderId) == [105, 110]
        [trade] = await client.ib.reqAllOpenOrdersAsync()
        assert (trade.order.orderId, trade.order.lmtPrice, trade.order.action) == (working.orderId, 95, "BUY")

    at_the_gateway(trade)


REFUSED = [
    ({"orderType": "REL"}, 387),
    ({"totalQuantity": 0.5}, 10243),
    ({"totalQuantity": 0}, 321),
    ({"lmtPrice": 99.995}, 110),
    ({"tif": "GTX"}, 10052),
    ({"account": "DU7"}, 321),
    ({"parentId": 77}, 135),
    ({"totalQuantity": 50_000}, 201),
    ({"tif": "OPG", "orderType": "STP", "auxPrice": 99}, 201),
    ({"action": "HOLD"}, 321),
    ({"outsideRth": False, "goodAfterTime": "20260105 10:00:00 US/Eastern"}, 321),
    ({"algoStrategy": "Adaptive"}, 321),
]


@pytest.mark.parametrize(("change", "code"), REFUSED, ids=[str(change) for change, _ in REFUSED])
def test_what_cannot_be_an_order_is_refused_in_the_codes_of_tws(
    at_the_gateway: Run, change: dict[str, Any], code: int
) -> None:
    async def trade(there: Any) -> None:
        await there.flat("100")
        client = await there.connect()
        told = {"action": "BUY", "totalQuantity": 10, "orderType": "LMT", "lmtPrice": 99, "tif": "DAY", **change}
        placed = client.place(Order(**told))
        await there.heard(client)
        assert client.codes(placed.order.orderId) == [code]
        assert await client.ib.reqAllOpenOrdersAsync() == []

    at_the_gateway(trade)


def test_a_contract_that_is_unknown_or_routed_past_smart_is_refused(at_the_gateway: Run) -> None:
    async def trade(there: Any) -> None:
        client = await there.connect()
        for number, contract in enumerate(
            (Stock("NIX", "SMART", "USD"), Stock("SPY", "ARCA", "USD"), Stock("SPY", "SMART", "EUR"))
        ):
            client.ib.client.placeOrder(50 + number, contract, MarketOrder("BUY", 1, tif="DAY"))
        await there.heard(client)
        assert [client.codes(number) for number in (50, 51, 52)] == [[200], [10311], [200]]

    at_the_gateway(trade)


def test_cancels_of_unknown_and_ended_orders_say_so(at_the_gateway: Run) -> None:
    async def trade(there: Any) -> None:
        client, other = await there.connect(1), await there.connect(2)
        order = LimitOrder("BUY", 10, 95, tif="DAY")
        placed = client.place(order)
        await there.asked()
        other.ib.client.cancelOrder(order.orderId)
        await there.heard(other)
        assert other.codes(order.orderId) == [10147]
        client.ib.cancelOrder(order)
        await there.heard(client)
        client.ib.client.cancelOrder(order.orderId)
        await there.heard(client)
        assert client.codes(order.orderId) == [202, 10148]
        assert placed.orderStatus.status == "Cancelled"

    at_the_gateway(trade)


def test_a_global_cancel_ends_the_orders_of_everybody(at_the_gateway: Run) -> None:
    async def trade(there: Any) -> None:
        client, other = await there.connect(1), await there.connect(2)
        mine = [client.place(order) for order in client.ib.bracketOrder("BUY", 10, 90, 103, 85, tif="DAY")]
        theirs = other.place(LimitOrder("BUY", 10, 95, tif="GTC"))
        await there.asked()
        client.ib.reqGlobalCancel()
        await there.asked()
        await there.asked()
        assert {one.orderStatus.status for one in (*mine, theirs)} == {"Cancelled"}

    at_the_gateway(trade)


def test_an_order_without_time_in_force_is_for_the_day_and_says_so_as_if_it_were_cancelled(at_the_gateway: Run) -> None:
    async def trade(there: Any) -> None:
        client = await there.connect()
        placed = client.place(LimitOrder("BUY", 10, 95))
        await there.heard(client)
        assert client.codes(placed.order.orderId) == [10349]
        # The library believes the error; the order works.
        assert placed.orderStatus.status == "Cancelled"
        [working] = there.gateway.book.working()
        assert there.gateway.book.standing(working).status == "Submitted"

    at_the_gateway(trade)


def test_an_order_before_the_open_waits_with_a_warning(at_the_gateway: Run) -> None:
    async def trade(there: Any) -> None:
        client = await there.connect()
        placed = [
            client.place(LimitOrder("BUY", 10, 95, tif="DAY")),
            client.place(Order(action="BUY", totalQuantity=5, orderType="MKT", tif="OPG")),
        ]
        await there.heard(client)
        assert [one.orderStatus.status for one in placed] == ["PreSubmitted", "PreSubmitted"]
        assert client.codes(placed[0].order.orderId) == [399]
        assert "2026-01-05 09:30:00 US/Eastern" in next(text for _, code, text in client.errors if code == 399)
        await there.flat("100")
        await there.heard(client)
        assert [one.orderStatus.status for one in placed] == ["Submitted", "Filled"]

    at_the_gateway(trade, starts_at=datetime(2026, 1, 5, 14, 20, tzinfo=UTC))


def test_a_question_what_an_order_would_change_is_answered_and_leaves_nothing(at_the_gateway: Run) -> None:
    async def trade(there: Any) -> None:
        await there.flat("100")
        client = await there.connect()
        state = await client.ib.whatIfOrderAsync(SPY, MarketOrder("BUY", 1_000, tif="DAY"))
        # A quarter of 100,000 is tied up; half a cent a share.
        assert (state.initMarginChange, state.initMarginAfter, state.commission) == ("25000", "25000", 5.0)
        assert state.equityWithLoanBefore.startswith("1000000")
        assert there.gateway.book.orders == {}

    at_the_gateway(trade)


def test_a_sale_realizes_what_its_commission_report_says(at_the_gateway: Run) -> None:
    async def trade(there: Any) -> None:
        client = await there.connect()
        client.place(MarketOrder("BUY", 100, tif="DAY"))
        await there.asked()
        await there.flat("100")
        sale = client.place(MarketOrder("SELL", 150, tif="DAY"))
        await there.asked()
        await there.flat("101")
        await there.heard(client)
        # Bought for 10,001 with commission; 100 of 150 shares close at 101 less two thirds of the one dollar.
        report = sale.fills[0].commissionReport
        assert report.realizedPNL == pytest.approx(10_100 - 0.666667 - 10_001)
        [position] = client.ib.positions()
        # Sold short at 101 less a third of the commission.
        assert (position.position, position.avgCost) == (-50, pytest.approx(101 - 0.333333 / 50, abs=1e-6))

    at_the_gateway(trade)


def test_an_order_held_back_is_changed_transmitted_or_cancelled(at_the_gateway: Run) -> None:
    async def trade(there: Any) -> None:
        client = await there.connect()
        held = LimitOrder("BUY", 10, 90, tif="DAY", transmit=False)
        sent = LimitOrder("BUY", 20, 91, tif="DAY", transmit=False)
        placed = [client.place(held), client.place(sent)]
        await there.asked()
        sent.lmtPrice, sent.transmit = 92, True
        client.place(sent)
        client.ib.client.cancelOrder(held.orderId)
        await there.asked()
        assert [one.orderStatus.status for one in placed] == ["Cancelled", "Submitted"]
        assert client.codes(held.orderId) == [202]
        await there.show("95", "95", "89", "90")
        await there.heard(client)
        assert [standing(one) for one in placed] == [("Cancelled", 0, 10), ("Filled", 20, 0)]
        assert placed[1].orderStatus.avgFillPrice == 92

    at_the_gateway(trade)


def test_a_quantity_of_what_has_filled_ends_an_order_as_filled(at_the_gateway: Run) -> None:
    async def trade(there: Any) -> None:
        await there.flat("100")
        client = await there.connect()
        order = LimitOrder("BUY", 1_000, 100, tif="DAY")
        placed = client.place(order)
        await there.asked()
        await there.show("100", "100", "100", "100", volume=4_000)
        await there.heard(client)
        assert standing(placed) == ("Submitted", 400, 600)
        order.totalQuantity = 300
        client.place(order)
        await there.heard(client)
        assert standing(placed) == ("Filled", 400, 0)
        assert sum(fill.commissionReport.commission for fill in placed.fills) == pytest.approx(2.0)

    at_the_gateway(trade, paper=PaperSettings(slippage_bps=Decimal(0), max_volume_fraction=Decimal("0.1")))


def test_a_trailing_stop_may_say_where_it_stands(at_the_gateway: Run) -> None:
    async def trade(there: Any) -> None:
        client = await there.connect()
        kind = {"action": "SELL", "totalQuantity": 10, "orderType": "TRAIL", "tif": "DAY"}
        blind = client.place(Order(**kind, auxPrice=2))
        placed = [
            client.place(Order(**kind, auxPrice=2, trailStopPrice=97)),
            client.place(Order(**kind, trailingPercent=2, trailStopPrice=98)),
        ]
        await there.asked()
        # There has been no price that it could follow.
        assert client.codes(blind.order.orderId) == [201]
        # Two below 99, which rises to 99.50; two percent below 100, which stays.
        await there.show("98.50", "99.50", "98.50", "99.50")
        await there.show("99", "99", "97.60", "98")
        await there.heard(client)
        assert [standing(one)[0] for one in placed] == ["PreSubmitted", "Filled"]
        await there.show("98", "98", "97", "97.20")
        await there.heard(client)
        assert [one.orderStatus.avgFillPrice for one in placed] == [97.5, 98]

    at_the_gateway(trade)


def test_an_order_that_the_close_has_passed_waits_for_another_day(at_the_gateway: Run) -> None:
    async def trade(there: Any) -> None:
        client = await there.connect()
        hours = there.market.hours(there.market.now())
        await there.market.advance_to(hours.closes_at)
        placed = client.place(LimitOrder("BUY", 10, 95, tif="DAY"))
        await there.heard(client)
        assert (placed.orderStatus.status, client.codes(placed.order.orderId)) == ("PreSubmitted", [399])

    at_the_gateway(trade)
