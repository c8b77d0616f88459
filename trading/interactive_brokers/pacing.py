"""How often past bars may be asked for: counted on the wall, so that a question never comes too soon.

The broker's rules: no more than 60 requests in ten minutes, none identical within 15 seconds, fewer than six of one contract
within two seconds. Of messages no more than 50 a second may be sent, whatever they are: that the library counts. Source: TWS
API, "Historical Data Limitations".
"""

from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass

WINDOW_SECONDS, MOST_IN_WINDOW = 600.0, 60
SAME_AGAIN_SECONDS = 15.0
BURST_SECONDS, MOST_IN_BURST = 2.0, 5

_SLACK = 0.05
"""A question is counted when it arrives there, which is never sooner than it was sent, and not always as much later."""


@dataclass(frozen=True, slots=True)
class _Asked:
    at: float
    request: Hashable
    contract: Hashable


class HistoryPacing:
    """The requests of the last ten minutes. ``at`` is in seconds of any clock that never goes back."""

    def __init__(self) -> None:
        self._asked: deque[_Asked] = deque()
        self._not_before = float("-inf")

    def wait(self, request: Hashable, contract: Hashable, at: float) -> float:
        """Seconds from ``at`` until the request may be made; 0 where it may be made now."""
        self._forget(at)
        free_at = max(self._not_before, at)
        if len(self._asked) >= MOST_IN_WINDOW:
            free_at = max(free_at, self._asked[-MOST_IN_WINDOW].at + WINDOW_SECONDS + _SLACK)
        same = [one.at for one in self._asked if one.request == request]
        if same:
            free_at = max(free_at, same[-1] + SAME_AGAIN_SECONDS + _SLACK)
        of_contract = [one.at for one in self._asked if one.contract == contract]
        if len(of_contract) >= MOST_IN_BURST:
            free_at = max(free_at, of_contract[-MOST_IN_BURST] + BURST_SECONDS + _SLACK)
        return free_at - at

    def note(self, request: Hashable, contract: Hashable, at: float) -> None:
        """The request is made now."""
        self._asked.append(_Asked(at, request, contract))

    def violated(self, at: float, seconds: float) -> None:
        """The broker says that it was too much: nothing is asked for so many seconds."""
        self._not_before = max(self._not_before, at + seconds)

    def _forget(self, at: float) -> None:
        while self._asked and at - self._asked[0].at > WINDOW_SECONDS + _SLACK:
            self._asked.popleft()
