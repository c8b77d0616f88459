"""Wants nothing, and whatever is held to be sold."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from trading.bars import BarColumns
from trading.decisions import Action, Signal
from trading.ports import HistorySignals, Holdings, MarketWindow


@dataclass(frozen=True, slots=True)
class Flat:
    """SELL on every bar: out of the market at the first opportunity, and out for good."""

    name: str = "flat"
    fingerprint: str = "flat"
    warmup_bars: int = 1

    def decide(self, window: MarketWindow, holdings: Holdings) -> Mapping[str, Signal]:
        return dict.fromkeys(window.symbols, Signal(Action.SELL))

    def decide_history(self, bars: BarColumns) -> HistorySignals:
        return HistorySignals(np.full(len(bars), -1, dtype=np.int8))
