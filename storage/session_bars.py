"""The bars that sessions decided on, as they were recorded."""

from itertools import groupby

from storage.connection import Connection
from storage.reading import utc
from trading.bars import Bar, BarSlice


def bars_decided_on(connection: Connection, session_id: str) -> list[BarSlice]:
    """The session's bars moment by moment; none for a session that a replay made, which decides on stored bars."""
    found = connection.rows(
        """
        SELECT bar_time, symbol, open, high, low, close, volume
        FROM session_bars WHERE session_id = ? ORDER BY bar_time, symbol
        """,
        [session_id],
    )
    bars = [
        Bar(symbol, utc(bar_time), opened, high, low, close, volume)
        for bar_time, symbol, opened, high, low, close, volume in found
    ]
    return [
        BarSlice(bar_time, {bar.symbol: bar for bar in moment})
        for bar_time, moment in groupby(bars, key=lambda bar: bar.bar_time)
    ]
