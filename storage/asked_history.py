"""What sources were asked for and did not have: the table ``history_asked``."""

from dataclasses import dataclass
from datetime import date, datetime

from storage.connection import Connection
from trading.bars import Timeframe

_BELIEVED_AFTER = 2
"""Answers with the same number of bars missing: one may be of a broker that is not well."""


@dataclass(frozen=True, slots=True)
class AskedBefore:
    """What a source has said of one session: ``missing`` bars it has none of, ``times`` in a row."""

    missing: int
    times: int

    @property
    def is_believed(self) -> bool:
        """Whether what is missing counts as not traded."""
        return self.times >= _BELIEVED_AFTER


def asked_before(
    connection: Connection, source: str, timeframe: Timeframe, first: date, last: date
) -> dict[tuple[str, date], AskedBefore]:
    """What the source was asked for, by symbol and session."""
    found = connection.rows(
        "SELECT symbol, session_date, missing, times FROM history_asked"
        " WHERE source = ? AND timeframe = ? AND session_date BETWEEN ? AND ?",
        [source, timeframe, first, last],
    )
    return {(symbol, day): AskedBefore(missing, times) for symbol, day, missing, times in found}


def note_answer(
    connection: Connection, source: str, symbol: str, timeframe: Timeframe, day: date, missing: int, at: datetime
) -> None:
    """Write, inside a transaction, that after an answer of the source so many bars are missing; nothing where none is."""
    key = [source, symbol, timeframe, day]
    if not missing:
        connection.execute(
            "DELETE FROM history_asked WHERE source = ? AND symbol = ? AND timeframe = ? AND session_date = ?", key
        )
        return
    connection.execute(
        """
        INSERT INTO history_asked (source, symbol, timeframe, session_date, missing, times, asked_at)
        VALUES (?, ?, ?, ?, ?, 1, ?)
        ON CONFLICT DO UPDATE SET
            times = if(history_asked.missing = excluded.missing, history_asked.times + 1, 1),
            missing = excluded.missing, asked_at = excluded.asked_at
        """,
        [*key, missing, at],
    )
