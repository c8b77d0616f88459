"""A stream follows its window: it takes in what is new, begins again where something is missing, and never makes anything up."""

from collections.abc import Callable
from datetime import timedelta

import numpy as np
import pytest

from trading.bars import BarColumns, BarSlice
from trading.features.feature_set import FeatureSet
from trading.market_window import HistoryWindow, LiveWindow

BarsOf = Callable[..., BarColumns]
SetOf = Callable[..., FeatureSet]

CLOSES = [100, 101, 103, 102, 99, 98, 100, 104, 105, 103, 107, 108, 104, 100, 101, 99]


@pytest.fixture
def features(feature_set: SetOf) -> FeatureSet:
    """Warm with the fourth bar."""
    return feature_set(("return", {"bars": 3}), ("bollinger", {"bars": 3}))


def live_window(capacity: int = 64) -> LiveWindow:
    return LiveWindow(["SPY"], capacity, 1 << 20, timedelta(days=5))


def show(window: LiveWindow, bars: BarColumns, row: int) -> None:
    bar = bars.bar(row)
    window.advance(BarSlice(bar.bar_time, {"SPY": bar}))


def test_nothing_is_said_before_as_many_bars_as_the_warmup(features: FeatureSet, bars_of: BarsOf) -> None:
    bars, window, stream = bars_of(CLOSES), live_window(), features.stream()
    assert stream.row(window, "SPY") is None
    said = []
    for row in range(6):
        show(window, bars, row)
        said.append(stream.row(window, "SPY") is not None)
    assert said == [False, False, False, True, True, True]


def test_a_window_that_keeps_fewer_bars_than_the_warmup_is_enough_for_a_stream_that_saw_all_bars(
    features: FeatureSet, bars_of: BarsOf
) -> None:
    bars, window, stream = bars_of(CLOSES), live_window(capacity=2), features.stream()
    expected = features.history(bars)
    for row in range(len(bars)):
        show(window, bars, row)
        said = stream.row(window, "SPY")
        assert (said is None) == (row < 3)
        if said is not None:
            assert said == pytest.approx(expected[row], abs=1e-12)


@pytest.mark.parametrize("missed", [2, 3, 4, 9])
def test_bars_that_came_since_the_last_call_are_taken_in(features: FeatureSet, bars_of: BarsOf, missed: int) -> None:
    bars = bars_of(CLOSES)
    window, stream, expected = HistoryWindow({"SPY": bars}), features.stream(), features.history(bars)
    for row in (5, 5 + missed):
        window.move_to({"SPY": row})
        assert stream.row(window, "SPY") == pytest.approx(expected[row], abs=1e-12)


def test_a_stream_begins_again_where_the_window_has_lost_the_bar_it_knows(
    features: FeatureSet, bars_of: BarsOf
) -> None:
    bars, window, stream = bars_of(CLOSES), live_window(capacity=5), features.stream()
    expected = features.history(bars)
    for row in range(5):
        show(window, bars, row)
    assert stream.row(window, "SPY") == pytest.approx(expected[4], abs=1e-12)
    for row in range(5, 12):
        show(window, bars, row)
    assert stream.row(window, "SPY") == pytest.approx(expected[11], abs=1e-12)


def test_a_stream_says_nothing_again_where_what_is_left_is_too_short(features: FeatureSet, bars_of: BarsOf) -> None:
    bars, window, stream = bars_of(CLOSES), live_window(capacity=3), features.stream()
    for row in range(5):
        show(window, bars, row)
        stream.row(window, "SPY")
    assert stream.row(window, "SPY") is not None
    for row in range(5, 9):
        show(window, bars, row)
    assert stream.row(window, "SPY") is None, "three of four bars are known"
    show(window, bars, 9)
    assert stream.row(window, "SPY") == pytest.approx(features.history(bars)[9], abs=1e-12)


def test_time_that_goes_back_begins_the_stream_again(features: FeatureSet, bars_of: BarsOf) -> None:
    bars = bars_of(CLOSES)
    window, stream, expected = HistoryWindow({"SPY": bars}), features.stream(), features.history(bars)
    for row in (12, 6, 7):
        window.move_to({"SPY": row})
        assert stream.row(window, "SPY") == pytest.approx(expected[row], abs=1e-12)
    window.move_to({"SPY": 2})
    assert stream.row(window, "SPY") is None


def test_asking_twice_for_a_bar_gives_the_same_answer(features: FeatureSet, bars_of: BarsOf) -> None:
    bars = bars_of(CLOSES)
    window, stream = HistoryWindow({"SPY": bars}), features.stream()
    window.move_to({"SPY": 8})
    first = stream.row(window, "SPY")
    assert first is not None
    kept = first.copy()
    first[:] = 7  # what a caller does with its answer is its own affair
    second = stream.row(window, "SPY")
    assert second is not None
    assert second.tolist() == kept.tolist()
    window.move_to({"SPY": 9})
    assert stream.row(window, "SPY") == pytest.approx(features.history(bars)[9], abs=1e-12)


def test_features_of_the_position_are_those_of_the_call(feature_set: SetOf, bars_of: BarsOf) -> None:
    window = HistoryWindow({"SPY": bars_of(CLOSES)})
    window.move_to({"SPY": 0})
    stream = feature_set("unrealized_pnl", "day_of_week", "position").stream()
    rows = [stream.row(window, "SPY", held, gain) for held, gain in ((250, 0.02), (-3, -0.5), (0, 0.0))]
    assert np.array(rows).tolist() == [[0.02, 0, 1], [-0.5, 0, -1], [0, 0, 0]]
    assert stream.row(window, "SPY") == pytest.approx([0, 0, 0])


def test_a_set_of_the_position_alone_is_warm_with_the_first_bar(feature_set: SetOf, bars_of: BarsOf) -> None:
    stream, window = feature_set("position").stream(), live_window()
    assert stream.row(window, "SPY", -5) is None
    show(window, bars_of(CLOSES), 0)
    assert stream.row(window, "SPY", -5) == pytest.approx([-1])


def test_a_stream_belongs_to_one_symbol(features: FeatureSet, bars_of: BarsOf) -> None:
    window = HistoryWindow({"SPY": bars_of(CLOSES), "QQQ": bars_of(CLOSES)})
    window.move_to({"SPY": 8, "QQQ": 8})
    stream = features.stream()
    stream.row(window, "SPY")
    with pytest.raises(ValueError, match="a stream of SPY was asked for QQQ"):
        stream.row(window, "QQQ")


def test_streams_of_one_set_know_nothing_of_each_other(features: FeatureSet, bars_of: BarsOf) -> None:
    one, other = bars_of(CLOSES), bars_of(CLOSES[::-1])
    window = HistoryWindow({"SPY": one, "QQQ": other})
    streams = {"SPY": features.stream(), "QQQ": features.stream()}
    for row in range(len(CLOSES)):
        window.move_to({"SPY": row, "QQQ": row})
        said = {symbol: stream.row(window, symbol) for symbol, stream in streams.items()}
    assert said["SPY"] == pytest.approx(features.history(one)[-1], abs=1e-12)
    assert said["QQQ"] == pytest.approx(features.history(other)[-1], abs=1e-12)
