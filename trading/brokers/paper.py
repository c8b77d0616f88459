"""The paper broker: a simulated account behind the same port as a real one.

It is also its own market (``trading.ports.SimulatedMarket``): it sees every bar that passed validation before the
session decides on it, as a real broker would have. With a file the account outlives the process; without one it lives and dies
with the object (replays, tests).
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from trading.bars import BarSlice
from trading.brokers.paper_account import PaperAccount, PaperOrder
from trading.brokers.paper_file import PaperFile
from trading.orders import Execution, OrderIntent, OrderStatus
from trading.ports import Acknowledgement, BrokerAccount, BrokerOrder, OrderReport
from trading.settings import PaperSettings

_A_DAY = timedelta(days=1)
"""Longer than any session; a session of an exchange east of UTC can lie on two dates."""


class PaperBroker:
    """Deterministic: the same orders and bars give the same fills, ids included.

    ``opened_at`` is the open of the session that connects: DAY orders of earlier sessions expire when it begins, because
    no market closed them in this account's presence.
    """

    def __init__(self, name: str, settings: PaperSettings, opened_at: datetime, file: PaperFile | None = None) -> None:
        self._name = name
        self._opened_at = opened_at
        self._file = file
        self._orders: dict[str, PaperOrder] = {}
        self._news: list[OrderReport | Execution] = []
        if file is None:
            self._account = PaperAccount(settings)
            return
        stored = file.load(settings.initial_cash)
        # The cash an account began with is a fact of the account, not of today's settings.
        self._account = PaperAccount(settings.model_copy(update={"initial_cash": stored.initial_cash}))
        self._account.restore(stored.executions)
        self._account.last_bar_time = stored.last_bar_time
        for order in stored.orders:
            self._orders[order.client_order_id] = order
            if not order.status.is_final:
                self._account.working[order.client_order_id] = order
        self._replay_news(stored.executions)

    @property
    def source(self) -> str:
        """Fills of this broker are marked ``paper``."""
        return "paper"

    def submit(self, intent: OrderIntent) -> Acknowledgement:
        """Accept the order; the same id again acknowledges the order that is there."""
        known = self._orders.get(intent.client_order_id)
        if known is None:
            known = PaperOrder(
                intent.client_order_id,
                f"P{len(self._orders) + 1}",
                intent.symbol,
                intent.side,
                intent.quantity,
                intent.time_in_force,
                intent.bar_time,
                OrderStatus.ACCEPTED,
                intent.created_at,
            )
            # What the file does not have was never accepted.
            self._remember([known])
            self._account.accept(known)
        return Acknowledgement(known.client_order_id, known.broker_order_id, known.status)

    def cancel(self, client_order_id: str) -> None:
        """End the order's rest at once; an order that is over stays as it is."""
        order = self._orders.get(client_order_id)
        if order is None or order.status.is_final:
            return
        at = self._account.last_bar_time or order.status_at
        self._end([replace(order, status=OrderStatus.CANCELLED, status_at=at)])
        self._account.cancel(client_order_id, at)

    def find_order(self, client_order_id: str) -> BrokerOrder | None:
        """The order under this id; None when it never came here."""
        order = self._orders.get(client_order_id)
        return None if order is None else order.seen_from_outside()

    def poll(self) -> tuple[OrderReport | Execution, ...]:
        """News since the last poll; after connecting, all of the newest order's day once more."""
        if not self._news:
            return ()
        news, self._news = tuple(self._news), []
        return news

    def account(self) -> BrokerAccount:
        """The account's own book."""
        return BrokerAccount(
            self._name,
            self._account.cash,
            self._account.positions(),
            tuple(order.seen_from_outside() for order in self._account.working.values()),
        )

    def begin_session(self, resumed: bool) -> None:
        """Expire DAY orders of earlier sessions; a session that is not resumed starts from its first bar.

        Bars count as seen only while an order works that could trade twice. Connecting alone changes nothing.
        """
        self._end(self._account.expire_day_orders(self._opened_at, decided_before=self._opened_at))
        if not resumed and not self._account.working:
            self._account.last_bar_time = None

    def see(self, moment: BarSlice) -> None:
        """Let the market trade these bars. Bars that the account has seen before do nothing."""
        last = self._account.last_bar_time
        if last is not None and moment.bar_time <= last:
            return
        self._account.last_bar_time = moment.bar_time
        changed, executions = [], []
        if self._account.working:
            for bar in moment.bars.values():
                for order, execution in self._account.see(bar):
                    changed.append(order)
                    executions.append(execution)
                    self._news += [execution, order.report()]
        self._remember(changed, executions, moment.bar_time)

    def end_of_session(self, at: datetime) -> None:
        """The market has closed: what is left of DAY orders expires."""
        self._end(self._account.expire_day_orders(at))

    @property
    def has_traded(self) -> bool:
        """Whether any order ever came here."""
        return bool(self._orders)

    def _end(self, ended: Sequence[PaperOrder]) -> None:
        if ended:
            self._remember(ended)
            self._news += [order.report() for order in ended]

    def _remember(
        self,
        orders: Sequence[PaperOrder],
        executions: Sequence[Execution] = (),
        last_bar_time: datetime | None = None,
    ) -> None:
        if self._file is not None:
            self._file.save(orders, executions, last_bar_time)
        for order in orders:
            self._orders[order.client_order_id] = order

    def _replay_news(self, executions: Sequence[Execution]) -> None:
        """Bring all of the day before the newest order again: whoever connects may have missed it."""
        if not self._orders:
            return
        newest = max(order.decided_on for order in self._orders.values())
        today = {order_id: order for order_id, order in self._orders.items() if order.decided_on > newest - _A_DAY}
        self._news += [execution for execution in executions if execution.client_order_id in today]
        self._news += [order.report() for order in today.values()]
