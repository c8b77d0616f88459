"""What a comparison with the broker finds and what is done about it, as values."""

from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from trading.orders import Side


class DiscrepancyKind(StrEnum):
    """Every way in which ledger and broker can differ. docs/reliability.md says what each leads to."""

    MISSING_FILL = "missing_fill"
    """The broker executed an order of ours, and the ledger does not have it."""
    CHANGED_FILL = "changed_fill"
    """Ledger and broker have the same execution with another quantity, price or side."""
    UNCONFIRMED_FILL = "unconfirmed_fill"
    """The ledger has a fill of the time the broker answers for, and the broker does not have it."""
    UNEXPLAINED_FILL = "unexplained_fill"
    """The broker says that more of an order filled than its executions show."""
    COMMISSION = "commission"
    """The broker charged another commission than the ledger has."""
    OVERFILL = "overfill"
    """More was filled than was ordered."""
    ORDER_GONE = "order_gone"
    """Ours still works in the ledger, and the broker says how it ended."""
    ORDER_NEVER_ARRIVED = "order_never_arrived"
    """Ours was saved, and the broker never had it."""
    ORDER_REOPENED = "order_reopened"
    """The ledger has it as over, and it works at the broker."""
    ORDER_CHANGED = "order_changed"
    """It works at the broker with another quantity or price."""
    EXTERNAL_ORDER = "external_order"
    """An order works at the broker that was not made here."""
    EXTERNAL_FILL = "external_fill"
    """The broker executed an order that was not made here."""
    POSITION = "position"
    """The broker holds another quantity than fills and external fills explain."""
    AVERAGE_PRICE = "average_price"
    """The quantity is the same, and its average cost is not."""
    CASH = "cash"
    """Cash differs by more than the tolerance."""
    BOOK = "book"
    """The book in memory is not what a fold over the ledger's fills gives."""


@dataclass(frozen=True, slots=True)
class Discrepancy:
    """A difference between the ledger and the broker, in words and numbers a person can act on.

    ``symbol`` is None where it is about the account. ``repairable``: what is proposed follows from the broker's own
    records and is done without asking where repairs are wanted; the rest needs a person. ``locking``: until it is gone no
    new risk is taken in the symbol.
    """

    kind: DiscrepancyKind
    subject: str
    ours: str
    brokers: str
    proposed_repair: str
    symbol: str | None = None
    repairable: bool = False
    locking: bool = False


@dataclass(frozen=True, slots=True)
class Repair:
    """Something that was changed in the ledger because a comparison asked for it. ``subject`` as in its discrepancy."""

    kind: DiscrepancyKind
    subject: str
    done: str


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """One comparison with the broker: when, on what occasion, what differed and what was repaired of it.

    ``stage`` is open, scheduled, reconnect, close or manual. ``session_id`` is empty where it was run outside of any.
    ``remaining`` are those of ``discrepancies`` that stand after the repairs.
    """

    account: str
    session_id: str
    reconciled_at: datetime
    stage: str
    discrepancies: tuple[Discrepancy, ...]
    repairs: tuple[Repair, ...] = ()
    remaining: tuple[Discrepancy, ...] = field(default=())


@dataclass(frozen=True, slots=True)
class InstrumentLock:
    """No new risk in one symbol of one account, because its position cannot be explained.

    Made and lifted by comparisons alone: it goes when the difference is gone.
    """

    account: str
    symbol: str
    locked_at: datetime
    reason: str


GONE = "GONE"
"""The status of an external order that works no more; how it ended is not asked."""


@dataclass(frozen=True, slots=True)
class ExternalOrder:
    """An order that was made elsewhere in the same account, as it was last seen. Never traded on."""

    account: str
    broker_order_id: str
    symbol: str
    side: Side
    quantity: int
    filled: int
    status: str
    seen_at: datetime


@dataclass(frozen=True, slots=True)
class ExternalFill:
    """An execution of an order that was made elsewhere. It explains a position and is no part of the book.

    ``claimed``: a person has said that it belongs to the book after all, which then has it as a fill.
    """

    account: str
    exec_id: str
    broker_order_id: str
    symbol: str
    side: Side
    quantity: int
    price: Decimal
    commission: Decimal | None
    executed_at: datetime
    lineage: str
    revision: int
    seen_at: datetime

    @property
    def signed_quantity(self) -> int:
        """What it did to the broker's position."""
        return self.side.sign * self.quantity
