"""Clients that trade without sense, over a bad line: what they believe in the end is what the gateway's book says."""

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from ib_insync import LimitOrder, MarketOrder, Order, StopOrder

Run = Callable[..., None]
KINDS = ("MKT", "LMT", "STP", "TRAIL", "bracket", "change", "cancel")
FAULTS = (
    "drop_before_order",
    "drop_after_order",
    "drop_after_fill",
    "duplicate_execution",
    "late_commission",
    "reject",
    "drop",
)


@pytest.mark.parametrize("seed", range(4))
def test_a_client_that_asks_again_knows_what_the_book_knows(at_the_gateway: Run, seed: int) -> None:
    dice = random.Random(seed)

    async def trade(there: Any) -> None:
        price = Decimal(100)
        client = await there.connect()
        for action in dice.sample(FAULTS, 4):
            there.fault(action, nth=dice.randint(1, 12), **({"seconds": 0.01} if action == "late_commission" else {}))
        for _ in range(30):
            if not client.ib.isConnected():
                client = await there.connect()
            for _ in range(dice.randint(0, 3)):
                if client.ib.isConnected():
                    act(client, dice, float(price))
            await there.asked_as_far_as_possible()
            low, high = price - dice.randint(0, 200) * Decimal("0.01"), price + dice.randint(0, 200) * Decimal("0.01")
            close = low + (high - low) * dice.randint(0, 10) / 10
            close = close.quantize(Decimal("0.01"))
            await there.show(str(price), str(high), str(low), str(close), volume=dice.choice([0, 500, 100_000]))
            price = close
        if client.ib.isConnected():
            client.ib.disconnect()
            await there.until(lambda: not there.gateway.clients)
        last = await there.connect()
        check(there, last, {one.order.permId for one in await last.ib.reqAllOpenOrdersAsync()})

    def act(client: Any, dice: random.Random, price: float) -> None:
        kind, side, size = dice.choice(KINDS), dice.choice(["BUY", "SELL"]), dice.randint(1, 50)
        near = round(price + dice.randint(-100, 100) / 100, 2)
        working = [trade for trade in client.ib.openTrades() if trade.orderStatus.status != "PendingSubmit"]
        match kind:
            case "MKT":
                client.place(MarketOrder(side, size, tif="DAY"))
            case "LMT":
                client.place(LimitOrder(side, size, near, tif=dice.choice(["DAY", "GTC", "IOC", "FOK"])))
            case "STP":
                client.place(
                    StopOrder(
                        side, size, near, tif="GTC", ocaGroup=dice.choice(["", "a", "b"]), ocaType=dice.choice([1, 2])
                    )
                )
            case "TRAIL":
                client.place(Order(action=side, totalQuantity=size, orderType="TRAIL", auxPrice=0.5, tif="DAY"))
            case "bracket":
                for order in client.ib.bracketOrder(side, size, near, near + 1, near - 1, tif="GTC"):
                    client.place(order)
            case "change" if working:
                trade = dice.choice(working)
                trade.order.totalQuantity = dice.randint(1, 60)
                client.ib.client.placeOrder(trade.order.orderId, trade.contract, trade.order)
            case "cancel" if working:
                client.ib.client.cancelOrder(dice.choice(working).order.orderId)

    def check(there: Any, client: Any, open_orders: set[int]) -> None:
        account = there.gateway.book.accounts["DU1234567"]
        executions = there.gateway.book.executions()
        # Every execution is told once, with its commission.
        told = {fill.execution.execId: fill for fill in client.ib.fills()}
        assert set(told) == {one.exec_id for one in executions}
        assert sum(Decimal(str(fill.commissionReport.commission)) for fill in told.values()) == sum(
            one.commission for one in executions
        )
        # Cash is what the executions left of it, positions what they add up to.
        moved = sum(one.side.sign * one.quantity * one.price + one.commission for one in executions)
        assert account.paper.cash == Decimal(1_000_000) - moved
        held: Counter[str] = Counter()
        filled: Counter[int] = Counter()
        for one in executions:
            held[one.symbol] += one.side.sign * one.quantity
            filled[one.identity.perm_id] += one.quantity
        assert {one.contract.symbol: one.position for one in client.ib.positions()} == {
            symbol: quantity for symbol, quantity in held.items() if quantity
        }
        # No order trades more than it is for, and its status says what it traded.
        for order in there.gateway.book.orders.values():
            standing = there.gateway.book.standing(order)
            assert filled[order.identity.perm_id] == standing.filled <= standing.quantity
            assert (order.ended_at is not None) == (standing.status in ("Filled", "Cancelled", "Inactive"))
        # Open orders are those that work.
        assert open_orders == {order.identity.perm_id for order in there.gateway.book.working()}

    at_the_gateway(trade)


def test_two_clients_do_not_disturb_each_other(at_the_gateway: Run) -> None:
    async def trade(there: Any) -> None:
        await there.flat("100")
        clients = [await there.connect(number) for number in (1, 2)]
        placed = [
            [clients[one].place(LimitOrder("BUY", 1, 90 + number / 100, tif="DAY")) for number in range(20)]
            for one in range(2)
        ]
        # Numbers that both have used are the first one's: the other is told so.
        await there.asked()
        codes = [[clients[one].codes(trade.order.orderId) for trade in placed[one]] for one in range(2)]
        taken = sum(not code for each in codes for code in each)
        assert taken == len(list(there.gateway.book.working()))
        assert {tuple(code) for each in codes for code in each} <= {(), (103,)}
        await asyncio.gather(*(client.ib.reqOpenOrdersAsync() for client in clients))

    at_the_gateway(trade)
