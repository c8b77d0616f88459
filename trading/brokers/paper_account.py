"""A simulated account: pure state and the market's rules of quantity, without files and without time of its own.

What a bar does to the price of an order say ``trading.brokers.paper_fill_rules``, what one order does to others
``trading.brokers.paper_change``. Here is the rest:

- An order trades with bars that begin after it was made, after the one it was decided on, and after those seen when it came.
- A bar in which nothing was traded is as good as no bar. Where ``max_volume_fraction`` is set, all orders of a symbol together
  take at most that fraction of a bar's volume, oldest order first; the rest waits, and a bar of unknown volume fills nothing.
- Of linked orders that could trade in one bar those come first that fill at the open, then those whose fill leaves the
  account worse off at the bar's close: the order of events inside a bar is not known.
- At the close DAY, IOC and FOK orders expire; an order for the open waits for the first session after its decision.

What an order costs says ``trading.brokers.paper_commission``; one that fills in parts pays each time what its total has
grown by.

Every method works out a ``PaperChange`` and leaves the account as it is; ``apply`` makes it count.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import ROUND_FLOOR, Decimal

from trading.bars import Bar, BarSlice
from trading.brokers.paper_change import PaperChange, PaperOrders
from trading.brokers.paper_commission import commission_of
from trading.brokers.paper_fill_rules import AT_ONCE, ON_CLOSE, ON_OPEN, Judgement, closing_price, judge
from trading.brokers.paper_order import ClosingBar, PaperOrder
from trading.errors import OrderRefused
from trading.lots import Position
from trading.money import ZERO, round_money
from trading.orders import (
    LIMITED,
    STOPPED,
    Execution,
    OrderAmendment,
    OrderIntent,
    OrderStatus,
    TimeInForce,
)
from trading.ports import BrokerPosition
from trading.settings import CostBasis, PaperSettings

_AN_INSTANT = timedelta(microseconds=1)


class PaperAccount:
    """Cash, positions and orders. ``session_start`` is when the session that is traded (or comes next) began."""

    def __init__(self, settings: PaperSettings, session_start: datetime) -> None:
        self._settings = settings
        self.session_start = session_start
        self.cash = settings.initial_cash
        self.last_bar_time: datetime | None = None
        self.orders = PaperOrders()
        self.executions: list[Execution] = []
        self._positions: dict[str, Position] = {}

    def positions(self) -> tuple[BrokerPosition, ...]:
        """Open positions at average cost, commissions included."""
        return tuple(
            BrokerPosition(symbol, position.quantity, round_money(position.basis / position.quantity))
            for symbol, position in sorted(self._positions.items())
            if position.quantity
        )

    def apply(self, change: PaperChange) -> None:
        """Make a change count."""
        for order in change.orders.values():
            self.orders.put(order)
        for news in change.news:
            if isinstance(news, Execution):
                self._book(news)

    def restore(
        self, orders: Iterable[PaperOrder], executions: Iterable[Execution], last_bar_time: datetime | None
    ) -> None:
        """Start again from all orders, oldest first, and from everything that was ever executed."""
        for order in orders:
            self.orders.put(order)
        for execution in executions:
            self._book(execution)
        self.last_bar_time = last_bar_time

    # What a trader asks for

    def submitted(self, intent: OrderIntent) -> PaperChange:
        """A new order is accepted. Raises ``OrderRefused`` where a parent or a group leaves it nothing to trade."""
        orders = self.orders
        quantity = intent.quantity
        change = PaperChange(orders)
        if intent.oca_group is not None:
            members = [orders.every[member] for member in orders.groups.get(intent.oca_group, ())]
            quantity -= sum(member.filled for member in members)
            if quantity <= 0 or any(member.status is OrderStatus.FILLED for member in members):
                raise OrderRefused(
                    f"Order {intent.client_order_id} was refused: its group {intent.oca_group} has filled its shares."
                )
        if intent.parent_id is not None:
            parent = orders.every.get(intent.parent_id)
            if parent is None:
                raise OrderRefused(
                    f"Order {intent.client_order_id} was refused: its parent {intent.parent_id} is not known here. Send the "
                    "parent first."
                )
            if parent.status.is_final:
                quantity = min(quantity, parent.filled - change.filled_by_children(intent.parent_id))
            if quantity <= 0:
                raise OrderRefused(
                    f"Order {intent.client_order_id} was refused: its parent {intent.parent_id} is {parent.status} and has "
                    "left nothing to close."
                )
        seen = self.last_bar_time
        # A bar that had begun when the order was made is none that it could have met at its open.
        works_after = max(intent.bar_time, intent.created_at - _AN_INSTANT, seen or intent.bar_time)
        change.tell(PaperOrder.accepted(intent, f"P{len(orders.every) + 1}", quantity, works_after))
        return change

    def cancelled(self, client_order_id: str) -> PaperChange:
        """A working order is cancelled, and children that hang on it; nothing where it is over or never came."""
        change = PaperChange(self.orders)
        order = self.orders.working.get(client_order_id)
        if order is not None:
            seen = self.last_bar_time
            at = order.status_at if seen is None else max(order.status_at, seen)
            change.end(order, OrderStatus.CANCELLED, at)
        return change

    def replaced(self, amendment: OrderAmendment) -> PaperChange:
        """A working order gets another quantity or other prices; an amendment that was taken before changes nothing.

        A quantity of no more than has filled ends the order as FILLED. Raises ``OrderRefused``.
        """
        change = PaperChange(self.orders)
        order = self.orders.every.get(amendment.client_order_id)
        if order is not None and amendment.number <= order.amendments:
            return change
        refusal = _objection(order, amendment)
        if order is None or refusal is not None:
            raise OrderRefused(
                f"Amendment {amendment.number} of order {amendment.client_order_id} was refused: {refusal}. "
                "The order stands as it was."
            )
        prices = {
            name: value
            for name in ("limit_price", "stop_price", "trail_amount", "trail_fraction")
            if (value := getattr(amendment, name)) is not None
        }
        amended = replace(order, prices=replace(order.prices, **prices), amendments=amendment.number)
        if amendment.quantity is not None:
            amended = replace(amended, quantity=max(amendment.quantity, order.filled))
        if amended.remaining:
            change.put(amended)
        else:
            change.end(amended, OrderStatus.FILLED, amendment.amended_at)
        return change

    # What the market does

    def seen(self, moment: BarSlice) -> PaperChange:
        """The market trades the bars of one moment."""
        change = PaperChange(self.orders)
        working = self.orders.working
        if not working:
            return change
        # What parents fill in this moment their children can close only in a later one.
        released = self._released()
        for bar in moment.bars.values():
            if bar.volume == 0:
                continue
            orders = [
                order
                for order in working.values()
                if order.terms.symbol == bar.symbol
                and order.works_after < bar.bar_time
                and (order.terms.parent_id is None or released[order.terms.parent_id])
            ]
            if orders:
                self._trade(orders, bar, released, change)
        return change

    def begun(self) -> PaperChange:
        """A session begins: what an earlier one should have ended expires. Orders for the open trade in this one."""
        change = PaperChange(self.orders)
        for order_id, order in self.orders.working.items():
            terms = order.terms
            expires = terms.time_in_force is not TimeInForce.GTC and terms.order_type not in ON_OPEN
            if expires and terms.decided_on < self.session_start:
                self._expire(order_id, self.session_start, change)
        return change

    def closed(self, at: datetime) -> PaperChange:
        """The session closes: orders for the close trade, and what does not outlive a session expires."""
        change = PaperChange(self.orders)
        released = self._released()
        left: dict[str, int | None] = {}
        for order_id, order in self.orders.working.items():
            if order.terms.order_type in ON_CLOSE:
                self._trade_at_close(order_id, at, released, left, change)
                self._expire(order_id, at, change)
        for order_id, order in self.orders.working.items():
            terms = order.terms
            waits = terms.order_type in ON_OPEN and not order.works_after < self.session_start < at
            if terms.time_in_force is not TimeInForce.GTC and not waits:
                self._expire(order_id, at, change)
        return change

    def _released(self) -> dict[str, int]:
        """For each parent of a working order the shares it has filled so far."""
        if not self.orders.children:
            return {}
        every = self.orders.every
        parents = {order.terms.parent_id for order in self.orders.working.values()}
        return {parent: every[parent].filled for parent in parents if parent is not None}

    def _trade(self, orders: Sequence[PaperOrder], bar: Bar, released: Mapping[str, int], change: PaperChange) -> None:
        """Let orders of one symbol, oldest first, trade one bar."""
        slippage = self._settings.slippage_bps
        left = self._volume_available(bar)
        for_the_close = []
        judged = []
        for order in orders:
            kind = order.terms.order_type
            if kind in ON_CLOSE:
                for_the_close.append(order.terms.client_order_id)
            elif kind not in ON_OPEN or order.works_after < self.session_start <= bar.bar_time:
                judged.append((order, judge(order, bar, slippage)))
        if self.orders.groups or self.orders.children:
            judged = _worst_first(judged, bar.close)
        for judged_order, judgement in judged:
            order_id = judged_order.terms.client_order_id
            order = change.order(order_id)
            if order.status.is_final:
                continue
            if order.is_triggered is not judgement.is_triggered or order.best_price != judgement.best_price:
                order = replace(order, is_triggered=judgement.is_triggered, best_price=judgement.best_price)
                change.put(order)
            if judgement.price is not None:
                quantity = self._quantity(order, left, released, change)
                if quantity:
                    left = None if left is None else left - quantity
                    self._fill(order, quantity, judgement.price, bar.bar_time, change)
            self._end_what_was_judged_once(order_id, bar.bar_time, change)
        for order_id in for_the_close:
            order = change.order(order_id)
            if not order.status.is_final:
                change.put(replace(order, closing=ClosingBar(bar.close, left)))

    def _end_what_was_judged_once(self, order_id: str, at: datetime, change: PaperChange) -> None:
        order = change.order(order_id)
        if order.status.is_final:
            return
        if order.terms.time_in_force in AT_ONCE:
            change.end(order, OrderStatus.CANCELLED, at)
        elif order.terms.order_type in ON_OPEN:
            change.end(order, OrderStatus.EXPIRED, at)

    def _trade_at_close(
        self,
        order_id: str,
        at: datetime,
        released: Mapping[str, int],
        left: dict[str, int | None],
        change: PaperChange,
    ) -> None:
        """Trade an order at the close of the last bar it has seen; ``left`` is what others have left of that bar."""
        order = change.order(order_id)
        closing, symbol = order.closing, order.terms.symbol
        if order.status.is_final or closing is None:
            return
        price = closing_price(order, closing.price, self._settings.slippage_bps)
        if price is None:
            return
        available = left.setdefault(symbol, closing.available)
        quantity = self._quantity(order, available, released, change)
        if quantity:
            left[symbol] = None if available is None else available - quantity
            self._fill(order, quantity, price, at, change)

    def _expire(self, order_id: str, at: datetime, change: PaperChange) -> None:
        order = change.order(order_id)
        if not order.status.is_final:
            change.end(order, OrderStatus.EXPIRED, at)

    def _quantity(self, order: PaperOrder, left: int | None, released: Mapping[str, int], change: PaperChange) -> int:
        """Shares that the order can take now; for FOK all of it or none."""
        quantity = order.remaining if left is None else min(order.remaining, left)
        parent = order.terms.parent_id
        if parent is not None:
            quantity = max(min(quantity, released[parent] - change.filled_by_children(parent)), 0)
        if order.terms.time_in_force is TimeInForce.FOK and quantity < order.remaining:
            return 0
        return quantity

    def _volume_available(self, bar: Bar) -> int | None:
        """Shares of the bar's volume that orders can take, None where volume does not count."""
        fraction = self._settings.max_volume_fraction
        if fraction is None:
            return None
        return int((fraction * (bar.volume or 0)).to_integral_value(rounding=ROUND_FLOOR))

    def _fill(self, order: PaperOrder, quantity: int, price: Decimal, at: datetime, change: PaperChange) -> None:
        value = order.value + quantity * price
        commission = commission_of(self._settings, order.filled + quantity, value)
        change.fill(order, quantity, price, value, commission, at)

    def _book(self, execution: Execution) -> None:
        position = self._positions.setdefault(execution.symbol, Position(CostBasis.AVERAGE))
        position.apply(execution)
        self.cash -= execution.side.sign * execution.quantity * execution.price + (execution.commission or ZERO)
        self.executions.append(execution)


def _worst_first(judged: list[tuple[PaperOrder, Judgement]], close: Decimal) -> list[tuple[PaperOrder, Judgement]]:
    """Members of one group (or children of one parent) change places among themselves: fills at the open first, then what
    leaves the account worse off at ``close``; all other orders keep theirs."""
    places: dict[str, list[int]] = {}
    harm: dict[int, tuple[bool, Decimal]] = {}
    for place, (order, judgement) in enumerate(judged):
        link = order.terms.oca_group or order.terms.parent_id
        if link is not None and judgement.price is not None:
            places.setdefault(link, []).append(place)
            harm[place] = not judgement.at_open, order.terms.side.sign * (close - judgement.price)
    reordered = list(judged)
    for linked in places.values():
        for place, source in zip(linked, sorted(linked, key=harm.__getitem__), strict=True):
            reordered[place] = judged[source]
    return reordered


def _objection(order: PaperOrder | None, amendment: OrderAmendment) -> str | None:
    """Why an order cannot be changed so, None where it can."""
    if order is None:
        return "the order is not known here"
    if order.status.is_final:
        return f"the order is {order.status}"
    if amendment.quantity is not None and not 0 < amendment.quantity <= order.quantity:
        return f"{amendment.quantity} shares are not between 1 and its {order.quantity}"
    kind, prices = order.terms.order_type, order.prices
    for what, price, belongs in (
        ("limit price", amendment.limit_price, kind in LIMITED),
        ("stop price", amendment.stop_price, kind in STOPPED),
        ("trail amount", amendment.trail_amount, prices.trail_amount is not None),
        ("trail fraction", amendment.trail_fraction, prices.trail_fraction is not None),
    ):
        if price is None:
            continue
        if not belongs:
            return f"this {kind} order has no {what}"
        if not (price.is_finite() and price > 0):
            return f"{what} {price} is not positive"
        if order.is_triggered and what != "limit price":
            return f"its stop was reached, {what} {price} comes too late"
    if amendment.trail_fraction is not None and amendment.trail_fraction >= 1:
        return f"trail fraction {amendment.trail_fraction} is not below 1"
    return None
