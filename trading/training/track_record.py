"""What an account went through, bar by bar: what statistics are taken from, whoever traded."""

from dataclasses import dataclass
from datetime import date

from trading.bars import Column
from trading.orders import Execution


@dataclass(frozen=True, slots=True)
class TrackRecord:
    """An account over sessions in order, costs included. Money is int micros.

    Of each bar: ``bar_time`` (its open in microseconds), ``equity`` and ``market_value`` (signed) at its close. Of each session: its
    date, how many bars came up to its end, and the equity after its close, when orders for the closing auction have traded.
    ``fills`` are all executions in order.
    """

    starting_equity: int
    bar_time: Column
    equity: Column
    market_value: Column
    session_dates: tuple[date, ...]
    session_ends: Column
    session_equity: Column
    fills: tuple[Execution, ...]

    def __post_init__(self) -> None:
        bars, sessions = len(self.bar_time), len(self.session_dates)
        if not len(self.equity) == len(self.market_value) == bars:
            raise ValueError(f"{bars} bars, {len(self.equity)} equities and {len(self.market_value)} market values")
        if not len(self.session_ends) == len(self.session_equity) == sessions:
            raise ValueError(
                f"{sessions} sessions, {len(self.session_ends)} ends and {len(self.session_equity)} equities after the close"
            )
        if sessions and int(self.session_ends[-1]) > bars:
            raise ValueError(f"the last session ends after {int(self.session_ends[-1])} of {bars} bars")
