"""One alert for each thing that goes wrong, however many messages it makes: an episode begins once and ends once."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

_OFTEN, _WITHIN, _STAYS = 5, timedelta(minutes=10), timedelta(minutes=2)
"""What began so often within so long comes and goes: it is told again once it stays."""


class EpisodeKind(StrEnum):
    """What can go wrong with a broker's line. docs/interactive-brokers.md says what to do in each."""

    LINE_LOST = "line_lost"
    """The gateway's socket is gone, or it does not answer."""
    BROKER_AWAY = "broker_away"
    """The gateway is there and has lost the broker's servers (1100)."""
    CLIENT_ID_IN_USE = "client_id_in_use"
    """Another client has our number (326)."""
    LOGIN_NEEDED = "login_needed"
    """The gateway takes connections and is not logged in: a second factor, or its weekly login, is due."""
    WRONG_ACCOUNT = "wrong_account"
    """After a reconnect the account there is not the one that was traded."""
    DATA_FARM_BROKEN = "data_farm_broken"
    """The gateway has lost its market data (2103, 2105)."""
    DATA_SILENT = "data_silent"
    """A symbol's bars have stopped coming."""
    ORDER_DOUBTFUL = "order_doubtful"
    """The broker says two things about an order; it is being asked."""


@dataclass(frozen=True, slots=True)
class Alert:
    """What a person is told: that an episode began, or that it is over. ``at`` is the session's time."""

    kind: EpisodeKind
    subject: str
    text: str
    at: datetime
    is_over: bool = False


class Episodes:
    """Which episodes stand. Used by one thread; ``tell`` is called once at the beginning of each and once at its end.

    An episode that begins in the quiet of a restart window is told only if it outlasts it, one that comes and goes again and again
    only if it stays.
    """

    def __init__(self, tell: Callable[[Alert], None]) -> None:
        self._tell = tell
        self._standing: dict[tuple[EpisodeKind, str], Alert] = {}
        self._quiet: dict[tuple[EpisodeKind, str], tuple[Alert, datetime]] = {}
        self._begun: dict[tuple[EpisodeKind, str], list[datetime]] = {}

    def begin(
        self, kind: EpisodeKind, text: str, at: datetime, subject: str = "", quiet_until: datetime | None = None
    ) -> None:
        """Something is wrong; nothing new where it stands already."""
        key = (kind, subject)
        if key in self._standing or key in self._quiet:
            return
        alert = Alert(kind, subject, text, at)
        begun = self._begun[key] = [one for one in self._begun.get(key, ()) if at - one < _WITHIN]
        if quiet_until is None and len(begun) >= _OFTEN:
            quiet_until = at + _STAYS
        if quiet_until is not None:
            self._quiet[key] = alert, quiet_until
        else:
            begun.append(at)
            self._standing[key] = alert
            self._tell(alert)

    def end(self, kind: EpisodeKind, text: str, at: datetime, subject: str = "") -> None:
        """It is right again; nothing where it did not stand."""
        key = (kind, subject)
        self._quiet.pop(key, None)
        if self._standing.pop(key, None) is not None:
            self._tell(Alert(kind, subject, text, at, is_over=True))

    def look(self, now: datetime) -> None:
        """Tell of what was expected to be over by now and is not."""
        for key, (alert, until) in list(self._quiet.items()):
            if now >= until:
                del self._quiet[key]
                self._standing[key] = alert
                self._tell(alert)

    def stands(self, kind: EpisodeKind, subject: str = "") -> bool:
        """Whether it is wrong now, told or not."""
        return (kind, subject) in self._standing or (kind, subject) in self._quiet
