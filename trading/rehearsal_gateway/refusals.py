"""Requests that are answered with an error instead of what was asked for."""

from collections.abc import Callable

from trading.rehearsal_gateway.connected_client import ConnectedClient, Handler
from trading.rehearsal_gateway.wire import FieldReader


class Refused(Exception):
    """A request is answered with an error: its code and its text, as Interactive Brokers words it where that is known."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


def answered(answer: Callable[[ConnectedClient, int, FieldReader], None]) -> Handler:
    """A handler of requests that begin with their id; ``Refused`` becomes the error."""

    def handle(client: ConnectedClient, fields: FieldReader) -> None:
        request_id = fields.integer()
        try:
            answer(client, request_id, fields)
        except Refused as refusal:
            client.error(request_id, refusal.code, refusal.text)

    return handle
