"""Pre-trade rules: one small frozen class each, its limits as fields, one pure method.

A rule answers how many shares of an order it allows. Only what adds risk is its business: shares that reduce a
position are never its to refuse (see ``risk_callbacks.pre_trade_check``). Rules see the account in the worst case,
with every open order of the same direction filled.
"""

from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol

from trading.money import ZERO
from trading.orders import Side


@dataclass(frozen=True, slots=True)
class RiskView:
    """An order about to be placed, and everything the rules may know about it.

    ``position`` is signed shares; ``working`` are shares of open orders in the order's own direction (positive).
    ``adding`` are the order's shares that open or add to a position (the rest reduces one). ``free_cash`` is cash not
    yet promised to open orders. ``price`` is the bar's close, 0 where none is known. ``average_volume``,
    ``spread_bps`` and ``volatility_fraction`` are None where the feed cannot tell.
    """

    symbol: str
    side: Side
    quantity: int
    adding: int
    price: Decimal
    position: int
    working: int
    equity: Decimal
    free_cash: Decimal
    average_volume: Decimal | None
    spread_bps: Decimal | None
    volatility_fraction: Decimal | None
    halted: str | None

    @property
    def exposed(self) -> int:
        """Shares held and promised in the order's direction before it (never negative)."""
        return max(self.position * self.side.sign, 0) + self.working


@dataclass(frozen=True, slots=True)
class Objection:
    """A rule's answer when it does not agree: how many adding shares it allows, what it saw and what its limit is."""

    rule: str
    allowed: int
    reason: str
    observed: Decimal | None = None
    limit_value: Decimal | None = None


class Rule(Protocol):
    """One pre-trade rule."""

    @property
    def name(self) -> str: ...

    def object_to(self, view: RiskView) -> Objection | None:
        """None when all ``view.adding`` shares are within the limit."""
        ...


@dataclass(frozen=True, slots=True)
class NotHalted:
    """No new risk while a halt stands."""

    name: str = "halted"

    def object_to(self, view: RiskView) -> Objection | None:
        if view.halted is None:
            return None
        return Objection(self.name, 0, f"trading is halted: {view.halted}")


@dataclass(frozen=True, slots=True)
class KnownPrice:
    """No price: no new risk. A decision always has the price of its own bar, so that none can be old here."""

    name: str = "known_price"

    def object_to(self, view: RiskView) -> Objection | None:
        if view.price > 0:
            return None
        return Objection(self.name, 0, f"no price for {view.symbol}")


@dataclass(frozen=True, slots=True)
class ShortSelling:
    """Selling what is not held, only where it is allowed."""

    allowed: bool
    name: str = "short_selling"

    def object_to(self, view: RiskView) -> Objection | None:
        if self.allowed or view.side is Side.BUY:
            return None
        return Objection(self.name, 0, f"short selling is not allowed; {view.symbol} position is {view.position}")


@dataclass(frozen=True, slots=True)
class MaxOrderShares:
    """Largest order in shares."""

    limit: int
    name: str = "max_order_shares"

    def object_to(self, view: RiskView) -> Objection | None:
        if view.adding <= self.limit:
            return None
        return Objection(self.name, self.limit, "the order is too large", Decimal(view.adding), Decimal(self.limit))


@dataclass(frozen=True, slots=True)
class MaxOrderNotional:
    """Largest order in money at the last price."""

    limit: Decimal
    name: str = "max_order_notional"

    def object_to(self, view: RiskView) -> Objection | None:
        notional = view.adding * view.price
        if notional <= self.limit:
            return None
        return Objection(self.name, int(self.limit / view.price), "the order is worth too much", notional, self.limit)


@dataclass(frozen=True, slots=True)
class MaxPositionShares:
    """Largest position in shares, open orders included."""

    limit: int
    name: str = "max_position_shares"

    def object_to(self, view: RiskView) -> Objection | None:
        after = view.exposed + view.adding
        if after <= self.limit:
            return None
        return Objection(
            self.name,
            max(self.limit - view.exposed, 0),
            "the position would be too large",
            Decimal(after),
            Decimal(self.limit),
        )


@dataclass(frozen=True, slots=True)
class MaxPositionFraction:
    """Largest position as a fraction of equity at the last price, open orders included."""

    limit: Decimal
    name: str = "max_position_fraction"

    def object_to(self, view: RiskView) -> Objection | None:
        if not view.equity > 0:
            return Objection(self.name, 0, f"equity is {view.equity}", view.equity, ZERO)
        most = self.limit * view.equity
        after = (view.exposed + view.adding) * view.price
        if after <= most:
            return None
        allowed = max(int(most / view.price) - view.exposed, 0)
        return Objection(
            self.name, allowed, "the position would be too much of the account", after / view.equity, self.limit
        )


@dataclass(frozen=True, slots=True)
class BuyingPower:
    """What an order costs at the last price, commission included, must be there as free cash; for shorts too.

    A buy that also covers a short position pays for that first; covering itself is never refused.
    """

    commission_per_share: Decimal
    commission_minimum: Decimal
    name: str = "buying_power"

    def object_to(self, view: RiskView) -> Objection | None:
        covering = (view.quantity - view.adding) * view.price if view.side is Side.BUY else ZERO
        commission = max(self.commission_minimum, self.commission_per_share * view.adding)
        cost = covering + view.adding * view.price + commission
        if cost <= view.free_cash:
            return None
        left = view.free_cash - covering - self.commission_minimum
        affordable = left / (view.price + self.commission_per_share)
        return Objection(self.name, max(int(affordable), 0), "not enough free cash", cost, view.free_cash)
