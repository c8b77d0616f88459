"""Orders and executions as values, and the one table of steps an order may take."""

import hashlib
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum

from trading.errors import ImpossibleTransition


class Side(StrEnum):
    BUY = "BUY"
    SELL = "SELL"

    @property
    def sign(self) -> int:
        """+1 for BUY, -1 for SELL: what a share of this side does to a signed position."""
        return 1 if self is Side.BUY else -1

    @property
    def opposite(self) -> "Side":
        return Side.SELL if self is Side.BUY else Side.BUY


class OrderType(StrEnum):
    MARKET = "MARKET"


class TimeInForce(StrEnum):
    DAY = "DAY"


class OrderStatus(StrEnum):
    """Where an order stands. CREATED means: its intent is saved, nothing is known to have been sent."""

    CREATED = "CREATED"
    SUBMITTED = "SUBMITTED"
    ACCEPTED = "ACCEPTED"
    PARTIALLY_FILLED = "PARTIALLY_FILLED"
    CANCEL_PENDING = "CANCEL_PENDING"
    UNKNOWN = "UNKNOWN"
    FILLED = "FILLED"
    CANCELLED = "CANCELLED"
    REJECTED = "REJECTED"
    EXPIRED = "EXPIRED"

    @property
    def is_final(self) -> bool:
        """No further step and no further fill is expected."""
        return self in FINAL_STATUSES


FINAL_STATUSES = frozenset({OrderStatus.FILLED, OrderStatus.CANCELLED, OrderStatus.REJECTED, OrderStatus.EXPIRED})

_ENDS = frozenset({OrderStatus.FILLED, OrderStatus.CANCELLED, OrderStatus.REJECTED, OrderStatus.EXPIRED})
_TRANSITIONS: dict[OrderStatus, frozenset[OrderStatus]] = {
    OrderStatus.CREATED: frozenset(OrderStatus) - {OrderStatus.CREATED},
    OrderStatus.SUBMITTED: frozenset(OrderStatus) - {OrderStatus.CREATED, OrderStatus.SUBMITTED},
    OrderStatus.ACCEPTED: _ENDS | {OrderStatus.PARTIALLY_FILLED, OrderStatus.CANCEL_PENDING, OrderStatus.UNKNOWN},
    OrderStatus.PARTIALLY_FILLED: _ENDS | {OrderStatus.CANCEL_PENDING, OrderStatus.UNKNOWN},
    OrderStatus.CANCEL_PENDING: _ENDS | {OrderStatus.UNKNOWN},
    OrderStatus.UNKNOWN: frozenset(OrderStatus) - {OrderStatus.CREATED, OrderStatus.UNKNOWN},
    # A cancel can lose the race against a fill that the broker reports later.
    OrderStatus.CANCELLED: frozenset({OrderStatus.FILLED}),
    OrderStatus.EXPIRED: frozenset({OrderStatus.FILLED}),
    OrderStatus.REJECTED: frozenset(),
    OrderStatus.FILLED: frozenset(),
}


def may_become(current: OrderStatus, following: OrderStatus) -> bool:
    """Whether the step is in the table. A message that asks for a step which is not is late or repeated."""
    return following in _TRANSITIONS[current]


def require_transition(client_order_id: str, current: OrderStatus, following: OrderStatus) -> None:
    """Raise ``ImpossibleTransition`` when openbell itself asks for a step outside the table."""
    if not may_become(current, following):
        raise ImpossibleTransition(f"order {client_order_id} is {current} and cannot become {following}")


def client_order_id(
    strategy: str, account: str, session_date: date, bar_time: datetime, symbol: str, leg: str = "main"
) -> str:
    """The name of an intent: a pure function of what is intended, so that saying it twice names one order.

    Readable in front (date, bar, symbol), exact behind: ten hex digits over all six parts. At most 40 characters
    for symbols up to 10, which fits the reference field of the brokers we know.
    """
    whole = "\x1f".join((strategy, account, session_date.isoformat(), bar_time.isoformat(), symbol, leg))
    digest = hashlib.blake2s(whole.encode(), digest_size=5).hexdigest()
    return f"{session_date:%y%m%d}-{bar_time:%H%M%S}-{symbol}-{digest}"


@dataclass(frozen=True, slots=True)
class OrderIntent:
    """An order as it was decided; saved before it is sent.

    ``quantity`` is positive whole shares. ``bar_time`` is the bar it was decided on, ``reference_price`` that bar's
    close: what slippage is measured against.
    """

    client_order_id: str
    session_id: str
    account: str
    bar_time: datetime
    symbol: str
    side: Side
    quantity: int
    reference_price: Decimal
    created_at: datetime
    order_type: OrderType = OrderType.MARKET
    time_in_force: TimeInForce = TimeInForce.DAY
    limit_price: Decimal | None = None
    stop_price: Decimal | None = None
    parent_id: str | None = None
    oca_group: str | None = None

    def __post_init__(self) -> None:
        if self.quantity <= 0:
            raise ValueError(f"order {self.client_order_id}: quantity {self.quantity} is not positive")
        if not (self.reference_price.is_finite() and self.reference_price > 0):
            raise ValueError(f"order {self.client_order_id}: reference price {self.reference_price} is not positive")


@dataclass(frozen=True, slots=True)
class OrderEvent:
    """One step of one order, as the ledger keeps it."""

    client_order_id: str
    event_time: datetime
    status: OrderStatus
    detail: str = ""
    broker_order_id: str | None = None


@dataclass(frozen=True, slots=True)
class Execution:
    """One execution as the broker reported it: the unit in which positions change.

    ``exec_id`` is the broker's and identifies it for ever. ``commission`` is positive money paid, None until known.
    """

    exec_id: str
    client_order_id: str
    symbol: str
    side: Side
    quantity: int
    price: Decimal
    commission: Decimal | None
    executed_at: datetime

    def __post_init__(self) -> None:
        if self.quantity <= 0 or not (self.price.is_finite() and self.price > 0):
            raise ValueError(f"execution {self.exec_id}: quantity {self.quantity} at {self.price} is not an execution")
        if self.commission is not None and not self.commission.is_finite():
            raise ValueError(f"execution {self.exec_id}: commission {self.commission} is not an amount")


@dataclass(frozen=True, slots=True)
class Fill:
    """An execution in the ledger: whose session it belongs to, and where it was learned from."""

    execution: Execution
    session_id: str
    account: str
    source: str


@dataclass(frozen=True, slots=True)
class OpenOrder:
    """An order that may still fill: the intent and what is left of it."""

    intent: OrderIntent
    status: OrderStatus
    filled: int

    @property
    def remaining(self) -> int:
        """Shares that can still fill, never negative."""
        return max(self.intent.quantity - self.filled, 0)

    @property
    def signed_remaining(self) -> int:
        """What the position would change by if the rest filled."""
        return self.intent.side.sign * self.remaining
