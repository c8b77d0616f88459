"""How many shares a position should have. Always whole, rounded down, never negative."""

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

import numpy as np

from trading.bars import Column
from trading.money import from_micros
from trading.ports import MarketWindow
from trading.settings import SizingMethod, SizingSettings


@dataclass(frozen=True, slots=True)
class SizingBasis:
    """What a size is computed from: the account, the last price, and the newest bars."""

    symbol: str
    price: Decimal
    equity: Decimal
    cash: Decimal
    window: MarketWindow


class CannotSize(Exception):
    """The size cannot be told; the message says what is missing. No order follows."""


def shares_for(settings: SizingSettings, basis: SizingBasis) -> int:
    """Size of a new position in whole shares (0 when the account cannot carry one share).

    Raises ``CannotSize`` when an input is missing: no positive price, or no true range yet.
    """
    if not basis.price > 0:
        raise CannotSize(f"no price for {basis.symbol}")
    return max(_METHODS[settings.method](settings, basis), 0)


def average_true_range(window: MarketWindow, symbol: str, bars: int) -> Decimal | None:
    """Mean of the last ``bars`` true ranges (Wilder 1978, plain mean), in money; None while there are too few bars.

    True range = max(high, previous close) - min(low, previous close).
    """
    if window.available(symbol) < bars + 1:
        return None
    closes: Column = window.closes(symbol, bars + 1)[:-1]
    ranges = np.maximum(window.highs(symbol, bars), closes) - np.minimum(window.lows(symbol, bars), closes)
    return from_micros(int(ranges.sum())) / bars


def _fraction_of_equity(settings: SizingSettings, basis: SizingBasis) -> int:
    return int(settings.fraction * basis.equity / basis.price)


def _fraction_of_cash(settings: SizingSettings, basis: SizingBasis) -> int:
    return int(settings.fraction * basis.cash / basis.price)


def _fixed_shares(settings: SizingSettings, basis: SizingBasis) -> int:
    del basis
    return settings.shares


def _fixed_notional(settings: SizingSettings, basis: SizingBasis) -> int:
    return int(settings.notional / basis.price)


def _volatility_target(settings: SizingSettings, basis: SizingBasis) -> int:
    """Shares whose average true range moves ``risk_fraction`` of equity, never more than the equity buys."""
    true_range = average_true_range(basis.window, basis.symbol, settings.atr_bars)
    if true_range is None or true_range <= 0:
        raise CannotSize(f"no true range of {settings.atr_bars} bars for {basis.symbol} yet")
    return min(int(settings.risk_fraction * basis.equity / true_range), int(basis.equity / basis.price))


_METHODS: dict[SizingMethod, Callable[[SizingSettings, SizingBasis], int]] = {
    SizingMethod.FRACTION_OF_EQUITY: _fraction_of_equity,
    SizingMethod.FRACTION_OF_CASH: _fraction_of_cash,
    SizingMethod.FIXED_SHARES: _fixed_shares,
    SizingMethod.FIXED_NOTIONAL: _fixed_notional,
    SizingMethod.VOLATILITY_TARGET: _volatility_target,
}
