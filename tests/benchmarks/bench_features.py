"""What features cost: a year of ten symbols at once, and one bar after the other as a session meets them."""

import statistics
import time
from collections.abc import Callable
from typing import Any

from trading.bars import Timeframe
from trading.features.feature_set import FeatureSet
from trading.features.spec import FeatureSpec
from trading.market_window import HistoryWindow

SYMBOLS, LIVE_BARS = 10, 5_000
MILLISECONDS, MICROSECONDS = 1_000.0, 1_000_000.0
TEN = FeatureSet(
    [
        FeatureSpec(name=name)
        for name in (
            "return", "realised_volatility", "rsi", "ema_distance", "atr", "bollinger", "volume_zscore", "vwap_distance",
            "time_of_day", "day_of_week",
        )
    ],
    Timeframe.MINUTE_1,
)  # fmt: skip


def test_features_of_a_whole_history(figures: Any, replay_job: Callable[[int], Any]) -> None:
    histories = replay_job(SYMBOLS).bars.values()
    started = time.perf_counter()
    rows = sum(len(TEN.history(bars)) for bars in histories)
    seconds = time.perf_counter() - started
    note = f"{len(TEN.labels)} features of {rows:,} bars; {seconds / rows * MICROSECONDS:.2f} us a bar"
    figures.add("features of a history, 10 symbols", seconds, "s", at_most=3, note=note)


def test_features_of_a_bar(figures: Any, replay_job: Callable[[int], Any]) -> None:
    histories = replay_job(SYMBOLS).bars
    window = HistoryWindow(histories)
    streams = {symbol: TEN.stream() for symbol in histories}
    first = TEN.warmup_bars - 1
    began, taken = 0.0, []
    for row in range(first, first + LIVE_BARS):
        window.move_to(dict.fromkeys(histories, row))
        started = time.perf_counter()
        rows = [stream.row(window, symbol) for symbol, stream in streams.items()]
        took = (time.perf_counter() - started) * MILLISECONDS
        assert all(features is not None for features in rows)
        if row == first:
            began = took
        else:
            taken.append(took)
    each = statistics.median(taken) / SYMBOLS * 1_000
    note = f"{len(TEN.labels)} features; {each:.0f} us a symbol"
    figures.add("features of a bar, 10 symbols, median", statistics.median(taken), "ms", at_most=0.5, note=note)
    figures.add("features of a bar, 10 symbols, p99", statistics.quantiles(taken, n=100)[98], "ms", at_most=2)
    figures.add(
        "streams of 10 symbols begun", began, "ms", note=f"from the last {TEN.warmup_bars} bars each, once a session"
    )


def test_a_bar_costs_the_same_however_long_the_warmup_is(figures: Any, replay_job: Callable[[int], Any]) -> None:
    bars = replay_job(SYMBOLS).bars["S0"]
    medians = []
    for length in (20, 200):
        features = FeatureSet([FeatureSpec(name="ema_distance", parameters={"bars": length})], Timeframe.MINUTE_1)
        window, stream, taken = HistoryWindow({"S0": bars}), features.stream(), []
        for row in range(features.warmup_bars - 1, features.warmup_bars + LIVE_BARS):
            window.move_to({"S0": row})
            started = time.perf_counter()
            stream.row(window, "S0")
            taken.append((time.perf_counter() - started) * MICROSECONDS)
        medians.append(statistics.median(taken))
    note = f"{medians[0]:.1f} us and {medians[1]:.1f} us"
    figures.add("EMA of 200 bars against one of 20, live", medians[1] / medians[0], "x", at_most=2, note=note)
