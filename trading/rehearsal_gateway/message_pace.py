"""How fast clients talk: a real gateway cuts off who sends more than fifty messages a second."""

from collections import deque
from collections.abc import MutableMapping

_A_SECOND = 1.0


class MessagePace:
    """``most``: by client id, the most messages within any second of wall time."""

    def __init__(self) -> None:
        self.most: MutableMapping[int, int] = {}
        self._recent: dict[int, deque[float]] = {}

    def count(self, client_id: int, at_seconds: float) -> None:
        """A message has come."""
        recent = self._recent.setdefault(client_id, deque())
        recent.append(at_seconds)
        while recent[0] <= at_seconds - _A_SECOND:
            recent.popleft()
        self.most[client_id] = max(self.most.get(client_id, 0), len(recent))
