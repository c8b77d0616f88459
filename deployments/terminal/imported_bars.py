"""What was imported, symbol by symbol: how far it reaches, how much of it can be traded on, and what is odd about it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np

from trading.bar_validation import BarValidator, Reference
from trading.bars import BarColumns, Timeframe, from_epoch_us, to_epoch_us
from trading.calendar import TradingCalendar
from trading.settings import Settings
from trading.trading_hours import TradingHours


@dataclass(frozen=True, slots=True)
class ImportedBars:
    """The bars of one symbol. ``first`` and ``last`` are exchange dates; bars outside session hours are never traded."""

    symbol: str
    bars: int
    first: date
    last: date
    sessions: int
    outside_hours: int
    findings: Mapping[str, int]


def describe(bars: BarColumns, settings: Settings) -> ImportedBars:
    """Look at the bars of one symbol, at least one, as a session would."""
    exchange = settings.session.exchange
    earliest, latest = from_epoch_us(bars.time.min()), from_epoch_us(bars.time.max())
    first = TradingCalendar(exchange, earliest.date()).exchange_date(earliest)
    last = TradingCalendar(exchange, latest.date()).exchange_date(latest)
    sessions = _sessions(exchange, first, last)
    opens = np.array([to_epoch_us(hours.opens_at) for hours in sessions], dtype=np.int64)
    closes = np.array([to_epoch_us(hours.closes_at) for hours in sessions], dtype=np.int64)
    place = np.searchsorted(opens, bars.time, side="right") - 1
    inside = place >= 0
    inside[inside] = bars.time[inside] < closes[place[inside]]
    tradable = bars.take(inside)
    findings = _findings(tradable, sessions, settings, settings.session.timeframe) if len(tradable) else {}
    covered = len(np.unique(place[inside]))
    return ImportedBars(bars.symbol, len(bars), first, last, covered, len(bars) - len(tradable), findings)


def _sessions(exchange: str, first: date, last: date) -> list[TradingHours]:
    """All sessions of the span. A calendar knows about a year on either side, so each year asks its own."""
    return [
        hours
        for year in range(first.year, last.year + 1)
        for hours in TradingCalendar(exchange, date(year, 7, 1)).sessions_between(
            max(first, date(year, 1, 1)), min(last, date(year, 12, 31))
        )
    ]


def _findings(
    bars: BarColumns, sessions: Sequence[TradingHours], settings: Settings, timeframe: Timeframe
) -> Mapping[str, int]:
    references: dict[str, Reference] = {}
    judgement = BarValidator(settings.validation, timeframe).examine(
        {bars.symbol: bars}, sessions, sessions[-1].closes_at, references
    )
    return dict(Counter(finding.finding for finding in judgement.findings))
