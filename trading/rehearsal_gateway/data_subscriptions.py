"""Who is being sent what: subscriptions by client and request id."""

from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar

from trading.rehearsal_gateway.connected_client import ConnectedClient
from trading.rehearsal_gateway.refusals import Refused

What = TypeVar("What")


class Subscriptions(Generic[What]):
    """Subscriptions of one kind, each to a symbol, in the order in which they were made."""

    def __init__(self) -> None:
        self._by_symbol: dict[str, dict[tuple[ConnectedClient, int], What]] = {}
        self._symbols: dict[tuple[ConnectedClient, int], str] = {}

    def add(self, client: ConnectedClient, request_id: int, symbol: str, what: What) -> None:
        """Raises ``Refused`` where the client has one under this id."""
        if (client, request_id) in self._symbols:
            raise Refused(322, "Error processing request.-'rehearsal' : cause - Duplicate ticker id")
        self._symbols[client, request_id] = symbol
        self._by_symbol.setdefault(symbol, {})[client, request_id] = what

    def end(self, client: ConnectedClient, request_id: int) -> bool:
        """End a subscription; False where there was none."""
        symbol = self._symbols.pop((client, request_id), None)
        if symbol is None:
            return False
        del self._by_symbol[symbol][client, request_id]
        return True

    def forget(self, client: ConnectedClient) -> None:
        """End all subscriptions of a client."""
        for known, request_id in list(self._symbols):
            if known is client:
                self.end(known, request_id)

    def to(self, symbol: str) -> Iterable[tuple[ConnectedClient, int, What]]:
        """All subscriptions to a symbol."""
        return [(client, request_id, what) for (client, request_id), what in self._by_symbol.get(symbol, {}).items()]

    def __iter__(self) -> Iterator[tuple[str, ConnectedClient, int]]:
        return ((symbol, client, request_id) for (client, request_id), symbol in self._symbols.items())
