"""Bars for features: small ones with numbers to work out by hand, and wild ones that no market ever had."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime

import numpy as np
import pytest

from trading.bars import MISSING, BarColumns, Timeframe, to_epoch_us
from trading.calendar import TradingCalendar
from trading.features.feature_set import FeatureSet
from trading.features.spec import FeatureSpec

OPEN = datetime(2026, 1, 5, 14, 30, tzinfo=UTC)
MICROS = 1_000_000


@pytest.fixture
def bars_of() -> Callable[..., BarColumns]:
    """``bars_of(closes, highs, lows, volumes, opens_at)``: consecutive minutes from a Monday's open, prices in currency."""

    def make(
        closes: Sequence[float],
        highs: Sequence[float] | None = None,
        lows: Sequence[float] | None = None,
        volumes: Sequence[int] | None = None,
        first: datetime = OPEN,
        minutes: int = 1,
    ) -> BarColumns:
        def micros(prices: Sequence[float]) -> np.ndarray:
            return np.array([round(price * MICROS) for price in prices], dtype=np.int64)

        close = micros(closes)
        times = to_epoch_us(first) + minutes * 60 * MICROS * np.arange(len(closes), dtype=np.int64)
        return BarColumns(
            "SPY",
            times,
            close,
            close if highs is None else micros(highs),
            close if lows is None else micros(lows),
            close,
            np.full(len(closes), 100) if volumes is None else np.array(volumes, dtype=np.int64),
        )

    return make


@pytest.fixture
def feature_set() -> Callable[..., FeatureSet]:
    """``feature_set("return", ("rsi", {"bars": 3}))``: features of minute bars in New York."""

    def make(*declared: str | tuple[str, dict[str, int]], timeframe: Timeframe = Timeframe.MINUTE_1) -> FeatureSet:
        specs = [
            FeatureSpec(name=entry) if isinstance(entry, str) else FeatureSpec(name=entry[0], parameters=entry[1])
            for entry in declared
        ]
        return FeatureSet(specs, timeframe)

    return make


SPANS = {
    "clocks go forward": (date(2025, 3, 3), date(2025, 3, 14)),
    "clocks go back": (date(2025, 10, 27), date(2025, 11, 7)),
    "thanksgiving": (date(2025, 11, 21), date(2025, 12, 3)),
    "christmas and new year": (date(2025, 12, 22), date(2026, 1, 6)),
}
STRETCHES = ("calm", "flat", "wild", "ticks of one micro", "halves and doubles", "cheap", "nonsense")


@dataclass(frozen=True)
class WildMarket:
    """Bars of about ten sessions, the same for the same seed; in each stretch prices and volumes behave in another way."""

    seed: int
    span: str
    stretches: tuple[str, ...]
    left_out: float
    """Which part of the bars is missing."""
    outside: int = 0
    """So many bars before each open and after each close belong to no session."""
    timeframe: Timeframe = Timeframe.MINUTE_5

    def bars(self) -> BarColumns:
        dice = random.Random(self.seed)
        first, last = SPANS[self.span]
        step = self.timeframe.minutes * 60 * MICROS
        times = [
            time
            for hours in TradingCalendar("XNYS", first).sessions_between(first, last)
            for time in range(
                to_epoch_us(hours.opens_at) - self.outside * step,
                to_epoch_us(hours.closes_at) + self.outside * step,
                step,
            )
            if dice.random() >= self.left_out
        ]
        rows: list[list[int]] = []
        close = 100 * MICROS
        for place in range(len(times)):
            stretch = self.stretches[place * len(self.stretches) // len(times)]
            close = self._next(dice, stretch, close)
            wide = 0 if stretch in ("flat", "ticks of one micro") else dice.choice((0, close // 1_000, close // 3))
            row = [close + dice.randint(0, wide), close - dice.randint(0, wide), close, self._volume(dice, stretch)]
            if stretch == "nonsense" and dice.random() < 0.02:
                row[dice.randrange(3)] = dice.choice((0, -1, MISSING))
            rows.append(row)
        high, low, closes, volume = np.array(rows, dtype=np.int64).reshape(-1, 4).T.copy()
        return BarColumns("SPY", np.array(times, dtype=np.int64), closes, high, low, closes, volume)

    @staticmethod
    def _next(dice: random.Random, stretch: str, close: int) -> int:
        match stretch:
            case "flat":
                following = close
            case "wild":
                following = round(10 ** dice.uniform(4, 12))
            case "ticks of one micro":
                following = close + dice.choice((-1, 0, 0, 1))
            case "halves and doubles":
                following = dice.choice((close // 2, close * 2, close))
            case "cheap":
                following = dice.randint(10_000, 10_010)
            case _:
                following = round(close * dice.gauss(1, 0.001))
        return min(max(following, 10_000), 1_000_000 * MICROS)

    @staticmethod
    def _volume(dice: random.Random, stretch: str) -> int:
        if stretch == "flat":
            return dice.choice((0, 0, 0, 0, 500))
        if dice.random() < 0.002:
            return MISSING
        return round(10 ** dice.uniform(0, 9)) if stretch == "wild" else dice.choice((0, 1_000, 1_001, 40_000))


@pytest.fixture(scope="session")
def wild_market() -> type[WildMarket]:
    """Makes wild bars; ``SPANS`` and ``STRETCHES`` of this module are what it knows."""
    return WildMarket
