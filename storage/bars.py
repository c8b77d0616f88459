"""Bars at rest in DuckDB: what was imported, as it was imported.

The rule: one bar per symbol, timeframe and time. Importing the same bars again is harmless; importing other values
for a bar that is there is a decision that a person makes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from storage.columns import LARGEST_MICROS, as_column, integers, moments, money, words
from storage.connection import Connection
from storage.reading import utc
from trading.bars import MISSING, BarColumns, Column, Timeframe, from_epoch_us
from trading.errors import ConfigurationError
from trading.money import from_micros

_PRICES = ("open", "high", "low", "close")


@dataclass(frozen=True, slots=True)
class ImportCounts:
    """What an import did to the bars of a file, duplicates within it left out."""

    inserted: int
    unchanged: int
    replaced: int


@dataclass(frozen=True, slots=True)
class BarDifference:
    """A bar that is stored with other values than it comes with; both in words."""

    symbol: str
    bar_time: datetime
    stored: str
    arriving: str


@dataclass(frozen=True, slots=True)
class FilledBars:
    """What filling up did: ``differing`` bars were stored with other values, and were ``replaced`` or left as they are."""

    inserted: int
    unchanged: int
    replaced: int
    differing: tuple[BarDifference, ...]


class StoredBars:
    """Implements ``trading.ports.BarSource`` over the table ``bars``."""

    def __init__(self, connection: Connection, timeframe: Timeframe) -> None:
        self._connection = connection
        self._timeframe = timeframe

    @property
    def name(self) -> str:
        """What a person calls it, for messages."""
        return f"the stored {self._timeframe} bars of {self._connection.path}"

    def symbols(self) -> tuple[str, ...]:
        """All symbols it has bars of, sorted."""
        found = self._connection.rows(
            "SELECT DISTINCT symbol FROM bars WHERE timeframe = ? ORDER BY 1", [self._timeframe]
        )
        return tuple(symbol for (symbol,) in found)

    def between(self, symbol: str, start: datetime, end: datetime) -> BarColumns:
        """Bars whose open lies in ``[start, end)``, by time; ``MISSING`` where the table has NULL."""
        found = self._connection.table(
            """
            SELECT bar_time, open, high, low, close, volume FROM bars
            WHERE symbol = ? AND timeframe = ? AND bar_time >= ? AND bar_time < ?
            ORDER BY bar_time
            """,
            [symbol, self._timeframe, start, end],
        )
        return BarColumns(symbol, *(as_column(column) for column in found.columns))

    def span(self, symbol: str) -> tuple[datetime, datetime] | None:
        """Opens of the first and the last bar of ``symbol``, None where there are none."""
        [(first, last)] = self._connection.rows(
            "SELECT min(bar_time), max(bar_time) FROM bars WHERE symbol = ? AND timeframe = ?",
            [symbol, self._timeframe],
        )
        return None if first is None else (utc(first), utc(last))

    def import_bars(self, columns: Sequence[BarColumns], replace: bool = False) -> ImportCounts:
        """Write the bars in one transaction, those that are there already passed over.

        Raises ``ConfigurationError`` and writes nothing where a bar comes twice with different values, where it
        differs from the stored one (unless ``replace``), or where a number does not fit the table.
        """
        by_symbol: dict[str, BarColumns] = {}
        for part in columns:
            earlier = by_symbol.get(part.symbol)
            by_symbol[part.symbol] = part if earlier is None else earlier.joined(part)
        arriving = [self._each_once(by_symbol[symbol]) for symbol in sorted(by_symbol) if len(by_symbol[symbol])]
        new: list[BarColumns] = []
        changed: list[BarColumns] = []
        for bars in arriving:
            at, there, stored = self._stored_beside(bars)
            same = there.copy()
            same[there] = _equal(bars.take(there), stored.take(at[there]))
            if not replace and (different := np.flatnonzero(there & ~same)).size:
                row = int(different[0])
                raise ConfigurationError(
                    f"The {self._timeframe} bar of {bars.symbol} at {_when(bars, row)} is stored with "
                    f"{_values(stored, int(at[row]))} and comes with {_values(bars, row)}"
                    f"{_and_others(different.size - 1)}. Nothing was imported. Give --replace to take the new values."
                )
            new.append(bars.take(~there))
            changed.append(bars.take(there & ~same))
        with self._connection.transaction():
            self._insert([bars for bars in new if len(bars)])
            self._replace([bars for bars in changed if len(bars)])
        inserted, replaced = sum(map(len, new)), sum(map(len, changed))
        return ImportCounts(inserted, sum(map(len, arriving)) - inserted - replaced, replaced)

    def fill(self, bars: BarColumns, replace: bool = False) -> FilledBars:
        """Write the bars of one symbol that are not there, inside a ``transaction()``; with ``replace`` those that differ too.

        Raises ``ConfigurationError`` where a bar comes twice with different values, or a number does not fit the table.
        """
        if not len(bars):
            return FilledBars(0, 0, 0, ())
        arriving = self._each_once(bars)
        at, there, stored = self._stored_beside(arriving)
        same = there.copy()
        same[there] = _equal(arriving.take(there), stored.take(at[there]))
        new, changed = arriving.take(~there), np.flatnonzero(there & ~same)
        self._insert([new] if len(new) else [])
        if replace and changed.size:
            self._replace([arriving.take(changed)])
        differing = tuple(
            BarDifference(
                arriving.symbol,
                from_epoch_us(arriving.time[row]),
                _values(stored, int(at[row])),
                _values(arriving, int(row)),
            )
            for row in changed
        )
        return FilledBars(len(new), int(same.sum()), len(changed) if replace else 0, differing)

    def _each_once(self, bars: BarColumns) -> BarColumns:
        """Sorted by time, exact duplicates collapsed."""
        if (untimed := np.flatnonzero(bars.time == MISSING)).size:
            raise ConfigurationError(
                f"Row {int(untimed[0]) + 1} of the bars of {bars.symbol} has no time. Mend or leave out that row."
            )
        for name in _PRICES:
            column: Column = getattr(bars, name)
            if (
                wide := np.flatnonzero((column != MISSING) & ((column > LARGEST_MICROS) | (column < -LARGEST_MICROS)))
            ).size:
                row = int(wide[0])
                raise ConfigurationError(
                    f"The bar of {bars.symbol} at {_when(bars, row)} has the {name} {from_micros(int(column[row]))}, which no price is. "
                    "Mend or leave out that row."
                )
        ordered = bars.take(np.argsort(bars.time, kind="stable"))
        repeats = np.zeros(len(ordered), dtype=np.bool_)
        repeats[1:] = ordered.time[1:] == ordered.time[:-1]
        second = np.flatnonzero(repeats)
        if second.size:
            agreeing = _equal(ordered.take(second), ordered.take(second - 1))
            if not agreeing.all():
                row = int(second[np.flatnonzero(~agreeing)[0]])
                raise ConfigurationError(
                    f"The bar of {bars.symbol} at {_when(ordered, row)} comes twice with different values: "
                    f"{_values(ordered, row - 1)} and {_values(ordered, row)}. Leave one of them out."
                )
        return ordered.take(~repeats)

    def _stored_beside(self, bars: BarColumns) -> tuple[NDArray[np.intp], NDArray[np.bool_], BarColumns]:
        """For each bar its place among the stored ones and whether it is there; and the stored ones."""
        stored = self.between(bars.symbol, from_epoch_us(bars.time[0]), from_epoch_us(bars.time[-1] + 1))
        at = np.searchsorted(stored.time, bars.time)
        there = at < len(stored)
        there[there] = stored.time[at[there]] == bars.time[there]
        return at, there, stored

    def _insert(self, parts: Sequence[BarColumns]) -> None:
        if parts:
            self._connection.load(
                pa.concat_tables(map(self._rows, parts)).unify_dictionaries(),
                "INSERT INTO bars (symbol, timeframe, bar_time, open, high, low, close, volume)"
                " SELECT symbol, timeframe, bar_time, open, high, low, close, volume FROM arriving",
            )

    def _replace(self, parts: Sequence[BarColumns]) -> None:
        if parts:
            self._connection.load(
                pa.concat_tables(map(self._rows, parts)).unify_dictionaries(),
                "UPDATE bars SET open = arriving.open, high = arriving.high, low = arriving.low,"
                " close = arriving.close, volume = arriving.volume FROM arriving"
                " WHERE bars.symbol = arriving.symbol AND bars.timeframe = arriving.timeframe"
                " AND bars.bar_time = arriving.bar_time",
            )

    def _rows(self, bars: BarColumns) -> pa.Table:
        nothing = np.zeros(len(bars), dtype=np.int32)
        return pa.table(
            {
                "symbol": words(nothing, [bars.symbol]),
                "timeframe": words(nothing, [self._timeframe]),
                "bar_time": moments(bars.time),
                "open": money(bars.open),
                "high": money(bars.high),
                "low": money(bars.low),
                "close": money(bars.close),
                "volume": integers(bars.volume),
            }
        )


def _equal(some: BarColumns, others: BarColumns) -> NDArray[np.bool_]:
    agreeing = np.ones(len(some), dtype=np.bool_)
    for name in (*_PRICES, "volume"):
        agreeing &= getattr(some, name) == getattr(others, name)
    return agreeing


def _when(bars: BarColumns, row: int) -> str:
    return f"{from_epoch_us(bars.time[row]):%Y-%m-%d %H:%M:%S} UTC"


def _values(bars: BarColumns, row: int) -> str:
    prices = [f"{name} {_shown(int(getattr(bars, name)[row]))}" for name in _PRICES]
    volume = int(bars.volume[row])
    return " ".join([*prices, f"volume {'none' if volume == MISSING else volume}"])


def _shown(micros: int) -> str:
    return "none" if micros == MISSING else f"{from_micros(micros).normalize():f}"


def _and_others(count: int) -> str:
    return f" ({count:,} more bars differ)" if count else ""
