"""Importing bars: harmless twice, never silently different."""

from datetime import UTC, datetime
from decimal import Decimal

import numpy as np
import pytest

from storage.bars import ImportCounts
from storage.store import Store
from trading.bars import MISSING, BarColumns, Timeframe, from_epoch_us, to_epoch_us
from trading.errors import ConfigurationError

OPENING = datetime(2026, 1, 5, 14, 30, tzinfo=UTC)


def minutes(symbol: str, closes: list[int], start: int = 0, volume: int = 500) -> BarColumns:
    """Flat bars, one a minute, at whole prices."""
    prices = np.array(closes, dtype=np.int64) * 1_000_000
    time = to_epoch_us(OPENING) + (start + np.arange(len(closes), dtype=np.int64)) * 60_000_000
    return BarColumns(
        symbol, time, prices, prices.copy(), prices.copy(), prices.copy(), np.full(len(closes), volume, dtype=np.int64)
    )


def everything(store: Store, symbol: str) -> BarColumns:
    return store.bars.between(symbol, from_epoch_us(0), datetime(2100, 1, 1, tzinfo=UTC))


def test_bars_come_back_as_they_went_in_holes_included(store: Store) -> None:
    bars = minutes("SPY", [100, 101, 102])
    bars.close[1] = MISSING
    bars.low[2] = -5
    bars.volume[0] = MISSING
    assert store.bars.import_bars([bars]) == ImportCounts(3, 0, 0)
    read = everything(store, "SPY")
    for name in ("time", "open", "high", "low", "close", "volume"):
        assert getattr(read, name).tolist() == getattr(bars, name).tolist()
    assert store.connection.rows("SELECT close, volume FROM bars ORDER BY bar_time") == [
        (Decimal("100"), None),
        (None, 500),
        (Decimal("102"), 500),
    ]


def test_a_range_holds_its_start_and_not_its_end(store: Store) -> None:
    store.bars.import_bars([minutes("SPY", [1, 2, 3, 4])])
    found = store.bars.between("SPY", OPENING.replace(minute=31), OPENING.replace(minute=33))
    assert found.close.tolist() == [2_000_000, 3_000_000]
    assert len(store.bars.between("QQQ", OPENING, OPENING.replace(minute=33))) == 0


def test_symbols_and_span_are_those_of_the_timeframe(store: Store) -> None:
    store.bars.import_bars([minutes("SPY", [1, 2, 3]), minutes("AAPL", [5])])
    assert store.bars.symbols() == ("AAPL", "SPY")
    assert store.bars.span("SPY") == (OPENING, OPENING.replace(minute=32))
    assert store.bars.span("QQQ") is None
    assert store.bars_of(Timeframe.MINUTE_5).symbols() == ()


def test_importing_again_changes_nothing_and_adds_what_is_new(store: Store) -> None:
    store.bars.import_bars([minutes("SPY", [1, 2, 3])])
    assert store.bars.import_bars([minutes("SPY", [1, 2, 3])]) == ImportCounts(0, 3, 0)
    assert store.bars.import_bars([minutes("SPY", [2, 3, 4, 5], start=1)]) == ImportCounts(2, 2, 0)
    assert everything(store, "SPY").close.tolist() == [1_000_000, 2_000_000, 3_000_000, 4_000_000, 5_000_000]


def test_bars_out_of_order_are_stored_in_order(store: Store) -> None:
    later, earlier = minutes("SPY", [3, 4], start=2), minutes("SPY", [1, 2])
    assert store.bars.import_bars([later, earlier]) == ImportCounts(4, 0, 0)
    assert everything(store, "SPY").close.tolist() == [1_000_000, 2_000_000, 3_000_000, 4_000_000]


def test_a_stored_bar_with_other_values_is_refused_and_nothing_is_written(store: Store) -> None:
    store.bars.import_bars([minutes("SPY", [1, 2, 3])])
    changed = [minutes("AAPL", [7]), minutes("SPY", [2, 9, 8, 4], start=1)]
    with pytest.raises(ConfigurationError) as refused:
        store.bars.import_bars(changed)
    assert "SPY at 2026-01-05 14:32:00 UTC" in str(refused.value)
    assert "close 3 " in str(refused.value)
    assert "close 9 " in str(refused.value)
    assert "--replace" in str(refused.value)
    assert store.bars.symbols() == ("SPY",)
    assert len(everything(store, "SPY")) == 3


def test_replace_takes_the_new_values(store: Store) -> None:
    store.bars.import_bars([minutes("SPY", [1, 2, 3])])
    assert store.bars.import_bars([minutes("SPY", [2, 9, 4], start=1)], replace=True) == ImportCounts(1, 1, 1)
    assert everything(store, "SPY").close.tolist() == [1_000_000, 2_000_000, 9_000_000, 4_000_000]


def test_exact_duplicates_in_the_input_collapse(store: Store) -> None:
    assert store.bars.import_bars([minutes("SPY", [1, 2]), minutes("SPY", [2, 3], start=1)]) == ImportCounts(3, 0, 0)


@pytest.mark.parametrize("replace", [False, True])
def test_two_different_bars_of_one_moment_in_the_input_are_refused(store: Store, replace: bool) -> None:
    with pytest.raises(ConfigurationError, match=r"14:31:00 UTC comes twice .* close 2 .* close 5"):
        store.bars.import_bars([minutes("SPY", [1, 2]), minutes("SPY", [5], start=1)], replace)
    assert store.bars.symbols() == ()


def test_a_row_without_a_time_or_with_an_impossible_price_is_refused(store: Store) -> None:
    untimed = minutes("SPY", [1, 2])
    untimed.time[1] = MISSING
    with pytest.raises(ConfigurationError, match="Row 2 of the bars of SPY has no time"):
        store.bars.import_bars([untimed])
    with pytest.raises(ConfigurationError, match="which no price is"):
        store.bars.import_bars([minutes("SPY", [10**12])])


def test_nothing_to_import_is_not_an_error(store: Store) -> None:
    assert store.bars.import_bars([BarColumns.empty("SPY")]) == ImportCounts(0, 0, 0)
