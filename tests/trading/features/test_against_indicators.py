"""The indicators against others' implementations of them: pandas, and TA-Lib where it is installed."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
import talib

from trading.bars import BarColumns
from trading.features.feature_set import FeatureSet

SetOf = Callable[..., FeatureSet]
ROWS = 2_000
# What an exponential mean leaves out weighs 1e-10.
CLOSE_ENOUGH = 1e-8


@pytest.fixture(scope="module")
def bars() -> BarColumns:
    """A walk of five sessions in cents, with ranges and volumes; times do not matter here."""
    dice = np.random.default_rng(11)
    close = np.cumsum(dice.integers(-12, 13, ROWS)) + 20_000
    high, low = close + dice.integers(0, 20, ROWS), close - dice.integers(0, 20, ROWS)
    times = np.arange(ROWS) * 60_000_000
    volume = dice.integers(0, 100_000, ROWS)
    return BarColumns("SPY", times, close * 10_000, high * 10_000, low * 10_000, close * 10_000, volume)


@pytest.fixture(scope="module")
def frame(bars: BarColumns) -> pd.DataFrame:
    return pd.DataFrame(
        {"close": bars.close / 1e6, "high": bars.high / 1e6, "low": bars.low / 1e6, "volume": bars.volume.astype(float)}
    )


def compare(features: FeatureSet, bars: BarColumns, expected: "pd.Series[float]") -> None:
    said = features.history(bars)[:, 0]
    warm = features.warmup_bars - 1
    assert np.isnan(said[:warm]).all()
    np.testing.assert_allclose(said[warm:], expected.to_numpy()[warm:], rtol=CLOSE_ENOUGH, atol=CLOSE_ENOUGH)


def wilder(column: "pd.Series[float]", bars: int) -> "pd.Series[float]":
    return column.ewm(alpha=1 / bars, adjust=False).mean()


@pytest.mark.parametrize("count", [1, 7])
def test_return_is_that_of_pandas(feature_set: SetOf, bars: BarColumns, frame: pd.DataFrame, count: int) -> None:
    compare(feature_set(("return", {"bars": count})), bars, np.log(frame.close / frame.close.shift(count)))


@pytest.mark.parametrize("count", [1, 30])
def test_realised_volatility_is_that_of_pandas(
    feature_set: SetOf, bars: BarColumns, frame: pd.DataFrame, count: int
) -> None:
    squares = np.log(frame.close / frame.close.shift(1)) ** 2
    compare(feature_set(("realised_volatility", {"bars": count})), bars, np.sqrt(squares.rolling(count).mean()))


@pytest.mark.parametrize("count", [2, 14, 30])
def test_rsi_is_that_of_pandas(feature_set: SetOf, bars: BarColumns, frame: pd.DataFrame, count: int) -> None:
    change = frame.close.diff()
    gains, losses = wilder(change.clip(lower=0), count), wilder((-change).clip(lower=0), count)
    compare(feature_set(("rsi", {"bars": count})), bars, 100 - 100 / (1 + gains / losses))


@pytest.mark.parametrize("count", [2, 20, 100])
def test_ema_distance_is_that_of_pandas(feature_set: SetOf, bars: BarColumns, frame: pd.DataFrame, count: int) -> None:
    expected = frame.close / frame.close.ewm(span=count, adjust=False).mean() - 1
    compare(feature_set(("ema_distance", {"bars": count})), bars, expected)


def test_ema_spread_is_that_of_pandas(feature_set: SetOf, bars: BarColumns, frame: pd.DataFrame) -> None:
    fast, slow = (frame.close.ewm(span=span, adjust=False).mean() for span in (12, 26))
    compare(feature_set("ema_spread"), bars, fast / slow - 1)


@pytest.mark.parametrize("count", [2, 14])
def test_atr_is_that_of_pandas(feature_set: SetOf, bars: BarColumns, frame: pd.DataFrame, count: int) -> None:
    before = frame.close.shift(1)
    ranges = pd.concat([frame.high - frame.low, (frame.high - before).abs(), (frame.low - before).abs()], axis=1)
    compare(feature_set(("atr", {"bars": count})), bars, wilder(ranges.max(axis=1), count) / frame.close)


@pytest.mark.parametrize("count", [2, 20, 333])
def test_bollinger_and_volume_zscore_are_those_of_pandas(
    feature_set: SetOf, bars: BarColumns, frame: pd.DataFrame, count: int
) -> None:
    for name, column in (("bollinger", frame.close), ("volume_zscore", frame.volume)):
        window = column.rolling(count)
        expected = ((column - window.mean()) / window.std(ddof=0)).where(window.max() != window.min(), 0.0)
        compare(feature_set((name, {"bars": count})), bars, expected)


def test_vwap_distance_is_that_of_pandas(feature_set: SetOf) -> None:
    # Three sessions in January 2026, from half past two in UTC.
    dice = np.random.default_rng(5)
    times = pd.DatetimeIndex([])
    for day in ("2026-01-05", "2026-01-06", "2026-01-07"):
        times = times.append(pd.date_range(f"{day} 14:30", periods=390, freq="min", tz="UTC"))
    close = 30_000 + np.cumsum(dice.integers(-9, 10, len(times)))
    volume = dice.integers(1, 5_000, len(times))
    micros = close * 10_000
    bars = BarColumns("SPY", times.as_unit("us").asi8, micros, micros + 70_000, micros - 20_000, micros, volume)
    typical = pd.Series((close * 3 + 5) / 3, index=times)
    by_day = times.date
    vwap = (typical * volume).groupby(by_day).cumsum() / pd.Series(volume, index=times).groupby(by_day).cumsum()
    compare(feature_set("vwap_distance"), bars, close / vwap - 1)


def test_the_indicators_that_have_names_are_those_of_ta_lib(
    feature_set: SetOf, bars: BarColumns, frame: pd.DataFrame
) -> None:
    close, high, low = (frame[name].to_numpy() for name in ("close", "high", "low"))
    upper, middle, _ = talib.BBANDS(close, timeperiod=20, nbdevup=1, nbdevdn=1)
    # TA-Lib starts its means from plain ones, ours from none: both have forgotten that after the warmup.
    settled = 2 * feature_set("rsi", "ema_spread").warmup_bars
    for name, expected in {
        "rsi": talib.RSI(close, timeperiod=14),
        "atr": talib.ATR(high, low, close, timeperiod=14) / close,
        "ema_distance": close / talib.EMA(close, timeperiod=20) - 1,
        "ema_spread": talib.EMA(close, timeperiod=12) / talib.EMA(close, timeperiod=26) - 1,
        "bollinger": (close - middle) / (upper - middle),
        "return": np.log(talib.ROCR(close, timeperiod=1)),
    }.items():
        said = feature_set(name).history(bars)[:, 0]
        np.testing.assert_allclose(
            said[settled:], expected[settled:], rtol=CLOSE_ENOUGH, atol=CLOSE_ENOUGH, err_msg=name
        )
