"""Wants to be long from the first bar on: the yardstick of every other policy."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trading.bars import BarColumns
from trading.decisions import Action, Signal
from trading.ports import MarketWindow


@dataclass(frozen=True, slots=True)
class BuyAndHold:
    """BUY on every bar; a position that is held is kept, so this buys once."""

    name: str = "buy_and_hold"
    fingerprint: str = "buy_and_hold"
    warmup_bars: int = 1

    def decide(self, window: MarketWindow) -> Mapping[str, Signal]:
        return dict.fromkeys(window.symbols, Signal(Action.BUY))

    def decide_history(self, bars: BarColumns) -> NDArray[np.int8]:
        return np.full(len(bars), 1, dtype=np.int8)
