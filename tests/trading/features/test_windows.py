"""Windows against the same sums in exact fractions: nothing drifts, whatever passed through before."""

import math
import random
from collections.abc import Callable, Sequence
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading.features.series import CLOSE, Derived
from trading.features.windows import FORGOTTEN_WEIGHT, Deviations, ExponentialMean, Lag, RootMeanSquare

# Whole micros from a cent to a million.
prices = st.lists(
    st.one_of(st.integers(10_000, 10**12), st.sampled_from([10_000, 10**12, 10**12 - 1])), min_size=1, max_size=60
)
lengths = st.integers(2, 40)


def both_ways(series: Derived, numbers: Sequence[float]) -> list[tuple[float, float]]:
    """What it says of each window that is full: at once, and one by one by a stream that has seen a third of them before."""
    column = np.array(numbers, dtype=np.float64)
    seen = len(column) // 3
    step, fresh = series.live(column[:seen]), series.live(column[:0])
    one_by_one = [fresh(number) for number in column.tolist()]
    assert np.array_equal([step(number) for number in column[seen:].tolist()], one_by_one[seen:], equal_nan=True)
    at_once = series.history(column).tolist()
    assert len(at_once) == len(numbers)
    assert all(math.isnan(number) for number in (at_once + one_by_one)[: series.reach])
    return list(zip(at_once, one_by_one, strict=True))[series.reach :]


def agrees(
    series: Derived, numbers: Sequence[int], exact: Callable[[Sequence[Fraction]], float], within: float
) -> None:
    windows = [
        [Fraction(number) for number in numbers[end - series.reach : end + 1]]
        for end in range(series.reach, len(numbers))
    ]
    for (at_once, one_by_one), window in zip(both_ways(series, numbers), windows, strict=True):
        expected = exact(window)
        assert at_once == pytest.approx(expected, rel=within, abs=within)
        assert one_by_one == pytest.approx(expected, rel=within, abs=within)


@given(prices, lengths)
def test_deviations_are_exact_to_a_few_bits_on_any_prices(numbers: list[int], bars: int) -> None:
    def exact(window: Sequence[Fraction]) -> float:
        mean = sum(window) / bars
        variance = sum((number - mean) ** 2 for number in window) / bars
        if not variance:
            return 0.0
        above = window[-1] - mean
        return math.copysign(math.sqrt(above * above / variance), above)

    agrees(Deviations(CLOSE, bars), numbers, exact, 1e-12)


@given(prices, st.integers(2, 3))
def test_an_exponential_mean_is_that_of_its_window(numbers: list[int], bars: int) -> None:
    # Over two and three bars it looks at 21 and 34.
    series = ExponentialMean.spanning(CLOSE, bars)
    weights = [Fraction(series.decay) ** age for age in range(series.bars)][::-1]

    def exact(window: Sequence[Fraction]) -> float:
        return float(sum(number * weight for number, weight in zip(window, weights, strict=True)) / sum(weights))

    agrees(series, numbers, exact, 1e-13)


@given(prices, lengths)
def test_a_root_mean_square_is_that_of_its_window(numbers: list[int], bars: int) -> None:
    agrees(RootMeanSquare(CLOSE, bars), numbers, lambda window: math.sqrt(sum(n * n for n in window) / bars), 1e-13)


@given(prices, st.integers(1, 70))
def test_a_lag_is_what_was(numbers: list[int], bars: int) -> None:
    agrees(Lag(CLOSE, bars), numbers, lambda window: float(window[0]), 0)


@pytest.mark.parametrize("bars", [2, 14, 20, 500])
def test_what_an_exponential_mean_leaves_out_weighs_less_than_promised(bars: int) -> None:
    for mean in (ExponentialMean.spanning(CLOSE, bars), ExponentialMean.of_wilder(CLOSE, bars)):
        assert mean.decay**mean.bars <= FORGOTTEN_WEIGHT < mean.decay ** (mean.bars - 1)


@pytest.mark.parametrize("series", [Deviations(CLOSE, 20), RootMeanSquare(CLOSE, 20), ExponentialMean(CLOSE, 0.5)])
def test_a_flat_stretch_after_the_wildest_one_is_flat(series: Derived) -> None:
    dice = random.Random(3)
    wild = [round(10 ** dice.uniform(4, 12)) for _ in range(5_000)]
    quiet = both_ways(series, [*wild, *[10_000] * 100])[-60:]
    expected = 0 if isinstance(series, Deviations) else 10_000
    assert quiet == [(pytest.approx(expected, rel=1e-15), pytest.approx(expected, rel=1e-15))] * 60


@pytest.mark.parametrize("series", [Deviations(CLOSE, 5), RootMeanSquare(CLOSE, 5), ExponentialMean(CLOSE, 0.01)])
def test_a_number_that_is_not_known_leaves_with_its_window(series: Derived) -> None:
    numbers = [1.0, 2, 3, 4, 5, math.nan, *[7.0] * 5]
    said = both_ways(series, numbers)
    unknown = [any(map(math.isnan, pair)) for pair in said]
    assert unknown == [False] * (5 - series.reach) + [True] * (series.reach + 1) + [False] * (5 - series.reach)
    assert all(math.isnan(one) == math.isnan(other) for one, other in said)
