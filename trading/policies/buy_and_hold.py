"""Wants to be long from the first bar on: the yardstick of every other policy."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from trading.bars import BarColumns
from trading.decisions import Action, Signal
from trading.ports import HistorySignals, Holdings, MarketWindow


@dataclass(frozen=True, slots=True)
class BuyAndHold:
    """BUY on every bar; a position that is held is kept, so this buys once."""

    name: str = "buy_and_hold"
    fingerprint: str = "buy_and_hold"
    warmup_bars: int = 1

    def decide(self, window: MarketWindow, holdings: Holdings) -> Mapping[str, Signal]:
        return dict.fromkeys(window.symbols, Signal(Action.BUY))

    def decide_history(self, bars: BarColumns) -> HistorySignals:
        return HistorySignals(np.full(len(bars), 1, dtype=np.int8))
