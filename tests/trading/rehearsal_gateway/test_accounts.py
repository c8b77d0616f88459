"""What a client reads of accounts and positions, who is told of whose orders, and what outlives the client and the gateway."""

import asyncio
import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from ib_insync import ExecutionFilter, LimitOrder, MarketOrder, StopOrder

from trading.bars import Bar
from trading.errors import StoreBusy, StoreError
from trading.rehearsal_gateway.gateway_settings import ExecutionTimes
from trading.rehearsal_gateway.state_file import StateFile

Run = Callable[..., None]


def test_values_and_positions_follow_trades_in_every_account(at_the_gateway: Run) -> None:
    async def trade(there: Any) -> None:
        client = await there.connect()
        assert client.ib.managedAccounts() == ["DU1", "DU2"]
        refused = client.place(MarketOrder("BUY", 100, tif="DAY"))
        client.place(MarketOrder("BUY", 100, tif="DAY", account="DU2"))
        await there.asked()
        assert client.codes(refused.order.orderId) == [435]
        await there.show("100", "102", "100", "102")
        await there.heard(client)
        [position] = client.ib.positions()
        assert (position.account, position.position, position.avgCost) == ("DU2", 100, 100.01)
        values = {(one.account, one.tag, one.currency): one.value for one in client.ib.accountValues()}
        # 50,000 - 10,000 - 1 in cash; 100 shares at 102.
        assert values["DU2", "TotalCashBalance", "USD"] == values["DU2", "CashBalance", "BASE"] == "39999.00"
        assert values["DU2", "NetLiquidation", "USD"] == "50199.00"
        assert values["DU2", "UnrealizedPnL", "BASE"] == "199.00"
        assert values["DU1", "NetLiquidation", "USD"] == "100000.00"
        summary = {(one.account, one.tag): one.value for one in await client.ib.accountSummaryAsync()}
        assert summary["DU2", "GrossPositionValue"] == "10200.00"
        # A quarter of 10,200 is tied up, and the rest can be bought with four times.
        assert (summary["DU2", "AvailableFunds"], summary["DU2", "BuyingPower"]) == ("47649.00", "190596.00")

    at_the_gateway(trade, accounts={"DU1": Decimal(100_000), "DU2": Decimal(50_000)})


def test_a_portfolio_and_profits_are_told_while_they_change(at_the_gateway: Run) -> None:
    async def trade(there: Any) -> None:
        client = await there.connect()
        pnl = client.ib.reqPnL("DU1234567")
        client.place(MarketOrder("BUY", 100, tif="DAY"))
        await there.asked()
        await there.flat("100")
        await there.flat("103")
        await there.heard(client)
        [item] = client.ib.portfolio()
        assert (item.position, item.averageCost) == (100, 100.01)
        # The bar at 103 is told of by the profits at once; portfolios follow every three minutes.
        assert (pnl.dailyPnL, pnl.unrealizedPnL, pnl.realizedPnL) == (299, 299, 0)
        for _ in range(3):
            await there.flat("104")
        client.place(MarketOrder("SELL", 100, tif="DAY"))
        await there.asked()
        [item] = client.ib.portfolio()
        assert (item.marketPrice, item.unrealizedPNL) == (104, 399)
        await there.flat("104")
        await there.heard(client)
        assert client.ib.portfolio() == []
        assert (pnl.unrealizedPnL, pnl.realizedPnL) == (0, 398)

    at_the_gateway(trade)


def test_orders_and_executions_are_told_to_who_made_them_and_to_who_asks(at_the_gateway: Run) -> None:
    async def trade(there: Any) -> None:
        mine, theirs, master = await there.connect(1), await there.connect(2), await there.connect(0)
        placed = mine.place(MarketOrder("BUY", 10, tif="DAY"))
        waiting = mine.place(LimitOrder("BUY", 10, 90, tif="DAY", orderRef="waits"))
        await there.asked()
        told: list[Any] = []
        theirs.ib.openOrderEvent += told.append
        theirs.ib.execDetailsEvent += lambda _trade, fill: told.append(fill)
        assert (await there.command("external_trade", symbol="QQQ", quantity=-7, price="50"))["ok"]
        assert (
            await there.command(
                "external_order", symbol="SPY", side="SELL", quantity=3, order_type="LMT", limit_price="120"
            )
        )["ok"]
        await there.flat("100")
        await there.asked()
        assert told == []
        assert await theirs.ib.reqOpenOrdersAsync() == []
        everybodys = await theirs.ib.reqAllOpenOrdersAsync()
        assert [(one.order.orderRef, one.order.clientId, one.order.orderId) for one in everybodys] == [
            ("waits", 1, waiting.order.orderId),
            ("", 0, 0),
        ]
        # What was made by hand has no number, and client 0 is told of it.
        assert [(one.order.orderId, one.order.action) for one in master.ib.openTrades()] == [(0, "SELL")]
        assert [(fill.execution.orderId, fill.execution.side) for fill in master.ib.fills()] == [(0, "SLD")]
        executions = await theirs.ib.reqExecutionsAsync()
        assert [(one.execution.clientId, one.execution.shares) for one in executions] == [(0, 7), (1, 10)]
        only = await theirs.ib.reqExecutionsAsync(ExecutionFilter(clientId=1, side="BUY", symbol="SPY"))
        assert [one.execution.permId for one in only] == [placed.order.permId]
        later = await theirs.ib.reqExecutionsAsync(ExecutionFilter(time="20260105 15:00:00 US/Eastern"))
        assert later == []

    at_the_gateway(trade)


@pytest.mark.parametrize("times", list(ExecutionTimes))
def test_execution_times_are_written_as_the_gateway_is_set(at_the_gateway: Run, times: ExecutionTimes) -> None:
    async def trade(there: Any) -> None:
        client = await there.connect()
        client.ib.TimezoneTWS = "US/Eastern"
        client.place(MarketOrder("BUY", 10, tif="DAY"))
        await there.asked()
        await there.flat("100")
        raw = await there.connect_raw(client_id=9)
        await raw.until(9)
        await raw.send(7, 3, 5, 0, "", "", "", "", "", "")
        [execution] = [one for one in await raw.until(55) if one[0] == "11"]
        written = {
            ExecutionTimes.ZONED: "20260105 09:30:00 US/Eastern",
            ExecutionTimes.UNZONED: "20260105  09:30:00",
            ExecutionTimes.UTC: "20260105-14:30:00",
        }
        assert execution[15] == written[times]

    at_the_gateway(trade, execution_times=times)


def test_a_client_id_is_for_one_and_free_again_after_it(at_the_gateway: Run) -> None:
    async def trade(there: Any) -> None:
        client = await there.connect(7)
        second = await there.connect_raw(client_id=7)
        assert (await second.next())[3] == "326"
        assert await asyncio.wait_for(second.reader.read(), 30) == b""
        assert client.ib.isConnected()
        client.ib.disconnect()
        await there.until(lambda: 7 not in there.gateway.clients)
        assert (await there.connect(7)).ib.isConnected()

    at_the_gateway(trade)


@pytest.mark.parametrize(("offered", "agreed"), [("v157..178", "176"), ("v100..160", "160"), ("v176", "176")])
def test_a_version_is_agreed_on(at_the_gateway: Run, offered: str, agreed: str) -> None:
    async def trade(there: Any) -> None:
        raw = await there.connect_raw(offered, client_id=None)
        assert (await raw.next())[0] == agreed

    at_the_gateway(trade)


@pytest.mark.parametrize("offered", ["v100..156", "v177..178", "nonsense"])
def test_who_is_too_old_or_too_new_is_hung_up_on(at_the_gateway: Run, offered: str) -> None:
    async def trade(there: Any) -> None:
        raw = await there.connect_raw(offered, client_id=None)
        assert await asyncio.wait_for(raw.reader.read(), 30) == b""

    at_the_gateway(trade)


@pytest.mark.parametrize("version", [157, 158, 159, 160, 162, 166, 169, 170, 176])
def test_clients_of_every_version_read_the_same_order(at_the_gateway: Run, version: int) -> None:
    async def trade(there: Any) -> None:
        client = await there.connect(1, version)
        client.place(StopOrder("SELL", 10, 95, tif="GTC", orderRef="guard", outsideRth=True))
        client.place(MarketOrder("SELL", 4, tif="DAY"))
        await there.asked()
        await there.flat("100")
        reader = await there.connect(2, version)
        [stop] = await reader.ib.reqAllOpenOrdersAsync()
        told = stop.order
        assert (told.orderRef, told.auxPrice, told.tif, told.outsideRth) == ("guard", 95, "GTC", True)
        assert (told.totalQuantity, told.account, stop.orderStatus.whyHeld) == (10, "DU1234567", "trigger")
        [done] = await reader.ib.reqCompletedOrdersAsync(False)
        assert (done.order.filledQuantity, done.orderStatus.status, done.order.orderId) == (4, "Filled", 0)

    at_the_gateway(trade)


def test_what_is_not_modelled_is_said_and_the_line_goes_on(at_the_gateway: Run) -> None:
    async def trade(there: Any) -> None:
        client = await there.connect()
        await client.ib.reqHistoricalNewsAsync(1, "BZ", "", "", 5)
        await there.until(lambda: any(code == 321 for _, code, _ in client.errors))
        [text] = [text for _, code, text in client.errors if code == 321]
        assert text == "Not modelled by the rehearsal gateway: reqHistoricalNews"
        await there.heard(client)

    at_the_gateway(trade)


def test_the_book_outlives_the_client_and_the_gateway(at_the_gateway: Run, tmp_path: Path) -> None:
    state = tmp_path / "gateway.sqlite"
    seen: dict[str, Any] = {}

    async def first(there: Any) -> None:
        client = await there.connect()
        client.place(MarketOrder("BUY", 100, tif="DAY", orderRef="bought"))
        client.place(LimitOrder("BUY", 10, 90, tif="DAY", orderRef="waits"))
        for order in client.ib.bracketOrder("SELL", 5, 110, 90, 120, tif="GTC"):
            client.place(order)
        await there.asked()
        await there.show("100", "101", "100", "101")
        await there.heard(client)
        seen["book"] = await there.command("book")
        seen["next"] = client.ib.client.getReqId()

    async def second(there: Any) -> None:
        there.minute = 1
        book = await there.command("book")
        for page in ("accounts", "orders", "executions"):
            ours = seen["book"][page]
            if page == "accounts":  # nobody has told the new gateway a price yet
                for account in (*ours.values(), *book[page].values()):
                    account.pop("net_liquidation")
            assert book[page] == ours
        client = await there.connect()
        assert [trade.order.orderRef for trade in client.ib.openTrades()][:1] == ["waits"]
        assert client.ib.client.getReqId() > 5
        [execution] = client.ib.fills()
        assert (execution.execution.orderRef, execution.commissionReport.commission) == ("bought", 1.0)
        await there.show("91", "91", "85", "86")
        await there.heard(client)
        assert [(one.symbol, one.quantity) for one in there.gateway.book.accounts["DU1234567"].paper.positions()] == [
            ("SPY", 110)
        ]
        ids = [one.exec_id for one in there.gateway.book.executions()]
        assert len(set(ids)) == 2

    at_the_gateway(first, state=state)
    at_the_gateway(second, state=state)


def test_days_that_were_rehearsed_apart_share_no_number(at_the_gateway: Run) -> None:
    seen: list[tuple[int, str]] = []

    async def trade(there: Any) -> None:
        client = await there.connect()
        client.place(MarketOrder("BUY", 1, tif="DAY"))
        await there.asked()
        at = there.market.now()
        price = Decimal(100)
        await there.market.show([Bar("SPY", at, price, price, price, price, 1_000)])
        [execution] = there.gateway.book.executions()
        seen.append((execution.identity.perm_id, execution.exec_id))

    at_the_gateway(trade)
    at_the_gateway(trade, starts_at=datetime(2026, 1, 6, 14, 30, tzinfo=UTC))
    at_the_gateway(trade)
    assert seen[0] == seen[2]
    assert {seen[0][0], seen[0][1]}.isdisjoint(seen[1])
    assert all(perm_id < 2**31 for perm_id, _ in seen)


def test_orders_of_the_day_end_with_it_also_where_no_gateway_saw_the_close(at_the_gateway: Run, tmp_path: Path) -> None:
    state = tmp_path / "gateway.sqlite"

    async def first(there: Any) -> None:
        client = await there.connect()
        client.place(LimitOrder("BUY", 10, 90, tif="DAY"))
        client.place(LimitOrder("BUY", 10, 90, tif="GTC"))
        await there.asked()

    async def second(there: Any) -> None:
        client = await there.connect()
        assert [trade.order.tif for trade in client.ib.openTrades()] == ["GTC"]

    at_the_gateway(first, state=state)
    at_the_gateway(second, state=state, starts_at=datetime(2026, 1, 6, 14, 0, tzinfo=UTC))


def test_a_file_that_is_held_or_foreign_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "gateway.sqlite"
    held = StateFile(path)
    with pytest.raises(StoreBusy, match="Another gateway has"):
        StateFile(path)
    held.close()
    StateFile(path).close()
    foreign = tmp_path / "other.sqlite"
    connection = sqlite3.connect(foreign)
    connection.execute("CREATE TABLE things (one TEXT)")
    connection.close()
    (tmp_path / "text").write_text("this is no database, and longer than a page header would be " * 20)
    for other in (foreign, tmp_path / "text"):
        with pytest.raises(StoreError):
            StateFile(other)


def test_accounts_are_told_by_request_until_they_are_cancelled(at_the_gateway: Run) -> None:
    async def trade(there: Any) -> None:
        client = await there.connect()
        raw = await there.connect_raw(client_id=2)
        await raw.until(9)

        async def asked(*fields: Any, until: int) -> list[list[str]]:
            await raw.send(*fields)
            return [message for message in await raw.until(until) if message[0] != "4"]

        values = await asked(76, 1, 11, "DU1234567", "", False, until=74)
        assert ["73", "1", "11", "DU1234567", "", "TotalCashBalance", "1000000.00", "BASE"] in values
        assert values[-1] == ["74", "1", "11"]
        summary = await asked(62, 1, 12, "All", "NetLiquidation,AccountType", until=64)
        assert sorted(message[4:] for message in summary[:-1]) == [
            ["AccountType", "INDIVIDUAL", ""],
            ["NetLiquidation", "1000000.00", "USD"],
        ]
        ledger = await asked(62, 1, 13, "DU1234567", "$LEDGER:USD", until=64)
        assert {message[6] for message in ledger[:-1]} == {"USD"}
        assert await asked(74, 1, 14, "DU1234567", "", until=72) == [["72", "1", "14"]]
        con_id = there.market.instrument("SPY").con_id
        [single] = await asked(94, 15, "DU1234567", "", con_id, until=95)
        assert single == ["95", "15", "0", "0", "0", "0", "0"]
        # A third summary is one too many, an unknown account none.
        await raw.send(62, 1, 16, "All", "NetLiquidation")
        await raw.send(74, 1, 17, "DU9", "")
        await raw.send(6, 2, True, "DU9")
        errors = [await raw.next() for _ in range(3)]
        assert [error[2:4] for error in errors] == [["16", "322"], ["17", "321"], ["-1", "321"]]

        client.place(MarketOrder("BUY", 100, tif="DAY"))
        await there.asked()
        await there.flat("100")
        told = [*await raw.until(95), *await asked(49, 1, until=49)]
        held = [message for message in told if message[0] == "71"]
        assert [(message[2], message[15], message[16]) for message in held] == [("14", "100", "100.01")]
        assert [message[2:] for message in told if message[0] == "95"][-1] == ["100", "-1", "-1", "0", "10000"]
        assert {message[2] for message in told if message[0] in ("63", "73")} == {"11", "12", "13"}
        for kind, number in ((77, 11), (63, 12), (63, 13), (75, 14)):
            await raw.send(kind, 1, number)
        await raw.send(95, 15)
        await asked(49, 1, until=49)
        client.place(MarketOrder("BUY", 100, tif="DAY"))
        await there.asked()
        await there.flat("100")
        assert [message[0] for message in await asked(49, 1, until=49)] == ["49"]

    at_the_gateway(trade)


def test_updates_and_positions_end_where_they_are_ended(at_the_gateway: Run) -> None:
    async def trade(there: Any) -> None:
        client = await there.connect()
        client.ib.client.reqAccountUpdates(False, "")
        client.ib.client.cancelPositions()
        for account in client.ib.wrapper.accounts:
            for number in range(20):
                client.ib.client.cancelAccountUpdatesMulti(number)
            assert account
        client.place(MarketOrder("BUY", 100, tif="DAY"))
        await there.asked()
        before = client.ib.accountValues()
        await there.flat("100")
        await there.heard(client)
        assert client.ib.positions() == []
        assert client.ib.portfolio() == []
        assert client.ib.accountValues() == before

    at_the_gateway(trade)
