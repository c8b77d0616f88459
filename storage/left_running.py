"""Sessions that the ledger has as running while nobody trades them: their process was killed before it could say so."""

from dataclasses import dataclass
from datetime import date, datetime

from storage.connection import Connection
from storage.reading import utc
from storage.runners import is_surely_gone
from trading.leases import Runner


@dataclass(frozen=True, slots=True)
class LeftRunning:
    """One session that is RUNNING in a ledger which no process holds. ``holder`` had its lease; None where none was taken.

    ``is_gone``: that process has surely ended, or its lease has run out. Otherwise it may trade on another machine.
    """

    session_id: str
    strategy: str
    session_date: date
    last_bar_time: datetime | None
    holder: Runner | None
    is_gone: bool


def sessions_left_running(connection: Connection, now: datetime) -> list[LeftRunning]:
    """All of them, the newest day first."""
    rows = connection.rows(
        """
        SELECT s.session_id, s.strategy, s.session_date, s.last_bar_time, l.host, l.pid, l.process_started, l.run,
               l.expires_at, l.released_at
        FROM sessions s LEFT JOIN session_leases l USING (session_id)
        WHERE s.state = 'RUNNING'
        ORDER BY s.session_date DESC, s.session_id
        """
    )
    found = []
    for session_id, strategy, day, last_bar, host, pid, started, run, expires_at, released_at in rows:
        holder = Runner(host, pid, started, run) if host is not None else None
        is_held = holder is not None and released_at is None and utc(expires_at) > now
        found.append(
            LeftRunning(
                session_id,
                strategy,
                day,
                utc(last_bar) if last_bar is not None else None,
                holder,
                holder is None or not is_held or is_surely_gone(holder),
            )
        )
    return found
