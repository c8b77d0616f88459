"""What happened after each bar: what a classifier or a regressor is taught to see coming.

The one rule: a label looks ahead and says how far (``end``), so that whoever splits a history can keep what it looked at out of
the test; everything else here knows its own bar and those before. A label never looks beyond the session of its bar unless it is
asked to: a row whose horizon leaves the session has none. (Ending it at the close instead would mix horizons in one sample,
and teach the last bars something else than the others.)
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trading.bars import BarColumns, to_epoch_us
from trading.trading_hours import TradingHours

Floats = NDArray[np.float64]
Positions = NDArray[np.int64]
Classes = NDArray[np.int8]

SELL, HOLD, BUY = -1, 0, 1
"""The classes, in the codes that policies have for a history (``trading.ports.HistorySignals``)."""
UNLABELLED = -1
"""The ``end`` of a row without a label."""


@dataclass(frozen=True, slots=True)
class Labels:
    """Of each of N bars what came of it: ``value`` a return as a fraction (NaN where there is no label), ``side`` its class.

    ``end`` is the last row that the label looks at, ``UNLABELLED`` where there is none.
    """

    value: Floats
    side: Classes
    end: Positions

    @property
    def is_labelled(self) -> NDArray[np.bool_]:
        """The rows that have a label."""
        labelled: NDArray[np.bool_] = self.end != UNLABELLED
        return labelled


def session_numbers(bars: BarColumns, sessions: Sequence[TradingHours]) -> Positions:
    """For each bar the number of its session, in ascending ``sessions``; -1 where it belongs to none."""
    opens = np.array([to_epoch_us(hours.opens_at) for hours in sessions], dtype=np.int64)
    closes = np.array([to_epoch_us(hours.closes_at) for hours in sessions], dtype=np.int64)
    number = np.searchsorted(opens, bars.time, side="right") - 1
    inside = (number >= 0) & (bars.time < closes[np.maximum(number, 0)]) if len(sessions) else np.zeros(len(bars), bool)
    numbers: Positions = np.where(inside, number, -1).astype(np.int64)
    return numbers


def session_ends(numbers: Positions) -> Positions:
    """For each row the last row of its session; rows of none end with themselves."""
    count = len(numbers)
    last = np.append(numbers[1:] != numbers[:-1], True) if count else np.zeros(0, dtype=np.bool_)
    ends: Positions = np.minimum.accumulate(np.where(last, np.arange(count), count)[::-1])[::-1]
    return np.where(numbers >= 0, ends, np.arange(count)).astype(np.int64)


def forward_returns(
    bars: BarColumns,
    sessions: Sequence[TradingHours],
    horizon_bars: int,
    *,
    logarithmic: bool = True,
    across_sessions: bool = False,
) -> tuple[Floats, Positions]:
    """Return from each close to the close ``horizon_bars`` bars later, as a fraction or its logarithm, and the row of that close.

    A row whose horizon leaves its session has no label (NaN, ``UNLABELLED``), nor has one outside all sessions. With
    ``across_sessions`` only the end of the bars counts. Bars are counted, not minutes: an absent one is not waited for.
    """
    if horizon_bars < 1:
        raise ValueError(f"a label looks ahead: horizon_bars is {horizon_bars}")
    count = len(bars)
    rows = np.arange(count, dtype=np.int64)
    numbers = session_numbers(bars, sessions)
    last = np.full(count, count - 1) if across_sessions else session_ends(numbers)
    end = rows + horizon_bars
    labelled = (end <= last) & (numbers >= 0)
    later = bars.close[np.where(labelled, end, rows)]
    ratio = later / bars.close
    value = np.where(labelled, np.log(ratio) if logarithmic else ratio - 1.0, np.nan)
    return value, np.where(labelled, end, UNLABELLED).astype(np.int64)


def return_labels(
    bars: BarColumns,
    sessions: Sequence[TradingHours],
    horizon_bars: int,
    band: float,
    *,
    logarithmic: bool = True,
    across_sessions: bool = False,
) -> Labels:
    """``forward_returns`` as classes: BUY above ``band`` (a fraction), SELL below ``-band``, HOLD between."""
    if not band >= 0:
        raise ValueError(f"the band is a width: {band}")
    value, end = forward_returns(bars, sessions, horizon_bars, logarithmic=logarithmic, across_sessions=across_sessions)
    return Labels(value, classes(value, band), end)


def classes(values: Floats, band: float) -> Classes:
    """BUY above ``band``, SELL below ``-band``, HOLD between and for what is not a number."""
    sides: Classes = np.where(values > band, BUY, np.where(values < -band, SELL, HOLD)).astype(np.int8)
    return sides
