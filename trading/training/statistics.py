"""What an account's record comes to, after costs. What cannot be told is None, never a number that looks like one."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

import numpy as np
from numpy.typing import NDArray

from trading.bars import from_epoch_us
from trading.money import ZERO, to_micros
from trading.training.round_trips import RoundTrip, round_trips
from trading.training.sharpe import Sharpe, sharpe_of
from trading.training.track_record import TrackRecord

SESSIONS_PER_YEAR = 252
"""Of exchanges in the US; what a year means in annual figures."""


@dataclass(frozen=True, slots=True)
class Drawdown:
    """The deepest fall of equity from a high, as a positive fraction of it.

    Times are opens of bars: ``peak_at`` is None where the account never stood higher than at its beginning, ``recovered_at`` where
    it has not come back.
    """

    fraction: float
    peak_at: datetime | None
    trough_at: datetime
    recovered_at: datetime | None


@dataclass(frozen=True, slots=True)
class Statistics:
    """Of a whole record. Fractions are fractions (0.01 is 1 %), money is in units of the currency.

    ``sharpe`` is that of session returns (``sharpe.annual(SESSIONS_PER_YEAR)`` with its error), None with fewer than two sessions or where
    nothing ever changed. ``drawdown`` is by bar, None where equity never fell. ``turnover`` is the money traded a session as a fraction of
    mean equity, ``exposure`` the fraction of bars with a position, ``gross_exposure`` the mean size of the position as a fraction of equity.
    Round trips are from flat to flat; their figures are None where none is over.
    """

    sessions: int
    bars: int
    total_return: float
    sharpe: Sharpe | None
    drawdown: Drawdown | None
    turnover: float | None
    exposure: float | None
    gross_exposure: float | None
    commissions: Decimal
    executions: int
    trips: int
    hit_rate: float | None
    average_trade: Decimal | None
    average_trade_fraction: float | None

    @property
    def annual_sharpe(self) -> float | None:
        """Of a year."""
        return None if self.sharpe is None else self.sharpe.annual(SESSIONS_PER_YEAR)

    @property
    def annual_sharpe_error(self) -> float | None:
        """The standard error of ``annual_sharpe``."""
        return None if self.sharpe is None else self.sharpe.annual_error(SESSIONS_PER_YEAR)

    @property
    def probabilistic_sharpe(self) -> float | None:
        """Probability that the true Sharpe ratio is above zero."""
        return None if self.sharpe is None else self.sharpe.probability_above(0.0)


def statistics_of(record: TrackRecord) -> Statistics:
    """All figures of a record."""
    bars, sessions = len(record.bar_time), len(record.session_dates)
    trips = round_trips(record.fills)
    traded = sum((fill.quantity * fill.price for fill in record.fills), ZERO)
    mean_equity = float(record.equity.mean()) if bars else 0.0
    held = record.market_value != 0
    last = int(record.session_equity[-1]) if sessions else int(record.equity[-1]) if bars else record.starting_equity
    return Statistics(
        sessions,
        bars,
        last / record.starting_equity - 1,
        sharpe_of(session_returns(record)),
        deepest_fall(record),
        to_micros(traded) / mean_equity / sessions if sessions and mean_equity > 0 else None,
        float(held.mean()) if bars else None,
        float(np.abs(record.market_value).mean()) / mean_equity if mean_equity > 0 else None,
        sum((fill.commission or ZERO for fill in record.fills), ZERO),
        len(record.fills),
        len(trips),
        sum(trip.made_money for trip in trips) / len(trips) if trips else None,
        sum((trip.pnl for trip in trips), ZERO) / len(trips) if trips else None,
        _mean_fraction(trips),
    )


def session_returns(record: TrackRecord) -> NDArray[np.float64]:
    """The return of each session as a fraction: from the equity after the close before it to that after its own.

    An account that has nothing left returns nothing more.
    """
    equity = np.concatenate(([record.starting_equity], record.session_equity)).astype(np.float64)
    return _changes(equity)


def bar_returns(record: TrackRecord) -> NDArray[np.float64]:
    """The return of each bar as a fraction, from the close before it; what trades after a session's last bar counts to the next one."""
    equity = np.concatenate(([record.starting_equity], record.equity)).astype(np.float64)
    return _changes(equity)


def _changes(equity: NDArray[np.float64]) -> NDArray[np.float64]:
    before, after = equity[:-1], equity[1:]
    alive = before > 0
    changes: NDArray[np.float64] = np.where(alive, (after - before) / np.where(alive, before, 1.0), 0.0)
    return changes


def deepest_fall(record: TrackRecord) -> Drawdown | None:
    """The deepest fall from a high, by bar and after each close; None where equity never fell."""
    # What trades in the closing auction comes after the last bar and is told under its time.
    ends, closing = record.session_ends, record.session_equity
    with_bars = ends > np.concatenate(([0], ends[:-1]))
    equity = np.insert(record.equity, ends[with_bars], closing[with_bars])
    times = np.insert(record.bar_time, ends[with_bars], record.bar_time[ends[with_bars] - 1])
    if not len(equity):
        return None
    highs = np.maximum.accumulate(np.maximum(equity, record.starting_equity))
    falls = (highs - equity) / highs
    trough = int(falls.argmax())
    if falls[trough] <= 0:
        return None
    high = highs[trough]
    peak = np.flatnonzero(equity[:trough] == high)
    back = np.flatnonzero(equity[trough:] >= high)
    return Drawdown(
        float(falls[trough]),
        from_epoch_us(int(times[peak[-1]])) if len(peak) else None,
        from_epoch_us(int(times[trough])),
        from_epoch_us(int(times[trough + int(back[0])])) if len(back) else None,
    )


def _mean_fraction(trips: list[RoundTrip]) -> float | None:
    """What a trip makes on average, as a fraction of what was invested in it."""
    return float(np.mean([float(trip.pnl / trip.invested) for trip in trips])) if trips else None
