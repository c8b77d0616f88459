"""The gateway itself: a TCP server on this machine, the clients that are connected, and who answers which message."""

import asyncio
import contextlib
import logging
import re
from collections.abc import Mapping
from datetime import datetime

from trading.rehearsal_gateway.connected_client import NO_REQUEST, ConnectedClient, Handler
from trading.rehearsal_gateway.gateway_settings import GatewaySettings
from trading.rehearsal_gateway.market_port import Market, MarketData
from trading.rehearsal_gateway.message_kinds import VERSIONED, WITHOUT_REQUEST_ID, Incoming, name_of
from trading.rehearsal_gateway.wire import FieldReader, NotUnderstood, fields_of, frame, read_frame

HOST = "127.0.0.1"
OLDEST_VERSION, NEWEST_VERSION = 157, 176

_log = logging.getLogger(__name__)

_NOT_MODELLED = 321
_CLIENT_ID_IN_USE = 326
_FARMS = (
    (2104, "Market data farm connection is OK:usfarm"),
    (2106, "HMDS data farm connection is OK:ushmds"),
    (2158, "Sec-def data farm connection is OK:secdefnj"),
)


class RehearsalGateway:
    """A server for any number of clients over one market. ``start``, then ``play`` (or a stepped market), then ``stop``.

    Everything happens on the event loop that started it.
    """

    def __init__(self, market: Market, settings: GatewaySettings, data: MarketData | None = None) -> None:
        self.market = market
        self.settings = settings
        self.clients: dict[int, ConnectedClient] = {}
        self.handlers: dict[int, Handler] = {
            Incoming.startApi: self._start_api,
            Incoming.reqIds: lambda client, fields: self._tell_next_id(client),
            Incoming.reqCurrentTime: lambda client, fields: client.send(49, 1, int(market.now().timestamp())),
            Incoming.reqManagedAccts: lambda client, fields: self._tell_accounts(client),
            Incoming.setServerLogLevel: lambda client, fields: None,
            Incoming.reqPositions: lambda client, fields: client.send(62, 1),
            Incoming.reqOpenOrders: lambda client, fields: client.send(53, 1),
            Incoming.reqAllOpenOrders: lambda client, fields: client.send(53, 1),
            Incoming.reqAutoOpenOrders: lambda client, fields: None,
            Incoming.reqCompletedOrders: lambda client, fields: client.send(102),
            Incoming.reqExecutions: lambda client, fields: client.send(55, 1, fields.integer()),
            Incoming.reqAccountUpdates: lambda client, fields: client.send(54, 1, next(iter(settings.accounts))),
            Incoming.reqAccountUpdatesMulti: lambda client, fields: client.send(74, 1, fields.integer()),
        }
        if data is not None:
            self.handlers |= _as_dict(data.handlers)
        self._data = data
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    @property
    def port(self) -> int:
        """Where clients connect."""
        if self._server is None:
            raise RuntimeError("the gateway has not been started")
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def start(self) -> None:
        """Open the port. Raises ``OSError`` where it is taken."""
        self._server = await asyncio.start_server(self._serve, HOST, self.settings.port)

    async def play(self) -> None:
        """Let the market play to its end."""
        await self.market.run(self._slice_over)

    async def stop(self) -> None:
        """Cut all connections and close the port."""
        if self._server is not None:
            self._server.close()
        for connection in list(self._connections):
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _slice_over(self, *_: object) -> None:
        return

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._connections.add(task)
            task.add_done_callback(self._connections.discard)
        client = None
        try:
            client = await _handshake(reader, writer, self.market.now())
            while client is not None:
                await self._take(client, fields_of(await read_frame(reader)))
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass  # gone, or the gateway stops
        except NotUnderstood as nonsense:
            _log.warning("client_id=%s says nonsense and is cut: %s", client and client.client_id, nonsense)
        finally:
            if client is not None and self.clients.get(client.client_id) is client:
                del self.clients[client.client_id]
            if client is not None and self._data is not None:
                self._data.forget(client)
            with contextlib.suppress(ConnectionError):
                writer.close()

    async def _take(self, client: ConnectedClient, message: list[str]) -> None:
        fields = FieldReader(message)
        kind = fields.integer()
        if kind in VERSIONED:
            fields.skip()
        handler = self.handlers.get(kind)
        if handler is None or not (client.is_ready or kind == Incoming.startApi):
            request_id = NO_REQUEST if kind in WITHOUT_REQUEST_ID or not fields.left else fields.integer(NO_REQUEST)
            client.error(request_id, _NOT_MODELLED, f"Not modelled by the rehearsal gateway: {name_of(kind)}")
            return
        answer = handler(client, fields)
        if answer is not None:
            await answer

    def _start_api(self, client: ConnectedClient, fields: FieldReader) -> None:
        client_id = fields.integer()
        if client_id in self.clients:
            client.error(
                NO_REQUEST,
                _CLIENT_ID_IN_USE,
                "Unable to connect as the client id is already in use. Retry with a unique client id.",
            )
            client.close()
            return
        client.client_id = client_id
        client.is_ready = True
        self.clients[client_id] = client
        self._tell_accounts(client)
        self._tell_next_id(client)
        for code, text in _FARMS:
            client.error(NO_REQUEST, code, text)

    def _tell_accounts(self, client: ConnectedClient) -> None:
        client.send(15, 1, ",".join(self.settings.accounts))

    def _tell_next_id(self, client: ConnectedClient) -> None:
        client.send(9, 1, 1)


def _as_dict(handlers: Mapping[int, Handler]) -> dict[int, Handler]:
    return dict(handlers)


async def _handshake(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, now: datetime
) -> ConnectedClient | None:
    """Agree on a version; None (and the line is closed) where a client is too old or speaks something else."""
    start = await reader.readexactly(4)
    offered = re.match(rb"v(\d+)(?:\.\.(\d+))?", await read_frame(reader)) if start == b"API\0" else None
    if offered is None:
        _log.warning("a client that does not speak the API protocol is not served")
        return None
    lowest = int(offered[1])
    highest = int(offered[2] or offered[1])
    version = min(highest, NEWEST_VERSION)
    if version < max(OLDEST_VERSION, lowest):
        _log.warning(
            "a client that speaks versions %s to %s is not served: %s to %s are needed",
            lowest,
            highest,
            OLDEST_VERSION,
            NEWEST_VERSION,
        )
        return None
    writer.write(frame(version, f"{now:%Y%m%d %H:%M:%S} UTC"))
    return ConnectedClient(writer, version)
