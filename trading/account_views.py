"""The two sides of a comparison, as plain values: what the ledger says and what the broker answered."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from trading.differences import Discrepancy, ExternalFill, ExternalOrder
from trading.orders import Execution, Fill, OpenOrder, OrderEvent
from trading.ports import BrokerAccount, BrokerOrder


@dataclass(frozen=True, slots=True)
class BookedPosition:
    """A position as the book has it: signed shares; ``average_cost`` per share with commissions, positive."""

    quantity: int
    average_cost: Decimal


@dataclass(frozen=True, slots=True)
class LedgerView:
    """Our side of one account.

    ``cash`` and ``positions`` (none of zero shares) are the book's: a fold over ``fills``, which are all of the account's
    in booking order. ``open_orders`` are not final; ``orders`` are those that the broker names or that its executions
    belong to, wherever they stand. ``external_orders`` are those last seen working. ``counts_average_cost``: the book keeps
    one average per position, as brokers do, so that both can be compared.
    """

    account: str
    cash: Decimal
    positions: Mapping[str, BookedPosition]
    fills: Sequence[Fill] = ()
    open_orders: Mapping[str, OpenOrder] = field(default_factory=dict)
    orders: Mapping[str, OpenOrder] = field(default_factory=dict)
    external_fills: Sequence[ExternalFill] = ()
    external_orders: Sequence[ExternalOrder] = ()
    counts_average_cost: bool = False

    def order(self, client_order_id: str) -> OpenOrder | None:
        """The order under this id wherever it stands, None where it was not made here."""
        return self.open_orders.get(client_order_id) or self.orders.get(client_order_id)


@dataclass(frozen=True, slots=True)
class BrokerView:
    """The broker's side: everything it answered at ``asked_at``. There is none of a broker that did not answer.

    ``executions`` are complete from ``kept_since`` on (always, where that is None). ``looked_up`` are orders that were
    asked for one by one because they are not among the working ones; None where the broker surely never had it.
    """

    account: BrokerAccount
    asked_at: datetime
    source: str
    executions: Sequence[Execution] = ()
    kept_since: datetime | None = None
    looked_up: Mapping[str, BrokerOrder | None] = field(default_factory=dict)


Remedy = Fill | OrderEvent | OpenOrder | ExternalFill | ExternalOrder
"""What repairs a difference: a fill to book, a step to take, an order to reopen, something made elsewhere to note."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A discrepancy with what repairs it; ``remedy`` is None exactly where the discrepancy is not repairable."""

    discrepancy: Discrepancy
    remedy: Remedy | None = None

    def __post_init__(self) -> None:
        if self.discrepancy.repairable is not (self.remedy is not None):
            raise ValueError(f"{self.discrepancy.kind} {self.discrepancy.subject}: repairable means there is a remedy")
