"""What the ledger tells of how its sessions fare: a handful of short questions, asked in one visit.

The rule: nothing is locked for longer than these questions take, and a session that wants the file gets it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path

from storage.questions import standing_halts
from storage.reading import utc, utc_or_none
from storage.runners import is_surely_gone
from storage.store import Store
from storage.visit import read_from
from trading.bars import Timeframe
from trading.decisions import Halt
from trading.leases import Runner
from trading.replay_accounts import PREFIX

_REMEMBERED = timedelta(days=7)
"""Sessions that were killed longer ago are history."""


@dataclass(frozen=True, slots=True)
class WatchedSession:
    """A session of the day, or one that says that it runs. ``pace`` is as it was set: live, max or a number as text.

    ``lease_expires_at`` is None where the lease was given back or never taken. ``failures`` counts the newest bars in a row on
    which the policy decided nothing, with the newest reason.
    """

    session_id: str
    strategy: str
    session_date: date
    mode: str
    state: str
    started_at: datetime
    last_bar_time: datetime | None
    pace: str
    bar_length: timedelta
    pid: int | None
    is_gone: bool
    lease_expires_at: datetime | None
    failures: int
    newest_failure: str


@dataclass(frozen=True, slots=True)
class StandingDifference:
    """An account whose newest comparison with its broker left differences."""

    account: str
    session_id: str
    seen_at: datetime
    remaining: int


@dataclass(frozen=True, slots=True)
class Lock:
    """A symbol in which no new risk is taken."""

    account: str
    symbol: str
    locked_at: datetime
    reason: str


@dataclass(frozen=True, slots=True)
class HealthFacts:
    """All of that, as of one look. ``newest_moment`` is the latest time that the ledger has written down."""

    sessions: Sequence[WatchedSession]
    differences: Sequence[StandingDifference]
    locks: Sequence[Lock]
    halts: Sequence[Halt]
    newest_moment: datetime | None


def health_facts(path: Path, today: date, now: datetime) -> HealthFacts:
    """The facts of the database at ``path``, free or held. Raises ``StoreBusy`` where its holder lets nobody in, or another ``StoreError``."""
    return read_from(path, lambda store: _asked(store, today, now))


def _asked(store: Store, today: date, now: datetime) -> HealthFacts:
    rows = store.connection.rows
    sessions = rows(
        """
        SELECT sessions.session_id, strategy, session_date, mode, state, started_at, last_bar_time,
            json_extract_string(settings, '$.session.pace'), json_extract_string(settings, '$.session.timeframe'),
            host, pid, process_started, run, if(released_at IS NULL, expires_at, NULL)
        FROM sessions LEFT JOIN session_leases USING (session_id)
        WHERE (session_date = $1 OR (started_at >= $2 AND (state = 'RUNNING' OR mode = 'synthetic')))
            AND NOT starts_with(account, $3)
        ORDER BY started_at, sessions.session_id
        """,
        [today, now - _REMEMBERED, PREFIX],
    )
    failing = {
        name: (count, reason)
        for name, count, reason in rows(
            """
            SELECT session_id, count(DISTINCT bar_time), arg_max(error, bar_time)
            FROM decisions AS failed
            WHERE error IS NOT NULL AND session_id IN (SELECT session_id FROM sessions WHERE state = 'RUNNING')
                AND bar_time > coalesce((
                    SELECT max(bar_time) FROM decisions AS well
                    WHERE well.session_id = failed.session_id AND well.symbol = failed.symbol AND well.error IS NULL
                ), 'epoch')
            GROUP BY session_id
            """
        )
    }
    differences = rows(
        """
        SELECT account, session_id, reconciled_at, remaining FROM reconciliations
        WHERE remaining > 0
            AND reconciliation_id IN (SELECT max(reconciliation_id) FROM reconciliations GROUP BY account)
        ORDER BY account
        """
    )
    locks = rows(
        "SELECT account, symbol, locked_at, reason FROM instrument_locks WHERE lifted_at IS NULL ORDER BY account, symbol"
    )
    [(newest,)] = rows("SELECT max(greatest(started_at, coalesce(ended_at, started_at))) FROM sessions")
    return HealthFacts(
        tuple(_session(row, *failing.get(row[0], (0, ""))) for row in sessions),
        tuple(StandingDifference(account, name, utc(at), remaining) for account, name, at, remaining in differences),
        tuple(Lock(account, symbol, utc(at), reason) for account, symbol, at, reason in locks),
        tuple(standing_halts(store, now)),
        utc_or_none(newest),
    )


def _session(row: Sequence[object], failures: int, newest_failure: str) -> WatchedSession:
    name, strategy, day, mode, state, started, last, pace, timeframe, host, pid, process_started, run, expires = row
    is_gone = pid is not None and is_surely_gone(Runner(str(host), int(str(pid)), str(process_started), str(run)))
    assert isinstance(day, date)
    assert isinstance(started, datetime)
    assert last is None or isinstance(last, datetime)
    assert expires is None or isinstance(expires, datetime)
    return WatchedSession(
        str(name),
        str(strategy),
        day,
        str(mode),
        str(state),
        utc(started),
        utc_or_none(last),
        str(pace),
        Timeframe(str(timeframe or "1min")).length,
        None if pid is None else int(str(pid)),
        is_gone,
        utc_or_none(expires),
        failures,
        newest_failure,
    )
