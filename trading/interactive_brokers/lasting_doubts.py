"""Orders that stay in doubt though the broker was asked about them: a person is told, once for each."""

from collections.abc import Callable, Iterable

from trading.interactive_brokers.broker_orders import KnownOrder
from trading.interactive_brokers.connection import GatewayConnection
from trading.interactive_brokers.episodes import EpisodeKind


class LastingDoubts:
    """Knows since when an order is in doubt. On the connection's thread.

    ``monotonic`` gives seconds of the machine. A doubt that the next answers settle is told to nobody: it is one that a question
    some ``answer_timeout_seconds`` later did not settle either.
    """

    def __init__(self, connection: GatewayConnection, monotonic: Callable[[], float]) -> None:
        self._connection = connection
        self._monotonic = monotonic
        self._patience = float(connection.settings.answer_timeout_seconds)
        self._since: dict[str, float] = {}
        self._told: set[str] = set()

    def look(self, doubts: Iterable[KnownOrder]) -> None:
        """These are in doubt, and the broker was asked about them just now."""
        now = self._monotonic()
        standing = {one.reference or one.broker_id: one for one in doubts}
        for name, known in standing.items():
            since = self._since.setdefault(name, now)
            if name not in self._told and now - since >= self._patience:
                self._told.add(name)
                self._connection.begin_episode(EpisodeKind.ORDER_DOUBTFUL, _words(name, known), name)
        for name in [name for name in self._since if name not in standing]:
            del self._since[name]
            if name in self._told:
                self._told.discard(name)
                self._connection.end_episode(
                    EpisodeKind.ORDER_DOUBTFUL, f"The broker is clear about order {name} again.", name
                )


def _words(name: str, known: KnownOrder) -> str:
    what = f"says {known.word or 'nothing'}" + (f" and {known.told_filled} filled" if known.told_filled else "")
    more = known.refusal or known.remark
    return (
        f"Of order {name} in {known.symbol} the broker {what}{f' ({more})' if more else ''}, and neither its open orders nor its "
        "executions bear that out. It is asked again and again; nothing is sent in its place. Look at the order in TWS."
    )
