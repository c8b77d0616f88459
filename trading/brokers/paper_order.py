"""An order as the simulated broker keeps it: what was agreed, and how far it has come."""

from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

from trading.money import ZERO, round_money
from trading.orders import OrderIntent, OrderStatus, OrderType, Side, TimeInForce
from trading.ports import BrokerOrder, OrderReport


@dataclass(frozen=True, slots=True)
class OrderTerms:
    """What never changes of an order. ``decided_on`` is the bar it was decided on."""

    client_order_id: str
    broker_order_id: str
    symbol: str
    side: Side
    order_type: OrderType
    time_in_force: TimeInForce
    decided_on: datetime
    parent_id: str | None = None
    oca_group: str | None = None


@dataclass(frozen=True, slots=True)
class OrderPrices:
    """The prices of an order, None where its type has none; an amendment can change them."""

    limit_price: Decimal | None = None
    stop_price: Decimal | None = None
    trail_amount: Decimal | None = None
    trail_fraction: Decimal | None = None


NO_PRICES = OrderPrices()


@dataclass(frozen=True, slots=True)
class ClosingBar:
    """The newest bar that an order for the close has seen: what it trades at, should the session end now.

    ``available`` are the shares of the bar's volume that are left to take, None where volume does not count.
    """

    price: Decimal
    available: int | None


@dataclass(frozen=True, slots=True)
class PaperOrder:
    """``value`` is the money its executions were worth so far; ``quantity`` what it still is for after reductions.

    It trades with bars after ``works_after``. ``best_price`` is what a trailing stop has followed so far, ``amendments``
    the number of the newest one that was taken.
    """

    terms: OrderTerms
    quantity: int
    status: OrderStatus
    status_at: datetime
    works_after: datetime
    prices: OrderPrices = NO_PRICES
    filled: int = 0
    value: Decimal = ZERO
    commission: Decimal = ZERO
    is_triggered: bool = False
    best_price: Decimal | None = None
    closing: ClosingBar | None = None
    amendments: int = 0

    @classmethod
    def accepted(cls, intent: OrderIntent, broker_order_id: str, quantity: int, works_after: datetime) -> "PaperOrder":
        """The order of an intent, accepted when it was made."""
        terms = OrderTerms(
            intent.client_order_id,
            broker_order_id,
            intent.symbol,
            intent.side,
            intent.order_type,
            intent.time_in_force,
            intent.bar_time,
            intent.parent_id,
            intent.oca_group,
        )
        order = cls(terms, quantity, OrderStatus.ACCEPTED, intent.created_at, works_after)
        if intent.order_type is OrderType.MARKET:
            return order
        prices = OrderPrices(intent.limit_price, intent.stop_price, intent.trail_amount, intent.trail_fraction)
        follows = intent.order_type is OrderType.TRAILING_STOP
        return replace(order, prices=prices, best_price=intent.reference_price if follows else None)

    @property
    def client_order_id(self) -> str:
        return self.terms.client_order_id

    @property
    def remaining(self) -> int:
        return self.quantity - self.filled

    def executed(self, quantity: int, value: Decimal, commission: Decimal, at: datetime) -> "PaperOrder":
        """The order after a fill; ``value`` and ``commission`` are those of all its fills."""
        filled = self.filled + quantity
        # Written out: this is on the way of every fill of a replay, and ``replace`` takes twice as long.
        return PaperOrder(
            self.terms,
            self.quantity,
            OrderStatus.FILLED if filled == self.quantity else OrderStatus.PARTIALLY_FILLED,
            at,
            self.works_after,
            self.prices,
            filled,
            value,
            commission,
            self.is_triggered,
            self.best_price,
            self.closing,
            self.amendments,
        )

    def seen_from_outside(self) -> BrokerOrder:
        """The order in the words of the port."""
        terms, prices = self.terms, self.prices
        return BrokerOrder(
            terms.client_order_id,
            terms.broker_order_id,
            terms.symbol,
            terms.side,
            self.quantity,
            self.filled,
            self.status,
            terms.order_type,
            prices.limit_price,
            prices.stop_price,
            round_money(self.value / self.filled) if self.filled else None,
        )

    def report(self, detail: str = "") -> OrderReport:
        """The order's standing as news."""
        terms = self.terms
        return OrderReport(terms.client_order_id, terms.broker_order_id, self.status, self.status_at, detail)
