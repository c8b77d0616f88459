"""What an account is worth, what its positions tie up, and what an order would change of that.

A plain rule in place of the broker's: a quarter of what is held, long and short together, is tied up.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal

from trading.money import ZERO, to_cents

_TIED_UP = Decimal("0.25")


@dataclass(frozen=True, slots=True)
class Worth:
    """An account at one moment, in money. ``gross`` counts what is held long and short, both positive."""

    cash: Decimal
    market_value: Decimal
    gross: Decimal
    realized: Decimal
    unrealized: Decimal

    @property
    def equity(self) -> Decimal:
        """What would be left if everything were closed now."""
        return self.cash + self.market_value

    @property
    def margin(self) -> Decimal:
        """What the positions tie up."""
        return to_cents(self.gross * _TIED_UP)

    @property
    def available(self) -> Decimal:
        """What is not tied up, never negative."""
        return max(self.equity - self.margin, ZERO)

    @property
    def buying_power(self) -> Decimal:
        """What could be bought with all that is not tied up."""
        return self.available / _TIED_UP


@dataclass(frozen=True, slots=True)
class Margins:
    """The answer to a what-if: before, the change and after, of margin and equity."""

    margin_before: Decimal
    margin_after: Decimal
    equity: Decimal
    commission: Decimal

    def in_order(self) -> tuple[Decimal, ...]:
        """As ``openOrder`` tells them: initial and maintenance margin and equity, first before, then change, then after."""
        before, after = self.margin_before, self.margin_after
        change = after - before
        equity_after = self.equity - self.commission
        return (before, before, self.equity, change, change, -self.commission, after, after, equity_after)


def gross_with(
    positions: Mapping[str, int], symbol: str, change: int, price_of: Callable[[str], Decimal | None]
) -> Decimal:
    """What would be held, long and short together, after a trade; a symbol without a price counts as nothing."""
    held = dict(positions)
    held[symbol] = held.get(symbol, 0) + change
    return sum((abs(quantity) * (price_of(one) or ZERO) for one, quantity in held.items()), ZERO)


def margin_of(gross: Decimal) -> Decimal:
    """What positions of this size tie up."""
    return to_cents(gross * _TIED_UP)
