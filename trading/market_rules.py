"""Rules about the market that an order goes to: whether there is a price, how old it is, and whether bars are missing.

How much the market carries is ``risk_callbacks.throttle_size``.
"""

from dataclasses import dataclass
from decimal import Decimal

from trading.risk_rules import Objection, RiskView


@dataclass(frozen=True, slots=True)
class KnownPrice:
    """No price: no new risk."""

    name: str = "known_price"

    def object_to(self, view: RiskView) -> Objection | None:
        if view.price > 0 and view.price.is_finite():
            return None
        return Objection(self.name, 0, f"no price for {view.symbol}")


@dataclass(frozen=True, slots=True)
class FreshPrice:
    """A price that is too old when the order would be sent is no price."""

    limit_seconds: Decimal
    name: str = "max_price_age_seconds"

    def object_to(self, view: RiskView) -> Objection | None:
        if view.price_age_seconds <= self.limit_seconds:
            return None
        return Objection(
            self.name, 0, f"the last price of {view.symbol} is old", view.price_age_seconds, self.limit_seconds
        )


@dataclass(frozen=True, slots=True)
class NoDataGap:
    """After bars that did not come, what was seen last says little about what is decided now."""

    limit_bars: int
    name: str = "max_gap_bars"

    def object_to(self, view: RiskView) -> Objection | None:
        if view.missing_bars <= self.limit_bars:
            return None
        reason = f"{view.missing_bars} bars of {view.symbol} are missing before this one"
        return Objection(self.name, 0, reason, Decimal(view.missing_bars), Decimal(self.limit_bars))
