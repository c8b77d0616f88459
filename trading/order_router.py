"""From a target to an order, and from an order to the broker.

The one rule: an intent is committed under its deterministic id before it is sent, a cancel before it is asked for, and what
became of either is asked by that id, never guessed. Sending the same intent again is harmless on this side of the port
and on the other.
"""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from itertools import zip_longest

from trading.decisions import Action
from trading.errors import BrokerError, BrokerUnavailable, OrderRefused, OutcomeUnknown
from trading.hooks import refuse_inside_hook
from trading.money import ZERO, round_money
from trading.order_amendments import Amendments
from trading.orders import (
    LIMITED,
    STOPPED,
    Execution,
    Fill,
    OpenOrder,
    OrderAmendment,
    OrderEvent,
    OrderIntent,
    OrderStatus,
    OrderType,
    Side,
    TimeInForce,
    client_order_id,
    highest_price,
    may_become,
    to_the_micro,
)
from trading.ports import (
    Acknowledgement,
    Broker,
    BrokerAccount,
    BrokerOrder,
    LedgerEntries,
    OrderReport,
    Resting,
    SendsTogether,
)
from trading.risk_callbacks import ApprovedOrder
from trading.settings import OrderSettings, SizingSettings
from trading.sizing import CannotSize, SizingBasis, shares_for

_log = logging.getLogger(__name__)

_UNCONFIRMED = (OrderStatus.CREATED, OrderStatus.SUBMITTED, OrderStatus.UNKNOWN, OrderStatus.CANCEL_PENDING)
_BASIS_POINTS = Decimal(10_000)


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


@dataclass(frozen=True, slots=True)
class News:
    """What the broker reported: steps of orders, executions of orders made here, and those made elsewhere.

    ``orders`` are the orders of ``fills`` as they were before, by id.
    """

    events: list[OrderEvent] = field(default_factory=list)
    fills: list[Fill] = field(default_factory=list)
    external: list[Execution] = field(default_factory=list)
    orders: Mapping[str, OpenOrder] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.events or self.fills or self.external)


def _none_found(_ids: Sequence[str]) -> Mapping[str, OpenOrder]:
    return {}


def _unpriced(_symbol: str) -> Decimal | None:
    return None


def _nothing() -> None:
    pass


def _whatever(_orders: Sequence[ApprovedOrder]) -> None:
    pass


def _any_change(_intent: OrderIntent, _amended: OrderIntent) -> None:
    pass


def _families(intents: Sequence[OrderIntent]) -> list[list[OrderIntent]]:
    """Each order with those of ``intents`` that protect it behind it; last those whose parent is not among them."""
    families = {intent.client_order_id: [intent] for intent in intents if intent.parent_id is None}
    for intent in intents:
        if intent.parent_id is not None:
            families.setdefault(intent.parent_id, []).append(intent)
    return list(families.values())


class OrderRouter:
    """Owns the orders of one session: what is wanted, what is working, what the broker said. One thread at a time.

    ``save`` commits what is about to be done; ``find_orders`` tells of orders that the ledger has and this router does
    not. ``settle`` waits as long as an order can be on its way to the broker after its sending broke. ``may_send`` raises
    when this runner may send no more, ``may_place`` for orders that risk has not approved.
    """

    def __init__(
        self,
        scope: OrderScope,
        sizing: SizingSettings,
        orders: OrderSettings,
        broker: Broker,
        save: Callable[[LedgerEntries], None],
        find_orders: Callable[[Sequence[str]], Mapping[str, OpenOrder]] = _none_found,
        settle: Callable[[], None] = _nothing,
        may_send: Callable[[], None] = _nothing,
        may_place: Callable[[Sequence[ApprovedOrder]], None] = _whatever,
    ) -> None:
        self._scope = scope
        self._sizing = sizing
        self._settings = orders
        self._broker = broker
        self._save = save
        self._find_orders = find_orders
        self._settle = settle
        self._may_send = may_send
        self.may_place = may_place
        self.may_amend: Callable[[OrderIntent, OrderIntent], None] = _any_change
        """Raises ``NotApproved`` for a change of a working order that risk would have to approve."""
        self._open: dict[str, OpenOrder] = {}
        self._amendments = Amendments(self._open, broker, save, settle, may_send)
        self._interrupted: dict[str, OpenOrder] = {}
        self._held_back: set[str] = set()
        self._together = broker if isinstance(broker, SendsTogether) else None
        self._resting = broker if isinstance(broker, Resting) else None
        self._later: list[OrderReport] = []
        self._never_arrived: dict[str, int] = {}
        self._not_asked: set[str] = set()

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
        expected = position + sum(order.signed_remaining for order in self._working(symbol))
        if action is Action.HOLD:
            return OrderDelta(expected, None, 0, ())
        if action is Action.BUY:
            target = expected if expected > 0 else size()
        elif action is not Action.SELL:
            raise ValueError(f"{action!r} is no action")
        elif self._settings.allow_short:
            target = expected if expected < 0 else -size()
        else:
            target = min(expected, 0)
        return self.delta_to(target, symbol, position)

    def weighted_target(self, weight: float, symbol: str, position: int, price: Decimal | None, equity: Decimal) -> int:
        """The signed shares that ``weight`` of equity asks for, rounded towards zero.

        Never short where that is not allowed. What is held or ordered in that direction already, and is off by no more than the
        band of the settings, is kept as it is. Raises ``CannotSize`` without a price, or without equity.
        """
        if not weight:
            return 0
        if price is None or not price > 0:
            raise CannotSize(f"no price for {symbol}")
        if not equity > 0:
            raise CannotSize(f"equity is {equity}, and a weight is a fraction of it")
        # A weight is a model's float; from here on everything is exact again.
        target = int(Decimal(repr(weight)) * equity / price)
        if not self._settings.allow_short:
            target = max(target, 0)
        expected = position + sum(order.signed_remaining for order in self._working(symbol))
        near = abs(target - expected) <= self._sizing.resize_band_fraction * abs(target)
        return expected if near and expected * target > 0 else target

    def delta_to(self, target: int, symbol: str, position: int) -> OrderDelta:
        """The order between ``position`` with its working orders and ``target``, both signed.

        Orders that protect a position are no step towards a target; they go when the position they protect is closed.
        """
        working = self._working(symbol)
        difference = target - position - sum(order.signed_remaining for order in working)
        if difference == 0:
            return OrderDelta(target, None, 0, ())
        side = Side.BUY if difference > 0 else Side.SELL
        opposing = [order for order in working if order.intent.side is not side]
        helping = sum(order.signed_remaining for order in working if order.intent.side is side)
        quantity = max((target - position - helping) * side.sign, 0)
        if side.sign * position < 0:
            opposing += self._protecting(symbol)
        cancels = tuple(order.intent.client_order_id for order in opposing)
        return OrderDelta(target, side if quantity else None, quantity, cancels)

    def _working(self, symbol: str) -> list[OpenOrder]:
        if not self._open:
            return []
        return [
            order for order in self._open.values() if order.intent.symbol == symbol and order.intent.parent_id is None
        ]

    def _protecting(self, symbol: str) -> list[OpenOrder]:
        return [
            order
            for order in self._open.values()
            if order.intent.symbol == symbol and order.intent.parent_id is not None
        ]

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
        """The intent of an order decided on the bar ``bar_time``; the same one always has the same id.

        Its type and prices are the configured ones, around ``price``.
        """
        settings = self._settings
        kind = settings.order_type
        limit = stop = trail = None
        if kind is not OrderType.MARKET:
            beyond = side.sign * price / _BASIS_POINTS
            if kind in LIMITED:
                limit = self._on_tick(price + beyond * settings.limit_offset_bps, side is Side.BUY)
            if kind in STOPPED:
                stop = self._on_tick(price + beyond * settings.stop_offset_bps, side is Side.SELL)
            if kind is OrderType.TRAILING_STOP:
                trail = settings.trail_fraction
        return self._intent(
            symbol, side, quantity, price, bar_time, at, leg, kind, settings.time_in_force, limit, stop, trail
        )

    def _on_tick(self, price: Decimal, down: bool) -> Decimal:
        """The price on the exchange's grid, rounded away from the market; as it is where no grid is set."""
        tick = self._settings.tick_size
        if tick is None:
            return round_money(price)
        steps = (price / tick).to_integral_value(rounding=ROUND_FLOOR if down else ROUND_CEILING)
        return max(steps, Decimal(1)) * tick

    def market_intent(
        self, symbol: str, side: Side, quantity: int, price: Decimal, bar_time: datetime, at: datetime, leg: str
    ) -> OrderIntent:
        """The same as a market order for the day, whatever type is configured: what has to go, goes."""
        return self._intent(symbol, side, quantity, price, bar_time, at, leg, OrderType.MARKET, TimeInForce.DAY)

    def _intent(
        self,
        symbol: str,
        side: Side,
        quantity: int,
        price: Decimal,
        bar_time: datetime,
        at: datetime,
        leg: str,
        kind: OrderType,
        time_in_force: TimeInForce,
        limit: Decimal | None = None,
        stop: Decimal | None = None,
        trail: Decimal | None = None,
    ) -> OrderIntent:
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
            kind,
            time_in_force,
            limit_price=limit,
            stop_price=stop,
            trail_fraction=trail,
        )

    @staticmethod
    def on_close(intent: OrderIntent) -> OrderIntent:
        """A market order as one for the closing auction."""
        return replace(intent, order_type=OrderType.MARKET_ON_CLOSE)

    @property
    def minimum_quantity(self) -> int:
        """Fewer shares than this are not worth an order that opens or adds."""
        return self._settings.minimum_quantity

    def working_shares(self, symbol: str, side: Side, besides: str = "") -> int:
        """Shares of open orders of one side that may still fill; the order ``besides`` does not count."""
        return sum(
            order.remaining
            for order_id, order in self._open.items()
            if order.intent.symbol == symbol
            and order.intent.side is side
            and order.intent.parent_id is None
            and order_id != besides
        )

    @property
    def working_orders(self) -> Mapping[str, OpenOrder]:
        """Open orders that the next decision knows of, by id: all but those of an interrupted bar that comes again."""
        return self._open

    def has_open_orders(self, symbol: str) -> bool:
        """Whether the next decision knows of an open order of the symbol."""
        return any(order.intent.symbol == symbol for order in self._open.values())

    def no_new_orders(self, at: datetime) -> str | None:
        """Why the broker should get nothing that opens or adds now, None where it may."""
        return None if self._resting is None else self._resting.no_new_orders(at)

    def promised_cash(
        self, position: Callable[[str], int], last_price: Callable[[str], Decimal | None] = _unpriced
    ) -> Decimal:
        """Money that open orders would bind if they filled now at the worst price they allow: all purchases, and sales of
        more than ``position`` (signed shares held of a symbol).

        Without a limit that is the highest of reference price, stop and last price.
        """
        promised = ZERO
        sold: dict[str, int] = {}
        for order in self._open.values():
            intent, shares = order.intent, order.remaining
            if intent.parent_id is not None:
                continue  # it closes what its parent opens
            if intent.side is Side.SELL:
                before = sold.get(intent.symbol, 0)
                sold[intent.symbol] = before + shares
                shares = min(shares, max(before + shares - max(position(intent.symbol), 0), 0))
            promised += shares * highest_price(intent, last_price(intent.symbol))
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
        return self.execute((), approved, approved[0].intent.created_at) if approved else []

    def execute(self, cancels: Sequence[str], approved: Sequence[ApprovedOrder], at: datetime) -> list[OrderEvent]:
        """What a bar came to: all of it saved in one commit, then the cancels asked for, then the orders sent.

        Returns the steps that are not committed yet. Raises as ``place_order``, and ``NotApproved``.
        """
        refuse_inside_hook("an order")
        self.may_place(approved)
        asked = [
            OrderEvent(order_id, at, OrderStatus.CANCEL_PENDING)
            for order_id in cancels
            if order_id in self._open and self._open[order_id].status is not OrderStatus.CANCEL_PENDING
        ]
        intents = [
            order.intent
            for order in approved
            if order.intent.client_order_id not in self._open and order.intent.client_order_id not in self._interrupted
        ]
        if asked or intents:
            self._save(LedgerEntries(intents=intents, order_events=asked))
        unheard = [order_id for order_id in cancels if order_id in self.cancels_not_sent]
        for event in asked:
            self._move(event)
        for order_id in [*(event.client_order_id for event in asked), *unheard]:
            self._ask_to_cancel(order_id)
        wanted = [order.intent for order in approved]
        if self._together is None:
            return [event for intent in wanted for event in self._send(intent)]
        return [event for family in _families(wanted) for event in self._send_family(family, self._together)]

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
        """Ask the broker to cancel what is left of an open order; that it did comes with ``collect``.

        That it is wanted is committed first; a cancel that does not reach the broker is asked for again by ``resolve``.
        """
        refuse_inside_hook("a cancel")
        return self.execute((client_order_id,), (), at)

    def ask_to_cancel(self, client_order_ids: Iterable[str]) -> None:
        """Ask for cancels that could not be written down: for an emergency, because they only take risk away."""
        refuse_inside_hook("a cancel")
        for order_id in client_order_ids:
            if order_id in self._open:
                self._ask_to_cancel(order_id)

    def replace_order(
        self,
        client_order_id: str,
        at: datetime,
        *,
        quantity: int | None = None,
        limit_price: Decimal | None = None,
        stop_price: Decimal | None = None,
        trail_amount: Decimal | None = None,
        trail_fraction: Decimal | None = None,
    ) -> OrderAmendment | None:
        """Change a working order in place: fewer shares, other prices. None when it is not working.

        What is wanted is committed first. Returns what came of it: ACCEPTED, REJECTED, or SUBMITTED while nobody knows.
        Raises ``ValueError`` for more shares (they need an order, and risk, of their own) or prices that the order's type
        does not have.
        """
        refuse_inside_hook("an amendment")
        order = self._open.get(client_order_id)
        if order is None or order.status is OrderStatus.CANCEL_PENDING:
            return None
        wanted = OrderAmendment(
            client_order_id,
            order.amendments + 1,
            at,
            OrderStatus.SUBMITTED,
            quantity,
            limit_price,
            stop_price,
            trail_amount,
            trail_fraction,
        )
        amended = wanted.applied_to(order.intent)
        self.may_amend(order.intent, amended)
        return self._amendments.amend(wanted, amended)

    def get_open_orders(self) -> dict[str, OpenOrder]:
        """Orders that may still fill, by client_order_id, oldest first."""
        return self._interrupted | self._open

    # What the broker says

    def recover(
        self, open_orders: Iterable[OpenOrder], decided_again: Callable[[OpenOrder], bool] = lambda _: False
    ) -> None:
        """Take up the ledger's open orders after a restart; what became of them is asked with ``resolve``.

        Those that are ``decided_again`` belong to a bar that was interrupted and comes again: until it has, that bar must
        find what it found before. Its orders wait aside, cancels that it asked for are open again, and the broker's
        reports of both are kept for later.
        """
        for order in open_orders:
            order_id = order.intent.client_order_id
            if not decided_again(order):
                self._open[order_id] = order
            elif order.status is OrderStatus.CANCEL_PENDING:
                self._open[order_id] = replace(
                    order, status=OrderStatus.PARTIALLY_FILLED if order.filled else OrderStatus.ACCEPTED
                )
                self._held_back.add(order_id)
            else:
                self._interrupted[order_id] = order

    @property
    def decided_again(self) -> frozenset[str]:
        """Orders that an interrupted bar has touched and that wait for it to come again."""
        return frozenset(self._interrupted) | self._held_back

    def take_up(self, bar_ends_at: datetime | None = None) -> None:
        """Hold nothing aside any more: what interrupted bars did works, or may work, and is asked for with ``resolve``.

        With ``bar_ends_at`` what the bar that ends then did stays aside, because it comes again now. Any other that was
        interrupted does not, or not in time: the next decision has to know of its orders and cancels.
        """
        if not self._interrupted and not self._held_back:
            return
        for order_id, order in list(self._interrupted.items()):
            if order.intent.created_at != bar_ends_at:
                self._open[order_id] = self._interrupted.pop(order_id)
        for order_id in list(self._held_back):
            held = self._open.get(order_id)
            if held is None:
                self._held_back.discard(order_id)
            elif held.cancel_asked_at != bar_ends_at:
                self._held_back.discard(order_id)
                self._open[order_id] = replace(held, status=OrderStatus.CANCEL_PENDING)

    def bar_done(self, at: datetime, events: list[OrderEvent]) -> None:
        """The interrupted bar has come again: orders that it did not decide a second time are asked for, as by ``resolve``."""
        if not self._interrupted and not self._held_back:
            return
        left, self._interrupted = self._interrupted, {}
        self._held_back = set()
        self._open |= left
        self._resolve(left, at, events)

    def resolve(self, at: datetime, events: list[OrderEvent]) -> None:
        """Ask the broker by id for every open order whose sending or cancelling was never confirmed.

        An order that the broker surely never had ends as EXPIRED: whether it is still wanted is for the next decision, with
        a fresh look at risk. One that protects another order is sent again: no decision would make it anew. Steps are added to ``events`` as they are taken. Raises ``BrokerUnavailable``, after all were
        asked for, when the broker did not answer of some: the steps of the others are taken all the same.
        """
        self._resolve(list(self._open), at, events)

    def _resolve(self, order_ids: Iterable[str], at: datetime, events: list[OrderEvent]) -> None:
        silence: BrokerUnavailable | None = None
        for order_id in order_ids:
            order = self._open[order_id]
            if order.status not in _UNCONFIRMED:
                continue
            try:
                found = self._find_settled(order_id)
            except BrokerUnavailable as error:
                silence = error
                continue
            if found is None:
                events += self._protect_again(order, at) if self._is_missed(order) else [self._expire(order, at)]
            elif order.status is OrderStatus.CANCEL_PENDING and not found.status.is_final:
                self._ask_to_cancel(order_id)
            else:
                events += self._follow(found, at)
        if silence is not None:
            raise silence

    def _is_missed(self, order: OpenOrder) -> bool:
        """Whether an order that never arrived protects what another works for or has filled: without it that stands bare."""
        parent_id = order.intent.parent_id
        if parent_id is None or order.status is OrderStatus.CANCEL_PENDING:
            return False
        if order.attempts >= self._settings.max_attempts:
            return False
        parent = self._open.get(parent_id) or self._find_orders([parent_id]).get(parent_id)
        return parent is not None and (not parent.status.is_final or parent.filled > 0)

    def _protect_again(self, order: OpenOrder, at: datetime) -> list[OrderEvent]:
        """Send once more what protects: it adds no risk, and the next decision would not make it."""
        again = replace(order, attempts=order.attempts + 1)
        self._open[order.intent.client_order_id] = again
        sent = OrderEvent(
            order.intent.client_order_id, at, OrderStatus.SUBMITTED, f"attempt {again.attempts}: its parent is there"
        )
        self._save(LedgerEntries(order_events=[sent]))
        return self._hand_over(order.intent, at)

    @property
    def cancels_not_sent(self) -> frozenset[str]:
        """Open orders whose cancel is wanted and has not reached the broker yet."""
        return frozenset(self._not_asked & self._open.keys())

    def exhausted(self, symbol: str) -> int | None:
        """How many orders of the symbol in a row never reached the broker, once they are as many as one may be sent."""
        lost = self._never_arrived.get(symbol, 0)
        return lost if lost >= self._settings.max_attempts else None

    def collect(self) -> News:
        """The broker's news in the broker's order; repeats of steps are dropped.

        A fill is never lost: one of an order that is over, or of an earlier session, is passed on with its session. The
        same execution may come again: who books it looks at its lineage, and says ``note_fill``.
        """
        polled = self._broker.poll()
        if not polled and not self._later:
            return News()
        told = (to_the_micro(report) if isinstance(report, Execution) else report for report in polled)
        reports, self._later = [*self._later, *told], []
        executions = [report for report in reports if isinstance(report, Execution)]
        news = News(orders=self._orders_of(executions))
        for report in reports:
            if not isinstance(report, Execution):
                if self._is_for_later(report) or self._is_ahead_of(executions, report):
                    self._later.append(report)
                elif (event := self._step(report)) is not None:
                    news.events.append(event)
            elif (order := news.orders.get(report.client_order_id)) is not None:
                news.fills.append(Fill(report, order.intent.session_id, self._scope.account, self._broker.source))
            else:
                news.external.append(report)
        return news

    def _is_for_later(self, report: OrderReport) -> bool:
        """Whether the report came of what an interrupted bar did: that bar must not know of it yet.

        Of an order that it cancels only the end did: a fill in part was there before.
        """
        name = report.client_order_id
        return name in self._interrupted or (name in self._held_back and report.status.is_final)

    def _is_ahead_of(self, executions: Iterable[Execution], report: OrderReport) -> bool:
        """Whether the report says FILLED before all that was filled has been told. Until then the order counts as working.

        What the broker itself sizes by other orders can be filled with less than was ordered.
        """
        order = self._open.get(report.client_order_id)
        if report.status is not OrderStatus.FILLED or order is None:
            return False
        intent = order.intent
        if intent.parent_id is not None or intent.oca_group is not None:
            return False
        told = sum(one.quantity for one in executions if one.client_order_id == intent.client_order_id)
        return order.filled + told < intent.quantity

    def note_fill(self, client_order_id: str, filled: int) -> None:
        """So many shares of the order are booked by now."""
        for orders in (self._open, self._interrupted):
            order = orders.get(client_order_id)
            if order is not None:
                orders[client_order_id] = replace(order, filled=filled)

    def apply(self, event: OrderEvent) -> bool:
        """Take a step that was learned otherwise; whether the table has it."""
        return self._move(event)

    def reopen(self, order: OpenOrder) -> None:
        """Take up an order that works at the broker after all."""
        self._open[order.intent.client_order_id] = order

    def broker_account(self) -> BrokerAccount:
        """The broker's own view, asked anew each time."""
        return self._broker.account()

    def _orders_of(self, executions: Iterable[Execution]) -> dict[str, OpenOrder]:
        """The orders that were executed and made here, as they are before the news that brings this."""
        order_ids = {execution.client_order_id for execution in executions}
        known = {
            order_id: orders[order_id]
            for orders in (self._open, self._interrupted)
            for order_id in order_ids & orders.keys()
        }
        missing = sorted(order_ids - known.keys() - {""})
        return known | dict(self._find_orders(missing)) if missing else known

    def _step(self, report: OrderReport) -> OrderEvent | None:
        order = self._open.get(report.client_order_id)
        if order is None or not may_become(order.status, report.status):
            return None
        event = OrderEvent(
            report.client_order_id, report.event_time, report.status, report.detail, report.broker_order_id
        )
        self._move(event)
        return event

    def _send(self, intent: OrderIntent) -> list[OrderEvent]:
        order_id, at = intent.client_order_id, intent.created_at
        if order_id in self._open:
            return []  # sent before: what became of it comes as news
        before = self._interrupted.pop(order_id, None)
        if before is None:
            return [self._submitted(intent), *self._hand_over(intent, at)]
        submitted = OrderEvent(order_id, at, OrderStatus.SUBMITTED)
        self._open[order_id] = replace(before, attempts=before.attempts + 1)
        try:
            found = self._find_settled(order_id)
        except BrokerUnavailable as error:
            return [submitted, *self._moved(OrderEvent(order_id, at, OrderStatus.UNKNOWN, str(error)))]
        if found is not None:
            # The broker's own words on how it went on are kept for later; the first of them was this one.
            first = OrderStatus.REJECTED if found.status is OrderStatus.REJECTED else OrderStatus.ACCEPTED
            accepted = OrderEvent(order_id, at, first, "", found.broker_order_id)
            self._move(accepted)
            return [submitted, accepted]
        if before.intent.quantity > intent.quantity:
            return [self._expire(before, at)]  # risk would let less of it through by now: the next bar decides
        self._move(submitted)
        return [submitted, *self._hand_over(before.intent, at)]

    def _send_family(self, family: Sequence[OrderIntent], broker: SendsTogether) -> list[OrderEvent]:
        """An order with those that protect it, in one go; one by one where any of them was handed over before."""
        known = self._open.keys() | self._interrupted.keys()
        is_whole = family[0].parent_id is None and len(family) > 1
        if not is_whole or any(intent.client_order_id in known for intent in family):
            return [event for intent in family for event in self._send(intent)]
        self._may_send()
        events = [self._submitted(intent) for intent in family]
        try:
            answers = broker.submit_together(family)
        except BrokerError as error:
            answers = [error] * len(family)
        for intent, answer in zip_longest(family, answers[: len(family)]):
            first = answer or OutcomeUnknown(f"the broker did not answer of {intent.client_order_id}")
            # What protects an order that is over already has nothing to protect: it is not sent on its own.
            may_repeat = intent.parent_id is None or intent.parent_id in self._open
            events += self._hand_over(intent, intent.created_at, first, may_repeat)
        return events

    def _submitted(self, intent: OrderIntent) -> OrderEvent:
        """The first step of an order that is handed over for the first time."""
        order_id = intent.client_order_id
        step = OrderEvent(order_id, intent.created_at, OrderStatus.SUBMITTED)
        self._open[order_id] = OpenOrder(intent, OrderStatus.CREATED, 0, 1)
        self._move(step)
        return step

    def _submit(self, intent: OrderIntent) -> Acknowledgement | BrokerError:
        self._may_send()
        try:
            return self._broker.submit(intent)
        except (OrderRefused, OutcomeUnknown, BrokerUnavailable) as error:
            return error

    def _hand_over(
        self,
        intent: OrderIntent,
        at: datetime,
        first: Acknowledgement | BrokerError | None = None,
        may_repeat: bool = True,
    ) -> list[OrderEvent]:
        """Send, and after silence ask by id, wait, ask again, and only then send again; as often as is allowed.

        ``first`` is the broker's answer where it was sent already. Not sent again unless it ``may_repeat``.
        """
        order_id = intent.client_order_id
        events: list[OrderEvent] = []
        while True:
            answer, first = first or self._submit(intent), None
            if isinstance(answer, OrderRefused):
                return events + self._moved(OrderEvent(order_id, at, OrderStatus.REJECTED, str(answer)))
            if isinstance(answer, BrokerError):
                events += self._moved(OrderEvent(order_id, at, OrderStatus.UNKNOWN, str(answer)))
            else:
                self._never_arrived.pop(intent.symbol, None)
                # As in ``_follow``: filled it is once its executions have come.
                status = OrderStatus.ACCEPTED if answer.status is OrderStatus.FILLED else answer.status
                return events + self._moved(OrderEvent(order_id, at, status, "", answer.broker_order_id))
            try:
                found = self._find_settled(order_id)
            except BrokerUnavailable:
                return events  # silent altogether: it stays UNKNOWN and is asked for at the next bar
            if found is not None:
                return events + self._follow(found, at)
            order = self._open[order_id]
            if not may_repeat or order.attempts >= self._settings.max_attempts:
                return [*events, self._expire(order, at)]
            self._open[order_id] = again = replace(order, attempts=order.attempts + 1)
            sent = OrderEvent(order_id, at, OrderStatus.SUBMITTED, f"attempt {again.attempts}")
            self._save(LedgerEntries(order_events=[*events, sent]))
            events = []

    def _find_settled(self, order_id: str) -> BrokerOrder | None:
        """The order at the broker; None only when it was not there a settle time later either."""
        found = self._broker.find_order(order_id)
        if found is None:
            self._settle()
            found = self._broker.find_order(order_id)
        return found

    def _follow(self, found: BrokerOrder, at: datetime) -> list[OrderEvent]:
        """The step to where the broker has the order. An end waits for its executions, which come as news: an order that
        is over counts no more, and what it has filled counts only once it is booked."""
        self._never_arrived.pop(found.symbol, None)
        untold = found.filled > self._open[found.client_order_id].filled
        waits = found.status is OrderStatus.FILLED or (found.status.is_final and untold)
        status = OrderStatus.ACCEPTED if waits else found.status
        return self._moved(OrderEvent(found.client_order_id, at, status, "found at the broker", found.broker_order_id))

    def _expire(self, order: OpenOrder, at: datetime) -> OrderEvent:
        symbol = order.intent.symbol
        self._never_arrived[symbol] = self._never_arrived.get(symbol, 0) + 1
        event = OrderEvent(order.intent.client_order_id, at, OrderStatus.EXPIRED, "never reached the broker")
        self._move(event)
        return event

    def _ask_to_cancel(self, order_id: str) -> None:
        self._may_send()
        self._not_asked.discard(order_id)
        try:
            self._broker.cancel(order_id)
        except (OutcomeUnknown, BrokerUnavailable) as error:
            # It stays CANCEL_PENDING, and is asked again for as long as it does.
            _log.warning("cancel not confirmed client_order_id=%s error=%s", order_id, error)
            if isinstance(error, BrokerUnavailable):
                self._not_asked.add(order_id)

    def _moved(self, event: OrderEvent) -> list[OrderEvent]:
        return [event] if self._move(event) else []

    def _move(self, event: OrderEvent) -> bool:
        """Take the step if the table has it; late and repeated news changes nothing."""
        for orders in (self._open, self._interrupted):
            order = orders.get(event.client_order_id)
            if order is not None and may_become(order.status, event.status):
                if event.status.is_final:
                    del orders[event.client_order_id]
                else:
                    orders[event.client_order_id] = replace(order, status=event.status)
                return True
        return False
