"""An account that nobody trades at the moment: its book and its working orders, out of the ledger alone."""

from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from decimal import Decimal

from trading.errors import ConfigurationError
from trading.orders import Fill, OpenOrder, OrderEvent, may_become
from trading.pnl_tracker import PnLTracker
from trading.ports import Broker, Ledger, LedgerEntries
from trading.reconciler import Reconciler
from trading.sessions import SessionRecord, SessionState
from trading.settings import Settings


class OrdersAtRest:
    """The ledger's open orders. Implements ``trading.reconciler.WorkingOrders``: nothing is ever sent."""

    def __init__(self, open_orders: list[OpenOrder], decided_again: Collection[str] = ()) -> None:
        self._open = {order.intent.client_order_id: order for order in open_orders}
        self.decided_again = frozenset(decided_again)

    def get_open_orders(self) -> dict[str, OpenOrder]:
        """Orders that are not final, by client_order_id."""
        return dict(self._open)

    def apply(self, event: OrderEvent) -> bool:
        """Take a step where the table has it."""
        order = self._open.get(event.client_order_id)
        if order is None or not may_become(order.status, event.status):
            return False
        if event.status.is_final:
            del self._open[event.client_order_id]
        else:
            self._open[event.client_order_id] = replace(order, status=event.status)
        return True

    def reopen(self, order: OpenOrder) -> None:
        """Take up an order that was over."""
        self._open[order.intent.client_order_id] = order

    def note_fill(self, client_order_id: str, filled: int) -> None:
        """So many shares of the order are booked by now."""
        order = self._open.get(client_order_id)
        if order is not None:
            self._open[client_order_id] = replace(order, filled=filled)


class BooksAtRest:
    """Books fills in the session of their order. Implements ``trading.reconciler.Books``."""

    def __init__(self, account: str, tracker: PnLTracker, orders: OrdersAtRest) -> None:
        self._account = account
        self._tracker = tracker
        self._orders = orders

    def book(self, fills: list[Fill], entries: LedgerEntries) -> list[Fill]:
        """Take the fills into the book and the orders' totals; those that changed it go into ``entries``."""
        booked = [fill for fill in fills if self._tracker.update_position(fill)]
        for fill in booked:
            order_id = fill.execution.client_order_id
            self._orders.note_fill(order_id, self._tracker.filled_of(order_id))
        entries.fills += booked
        newest = {fill.execution.symbol: fill for fill in booked}
        entries.positions += [
            self._tracker.snapshot(fill.session_id, self._account, fill.execution.executed_at, symbol)
            for symbol, fill in newest.items()
        ]
        return booked


def reconciler_at_rest(
    settings: Settings, account: str, broker: Broker, ledger: Ledger, settle: Callable[[], None]
) -> Reconciler:
    """A reconciler over the account as the ledger has it. Raises ``ConfigurationError`` for one it does not have.

    Orders of a bar that was interrupted are left to the session that takes it up: it decides them again under their ids.
    """
    cash: Decimal | None = ledger.opening_cash(account)
    if cash is None:
        raise ConfigurationError(
            f"The ledger has no session of account {account}, so that there is nothing to compare. Name the account with "
            "--account, or the database with --db."
        )
    tracker = PnLTracker(settings.book.cost_basis)
    tracker.initialize_portfolio_state(
        cash, ledger.fills(account), ledger.last_prices(account), ledger.high_water_mark(account)
    )
    open_orders = ledger.open_orders(account)
    orders = OrdersAtRest(open_orders, of_interrupted_bars(ledger, open_orders))
    books = BooksAtRest(account, tracker, orders)
    return Reconciler(account, broker, ledger, tracker, orders, books, settings, settle=settle)


def of_interrupted_bars(ledger: Ledger, open_orders: Iterable[OpenOrder]) -> set[str]:
    """Orders of the newest session of a strategy that stopped in the middle of their bar: it can still be taken up."""
    again: set[str] = set()
    sessions: dict[str, SessionRecord | None] = {}
    for order in open_orders:
        intent = order.intent
        if intent.session_id not in sessions:
            found = ledger.find_session(intent.session_id)
            sessions[intent.session_id] = found if found is not None and _can_go_on(ledger, found) else None
        session = sessions[intent.session_id]
        if session is not None and (session.last_bar_time is None or intent.bar_time > session.last_bar_time):
            again.add(intent.client_order_id)
    return again


def _can_go_on(ledger: Ledger, session: SessionRecord) -> bool:
    newest = ledger.last_session_date(session.account, session.strategy)
    return session.state in (SessionState.RUNNING, SessionState.STOPPED) and session.session_date == newest
