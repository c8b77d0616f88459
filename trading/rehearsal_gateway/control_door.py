"""The door for those who drive the gateway: lines of JSON on a port of its own, one answer to each.

It changes nothing unless it is asked to. ``{"command": "book"}`` is answered by ``{"ok": true, ...}`` or
``{"ok": false, "error": "..."}``; what the commands are is written at each of them.
"""

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from trading.bars import Bar
from trading.errors import ConfigurationError, OpenbellError
from trading.rehearsal_gateway.book_pages import pages_of
from trading.rehearsal_gateway.faults import fault_of

if TYPE_CHECKING:
    from trading.rehearsal_gateway.server import RehearsalGateway

_HOST = "127.0.0.1"

Answer = Mapping[str, Any]


@runtime_checkable
class Stepped(Protocol):
    """A market whose time can be moved by command."""

    async def show(self, bars: list[Bar], length: timedelta) -> None:
        """Trade bars of one moment; time is then their end."""
        ...

    async def advance_to(self, moment: datetime) -> None:
        """Let time pass."""
        ...


class ControlDoor:
    """Serves commands about ``gateway`` until it is stopped."""

    def __init__(self, gateway: "RehearsalGateway") -> None:
        self._gateway = gateway
        self._server: asyncio.Server | None = None
        self._lines: set[asyncio.Task[None]] = set()
        self._commands: Mapping[str, Callable[[Mapping[str, Any]], Awaitable[Answer]]] = {
            "book": self._book,
            "time": self._time,
            "show_bar": self._show_bar,
            "advance_to": self._advance_to,
            "fault": self._fault,
            "drop": self._drop,
            "restart": self._restart,
            "external_trade": self._external_trade,
            "external_order": self._external_order,
            "stop": self._stop,
        }

    @property
    def commands(self) -> tuple[str, ...]:
        """What it can be asked."""
        return tuple(self._commands)

    @property
    def port(self) -> int | None:
        """Where it listens, None before the start."""
        if self._server is None:
            return None
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def start(self, port: int) -> None:
        """Open the port, 0 for one that the system chooses. Raises ``OSError``."""
        self._server = await asyncio.start_server(self._serve, _HOST, port, limit=2**24)

    async def stop(self) -> None:
        """Close the port and all lines."""
        if self._server is not None:
            self._server.close()
        for line in list(self._lines):
            line.cancel()
        await asyncio.gather(*self._lines, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._lines.add(task)
            task.add_done_callback(self._lines.discard)
        try:
            while line := await reader.readline():
                answer = await self._answer(line)
                writer.write(json.dumps(answer, default=_as_text).encode() + b"\n")
                await writer.drain()
        except (ConnectionError, asyncio.CancelledError, ValueError):
            pass  # gone, too long a line, or the gateway stops
        finally:
            with contextlib.suppress(ConnectionError):
                writer.close()

    async def _answer(self, line: bytes) -> Answer:
        try:
            asked = json.loads(line)
            command = self._commands.get(str(asked.get("command"))) if isinstance(asked, dict) else None
            if command is None:
                return {"ok": False, "error": f"The commands are: {', '.join(self._commands)}."}
            return {"ok": True, **await command(asked)}
        except OpenbellError as error:
            return {"ok": False, "error": str(error)}
        except (KeyError, TypeError, ValueError, InvalidOperation) as error:
            return {"ok": False, "error": f"That cannot be read: {error!r}"}

    async def _book(self, asked: Mapping[str, Any]) -> Answer:
        """Accounts, orders, executions, messages received, clients connected, faults fired and waiting."""
        return pages_of(self._gateway)

    async def _time(self, asked: Mapping[str, Any]) -> Answer:
        """The market's time."""
        return {"time": self._gateway.market.now()}

    async def _show_bar(self, asked: Mapping[str, Any]) -> Answer:
        """``bars``: symbol, time, open, high, low, close, volume of each; ``seconds``: how long they last (60)."""
        bars = [_bar(one) for one in asked["bars"]]
        if len({bar.bar_time for bar in bars}) != 1:
            raise ConfigurationError("Bars that are shown together begin at one moment.")
        await self._stepped().show(bars, timedelta(seconds=float(asked.get("seconds", 60))))
        await self._gateway.drain()
        return {"time": self._gateway.market.now()}

    async def _advance_to(self, asked: Mapping[str, Any]) -> Answer:
        """``time``: with its zone."""
        await self._stepped().advance_to(_moment(asked["time"]))
        await self._gateway.drain()
        return {"time": self._gateway.market.now()}

    async def _fault(self, asked: Mapping[str, Any]) -> Answer:
        """A fault as in a script: with ``on`` or ``at`` it waits, without either what can be done at once is done."""
        entry = {name: value for name, value in asked.items() if name != "command"}
        is_now = "on" not in entry and "at" not in entry and not self._has_to_wait(entry)
        fault = fault_of(entry, is_now)
        if is_now:
            self._gateway.faults.script.note(fault, fault.symbol)
            self._gateway.faults.do(fault)
        else:
            self._gateway.faults.script.arm(fault)
        await self._gateway.drain()
        return {"armed": not is_now}

    def _has_to_wait(self, entry: Mapping[str, Any]) -> bool:
        from trading.rehearsal_gateway.fault_actions import ON_ORDERS

        return entry.get("action") in ON_ORDERS

    async def _drop(self, asked: Mapping[str, Any]) -> Answer:
        """Cut the connection of ``client``, or all."""
        wanted = asked.get("client")
        cut = [one for number, one in self._gateway.clients.items() if wanted is None or number == wanted]
        for client in cut:
            client.cut()
        return {"cut": len(cut)}

    async def _restart(self, asked: Mapping[str, Any]) -> Answer:
        """``seconds`` of closed port, ``ids_rolled_back``; answered when the port is open again."""
        await self._gateway.restart(float(asked.get("seconds", 0)), bool(asked.get("ids_rolled_back", False)))
        return {}

    async def _external_trade(self, asked: Mapping[str, Any]) -> Answer:
        """Signed ``quantity`` of ``symbol`` at ``price`` (the last), by hand in ``account`` (the first)."""
        entry = {name: value for name, value in asked.items() if name != "command"}
        self._gateway.faults.do(fault_of({"action": "position_by_hand", **entry}, is_now=True))
        await self._gateway.drain()
        return {}

    async def _external_order(self, asked: Mapping[str, Any]) -> Answer:
        """An order by hand: ``symbol``, ``side``, ``quantity``, ``order_type``, ``limit_price``, ``tif``, ``account``."""
        entry = {name: value for name, value in asked.items() if name != "command"}
        self._gateway.faults.do(fault_of({"action": "external_order", **entry}, is_now=True))
        await self._gateway.drain()
        return {}

    async def _stop(self, asked: Mapping[str, Any]) -> Answer:
        """Stop the gateway, after this answer."""
        self._gateway.stop_asked.set()
        return {}

    def _stepped(self) -> Stepped:
        market = self._gateway.market
        if not isinstance(market, Stepped):
            raise ConfigurationError("Time runs by itself here. Start the gateway with a stepped clock to move it.")
        return market


def _bar(told: Mapping[str, Any]) -> Bar:
    """A bar as it is written in JSON; raises ``ValueError`` for what is none."""
    opened, high, low, close = (Decimal(str(told[name])) for name in ("open", "high", "low", "close"))
    volume = told.get("volume")
    return Bar(
        str(told["symbol"]), _moment(told["time"]), opened, high, low, close, None if volume is None else int(volume)
    )


def _moment(text: Any) -> datetime:
    moment = datetime.fromisoformat(str(text))
    if moment.tzinfo is None:
        raise ConfigurationError(f"{text} has no zone. Write it as 2026-01-02T14:30:00+00:00.")
    return moment


def _as_text(value: Any) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value)
