"""The features there are. Each is a formula over series, written once; ``docs/features.md`` shows the same list to people.

A change of what a feature means counts ``FEATURE_VERSION`` up, because models were trained on what it meant.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from trading.bars import Timeframe
from trading.features.series import (
    CLOSE,
    HIGH,
    LOW,
    SESSION_CLOSES,
    SESSION_OPENS,
    TIME,
    VOLUME,
    WEEKDAY,
    Constant,
    Series,
    larger,
    logarithm,
    ratio,
    smaller,
)
from trading.features.session_series import BeforeSession, SessionSum
from trading.features.session_table import full_session_bars
from trading.features.windows import Deviations, ExponentialMean, Lag, RootMeanSquare

MICROSECONDS_PER_MINUTE = 60_000_000.0
FRIDAY = 4.0


@dataclass(frozen=True, slots=True)
class Market:
    """What formulas may know beside the bars."""

    exchange: str
    timeframe: Timeframe

    @property
    def session_bars(self) -> int:
        """Bars of a full session."""
        return full_session_bars(self.exchange, self.timeframe)

    @property
    def bar_ends(self) -> Series:
        """When a bar is over, in microseconds: at the close for one that the close cuts short."""
        return smaller(TIME + Constant(self.timeframe.minutes * MICROSECONDS_PER_MINUTE), SESSION_CLOSES)


@dataclass(frozen=True, slots=True)
class Parameter:
    """A whole number that a feature takes, with its bounds (both allowed)."""

    name: str
    default: int
    lowest: int
    highest: int


class Holding(StrEnum):
    """What a feature tells of the position instead of the market."""

    SIGN = "sign"
    UNREALIZED_FRACTION = "unrealized_fraction"


Formula = Callable[[Market, Mapping[str, int]], Series]


@dataclass(frozen=True, slots=True)
class Feature:
    """One feature: what it says, in which unit, and how it is made."""

    name: str
    description: str
    """The formula in words; ``docs/features.md`` has the same."""
    unit: str
    source: Formula | Holding
    parameters: tuple[Parameter, ...] = ()


def _bars(default: int, lowest: int = 2, highest: int = 2_000) -> tuple[Parameter, ...]:
    return (Parameter("bars", default, lowest, highest),)


def _return(_: Market, given: Mapping[str, int]) -> Series:
    return logarithm(CLOSE / Lag(CLOSE, given["bars"]))


def _session_return(market: Market, _: Mapping[str, int]) -> Series:
    return logarithm(CLOSE / BeforeSession(CLOSE, SESSION_OPENS, market.session_bars))


def _realised_volatility(_: Market, given: Mapping[str, int]) -> Series:
    return RootMeanSquare(logarithm(CLOSE / Lag(CLOSE, 1)), given["bars"])


def _rsi(_: Market, given: Mapping[str, int]) -> Series:
    change = CLOSE - Lag(CLOSE, 1)
    gains = ExponentialMean.of_wilder(larger(change, 0), given["bars"])
    losses = ExponentialMean.of_wilder(larger(Constant(0) - change, 0), given["bars"])
    return ratio(gains, gains + losses, where_zero=0.5) * 100


def _ema_distance(_: Market, given: Mapping[str, int]) -> Series:
    return CLOSE / ExponentialMean.spanning(CLOSE, given["bars"]) - 1


def _ema_spread(_: Market, given: Mapping[str, int]) -> Series:
    fast, slow = (ExponentialMean.spanning(CLOSE, given[name]) for name in ("fast", "slow"))
    return fast / slow - 1


def _atr(_: Market, given: Mapping[str, int]) -> Series:
    before = Lag(CLOSE, 1)
    true_range = larger(HIGH, before) - smaller(LOW, before)
    return ExponentialMean.of_wilder(true_range, given["bars"]) / CLOSE


def _bollinger(_: Market, given: Mapping[str, int]) -> Series:
    return Deviations(CLOSE, given["bars"])


def _volume_zscore(_: Market, given: Mapping[str, int]) -> Series:
    return Deviations(VOLUME, given["bars"])


def _vwap_distance(market: Market, _: Mapping[str, int]) -> Series:
    typical = (HIGH + LOW + CLOSE) / 3
    turnover, volume = (SessionSum(of, SESSION_OPENS, market.session_bars) for of in (typical * VOLUME, VOLUME))
    return CLOSE / ratio(turnover, volume, where_zero=typical) - 1


def _time_of_day(market: Market, _: Mapping[str, int]) -> Series:
    return (market.bar_ends - SESSION_OPENS) / (SESSION_CLOSES - SESSION_OPENS)


def _minutes_to_close(market: Market, _: Mapping[str, int]) -> Series:
    return (SESSION_CLOSES - market.bar_ends) / MICROSECONDS_PER_MINUTE


def _day_of_week(_: Market, __: Mapping[str, int]) -> Series:
    return WEEKDAY / FRIDAY


FEATURES: tuple[Feature, ...] = (
    Feature("return", "ln(close / close `bars` bars ago)", "log return", _return, _bars(1, lowest=1)),
    Feature(
        "session_return",
        "ln(close / close of the last bar before the session)",
        "log return",
        _session_return,
    ),
    Feature(
        "realised_volatility",
        "root of the mean square of the last `bars` log returns from bar to bar, not annualised",
        "log return",
        _realised_volatility,
        _bars(30, lowest=1),
    ),
    Feature(
        "rsi",
        "100 * gains / (gains + losses): Wilder means of the rises and falls of the close; 50 where it never moved",
        "0 to 100",
        _rsi,
        _bars(14, highest=500),
    ),
    Feature("ema_distance", "close / EMA(close) - 1", "fraction", _ema_distance, _bars(20, highest=1_000)),
    Feature(
        "ema_spread",
        "EMA(close, `fast`) / EMA(close, `slow`) - 1; `fast` is less than `slow`",
        "fraction",
        _ema_spread,
        (Parameter("fast", 12, 2, 1_000), Parameter("slow", 26, 2, 1_000)),
    ),
    Feature(
        "atr",
        "Wilder mean of the true range, max(high, close before) - min(low, close before), divided by the close",
        "fraction of the price",
        _atr,
        _bars(14, highest=500),
    ),
    Feature(
        "bollinger",
        "(close - mean) / standard deviation of the last `bars` closes; 0 where all are equal",
        "standard deviations",
        _bollinger,
        _bars(20),
    ),
    Feature(
        "volume_zscore",
        "(volume - mean) / standard deviation of the last `bars` volumes; 0 where all are equal, "
        "NaN where one is missing",
        "standard deviations",
        _volume_zscore,
        _bars(20),
    ),
    Feature(
        "vwap_distance",
        "close / VWAP - 1, with the typical price (high + low + close) / 3 weighed by volume since the session's open; "
        "before any volume the typical price of the bar stands for the VWAP; NaN after a missing volume of the session",
        "fraction",
        _vwap_distance,
    ),
    Feature(
        "time_of_day",
        "the part of the session that is over at the bar's end; a half day runs from 0 to 1 too",
        "0 to 1",
        _time_of_day,
    ),
    Feature("minutes_to_close", "minutes from the bar's end to the session's close", "minutes", _minutes_to_close),
    Feature(
        "day_of_week",
        "weekday of the session's exchange date: Monday 0, Friday 1, a quarter for each day",
        "0 to 1",
        _day_of_week,
    ),
    Feature("position", "sign of the held quantity: -1 short, 0 flat, 1 long", "-1, 0 or 1", Holding.SIGN),
    Feature(
        "unrealized_pnl",
        "unrealized P&L of the position as a fraction of its cost; 0 when flat",
        "fraction",
        Holding.UNREALIZED_FRACTION,
    ),
)
