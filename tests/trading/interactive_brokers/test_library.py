"""What arrives on the wire becomes messages of ours: a server of this test writes it, the library reads it from a real socket."""

import asyncio
import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from trading.interactive_brokers.library import GatewayLine, NotConnected
from trading.interactive_brokers.messages import (
    CommissionTold,
    ErrorTold,
    ExecutionTold,
    LineLost,
    Message,
    StatusTold,
)
from trading.rehearsal_gateway.wire import frame, read_frame

PATIENCE = 30.0
UNSET = "1.7976931348623157E308"


def hear(*written: tuple[object, ...], timezone: str = "America/New_York", ends: bool = False) -> list[Message]:
    """What a line tells of messages that a gateway writes; with ``ends`` the gateway hangs up after them."""

    async def converse() -> list[Message]:
        heard: list[Message] = []
        all_heard, has_left = asyncio.Event(), asyncio.Event()

        def take(message: Message) -> None:
            heard.append(message)
            if len(heard) >= len(written) + ends:
                all_heard.set()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readexactly(4)
            await read_frame(reader)
            writer.write(frame(176, "20260105 09:25:00 EST"))
            await read_frame(reader)
            writer.write(frame(15, 1, "DU1234567") + frame(9, 1, 1))
            for message in written:
                writer.write(frame(*message))
            if ends:
                writer.close()
            else:
                await reader.read()
                writer.close()
            has_left.set()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        line = GatewayLine(take, timezone, 45)
        try:
            await line.connect("127.0.0.1", server.sockets[0].getsockname()[1], 17, PATIENCE)
            await asyncio.wait_for(all_heard.wait(), PATIENCE)
        finally:
            line.disconnect()
            await asyncio.wait_for(has_left.wait(), PATIENCE)
            server.close()
            await server.wait_closed()
        return heard[: len(written) + ends]

    return asyncio.run(converse())


def execution(at: str = "20260105 09:31:05 US/Eastern") -> tuple[object, ...]:
    """execDetails of 40 SPY at 10.25, told without having been asked for."""
    contract = (756733, "SPY", "STK", "", 0, "", "", "ARCA", "USD", "SPY", "SPY")
    shares = ("BOT", "40", "10.25", 900, 17, 0, "40", "10.25", "A", "", "", "", 1)
    return (11, -1, 5, *contract, "0000e0d5.63a1b2c3.01.01", at, "DU1234567", "ARCA", *shares)


def commission(amount: str) -> tuple[object, ...]:
    return (59, 1, "0000e0d5.63a1b2c3.01.01", amount, "USD", UNSET, "", "")


@pytest.fixture(params=["UTC", "Asia/Tokyo", "America/Los_Angeles"])
def machine_zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The zone that the machine is in."""
    monkeypatch.setitem(os.environ, "TZ", request.param)
    time.tzset()
    yield request.param
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("written", "zone"),
    [
        ("20260105 09:31:05 US/Eastern", "Europe/London"),  # with its zone, as TWS writes today
        ("20260105  09:31:05", "America/New_York"),  # without, as older ones do: in the zone that is set
        ("20260105-14:31:05", "America/New_York"),  # UTC, where the gateway is set to that
    ],
)
@pytest.mark.usefixtures("machine_zone")
def test_an_execution_has_its_time_in_utc_wherever_the_machine_is(written: str, zone: str) -> None:
    [told] = hear(execution(written), timezone=zone)
    assert isinstance(told, ExecutionTold)
    assert told.executed_at == datetime(2026, 1, 5, 14, 31, 5, tzinfo=UTC)
    assert told.executed_at.utcoffset() is not None


def test_an_execution_is_told_as_it_was_written() -> None:
    [told] = hear(execution())
    assert isinstance(told, ExecutionTold)
    assert (told.exec_id, told.order_id, told.client_id, told.perm_id) == ("0000e0d5.63a1b2c3.01.01", 5, 17, 900)
    assert (told.order_ref, told.account, told.side) == ("A", "DU1234567", "BOT")
    assert (told.shares, told.price, told.instrument.symbol) == (Decimal(40), Decimal("10.25"), "SPY")


def test_a_commission_is_an_amount() -> None:
    assert hear(commission("1.0575")) == [CommissionTold("0000e0d5.63a1b2c3.01.01", Decimal("1.0575"), "USD")]


@pytest.mark.parametrize("written", [UNSET, "1.797e308", "", "nan"])
def test_a_commission_that_is_not_set_is_none_and_not_zero(written: str) -> None:
    assert hear(commission(written)) == [CommissionTold("0000e0d5.63a1b2c3.01.01", None, "USD")]


def test_a_commission_of_nothing_is_zero() -> None:
    assert hear(commission("0.0")) == [CommissionTold("0000e0d5.63a1b2c3.01.01", Decimal(0), "USD")]


def test_a_standing_and_an_error_are_told_before_the_library_makes_something_of_them() -> None:
    """Of 10349 it makes a cancelled order; we are told what was said."""
    status = (3, 5, "PreSubmitted", "0", "100", UNSET, 900, 0, "0", 17, "", UNSET)
    error = (4, 2, 5, 10349, "Order TIF was set to DAY based on order preset.", "")
    assert hear(status, error) == [
        StatusTold(5, 17, 900, "PreSubmitted", Decimal(0), Decimal(100), None),
        ErrorTold(5, 10349, "Order TIF was set to DAY based on order preset."),
    ]


def test_a_line_that_is_hung_up_is_told_as_lost() -> None:
    heard = hear((4, 2, -1, 1100, "Connectivity lost", ""), ends=True)
    assert heard[0] == ErrorTold(-1, 1100, "Connectivity lost")
    assert isinstance(heard[1], LineLost)


def test_error_326_is_the_reason_why_there_is_no_line() -> None:
    async def connect() -> None:
        async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readexactly(4)
            await read_frame(reader)
            writer.write(frame(176, "20260105 09:25:00 EST"))
            await read_frame(reader)
            writer.write(frame(4, 2, -1, 326, "Unable to connect as the client id is already in use.", ""))
            writer.close()

        server = await asyncio.start_server(refuse, "127.0.0.1", 0)
        line = GatewayLine(lambda _: None, "UTC", 45)
        try:
            await line.connect("127.0.0.1", server.sockets[0].getsockname()[1], 17, PATIENCE)
        finally:
            server.close()
            await server.wait_closed()

    began = time.monotonic()
    with pytest.raises(NotConnected, match="error 326"):
        asyncio.run(connect())
    assert time.monotonic() - began < PATIENCE
