"""Rules about an order by itself: whether it may be at all now, its size, its price, and how many there were."""

from dataclasses import dataclass
from decimal import Decimal

from trading.orders import Side
from trading.risk_rules import Objection, RiskView, shares_within


@dataclass(frozen=True, slots=True)
class NotHalted:
    """No new risk while a halt stands."""

    name: str = "halted"

    def object_to(self, view: RiskView) -> Objection | None:
        if view.halted is None:
            return None
        return Objection(self.name, 0, f"trading is halted: {view.halted}")


@dataclass(frozen=True, slots=True)
class EntryWindow:
    """No new risk right after the open, right before the close, and while the day is being closed."""

    name: str = "entry_window"

    def object_to(self, view: RiskView) -> Objection | None:
        if view.entries_closed is None:
            return None
        return Objection(self.name, 0, view.entries_closed)


@dataclass(frozen=True, slots=True)
class OnTime:
    """No new risk in a session that began late and only reduces."""

    name: str = "late_start"

    def object_to(self, view: RiskView) -> Objection | None:
        if not view.late:
            return None
        return Objection(self.name, 0, view.late)


@dataclass(frozen=True, slots=True)
class BrokerAwake:
    """No new risk right before the broker restarts: nobody would hear what became of it, nor could close it."""

    name: str = "broker_resting"

    def object_to(self, view: RiskView) -> Objection | None:
        if view.resting is None:
            return None
        return Objection(self.name, 0, view.resting)


@dataclass(frozen=True, slots=True)
class Tradable:
    """Nothing is opened in the symbols that a person has barred."""

    barred: frozenset[str]
    name: str = "not_tradable"

    def object_to(self, view: RiskView) -> Objection | None:
        if view.symbol not in self.barred:
            return None
        return Objection(self.name, 0, f"{view.symbol} is not to be traded")


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
    """Largest order in money at the worst price it allows."""

    limit: Decimal
    name: str = "max_order_notional"

    def object_to(self, view: RiskView) -> Objection | None:
        price = view.worst_price
        notional = view.adding * price
        if notional <= self.limit:
            return None
        return Objection(
            self.name, shares_within(self.limit, price), "the order is worth too much", notional, self.limit
        )


@dataclass(frozen=True, slots=True)
class MinOrderNotional:
    """Least money for which an order may open or add: less is not worth its commission."""

    limit: Decimal
    name: str = "min_order_notional"

    def object_to(self, view: RiskView) -> Objection | None:
        notional = view.adding * view.price
        if notional >= self.limit:
            return None
        return Objection(self.name, 0, "the order is worth too little", notional, self.limit)


@dataclass(frozen=True, slots=True)
class PriceCollar:
    """No order at a price that looks like a slip: a limit too far beyond the last price, or a last price out of the blue.

    A limit that waits for a better price is no danger. Observed and limit are fractions of the price compared with.
    """

    limit: Decimal
    name: str = "max_price_deviation_fraction"

    def object_to(self, view: RiskView) -> Objection | None:
        price, before, own = view.price, view.previous_price, view.limit_price
        if before is not None and abs(price - before) > self.limit * before:
            return Objection(
                self.name,
                0,
                f"the last price {price} is far from {before} before it",
                abs(price - before) / before,
                self.limit,
            )
        if own is None:
            return None
        beyond = (own - price) * view.side.sign
        if beyond <= self.limit * price:
            return None
        return Objection(
            self.name, 0, f"the limit {own} is far beyond the last price {price}", beyond / price, self.limit
        )


@dataclass(frozen=True, slots=True)
class TickSize:
    """Prices of an order lie on the exchange's grid."""

    tick: Decimal
    name: str = "tick_size"

    def object_to(self, view: RiskView) -> Objection | None:
        for price in (view.limit_price, view.stop_price):
            if price is not None and price % self.tick:
                return Objection(self.name, 0, f"{price} is no multiple of the tick {self.tick}", price, self.tick)
        return None


@dataclass(frozen=True, slots=True)
class DuplicateOrders:
    """The same symbol, side and quantity again and again within a short time is a fault upstream.

    The ``limit``-th is refused; observed counts it.
    """

    limit: int
    window_seconds: int
    name: str = "max_duplicate_orders"

    def object_to(self, view: RiskView) -> Objection | None:
        count = view.activity.alike.count(view.quantity) + 1
        if count < self.limit:
            return None
        reason = f"{view.side} {view.quantity} {view.symbol} for the {count}. time within {self.window_seconds} s"
        return Objection(self.name, 0, reason, Decimal(count), Decimal(self.limit))


@dataclass(frozen=True, slots=True)
class OrdersPerSecond:
    """No bursts of orders; reductions count and are never refused."""

    limit: int
    name: str = "max_orders_per_second"

    def object_to(self, view: RiskView) -> Objection | None:
        count = view.activity.orders_last_second + 1
        if count <= self.limit:
            return None
        return Objection(self.name, 0, "too many orders within a second", Decimal(count), Decimal(self.limit))


@dataclass(frozen=True, slots=True)
class OrdersPerSession:
    """A bound on all orders of a session; reductions count and are never refused."""

    limit: int
    name: str = "max_orders_per_session"

    def object_to(self, view: RiskView) -> Objection | None:
        count = view.activity.orders_in_session + 1
        if count <= self.limit:
            return None
        return Objection(self.name, 0, "too many orders in the session", Decimal(count), Decimal(self.limit))


@dataclass(frozen=True, slots=True)
class CancelsPerMinute:
    """Whoever cancels too often places no new orders that could be cancelled again."""

    limit: int
    name: str = "max_cancels_per_minute"

    def object_to(self, view: RiskView) -> Objection | None:
        count = view.activity.cancels_last_minute
        if count < self.limit:
            return None
        return Objection(self.name, 0, "too many cancels within a minute", Decimal(count), Decimal(self.limit))


@dataclass(frozen=True, slots=True)
class ShortSelling:
    """Selling what is not held, only where it is allowed."""

    allowed: bool
    name: str = "short_selling"

    def object_to(self, view: RiskView) -> Objection | None:
        if self.allowed or view.side is Side.BUY:
            return None
        return Objection(self.name, 0, f"short selling is not allowed; {view.symbol} position is {view.position}")
