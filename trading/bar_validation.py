"""What is wrong with bars, found by the same rules in a long history and in the slice that has just come.

Every rule looks at whole columns of one or many symbols; only where prices jump or minutes repeat does it walk row by
row, because there a verdict hangs on the one before. pandera is not used: its checks see a column at a time and cost
milliseconds a call, while half of these rules compare a bar with the last accepted one, in the path of a live bar.
"""

from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from trading.bars import MISSING, BarColumns, Column, Timeframe, from_epoch_us, to_epoch_us
from trading.decisions import DataFinding
from trading.errors import DataNotFit
from trading.money import from_micros
from trading.settings import FindingAction, ValidationSettings
from trading.trading_hours import TradingHours

Mask = NDArray[np.bool_]

_NAMED = 3
_WALKED = 8
"""Up to so many rows it is quicker to walk than to compare neighbours first."""


class Finding(StrEnum):
    """The kinds of findings, in the order in which they are reported of one bar; each names its setting."""

    MISSING_VALUE = "missing_value"
    NON_POSITIVE_PRICE = "non_positive_price"
    CROSSED_RANGE = "crossed_range"
    OUTSIDE_RANGE = "outside_range"
    OUT_OF_ORDER = "out_of_order"
    DUPLICATE_BAR = "duplicate_bar"
    PRICE_JUMP = "price_jump"
    UNFINISHED_BAR = "unfinished_bar"
    GAP = "gap"
    ZERO_VOLUME = "zero_volume"
    STALE_DATA = "stale_data"
    TOO_LITTLE_HISTORY = "too_little_history"


class BarsRefused(DataNotFit):
    """At least one finding is set to refuse the session. ``findings`` holds all that was found, not only those."""

    def __init__(self, findings: Sequence[DataFinding]) -> None:
        self.findings = tuple(findings)
        refusing = [finding for finding in findings if finding.action == FindingAction.REFUSE]
        kinds = ", ".join(dict.fromkeys(f"validation.{finding.finding}" for finding in refusing))
        named = "; ".join(_sentence(finding) for finding in refusing[:_NAMED])
        more = f"; and {len(refusing) - _NAMED} more" if len(refusing) > _NAMED else ""
        super().__init__(
            f"The bars are not fit to trade on, {len(refusing)} finding{'s' if len(refusing) != 1 else ''}: {named}{more}. "
            f"Mend the data, or set {kinds} to drop or warn."
        )


@dataclass(slots=True)
class Reference:
    """What the next bar of a symbol is measured against.

    ``time`` and ``close`` are the last accepted bar's, ``seen`` the latest minute that came at all. ``suspects``
    counts the bars in a row, the last at ``suspect_time`` and ``suspect_close``, that agree on a price too far away.
    """

    time: int = MISSING
    close: int = MISSING
    seen: int = MISSING
    suspect_time: int = MISSING
    suspect_close: int = MISSING
    suspects: int = 0

    def accept(self, time: int, close: int) -> None:
        """Take a bar as the last accepted one; whatever was suspected before is forgotten."""
        self.time, self.close, self.suspects = time, close, 0


@dataclass(frozen=True, slots=True)
class Judgement:
    """Bars with what was found: a mask of the rows to keep per symbol, and the findings in the order of the rows."""

    rows: Mapping[str, BarColumns]
    keep: Mapping[str, Mask]
    findings: list[DataFinding]

    def kept(self) -> dict[str, BarColumns]:
        """The rows that may be traded on. A negative volume, which some sources write for none, is ``MISSING``."""
        clean = {}
        for symbol, columns in self.rows.items():
            rows = columns.take(self.keep[symbol])
            volume = np.where(rows.volume < 0, MISSING, rows.volume)
            clean[symbol] = BarColumns(symbol, rows.time, rows.open, rows.high, rows.low, rows.close, volume)
        return clean


class BarValidator:
    """The rules about bars with what each leads to. Holds no state: that is in the references."""

    def __init__(self, settings: ValidationSettings, timeframe: Timeframe) -> None:
        self._settings = settings
        self._length = timeframe.minutes * 60_000_000

    def action(self, finding: Finding) -> FindingAction:
        """What a finding of this kind leads to."""
        return FindingAction(getattr(self._settings, finding.value))

    def examine(
        self,
        rows: Mapping[str, BarColumns],
        sessions: Sequence[TradingHours],
        now: datetime,
        references: MutableMapping[str, Reference],
    ) -> Judgement:
        """Judge raw rows that all lie in ``sessions`` (ascending), as they are known at ``now``.

        Rows of one symbol are judged in their order, beginning against its reference, which moves on with them: the
        verdicts are the same whether rows come at once or one by one. Refuses nothing (see ``refuse``).
        """
        filled = {symbol: columns for symbol, columns in rows.items() if len(columns)}
        keep: dict[str, Mask] = {symbol: np.empty(0, dtype=np.bool_) for symbol in rows}
        if not filled:
            return Judgement(rows, keep, [])
        stack = _stacked(filled)
        runs, begin = {}, 0
        for symbol, columns in filled.items():
            runs[symbol] = slice(begin, begin + len(columns))
            begin += len(columns)
            references.setdefault(symbol, Reference())

        opened, closed = _session_edges(stack.time, sessions)
        found = _nonsense(stack)
        nonsense: Mask = found[Finding.MISSING_VALUE] | found[Finding.NON_POSITIVE_PRICE]
        nonsense |= found[Finding.CROSSED_RANGE] | found[Finding.OUTSIDE_RANGE]

        unfinished = np.minimum(stack.time + self._length, closed) > to_epoch_us(now)
        coming = unfinished & (self.action(Finding.UNFINISHED_BAR) is not FindingAction.WARN)
        before = self._seen_before(np.where(coming, MISSING, stack.time), runs, references)
        found[Finding.OUT_OF_ORDER] = stack.time < before
        sane: Mask = ~(nonsense | coming | found[Finding.OUT_OF_ORDER])

        found[Finding.DUPLICATE_BAR] = np.zeros(len(stack), dtype=np.bool_)
        found[Finding.PRICE_JUMP] = np.zeros(len(stack), dtype=np.bool_)
        jumped_from: dict[int, int] = {}
        for symbol, run in runs.items():
            candidates = run.start + np.flatnonzero(sane[run])
            self._follow(candidates, stack, opened, references[symbol], found, jumped_from)

        found[Finding.UNFINISHED_BAR] = unfinished
        absent = (stack.time - np.maximum(before, opened - self._length)) // self._length - 1
        found[Finding.GAP] = (absent > 0) & ~coming
        found[Finding.ZERO_VOLUME] = (stack.volume <= 0) & sane

        dropped = ~sane
        for finding, mask in found.items():
            if self.action(finding) is not FindingAction.WARN:
                dropped |= mask
        for symbol, run in runs.items():
            keep[symbol] = ~dropped[run]
        return Judgement(rows, keep, self._report(found, stack, list(filled), list(runs.values()), absent, jumped_from))

    def refuse(self, findings: Sequence[DataFinding]) -> None:
        """Raise ``BarsRefused`` when a finding is set to refuse the session."""
        if any(finding.action == FindingAction.REFUSE for finding in findings):
            raise BarsRefused(findings)

    def _seen_before(self, time: Column, runs: Mapping[str, slice], references: Mapping[str, Reference]) -> Column:
        """For each row the latest minute that had come before it; moves ``seen`` of the references on."""
        before = np.empty_like(time)
        for symbol, run in runs.items():
            reference = references[symbol]
            before[run.start] = reference.seen
            if run.stop - run.start > 1:
                before[run.start + 1 : run.stop] = time[run.start : run.stop - 1]
                np.maximum.accumulate(before[run], out=before[run])
            reference.seen = max(int(before[run.stop - 1]), int(time[run.stop - 1]))
        return before

    def _follow(
        self,
        rows: NDArray[np.intp],
        bars: BarColumns,
        opened: Column,
        reference: Reference,
        found: Mapping[Finding, Mask],
        jumped_from: dict[int, int],
    ) -> None:
        """Mark duplicates and jumps among ``rows``: compared neighbour by neighbour, walked only where that is odd.

        ``jumped_from`` gets for each jump the close that it was measured against.
        """
        if not len(rows):
            return
        times, closes, opens = bars.time[rows], bars.close[rows], opened[rows]
        highs, lows = bars.high[rows], bars.low[rows]
        row = -1
        for start in self._odd_places(times, highs, lows, closes, opens):
            if start <= row:
                continue
            if row >= 0:
                # Everything from the row accepted last to the one before this is sane by its neighbour.
                reference.accept(int(times[start - 1]), int(closes[start - 1]))
            row = start
            while row < len(rows):
                against = reference.close
                finding = self._step(
                    reference, int(times[row]), int(highs[row]), int(lows[row]), int(closes[row]), int(opens[row])
                )
                if finding is not None:
                    found[finding][rows[row]] = True
                if finding is Finding.PRICE_JUMP:
                    jumped_from[int(rows[row])] = against
                if reference.time == times[row] and finding is not Finding.DUPLICATE_BAR:
                    break
                row += 1
        if row < len(rows) - 1:
            reference.accept(int(times[-1]), int(closes[-1]))

    def _odd_places(self, times: Column, highs: Column, lows: Column, closes: Column, opens: Column) -> Sequence[int]:
        if len(times) < _WALKED:
            return range(len(times))
        odd = np.ones(len(times), dtype=np.bool_)
        odd[1:] = times[1:] == times[:-1]
        limits = self._settings.max_jump_fraction * closes[:-1]
        farthest = np.maximum(highs[1:] - closes[:-1], closes[:-1] - lows[1:])
        odd[1:] |= (times[:-1] >= opens[1:]) & (farthest > limits)
        places: list[int] = np.flatnonzero(odd).tolist()
        return places

    def _step(self, reference: Reference, time: int, high: int, low: int, close: int, opened: int) -> Finding | None:
        """Judge one bar, all four prices of it, against the reference; the reference moves to it when it is accepted."""
        if time == reference.time:
            return Finding.DUPLICATE_BAR
        limit = self._settings.max_jump_fraction
        farthest = max(high - reference.close, reference.close - low)
        jumped = reference.time >= opened and farthest > limit * reference.close
        if jumped and self.action(Finding.PRICE_JUMP) is not FindingAction.WARN:
            agrees = reference.suspects and abs(close - reference.suspect_close) <= limit * reference.suspect_close
            if not agrees:
                reference.suspects = 1
            elif time > reference.suspect_time:
                reference.suspects += 1
            reference.suspect_time, reference.suspect_close = time, close
            if reference.suspects < self._settings.jump_believed_after_bars:
                return Finding.PRICE_JUMP
            jumped = False
        reference.accept(time, close)
        return Finding.PRICE_JUMP if jumped else None

    def _report(
        self,
        found: Mapping[Finding, Mask],
        stack: BarColumns,
        symbols: Sequence[str],
        runs: Sequence[slice],
        absent: Column,
        jumped_from: Mapping[int, int],
    ) -> list[DataFinding]:
        places = sorted(
            (row, order, finding)
            for order, finding in enumerate(Finding)
            if finding in found
            for row in np.flatnonzero(found[finding]).tolist()
        )
        stops = [run.stop for run in runs]
        return [
            DataFinding(
                symbols[int(np.searchsorted(stops, row, side="right"))],
                from_epoch_us(stack.time[row]),
                finding.value,
                self.action(finding).value,
                _detail(finding, stack, row, int(absent[row]), jumped_from.get(row, MISSING)),
            )
            for row, _, finding in places
        ]


def _stacked(rows: Mapping[str, BarColumns]) -> BarColumns:
    several = list(rows.values())
    if len(several) == 1:
        return several[0]
    names = ("time", "open", "high", "low", "close", "volume")
    return BarColumns("", *(np.concatenate([getattr(columns, name) for columns in several]) for name in names))


def _session_edges(time: Column, sessions: Sequence[TradingHours]) -> tuple[Column, Column]:
    opens = np.array([to_epoch_us(hours.opens_at) for hours in sessions], dtype=np.int64)
    closes = np.array([to_epoch_us(hours.closes_at) for hours in sessions], dtype=np.int64)
    session = np.searchsorted(opens, time, side="right") - 1
    return opens[session], closes[session]


def _nonsense(bars: BarColumns) -> dict[Finding, Mask]:
    """Bars that are none, by themselves: each number counts only where it is there and positive."""
    low_end, high_end = np.minimum(bars.open, bars.close), np.maximum(bars.open, bars.close)
    missing = np.minimum(np.minimum(bars.high, bars.low), low_end) == MISSING
    negative = np.zeros(len(bars), dtype=np.bool_)
    for prices in (bars.open, bars.high, bars.low, bars.close):
        negative |= (prices <= 0) & (prices != MISSING)
    crossed = (bars.high < bars.low) & (bars.high > 0)
    outside = ((low_end < bars.low) | (high_end > bars.high)) & ~(missing | negative | crossed)
    return {
        Finding.MISSING_VALUE: missing,
        Finding.NON_POSITIVE_PRICE: negative,
        Finding.CROSSED_RANGE: crossed,
        Finding.OUTSIDE_RANGE: outside,
    }


def _detail(finding: Finding, bars: BarColumns, row: int, absent: int, jumped_from: int) -> str:
    match finding:
        case Finding.GAP:
            return f"{absent} bar{'s' if absent != 1 else ''} missing before it"
        case Finding.ZERO_VOLUME:
            return "volume 0" if bars.volume[row] == 0 else "the source has no volume"
        case Finding.OUT_OF_ORDER:
            return "a later bar came before it"
        case Finding.DUPLICATE_BAR:
            return f"a second bar for the minute, close {_price(bars.close[row])}; the first one stays"
        case Finding.UNFINISHED_BAR:
            return "it was not over when it was read"
        case Finding.PRICE_JUMP:
            return f"{_four_prices(bars, row)} after a close of {_price(jumped_from)}"
        case _:
            return _four_prices(bars, row)


def _four_prices(bars: BarColumns, row: int) -> str:
    prices = zip(("open", "high", "low", "close"), (bars.open, bars.high, bars.low, bars.close), strict=True)
    return " ".join(f"{name} {_price(column[row])}" for name, column in prices)


def _price(micros: int) -> str:
    return "missing" if micros == MISSING else f"{from_micros(int(micros)).normalize():f}"


def _sentence(finding: DataFinding) -> str:
    when = f" {finding.bar_time:%Y-%m-%d %H:%M}Z" if finding.bar_time else ""
    return f"{finding.symbol}{when} {finding.finding} ({finding.detail})"
