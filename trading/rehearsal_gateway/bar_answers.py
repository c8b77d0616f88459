"""Past bars put together as Interactive Brokers puts them together.

Bars of a day part begin at whole multiples of their length on the exchange's wall, the first of a session at its open: hourly bars of
New York are those of 09:30, 10:00, 11:00. The last bar is the one in progress, where it has begun.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from trading.bars import MISSING, BarColumns, Column, from_epoch_us, to_epoch_us
from trading.calendar import TradingCalendar
from trading.rehearsal_gateway.bar_requests import BarRequest
from trading.rehearsal_gateway.market_port import DeliveredBar
from trading.rehearsal_gateway.past_bars import PastBars

_DAY_US = 86_400_000_000
_SHARES_PER_TRADE = 100
"""Nobody recorded how many trades a bar had: one for each round lot."""


@dataclass(frozen=True, slots=True)
class BarAnswer:
    """The bars of ``[starts_at, ends_at)``, oldest first."""

    starts_at: datetime
    ends_at: datetime
    bars: list[DeliveredBar]


class BarAnswers:
    """Answers requests out of what the market knows at a moment."""

    def __init__(self, past: PastBars, calendar: TradingCalendar) -> None:
        self._past = past
        self._calendar = calendar

    def answer(self, symbol: str, request: BarRequest, now: datetime, known_until: datetime) -> BarAnswer:
        """What was asked for; no bars where there are none. ``known_until``: what ended later is not known."""
        end = now if request.end is None else min(request.end, now)
        start = request.starts_at(end, self._calendar)
        return BarAnswer(start, end, self.between(symbol, request, start, end, known_until))

    def between(
        self, symbol: str, request: BarRequest, start: datetime, end: datetime, known_until: datetime
    ) -> list[DeliveredBar]:
        """Bars of the requested kind made of what opened in ``[start, end)``."""
        if timedelta(seconds=request.seconds) < self._past.timeframe.length:
            rows = self._past.known_in_five_seconds(symbol, start, end, known_until)
        else:
            rows = self._past.known(symbol, start, end, known_until)
        if request.regular_hours:
            rows = rows.take(self._in_session(rows.time, start, end))
        if not len(rows):
            return []
        return _put_together(
            rows, self.begins(rows.time, request.seconds), has_volume=request.what in ("TRADES", "ADJUSTED_LAST")
        )

    def begins(self, times: Column, seconds: int) -> Column:
        """When the bar of ``seconds`` begins that each of ``times`` (opens in microseconds, ascending) is part of."""
        days, first = np.unique(times // _DAY_US, return_index=True)
        offsets = np.empty(len(days), dtype=np.int64)
        opens = np.full(len(days), MISSING, dtype=np.int64)
        for position, row in enumerate(first.tolist()):
            moment = from_epoch_us(int(times[row]))
            day = self._calendar.exchange_date(moment)
            if self._calendar.is_session(day):
                opens[position] = to_epoch_us(self._calendar.hours(day).opens_at)
            offsets[position] = self._offset_us(moment)
        of_row = np.searchsorted(days, times // _DAY_US)
        offset, opened = offsets[of_row], opens[of_row]
        length = seconds * 1_000_000
        begins: Column = (times + offset) // length * length - offset
        if seconds < 86_400:
            begins = np.where((begins < opened) & (opened <= times), opened, begins)
        return begins

    def begin(self, moment: datetime, seconds: int) -> datetime:
        """As ``begins``, for one moment."""
        return from_epoch_us(int(self.begins(np.array([to_epoch_us(moment)], dtype=np.int64), seconds)[0]))

    def _offset_us(self, moment: datetime) -> int:
        hours = self._calendar.hours(self._calendar.next_session_date(moment.date()))
        offset = moment.astimezone(hours.zone).utcoffset()
        return 0 if offset is None else offset // timedelta(microseconds=1)

    def _in_session(self, times: Column, start: datetime, end: datetime) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        days = self._calendar.exchange_date(start), self._calendar.exchange_date(end)
        sessions = self._calendar.sessions_between(*days)
        if not sessions:
            return np.zeros(len(times), dtype=np.bool_)
        opens = np.array([to_epoch_us(hours.opens_at) for hours in sessions], dtype=np.int64)
        closes = np.array([to_epoch_us(hours.closes_at) for hours in sessions], dtype=np.int64)
        latest = np.searchsorted(opens, times, side="right") - 1
        within: np.ndarray[tuple[int], np.dtype[np.bool_]] = (latest >= 0) & (times < closes[np.maximum(latest, 0)])
        return within


def _put_together(rows: BarColumns, begins: Column, has_volume: bool) -> list[DeliveredBar]:
    times, first = np.unique(begins, return_index=True)
    last = np.append(first[1:], len(rows)) - 1
    volumes = np.where(rows.volume == MISSING, 0, rows.volume)
    volume = np.add.reduceat(volumes, first)
    typical = (rows.high + rows.low + rows.close) / 3_000_000
    worth = np.add.reduceat(typical * volumes, first)
    plain = np.add.reduceat(typical, first) / (last - first + 1)
    average = np.where(volume > 0, worth / np.maximum(volume, 1), plain)
    columns = (
        times.tolist(),
        (rows.open[first] / 1e6).tolist(),
        (np.maximum.reduceat(rows.high, first) / 1e6).tolist(),
        (np.minimum.reduceat(rows.low, first) / 1e6).tolist(),
        (rows.close[last] / 1e6).tolist(),
        volume.tolist(),
        np.round(average, 4).tolist(),
    )
    return [
        delivered(rows.symbol, from_epoch_us(time), opened, high, low, closed, shares if has_volume else None, mean)
        for time, opened, high, low, closed, shares, mean in zip(*columns, strict=True)
    ]


def delivered(
    symbol: str,
    time: datetime,
    opened: float,
    high: float,
    low: float,
    closed: float,
    volume: int | None,
    average: float,
) -> DeliveredBar:
    """A bar for the wire. Without a volume (quotes have none), volume, average and count are -1, as the wire has them."""
    if volume is None:
        return DeliveredBar(symbol, time, opened, high, low, closed, -1, -1, -1)
    count = -(-volume // _SHARES_PER_TRADE)
    return DeliveredBar(symbol, time, opened, high, low, closed, volume, average, count)
