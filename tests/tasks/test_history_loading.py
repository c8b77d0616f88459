"""Filling gaps from files and from a source that tells what it is told to: what is asked for, stored, left, and remembered."""

import contextlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from storage.questions import ask
from storage.store import open_store
from tasks.history_composition import kind_of_past_bars, past_bars
from tasks.history_loading import LoadedSession, LoadingPlan, load_session, loading_answer, plan_loading
from tasks.history_page import difference_rows, page_of, sentence_of, session_rows
from trading.bars import BarColumns, Timeframe, to_epoch_us
from trading.errors import ConfigurationError, DataNotFit, SessionHeld
from trading.past_bars import PastBars, PastBarsKind
from trading.settings import Settings

# Monday to Friday; 78 bars of five minutes each. Seven days back from Friday the ninth are the second of January and these.
WEEK = date(2026, 1, 9)
FRIDAY_EVENING = datetime(2026, 1, 9, 22, 0, tzinfo=UTC)
Market = Callable[..., BarColumns]


@pytest.fixture
def week(market_that_reverts: Market) -> BarColumns:
    return market_that_reverts(sessions=5)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.model_validate({"session": {"timeframe": "5min"}, "store": {"path": tmp_path / "ledger.duckdb"}})


def source(
    bars: BarColumns, kind: PastBarsKind = "ib", now: datetime = FRIDAY_EVENING, asked: "list[date] | None" = None
) -> PastBars:
    def between(symbol: str, start: datetime, end: datetime) -> BarColumns:
        if asked is not None:
            asked.append(start.date())
        if symbol != bars.symbol:
            raise DataNotFit(f"no {symbol} here")
        return bars.take((bars.time >= to_epoch_us(start)) & (bars.time < to_epoch_us(end)))

    return PastBars(kind, "the test", lambda: now, between)


def store_bars(settings: Settings, bars: BarColumns) -> None:
    with open_store(settings.store.path) as store:
        store.bars_of(Timeframe.MINUTE_5).import_bars([bars])


def stored(settings: Settings) -> list[tuple[Any, ...]]:
    return list(ask(settings.store.path, "SELECT bar_time, close FROM bars ORDER BY symbol, bar_time").rows)


def load(
    settings: Settings, past: PastBars, symbols: tuple[str, ...] = ("SPY",), days: int = 5, **how: Any
) -> tuple[LoadingPlan, list[LoadedSession]]:
    taking = how.pop("replace", False)
    plan = plan_loading(settings, past, symbols, days, WEEK, **how)
    return plan, [load_session(settings, past, gap, taking) for gap in plan.wanted]


def without(bars: BarColumns, *rows: int) -> BarColumns:
    return bars.take(~np.isin(np.arange(len(bars)), rows))


def test_an_empty_database_is_filled_session_by_session_and_then_nothing_is_wanted(
    settings: Settings, week: BarColumns
) -> None:
    asked: list[date] = []
    plan, loaded = load(settings, source(week, asked=asked))
    assert [day.day for day in asked] == [5, 6, 7, 8, 9]
    assert [(one.loaded, one.still_missing) for one in loaded] == [(78, 0)] * 5
    assert len(stored(settings)) == 390
    again, _ = load(settings, source(week, asked=asked))
    assert again.wanted == ()
    assert len(asked) == 5
    answer = loading_answer(settings, source(week), plan, loaded)
    assert (answer["missing"], answer["loaded"], answer["still_missing"]) == (390, 390, 0)
    assert "390 bars were missing in 5 sessions" in sentence_of(answer)


def test_only_sessions_with_gaps_are_asked_for_and_only_what_is_missing_is_written(
    settings: Settings, week: BarColumns
) -> None:
    # Rows 100 to 102 are Tuesday's; Thursday, from row 234 on, is missing altogether.
    store_bars(settings, without(week, 100, 101, 102, *range(234, 312)))
    asked: list[date] = []
    _, loaded = load(settings, source(week, asked=asked))
    assert [day.day for day in asked] == [6, 8]
    assert [(one.gap.missing, one.loaded, one.differing) for one in loaded] == [(3, 3, ()), (78, 78, ())]
    assert len(stored(settings)) == 390


def test_what_nobody_traded_is_asked_for_twice_and_then_at_rest(settings: Settings, week: BarColumns) -> None:
    quiet = without(week, 7)
    wanted = []
    for _ in range(3):
        plan, loaded = load(settings, source(quiet))
        wanted.append(len(plan.wanted))
    assert wanted == [5, 1, 0]
    assert [(gap.hours.session_date.day, gap.missing) for gap in plan.not_traded] == [(5, 1)]
    assert "1 more count as not traded" in sentence_of(loading_answer(settings, source(quiet), plan, loaded))
    again, loaded = load(settings, source(week), ask_again=True)
    assert [one.loaded for one in loaded] == [1]
    assert ask(settings.store.path, "FROM history_asked").rows == ()
    assert not again.not_traded


def test_files_are_asked_again_as_long_as_something_is_missing(settings: Settings, week: BarColumns) -> None:
    for _ in range(3):
        plan, _ = load(settings, source(without(week, 7), kind="files"))
    assert len(plan.wanted) == 1


def test_a_gap_that_grew_is_wanted_again(settings: Settings, week: BarColumns) -> None:
    for _ in range(2):
        load(settings, source(without(week, 7)))
    with open_store(settings.store.path) as store, store.connection.transaction():
        store.connection.execute("DELETE FROM bars WHERE bar_time = ?", [datetime(2026, 1, 5, 15, 30, tzinfo=UTC)])
    plan, loaded = load(settings, source(week))
    assert [(gap.missing, one.loaded) for gap, one in zip(plan.wanted, loaded, strict=True)] == [(2, 2)]


def test_bars_that_differ_are_told_and_left_unless_they_are_to_be_replaced(
    settings: Settings, week: BarColumns
) -> None:
    store_bars(settings, without(week, 5))
    before = stored(settings)
    closes = week.close.copy()
    closes[3] += 1_000_000
    told = replace(week, close=closes, high=np.maximum(week.high, closes))
    plan, loaded = load(settings, source(told))
    assert len(plan.wanted) == 1
    assert [(one.loaded, one.replaced, len(one.differing)) for one in loaded] == [(1, 0, 1)]
    assert [row for row in stored(settings) if row[0].minute != 55 or row[0].day != 5] == [
        row for row in before if row[0].minute != 55 or row[0].day != 5
    ]
    answer = loading_answer(settings, source(told), plan, loaded)
    [shown] = difference_rows(answer)
    assert shown["bar"] == "2026-01-05 14:45 UTC"
    assert shown["done"] == "left as it is"
    assert shown["stored"] != shown["comes with"]
    assert "1 stored bars differ" in sentence_of(answer)
    # Now whole sessions are compared too, and the new value is taken.
    plan, loaded = load(settings, source(told), compare=True, replace=True)
    assert len(plan.wanted) == 5
    assert [one.replaced for one in loaded] == [1, 0, 0, 0, 0]
    assert stored(settings)[3][1] == before[3][1] + 1
    assert not any(one.differing for one in load(settings, source(told), compare=True)[1])


def test_a_session_that_is_not_over_is_left_out(settings: Settings, week: BarColumns) -> None:
    plan, _ = load(settings, source(week, now=datetime(2026, 1, 9, 20, 59, tzinfo=UTC)))
    assert [gap.hours.session_date.day for gap in plan.wanted] == [5, 6, 7, 8]
    assert plan.going == WEEK
    later, _ = load(settings, source(week, now=datetime(2026, 1, 9, 21, 0, tzinfo=UTC)))
    assert [gap.hours.session_date.day for gap in later.wanted] == [9]


def test_days_of_which_none_is_a_session_want_nothing(settings: Settings, week: BarColumns) -> None:
    plan = plan_loading(settings, source(week), ["SPY"], 2, date(2026, 1, 4))
    assert plan.wanted == ()
    assert "nothing to load" in sentence_of(loading_answer(settings, source(week), plan, []))


def test_a_symbol_that_the_source_does_not_know_keeps_nobody_from_the_others(
    settings: Settings, week: BarColumns
) -> None:
    plan, loaded = load(settings, source(week), ("QQQ", "SPY"), days=1)
    assert [(one.gap.symbol, one.loaded, one.still_missing, one.note) for one in loaded] == [
        ("QQQ", 0, 78, "no QQQ here"),
        ("SPY", 78, 0, ""),
    ]
    assert "no QQQ here" in page_of(loading_answer(settings, source(week), plan, loaded))


def test_what_was_not_asked_for_stands_in_the_answer(settings: Settings, week: BarColumns) -> None:
    plan = plan_loading(settings, source(week), ["SPY"], 5, WEEK)
    first = load_session(settings, source(week), plan.wanted[0])
    answer = loading_answer(settings, source(week), plan, [first], "the line is gone.")
    assert (answer["asked"], answer["loaded"], answer["still_missing"]) == (1, 78, 4 * 78)
    assert [row["note"] for row in session_rows(answer)] == ["", *["not asked for"] * 4]
    assert "Stopped: the line is gone." in sentence_of(answer)


def test_a_database_that_is_not_free_in_time_is_said_so(settings: Settings, week: BarColumns) -> None:
    plan = plan_loading(settings, source(week), ["SPY"], 1, WEEK)
    store_bars(settings, week.take(slice(0)))
    with (
        held_by_another_process(settings.store.path),
        pytest.raises(SessionHeld, match="SPY 2026-01-09 are not stored"),
    ):
        load_session(settings, source(week), plan.wanted[0])


def csv(bars: BarColumns, with_symbol: bool) -> str:
    lines = ["timestamp,open,high,low,close,volume" + (",symbol" if with_symbol else "")]
    for row in range(len(bars)):
        at = datetime.fromtimestamp(int(bars.time[row]) / 1_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        prices = ",".join(str(getattr(bars, name)[row] / 1_000_000) for name in ("open", "high", "low", "close"))
        lines.append(f"{at},{prices},{bars.volume[row]}" + (f",{bars.symbol}" if with_symbol else ""))
    return "\n".join(lines) + "\n"


def test_a_folder_of_files_is_one_source_and_nonsense_in_it_is_found(
    settings: Settings, tmp_path: Path, week: BarColumns
) -> None:
    folder = tmp_path / "bars"
    folder.mkdir()
    crossed = week.low.copy()
    crossed[200] = week.high[200] + 500_000
    odd = replace(week, low=crossed)
    (folder / "SPY_2026-01.csv").write_text(csv(odd.take(slice(0, 250)), with_symbol=False))
    (folder / "more.csv").write_text(csv(odd.take(slice(250, None)), with_symbol=True))
    (folder / "README.txt").write_text("not bars")
    with past_bars(settings, "files", str(folder)) as files:
        plan, loaded = load(settings, files)
    assert [(one.loaded, one.still_missing) for one in loaded] == [(78, 0)] * 5
    assert [one.findings for one in loaded] == [{}, {}, {"crossed_range": 1}, {}, {}]
    rows = session_rows(loading_answer(settings, files, plan, loaded))
    assert rows[2]["odd"] == "1 crossed_range"
    with past_bars(settings, "files", str(folder / "SPY*.csv")) as some, pytest.raises(DataNotFit, match="it has SPY"):
        some.between("QQQ", FRIDAY_EVENING, FRIDAY_EVENING + timedelta(days=1))


def test_files_that_are_not_there_or_say_two_things_are_refused_in_words(
    settings: Settings, tmp_path: Path, week: BarColumns
) -> None:
    with (
        pytest.raises(ConfigurationError, match="no CSV or Parquet file at"),
        past_bars(settings, "files", str(tmp_path / "none" / "*.csv")),
    ):
        pass
    (tmp_path / "SPY_a.csv").write_text(csv(week, with_symbol=True))
    (tmp_path / "SPY_b.csv").write_text(csv(replace(week, close=week.open), with_symbol=True))
    with past_bars(settings, "files", str(tmp_path)) as files, pytest.raises(ConfigurationError, match="comes twice"):
        load(settings, files)
    assert ask(settings.store.path, "FROM bars").rows == ()


def test_where_bars_come_from_is_what_is_named_or_set(settings: Settings) -> None:
    assert kind_of_past_bars(settings, None) is None
    assert kind_of_past_bars(settings, "bars") == "files"
    for section in ({"feed": {"kind": "ib"}}, {"broker": {"kind": "ib"}}):
        assert kind_of_past_bars(Settings.model_validate(section), None) == "ib"


@contextlib.contextmanager
def held_by_another_process(path: Path) -> Iterator[None]:
    """The database is open elsewhere, without a door."""
    holding = "import sys, duckdb; held = duckdb.connect(sys.argv[1]); print(flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", holding, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline()
        yield
        holder.communicate()
