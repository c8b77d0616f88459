"""Every fault is made to happen, and seen from outside: what the client reads, and what the gateway's book says instead."""

import asyncio
import socket
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from ib_insync import LimitOrder, MarketOrder, Order, Trade

from trading.errors import ConfigurationError
from trading.rehearsal_gateway.data_faults import DataFaults
from trading.rehearsal_gateway.fault_actions import ON_ORDERS
from trading.rehearsal_gateway.faults import FAULTS, fault_of, faults_in
from trading.rehearsal_gateway.market_port import DeliveredBar

Run = Callable[..., None]
BUY = {"action": "BUY", "totalQuantity": 10, "tif": "DAY"}


def book(there: Any) -> list[tuple[str, str, int]]:
    """Reference, status and shares filled of every order that the gateway has."""
    orders = there.gateway.book.orders.values()
    standings = [(one.ticket.order_ref, there.gateway.book.standing(one)) for one in orders]
    return [(ref, str(standing.status), standing.filled) for ref, standing in standings]


def market(ref: str) -> Order:
    return MarketOrder("BUY", 10, tif="DAY", orderRef=ref)


async def gone(there: Any, client: Any) -> None:
    await there.until(lambda: not client.ib.isConnected())


@pytest.mark.parametrize(
    ("action", "left"),
    [
        ("drop_before_order", []),
        ("drop_after_order", [("one", "PreSubmitted", 0)]),
        ("drop", [("one", "PreSubmitted", 0)]),
    ],
)
def test_the_connection_is_lost_around_an_order(at_the_gateway: Run, action: str, left: list[Any]) -> None:
    async def trade(there: Any) -> None:
        there.fault(action)
        client = await there.connect()
        client.place(market("one"))
        await gone(there, client)
        assert book(there) == left
        assert there.fired() == [action]
        again = await there.connect()
        again.place(market("two"))
        await there.heard(again)
        assert book(there)[-1] == ("two", "PreSubmitted", 0)

    at_the_gateway(trade)


def test_the_connection_is_lost_around_a_cancel(at_the_gateway: Run) -> None:
    async def trade(there: Any) -> None:
        for action, left in (("drop_before_order", "Submitted"), ("drop_after_order", "Cancelled")):
            there.fault(action, on="cancel")
            client = await there.connect()
            placed = client.place(LimitOrder("BUY", 10, 90, tif="GTC", orderRef=action))
            await there.heard(client)
            client.ib.cancelOrder(placed.order)
            await gone(there, client)
            assert book(there)[-1] == (action, left, 0)

    at_the_gateway(trade)


def test_the_connection_is_lost_when_an_order_has_filled_and_before_it_is_told(at_the_gateway: Run) -> None:
    async def trade(there: Any) -> None:
        there.fault("drop_after_fill", nth=2)
        client = await there.connect()
        for ref in ("one", "two"):
            placed = client.place(market(ref))
            await there.asked()
            await there.flat("100")
        await gone(there, client)
        assert placed.fills == []
        assert book(there)[1] == ("two", "Filled", 10)
        again = await there.connect()
        assert [fill.execution.orderRef for fill in again.ib.fills()] == ["one", "two"]

    at_the_gateway(trade)


def test_the_connection_is_lost_in_the_middle_of_a_bracket(at_the_gateway: Run) -> None:
    async def trade(there: Any) -> None:
        there.fault("drop_mid_bracket", legs=2)
        client = await there.connect()
        client.place(market("not of a bracket"))
        for order in client.ib.bracketOrder("BUY", 10, 100, 103, 98, tif="DAY"):
            client.place(order)
        await gone(there, client)
        # Two parts came and wait for their third, which was lost with the line.
        assert [status for _, status, _ in book(there)] == ["PreSubmitted", "PendingSubmit", "PendingSubmit"]
        await there.flat("99")
        assert [filled for _, _, filled in book(there)] == [10, 0, 0]

    at_the_gateway(trade)


def test_answers_come_late_and_in_their_order_while_questions_are_answered(at_the_gateway: Run) -> None:
    async def trade(there: Any) -> None:
        there.fault("delay_answers", seconds=3600)
        client = await there.connect()
        placed = client.place(LimitOrder("BUY", 10, 90, tif="DAY", orderRef="late"))
        await there.heard(client)
        assert placed.orderStatus.status == "PendingSubmit"
        await client.ib.reqOpenOrdersAsync()
        assert placed.orderStatus.status == "Submitted"
        client.ib.disconnect()

        there.fault("delay_answers", seconds=0.05)
        client = await there.connect(2)
        statuses: list[str] = []
        placed = client.place(LimitOrder("BUY", 10, 90, tif="DAY", orderRef="late"))
        placed.statusEvent += lambda trade: statuses.append(trade.orderStatus.status)
        client.ib.client.cancelOrder(placed.order.orderId)
        await there.until(lambda: statuses[-1:] == ["Cancelled"])
        assert statuses == ["Submitted", "Cancelled"]

    at_the_gateway(trade)


def test_silence_loses_answers_and_takes_orders(at_the_gateway: Run) -> None:
    async def trade(there: Any) -> None:
        there.fault("silence", seconds=3600)
        client = await there.connect()
        placed = client.place(market("unheard"))
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(client.ib.reqCurrentTimeAsync(), 0.1)
        assert placed.orderStatus.status == "PendingSubmit"
        assert book(there) == [("unheard", "PreSubmitted", 0)]
        client.ib.disconnect()

        there.fault("silence", seconds=0.05, on="reqIds")
        raw = await there.connect_raw(client_id=2)
        await raw.until(9)
        await raw.send(8, 1, 1)
        await there.until(lambda: there.fired() == ["silence", "silence"])
        await asyncio.sleep(0.1)
        await raw.send(49, 1)
        # The answer about numbers was lost, the next one is told.
        assert [message[0] for message in await raw.until(49)][-1:] == ["49"]

    at_the_gateway(trade)


@pytest.mark.parametrize(
    ("action", "ask"),
    [
        ("executions_never_end", "reqExecutionsAsync"),
        ("positions_never_end", "reqPositionsAsync"),
        ("open_orders_never_end", "reqOpenOrdersAsync"),
    ],
)
def test_a_list_never_ends(at_the_gateway: Run, action: str, ask: str) -> None:
    async def trade(there: Any) -> None:
        client = await there.connect()
        there.fault(action)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(getattr(client.ib, ask)(), 0.2)
        assert await asyncio.wait_for(getattr(client.ib, ask)(), 30) == []

    at_the_gateway(trade)


def test_an_execution_is_told_twice_and_counts_once(at_the_gateway: Run) -> None:
    async def trade(there: Any) -> None:
        there.fault("duplicate_execution")
        raw = await there.connect_raw()
        await raw.until(9)
        client = await there.connect(2)
        placed = client.place(market("twice"))
        await there.asked()
        heard: list[str] = []
        client.ib.commissionReportEvent += lambda _trade, fill, _report: heard.append(fill.execution.execId)
        await there.flat("100")
        await there.heard(client)
        [fill] = placed.fills
        assert heard == [fill.execution.execId] * 2
        assert len(there.gateway.book.executions()) == 1

    at_the_gateway(trade)


def test_an_execution_is_corrected_under_the_next_number(at_the_gateway: Run) -> None:
    async def trade(there: Any) -> None:
        there.fault("correct_execution", price_by="0.50", quantity=8)
        client = await there.connect()
        placed = client.place(market("corrected"))
        await there.asked()
        await there.flat("100")
        await there.until(lambda: len(placed.fills) == 2)
        first, second = (fill.execution for fill in placed.fills)
        assert (first.execId[:-2], first.execId[-2:], second.execId[-2:]) == (second.execId[:-2], "01", "02")
        assert (second.price, second.shares, second.permId) == (100.5, 8, first.permId)
        account = there.gateway.book.accounts["DU1234567"]
        # 8 shares at 100.50 and a dollar of commission.
        assert account.paper.cash == Decimal(1_000_000) - 804 - 1
        assert [position.quantity for position in account.paper.positions()] == [8]
        pages = await there.command("book")
        assert [(one["quantity"], one["is_replaced"]) for one in pages["executions"]] == [(8, False), (10, True)]
        await there.until(lambda: [position.position for position in client.ib.positions()] == [8])

    at_the_gateway(trade)


def test_an_execution_comes_long_after_its_order_was_told_as_filled(at_the_gateway: Run) -> None:
    async def trade(there: Any) -> None:
        there.fault("late_execution", seconds=3600)
        there.fault("late_execution", seconds=0.05, nth=2)
        client = await there.connect()
        placed = client.place(market("unknown"))
        await there.asked()
        await there.flat("100")
        await there.heard(client)
        assert (placed.orderStatus.status, placed.fills) == ("Filled", [])
        assert await client.ib.reqExecutionsAsync() == []
        placed = client.place(market("late"))
        told: list[str] = []
        placed.filledEvent += lambda _: told.append("filled")
        placed.fillEvent += lambda _trade, _fill: told.append("execution")
        placed.commissionReportEvent += lambda _trade, _fill, _report: told.append("commission")
        await there.asked()
        await there.flat("100")
        await there.until(lambda: "commission" in told)
        assert told == ["filled", "execution", "commission"]

    at_the_gateway(trade)


def test_an_execution_and_a_commission_are_known_only_to_who_asks(at_the_gateway: Run) -> None:
    async def trade(there: Any) -> None:
        there.fault("late_execution", seconds=-1)
        there.fault("late_commission", seconds=-1, nth=2)
        client = await there.connect()
        placed = [client.place(market("one"))]
        await there.asked()
        await there.flat("100")
        placed.append(client.place(market("two")))
        await there.asked()
        await there.flat("100")
        await there.heard(client)
        assert [len(trade.fills) for trade in placed] == [0, 1]
        assert placed[1].fills[0].commissionReport.commission == 0.0
        await client.ib.reqExecutionsAsync()
        assert [fill.commissionReport.commission for fill in client.ib.fills()] == [1.0, 1.0]

    at_the_gateway(trade)


def test_a_commission_comes_later_than_its_execution(at_the_gateway: Run) -> None:
    async def trade(there: Any) -> None:
        there.fault("late_commission", seconds=3600)
        there.fault("late_commission", seconds=0.05, nth=2)
        client = await there.connect()
        unbilled = client.place(market("one"))
        await there.asked()
        await there.flat("100")
        await there.heard(client)
        await client.ib.reqExecutionsAsync()
        assert [fill.commissionReport.commission for fill in unbilled.fills] == [0.0]
        placed = client.place(market("two"))
        await there.asked()
        await there.flat("100")
        await there.until(lambda: placed.fills and placed.fills[0].commissionReport.commission == 1.0)

    at_the_gateway(trade)


@pytest.mark.parametrize(
    ("action", "told", "codes", "status", "filled"),
    [
        ("reject", {"code": 201, "text": "Order rejected - reason:No"}, [201], "Inactive", 0),
        ("inactive", {}, [], "Inactive", 0),
        ("inactive", {"code": 201}, [201], "Inactive", 0),
        ("lie_cancelled_10349", {}, [10349], "Filled", 10),
        ("warn_399", {}, [399], "Filled", 10),
    ],
)
def test_an_order_is_answered_badly(
    at_the_gateway: Run, action: str, told: dict[str, Any], codes: list[int], status: str, filled: int
) -> None:
    async def trade(there: Any) -> None:
        there.fault(action, **told)
        client = await there.connect()
        placed = client.place(market("bad"))
        await there.heard(client)
        assert client.codes(placed.order.orderId) == codes
        if action == "lie_cancelled_10349":
            assert placed.orderStatus.status == "Cancelled"
        await there.flat("100")
        await there.heard(client)
        assert book(there) == [("bad", status, filled)]
        if action == "inactive":
            client.ib.client.cancelOrder(placed.order.orderId)
            await there.heard(client)
            assert book(there) == [("bad", "Cancelled", 0)]

    at_the_gateway(trade)


def test_error_110_is_all_that_is_said(at_the_gateway: Run) -> None:
    async def trade(there: Any) -> None:
        there.fault("error_110", symbol="SPY")
        client = await there.connect()
        placed: list[Trade] = [client.place(market("other"), "QQQ"), client.place(market("silent"))]
        await there.heard(client)
        assert client.codes(placed[1].order.orderId) == [110]
        assert placed[1].orderStatus.status == "PendingSubmit"
        assert book(there) == [("other", "PreSubmitted", 0)]

    at_the_gateway(trade)


def test_a_failed_change_is_told_as_a_cancel_while_the_order_works(at_the_gateway: Run) -> None:
    async def trade(there: Any) -> None:
        there.fault("failed_modify")
        client = await there.connect()
        order = LimitOrder("BUY", 10, 90, tif="DAY", orderRef="as it was")
        placed = client.place(order)
        await there.asked()
        order.lmtPrice = 95
        client.place(order)
        await there.heard(client)
        assert placed.orderStatus.status == "Cancelled"
        await there.show("100", "100", "93", "94")
        assert book(there) == [("as it was", "Submitted", 0)]
        await there.show("94", "94", "89", "90")
        assert book(there) == [("as it was", "Filled", 10)]

    at_the_gateway(trade)


def test_a_part_fills_and_the_exchange_cancels_the_rest(at_the_gateway: Run) -> None:
    async def trade(there: Any) -> None:
        there.fault("partial_then_cancel", quantity=3)
        client = await there.connect()
        placed = client.place(market("part"))
        await there.asked()
        await there.flat("100")
        await there.heard(client)
        told = placed.orderStatus
        assert (told.status, told.filled, told.remaining) == ("Cancelled", 3, 7)
        assert client.codes(placed.order.orderId) == [202]
        assert [fill.execution.shares for fill in placed.fills] == [3]

    at_the_gateway(trade)


def test_a_restart_cuts_everybody_and_orders_work_on(at_the_gateway: Run) -> None:
    async def trade(there: Any) -> None:
        client, other = await there.connect(1), await there.connect(2)
        done, waits = market("done"), LimitOrder("BUY", 10, 90, tif="DAY", orderRef="waits")
        client.place(done)
        await there.asked()
        await there.flat("100")
        client.place(waits)
        client.place(LimitOrder("BUY", 10, 80, tif="DAY", orderRef="never sent", transmit=False))
        await there.asked()
        port = there.gateway.port
        there.fault("restart", seconds=0.2, ids_rolled_back=True)
        client.place(market("within the second"))
        await gone(there, client)
        await gone(there, other)
        await there.until(lambda: not there.gateway.is_open)
        # Without giving the gateway time to go on.
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port))
        await there.flat("99")
        await there.until(lambda: there.gateway.is_open)
        assert there.gateway.port == port
        # Three orders had numbers up to 6; they start again, and what works keeps its own.
        raw = await there.connect_raw(client_id=1)
        assert (await raw.until(9))[-1][2] == "1"
        raw.writer.close()
        await there.until(lambda: 1 not in there.gateway.clients)
        again = await there.connect(1)
        assert [trade.order.orderRef for trade in again.ib.openTrades()] == ["waits"]
        assert book(there)[2:] == [("never sent", "Cancelled", 0), ("within the second", "Filled", 10)]
        # A number that comes back is another order.
        again.ib.client.placeOrder(done.orderId, again.ib.fills()[0].contract, market("reborn"))
        await there.heard(again)
        assert book(there)[-1] == ("reborn", "PreSubmitted", 0)
        assert book(there)[0] == ("done", "Filled", 10)

    at_the_gateway(trade)


def test_hands_in_tws_move_positions_and_make_orders(at_the_gateway: Run) -> None:
    async def trade(there: Any) -> None:
        client = await there.connect()
        there.fault("position_by_hand", at="09:31:00", symbol="SPY", quantity=-40)
        there.fault("external_order", at="09:31:00", symbol="SPY", side="BUY", quantity=15)
        await there.flat("100")
        await there.flat("101")
        await there.heard(client)
        assert [position.position for position in client.ib.positions()] == [-25]
        assert there.fired() == ["position_by_hand", "external_order"]
        assert client.ib.fills() == []
        assert {fill.execution.orderRef for fill in await client.ib.reqExecutionsAsync()} == {""}

    at_the_gateway(trade)


def test_a_notice_goes_to_everybody(at_the_gateway: Run) -> None:
    async def trade(there: Any) -> None:
        clients = [await there.connect(number) for number in (1, 2)]
        there.fault("broadcast", at="09:31:00", code=1100)
        await there.flat("100")
        assert (await there.command("fault", action="broadcast", code=2105, text="HMDS is away"))["ok"]
        for client in clients:
            await there.heard(client)
            assert [code for _, code, _ in client.errors][-2:] == [1100, 2105]
            assert client.errors[-1][2] == "HMDS is away"

    at_the_gateway(trade)


def test_a_client_id_is_held_for_some_connects_or_some_time(at_the_gateway: Run) -> None:
    async def refused(there: Any, client_id: int) -> bool:
        raw = await there.connect_raw(client_id=client_id)
        first = await raw.next()
        raw.writer.close()
        return first[:4] == ["4", "2", "-1", "326"]

    async def trade(there: Any) -> None:
        there.fault("client_id_held", times=2)
        assert [await refused(there, 1) for _ in range(3)] == [True, True, False]
        await there.until(lambda: not there.gateway.clients)
        there.fault("client_id_held", seconds=0.2)
        assert await refused(there, 3)
        while await refused(there, 3):
            await asyncio.sleep(0.02)
        assert there.fired() == ["client_id_held"] * 3

    at_the_gateway(trade)


def test_a_second_factor_that_nobody_gives_leaves_the_client_waiting(at_the_gateway: Run) -> None:
    async def trade(there: Any) -> None:
        there.fault("two_factor")
        raw = await there.connect_raw(client_id=1)
        await raw.send(49, 1)
        # Nothing was said before the refusal of what came too early.
        assert (await raw.next())[:4] == ["4", "2", "-1", "321"]
        assert (await there.connect(1)).ib.isConnected()

    at_the_gateway(trade)


def bar(minute: int, price: float = 100.0) -> DeliveredBar:
    at = datetime(2026, 1, 5, 14, 30, tzinfo=UTC) + timedelta(minutes=minute)
    return DeliveredBar("SPY", at, price, price, price, price, 100.0, price, 1)


@pytest.mark.parametrize(
    ("action", "told", "delivered"),
    [
        ("data_stop", {"bars": 2}, [0, 3, 4]),
        ("data_stop", {}, [0]),
        ("data_stale", {"bars": 2}, [0, 0, 0, 3, 4]),
        ("data_duplicate", {}, [0, 1, 1, 2, 3, 4]),
        ("data_out_of_order", {}, [0, 2, 1, 3, 4]),
        ("data_stop", {"symbol": "QQQ"}, [0, 1, 2, 3, 4]),
    ],
)
def test_live_bars_go_wrong_and_right_again(action: str, told: dict[str, Any], delivered: list[int]) -> None:
    faults = DataFaults()
    came = list(faults.delivered(bar(0)))
    faults.begin(fault_of({"action": action, **told}, is_now=True))
    for minute in range(1, 5):
        came += faults.delivered(bar(minute))
    assert came == [bar(minute) for minute in delivered]


@pytest.mark.parametrize("price", ["nan", "-1", "0"])
def test_live_bars_are_nonsense_in_their_prices_alone(price: str) -> None:
    faults = DataFaults()
    faults.begin(fault_of({"action": "data_nan", "price": price}, is_now=True))
    [spoilt] = faults.delivered(bar(1))
    assert str(spoilt.close) == str(float(price))
    assert replace(spoilt, open=0, high=0, low=0, close=0) == replace(bar(1), open=0, high=0, low=0, close=0)
    assert faults.delivered(bar(2)) == [bar(2)]


def test_a_stream_is_spoilt_by_itself() -> None:
    faults = DataFaults()
    faults.begin(fault_of({"action": "data_stop", "bars": 1}, is_now=True))
    assert faults.delivered(bar(1), "kept") == []
    assert faults.delivered(bar(1)) == []
    assert faults.delivered(bar(2), "kept") == [bar(2)]


def test_a_script_is_read_and_its_mistakes_are_named(tmp_path: Path) -> None:
    script = tmp_path / "faults.toml"
    script.write_text(
        '[[fault]]\naction = "restart"\nat = "10:15:00"\nseconds = 2\n[[fault]]\naction = "reject"\nnth = 3\nsymbol = "SPY"\n'
    )
    restart, reject = faults_in(script)
    assert (restart.seconds(), str(restart.at), restart.on) == (2.0, "10:15:00", None)
    assert (reject.on, reject.nth, reject["code"], reject.symbol) == ("order", 3, 201, "SPY")
    for text, words in (
        ('[[fault]]\naction = "explode"', "There is no fault 'explode'"),
        ('[[fault]]\naction = "reject"\nseconds = 3', "Fault reject has no seconds"),
        ('[[fault]]\naction = "reject"\non = "fill"', "Fault reject cannot wait for 'fill'"),
        ('[[fault]]\naction = "broadcast"', "needs a time"),
        ('[[fault]]\naction = "drop"\nat = "noon"', "no time of day"),
        ('[[fault]]\naction = "silence"\nseconds = "long"', "seconds is 'long' and has to be a number"),
        ('[[fault]]\naction = "data_stop"\nat = "10:00"\nbars = true', "has to be a whole number"),
        ('[[fault]]\naction = "correct_execution"\nprice_by = "some"', "has to be an amount"),
        ('[[fault]]\naction = "restart"\nids_rolled_back = 1', "has to be true or false"),
        ('[[fault]]\naction = "drop"\nnth = 0', "has to be a whole number from 1 on"),
        ('fault = "drop"', "something else than"),
        ("action", "are no TOML"),
    ):
        script.write_text(text)
        with pytest.raises(ConfigurationError, match=words):
            faults_in(script)
    with pytest.raises(ConfigurationError, match="could not be read"):
        faults_in(tmp_path / "nowhere.toml")


def test_a_script_is_played_by_the_gateway(at_the_gateway: Run, tmp_path: Path) -> None:
    script = tmp_path / "faults.toml"
    script.write_text('[[fault]]\naction = "reject"\nnth = 2\n')

    async def trade(there: Any) -> None:
        client = await there.connect()
        for ref in ("one", "two", "three"):
            client.place(market(ref))
        await there.heard(client)
        assert [status for _, status, _ in book(there)] == ["PreSubmitted", "Inactive", "PreSubmitted"]
        pages = await there.command("book")
        assert [(one["action"], one["at"]) for one in pages["faults_fired"]] == [
            ("reject", "2026-01-05T14:30:00+00:00")
        ]
        assert (pages["faults_waiting"], pages["messages_received"]["placeOrder"]) == ([], 3)

    at_the_gateway(trade, faults=script)


def test_every_fault_is_done_by_somebody() -> None:
    """What is no part of an answer can be done at once: no name is left over."""
    elsewhere = {"restart", "position_by_hand", "external_order", "broadcast", "drop", "delay_answers", "silence"}
    data = {name for name in FAULTS if name.startswith("data_")}
    assert set(FAULTS) == ON_ORDERS | elsewhere | data


def test_an_order_is_lost_in_the_restart_that_follows_it(at_the_gateway: Run) -> None:
    async def trade(there: Any) -> None:
        there.fault("drop_before_order")
        there.fault("restart", seconds=0.01)
        client = await there.connect()
        client.place(market("lost"))
        await there.until(lambda: not client.ib.isConnected() and there.gateway.is_open)
        assert (await there.connect()).ib.isConnected()
        assert (book(there), there.fired()) == ([], ["drop_before_order", "restart"])

    at_the_gateway(trade)


def test_a_bracket_whose_parent_is_refused_has_no_children(at_the_gateway: Run) -> None:
    async def trade(there: Any) -> None:
        there.fault("reject")
        client = await there.connect()
        placed = [client.place(order) for order in client.ib.bracketOrder("BUY", 10, 100, 103, 98, tif="DAY")]
        await there.heard(client)
        assert [client.codes(trade.order.orderId) for trade in placed] == [[201], [201], [201]]
        assert [status for _, status, _ in book(there)] == ["Inactive"] * 3
        await there.flat("99")
        assert there.gateway.book.executions() == []

    at_the_gateway(trade)


def test_a_part_of_a_child_is_no_more_than_its_parent_has_filled(at_the_gateway: Run) -> None:
    async def trade(there: Any) -> None:
        there.fault("partial_then_cancel", nth=2, quantity=4)
        client = await there.connect()
        placed = [client.place(order) for order in client.ib.bracketOrder("BUY", 10, 100, 103, 98, tif="DAY")]
        await there.asked()
        await there.show("99", "104", "99", "104")  # the child sleeps in its parent's bar
        await there.flat("104")
        await there.heard(client)
        assert [(one.orderStatus.status, one.orderStatus.filled) for one in placed] == [
            ("Filled", 10),
            ("Cancelled", 4),
            ("PreSubmitted", 0),
        ]
        # What protects is for what is left.
        assert placed[2].orderStatus.remaining == 6

    at_the_gateway(trade)


def test_a_script_that_names_what_is_not_played_starts_no_gateway(at_the_gateway: Run, tmp_path: Path) -> None:
    script = tmp_path / "faults.toml"
    script.write_text('[[fault]]\naction = "reject"\nsymbol = "NIX"\n')

    async def nothing(_there: Any) -> None:
        raise AssertionError("started")

    with pytest.raises(ConfigurationError, match="There is no symbol 'NIX' here"):
        at_the_gateway(nothing, faults=script)


def test_a_fault_that_cannot_happen_at_its_time_stops_nobody(at_the_gateway: Run) -> None:
    async def trade(there: Any) -> None:
        client = await there.connect()
        there.fault("position_by_hand", at="09:31:00", symbol="QQQ", quantity=5)
        await there.flat("100")  # QQQ has no price yet
        await there.flat("100")
        await there.heard(client)
        assert there.fired() == []

    at_the_gateway(trade)


def test_what_lies_before_the_start_does_not_happen_again(at_the_gateway: Run, tmp_path: Path) -> None:
    script = tmp_path / "faults.toml"
    script.write_text('[[fault]]\naction = "drop"\nat = "09:29:59"\n[[fault]]\naction = "broadcast"\nat = "09:31:00"\n')

    async def trade(there: Any) -> None:
        client = await there.connect()
        await there.flat("100")
        await there.heard(client)
        assert there.fired() == ["broadcast"]

    at_the_gateway(trade, faults=script)


def test_two_restarts_at_once_are_one_after_the_other(at_the_gateway: Run) -> None:
    async def trade(there: Any) -> None:
        await asyncio.gather(there.gateway.restart(0.01, False), there.gateway.restart(0.01, True))
        assert (await there.connect()).ib.isConnected()

    at_the_gateway(trade)


def test_a_gateway_stops_while_it_restarts_and_while_news_waits(at_the_gateway: Run, tmp_path: Path) -> None:
    async def trade(there: Any) -> None:
        there.fault("correct_execution", seconds=0.05)
        client = await there.connect()
        client.place(market("one"))
        await there.asked()
        await there.flat("100")
        assert (await there.command("fault", action="restart", seconds=3600))["ok"]
        await there.until(lambda: not there.gateway.is_open)
        await there.gateway.stop()
        await asyncio.sleep(0.1)

    at_the_gateway(trade, state=tmp_path / "gateway.sqlite")
