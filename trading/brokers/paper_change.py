"""One thing that happens in the simulated account, worked out to its end before any of it counts.

A fill or an ending of one order changes others: children follow their parent, members of a group give way to each other.
All of that is gathered here, is written to the account's file in one transaction, and only then becomes the account's state.
So whatever cannot be written has not happened.

The rules of linked orders:

- A fill of a group's member takes as many shares from each other member. A member that has none left, and all members once one
  is filled completely, are CANCELLED.
- Children sleep until their parent has fills, and trade with bars after that one. What the children of one parent fill together is
  never more than the parent has filled.
- When the parent is over, its children are for what it has filled and no more; without any fill they are CANCELLED.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal

from trading.brokers.paper_order import PaperOrder
from trading.orders import Execution, OrderStatus, OrderType
from trading.ports import OrderReport


@dataclass(frozen=True, slots=True)
class PaperOrders:
    """All orders of an account by id, oldest first, and which of them belong together."""

    every: dict[str, PaperOrder] = field(default_factory=dict)
    working: dict[str, PaperOrder] = field(default_factory=dict)
    children: dict[str, list[str]] = field(default_factory=dict)
    groups: dict[str, list[str]] = field(default_factory=dict)

    def put(self, order: PaperOrder) -> None:
        """Take the order as it is now."""
        order_id, terms = order.terms.client_order_id, order.terms
        if order_id not in self.every:
            if terms.parent_id is not None:
                self.children.setdefault(terms.parent_id, []).append(order_id)
            if terms.oca_group is not None:
                self.groups.setdefault(terms.oca_group, []).append(order_id)
        self.every[order_id] = order
        if order.status.is_final:
            self.working.pop(order_id, None)
        else:
            self.working[order_id] = order


@dataclass(slots=True)
class PaperChange:
    """Orders as they become, and the news of it in the order in which it is told.

    ``before`` is the account as it stands, which this never touches.
    """

    before: PaperOrders
    orders: dict[str, PaperOrder] = field(default_factory=dict)
    news: list[OrderReport | Execution] = field(default_factory=list)

    def order(self, client_order_id: str) -> PaperOrder:
        """The order as it is after what happened so far."""
        changed = self.orders.get(client_order_id)
        return self.before.every[client_order_id] if changed is None else changed

    def put(self, order: PaperOrder) -> None:
        """Keep a change that is no news: a stop that was reached, a price that was followed, another quantity."""
        self.orders[order.terms.client_order_id] = order

    def tell(self, order: PaperOrder, detail: str = "") -> None:
        """Keep a change of status, and tell it."""
        self.orders[order.terms.client_order_id] = order
        self.news.append(order.report(detail))

    def fill(
        self, order: PaperOrder, quantity: int, price: Decimal, value: Decimal, commission: Decimal, at: datetime
    ) -> None:
        """Execute a part of an order, and all that follows from it. ``value`` and ``commission`` are those of all its fills then."""
        terms = order.terms
        execution = Execution(
            f"{terms.client_order_id}:{order.filled}",
            terms.client_order_id,
            terms.symbol,
            terms.side,
            quantity,
            price,
            commission - order.commission,
            at,
        )
        updated = order.executed(quantity, value, commission, at)
        self.news.append(execution)
        self.tell(updated)
        if order.filled == 0 and terms.client_order_id in self.before.children:
            self._wake_children(terms.client_order_id, price, at)
        if terms.oca_group is not None and updated.status is not OrderStatus.FILLED:
            self._take_from_group(updated, quantity, at)
        if terms.parent_id is not None:
            self.fit_children(self.order(terms.parent_id), at)
        if updated.status is OrderStatus.FILLED:
            self._over(updated, at)

    def end(self, order: PaperOrder, status: OrderStatus, at: datetime, detail: str = "") -> None:
        """End what is left of an order, and what hangs on it."""
        ended = replace(order, status=status, status_at=at)
        self.tell(ended, detail)
        self._over(ended, at)

    def shrink(self, order: PaperOrder, quantity: int, at: datetime, because: str) -> None:
        """Leave an order no more than ``quantity`` shares in all; one that has nothing left then is CANCELLED."""
        if quantity > order.filled:
            self.put(replace(order, quantity=quantity))
        else:
            self.end(order, OrderStatus.CANCELLED, at, because)

    def fit_children(self, parent: PaperOrder, at: datetime) -> None:
        """Once a parent is over, its children are for what it has filled and not yet closed."""
        if not parent.status.is_final:
            return
        for child in self.working_children(parent.client_order_id):
            if parent.filled == 0:
                self.end(child, OrderStatus.CANCELLED, at, "its parent ended without a fill")
                continue
            most = child.filled + parent.filled - self.filled_by_children(parent.client_order_id)
            if child.quantity > most:
                self.shrink(child, most, at, "nothing is left for it to close")

    def filled_by_children(self, parent_id: str) -> int:
        """Shares that all children of an order have filled together."""
        return sum(self.order(child).filled for child in self.before.children.get(parent_id, ()))

    def working_children(self, parent_id: str) -> Iterator[PaperOrder]:
        """The children of an order that are not over, oldest first."""
        return self._working(self.before.children.get(parent_id, ()))

    def filled_in_group(self, oca_group: str) -> int:
        """Shares that all members of a group have filled together."""
        return sum(self.order(member).filled for member in self.before.groups.get(oca_group, ()))

    def _working(self, order_ids: Sequence[str]) -> Iterator[PaperOrder]:
        for order_id in order_ids:
            order = self.order(order_id)
            # Looked at when its turn comes: what went before may have ended it.
            if not order.status.is_final:
                yield order

    def _wake_children(self, parent_id: str, price: Decimal, at: datetime) -> None:
        """A parent's first fill: with later bars its children trade, and a trailing stop follows from that price on."""
        for child in self.working_children(parent_id):
            follows = child.terms.order_type is OrderType.TRAILING_STOP
            self.put(replace(child, works_after=max(child.works_after, at), best_price=price if follows else None))

    def _take_from_group(self, order: PaperOrder, quantity: int, at: datetime) -> None:
        """The others of an order's group lose ``quantity`` shares each, all of them once the order is filled completely."""
        group = order.terms.oca_group or ""
        for member in self._working(self.before.groups.get(group, ())):
            if member.client_order_id != order.client_order_id:
                left = 0 if order.status is OrderStatus.FILLED else member.quantity - quantity
                self.shrink(member, left, at, f"its group {group} has filled its shares")

    def _over(self, order: PaperOrder, at: datetime) -> None:
        """An order has ended: its children hear of it and, where it was filled completely, its group."""
        if order.terms.client_order_id in self.before.children:
            self.fit_children(order, at)
        if order.status is OrderStatus.FILLED and order.terms.oca_group is not None:
            self._take_from_group(order, 0, at)
