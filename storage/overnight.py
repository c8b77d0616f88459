"""What an account had at the end of an exchange date, and what nobody has explained since."""

from dataclasses import dataclass
from datetime import date, datetime

from storage.reading import utc
from storage.store import Store


@dataclass(frozen=True, slots=True)
class StandingOrder:
    """An order of ours that is not over: it works on, or nobody knows what became of it."""

    client_order_id: str
    session_date: date
    symbol: str
    side: str
    remaining: int
    time_in_force: str
    status: str


@dataclass(frozen=True, slots=True)
class LastSign:
    """When a session's runner last showed that it was there, and on which machine; its process."""

    seen_at: datetime
    host: str
    pid: int


def positions_after(store: Store, account: str, day: date) -> dict[str, int]:
    """Signed shares of each symbol that the account held after the sessions of ``day``, by its own executions."""
    return dict(
        store.connection.rows(
            """
            SELECT symbol, CAST(sum(if(side = 'BUY', quantity, -quantity)) AS BIGINT) AS shares
            FROM fills JOIN sessions USING (session_id)
            WHERE fills.account = ? AND session_date <= ?
            GROUP BY symbol HAVING shares <> 0 ORDER BY symbol
            """,
            [account, day],
        )
    )


def standing_orders(store: Store, account: str, day: date) -> list[StandingOrder]:
    """Orders of sessions up to ``day`` that are not over by now, oldest first."""
    found = store.connection.rows(
        """
        SELECT client_order_id, session_date, symbol, side, remaining, time_in_force, status
        FROM open_orders JOIN sessions USING (session_id)
        WHERE open_orders.account = ? AND session_date <= ? ORDER BY created_at, client_order_id
        """,
        [account, day],
    )
    return [StandingOrder(*row) for row in found]


def last_sign(store: Store, session_id: str) -> LastSign | None:
    """The last sign of the session's runner; None where none ever took its lease."""
    found = store.connection.rows("SELECT renewed_at, host, pid FROM session_leases WHERE session_id = ?", [session_id])
    return next((LastSign(utc(seen), host.partition("#")[0], pid) for seen, host, pid in found), None)
