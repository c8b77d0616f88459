"""One client on the other end of a socket: who it is, and what is written to it."""

import asyncio
from collections.abc import Awaitable, Callable

from trading.rehearsal_gateway.wire import Field, FieldReader, frame

_ERROR = 4

NO_REQUEST = -1
"""The request id of messages that are about no request."""


class ConnectedClient:
    """A client after its handshake. ``server_version`` is what both have agreed on, ``client_id`` -1 until it has said."""

    def __init__(self, writer: asyncio.StreamWriter, server_version: int) -> None:
        self._writer = writer
        self.server_version = server_version
        self.client_id = NO_REQUEST
        self.is_ready = False

    def send(self, *fields: Field) -> None:
        """Write one message; nothing where the client has gone."""
        if not self._writer.is_closing():
            self._writer.write(frame(*fields))

    def error(self, request_id: int, code: int, text: str, rejection: str = "") -> None:
        """Tell an error, a warning or a notice; ``request_id`` is the request's or the order's, -1 for none."""
        more = (rejection,) if self.server_version >= 166 else ()
        self.send(_ERROR, 2, request_id, code, text, *more)

    async def drain(self) -> None:
        """Return when what was written has left, or the client has gone."""
        try:
            await self._writer.drain()
        except ConnectionError:
            return

    def close(self) -> None:
        """Hang up after what was written."""
        self._writer.close()

    def cut(self) -> None:
        """Hang up at once; what was not yet sent is lost."""
        self._writer.transport.abort()


Handler = Callable[[ConnectedClient, FieldReader], Awaitable[None] | None]
"""Answers one kind of message. The reader stands after the message's number and version."""
