"""Stopping an account that nobody trades at the moment: over the ledger and the broker, without a session.

The rule: a cancel that is wanted is in the ledger before the broker is asked for it. Who takes the account up later, in a session or by
a second stop, finds it wanted and asks again for as long as the order works.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime

from trading.account_at_rest import of_interrupted_bars, reconciler_at_rest
from trading.decisions import Halt
from trading.errors import BrokerUnavailable
from trading.order_router import OrderRouter, OrderScope
from trading.orders import OpenOrder, OrderEvent, OrderStatus, OrderType, Side
from trading.ports import Broker, BrokerOrder, Ledger, LedgerEntries
from trading.risk_callbacks import ApprovedOrder, PreTradeVerdict
from trading.settings import Settings
from trading.stops import Stop, StopStep


def _to_nobody(_step: StopStep) -> None:
    pass


def _may_trade() -> str | None:
    return None


@dataclass(frozen=True, slots=True)
class BrokerAtRest:
    """The broker of an account that nobody trades. ``no_trades`` says why nothing would trade there now; None where it would."""

    broker: Broker
    no_trades: Callable[[], str | None] = _may_trade


class StopAtRest:
    """Implements ``trading.emergency_stop.StopControls`` for one account, for as long as the ledger is held.

    ``connect`` gives the broker or raises ``BrokerUnavailable``; it is asked at each step until it gives one. With ``strategy``
    only that strategy's orders are stopped. ``settle`` waits as long as an order can be on its way to the broker. ``told`` hears of
    each step when it is written down.
    """

    def __init__(
        self,
        settings: Settings,
        account: str,
        ledger: Ledger,
        connect: Callable[[], BrokerAtRest],
        settle: Callable[[], None],
        strategy: str | None = None,
        told: Callable[[StopStep], None] = _to_nobody,
    ) -> None:
        self._settings = settings
        self._account = account
        self._ledger = ledger
        self._connect = connect
        self._settle = settle
        self._strategy = strategy
        self._told = told
        self._connected: BrokerAtRest | None = None
        self._has_sent = False

    def would_trade(self) -> bool:
        """Whether what closes a position would trade now; not where the broker cannot be reached."""
        try:
            return self._no_trades() is None
        except BrokerUnavailable:
            return False

    def latch(self, halt: Halt) -> None:
        """Commit the halt; there again, it changes nothing."""
        self._ledger.commit("", LedgerEntries(halts=[halt]))

    def cancel_open_orders(self, at: datetime, symbol: str | None = None, spare_exits: bool = False) -> list[str]:
        """Ask for every working order to be cancelled and write down what became of it; the ids that were not asked for before.

        Orders that are over in the ledger and work at the broker are taken up again and cancelled too. Of a bar that was
        interrupted, and that a session would decide again, only what works at the broker is: what never came there stays as the
        bar has to find it. ``spare_exits`` spares nothing on a simulated market: at rest no market order closes anything there, and
        one that is left would trade unasked with the next session's first bar. Raises ``BrokerUnavailable``, after all were tried,
        when an ask did not reach the broker.
        """
        open_orders = [order for order in self._ledger.open_orders(self._account) if self._covers(order, symbol)]
        exits = self._exits(symbol) if spare_exits else {}
        open_orders = [order for order in open_orders if order.intent.client_order_id not in exits]
        again = of_interrupted_bars(self._ledger, open_orders)
        plain = [order for order in open_orders if order.intent.client_order_id not in again]
        new = {order.intent.client_order_id for order in open_orders if order.status is not OrderStatus.CANCEL_PENDING}
        try:
            broker = self._broker()
        except BrokerUnavailable:
            self._want_cancelled(plain, at)
            raise
        router = self._router(broker)
        router.recover(plain)
        asked = self._cancel(router, at)
        router.recover([order for order in open_orders if self._works(broker, order, again)])
        taken_up = self._taken_up_again(broker, router, symbol, at)
        router.recover(taken_up)
        asked += self._cancel(router, at, but=asked)
        new |= {order.intent.client_order_id for order in taken_up}
        self._learn(router, at)
        unasked = sorted(router.cancels_not_sent)
        if unasked:
            raise BrokerUnavailable(f"the cancel of {', '.join(unasked)} did not reach the broker")
        return [order_id for order_id in asked if order_id in new]

    def flatten_positions(self, at: datetime, symbol: str | None = None, leg: str = "flatten") -> list[str]:
        """Send market orders that close what the broker shows and no order on its way closes already; the ids sent.

        They belong to the newest session that traded in the account. Raises ``BrokerUnavailable`` where something is held and nothing
        would trade now: a simulated market at rest, an exchange that is closed.
        """
        account = self._broker().account()
        held = [one for one in account.positions if one.quantity and symbol in (None, one.symbol)]
        if not held:
            return []
        if (why := self._no_trades()) is not None:
            names = ", ".join(f"{one.quantity} {one.symbol}" for one in held)
            raise BrokerUnavailable(f"{names} in account {self._account} cannot be closed now: {why}")
        router = self._router(self._broker(), self._newest_scope())
        prices = self._ledger.last_prices(self._account)
        closing = Counter[str]()
        for order in self._exits(symbol).values():
            closing[order.symbol] += order.quantity - order.filled
        approved = []
        for position in held:
            side = Side.SELL if position.quantity > 0 else Side.BUY
            quantity = abs(position.quantity) - closing[position.symbol]
            if quantity <= 0:
                continue
            price = prices.get(position.symbol, position.average_cost)
            intent = router.market_intent(position.symbol, side, quantity, price, at, at, leg)
            approved.append(ApprovedOrder(intent, PreTradeVerdict(quantity, ())))
        self._has_sent |= bool(approved)
        events = router.place_orders(approved)
        if events:
            self._save(LedgerEntries(order_events=events))
        return [order.intent.client_order_id for order in approved]

    def book_what_traded(self, at: datetime) -> None:
        """Take what closed the positions into the ledger, as a comparison by hand does: a broker may keep the current day alone.

        Raises ``BrokerUnavailable``; then the next comparison does it. Nothing where nothing was sent.
        """
        if self._has_sent and self._connected is not None:
            broker = self._connected.broker
            reconciler_at_rest(self._settings, self._account, broker, self._ledger, self._settle).reconcile(
                "manual", at
            )

    def exposure_at_broker(self, symbol: str | None = None, positions: bool = True) -> list[str]:
        """What the broker still has in scope, in words: working orders, and positions where they count."""
        working = [f"order {_name(order)} is {order.status}" for order in self._working_in_scope(symbol)]
        return working + [f"{held} are held" for held in (self._held(symbol) if positions else ())]

    def record(self, stop: Stop, steps: Sequence[StopStep]) -> None:
        """Commit the stop as it stands with its new steps, and tell them."""
        try:
            self._ledger.commit("", LedgerEntries(stops=[stop], stop_steps=list(steps)))
        finally:
            # Whoever waits hears of a step also where the disk is full.
            for step in steps:
                self._told(step)

    # Inside

    def _broker(self) -> Broker:
        if self._connected is None:
            self._connected = self._connect()
        return self._connected.broker

    def _no_trades(self) -> str | None:
        self._broker()
        return None if self._connected is None else self._connected.no_trades()

    def _newest_scope(self) -> OrderScope:
        fills = self._ledger.fills(self._account)
        session = self._ledger.find_session(fills[-1].session_id) if fills else None
        if session is None:
            raise BrokerUnavailable(
                f"no session has traded in account {self._account}: what is held there was bought elsewhere and is not closed from here"
            )
        return OrderScope(session.session_id, session.strategy, self._account, session.session_date)

    def _exits(self, symbol: str | None) -> dict[str, BrokerOrder]:
        """Market orders of ours that only close a position, where they will trade by themselves."""
        try:
            if self._no_trades() is not None:
                return {}
            account = self._broker().account()
        except BrokerUnavailable:
            return {}  # whoever needs the broker is told
        held = {one.symbol: one.quantity for one in account.positions}
        return {
            order.client_order_id: order
            for order in account.open_orders
            if order.client_order_id
            and order.order_type is OrderType.MARKET
            and symbol in (None, order.symbol)
            and (held.get(order.symbol, 0) > 0) == (order.side is Side.SELL)
            and 0 < order.quantity - order.filled <= abs(held.get(order.symbol, 0))
        }

    def _router(self, broker: Broker, scope: OrderScope | None = None) -> OrderRouter:
        # Without a scope it sends nothing new, so that no id is ever made of it.
        scope = scope or OrderScope("", "", self._account, date.min)
        settings = self._settings
        return OrderRouter(
            scope, settings.sizing, settings.orders, broker, self._save, self._ledger.find_orders, self._settle
        )

    def _save(self, entries: LedgerEntries) -> None:
        self._ledger.commit("", entries)

    def _cancel(self, router: OrderRouter, at: datetime, but: Sequence[str] = ()) -> list[str]:
        """Ask for what the router has, in one commit; what was wanted before is asked for by ``_learn``."""
        asked = [order_id for order_id in router.get_open_orders() if order_id not in but]
        if asked:
            router.execute(asked, (), at)
        return asked

    def _learn(self, router: OrderRouter, at: datetime) -> None:
        """Write down what the broker shows of each cancel. An end waits for fills that nobody has booked yet."""
        events: list[OrderEvent] = []
        try:
            router.resolve(at, events)
        finally:
            if events:
                self._save(LedgerEntries(order_events=events))

    def _want_cancelled(self, orders: Sequence[OpenOrder], at: datetime) -> None:
        wanted = [
            OrderEvent(order.intent.client_order_id, at, OrderStatus.CANCEL_PENDING)
            for order in orders
            if order.status is not OrderStatus.CANCEL_PENDING
        ]
        if wanted:
            self._save(LedgerEntries(order_events=wanted))

    def _works(self, broker: Broker, order: OpenOrder, again: set[str]) -> bool:
        """Whether an order of an interrupted bar works at the broker; one that may still be on its way is waited for."""
        order_id = order.intent.client_order_id
        if order_id not in again:
            return False
        found = broker.find_order(order_id)
        if found is None:
            self._settle()
            found = broker.find_order(order_id)
        return found is not None and not found.status.is_final

    def _taken_up_again(self, broker: Broker, router: OrderRouter, symbol: str | None, at: datetime) -> list[OpenOrder]:
        """Orders that are over in the ledger, and that the broker works all the same."""
        ours = router.get_open_orders()
        working = {order.client_order_id: order.status for order in broker.account().open_orders}
        known = self._ledger.find_orders(sorted(working.keys() - ours.keys() - {""}))
        found = [
            replace(order, status=working[order_id])
            for order_id, order in known.items()
            # All of one that is FILLED was booked: what the broker means by it is for a comparison to say.
            if self._covers(order, symbol) and order.status.is_final and order.status is not OrderStatus.FILLED
        ]
        if found:
            self._save(
                LedgerEntries(
                    reopened=[
                        OrderEvent(order.intent.client_order_id, at, order.status, "found working at the broker")
                        for order in found
                    ]
                )
            )
        return found

    def _covers(self, order: OpenOrder, symbol: str | None) -> bool:
        intent = order.intent
        if intent.account != self._account or symbol not in (None, intent.symbol):
            return False
        if self._strategy is None:
            return True
        session = self._ledger.find_session(intent.session_id)
        return session is not None and session.strategy == self._strategy

    def _working_in_scope(self, symbol: str | None) -> list[BrokerOrder]:
        working = [order for order in self._broker().account().open_orders if symbol in (None, order.symbol)]
        if self._strategy is None:
            return working
        ours = self._ledger.find_orders([order.client_order_id for order in working if order.client_order_id])
        return [
            order
            for order in working
            if order.client_order_id in ours and self._covers(ours[order.client_order_id], symbol)
        ]

    def _held(self, symbol: str | None) -> list[str]:
        positions = self._broker().account().positions
        return [f"{one.quantity} {one.symbol}" for one in positions if symbol in (None, one.symbol)]


def _name(order: BrokerOrder) -> str:
    return order.client_order_id or f"{order.broker_order_id} (made elsewhere)"
