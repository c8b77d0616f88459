"""A gateway over a market that is shown every bar, and unmodified clients that connect to it over TCP."""

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from ib_insync import IB, Order, Stock, Trade

from trading.bars import Bar
from trading.calendar import TradingCalendar
from trading.rehearsal_gateway.gateway_settings import GatewaySettings
from trading.rehearsal_gateway.server import RehearsalGateway
from trading.rehearsal_gateway.stepped_market import SteppedMarket
from trading.rehearsal_gateway.wire import fields_of, frame, read_frame
from trading.settings import PaperSettings

HOURS = TradingCalendar("XNYS", date(2026, 1, 5)).hours(date(2026, 1, 5))
PATIENCE = 30.0


@dataclass
class Client:
    """An ``ib_insync`` client and the errors it was told."""

    ib: IB
    errors: list[tuple[int, int, str]] = field(default_factory=list)

    def codes(self, order_id: int) -> list[int]:
        """Codes of the errors about one order."""
        return [code for number, code, _ in self.errors if number == order_id]

    def place(self, order: Order, symbol: str = "SPY") -> Trade:
        return self.ib.placeOrder(Stock(symbol, "SMART", "USD"), order)


@dataclass
class RawClient:
    """A client that keeps every message as it came."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, *fields: Any) -> None:
        self.writer.write(frame(*fields))
        await self.writer.drain()

    async def next(self) -> list[str]:
        async with asyncio.timeout(PATIENCE):
            return fields_of(await read_frame(self.reader))

    async def until(self, kind: int) -> list[list[str]]:
        """All messages up to the first of a kind."""
        read = [await self.next()]
        while read[-1][0] != str(kind):
            read.append(await self.next())
        return read


@dataclass
class Exchange:
    """Everything on one event loop: what was shown, who is connected. ``minute`` is the next that will be shown."""

    market: SteppedMarket
    gateway: RehearsalGateway
    clients: list[Client] = field(default_factory=list)
    minute: int = 0

    async def connect(self, client_id: int = 1, version: int = 176, patience: float = PATIENCE) -> Client:
        ib = IB()
        ib.client.MaxClientVersion = version
        ib.client.MaxRequests = 0  # the library would hold requests back for the sake of the real TWS
        client = Client(ib)
        ib.errorEvent += lambda request, code, text, _contract: client.errors.append((request, code, text))
        self.clients.append(client)
        await ib.connectAsync("127.0.0.1", self.gateway.port, clientId=client_id, timeout=patience)
        return client

    async def connect_raw(self, versions: str = "v157..176", client_id: int | None = 1) -> RawClient:
        client = RawClient(*await asyncio.open_connection("127.0.0.1", self.gateway.port))
        client.writer.write(b"API\0" + len(versions).to_bytes(4, "big") + versions.encode())
        if client_id is not None:
            await client.next()
            await client.send(71, 2, client_id, "")
        return client

    async def show(
        self, opened: str, high: str, low: str, close: str, symbol: str = "SPY", volume: int = 100_000
    ) -> None:
        """The next minute's bar, traded as one step."""
        at = HOURS.opens_at + timedelta(minutes=self.minute)
        self.minute += 1
        await self.market.show([Bar(symbol, at, *map(Decimal, (opened, high, low, close)), volume)])

    async def flat(self, price: str, symbol: str = "SPY") -> None:
        """A minute in which nothing moves."""
        await self.show(price, price, price, price, symbol)

    async def until(self, condition: Callable[[], object]) -> None:
        """Until what was written has been read."""
        async with asyncio.timeout(PATIENCE):
            while not condition():
                await asyncio.sleep(0.002)

    async def heard(self, client: Client) -> None:
        """Everything that was written to a client before has been read by it."""
        await asyncio.wait_for(client.ib.reqCurrentTimeAsync(), PATIENCE)

    async def asked(self) -> None:
        """Everything that connected clients have sent before has been taken."""
        for client in self.clients:
            if client.ib.isConnected():
                await self.heard(client)

    async def asked_as_far_as_possible(self) -> None:
        """Everything that was sent has been taken, or its line was lost."""
        for client in self.clients:
            if client.ib.isConnected():
                with contextlib.suppress(ConnectionError):
                    await self.heard(client)

    async def command(self, command: str, **told: Any) -> dict[str, Any]:
        """What the control door answers."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.gateway.control_port)
        writer.write(json.dumps({"command": command, **told}).encode() + b"\n")
        answer: dict[str, Any] = json.loads(await asyncio.wait_for(reader.readline(), PATIENCE))
        writer.close()
        return answer

    def fault(self, action: str, **told: Any) -> None:
        """Arm a fault."""
        from trading.rehearsal_gateway.faults import fault_of

        self.gateway.faults.script.arm(fault_of({"action": action, **told}))

    def fired(self) -> list[str]:
        return [one.action for one in self.gateway.faults.script.fired]


async def _visit(test: Callable[[Exchange], Awaitable[None]], told: Mapping[str, Any], starts_at: datetime) -> None:
    paper = PaperSettings(slippage_bps=Decimal(0), commission_minimum=Decimal("1.00"))
    settings = GatewaySettings(**{"control_port": 0, "paper": paper, **told})
    market = SteppedMarket(["SPY", "QQQ"], HOURS, starts_at)
    gateway = RehearsalGateway(market, settings)
    await gateway.start()
    playing = asyncio.create_task(gateway.play())
    there = Exchange(market, gateway)
    try:
        await test(there)
    finally:
        for client in there.clients:
            client.ib.disconnect()
        playing.cancel()
        await gateway.stop()


@pytest.fixture
def at_the_gateway() -> Callable[..., None]:
    """Runs a test with an ``Exchange``; all else is settings of the gateway, and ``starts_at`` its time (the open)."""

    def run(test: Callable[[Exchange], Awaitable[None]], starts_at: datetime = HOURS.opens_at, **told: Any) -> None:
        asyncio.run(_visit(test, told, starts_at))

    return run
