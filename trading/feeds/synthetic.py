"""An invented market, always labelled so: the same seed gives the same bars for ever, on every machine.

To keep that promise the noise is made from raw bits of PCG64 (a stream that numpy guarantees) by arithmetic that IEEE
754 fixes; numpy's own distributions may change with its version. Each day's noise hangs on seed, symbol and date
alone, so that any date can be made without the days before it. Nothing here reads a clock.
"""

import hashlib
from collections.abc import Iterator, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal

import numpy as np
from numpy.typing import NDArray

from trading.bars import MISSING, BarColumns, Column, RawSlice, Timeframe, to_epoch_us
from trading.calendar import TradingCalendar
from trading.errors import DataNotFit
from trading.feeds.moments import moments
from trading.money import MICROS_PER_UNIT
from trading.ports import Clock
from trading.sessions import Mode
from trading.settings import SyntheticSettings
from trading.trading_hours import TradingHours

_MINUTE_US = 60_000_000
_CENT = MICROS_PER_UNIT // 100
_MOST_CENTS = 900_000_000_000_000
"""Nine million million of currency: more would not fit a column."""
_TICKS = 4
"""Prices drawn per minute; a bar is the first, highest, lowest and last of them and of the one before."""
_TRADING_DAYS_PER_YEAR = 252
_MEMORY = 0.98
"""What is left after a day of a move in the level: prices wander, and stay within sight of where they started."""
_REMEMBERED_DAYS = 256
_OVERNIGHT = 0.25
"""Volatility of the night as a part of the day's."""
_SIXTEEN_BITS_SIGMA = (4 * (65_536**2 - 1) / 12) ** 0.5

_DAILY, _PATH, _VOLUME, _NIGHT, _FAULTS = range(5)
"""Each use of noise has a stream of its own: asking for gaps leaves the other bars as they were."""


class SyntheticFeed:
    """A seeded market in which every symbol exists: sessions, holidays and half days are the calendar's.

    Prices are continuous from day to day, whole cents, with ``low <= open, close <= high``; volume is largest at the
    open and the close. Gaps and bad prints come only when the settings ask for them.
    """

    def __init__(
        self, settings: SyntheticSettings, calendar: TradingCalendar, timeframe: Timeframe, clock: Clock
    ) -> None:
        self._settings = settings
        self._calendar = calendar
        self._timeframe = timeframe
        self._clock = clock

    @property
    def mode(self) -> Mode:
        """Invented prices."""
        return Mode.SYNTHETIC

    def history(self, symbol: str, start: datetime, end: datetime) -> BarColumns:
        """Raw bars whose open lies in ``[start, end)``; only the sessions in between are made."""
        if start >= end:
            return BarColumns.empty(symbol)
        dates = self._calendar.exchange_date(start), self._calendar.exchange_date(end)
        bars = BarColumns.empty(symbol)
        for hours in self._calendar.sessions_between(*dates):
            bars = bars.joined(self._session(symbol, hours))
        return bars.take((bars.time >= to_epoch_us(start)) & (bars.time < to_epoch_us(end)))

    def stream(self, symbols: Sequence[str], hours: TradingHours, after: datetime | None) -> Iterator[RawSlice]:
        """The session's bars moment by moment; raises ``DataNotFit`` at once when gaps have left no bar at all."""
        rows = {symbol: self._session(symbol, hours) for symbol in symbols}
        if not any(len(columns) for columns in rows.values()):
            raise DataNotFit(
                f"The synthetic session of {hours.session_date.isoformat()} has not one bar of {', '.join(symbols)}: "
                f"feed.synthetic.gap_fraction = {self._settings.gap_fraction} leaves none. Set a smaller fraction."
            )
        if after is not None:
            last = to_epoch_us(after)
            rows = {symbol: columns.take(columns.time > last) for symbol, columns in rows.items()}
        return moments(rows, hours, self._timeframe, self._clock)

    def _session(self, symbol: str, hours: TradingHours) -> BarColumns:
        return self._with_faults(self._in_timeframe(self._minutes(symbol, hours)), hours.session_date)

    def _minutes(self, symbol: str, hours: TradingHours) -> BarColumns:
        day = hours.session_date
        count = (hours.closes_at - hours.opens_at) // timedelta(minutes=1)
        # 1 at the open and the close, 0 at noon.
        edge = np.abs(2 * np.arange(count) - (count - 1)) / max(count - 1, 1)
        cents = self._path(symbol, day, np.repeat(0.5 + edge * edge, _TICKS))
        ends = cents[1:].reshape(count, _TICKS)
        opens = np.concatenate((cents[:1], ends[:-1, -1]))
        ticks = np.column_stack((opens, ends))

        busy = (0.5 + 1.5 * edge * edge) * (0.5 + _uniforms(self._bits(symbol, _VOLUME, day.toordinal(), count)))
        return BarColumns(
            symbol,
            to_epoch_us(hours.opens_at) + _MINUTE_US * np.arange(count, dtype=np.int64),
            opens * _CENT,
            ticks.max(axis=1) * _CENT,
            ticks.min(axis=1) * _CENT,
            ends[:, -1] * _CENT,
            np.rint(self._settings.mean_volume * busy).astype(np.int64),
        )

    def _path(self, symbol: str, day: date, volatility: NDArray[np.float64]) -> Column:
        """Prices in cents from the day's open to its close, which is the day's level; one more than there are steps."""
        before = self._level(symbol, self._calendar.previous_session_date(day))
        night = _normals(self._bits(symbol, _NIGHT, day.toordinal(), 1))[0]
        first = before * (1 + _OVERNIGHT * self._daily_volatility * night)
        last = self._level(symbol, day)

        noise = np.cumsum(volatility * _normals(self._bits(symbol, _PATH, day.toordinal(), len(volatility))))
        passed = np.cumsum(volatility * volatility)
        share = passed / passed[-1]
        scale = self._daily_volatility / passed[-1] ** 0.5
        walk = scale * (noise - share * noise[-1])
        path = np.concatenate(([first], first * (1 + walk) + (last - first) * share))
        cents: Column = np.clip(np.rint(path * 100), 1, _MOST_CENTS).astype(np.int64)
        return cents

    @property
    def _daily_volatility(self) -> float:
        return float(self._settings.annual_volatility_fraction / _TRADING_DAYS_PER_YEAR**0.5)

    def _level(self, symbol: str, day: date) -> float:
        """The symbol's price at the end of ``day``: the initial price times a fading sum of daily moves."""
        weeks, weekday = divmod(day.toordinal() - 1, 7)
        number = 5 * weeks + min(weekday, 4)
        block, offset = divmod(number, _REMEMBERED_DAYS)
        moves = np.concatenate(
            [_normals(self._bits(symbol, _DAILY, which, _REMEMBERED_DAYS)) for which in (block - 1, block)]
        )
        total = 0.0
        for move in moves[offset + 1 : offset + 1 + _REMEMBERED_DAYS].tolist():
            total = total * _MEMORY + move
        # Decimal's exponential is exactly rounded everywhere; that of the C library is not.
        return float(self._settings.initial_price * Decimal(total * self._daily_volatility).exp())

    def _in_timeframe(self, minutes: BarColumns) -> BarColumns:
        if self._timeframe.minutes == 1:
            return minutes
        first = np.arange(0, len(minutes), self._timeframe.minutes)
        last = np.append(first[1:], len(minutes)) - 1
        return BarColumns(
            minutes.symbol,
            minutes.time[first],
            minutes.open[first],
            np.maximum.reduceat(minutes.high, first),
            np.minimum.reduceat(minutes.low, first),
            minutes.close[last],
            np.add.reduceat(minutes.volume, first),
        )

    def _with_faults(self, bars: BarColumns, day: date) -> BarColumns:
        settings = self._settings
        if not (settings.gap_fraction or settings.bad_print_fraction):
            return bars
        bits = self._bits(bars.symbol, _FAULTS, day.toordinal(), 3 * len(bars)).reshape(3, len(bars))
        there = _uniforms(bits[0]) >= settings.gap_fraction
        bad = there & (_uniforms(bits[1]) < settings.bad_print_fraction)
        fault = np.where(bad, (bits[2] % np.uint64(5)).astype(np.int64), -1)
        missing, negative, crossed, wild, twice = (fault == kind for kind in range(5))

        opens, highs, lows, closes = bars.open.copy(), bars.high.copy(), bars.low.copy(), bars.close.copy()
        closes[missing] = MISSING
        lows[negative] = -lows[negative]
        highs[crossed], lows[crossed] = bars.low[crossed] - _CENT, bars.high[crossed] + _CENT
        closes[wild] *= 2
        highs[wild] = np.maximum(highs[wild], closes[wild])
        faulty = BarColumns(bars.symbol, bars.time, opens, highs, lows, closes, bars.volume)
        return faulty.take(np.repeat(np.arange(len(bars)), there.astype(np.int64) + (there & twice)))

    def _bits(self, symbol: str, use: int, number: int, count: int) -> NDArray[np.uint64]:
        name = int.from_bytes(hashlib.blake2b(symbol.encode(), digest_size=8).digest(), "big")
        seed = np.random.SeedSequence((self._settings.seed, name, use, number))
        bits: NDArray[np.uint64] = np.random.PCG64(seed).random_raw(count)
        return bits


def _uniforms(bits: NDArray[np.uint64]) -> NDArray[np.float64]:
    """Numbers evenly spread over ``[0, 1)``."""
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _normals(bits: NDArray[np.uint64]) -> NDArray[np.float64]:
    """Numbers with mean 0 and variance 1, nearly normal: each the sum of four 16-bit numbers, so that it is exact."""
    low = np.uint64(0xFFFF)
    total = sum(((bits >> np.uint64(shift)) & low).astype(np.int64) for shift in (0, 16, 32, 48))
    return (np.asarray(total, dtype=np.float64) - 131_070.0) / _SIXTEEN_BITS_SIGMA
