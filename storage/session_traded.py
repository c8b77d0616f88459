"""Which session the process trades that holds the database: many sessions can say that they run, when they were killed."""

from storage.connection import Connection
from storage.reading import SESSION_COLUMNS, session_record_of
from trading.sessions import SessionRecord


def session_traded_by(connection: Connection, pid: int) -> SessionRecord | None:
    """The session whose lease the process of this machine has; None where it has none."""
    found = connection.rows(
        f"""
        SELECT {SESSION_COLUMNS} FROM sessions SEMI JOIN (
            SELECT session_id FROM session_leases WHERE pid = ? AND released_at IS NULL
            ORDER BY acquired_at DESC LIMIT 1
        ) USING (session_id)
        """,
        [pid],
    )
    return session_record_of(found[0]) if found else None
