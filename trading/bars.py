"""Minute bars as values: one bar, the bars of one moment, and columns of many.

``bar_time`` is always the bar's open, aware UTC. Columns carry times as int64 microseconds since the epoch and
prices as int64 micros (see ``trading.money``). Columns may hold nonsense, because data does; a ``Bar`` cannot.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from trading.money import from_micros, to_micros

Column = NDArray[np.int64]

MISSING = int(np.iinfo(np.int64).min)
"""Stands in a column where the source had no number."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def to_epoch_us(moment: datetime) -> int:
    """Aware datetime -> microseconds since 1970-01-01 UTC, exact. A naive datetime raises ``ValueError``."""
    if moment.tzinfo is None:
        raise ValueError(f"{moment.isoformat()} has no time zone")
    return (moment - _EPOCH) // _MICROSECOND


def from_epoch_us(microseconds: int) -> datetime:
    """Microseconds since 1970-01-01 UTC -> aware UTC datetime."""
    return _EPOCH + timedelta(microseconds=int(microseconds))


class Timeframe(StrEnum):
    """How long a bar lasts."""

    MINUTE_1 = "1min"
    MINUTE_2 = "2min"
    MINUTE_3 = "3min"
    MINUTE_5 = "5min"
    MINUTE_10 = "10min"
    MINUTE_15 = "15min"
    MINUTE_30 = "30min"

    @property
    def minutes(self) -> int:
        """Length in minutes; each divides a half day (210 minutes) or leaves its last bar short."""
        return int(self.value.removesuffix("min"))

    @property
    def length(self) -> timedelta:
        """Length of one bar."""
        return timedelta(minutes=self.minutes)


@dataclass(frozen=True, slots=True)
class Bar:
    """One finished bar with sane prices.

    Prices are positive and finite with ``low <= open, close <= high``; volume is whole shares, or None where the
    source has none (an index). Raises ``ValueError`` otherwise: what may be nonsense stays in columns.
    """

    symbol: str
    bar_time: datetime
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: int | None

    def __post_init__(self) -> None:
        prices = (self.open, self.high, self.low, self.close)
        finite = all(price.is_finite() for price in prices)
        if not (finite and 0 < self.low <= self.open <= self.high and self.low <= self.close <= self.high):
            raise ValueError(
                f"{self.symbol} {self.bar_time.isoformat()}: not a bar: "
                f"open {self.open} high {self.high} low {self.low} close {self.close}"
            )
        if self.volume is not None and self.volume < 0:
            raise ValueError(f"{self.symbol} {self.bar_time.isoformat()}: volume {self.volume} is negative")


@dataclass(frozen=True, slots=True)
class BarSlice:
    """The bars of all symbols that have one at ``bar_time``; symbols without a bar are absent, never filled in."""

    bar_time: datetime
    bars: Mapping[str, Bar]


@dataclass(frozen=True, slots=True)
class BarColumns:
    """Raw bars of one symbol as parallel columns in source order: nothing about them is promised but equal lengths.

    ``time`` is the bar's open in microseconds since the epoch, prices are micros, volume whole shares; ``MISSING``
    marks an absent number.
    """

    symbol: str
    time: Column
    open: Column
    high: Column
    low: Column
    close: Column
    volume: Column

    def __post_init__(self) -> None:
        lengths = {len(column) for column in (self.time, self.open, self.high, self.low, self.close, self.volume)}
        if len(lengths) != 1:
            raise ValueError(f"{self.symbol}: columns of different lengths {sorted(lengths)}")

    def __len__(self) -> int:
        return len(self.time)

    @classmethod
    def empty(cls, symbol: str) -> "BarColumns":
        """No bars of ``symbol``."""
        none = np.empty(0, dtype=np.int64)
        return cls(symbol, none, none, none, none, none, none)

    @classmethod
    def of(cls, symbol: str, bars: "list[Bar]") -> "BarColumns":
        """Columns of finished bars."""

        def column(values: list[int]) -> Column:
            return np.array(values, dtype=np.int64)

        return cls(
            symbol,
            column([to_epoch_us(bar.bar_time) for bar in bars]),
            column([to_micros(bar.open) for bar in bars]),
            column([to_micros(bar.high) for bar in bars]),
            column([to_micros(bar.low) for bar in bars]),
            column([to_micros(bar.close) for bar in bars]),
            column([MISSING if bar.volume is None else bar.volume for bar in bars]),
        )

    def take(self, which: slice | NDArray[np.bool_] | NDArray[np.intp]) -> "BarColumns":
        """The rows that ``which`` (a slice, a mask or positions) selects."""
        return BarColumns(
            self.symbol,
            self.time[which],
            self.open[which],
            self.high[which],
            self.low[which],
            self.close[which],
            self.volume[which],
        )

    def joined(self, later: "BarColumns") -> "BarColumns":
        """These rows followed by ``later``'s."""
        return BarColumns(
            self.symbol,
            np.concatenate((self.time, later.time)),
            np.concatenate((self.open, later.open)),
            np.concatenate((self.high, later.high)),
            np.concatenate((self.low, later.low)),
            np.concatenate((self.close, later.close)),
            np.concatenate((self.volume, later.volume)),
        )

    def bar(self, row: int) -> Bar:
        """Row ``row`` as a ``Bar``; raises ``ValueError`` where it is nonsense."""
        volume = int(self.volume[row])
        return Bar(
            self.symbol,
            from_epoch_us(int(self.time[row])),
            from_micros(int(self.open[row])),
            from_micros(int(self.high[row])),
            from_micros(int(self.low[row])),
            from_micros(int(self.close[row])),
            None if volume == MISSING else volume,
        )

    def __iter__(self) -> Iterator[Bar]:
        return (self.bar(row) for row in range(len(self)))


@dataclass(frozen=True, slots=True)
class RawSlice:
    """What a feed delivered for one moment, unchecked: for each symbol that had any, one or more rows in the order in
    which they came. A row may be older than ``bar_time`` (it came late) or repeat one that came before."""

    bar_time: datetime
    rows: Mapping[str, BarColumns]
