"""Long while the fast mean of closes is above the slow one, out (or short, where allowed) while it is below.

Both means are compared as whole numbers (sums of micros, cross-multiplied), so that one bar at a time and a whole
history at once cannot disagree, not even on a tie.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from trading.bars import BarColumns
from trading.decisions import Action, Signal
from trading.errors import ConfigurationError
from trading.ports import HistorySignals, Holdings, MarketWindow

_BUY, _SELL, _HOLD = Signal(Action.BUY), Signal(Action.SELL), Signal(Action.HOLD)


@dataclass(frozen=True, slots=True)
class SmaCrossover:
    """Simple moving averages over the last ``fast`` and ``slow`` bars, the one decided on included.

    Equal means hold; so does a symbol with fewer than ``slow`` bars. Raises ``ConfigurationError`` unless
    0 < fast < slow.
    """

    fast: int = 20
    slow: int = 50
    name: str = "sma_crossover"

    def __post_init__(self) -> None:
        if not 0 < self.fast < self.slow:
            raise ConfigurationError(
                f"sma_crossover needs 0 < fast < slow, not fast = {self.fast}, slow = {self.slow}. "
                "Set [policy] parameters = { fast = 20, slow = 50 }."
            )

    @property
    def fingerprint(self) -> str:
        return f"sma_crossover(fast={self.fast}, slow={self.slow})"

    @property
    def warmup_bars(self) -> int:
        return self.slow

    def decide(self, window: MarketWindow, holdings: Holdings) -> Mapping[str, Signal]:
        return {symbol: self._signal(window, symbol) for symbol in window.symbols}

    def decide_history(self, bars: BarColumns) -> HistorySignals:
        actions = np.zeros(len(bars), dtype=np.int8)
        if len(bars) < self.slow:
            return HistorySignals(actions)
        sums = np.concatenate(([0], np.cumsum(bars.close)))
        fast = sums[self.slow :] - sums[self.slow - self.fast : -self.fast]
        slow = sums[self.slow :] - sums[: -self.slow]
        actions[self.slow - 1 :] = np.sign(fast * self.slow - slow * self.fast)
        return HistorySignals(actions)

    def _signal(self, window: MarketWindow, symbol: str) -> Signal:
        closes = window.closes(symbol, self.slow)
        if len(closes) < self.slow:
            return _HOLD
        lead = int(closes[-self.fast :].sum()) * self.slow - int(closes.sum()) * self.fast
        return _BUY if lead > 0 else _SELL if lead < 0 else _HOLD
