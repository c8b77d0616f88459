"""The paper broker: a simulated account behind the same port as a real one.

It is also its own market (``trading.ports.SimulatedMarket``): it sees every bar that passed validation before the
session decides on it, as a real broker would have. With a file the account outlives the process; without one it lives and dies
with the object (replays, tests). How each kind of order trades is written in docs/orders.md.
"""

from datetime import datetime

from trading.bars import BarSlice
from trading.brokers.paper_account import PaperAccount
from trading.brokers.paper_change import PaperChange
from trading.brokers.paper_file import PaperFile
from trading.orders import Execution, OrderAmendment, OrderIntent
from trading.ports import Acknowledgement, BrokerAccount, BrokerOrder, OrderReport
from trading.settings import PaperSettings


class PaperBroker:
    """Deterministic: the same orders and bars give the same fills, ids included.

    ``opened_at`` is the open of the session that connects: DAY orders of earlier sessions expire when it begins, because
    no market closed them in this account's presence. What the file cannot keep has not happened (``BrokerUnavailable``);
    with a file opened ``read_only`` nothing can happen, and everything can be asked.
    """

    def __init__(self, name: str, settings: PaperSettings, opened_at: datetime, file: PaperFile | None = None) -> None:
        self._name = name
        self._file = file
        self._news: list[OrderReport | Execution] = []
        if file is None:
            self._account = PaperAccount(settings, opened_at)
            return
        stored = file.load(settings.initial_cash)
        # The cash an account began with is a fact of the account, not of today's settings.
        self._account = PaperAccount(settings.model_copy(update={"initial_cash": stored.initial_cash}), opened_at)
        self._account.restore(stored.orders, stored.executions, stored.last_bar_time)
        # Whoever connects may have missed it.
        self._news += stored.news

    @property
    def source(self) -> str:
        """Fills of this broker are marked ``paper``."""
        return "paper"

    @property
    def connections(self) -> int:
        """One, made with the object: a file does not drop its line."""
        return 1

    @property
    def executions_kept_since(self) -> None:
        """It keeps them all."""
        return None

    @property
    def has_traded(self) -> bool:
        """Whether any order ever came here."""
        return bool(self._account.orders.every)

    def submit(self, intent: OrderIntent) -> Acknowledgement:
        """Accept the order; the same id again acknowledges the order that is there.

        Raises ``OrderRefused`` for a child of an unknown parent, and where a parent or group leaves nothing to trade.
        """
        self._require_writing()
        order = self._account.orders.every.get(intent.client_order_id)
        if order is None:
            self._make(self._account.submitted(intent))
            order = self._account.orders.every[intent.client_order_id]
        return Acknowledgement(intent.client_order_id, order.terms.broker_order_id, order.status)

    def cancel(self, client_order_id: str) -> None:
        """End the order's rest at once; an order that is over, or never came, stays as it is."""
        self._require_writing()
        self._make(self._account.cancelled(client_order_id))

    def replace(self, amendment: OrderAmendment) -> None:
        """Change a working order from the next bar on; raises ``OrderRefused``. The same number again changes nothing."""
        self._require_writing()
        self._make(self._account.replaced(amendment))

    def find_order(self, client_order_id: str) -> BrokerOrder | None:
        """The order under this id; None when it never came here."""
        order = self._account.orders.every.get(client_order_id)
        return None if order is None else order.seen_from_outside()

    def poll(self) -> tuple[OrderReport | Execution, ...]:
        """News since the last poll; after connecting, all of a day up to the newest once more, as it was told first."""
        if not self._news:
            return ()
        news, self._news = tuple(self._news), []
        return news

    def executions(self, since: datetime | None) -> tuple[Execution, ...]:
        """All executions of the account at or after ``since``, oldest first."""
        return tuple(one for one in self._account.executions if since is None or one.executed_at >= since)

    def account(self) -> BrokerAccount:
        """The account's own book."""
        return BrokerAccount(
            self._name,
            self._account.cash,
            self._account.positions(),
            tuple(order.seen_from_outside() for order in self._account.orders.working.values()),
        )

    def begin_session(self, resumed: bool) -> None:
        """Expire DAY orders of earlier sessions; a session that is not resumed starts from its first bar.

        Bars count as seen only while an order works that could trade twice. Connecting alone changes nothing.
        """
        self._make(self._account.begun())
        if not resumed and not self._account.orders.working:
            self._account.last_bar_time = None

    def see(self, moment: BarSlice) -> None:
        """Let the market trade these bars. Bars that the account has seen before do nothing."""
        account = self._account
        last = account.last_bar_time
        if last is not None and moment.bar_time <= last:
            return
        self._make(account.seen(moment), moment.bar_time)
        account.last_bar_time = moment.bar_time

    def end_of_session(self, at: datetime) -> None:
        """The market has closed: orders for the close trade, and what does not outlive the session expires."""
        self._make(self._account.closed(at))
        self._account.session_start = at

    def _make(self, change: PaperChange, last_bar_time: datetime | None = None) -> None:
        """Let a change happen: in the file first, so that what is told and counted is never ahead of what is kept."""
        if self._file is not None and (change.orders or last_bar_time is not None):
            self._file.save(change.orders.values(), change.news, last_bar_time)
        self._account.apply(change)
        self._news += change.news

    def _require_writing(self) -> None:
        if self._file is not None and self._file.read_only:
            self._file.save()
