"""One comparison with the broker, from asking to the recorded repairs: for the session that trades and for a person's hand.

Everything goes through ports, and what is repaired is written in one commit with the record of the comparison. A broker
that does not answer ends it (``BrokerUnavailable``) before anything is compared, written or locked: silence is never "flat".

A session uses it between two bars, when all of the broker's news so far is committed::

    reconciler = Reconciler(account, broker, ledger, pnl_tracker, order_router, bookkeeper, settings, session_id)
    done = reconciler.reconcile("scheduled", at)   # repaired and recorded; done.remaining needs a person
    standing = ledger.locks(account)               # the symbols that take no new risk from now on

Doing it again without anything having happened finds what remained and changes nothing.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Protocol

from trading.account_balances import BalanceReading
from trading.account_views import BookedPosition, BrokerView, Difference, LedgerView, Remedy
from trading.differences import (
    Discrepancy,
    DiscrepancyKind,
    ExternalFill,
    ExternalOrder,
    InstrumentLock,
    Reconciliation,
    Repair,
)
from trading.fill_differences import claimed
from trading.money import plainly
from trading.orders import Execution, Fill, OpenOrder, OrderEvent, OrderStatus
from trading.pnl_tracker import PnLTracker
from trading.ports import Broker, BrokerAccount, BrokerOrder, Ledger, LedgerEntries
from trading.reconciliation import find_differences
from trading.settings import CostBasis, Settings

_ASKED_AT_MOST = 3
_LOOKED_BACK = timedelta(days=7)
"""How far back orders that are over are looked up one by one, when a position cannot be explained without them."""


class WorkingOrders(Protocol):
    """The orders in memory: the router's, or those of a ledger that nobody trades with at the moment."""

    @property
    def decided_again(self) -> Collection[str]:
        """Orders of a bar that was interrupted and comes again: what becomes of them is for that bar to find."""
        ...

    def get_open_orders(self) -> Mapping[str, OpenOrder]:
        """Orders that are not final, by client_order_id."""
        ...

    def apply(self, event: OrderEvent) -> bool:
        """Take a step; whether the order could."""
        ...

    def reopen(self, order: OpenOrder) -> None:
        """Take up an order that was over."""
        ...


class Books(Protocol):
    """Who books fills in memory and writes down what that changed."""

    def book(self, fills: list[Fill], entries: LedgerEntries) -> list[Fill]:
        """Take the fills into the book and the orders' totals; add them and the positions they moved to ``entries``."""
        ...


def _at_once() -> None:
    """What was asked a moment ago may be asked again."""


class Reconciler:
    """Compares one account's ledger, book and working orders with its broker. Used by the thread that trades.

    ``settle`` waits until an order that was just sent must be known at the broker (``orders.settle_seconds``).
    """

    def __init__(
        self,
        account: str,
        broker: Broker,
        ledger: Ledger,
        tracker: PnLTracker,
        orders: WorkingOrders,
        books: Books,
        settings: Settings,
        session_id: str = "",
        settle: Callable[[], None] = _at_once,
    ) -> None:
        self.account = account
        self._broker = broker
        self._ledger = ledger
        self._tracker = tracker
        self._orders = orders
        self._books = books
        self._settings = settings
        self._session_id = session_id
        self._settle = settle

    def locks(self) -> list[InstrumentLock]:
        """The symbols of the account that take no new risk."""
        return self._ledger.locks(self.account)

    def compare(self, stage: str, at: datetime) -> Reconciliation:
        """What differs now. Changes and records nothing, and neither locks nor unlocks anything."""
        found = tuple(difference.discrepancy for difference in self._find(at)[0])
        return Reconciliation(self.account, self._session_id, at, stage, found, (), found)

    def reconcile(self, stage: str, at: datetime, claim: Collection[str] = ()) -> Reconciliation:
        """Compare, repair what follows from the broker's own records, lock what cannot be explained, record it all.

        ``stage`` is open, scheduled, reconnect, close or manual. In the symbols to ``claim``, trades made elsewhere
        become fills of the book. Raises ``BrokerUnavailable`` with nothing done, ``StoreError`` with nothing written.
        """
        differences, theirs = self._find(at)
        entries = LedgerEntries()
        entries.balances += [
            BalanceReading(self.account, self._session_id, at, balance) for balance in theirs.account.balances
        ]
        repairs = [
            Repair(one.discrepancy.kind, one.discrepancy.subject, _done(one.remedy))
            for one in differences
            if one.remedy is not None
        ]
        remedies = [one.remedy for one in differences if one.remedy is not None]
        made_elsewhere = self._made_elsewhere(claim, remedies)
        repairs += [
            Repair(DiscrepancyKind.EXTERNAL_FILL, fill.execution.exec_id, f"claimed: {_done(fill)}")
            for fill in made_elsewhere
        ]
        self._carry_out([*remedies, *made_elsewhere], at, entries)
        found = tuple(one.discrepancy for one in differences)
        remaining = tuple(one.discrepancy for one in differences if one.remedy is None)
        self._set_locks(remaining, at, entries)
        done = Reconciliation(self.account, self._session_id, at, stage, found, tuple(repairs), remaining)
        entries.reconciliations.append(done)
        self._ledger.commit(self._session_id, entries)
        return done

    # Asking

    def _find(self, at: datetime) -> tuple[list[Difference], BrokerView]:
        """Every difference, and what the broker said; orders that are over are looked up too where a position is not explained without them."""
        fills = self._ledger.fills(self.account)
        open_orders = self._orders.get_open_orders()
        theirs = self._ask(open_orders, at)
        ours = self._our_side(fills, open_orders, theirs)
        found = find_differences(ours, theirs, self._settings.reconciliation)
        unexplained = {one.discrepancy.symbol for one in found if one.discrepancy.kind is DiscrepancyKind.POSITION}
        over = self._orders_that_are_over(unexplained, theirs, fills, at) if unexplained else {}
        if over:
            theirs = replace(theirs, looked_up={**theirs.looked_up, **self._look_up(over)})
            ours = replace(ours, orders={**ours.orders, **over})
            found = find_differences(ours, theirs, self._settings.reconciliation)
        return self._compare_book(fills) + found, theirs

    def _ask(self, open_orders: Mapping[str, OpenOrder], at: datetime) -> BrokerView:
        """Everything the broker says, of one moment as well as that can be had: until two answers agree."""
        asked = [order_id for order_id in open_orders if order_id not in self._orders.decided_again]
        account = self._broker.account()
        for _ in range(_ASKED_AT_MOST):
            executions = self._broker.executions(None)
            working = {order.client_order_id for order in account.open_orders}
            looked_up = self._look_up([order_id for order_id in asked if order_id not in working])
            before, account = account, self._broker.account()
            if account == before:
                break
        return BrokerView(
            _without(account, self._orders.decided_again),
            at,
            self._broker.source,
            executions,
            self._broker.executions_kept_since,
            looked_up,
        )

    def _look_up(self, order_ids: Collection[str]) -> dict[str, BrokerOrder | None]:
        """Each order by its id. One that the broker does not know is asked for again a settle time later."""
        found = {order_id: self._broker.find_order(order_id) for order_id in order_ids}
        unknown = [order_id for order_id, order in found.items() if order is None]
        if unknown:
            self._settle()
            found |= {order_id: self._broker.find_order(order_id) for order_id in unknown}
        return found

    def _our_side(self, fills: list[Fill], open_orders: Mapping[str, OpenOrder], theirs: BrokerView) -> LedgerView:
        tracker, ledger = self._tracker, self._ledger
        state = tracker.get_portfolio_state()
        named = {order.client_order_id for order in theirs.account.open_orders}
        named |= _orders_of_news(theirs.executions, fills)
        return LedgerView(
            self.account,
            state.cash,
            {symbol: BookedPosition(held.quantity, held.average_cost) for symbol, held in state.positions.items()},
            fills,
            open_orders,
            ledger.find_orders(sorted(named - open_orders.keys() - {""})),
            ledger.external_fills(self.account),
            ledger.external_orders(self.account),
            self._settings.book.cost_basis is CostBasis.AVERAGE,
        )

    def _orders_that_are_over(
        self, symbols: Collection[str | None], theirs: BrokerView, fills: list[Fill], at: datetime
    ) -> dict[str, OpenOrder]:
        # A person's clock is far ahead of a rehearsed day's: the newest of the account's own times says when it is.
        times = [fill.execution.executed_at for fill in fills[-1:]] + [one.executed_at for one in theirs.executions]
        since = min(at, max(times, default=at)) - _LOOKED_BACK
        return {
            order.intent.client_order_id: order
            for order in self._ledger.orders_since(self.account, since)
            if order.intent.symbol in symbols and order.status.is_final
        }

    def _compare_book(self, fills: list[Fill]) -> list[Difference]:
        """The book must equal a fold over the ledger's fills; anything else is a fault of openbell."""
        rebuilt = PnLTracker(self._settings.book.cost_basis)
        rebuilt.initialize_portfolio_state(
            self._tracker.initial_cash, fills, {fill.execution.symbol: fill.execution.price for fill in fills}
        )
        ours, fold = _facts(self._tracker), _facts(rebuilt)
        return [
            Difference(
                Discrepancy(
                    DiscrepancyKind.BOOK,
                    name,
                    str(ours.get(name, 0)),
                    str(fold.get(name, 0)),
                    "start the session again: the book is then made of its fills; report this as a fault of openbell",
                )
            )
            for name in sorted(ours.keys() | fold.keys())
            if ours.get(name, 0) != fold.get(name, 0)
        ]

    # Repairing

    def _made_elsewhere(self, symbols: Collection[str], remedies: Collection[Remedy]) -> list[Fill]:
        """Trades made elsewhere in the claimed symbols, those just seen included, as fills."""
        if not symbols:
            return []
        seen = {fill.lineage: fill for fill in self._ledger.external_fills(self.account)}
        seen |= {remedy.lineage: remedy for remedy in remedies if isinstance(remedy, ExternalFill)}
        return [claimed(fill, self._session_id) for fill in seen.values() if fill.symbol in symbols]

    def _carry_out(self, remedies: Collection[Remedy], at: datetime, entries: LedgerEntries) -> None:
        fills = []
        for remedy in remedies:
            match remedy:
                case OrderEvent():
                    if remedy.client_order_id not in self._orders.decided_again:
                        self._orders.apply(remedy)
                    entries.order_events.append(remedy)
                case OpenOrder():
                    self._orders.reopen(remedy)
                    entries.reopened.append(
                        OrderEvent(remedy.intent.client_order_id, at, remedy.status, "found working at the broker")
                    )
                case ExternalFill():
                    entries.external_fills.append(remedy)
                case ExternalOrder():
                    entries.external_orders.append(remedy)
                case Fill():
                    fills.append(remedy)
        self._books.book(fills, entries)
        for order_id, order in list(self._orders.get_open_orders().items()):
            # Its fills have ended it; the broker's own word on that may have been lost with them.
            if order.filled >= order.intent.quantity and order_id not in self._orders.decided_again:
                ended = OrderEvent(order_id, at, OrderStatus.FILLED, "found at the broker")
                if self._orders.apply(ended):
                    entries.order_events.append(ended)

    def _set_locks(self, remaining: tuple[Discrepancy, ...], at: datetime, entries: LedgerEntries) -> None:
        """A symbol is locked as long as something locking remains in it, and not a comparison longer."""
        reasons: dict[str, Discrepancy] = {}
        for one in remaining:
            if one.locking and one.symbol is not None:
                reasons.setdefault(one.symbol, one)
        standing = {lock.symbol: lock for lock in self.locks()}
        entries.locks += [
            InstrumentLock(self.account, symbol, at, reason_to_lock(found))
            for symbol, found in reasons.items()
            if symbol not in standing
        ]
        entries.lifted_locks += [
            replace(lock, locked_at=max(at, lock.locked_at))
            for symbol, lock in standing.items()
            if symbol not in reasons
        ]


def reason_to_lock(found: Discrepancy) -> str:
    """Why a symbol takes no new risk, in one line."""
    return f"{found.kind} {found.subject}: ledger {found.ours}, broker {found.brokers}"


def _without(account: BrokerAccount, order_ids: Collection[str]) -> BrokerAccount:
    if not order_ids:
        return account
    return replace(
        account, open_orders=tuple(one for one in account.open_orders if one.client_order_id not in order_ids)
    )


def _orders_of_news(executions: Collection[Execution], fills: Collection[Fill]) -> set[str]:
    """The orders of executions that are not booked just as they are."""
    booked = {fill.execution.exec_id: fill.execution for fill in fills}
    return {
        one.client_order_id
        for one in executions
        if (known := booked.get(one.exec_id)) is None or known.quantity != one.quantity
    }


def _facts(book: PnLTracker) -> dict[str, Decimal]:
    quantities = {symbol: Decimal(book.quantity(symbol)) for symbol in book.held_symbols}
    return {"cash": book.cash, "realized": book.realized, "basis": book.cost_basis, **quantities}


def _done(remedy: Remedy) -> str:
    match remedy:
        case Fill(execution=it):
            paid = "not known yet" if it.commission is None else plainly(it.commission)
            how = " as inferred" if remedy.is_inferred else ""
            return f"booked {it.side} {it.quantity} {it.symbol} at {plainly(it.price)}, commission {paid}{how}"
        case OrderEvent():
            return f"{remedy.status.lower()}: {remedy.detail}"
        case OpenOrder():
            return f"taken up again as {remedy.status.lower()}"
        case ExternalFill():
            return (
                f"recorded {remedy.side} {remedy.quantity} {remedy.symbol} at {plainly(remedy.price)} as made elsewhere"
            )
        case ExternalOrder():
            return f"recorded {remedy.side} {remedy.quantity} {remedy.symbol}, {remedy.status}, as made elsewhere"
