"""How often past bars may be asked for, as Interactive Brokers limits it: counted on the wall, whatever the market's speed."""

from collections import deque
from collections.abc import Callable, Hashable

SAME_AGAIN_SECONDS = 15.0
WINDOW_SECONDS, MOST_IN_WINDOW = 600.0, 60


class Pacing:
    """Counts the requests of all clients. ``is_on`` False: everything may be asked."""

    def __init__(self, is_on: bool, wall_seconds: Callable[[], float]) -> None:
        self.is_on = is_on
        self._wall_seconds = wall_seconds
        self._asked: deque[tuple[float, Hashable]] = deque()

    def allows(self, request: Hashable) -> bool:
        """Whether the request may be answered: the same was not asked within 15 s, and fewer than 60 within 10 minutes.

        A request that is refused counts no further.
        """
        now = self._wall_seconds()
        while self._asked and now - self._asked[0][0] >= WINDOW_SECONDS:
            self._asked.popleft()
        repeated = any(now - at < SAME_AGAIN_SECONDS and before == request for at, before in self._asked)
        if self.is_on and (repeated or len(self._asked) >= MOST_IN_WINDOW):
            return False
        self._asked.append((now, request))
        return True
