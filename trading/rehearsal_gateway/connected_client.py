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
        self.spoilt: frozenset[str] = frozenset()
        """The faults that concern the answer to the message which is being answered."""
        self._held: list[bytes] | None = None
        self._is_mute = False

    @property
    def is_gone(self) -> bool:
        """Whether nothing that is written arrives any more."""
        return self._writer.is_closing()

    def send(self, *fields: Field) -> None:
        """Write one message; nothing where the client has gone or hears nothing."""
        if not self._writer.is_closing() and not self._is_mute:
            self._writer.write(frame(*fields))

    def tell(self, *fields: Field) -> None:
        """Write news of an order, that nobody asked for: after what is held back, if anything is."""
        if self._held is None:
            self.send(*fields)
        else:
            self._held.append(frame(*fields))

    def error(self, request_id: int, code: int, text: str) -> None:
        """Tell an error, a warning or a notice; ``request_id`` is the request's, -1 for none."""
        self.send(*self._error(request_id, code, text))

    def tell_error(self, order_id: int, code: int, text: str) -> None:
        """Tell an error about an order, as news of it."""
        self.tell(*self._error(order_id, code, text))

    def hold_news(self, seconds: float) -> None:
        """From now on news of orders comes late: all of it after this much wall time."""
        if self._held is None:
            self._held = []
        asyncio.get_running_loop().call_later(seconds, self._let_news_go)

    def be_mute(self, seconds: float) -> None:
        """Write nothing at all for this much wall time; what would have been written is lost."""
        self._is_mute = True
        asyncio.get_running_loop().call_later(seconds, self._speak)

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

    def _error(self, request_id: int, code: int, text: str) -> tuple[Field, ...]:
        more = ("",) if self.server_version >= 166 else ()  # the rejection as JSON
        return (_ERROR, 2, request_id, code, text, *more)

    def _let_news_go(self) -> None:
        held, self._held = self._held, None
        for message in held or ():
            if not self._writer.is_closing() and not self._is_mute:
                self._writer.write(message)

    def _speak(self) -> None:
        self._is_mute = False


Handler = Callable[[ConnectedClient, FieldReader], Awaitable[None] | None]
"""Answers one kind of message. The reader stands after the message's number and version."""
