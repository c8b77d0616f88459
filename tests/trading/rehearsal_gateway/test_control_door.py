"""The door for those who drive the gateway: it changes what it is asked to, and says what it cannot."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from ib_insync import MarketOrder

from trading.rehearsal_gateway.message_pace import MessagePace

Run = Callable[..., None]


def test_a_market_is_stepped_and_the_book_read(at_the_gateway: Run) -> None:
    async def drive(there: Any) -> None:
        client = await there.connect()
        placed = client.place(MarketOrder("BUY", 10, tif="DAY", orderRef="driven"))
        await there.asked()
        bar = {
            "symbol": "SPY",
            "time": "2026-01-05T14:30:00+00:00",
            "open": "100",
            "high": "101",
            "low": "99",
            "close": "100.5",
        }
        shown = await there.command("show_bar", bars=[{**bar, "volume": 1_000}])
        assert shown == {"ok": True, "time": "2026-01-05T14:31:00+00:00"}
        # Everything that came of it had been written by then.
        await there.heard(client)
        assert placed.orderStatus.status == "Filled"
        pages = await there.command("book")
        [order] = pages["orders"]
        assert (order["order_ref"], order["status"], order["filled"], order["is_over"]) == (
            "driven",
            "Filled",
            10,
            True,
        )
        [execution] = pages["executions"]
        assert (execution["perm_id"], execution["quantity"], execution["price"]) == (order["perm_id"], 10, "100.000000")
        account = pages["accounts"]["DU1234567"]
        assert (account["cash"], account["positions"]["SPY"]["quantity"]) == ("998999.000000", 10)
        assert pages["clients"] == [1]
        later = await there.command("advance_to", time="2026-01-05T15:00:00+00:00")
        assert later["time"] == (await there.command("time"))["time"] == "2026-01-05T15:00:00+00:00"

    at_the_gateway(drive)


def test_connections_are_cut_by_command_one_or_all(at_the_gateway: Run) -> None:
    async def drive(there: Any) -> None:
        first, second = await there.connect(1), await there.connect(2)
        assert (await there.command("drop", client=2))["cut"] == 1
        await there.until(lambda: not second.ib.isConnected())
        assert first.ib.isConnected()
        assert (await there.command("restart", seconds=0.01))["ok"]
        await there.until(lambda: not first.ib.isConnected())
        assert (await there.connect(1)).ib.isConnected()

    at_the_gateway(drive)


def test_a_fault_waits_where_it_has_something_to_wait_for(at_the_gateway: Run) -> None:
    async def drive(there: Any) -> None:
        client = await there.connect()
        assert (await there.command("fault", action="reject"))["armed"] is True
        assert (await there.command("fault", action="drop", on="order", nth=9))["armed"] is True
        assert (await there.command("fault", action="broadcast", code=1102))["armed"] is False
        await there.heard(client)
        assert client.errors[-1][1] == 1102
        assert (await there.command("book"))["faults_waiting"] == ["reject", "drop"]

    at_the_gateway(drive)


@pytest.mark.parametrize(
    "told",
    [
        {"command": "dance"},
        {"command": "fault", "action": "dance"},
        {"command": "show_bar", "bars": [{"symbol": "SPY"}]},
        {"command": "show_bar", "bars": []},
        {"command": "advance_to", "time": "2026-01-05T15:00:00"},
        {"command": "external_trade", "symbol": "NIX", "quantity": 5, "price": "1"},
        {"command": "external_trade", "symbol": "SPY", "quantity": 5},
        {"command": "external_order", "symbol": "SPY", "order_type": "REL"},
        {"command": "external_order", "symbol": "SPY", "account": "DU7"},
    ],
    ids=str,
)
def test_what_makes_no_sense_is_answered_and_changes_nothing(at_the_gateway: Run, told: dict[str, Any]) -> None:
    async def drive(there: Any) -> None:
        before = await there.command("book")
        answer = await there.command(**told)
        assert answer["ok"] is False
        assert answer["error"]
        assert await there.command("book") == before

    at_the_gateway(drive)


def test_the_gateway_is_asked_to_stop(at_the_gateway: Run) -> None:
    async def drive(there: Any) -> None:
        assert (await there.command("stop"))["ok"]
        await asyncio.wait_for(there.gateway.stop_asked.wait(), 30)

    at_the_gateway(drive)


def test_the_pace_of_a_client_is_counted_in_seconds_of_the_wall() -> None:
    pace = MessagePace()
    for moment in (0.0, 0.2, 0.4, 1.1, 1.15, 2.3):
        pace.count(1, moment)
    pace.count(2, 2.3)
    # From 0.2 (not 0.0, which is more than a second ago) to 1.15.
    assert pace.most == {1: 4, 2: 1}
