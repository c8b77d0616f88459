"""The gateway itself: a TCP server on this machine, the clients that are connected, and who answers which message."""

import asyncio
import contextlib
import logging
import re
from collections import Counter
from datetime import datetime, timedelta

from trading.bars import BarSlice
from trading.rehearsal_gateway.account_desk import AccountDesk
from trading.rehearsal_gateway.connected_client import NO_REQUEST, ConnectedClient, Handler
from trading.rehearsal_gateway.control_door import ControlDoor
from trading.rehearsal_gateway.fault_actions import ON_ORDERS, FaultActions
from trading.rehearsal_gateway.faults import FaultScript, faults_in
from trading.rehearsal_gateway.gateway_book import GatewayBook
from trading.rehearsal_gateway.gateway_settings import GatewaySettings
from trading.rehearsal_gateway.market_port import Market, MarketData
from trading.rehearsal_gateway.message_kinds import VERSIONED, WITHOUT_REQUEST_ID, Incoming, name_of
from trading.rehearsal_gateway.message_pace import MessagePace
from trading.rehearsal_gateway.order_desk import OrderDesk
from trading.rehearsal_gateway.order_news import OrderNews
from trading.rehearsal_gateway.order_questions import OrderQuestions
from trading.rehearsal_gateway.order_requests import OrderRequests
from trading.rehearsal_gateway.state_file import StateFile
from trading.rehearsal_gateway.wire import FieldReader, NotUnderstood, fields_of, frame, read_frame

HOST = "127.0.0.1"
OLDEST_VERSION, NEWEST_VERSION = 157, 176

_log = logging.getLogger(__name__)

_INVALID = 321
_CLIENT_ID_IN_USE = 326
_FARMS = (
    (2104, "Market data farm connection is OK:usfarm"),
    (2106, "HMDS data farm connection is OK:ushmds"),
    (2158, "Sec-def data farm connection is OK:secdefnj"),
)
_BETWEEN_LOOKS_AT_THE_CLOCK = 0.05
_BEFORE = frozenset({"delay_answers", "silence"})
"""Faults that spoil the answer to the message that they wait for; others come after it."""


class RehearsalGateway:
    """A server for any number of clients over one market. ``start``, then ``play``, then ``stop``.

    Everything happens on the event loop that started it. Raises ``ConfigurationError`` for a script of faults that is wrong,
    ``StoreError`` for a file of state that cannot be had.
    """

    def __init__(self, market: Market, settings: GatewaySettings, data: MarketData | None = None) -> None:
        self.market = market
        self.settings = settings
        self.clients: dict[int, ConnectedClient] = {}
        self.received: Counter[str] = Counter()
        """How many messages of each kind have come in."""
        self.stop_asked = asyncio.Event()
        """Set where the control door was asked to stop the gateway."""
        script = FaultScript([] if settings.faults is None else faults_in(settings.faults), market.now)
        script.forget_before(market.now().astimezone(market.exchange_zone).time())
        file = None if settings.state is None else StateFile(settings.state)
        self.book = GatewayBook(settings.accounts, settings.paper, market.now(), file)
        news = OrderNews(self.book, self.clients, settings, market.instrument)
        self.desk = OrderDesk(self.book, market, news, settings.paper)
        self.faults = FaultActions(script, self.desk, self.book, market, self.clients, self, data)
        self._accounts = AccountDesk(self.book, market, settings.currency)
        self.desk.on_traded = self._accounts.has_traded
        self.handlers: dict[int, Handler] = {
            Incoming.startApi: self._start_api,
            Incoming.reqIds: lambda client, _: self._tell_next_id(client),
            Incoming.reqCurrentTime: lambda client, _: client.send(49, 1, int(market.now().timestamp())),
            Incoming.reqManagedAccts: lambda client, _: self._tell_accounts(client),
            Incoming.setServerLogLevel: lambda _client, _: None,
            **OrderQuestions(self.book, market, news).handlers,
            **OrderRequests(self.desk, self.book, market, news, settings, self.faults).handlers,
            **self._accounts.handlers,
            **({} if data is None else data.handlers),
        }
        self._data = data
        self._door = None if settings.control_port is None else ControlDoor(self)
        self._server: asyncio.Server | None = None
        self._port = settings.port
        self._connections: set[asyncio.Task[None]] = set()
        self._open_lines: set[ConnectedClient] = set()
        self._held_ids: dict[int, float] = {}
        self._one_restart = asyncio.Lock()
        self._pace = MessagePace()
        self._clock: asyncio.Task[None] | None = None

    @property
    def port(self) -> int:
        """Where clients connect; raises ``RuntimeError`` before the start."""
        if not self._port:
            raise RuntimeError("the gateway has not been started")
        return self._port

    @property
    def control_port(self) -> int | None:
        """Where the control door listens, None where there is none."""
        return None if self._door is None else self._door.port

    @property
    def busiest_second(self) -> dict[int, int]:
        """By client id the most messages that came within a second of wall time; TWS takes 50."""
        return dict(self._pace.most)

    @property
    def is_open(self) -> bool:
        """Whether clients can connect."""
        return self._server is not None

    async def start(self) -> None:
        """Open the ports. Raises ``OSError`` where one is taken."""
        await self._open()
        if self._door is not None:
            await self._door.start(self.settings.control_port or 0)
        self.desk.begin()
        self._clock = asyncio.get_running_loop().create_task(self._look_at_the_clock())

    async def play(self) -> None:
        """Let the market play to its end."""
        await self.market.run(self._slice_over)

    async def stop(self) -> None:
        """Cut all connections, close the ports and let go of the file."""
        if self._clock is not None:
            self._clock.cancel()
        await self.faults.stop()
        if self._door is not None:
            await self._door.stop()
        await self._close()
        self.book.close()

    async def restart(self, seconds: float, ids_rolled_back: bool) -> None:
        """Cut all connections and open the port again after so many seconds of wall time; orders that work go on working."""
        async with self._one_restart:
            await self._close()
            self.desk.drop_held()
            if ids_rolled_back:
                self.book.roll_back_order_ids()
            await asyncio.sleep(seconds)
            await self._open()

    async def drain(self) -> None:
        """Return when all that was written to clients has left."""
        await asyncio.gather(*(client.drain() for client in list(self.clients.values())))

    async def _open(self) -> None:
        self._server = await asyncio.start_server(self._serve, HOST, self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for client in list(self._open_lines):
            client.cut()
        for connection in list(self._connections):
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    # Time

    def _slice_over(self, moment: BarSlice, length: timedelta) -> None:
        self._note_the_time()
        self.desk.slice_over(moment, length)
        self._accounts.time_passes()

    def _note_the_time(self) -> None:
        self.desk.note_the_time()
        self.faults.note_the_time()

    async def _look_at_the_clock(self) -> None:
        """Before the open and after the close no bars come that would say what time it is."""
        while True:
            self._note_the_time()
            await asyncio.sleep(_BETWEEN_LOOKS_AT_THE_CLOCK)

    # Clients

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._connections.add(task)
            task.add_done_callback(self._connections.discard)
        client = None
        try:
            client = await _handshake(reader, writer, self.market.now())
            if client is not None:
                self._open_lines.add(client)
                await self._converse(client, reader)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass  # gone, or the gateway stops
        except NotUnderstood as nonsense:
            _log.warning(
                "client_id=%s says what cannot be read and is cut off: %s", client and client.client_id, nonsense
            )
        finally:
            if client is not None:
                self._forget(client)
            with contextlib.suppress(ConnectionError):
                writer.close()

    async def _converse(self, client: ConnectedClient, reader: asyncio.StreamReader) -> None:
        while not client.is_gone:
            message = fields_of(await read_frame(reader))
            if not client.is_gone:
                await self._take(client, message)
                await client.drain()

    def _forget(self, client: ConnectedClient) -> None:
        self._open_lines.discard(client)
        if self.clients.get(client.client_id) is client:
            del self.clients[client.client_id]
        self._accounts.forget(client)
        if self._data is not None:
            self._data.forget(client)

    async def _take(self, client: ConnectedClient, message: list[str]) -> None:
        fields = FieldReader(message)
        kind = fields.integer()
        name = name_of(kind)
        self.received[name] += 1
        self._pace.count(client.client_id, asyncio.get_running_loop().time())
        if kind in VERSIONED:
            fields.skip()
        self._note_the_time()
        faults = self.faults.script.happened(name, to=str(client.client_id)) if client.is_ready else []
        client.spoilt = frozenset(fault.action for fault in faults)
        for fault in faults:
            if fault.action in _BEFORE:
                self.faults.do(fault, client)
        await self._answer(client, kind, fields)
        client.spoilt = frozenset()
        for fault in faults:
            if fault.action not in _BEFORE and fault.action not in ON_ORDERS:
                self.faults.do(fault, client)

    async def _answer(self, client: ConnectedClient, kind: int, fields: FieldReader) -> None:
        handler = self.handlers.get(kind)
        if handler is None or not (client.is_ready or kind == Incoming.startApi):
            request_id = NO_REQUEST if kind in WITHOUT_REQUEST_ID or not fields.left else fields.integer(NO_REQUEST)
            client.error(request_id, _INVALID, f"Not modelled by the rehearsal gateway: {name_of(kind)}")
            return
        if kind == Incoming.reqHistoricalData and self._is_spoilt_history(client, fields):
            return
        answer = handler(client, fields)
        if answer is not None:
            await answer

    def _is_spoilt_history(self, client: ConnectedClient, fields: FieldReader) -> bool:
        if "pacing" in client.spoilt:
            text = "Historical Market Data Service error message:Historical data request pacing violation"
            client.error(fields.integer(), 162, text)
            return True
        return "no_answer_history" in client.spoilt

    def _start_api(self, client: ConnectedClient, fields: FieldReader) -> None:
        client_id = fields.integer()
        faults = {fault.action: fault for fault in self.faults.script.happened("connect", to=str(client_id))}
        now = asyncio.get_running_loop().time()
        held = faults.get("client_id_held")
        if held is not None and held.seconds():
            self._held_ids[client_id] = now + held.seconds()
        is_known = client_id in self.clients and not self.clients[client_id].is_gone
        if is_known or held is not None or self._held_ids.get(client_id, now) > now:
            text = "Unable to connect as the client id is already in use. Retry with a unique client id."
            client.error(NO_REQUEST, _CLIENT_ID_IN_USE, text)
            client.close()
            return
        if "two_factor" in faults:
            return
        client.client_id = client_id
        client.is_ready = True
        self.clients[client_id] = client
        self._tell_accounts(client)
        self._tell_next_id(client)
        for code, text in _FARMS:
            client.error(NO_REQUEST, code, text)
        for fault in faults.values():
            self.faults.do(fault, client)

    def _tell_accounts(self, client: ConnectedClient) -> None:
        client.send(15, 1, ",".join(self.book.accounts))

    def _tell_next_id(self, client: ConnectedClient) -> None:
        client.send(9, 1, self.book.next_order_id)


async def _handshake(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, now: datetime
) -> ConnectedClient | None:
    """Agree on a version; None (and the line is closed) where a client is too old or speaks something else."""
    start = await reader.readexactly(4)
    offered = re.match(rb"v(\d+)(?:\.\.(\d+))?", await read_frame(reader)) if start == b"API\0" else None
    if offered is None:
        _log.warning("a client that does not speak the protocol is not served")
        return None
    lowest = int(offered[1])
    highest = int(offered[2] or offered[1])
    version = min(highest, NEWEST_VERSION)
    if version < max(OLDEST_VERSION, lowest):
        _log.warning(
            "a client of versions %s to %s is not served: %s to %s are", lowest, highest, OLDEST_VERSION, NEWEST_VERSION
        )
        return None
    writer.write(frame(version, f"{now:%Y%m%d %H:%M:%S} UTC"))
    return ConnectedClient(writer, version)
