"""The bars a session trades on: warmup before it, live bars during it, all of them judged, the newest of them kept.

The one rule: nothing leaves here that is not a finished, sane bar within the session's hours, and everything that was
found on the way leaves beside it.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from trading.bar_validation import BarValidator, Finding, Judgement, Reference
from trading.bars import MISSING, BarColumns, BarSlice, Timeframe, from_epoch_us, to_epoch_us
from trading.calendar import TradingCalendar
from trading.decisions import DataFinding
from trading.errors import ConfigurationError
from trading.market_window import LiveWindow
from trading.ports import Feed, MarketWindow
from trading.settings import FindingAction, ValidationSettings
from trading.trading_hours import TradingHours

CACHE_BYTES = 64 * 1024 * 1024
CACHE_AGE = timedelta(days=366)

_FEWEST_BARS_KEPT = 64
_MOST_SESSIONS = 250
"""How far a warmup may reach: calendars know about a year."""
_FURTHER_SESSIONS = (1, 2, 4, 8)
"""How many more sessions are asked for, step by step, when the data has holes: 15 in all."""


class LiveDataLoader:
    """Loads, judges and keeps the bars of one session.

    ``cache_bytes`` bounds the memory of the kept bars (``ConfigurationError`` when a warmup needs more), ``cache_age``
    how much older than the newest bar they may be.
    """

    def __init__(
        self,
        feed: Feed,
        calendar: TradingCalendar,
        timeframe: Timeframe,
        validation: ValidationSettings,
        cache_bytes: int = CACHE_BYTES,
        cache_age: timedelta = CACHE_AGE,
    ) -> None:
        self._feed = feed
        self._calendar = calendar
        self._timeframe = timeframe
        self._validator = BarValidator(validation, timeframe)
        self._max_staleness_bars = validation.max_staleness_bars
        self._cache_bytes = cache_bytes
        self._cache_age = cache_age
        self._references: dict[str, Reference] = {}
        self._window = LiveWindow((), _FEWEST_BARS_KEPT, cache_bytes, cache_age)

    @property
    def window(self) -> MarketWindow:
        """The newest bars of each symbol up to the slice that was cached last."""
        return self._window

    def calculate_duration_for_warmup(
        self, bars_needed: int, hours: TradingHours, until: datetime | None = None
    ) -> timedelta:
        """How long before ``until`` (the session's open where none is given) a warmup must begin.

        Counted over trading sessions: exactly ``bars_needed`` bars of the calendar lie in the span, however many
        nights, weekends, holidays and half days lie between them. Raises ``ConfigurationError`` when even 250 sessions
        do not hold that many.
        """
        until = hours.opens_at if until is None else until
        session, left = hours, bars_needed
        for _ in range(_MOST_SESSIONS):
            over = self._bars_until(session, until)
            if left <= over:
                start = session.opens_at + (over - left) * self._timeframe.length if left else until
                return until - start
            left -= over
            session = self._calendar.hours(self._calendar.previous_session_date(session.session_date))
        raise ConfigurationError(
            f"A warmup of {bars_needed} bars of {self._timeframe.value} is longer than {_MOST_SESSIONS} sessions. Shorten "
            f"the policy's longest look back, or trade a longer timeframe."
        )

    def load_warmup_data(
        self, symbols: Sequence[str], bars_needed: int, hours: TradingHours, until: datetime | None = None
    ) -> dict[str, BarColumns]:
        """Raw bars of regular hours before ``until`` (default: the session's open), in source order, for each symbol.

        Each symbol's begin where ``bars_needed`` of them can be traded on; what is bad in between is still there, for
        ``validate_data`` to judge. Where the data has holes it is looked for up to 15 sessions further back; after
        that there are fewer. Raises ``DataNotFit`` for a symbol the feed does not know.
        """
        until = hours.opens_at if until is None else until
        start = until - self.calculate_duration_for_warmup(bars_needed, hours, until)
        return {symbol: self._load(symbol, bars_needed, start, until, hours) for symbol in symbols}

    def validate_data(
        self, bars: Mapping[str, BarColumns], bars_needed: int, hours: TradingHours, until: datetime | None = None
    ) -> tuple[dict[str, BarColumns], list[DataFinding]]:
        """Warmup bars that may be traded on, with all findings. The window begins with them: with the newest
        ``bars_needed`` (at least 64) of each symbol, and live bars are measured against the last of them.

        Raises ``BarsRefused``, which carries the findings, when one of them refuses the session, and
        ``ConfigurationError`` when the cache cannot hold the bars; the window stays as it was.
        Where ``stale_data`` or ``too_little_history`` is set to drop, the symbol's whole warmup is dropped: it begins
        with the session.
        """
        until = hours.opens_at if until is None else until
        findings: list[DataFinding] = []
        clean: dict[str, BarColumns] = {}
        references: dict[str, Reference] = {}
        for symbol, columns in bars.items():
            judgement, reference = self._examine(columns, until, hours)
            clean[symbol] = judgement.kept()[symbol]
            references[symbol] = reference
            findings += judgement.findings
            for finding in self._judge_reach(clean[symbol], bars_needed, until, hours):
                findings.append(finding)
                if finding.action == FindingAction.DROP:
                    clean[symbol] = BarColumns.empty(symbol)
                    references[symbol] = Reference()
        self._validator.refuse(findings)
        self._begin(clean, references, bars_needed)
        return clean, findings

    def cache_data(self, moment: BarSlice) -> None:
        """Move the window on to ``moment``, which is then decided on. The same slice again changes nothing."""
        self._window.advance(moment)

    def live_bars(
        self, symbols: Sequence[str], hours: TradingHours, after: datetime | None = None
    ) -> Iterator[tuple[BarSlice, list[DataFinding]]]:
        """The session's finished, sane bars moment by moment, each with what was found at that moment.

        They are not cached here: who takes several slices before deciding would look into the future. A slice without bars comes only to carry findings. Raises ``BarsRefused`` when a finding refuses to go on, and
        whatever the feed raises.
        """
        for raw in self._feed.stream(symbols, hours, after):
            rows = {symbol: _within(columns, [hours]) for symbol, columns in raw.rows.items()}
            now = min(raw.bar_time + self._timeframe.length, hours.closes_at)
            judgement = self._validator.examine(rows, [hours], now, self._references)
            self._validator.refuse(judgement.findings)
            bars = {
                symbol: columns.bar(len(columns) - 1) for symbol, columns in judgement.kept().items() if len(columns)
            }
            if bars or judgement.findings:
                yield BarSlice(raw.bar_time, bars), judgement.findings

    def missing_at_close(self, symbols: Sequence[str], hours: TradingHours) -> list[DataFinding]:
        """Gaps that only the close shows: for each symbol whose bars ended early, how many it lacks at the end."""
        findings = []
        whole = hours.bar_count(self._timeframe)
        for symbol in symbols:
            reference = self._references.get(symbol)
            seen = MISSING if reference is None else reference.seen
            # A symbol that last came before today has had no bar of the session.
            over = 0 if seen == MISSING else self._bars_until(hours, from_epoch_us(seen) + self._timeframe.length)
            if over < whole:
                detail = f"{whole - over} bars missing before the close"
                findings.append(self._finding(symbol, None, Finding.GAP, detail))
        return findings

    @property
    def bars_kept(self) -> int:
        """How many bars of each symbol the window has room for."""
        return self._window.capacity

    def _begin(self, bars: Mapping[str, BarColumns], references: dict[str, Reference], bars_needed: int) -> None:
        window = LiveWindow(bars, max(bars_needed, _FEWEST_BARS_KEPT), self._cache_bytes, self._cache_age)
        for columns in bars.values():
            if len(columns):
                window.fill(columns)
        # As the last warmup bar left them, so that a session that goes on judges as one that never stopped.
        self._window, self._references = window, references

    def _load(self, symbol: str, bars_needed: int, start: datetime, until: datetime, hours: TradingHours) -> BarColumns:
        columns = _within(self._feed.history(symbol, start, until), self._sessions(start, hours))
        usable = self._usable_rows(columns, until, hours)
        for further in _FURTHER_SESSIONS:
            if len(usable) >= bars_needed:
                break
            earliest = self._calendar.sessions_before(self._calendar.exchange_date(start), further)[0].opens_at
            # The warmup may begin in the middle of a session; the first part of that one is asked for here too.
            earlier = _within(self._feed.history(symbol, earliest, start), self._sessions(earliest, hours))
            columns, start = earlier.joined(columns), earliest
            usable = self._usable_rows(columns, until, hours)
        return columns.take(slice(int(usable[-bars_needed]), None)) if len(usable) > bars_needed else columns

    def _sessions(self, start: datetime, hours: TradingHours) -> list[TradingHours]:
        return self._calendar.sessions_between(self._calendar.exchange_date(start), hours.session_date)

    def _usable_rows(self, columns: BarColumns, until: datetime, hours: TradingHours) -> NDArray[np.intp]:
        return np.flatnonzero(self._examine(columns, until, hours)[0].keep[columns.symbol])

    def _examine(self, columns: BarColumns, until: datetime, hours: TradingHours) -> tuple[Judgement, Reference]:
        """The judgement of one symbol's warmup, and what the next bar is measured against."""
        if not len(columns):
            return self._validator.examine({columns.symbol: columns}, [hours], until, {}), Reference()
        sessions = self._sessions(from_epoch_us(columns.time.min()), hours)
        inside = _within(columns, sessions)
        # What lies before the first row was not asked for: no gap ends there.
        reference = Reference(seen=int(columns.time[0]) - self._timeframe.minutes * 60_000_000)
        return self._validator.examine(
            {columns.symbol: inside}, sessions, until, {columns.symbol: reference}
        ), reference

    def _judge_reach(
        self, columns: BarColumns, bars_needed: int, until: datetime, hours: TradingHours
    ) -> Iterator[DataFinding]:
        """Whether validated warmup bars reach near enough to ``until`` and far enough back."""
        if not bars_needed:
            return
        last = from_epoch_us(columns.time[-1]) if len(columns) else None
        absent = 0 if last is None else self._bars_between(last + self._timeframe.length, until, hours)
        if absent > self._max_staleness_bars:
            yield self._finding(columns.symbol, last, Finding.STALE_DATA, f"{absent} bars missing after it")
        if len(columns) < bars_needed:
            detail = f"{len(columns)} of {bars_needed} warmup bars"
            yield self._finding(columns.symbol, None, Finding.TOO_LITTLE_HISTORY, detail)

    def _bars_between(self, start: datetime, until: datetime, hours: TradingHours) -> int:
        return sum(
            self._bars_until(session, until) - min(self._bars_until(session, start), self._bars_until(session, until))
            for session in self._sessions(start, hours)
        )

    def _bars_until(self, session: TradingHours, until: datetime) -> int:
        """How many bars of the session are over at ``until``."""
        if until >= session.closes_at:
            return session.bar_count(self._timeframe)
        return max((until - session.opens_at) // self._timeframe.length, 0)

    def _finding(self, symbol: str, bar_time: datetime | None, finding: Finding, detail: str) -> DataFinding:
        return DataFinding(symbol, bar_time, finding.value, self._validator.action(finding).value, detail)


def _within(columns: BarColumns, sessions: Sequence[TradingHours]) -> BarColumns:
    """The rows that lie in the hours of ``sessions`` (ascending)."""
    opens = np.array([to_epoch_us(hours.opens_at) for hours in sessions], dtype=np.int64)
    closes = np.array([to_epoch_us(hours.closes_at) for hours in sessions], dtype=np.int64)
    session = np.searchsorted(opens, columns.time, side="right") - 1
    inside = (
        (session >= 0) & (columns.time < closes[session]) if len(sessions) else np.zeros(len(columns), dtype=np.bool_)
    )
    return columns if inside.all() else columns.take(inside)
