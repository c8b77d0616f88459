"""What the sessions of one account came to, one by one: what a replay finds of itself, and tells of itself."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from storage.connection import Connection
from storage.reading import SESSION_COLUMNS, session_record_of, utc
from trading.sessions import SessionRecord


@dataclass(frozen=True, slots=True)
class SessionFigures:
    """One session in figures: its P&L net of commissions, ``max_drawdown`` a fraction of the highest equity of the account before.

    ``trades`` are the round trips that it closed, ``winning_trades`` those of them that earned something.
    """

    record: SessionRecord
    bars: int
    orders: int
    fills: int
    realized_pnl: Decimal
    commissions: Decimal
    ending_equity: Decimal
    max_drawdown: Decimal
    trades: int
    winning_trades: int


def figures_of_account(connection: Connection, account: str) -> list[SessionFigures]:
    """Every session of the account, in the order of its days."""
    found = connection.rows(
        f"""
        WITH valued AS (
            SELECT session_id, count(*) AS bars, max(drawdown) AS drawdown
            FROM equity SEMI JOIN (FROM sessions WHERE account = $1) USING (session_id) GROUP BY session_id
        ),
        ordered AS (SELECT session_id, count(*) AS orders FROM orders WHERE account = $1 GROUP BY session_id),
        closed AS (
            SELECT exit_session_id AS session_id, count(*) AS trades, count(*) FILTER (realized_pnl > 0) AS winning
            FROM trades WHERE account = $1 GROUP BY exit_session_id
        ),
        day AS (
            SELECT session_id, fills, realized_pnl, commissions, ending_equity FROM daily_pnl WHERE account = $1
        )
        SELECT
            {SESSION_COLUMNS},
            coalesce(valued.bars, 0), coalesce(ordered.orders, 0), day.fills, day.realized_pnl, day.commissions,
            day.ending_equity, coalesce(valued.drawdown, 0), coalesce(closed.trades, 0), coalesce(closed.winning, 0)
        FROM sessions
        JOIN day USING (session_id)
        LEFT JOIN valued USING (session_id)
        LEFT JOIN ordered USING (session_id)
        LEFT JOIN closed USING (session_id)
        WHERE account = $1
        ORDER BY session_date, started_at, session_id
        """,
        [account],
    )
    return [SessionFigures(session_record_of(row[:-9]), *row[-9:]) for row in found]


def equity_of_account(connection: Connection, account: str) -> list[tuple[datetime, Decimal, Decimal]]:
    """Bar time, equity and drawdown of every bar of the account's sessions, oldest first."""
    found = connection.rows(
        """
        SELECT bar_time, equity, drawdown
        FROM equity SEMI JOIN (FROM sessions WHERE account = ?) USING (session_id) ORDER BY bar_time
        """,
        [account],
    )
    return [(utc(bar_time), equity, drawdown) for bar_time, equity, drawdown in found]
