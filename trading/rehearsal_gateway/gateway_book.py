"""Everything that the gateway keeps: accounts, orders, executions, and the numbers it has given out.

All changes go through ``keep``, which writes them down before anybody is told of them.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from decimal import Decimal

from trading.rehearsal_gateway.account_book import AccountBook
from trading.rehearsal_gateway.gateway_execution import GatewayExecution
from trading.rehearsal_gateway.gateway_order import GatewayOrder, Stage, Standing, standing_of
from trading.rehearsal_gateway.state_file import Counters, StateFile
from trading.settings import PaperSettings

_NUMBERED_FROM = date(2000, 1, 1)


@dataclass(slots=True)
class Changes:
    """What one thing that happened has changed: orders and executions by their numbers."""

    orders: set[int] = field(default_factory=set)
    executions: list[GatewayExecution] = field(default_factory=list)


class GatewayBook:
    """The state of a gateway, in memory and (with a file) on disk. ``is_open`` says whether the exchange trades."""

    def __init__(
        self, accounts: Mapping[str, Decimal], settings: PaperSettings, session_start: datetime, file: StateFile | None
    ) -> None:
        self._file = file
        self.orders: dict[int, GatewayOrder] = {}
        self._by_number: dict[tuple[int, int], int] = {}
        self.is_open = False
        stored = file.load(accounts) if file is not None else None
        cash_of = dict(accounts) if stored is None else stored.cash
        self.accounts = {name: AccountBook(name, cash, settings, session_start) for name, cash in cash_of.items()}
        # Numbers begin anew with each date: two days that were rehearsed apart share none, and the same day gives the same.
        least = (session_start.date() - _NUMBERED_FROM).days * 100_000
        known = Counters() if stored is None else stored.counters
        self.counters = replace(known, perm_ids=max(known.perm_ids, least), executions=max(known.executions, least))
        if stored is None:
            return
        for order in stored.orders:
            self._put(order)
        for name, account in self.accounts.items():
            account.restore(
                [one for owner, one in stored.booked if owner == name],
                [one for one in stored.executions if one.account == name],
                [one for one in stored.replaced if one.account == name],
                stored.last_bar_time,
            )

    # Numbers

    def new_perm_id(self) -> int:
        """A permId that was never given before."""
        self.counters = replace(self.counters, perm_ids=self.counters.perm_ids + 1)
        return self.counters.perm_ids

    def new_execution_stem(self) -> str:
        """All of an execId but its revision, never given before."""
        self.counters = replace(self.counters, executions=self.counters.executions + 1)
        return f"0000e0d5.{self.counters.executions:08x}.01"

    @property
    def next_order_id(self) -> int:
        """Above every number that a client has used since they were rolled back last."""
        return self.counters.order_ids + 1

    def use_order_id(self, order_id: int) -> None:
        """A client has used this number."""
        if order_id > self.counters.order_ids:
            self.counters = replace(self.counters, order_ids=order_id)

    def roll_back_order_ids(self) -> None:
        """Numbers start again: what is over gives its number up, what works keeps it."""
        self.counters = replace(self.counters, order_ids=0)
        self._by_number = {
            number: perm_id
            for number, perm_id in self._by_number.items()
            if not self.standing(self.orders[perm_id]).is_over
        }
        self.keep(Changes())

    # Questions

    def find(self, client_id: int, order_id: int) -> GatewayOrder | None:
        """The order that a client knows under this number."""
        perm_id = self._by_number.get((client_id, order_id))
        return None if perm_id is None else self.orders[perm_id]

    def others_order(self, client_id: int, order_id: int) -> GatewayOrder | None:
        """An order of another client under this number that works."""
        for (owner, number), perm_id in self._by_number.items():
            if number == order_id and owner != client_id and not self.standing(self.orders[perm_id]).is_over:
                return self.orders[perm_id]
        return None

    def account_of(self, order: GatewayOrder) -> AccountBook:
        """The account that an order trades in."""
        return self.accounts[order.account]

    def standing(self, order: GatewayOrder) -> Standing:
        """How an order stands now."""
        account = self.accounts[order.account]
        parent = account.booked(str(order.parent)) if order.parent else None
        return standing_of(order, account.booked(order.book_id), parent.filled if parent else 0, self.is_open)

    def parent_order_id(self, order: GatewayOrder) -> int:
        """The number of its parent, 0 where it has none."""
        parent = self.orders.get(order.parent)
        return 0 if parent is None else parent.identity.order_id

    def working(self) -> Iterator[GatewayOrder]:
        """Orders that are not over, oldest first."""
        return (order for order in list(self.orders.values()) if order.ended_at is None)

    def family(self, order: GatewayOrder) -> list[GatewayOrder]:
        """What is held together with an order: its parent, and all children of both, the parent first."""
        root = order.parent or order.identity.perm_id
        return [one for one in self.working() if root in (one.identity.perm_id, one.parent) and one.stage is Stage.HELD]

    def executions(self) -> list[GatewayExecution]:
        """All executions as they stand, oldest first."""
        every = [one for account in self.accounts.values() for one in account.executions.values()]
        return sorted(every, key=lambda one: (one.executed_at, one.stem))

    # Changes

    def put(self, order: GatewayOrder, changes: Changes) -> None:
        """Take an order as it is now."""
        self._put(order)
        changes.orders.add(order.identity.perm_id)

    def keep(self, changes: Changes, last_bar_time: datetime | None = None) -> None:
        """Write down what has changed; raises ``StoreError`` where the file cannot be written."""
        if self._file is None:
            return
        orders = [self.orders[perm_id] for perm_id in sorted(changes.orders)]
        booked = [self.accounts[order.account].booked(order.book_id) for order in orders]
        self._file.save(list(zip(orders, booked, strict=True)), changes.executions, self.counters, last_bar_time)

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _put(self, order: GatewayOrder) -> None:
        who = order.identity
        self.orders[who.perm_id] = order
        if not who.is_by_hand:
            self._by_number[who.client_id, who.order_id] = who.perm_id
