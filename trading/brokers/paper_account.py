"""A simulated account: pure state and the one fill rule of this market, without files and without time of its own.

Fill rule: a market order decided on a bar fills at the open of the symbol's next bar, worse by ``slippage_bps`` of
that open (buys higher, sells lower). Where ``max_volume_fraction`` is set, all orders of a symbol together take at
most that fraction of the bar's volume, oldest order first, and the rest waits for the next bar. A bar in which nothing
was traded fills nothing; neither does one of unknown volume where the fraction is set. What is left of a DAY order at the close expires.

Commission of an order = max(minimum, per share x filled shares), at most ``maximum fraction`` of its value where
that is set; an order that fills in parts pays each time what its total has grown by.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from decimal import ROUND_FLOOR, Decimal

from trading.bars import Bar
from trading.lots import Position
from trading.money import ZERO, round_money
from trading.orders import Execution, OrderStatus, Side, TimeInForce
from trading.ports import BrokerOrder, BrokerPosition, OrderReport
from trading.settings import CostBasis, PaperSettings

_BASIS_POINTS = Decimal(10_000)


@dataclass(frozen=True, slots=True)
class PaperOrder:
    """An order as the simulated broker keeps it. ``value`` is the money its executions were worth so far."""

    client_order_id: str
    broker_order_id: str
    symbol: str
    side: Side
    quantity: int
    time_in_force: TimeInForce
    decided_on: datetime
    status: OrderStatus
    status_at: datetime
    filled: int = 0
    value: Decimal = ZERO
    commission: Decimal = ZERO

    @property
    def remaining(self) -> int:
        return self.quantity - self.filled

    def seen_from_outside(self) -> BrokerOrder:
        """The order in the words of the port."""
        return BrokerOrder(
            self.client_order_id,
            self.broker_order_id,
            self.symbol,
            self.side,
            self.quantity,
            self.filled,
            self.status,
        )

    def report(self, detail: str = "") -> OrderReport:
        """The order's standing as news."""
        return OrderReport(self.client_order_id, self.broker_order_id, self.status, self.status_at, detail)


class PaperAccount:
    """Cash, positions and working orders. Every change returns the news it makes."""

    def __init__(self, settings: PaperSettings) -> None:
        self._settings = settings
        self.cash = settings.initial_cash
        self.last_bar_time: datetime | None = None
        self.working: dict[str, PaperOrder] = {}
        self._positions: dict[str, Position] = {}

    def positions(self) -> tuple[BrokerPosition, ...]:
        """Open positions at average cost, commissions included."""
        return tuple(
            BrokerPosition(symbol, position.quantity, round_money(position.basis / position.quantity))
            for symbol, position in sorted(self._positions.items())
            if position.quantity
        )

    def restore(self, executions: list[Execution]) -> None:
        """Start again from everything that was ever executed."""
        for execution in executions:
            self._book(execution)

    def accept(self, order: PaperOrder) -> PaperOrder:
        """Take an order; it works from the bar after the one it was decided on."""
        accepted = replace(order, status=OrderStatus.ACCEPTED)
        self.working[order.client_order_id] = accepted
        return accepted

    def cancel(
        self, client_order_id: str, at: datetime, status: OrderStatus = OrderStatus.CANCELLED
    ) -> PaperOrder | None:
        """End a working order; None when it is not working."""
        order = self.working.pop(client_order_id, None)
        return None if order is None else replace(order, status=status, status_at=at)

    def expire_day_orders(self, at: datetime, decided_before: datetime | None = None) -> list[PaperOrder]:
        """End all DAY orders (of bars before ``decided_before`` where given) at the close."""
        over = [
            order
            for order in self.working.values()
            if order.time_in_force is TimeInForce.DAY and (decided_before is None or order.decided_on < decided_before)
        ]
        return [
            ended
            for order in over
            if (ended := self.cancel(order.client_order_id, at, OrderStatus.EXPIRED)) is not None
        ]

    def see(self, bar: Bar) -> list[tuple[PaperOrder, Execution]]:
        """Let the market trade one bar: what filled, oldest order first."""
        left = self._volume_available(bar)
        filled = []
        for order in [order for order in self.working.values() if order.symbol == bar.symbol]:
            if order.decided_on >= bar.bar_time:
                continue
            quantity = order.remaining if left is None else min(order.remaining, left)
            if quantity == 0:
                continue
            if left is not None:
                left -= quantity
            filled.append(self._fill(order, quantity, bar))
        return filled

    def _volume_available(self, bar: Bar) -> int | None:
        if bar.volume == 0:
            return 0
        fraction = self._settings.max_volume_fraction
        if fraction is None:
            return None
        return int((fraction * (bar.volume or 0)).to_integral_value(rounding=ROUND_FLOOR))

    def _fill(self, order: PaperOrder, quantity: int, bar: Bar) -> tuple[PaperOrder, Execution]:
        price = round_money(bar.open * (1 + order.side.sign * self._settings.slippage_bps / _BASIS_POINTS))
        filled = order.filled + quantity
        value = order.value + quantity * price
        commission = self._commission(filled, value)
        execution = Execution(
            f"{order.client_order_id}:{order.filled}",
            order.client_order_id,
            order.symbol,
            order.side,
            quantity,
            price,
            commission - order.commission,
            bar.bar_time,
        )
        status = OrderStatus.FILLED if filled == order.quantity else OrderStatus.PARTIALLY_FILLED
        updated = replace(
            order, filled=filled, value=value, commission=commission, status=status, status_at=bar.bar_time
        )
        if status is OrderStatus.FILLED:
            del self.working[order.client_order_id]
        else:
            self.working[order.client_order_id] = updated
        self._book(execution)
        return updated, execution

    def _commission(self, shares: int, value: Decimal) -> Decimal:
        settings = self._settings
        commission = max(settings.commission_minimum, settings.commission_per_share * shares)
        if settings.commission_maximum_fraction is not None:
            commission = min(commission, settings.commission_maximum_fraction * value)
        return round_money(commission)

    def _book(self, execution: Execution) -> None:
        position = self._positions.setdefault(execution.symbol, Position(CostBasis.AVERAGE))
        position.apply(execution)
        self.cash -= execution.side.sign * execution.quantity * execution.price + (execution.commission or ZERO)
