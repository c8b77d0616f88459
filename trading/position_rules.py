"""Rules about what is held after an order: one position, the book as a whole, and the cash behind it.

All count in the worst case: every open order that makes a position larger filled, at the worst price that it allows.
"""

from dataclasses import dataclass
from decimal import Decimal

from trading.money import ZERO
from trading.orders import Side
from trading.risk_rules import Objection, RiskView, shares_within


@dataclass(frozen=True, slots=True)
class MaxPositionShares:
    """Largest position in shares, open orders included."""

    limit: int
    name: str = "max_position_shares"

    def object_to(self, view: RiskView) -> Objection | None:
        exposed = view.exposed
        after = exposed + view.adding
        if after <= self.limit:
            return None
        return Objection(
            self.name,
            max(self.limit - exposed, 0),
            "the position would be too large",
            Decimal(after),
            Decimal(self.limit),
        )


@dataclass(frozen=True, slots=True)
class MaxPositionNotional:
    """Largest position in money, open orders included."""

    limit: Decimal
    name: str = "max_position_notional"

    def object_to(self, view: RiskView) -> Objection | None:
        exposed, price = view.exposed, view.worst_price
        after = (exposed + view.adding) * price
        if after <= self.limit:
            return None
        allowed = max(shares_within(self.limit, price) - exposed, 0)
        return Objection(self.name, allowed, "the position would be worth too much", after, self.limit)


@dataclass(frozen=True, slots=True)
class MaxPositionFraction:
    """Largest position as a fraction of equity, open orders included."""

    limit: Decimal
    name: str = "max_position_fraction"

    def object_to(self, view: RiskView) -> Objection | None:
        if not view.equity > 0:
            return Objection(self.name, 0, f"equity is {view.equity}", view.equity, ZERO)
        exposed, price = view.exposed, view.worst_price
        most = self.limit * view.equity
        after = (exposed + view.adding) * price
        if after <= most:
            return None
        allowed = max(shares_within(most, price) - exposed, 0)
        return Objection(
            self.name, allowed, "the position would be too much of the account", after / view.equity, self.limit
        )


def _gross_after(view: RiskView) -> Decimal:
    """All positions' worth, long and short added up, with the order and every open order that makes it more."""
    return view.others.gross + max((view.exposed + view.adding) * view.worst_price, view.opposite_value)


def _allowed_beside_others(view: RiskView, most: Decimal) -> int:
    """Adding shares with which the book stays within ``most`` of gross exposure."""
    return max(shares_within(most - view.others.gross, view.worst_price) - view.exposed, 0)


@dataclass(frozen=True, slots=True)
class MaxGrossExposure:
    """Largest gross exposure in money."""

    limit: Decimal
    name: str = "max_gross_exposure"

    def object_to(self, view: RiskView) -> Objection | None:
        gross = _gross_after(view)
        if gross <= self.limit:
            return None
        allowed = _allowed_beside_others(view, self.limit)
        return Objection(self.name, allowed, "all positions together would be too large", gross, self.limit)


@dataclass(frozen=True, slots=True)
class MaxNetExposure:
    """Largest difference between long and short in money, in the direction of the order."""

    limit: Decimal
    name: str = "max_net_exposure"

    def object_to(self, view: RiskView) -> Objection | None:
        price, sign = view.worst_price, view.side.sign
        others = view.others.net_up if view.side is Side.BUY else -view.others.net_down
        before = view.position * sign + view.working
        net = others + (before + view.quantity) * price
        if net <= self.limit:
            return None
        # What the order reduces is not this rule's to refuse, so only the adding shares can give way.
        allowed = max(shares_within(self.limit - others, price) - before - (view.quantity - view.adding), 0)
        return Objection(self.name, allowed, "the book would lean too far to one side", net, self.limit)


@dataclass(frozen=True, slots=True)
class MaxLeverage:
    """Largest gross exposure as a multiple of equity."""

    limit: Decimal
    name: str = "max_leverage"

    def object_to(self, view: RiskView) -> Objection | None:
        if not view.equity > 0:
            return Objection(self.name, 0, f"equity is {view.equity}", view.equity, ZERO)
        gross, most = _gross_after(view), self.limit * view.equity
        if gross <= most:
            return None
        allowed = _allowed_beside_others(view, most)
        return Objection(self.name, allowed, "the account would be leveraged too far", gross / view.equity, self.limit)


@dataclass(frozen=True, slots=True)
class MaxConcentration:
    """Largest part of the gross exposure that is one symbol, once the exposure is beyond a fraction of equity.

    With w the worth of the symbol and O that of all others, w / (w + O) <= c means w <= c / (1 - c) * O; a book that stays
    within the free fraction is not asked, however it is spread.
    """

    limit: Decimal
    from_fraction: Decimal
    name: str = "max_concentration_fraction"

    def object_to(self, view: RiskView) -> Objection | None:
        gross, free = _gross_after(view), self.from_fraction * view.equity
        if gross <= free:
            return None
        own = gross - view.others.gross
        if own <= self.limit * gross:
            return None
        most = free - view.others.gross
        if self.limit < 1:
            most = max(most, self.limit / (1 - self.limit) * view.others.gross)
        allowed = max(shares_within(most, view.worst_price) - view.exposed, 0)
        return Objection(self.name, allowed, "one symbol would be too much of the book", own / gross, self.limit)


@dataclass(frozen=True, slots=True)
class MaxPositions:
    """How many symbols may be held at a time, those with open orders included."""

    limit: int
    name: str = "max_positions"

    def object_to(self, view: RiskView) -> Objection | None:
        if view.others.held:
            return None
        after = view.others.count + 1
        if after <= self.limit:
            return None
        return Objection(self.name, 0, "too many positions would be open", Decimal(after), Decimal(self.limit))


@dataclass(frozen=True, slots=True)
class BuyingPower:
    """What an order costs at the worst price it allows, commission included, must be there as free cash; for shorts too.

    A reserve stays untouched. A buy that also covers a short position pays for that first; covering itself is never refused.
    """

    commission_per_share: Decimal
    commission_minimum: Decimal
    reserve_fraction: Decimal = ZERO
    name: str = "buying_power"

    def object_to(self, view: RiskView) -> Objection | None:
        price = view.worst_price
        covering = (view.quantity - view.adding) * price if view.side is Side.BUY else ZERO
        commission = max(self.commission_minimum, self.commission_per_share * view.adding)
        cost = covering + view.adding * price + commission
        usable = view.free_cash - self.reserve_fraction * max(view.equity, ZERO)
        if cost <= usable:
            return None
        allowed = shares_within(usable - covering - self.commission_minimum, price + self.commission_per_share)
        return Objection(self.name, allowed, "not enough free cash", cost, usable)
