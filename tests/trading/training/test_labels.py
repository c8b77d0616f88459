"""A label looks ahead, says how far, and not beyond its session; what it is measured with knows only the past."""

import math
from datetime import date, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from trading.bars import BarColumns, to_epoch_us
from trading.calendar import TradingCalendar
from trading.training.labels import BUY, HOLD, SELL, UNLABELLED, forward_returns, return_labels, session_numbers
from trading.training.triple_barrier import ewma_volatility, triple_barrier

# A whole day of 13 half hours, and after Thanksgiving a half day of 7.
DAYS = TradingCalendar("XNYS", date(2025, 11, 26)).sessions_between(date(2025, 11, 26), date(2025, 11, 28))
TIMES = [
    to_epoch_us(hours.opens_at + number * timedelta(minutes=30))
    for hours in DAYS
    for number in range(13 - 6 * (hours is DAYS[1]))
]


def bars_of(
    closes: list[float],
    opens: list[float] | None = None,
    highs: list[float] | None = None,
    lows: list[float] | None = None,
) -> BarColumns:
    """The first bars of the two days at these prices; a bar opens and stays at its close unless it is said otherwise."""
    micros = [
        np.round(np.array(prices) * 1_000_000).astype(np.int64)
        for prices in (opens or closes, highs or closes, lows or closes, closes)
    ]
    return BarColumns("SPY", np.array(TIMES[: len(closes)]), *micros, np.full(len(closes), 1_000))


def test_bars_belong_to_their_sessions() -> None:
    bars = bars_of([100.0] * 20)
    early = BarColumns("SPY", bars.time - 7_200_000_000, bars.open, bars.high, bars.low, bars.close, bars.volume)

    assert session_numbers(bars, DAYS).tolist() == [0] * 13 + [1] * 7
    # Two hours earlier, the first four bars of each day come before its open.
    assert session_numbers(early, DAYS).tolist() == [-1] * 4 + [0] * 9 + [-1] * 4 + [1] * 3
    assert session_numbers(bars, []).tolist() == [-1] * 20


def test_a_return_looks_ahead_by_so_many_bars_and_never_over_a_close() -> None:
    bars = bars_of([100, 101, 102, *[102.0] * 10, 50, 51, 52, 53, 54, 55, 56])
    value, end = forward_returns(bars, DAYS, 2, logarithmic=False)

    assert value[:2].tolist() == pytest.approx([0.02, 102 / 101 - 1])
    assert end[:2].tolist() == [2, 3]
    # Of 13 bars the last two have nothing to look at, and so have the last two of the half day.
    assert np.flatnonzero(end == UNLABELLED).tolist() == [11, 12, 18, 19]
    assert np.isnan(value[[11, 12, 18, 19]]).all()
    assert value[13] == pytest.approx(52 / 50 - 1)


def test_a_return_over_the_night_is_told_when_it_is_asked_for() -> None:
    bars = bars_of([100.0] * 13 + [50.0] * 7)
    value, end = forward_returns(bars, DAYS, 2, across_sessions=True)

    assert value[11] == value[12] == pytest.approx(math.log(0.5))
    assert end[[11, 12]].tolist() == [13, 14]
    assert np.flatnonzero(end == UNLABELLED).tolist() == [18, 19]


def test_a_return_within_the_band_is_held() -> None:
    labels = return_labels(bars_of([100, 100.1, 100.1, 100, 100]), DAYS, 1, band=0.0005, logarithmic=False)

    assert labels.side.tolist() == [BUY, HOLD, SELL, HOLD, HOLD]
    assert labels.is_labelled.tolist() == [True] * 4 + [False]


@pytest.mark.parametrize("horizon", [0, -1])
def test_a_label_has_to_look_ahead(horizon: int) -> None:
    with pytest.raises(ValueError, match="ahead"):
        forward_returns(bars_of([100.0, 101.0]), DAYS, horizon)
    with pytest.raises(ValueError, match="ahead"):
        triple_barrier(bars_of([100.0, 101.0]), DAYS, np.full(2, 0.01), horizon_bars=horizon, upper=1, lower=1)


def test_volatility_weighs_the_newest_returns_most() -> None:
    bars = bars_of([100.0, 100 * math.exp(0.01), 100 * math.exp(0.03), *[100 * math.exp(0.03)] * 10, 500.0, 500.0])
    volatility = ewma_volatility(bars, DAYS, 2)

    # A span of 2 keeps a third each bar: (0.01^2 / 3 + 0.02^2) / (4 / 3) = 0.000325.
    assert np.isnan(volatility[:2]).all()
    assert volatility[2] == pytest.approx(math.sqrt(0.000325), rel=1e-4)  # prices are whole micros
    # Over the night it jumped by a factor of five, which is no bar's return: the estimate stays as it was.
    assert volatility[13] == volatility[12] > volatility[14]


# The close is 100 and the volatility 1 %: at two of them above and one below, barriers are at 102.02 and 99.005.
ONE_PERCENT = {"upper": 2.0, "lower": 1.0, "horizon_bars": 2}


def barriers_of(bars: BarColumns, **options: float) -> tuple[int, float, int]:
    """Side, return and last row of the first bar's label."""
    labels = triple_barrier(bars, DAYS, np.full(len(bars), 0.01), **{**ONE_PERCENT, **options})  # type: ignore[arg-type]
    return int(labels.side[0]), float(labels.value[0]), int(labels.end[0])


def test_the_first_barrier_that_is_touched_decides() -> None:
    rising = bars_of([100, 101, 101, 101], highs=[100, 101, 102.1, 101])
    falling = bars_of([100, 100, 100, 100], lows=[100, 99, 100, 100], highs=[100, 100, 103, 100])

    assert barriers_of(rising) == (BUY, pytest.approx(0.02), 2)
    assert barriers_of(falling) == (SELL, pytest.approx(-0.01), 1)


def test_patience_ends_with_the_return_of_its_last_close() -> None:
    bars = bars_of([100, 100.2, 100.5, 103])

    assert barriers_of(bars) == (HOLD, pytest.approx(math.log(1.005)), 2)
    assert barriers_of(bars, sign_at_end=True) == (BUY, pytest.approx(math.log(1.005)), 2)


def test_a_bar_that_touches_both_barriers_counts_as_the_loss() -> None:
    both = bars_of([100, 100, 100], opens=[100, 100, 100], highs=[100, 103, 100], lows=[100, 98, 100])

    assert barriers_of(both) == (SELL, pytest.approx(-0.01), 1)


def test_an_open_beyond_a_barrier_comes_before_everything_else() -> None:
    up = bars_of([100, 104, 104], opens=[100, 103, 104], highs=[100, 105, 104], lows=[100, 98, 104])
    down = bars_of([100, 97, 97], opens=[100, 98, 97], highs=[100, 103, 97], lows=[100, 97, 97])

    assert barriers_of(up) == (BUY, pytest.approx(math.log(1.03)), 1)
    assert barriers_of(down) == (SELL, pytest.approx(math.log(0.98)), 1)


def test_rows_whose_horizon_leaves_the_session_have_no_label_even_where_they_touch() -> None:
    closes = [100.0] * 20
    bars = bars_of(closes, highs=[110.0] * 20)
    volatility = np.full(20, 0.01)
    volatility[3], volatility[4] = np.nan, 0.0
    labels = triple_barrier(bars, DAYS, volatility, **ONE_PERCENT)  # type: ignore[arg-type]

    assert np.flatnonzero(~labels.is_labelled).tolist() == [3, 4, 11, 12, 18, 19]
    assert labels.side[labels.is_labelled].tolist() == [BUY] * 14
    assert labels.side[~labels.is_labelled].tolist() == [HOLD] * 6
    assert np.isnan(labels.value[~labels.is_labelled]).all()


def walk(seed: int) -> BarColumns:
    rng = np.random.default_rng(seed)
    closes = 100 * np.exp(np.cumsum(rng.normal(0, 0.01, 20)))
    opens = closes * np.exp(rng.normal(0, 0.005, 20))
    highs = np.maximum(opens, closes) * np.exp(np.abs(rng.normal(0, 0.005, 20)))
    lows = np.minimum(opens, closes) * np.exp(-np.abs(rng.normal(0, 0.005, 20)))
    return bars_of(closes.tolist(), opens.tolist(), highs.tolist(), lows.tolist())


def touched_one_by_one(
    bars: BarColumns, row: int, volatility: float, upper: float, lower: float, horizon: int
) -> tuple[int, int]:
    """Side and end of one row as a person would find them."""
    prices = [np.log(column) for column in (bars.open, bars.high, bars.low, bars.close)]
    above, below = prices[3][row] + upper * volatility, prices[3][row] - lower * volatility
    for later in range(row + 1, row + horizon + 1):
        opened, high, low, _ = (column[later] for column in prices)
        if opened >= above:
            return BUY, later
        if opened <= below or low <= below:
            return SELL, later
        if high >= above:
            return BUY, later
    return HOLD, row + horizon


@given(
    seed=st.integers(0, 2**32),
    horizon=st.integers(1, 8),
    upper=st.sampled_from((0.5, 1.0, 2.5)),
    lower=st.sampled_from((0.5, 1.0, 2.5)),
)
def test_all_rows_at_once_are_labelled_like_one_by_one(seed: int, horizon: int, upper: float, lower: float) -> None:
    bars = walk(seed)
    volatility = ewma_volatility(bars, DAYS, 3)
    labels = triple_barrier(bars, DAYS, volatility, horizon_bars=horizon, upper=upper, lower=lower)

    for row in range(20):
        last = 12 if row <= 12 else 19
        if np.isnan(volatility[row]) or row + horizon > last:
            assert labels.end[row] == UNLABELLED
        else:
            found = touched_one_by_one(bars, row, float(volatility[row]), upper, lower, horizon)
            assert (labels.side[row], labels.end[row]) == found
            assert row < labels.end[row] <= row + horizon


def changed_after(bars: BarColumns, row: int) -> BarColumns:
    """Other prices from the bar after ``row`` on."""
    later: NDArray[np.bool_] = np.arange(len(bars)) > row

    def changed(column: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.where(later, column * 3, column)

    return BarColumns(
        bars.symbol,
        bars.time,
        changed(bars.open),
        changed(bars.high),
        changed(bars.low),
        changed(bars.close),
        bars.volume,
    )


@given(seed=st.integers(0, 2**32), row=st.integers(0, 18))
def test_nothing_is_looked_at_beyond_what_a_label_says(seed: int, row: int) -> None:
    bars = walk(seed)
    other = changed_after(bars, row)
    before = ewma_volatility(bars, DAYS, 3), ewma_volatility(other, DAYS, 3)
    assert np.array_equal(before[0][: row + 1], before[1][: row + 1], equal_nan=True)

    known = (
        [return_labels(each, DAYS, 3, band=0.001) for each in (bars, other)],
        [
            triple_barrier(each, DAYS, volatility, horizon_bars=4, upper=1, lower=1)
            for each, volatility in zip((bars, other), before, strict=True)
        ],
    )
    for first, second in known:
        told = first.is_labelled & (first.end <= row)
        assert first.side[told].tolist() == second.side[told].tolist()
        assert first.value[told].tolist() == second.value[told].tolist()
