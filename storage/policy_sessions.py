"""What the gate between stages asks of the history: sessions that a policy traded, and stored sessions that it has not seen."""

from collections.abc import Sequence
from datetime import date, datetime, timedelta

from storage.connection import Connection
from storage.reading import utc
from trading.bars import Timeframe
from trading.calendar import TradingCalendar
from trading.promotion import PaperRecord
from trading.replay_accounts import PREFIX
from trading.trading_hours import TradingHours

_LOOKED_BACK = timedelta(days=400)
"""Longer than the 250 sessions that are asked for at most, and as far as a calendar reaches back."""


def paper_record(connection: Connection, fingerprint: str, trained_until: datetime) -> PaperRecord:
    """Sessions of later dates than ``trained_until`` that the policy traded, whatever the broker; not those of an invented market, nor of a
    replay of many.

    Its failures are those of sessions that were stopped, too.
    """
    [(sessions, failures)] = connection.rows(
        """
        WITH traded AS (
            SELECT session_id, state FROM sessions
            WHERE policy_fingerprint = ? AND session_date > ? AND mode <> 'synthetic' AND NOT starts_with(account, ?)
        )
        SELECT
            (SELECT count(*) FROM traded WHERE state = 'COMPLETED'),
            (SELECT count(*) FROM decisions SEMI JOIN traded USING (session_id) WHERE error IS NOT NULL)
        """,
        [fingerprint, trained_until.date(), PREFIX],
    )
    return PaperRecord(int(sessions), int(failures))


def unseen_sessions(
    connection: Connection, symbols: Sequence[str], exchange: str, timeframe: Timeframe, after: datetime, most: int
) -> tuple[TradingHours, ...]:
    """The newest sessions that open after the moment and have stored bars of every symbol, oldest first."""
    [(last,)] = connection.rows(
        "SELECT max(bar_time) FROM bars WHERE timeframe = ? AND list_contains(?, symbol)", [timeframe, list(symbols)]
    )
    if last is None or utc(last) <= after:
        return ()
    calendar = TradingCalendar(exchange, utc(last).date())
    first, until = (calendar.exchange_date(moment) for moment in (max(after, utc(last) - _LOOKED_BACK), utc(last)))
    hours = [one for one in calendar.sessions_between(first, until) if one.opens_at > after]
    whole = _with_bars(connection, symbols, timeframe, hours)
    return tuple(one for one in hours if one.session_date in whole)[-most:]


def _with_bars(
    connection: Connection, symbols: Sequence[str], timeframe: Timeframe, hours: Sequence[TradingHours]
) -> set[date]:
    if not hours:
        return set()
    found = connection.rows(
        """
        SELECT opens_at
        FROM (SELECT unnest(?) AS opens_at, unnest(?) AS closes_at) AS hours
        JOIN bars ON bars.bar_time >= hours.opens_at AND bars.bar_time < hours.closes_at
        WHERE bars.timeframe = ? AND list_contains(?, bars.symbol)
        GROUP BY opens_at HAVING count(DISTINCT bars.symbol) = ?
        """,
        [
            [one.opens_at for one in hours],
            [one.closes_at for one in hours],
            timeframe,
            list(symbols),
            len(set(symbols)),
        ],
    )
    opened = {utc(opens_at) for (opens_at,) in found}
    return {one.session_date for one in hours if one.opens_at in opened}
