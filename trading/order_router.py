"""From a target to an order, and from an order to the broker.

The one rule: an intent is committed under its deterministic id before it is sent, and what became of it is asked by
that id, never guessed. Sending the same intent again is harmless on this side of the port and on the other.
"""

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal

from trading.decisions import Action
from trading.errors import BrokerUnavailable, OrderRefused, OutcomeUnknown
from trading.hooks import refuse_inside_hook
from trading.money import ZERO
from trading.orders import (
    Execution,
    Fill,
    OpenOrder,
    OrderEvent,
    OrderIntent,
    OrderStatus,
    Side,
    client_order_id,
    may_become,
)
from trading.ports import Broker, BrokerAccount, OrderReport
from trading.risk_callbacks import ApprovedOrder
from trading.settings import OrderSettings, SizingSettings
from trading.sizing import SizingBasis, shares_for

_log = logging.getLogger(__name__)


_UNCONFIRMED = (OrderStatus.CREATED, OrderStatus.SUBMITTED, OrderStatus.UNKNOWN, OrderStatus.CANCEL_PENDING)


@dataclass(frozen=True, slots=True)
class OrderScope:
    """Whose orders these are: what an intent's id is made of besides bar and symbol."""

    session_id: str
    strategy: str
    account: str
    session_date: date


@dataclass(frozen=True, slots=True)
class OrderDelta:
    """What lies between a position and its target: an order, and working orders that stand in its way.

    ``side`` is None (and ``quantity`` 0) when nothing is to be sent.
    """

    target_quantity: int
    side: Side | None
    quantity: int
    cancels: tuple[str, ...]


class OrderRouter:
    """Owns the orders of one session: what is wanted, what is working, what the broker said. One thread at a time."""

    def __init__(
        self,
        scope: OrderScope,
        sizing: SizingSettings,
        orders: OrderSettings,
        broker: Broker,
        save_intents: Callable[[Sequence[OrderIntent]], None],
    ) -> None:
        self._scope = scope
        self._sizing = sizing
        self._settings = orders
        self._broker = broker
        self._save_intents = save_intents
        self._open: dict[str, OpenOrder] = {}

    # What is wanted

    def calculate_position_size(self, basis: SizingBasis) -> int:
        """Whole shares of a new position by the configured strategy; raises ``CannotSize``."""
        return shares_for(self._sizing, basis)

    def calculate_shares_and_action(
        self, action: Action, symbol: str, position: int, size: Callable[[], int]
    ) -> OrderDelta:
        """The order that takes ``position`` (signed, filled shares) where ``action`` wants it.

        A position, or a working order, that has the wanted direction already is kept as it is: a decision that stands
        does not trade again. Working orders of the other direction are to be cancelled first and are not counted on,
        so that an order never sells more than is held because a buy might still fill. ``size`` is asked only when a
        new position is opened.
        """
        working = [order for order in self._open.values() if order.intent.symbol == symbol] if self._open else []
        expected = position + sum(order.signed_remaining for order in working)
        if action is Action.HOLD:
            return OrderDelta(expected, None, 0, ())
        if action is Action.BUY:
            target = expected if expected > 0 else size()
        elif self._settings.allow_short:
            target = expected if expected < 0 else -size()
        else:
            target = min(expected, 0)
        return self.delta_to(target, symbol, position)

    def delta_to(self, target: int, symbol: str, position: int) -> OrderDelta:
        """The order between ``position`` with its working orders and ``target``, both signed."""
        working = [order for order in self._open.values() if order.intent.symbol == symbol] if self._open else []
        difference = target - position - sum(order.signed_remaining for order in working)
        if difference == 0:
            return OrderDelta(target, None, 0, ())
        side = Side.BUY if difference > 0 else Side.SELL
        opposing = [order for order in working if order.intent.side is not side]
        helping = sum(order.signed_remaining for order in working if order.intent.side is side)
        quantity = max((target - position - helping) * side.sign, 0)
        cancels = tuple(order.intent.client_order_id for order in opposing)
        return OrderDelta(target, side if quantity else None, quantity, cancels)

    def intent(
        self,
        symbol: str,
        side: Side,
        quantity: int,
        price: Decimal,
        bar_time: datetime,
        at: datetime,
        leg: str = "main",
    ) -> OrderIntent:
        """The intent of an order decided on the bar ``bar_time``; the same one always has the same id."""
        scope = self._scope
        return OrderIntent(
            client_order_id(scope.strategy, scope.account, scope.session_date, bar_time, symbol, leg),
            scope.session_id,
            scope.account,
            bar_time,
            symbol,
            side,
            quantity,
            price,
            at,
            self._settings.order_type,
            self._settings.time_in_force,
        )

    @property
    def minimum_quantity(self) -> int:
        """Fewer shares than this are not worth an order that opens or adds."""
        return self._settings.minimum_quantity

    def working_shares(self, symbol: str, side: Side) -> int:
        """Shares of open orders of one side that may still fill."""
        return sum(
            order.remaining
            for order in self._open.values()
            if order.intent.symbol == symbol and order.intent.side is side
        )

    def promised_cash(self, position: Callable[[str], int]) -> Decimal:
        """Money that open orders would bind if they filled at their reference price: all purchases, and sales of more
        than ``position`` (signed shares held of a symbol)."""
        promised = ZERO
        sold: dict[str, int] = {}
        for order in self._open.values():
            intent, shares = order.intent, order.remaining
            if intent.side is Side.SELL:
                before = sold.get(intent.symbol, 0)
                sold[intent.symbol] = before + shares
                shares = min(shares, max(before + shares - max(position(intent.symbol), 0), 0))
            promised += shares * intent.reference_price
        return promised

    # What is sent

    def place_order(self, approved: ApprovedOrder) -> list[OrderEvent]:
        """Save the intent, then send it. Returns the steps it took, for the ledger.

        Raises ``StoreError`` when the intent cannot be saved (nothing was sent) and ``HookMayNotTrade`` inside a
        hook. A broker that does not answer is not an error here: the order becomes UNKNOWN and is asked for later.
        """
        return self.place_orders([approved])

    def place_orders(self, approved: Sequence[ApprovedOrder]) -> list[OrderEvent]:
        """Several orders of one bar: all intents in one commit, then each is sent."""
        refuse_inside_hook("an order")
        intents = [order.intent for order in approved if order.intent.client_order_id not in self._open]
        if intents:
            self._save_intents(intents)
        events: list[OrderEvent] = []
        for order in approved:
            events += self._send(order.intent)
        return events

    def calculate_and_execute_action(
        self,
        action: Action,
        symbol: str,
        position: int,
        size: Callable[[], int],
        approve: Callable[[OrderDelta], ApprovedOrder | None],
        at: datetime,
    ) -> list[OrderEvent]:
        """One decision all the way: delta, risk (``approve``), intent, send. For notebooks and by-hand use."""
        delta = self.calculate_shares_and_action(action, symbol, position, size)
        events = [event for order_id in delta.cancels for event in self.cancel_order(order_id, at)]
        if delta.side is None:
            return events
        approved = approve(delta)
        return events if approved is None else events + self.place_order(approved)

    def cancel_order(self, client_order_id: str, at: datetime) -> list[OrderEvent]:
        """Ask the broker to cancel what is left of an open order; that it did comes with ``collect``."""
        refuse_inside_hook("a cancel")
        order = self._open.get(client_order_id)
        if order is None or order.status is OrderStatus.CANCEL_PENDING:
            return []
        try:
            self._broker.cancel(client_order_id)
        except BrokerUnavailable as error:
            # Nothing happened: the order works on, and whoever wants it gone asks again.
            _log.warning("cancel not sent client_order_id=%s error=%s", client_order_id, error)
            return []
        except OutcomeUnknown as error:
            _log.warning("cancel not confirmed client_order_id=%s error=%s", client_order_id, error)
        event = OrderEvent(client_order_id, at, OrderStatus.CANCEL_PENDING)
        return [event] if self._move(event) else []

    def get_open_orders(self) -> dict[str, OpenOrder]:
        """Orders that may still fill, by client_order_id, oldest first."""
        return dict(self._open)

    # What the broker says

    def recover(self, open_orders: Iterable[OpenOrder]) -> None:
        """Take up the ledger's open orders after a restart; what became of them is asked with ``resolve``."""
        self._open = {order.intent.client_order_id: order for order in open_orders}

    def resolve(self, at: datetime, still_to_come: Callable[[OpenOrder], bool]) -> list[OrderEvent]:
        """Ask the broker by id for every open order whose sending or cancelling was never confirmed.

        An order that the broker surely never had ends as EXPIRED, unless ``still_to_come``: its bar will be processed
        again and the same intent sent then. Raises ``BrokerUnavailable`` when the broker does not answer.
        """
        events = []
        for order in list(self._open.values()):
            if order.status not in _UNCONFIRMED:
                continue
            order_id = order.intent.client_order_id
            found = self._broker.find_order(order_id)
            if found is not None:
                event = OrderEvent(order_id, at, found.status, "found at the broker", found.broker_order_id)
                # A final status waits for its executions, which come as reports.
                if found.status is OrderStatus.FILLED:
                    event = replace(event, status=OrderStatus.ACCEPTED)
            elif still_to_come(order):
                del self._open[order_id]
                continue
            else:
                event = OrderEvent(order_id, at, OrderStatus.EXPIRED, "never reached the broker")
            if self._move(event):
                events.append(event)
        return events

    def collect(self) -> tuple[list[OrderEvent], list[Fill]]:
        """The broker's news as steps of orders and as fills, in the broker's order; repeats of steps are dropped.

        Executions are passed on also when their order is not known here: a fill is never lost. The same execution may
        come again: who books it looks at its id, and says ``note_fill`` when it is new.
        """
        events: list[OrderEvent] = []
        fills: list[Fill] = []
        for report in self._broker.poll():
            if isinstance(report, Execution):
                fills.append(Fill(report, self._session_of(report), self._scope.account, self._broker.source))
            else:
                event = self._step(report)
                if event is not None:
                    events.append(event)
        return events, fills

    def note_fill(self, execution: Execution) -> None:
        """An execution was booked: that much less of its order is working."""
        order = self._open.get(execution.client_order_id)
        if order is not None:
            filled = order.filled + execution.quantity
            self._open[execution.client_order_id] = OpenOrder(order.intent, order.status, filled)

    def broker_account(self) -> BrokerAccount:
        """The broker's own view, asked anew each time."""
        return self._broker.account()

    def _session_of(self, execution: Execution) -> str:
        order = self._open.get(execution.client_order_id)
        return order.intent.session_id if order is not None else self._scope.session_id

    def _step(self, report: OrderReport) -> OrderEvent | None:
        event = OrderEvent(
            report.client_order_id, report.event_time, report.status, report.detail, report.broker_order_id
        )
        return event if self._move(event) else None

    def _send(self, intent: OrderIntent) -> list[OrderEvent]:
        order_id = intent.client_order_id
        if order_id in self._open:
            return []  # sent before: what became of it comes as news
        self._open[order_id] = OpenOrder(intent, OrderStatus.CREATED, 0)
        events = [OrderEvent(order_id, intent.created_at, OrderStatus.SUBMITTED)]
        self._move(events[0])
        try:
            answer = self._broker.submit(intent)
        except OrderRefused as error:
            events.append(OrderEvent(order_id, intent.created_at, OrderStatus.REJECTED, str(error)))
        except (OutcomeUnknown, BrokerUnavailable) as error:
            events.append(OrderEvent(order_id, intent.created_at, OrderStatus.UNKNOWN, str(error)))
        else:
            events.append(OrderEvent(order_id, intent.created_at, answer.status, "", answer.broker_order_id))
        self._move(events[-1])
        return events

    def _move(self, event: OrderEvent) -> bool:
        """Take the step if the table has it; late and repeated news changes nothing."""
        order = self._open.get(event.client_order_id)
        if order is None or not may_become(order.status, event.status):
            return False
        if event.status.is_final:
            del self._open[event.client_order_id]
        else:
            self._open[event.client_order_id] = OpenOrder(order.intent, event.status, order.filled)
        return True
