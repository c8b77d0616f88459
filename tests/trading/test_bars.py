from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading.bars import MISSING, Bar, BarColumns, Timeframe, from_epoch_us, to_epoch_us

AT = datetime(2026, 1, 5, 14, 30, tzinfo=UTC)
GOOD = Bar("SPY", AT, Decimal("10"), Decimal("12"), Decimal("9"), Decimal("11"), 100)


@pytest.mark.parametrize(
    "nonsense",
    [
        {"high": Decimal("8")},
        {"low": Decimal("11.5")},
        {"close": Decimal("12.01")},
        {"close": Decimal("8.99")},
        {"open": Decimal("13")},
        {"low": Decimal("0")},
        {"low": Decimal("-1")},
        {"close": Decimal("NaN")},
        {"high": Decimal("Infinity")},
        {"low": Decimal("-Infinity")},
        {"volume": -1},
    ],
)
def test_a_bar_refuses_nonsense_at_birth(nonsense: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"SPY 2026-01-05T14:30:00\+00:00"):
        replace(GOOD, **nonsense)  # type: ignore[arg-type]


def test_an_index_has_no_volume() -> None:
    assert replace(GOOD, volume=None).volume is None


def test_columns_hold_the_bars_they_were_made_of() -> None:
    bars = [GOOD, replace(GOOD, bar_time=AT + timedelta(minutes=1), close=Decimal("9.123456"), volume=None)]
    columns = BarColumns.of("SPY", bars)
    assert list(columns) == bars
    assert columns.close.tolist() == [11_000_000, 9_123_456]
    assert columns.volume.tolist() == [100, MISSING]


def test_a_row_of_nonsense_is_no_bar() -> None:
    columns = replace(BarColumns.of("SPY", [GOOD]), close=np.array([MISSING], dtype=np.int64))
    with pytest.raises(ValueError, match="not a bar"):
        columns.bar(0)


def test_columns_are_equally_long() -> None:
    with pytest.raises(ValueError, match=r"different lengths \[0, 1\]"):
        replace(BarColumns.of("SPY", [GOOD]), close=np.empty(0, dtype=np.int64))


def test_columns_are_joined_and_taken_from() -> None:
    bars = [replace(GOOD, bar_time=AT + timedelta(minutes=minute)) for minute in range(4)]
    joined = BarColumns.of("SPY", bars[:1]).joined(BarColumns.of("SPY", bars[1:]))
    assert list(joined) == bars
    assert list(joined.take(slice(1, 3))) == bars[1:3]
    assert list(joined.take(np.array([True, False, False, True]))) == [bars[0], bars[3]]
    assert list(BarColumns.empty("SPY").joined(joined)) == bars
    assert len(BarColumns.empty("SPY")) == 0


@given(st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1), timezones=st.timezones()))  # noqa: DTZ001
def test_a_moment_survives_the_way_through_microseconds(moment: datetime) -> None:
    assert from_epoch_us(to_epoch_us(moment)) == moment
    assert from_epoch_us(to_epoch_us(moment)).tzinfo is UTC


def test_a_moment_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="no time zone"):
        to_epoch_us(datetime(2026, 1, 5))  # noqa: DTZ001


def test_a_timeframe_knows_its_length() -> None:
    assert {frame: frame.length for frame in Timeframe} == {
        frame: timedelta(minutes=minutes) for frame, minutes in zip(Timeframe, (1, 2, 3, 5, 10, 15, 30), strict=True)
    }
