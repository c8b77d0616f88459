"""Months of bars at once are the bars that sessions would have traded on, one by one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from storage.questions import ask
from storage.store import open_store
from tasks.clean_history import clean_history, sessions_between
from tasks.composition import assemble
from trading.bar_validation import BarsRefused
from trading.bars import MISSING, BarColumns, Timeframe, from_epoch_us, to_epoch_us
from trading.calendar import TradingCalendar
from trading.clocks.bar_clock import BarClock
from trading.errors import DataNotFit
from trading.feeds.synthetic import SyntheticFeed
from trading.settings import Settings, ValidationSettings

MONDAY, TUESDAY, WEDNESDAY = (date(2026, 1, day) for day in (5, 6, 7))
FRIDAY_BEFORE = date(2026, 1, 2)
CALENDAR = TradingCalendar("XNYS", MONDAY)
BARS = 13
"""Half-hour bars of a full session."""


@dataclass(frozen=True, slots=True)
class BarsInMemory:
    """Implements ``trading.ports.BarSource``."""

    bars: Mapping[str, BarColumns]
    name: str = "the bars of the test"

    def symbols(self) -> tuple[str, ...]:
        return tuple(sorted(self.bars))

    def between(self, symbol: str, start: datetime, end: datetime) -> BarColumns:
        columns = self.bars[symbol]
        return columns.take((columns.time >= to_epoch_us(start)) & (columns.time < to_epoch_us(end)))

    def span(self, symbol: str) -> tuple[datetime, datetime] | None:
        times = self.bars[symbol].time if symbol in self.bars else ()
        return (from_epoch_us(times[0]), from_epoch_us(times[-1])) if len(times) else None


def half_hours(*days: date, close: int = 100, hours_before: int = 0) -> BarColumns:
    """Flat half-hour bars of whole sessions, each beginning so many hours before its open."""
    times = []
    for day in days:
        hours = CALENDAR.hours(day)
        at = hours.opens_at - timedelta(hours=hours_before)
        while at < hours.closes_at:
            times.append(to_epoch_us(at))
            at += timedelta(minutes=30)
    count = len(times)
    price = np.full(count, close * 1_000_000, dtype=np.int64)
    return BarColumns("SPY", np.array(times, dtype=np.int64), price, price, price, price, np.full(count, 100))


def cleaned(
    bars: BarColumns, first: date, last: date, warmup_bars: int = 0, **validation: Any
) -> tuple[BarColumns, list[date]]:
    found, sessions = clean_history(
        BarsInMemory({"SPY": bars}),
        ["SPY"],
        "XNYS",
        Timeframe.MINUTE_30,
        first,
        last,
        warmup_bars,
        ValidationSettings.model_validate(validation),
    )
    return found["SPY"], [hours.session_date for hours in sessions]


def days_of(bars: BarColumns) -> list[date]:
    return sorted({from_epoch_us(time).date() for time in bars.time})


def put_at(bars: BarColumns, row: int, price: int) -> BarColumns:
    """The bars with all prices of one of them set."""
    changed = bars.close.copy()
    changed[row] = price * 1_000_000
    return replace(bars, open=changed, high=changed, low=changed, close=changed)


def test_whole_sessions_and_no_bar_besides_them_are_there() -> None:
    found, sessions = cleaned(half_hours(FRIDAY_BEFORE, MONDAY, TUESDAY, WEDNESDAY, hours_before=2), MONDAY, TUESDAY)
    assert sessions == [MONDAY, TUESDAY]
    assert len(found) == 2 * BARS
    assert from_epoch_us(found.time[0]) == CALENDAR.hours(MONDAY).opens_at


@pytest.mark.parametrize(("warmup_bars", "sessions_before"), [(1, 1), (13, 1), (14, 2), (27, 3)])
def test_a_warmup_is_whole_sessions_with_at_least_as_many_bars(warmup_bars: int, sessions_before: int) -> None:
    days = [hours.session_date for hours in CALENDAR.sessions_before(MONDAY, 5)]
    found, sessions = cleaned(half_hours(*days, MONDAY), MONDAY, MONDAY, warmup_bars)
    assert sessions == [MONDAY]
    assert len(found) == (sessions_before + 1) * BARS


def test_half_days_count_the_bars_that_they_have() -> None:
    # The Friday after Thanksgiving 2025 closes at 13:00: 7 half hours. 8 bars before Monday reach into Wednesday.
    friday, wednesday, monday = date(2025, 11, 28), date(2025, 11, 26), date(2025, 12, 1)
    found, _ = cleaned(half_hours(wednesday, friday, monday), monday, monday, 8)
    assert len(found) == BARS + 7 + BARS


def test_a_warmup_with_holes_is_looked_for_further_back() -> None:
    days = [hours.session_date for hours in CALENDAR.sessions_before(MONDAY, 4)]
    bars = half_hours(days[0], days[3], MONDAY)
    found, _ = cleaned(bars, MONDAY, MONDAY, 20)
    assert days_of(found) == [days[0], days[3], MONDAY]


def test_too_few_bars_before_are_fewer_none_or_refused() -> None:
    bars = half_hours(FRIDAY_BEFORE, MONDAY)
    assert len(cleaned(bars, MONDAY, MONDAY, 20)[0]) == 2 * BARS
    assert len(cleaned(bars, MONDAY, MONDAY, 20, too_little_history="drop")[0]) == BARS
    with pytest.raises(BarsRefused, match="13 of 20 warmup bars"):
        cleaned(bars, MONDAY, MONDAY, 20, too_little_history="refuse")


def test_a_session_that_would_begin_with_stale_bars_can_refuse_the_history() -> None:
    bars = half_hours(FRIDAY_BEFORE, MONDAY, WEDNESDAY)
    strict = {"stale_data": "refuse", "max_staleness_bars": 12}
    found, sessions = cleaned(bars, MONDAY, WEDNESDAY, 1)
    assert sessions == [MONDAY, WEDNESDAY]
    assert len(found) == 3 * BARS
    assert cleaned(bars, MONDAY, WEDNESDAY, 1, **strict | {"max_staleness_bars": 13})[1] == [MONDAY, WEDNESDAY]
    with pytest.raises(BarsRefused, match=r"2026-01-05 20:30Z stale_data \(13 bars missing after it\)"):
        cleaned(bars, MONDAY, WEDNESDAY, 1, **strict)


def test_what_validation_drops_is_gone_and_what_it_refuses_refuses_all() -> None:
    bars = put_at(half_hours(MONDAY, TUESDAY), 4, 900)
    found, _ = cleaned(bars, MONDAY, TUESDAY)
    assert len(found) == 2 * BARS - 1
    assert found.close.max() == 100_000_000
    with pytest.raises(BarsRefused, match=r"validation\.price_jump"):
        cleaned(bars, MONDAY, TUESDAY, price_jump="refuse")
    assert cleaned(bars, MONDAY, TUESDAY, price_jump="warn")[0].close.max() == 900_000_000


def test_bars_ascend_whatever_the_source_has() -> None:
    bars = half_hours(MONDAY)
    shuffled = bars.take(np.array([0, 1, 3, 2, 3, *range(4, BARS)]))
    found, _ = cleaned(shuffled, MONDAY, MONDAY)
    assert found.time.tolist() == bars.take(np.array([0, 1, 3, *range(4, BARS)])).time.tolist()


def test_a_symbol_that_is_not_known_and_days_without_bars_are_refused() -> None:
    bars = BarsInMemory({"SPY": half_hours(MONDAY)})
    ask_for = (Timeframe.MINUTE_30, TUESDAY, WEDNESDAY, 0, ValidationSettings())
    with pytest.raises(DataNotFit, match=r"No bars of QQQ in the bars of the test: it has SPY"):
        clean_history(bars, ["QQQ"], "XNYS", *ask_for)
    with pytest.raises(DataNotFit, match=r"has SPY from 2026-01-05 to 2026-01-05"):
        clean_history(bars, ["SPY"], "XNYS", *ask_for)
    with pytest.raises(DataNotFit, match="no session from 2026-01-03 to 2026-01-04"):
        cleaned(half_hours(MONDAY), date(2026, 1, 3), date(2026, 1, 4))


def test_sessions_go_on_over_the_years() -> None:
    found = [hours.session_date for hours in sessions_between("XNYS", date(2019, 12, 30), date(2026, 1, 2))]
    assert found[:3] == [date(2019, 12, 30), date(2019, 12, 31), date(2020, 1, 2)]
    assert found[-1] == date(2026, 1, 2)
    assert found == sorted(set(found))
    # Sessions of the exchange: 253 in 2020, 252 in 2021 and 2024, 251 in 2022, 250 in 2023 and 2025.
    assert len(found) == 2 + 253 + 252 + 251 + 250 + 252 + 250 + 1


def test_they_are_the_bars_that_sessions_decided_on(tmp_path: Path) -> None:
    """A market with bad prints and gaps: what sessions recorded as decided on is what comes at once, row by row."""
    path = tmp_path / "ledger.duckdb"
    market = {"bad_print_fraction": 0.05, "gap_fraction": 0.05}
    settings = Settings.model_validate(
        {
            "session": {"symbols": ["SPY", "QQQ"], "timeframe": "5min"},
            "feed": {"kind": "synthetic", "synthetic": market},
            "policy": {"name": "flat"},
            "store": {"path": path},
        }
    )
    for day in (MONDAY, TUESDAY):
        with assemble(settings, day) as desk:
            desk.agent.run_session()
    feed = SyntheticFeed(
        settings.feed.synthetic, CALENDAR, Timeframe.MINUTE_5, BarClock(datetime(2026, 1, 5, tzinfo=UTC))
    )
    start, end = CALENDAR.hours(FRIDAY_BEFORE).opens_at, CALENDAR.hours(TUESDAY).closes_at
    raw = {symbol: feed.history(symbol, start, end) for symbol in ("SPY", "QQQ")}
    found, _ = clean_history(
        BarsInMemory(raw),
        ["SPY", "QQQ"],
        "XNYS",
        Timeframe.MINUTE_5,
        MONDAY,
        TUESDAY,
        50,
        settings.validation,
    )
    opened = to_epoch_us(CALENDAR.hours(MONDAY).opens_at)
    for symbol, columns in found.items():
        assert (columns.time < opened).sum() >= 50
        recorded = ask(
            path,
            f"SELECT bar_time, open, high, low, close, volume FROM session_bars WHERE symbol = '{symbol}' ORDER BY 1",
        )
        assert rows_of(columns.take(columns.time >= opened)) == list(recorded.rows)
    dropped = sum(len(columns) for columns in raw.values()) - sum(len(columns) for columns in found.values())
    assert dropped > 10


def rows_of(columns: BarColumns) -> Sequence[tuple[Any, ...]]:
    return [(bar.bar_time, bar.open, bar.high, bar.low, bar.close, bar.volume) for bar in columns]


def test_stored_bars_are_read_whole(tmp_path: Path) -> None:
    bars = half_hours(FRIDAY_BEFORE, MONDAY)
    unknown = replace(bars, volume=np.full(len(bars), MISSING, dtype=np.int64))
    with open_store(tmp_path / "ledger.duckdb") as store:
        source = store.bars_of(Timeframe.MINUTE_30)
        source.import_bars([unknown])
        found, _ = clean_history(source, ["SPY"], "XNYS", Timeframe.MINUTE_30, MONDAY, MONDAY, 5, ValidationSettings())
    assert rows_of(found["SPY"]) == rows_of(unknown)
