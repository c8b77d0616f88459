"""Months of bars as sessions would have traded them: for replays of policies, and for training them.

The rule: what a session would not trade on is not here, and what would refuse a session refuses all of it. No Prefect here.
"""

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import date

import numpy as np

from trading.bar_validation import BarValidator, Finding
from trading.bars import BarColumns, Column, Timeframe, from_epoch_us, to_epoch_us
from trading.calendar import TradingCalendar
from trading.decisions import DataFinding
from trading.errors import DataNotFit
from trading.ports import BarSource
from trading.settings import FindingAction, ValidationSettings
from trading.trading_hours import TradingHours

_log = logging.getLogger(__name__)

_FURTHER_SESSIONS = (1, 2, 4, 8)
"""How many more sessions a warmup looks for where the data has holes, step by step, as a session's does."""


def clean_history(
    source: BarSource,
    symbols: Sequence[str],
    exchange: str,
    timeframe: Timeframe,
    first: date,
    last: date,
    warmup_bars: int,
    validation: ValidationSettings,
) -> tuple[dict[str, BarColumns], list[TradingHours]]:
    """Bars of each symbol over the sessions from ``first`` to ``last``, with at least ``warmup_bars`` before, and those sessions.

    Bars lie in trading hours and ascend; they begin with a whole session. Those that ``validation`` drops are gone. Sessions in
    which no symbol has a bar are left out. With too few bars before ``first`` in the data there are fewer, or none of the symbol
    where ``too_little_history`` or ``stale_data`` drops them; inside the history what was dropped so cannot be taken back, and
    ``stale_data`` only refuses. Raises ``BarsRefused`` for what is set to refuse, ``DataNotFit`` where ``source`` does not
    know a symbol, or has no bar of these sessions at all.
    """
    sessions = sessions_between(exchange, first, last)
    if not sessions:
        raise DataNotFit(f"{exchange} has no session from {first.isoformat()} to {last.isoformat()}.")
    history = _History(source, exchange, timeframe, sessions, warmup_bars, BarValidator(validation, timeframe))
    clean: dict[str, BarColumns] = {}
    findings: list[DataFinding] = []
    for symbol in symbols:
        clean[symbol], found = history.of(symbol, validation.max_staleness_bars)
        findings += found
    history.validator.refuse(findings)
    counts = Counter(finding.finding for finding in findings)
    _log.info("clean history first=%s last=%s findings=%s", first, last, dict(counts))
    traded = [hours for hours in sessions if any(_has_bars(columns, hours) for columns in clean.values())]
    if not traded:
        raise DataNotFit(_nothing(source, symbols, first, last))
    return clean, traded


def sessions_between(exchange: str, first: date, last: date) -> list[TradingHours]:
    """All sessions from ``first`` to ``last``, both included, over as many years as there are."""
    found: list[TradingHours] = []
    for year in range(first.year, last.year + 1):
        calendar = TradingCalendar(exchange, date(year, 1, 1))
        found += calendar.sessions_between(max(first, date(year, 1, 1)), min(last, date(year, 12, 31)))
    return found


class _History:
    """Reads and judges one symbol after the other over the same sessions."""

    def __init__(
        self,
        source: BarSource,
        exchange: str,
        timeframe: Timeframe,
        sessions: Sequence[TradingHours],
        warmup_bars: int,
        validator: BarValidator,
    ) -> None:
        self.validator = validator
        self._source = source
        self._calendar = TradingCalendar(exchange, sessions[0].session_date)
        self._timeframe = timeframe
        self._sessions = sessions
        self._warmup_bars = warmup_bars
        self._closes_at = sessions[-1].closes_at

    def of(self, symbol: str, max_staleness_bars: int) -> tuple[BarColumns, list[DataFinding]]:
        """The symbol's clean bars, and everything that was found."""
        if self._source.span(symbol) is None:
            known = ", ".join(self._source.symbols()[:8]) or "none at all"
            raise DataNotFit(f"No bars of {symbol} in {self._source.name}: it has {known}. Import bars of {symbol}.")
        opens_at = self._sessions[0].opens_at
        before, earlier = self._warmup(symbol)
        sessions = [*before, *self._sessions]
        raw = earlier.joined(self._source.between(symbol, opens_at, self._closes_at))
        clean, findings = self._judged(raw, sessions)
        for finding in self._reach(clean, sessions, len(before), max_staleness_bars):
            findings.append(finding)
            begins = finding.bar_time is None or finding.bar_time < opens_at
            if finding.action == FindingAction.DROP and begins:
                clean = clean.take(clean.time >= to_epoch_us(opens_at))
        return clean, findings

    def _warmup(self, symbol: str) -> tuple[list[TradingHours], BarColumns]:
        """Sessions before the first that hold the warmup, and the symbol's raw bars of them."""
        if not self._warmup_bars:
            return [], BarColumns.empty(symbol)
        before, bars = self._whole_sessions_before(), BarColumns.empty(symbol)
        until, arrived = self._sessions[0], before
        for further in (*_FURTHER_SESSIONS, 0):
            bars = self._source.between(symbol, arrived[0].opens_at, until.opens_at).joined(bars)
            if not further or len(self._judged(bars, before)[0]) >= self._warmup_bars:
                break
            until, arrived = before[0], self._calendar.sessions_before(before[0].session_date, further)
            before = [*arrived, *before]
        return before, bars

    def _whole_sessions_before(self) -> list[TradingHours]:
        before: list[TradingHours] = []
        left, day = self._warmup_bars, self._sessions[0].session_date
        while left > 0:
            day = self._calendar.previous_session_date(day)
            before.insert(0, self._calendar.hours(day))
            left -= before[0].bar_count(self._timeframe)
        return before

    def _judged(self, raw: BarColumns, sessions: Sequence[TradingHours]) -> tuple[BarColumns, list[DataFinding]]:
        inside = _within(raw, sessions)
        judgement = self.validator.examine({raw.symbol: inside}, sessions, self._closes_at, {})
        clean = judgement.kept()[raw.symbol]
        # A bar that comes late enters no window either, where it is only warned of.
        newer = np.ones(len(clean), dtype=np.bool_)
        newer[1:] = clean.time[1:] > np.maximum.accumulate(clean.time)[:-1]
        return clean if newer.all() else clean.take(newer), judgement.findings

    def _reach(
        self, clean: BarColumns, sessions: Sequence[TradingHours], before: int, max_staleness_bars: int
    ) -> Iterator[DataFinding]:
        """Whether bars reach far enough back, and at each session's open near enough, as each session would have asked."""
        if not self._warmup_bars:
            return
        opens = _moments(sessions)
        earlier = np.searchsorted(clean.time, opens)
        if earlier[before] < self._warmup_bars:
            detail = f"{earlier[before]} of {self._warmup_bars} warmup bars"
            yield self._finding(clean.symbol, None, Finding.TOO_LITTLE_HISTORY, detail)
        counts = [hours.bar_count(self._timeframe) for hours in sessions]
        over = np.concatenate(([0], np.cumsum(counts)))
        for place in range(before, len(sessions)):
            if not earlier[place]:
                continue
            newest = int(clean.time[earlier[place] - 1])
            session = int(np.searchsorted(opens, newest, side="right")) - 1
            seen = int(over[session]) + (newest - int(opens[session])) // (self._timeframe.minutes * 60_000_000) + 1
            absent = int(over[place]) - seen
            if absent > max_staleness_bars:
                detail = f"{absent} bars missing after it"
                yield self._finding(clean.symbol, newest, Finding.STALE_DATA, detail)

    def _finding(self, symbol: str, time: int | None, finding: Finding, detail: str) -> DataFinding:
        at = None if time is None else from_epoch_us(time)
        return DataFinding(symbol, at, finding.value, self.validator.action(finding).value, detail)


def _within(columns: BarColumns, sessions: Sequence[TradingHours]) -> BarColumns:
    """The rows that lie in the hours of ``sessions`` (ascending)."""
    if not len(columns) or not sessions:
        return BarColumns.empty(columns.symbol)
    closes = np.array([to_epoch_us(hours.closes_at) for hours in sessions], dtype=np.int64)
    session = np.searchsorted(_moments(sessions), columns.time, side="right") - 1
    return columns.take((session >= 0) & (columns.time < closes[session]))


def _moments(sessions: Sequence[TradingHours]) -> Column:
    return np.array([to_epoch_us(hours.opens_at) for hours in sessions], dtype=np.int64)


def _has_bars(columns: BarColumns, hours: TradingHours) -> bool:
    first, last = np.searchsorted(columns.time, (to_epoch_us(hours.opens_at), to_epoch_us(hours.closes_at)))
    return bool(last > first)


def _nothing(source: BarSource, symbols: Sequence[str], first: date, last: date) -> str:
    spans = [(symbol, source.span(symbol)) for symbol in symbols[:8]]
    has = ", ".join(f"{symbol} from {span[0]:%Y-%m-%d} to {span[1]:%Y-%m-%d}" for symbol, span in spans if span)
    return (
        f"{source.name} has no bar of {', '.join(symbols[:8])} in the sessions from {first.isoformat()} to {last.isoformat()}. It has "
        f"{has or 'none at all'}. Choose days in that span, or import bars of these."
    )
