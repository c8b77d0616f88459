"""Wants nothing, and whatever is held to be closed."""

from collections.abc import Mapping
from dataclasses import dataclass

from trading.bars import BarColumns
from trading.decisions import Signal
from trading.ports import Holdings, MarketWindow


@dataclass(frozen=True, slots=True)
class Flat:
    """A weight of nothing on every bar: out of the market at the first opportunity, and out for good, shorts allowed or not."""

    name: str = "flat"
    fingerprint: str = "flat"
    warmup_bars: int = 1

    def decide(self, window: MarketWindow, holdings: Holdings) -> Mapping[str, Signal]:
        return dict.fromkeys(window.symbols, Signal.of_weight(0.0))

    def decide_history(self, bars: BarColumns) -> None:
        """It is asked bar by bar: what it wants depends on what is held."""
