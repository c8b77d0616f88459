"""What risk rules and stops ask of the account's past when a session starts.

The rule: an account's history is that of all its sessions, whatever strategy traded them, by their exchange dates.
"""

from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal

from storage.connection import Connection
from storage.reading import (
    LIMIT_CHANGE_COLUMNS,
    SESSION_COLUMNS,
    STOP_COLUMNS,
    STOP_STEP_COLUMNS,
    limit_change_of,
    session_record_of,
    stop_of,
    stop_step_of,
    utc,
)
from trading.limit_changes import LimitChange
from trading.sessions import SessionRecord
from trading.stops import Stop, StopStep


def high_water_mark(connection: Connection, account: str, since: date | None) -> Decimal | None:
    """The highest equity at a bar's close, of sessions from ``since`` on where that is given."""
    [(highest,)] = connection.rows(
        """
        SELECT max(equity)
        FROM equity
        SEMI JOIN (FROM sessions WHERE account = $1 AND ($2::DATE IS NULL OR session_date >= $2::DATE)) USING (session_id)
        """,
        [account, since],
    )
    return highest if highest is None else Decimal(highest)


def equity_since(connection: Connection, account: str, since: datetime) -> list[tuple[datetime, Decimal]]:
    """Bar times and equities at or after ``since``, in the order of writing: rows are only ever added."""
    found = connection.rows(
        """
        SELECT equity.bar_time, equity.equity
        FROM equity JOIN sessions USING (session_id)
        WHERE sessions.account = ? AND equity.bar_time >= ?
        ORDER BY equity.rowid
        """,
        [account, since],
    )
    return [(utc(bar_time), equity) for bar_time, equity in found]


def first_session_of(connection: Connection, account: str, session_date: date) -> SessionRecord | None:
    """The session that was started first on the date, of those that processed a bar."""
    found = connection.rows(
        f"""
        SELECT {SESSION_COLUMNS} FROM sessions
        WHERE account = ? AND session_date = ? AND last_bar_time IS NOT NULL
        ORDER BY started_at, session_id LIMIT 1
        """,
        [account, session_date],
    )
    return session_record_of(found[0]) if found else None


def marks_before(connection: Connection, account: str, session_date: date) -> Mapping[str, Decimal]:
    """The newest prices that were kept in sessions before the date; none where nothing was held then."""
    found = connection.rows(
        """
        SELECT equity.marks
        FROM equity JOIN sessions USING (session_id)
        WHERE sessions.account = ? AND sessions.session_date < ? AND equity.marks IS NOT NULL
        ORDER BY equity.rowid DESC LIMIT 1
        """,
        [account, session_date],
    )
    return dict(found[0][0]) if found else {}


def cancels_since(connection: Connection, account: str, since: datetime) -> list[datetime]:
    """When the cancel of each order was asked for, the first time that it was."""
    found = connection.rows(
        """
        SELECT min(order_events.event_time) AS asked_at
        FROM order_events JOIN orders USING (client_order_id)
        WHERE orders.account = ? AND order_events.status = 'CANCEL_PENDING'
        GROUP BY client_order_id
        HAVING asked_at >= ?
        ORDER BY asked_at
        """,
        [account, since],
    )
    return [utc(asked_at) for (asked_at,) in found]


def day_trades(connection: Connection, account: str, since: date, before: date) -> int:
    """Closing orders, per date and symbol, of round trips whose two fills belong to sessions of one date.

    A closing fill whose order was made elsewhere has no id of ours and counts by itself.
    """
    [(count,)] = connection.rows(
        """
        SELECT count(DISTINCT (
            left_in.session_date, trades.symbol, coalesce(nullif(closing.client_order_id, ''), closing.exec_id)
        ))
        FROM trades
        JOIN sessions AS entered_in ON entered_in.session_id = trades.entry_session_id
        JOIN sessions AS left_in ON left_in.session_id = trades.exit_session_id
        JOIN fills AS closing ON closing.booking = trades.booking AND closing.account = trades.account
        WHERE trades.account = $1 AND entered_in.session_date = left_in.session_date
            AND left_in.session_date >= $2 AND left_in.session_date < $3
        """,
        [account, since, before],
    )
    return int(count)


def unfinished_stops(connection: Connection, account: str) -> list[Stop]:
    """Stops that have neither succeeded nor ended, oldest first."""
    found = connection.rows(
        f"""
        SELECT {STOP_COLUMNS} FROM stops
        WHERE account = ? AND state <> 'SUCCEEDED' AND ended_at IS NULL ORDER BY started_at, stop_id
        """,
        [account],
    )
    return list(map(stop_of, found))


def stop_steps(connection: Connection, stop_id: str) -> list[StopStep]:
    """The steps of one stop by their numbers."""
    found = connection.rows(f"SELECT {STOP_STEP_COLUMNS} FROM stop_steps WHERE stop_id = ? ORDER BY number", [stop_id])
    return list(map(stop_step_of, found))


def limit_changes(connection: Connection, session_id: str) -> list[LimitChange]:
    """What was changed and not refused, in the order of writing: the last word on a setting is what it is now."""
    found = connection.rows(
        f"SELECT {LIMIT_CHANGE_COLUMNS} FROM limit_changes WHERE session_id = ? AND refusal = '' ORDER BY rowid",
        [session_id],
    )
    return list(map(limit_change_of, found))
