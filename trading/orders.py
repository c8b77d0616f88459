"""Orders and executions as values, and the one rule by which news of an order moves it."""

import hashlib
from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum

from trading.money import round_money


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
    """What an order waits for. Stops wait for their price, on-open and on-close orders for an auction."""

    MARKET = "MARKET"
    LIMIT = "LIMIT"
    STOP = "STOP"
    STOP_LIMIT = "STOP_LIMIT"
    TRAILING_STOP = "TRAILING_STOP"
    MARKET_ON_OPEN = "MARKET_ON_OPEN"
    LIMIT_ON_OPEN = "LIMIT_ON_OPEN"
    MARKET_ON_CLOSE = "MARKET_ON_CLOSE"
    LIMIT_ON_CLOSE = "LIMIT_ON_CLOSE"


LIMITED = frozenset({OrderType.LIMIT, OrderType.STOP_LIMIT, OrderType.LIMIT_ON_OPEN, OrderType.LIMIT_ON_CLOSE})
"""Types that need a limit price, and whose orders never trade at a worse one."""
STOPPED = frozenset({OrderType.STOP, OrderType.STOP_LIMIT})
"""Types that need a stop price."""
AUCTIONS = frozenset(
    {OrderType.MARKET_ON_OPEN, OrderType.LIMIT_ON_OPEN, OrderType.MARKET_ON_CLOSE, OrderType.LIMIT_ON_CLOSE}
)
"""Types that trade in one auction and never between."""


class TimeInForce(StrEnum):
    """How long an order works: for the session, until cancelled, or only at the first price it meets.

    IOC takes what it can get there and cancels the rest, FOK takes all of it or nothing.
    """

    DAY = "DAY"
    GTC = "GTC"
    IOC = "IOC"
    FOK = "FOK"


class OrderStatus(StrEnum):
    """Where an order stands. CREATED means: its intent is saved, nothing is known to have been sent.

    UNKNOWN means: it was handed over and no answer came.
    """

    CREATED = "CREATED"
    SUBMITTED = "SUBMITTED"
    UNKNOWN = "UNKNOWN"
    ACCEPTED = "ACCEPTED"
    PARTIALLY_FILLED = "PARTIALLY_FILLED"
    CANCEL_PENDING = "CANCEL_PENDING"
    REJECTED = "REJECTED"
    EXPIRED = "EXPIRED"
    CANCELLED = "CANCELLED"
    FILLED = "FILLED"

    @property
    def is_final(self) -> bool:
        """No further step and no further fill is expected."""
        return self in FINAL_STATUSES


FINAL_STATUSES = frozenset({OrderStatus.FILLED, OrderStatus.CANCELLED, OrderStatus.REJECTED, OrderStatus.EXPIRED})

_FOLLOWING: dict[OrderStatus, str] = {
    OrderStatus.CREATED: "SUBMITTED UNKNOWN ACCEPTED PARTIALLY_FILLED CANCEL_PENDING REJECTED EXPIRED CANCELLED FILLED",
    OrderStatus.SUBMITTED: "UNKNOWN ACCEPTED PARTIALLY_FILLED CANCEL_PENDING REJECTED EXPIRED CANCELLED FILLED",
    OrderStatus.UNKNOWN: "ACCEPTED PARTIALLY_FILLED CANCEL_PENDING REJECTED EXPIRED CANCELLED FILLED",
    OrderStatus.ACCEPTED: "PARTIALLY_FILLED CANCEL_PENDING REJECTED EXPIRED CANCELLED FILLED",
    OrderStatus.PARTIALLY_FILLED: "CANCEL_PENDING REJECTED EXPIRED CANCELLED FILLED",
    OrderStatus.CANCEL_PENDING: "REJECTED EXPIRED CANCELLED FILLED",
    # Brokers contradict themselves: the ending that says more stands, and a complete fill beats them all.
    OrderStatus.REJECTED: "EXPIRED CANCELLED FILLED",
    OrderStatus.EXPIRED: "CANCELLED FILLED",
    OrderStatus.CANCELLED: "FILLED",
    OrderStatus.FILLED: "",
}
_TRANSITIONS = {status: frozenset(map(OrderStatus, names.split())) for status, names in _FOLLOWING.items()}
"""Every step goes forward on one line: that is what makes late, repeated and disordered news harmless.

Whatever order messages come in, the most advanced one stands at the end.
"""


def may_become(current: OrderStatus, following: OrderStatus) -> bool:
    """Whether the step is in the table. A message that asks for a step which is not is late or repeated."""
    return following in _TRANSITIONS[current]


def status_after(current: OrderStatus, reported: OrderStatus) -> OrderStatus:
    """The status after a report: the reported one where the table has the step, else as it was."""
    return reported if reported in _TRANSITIONS[current] else current


def status_with_fills(current: OrderStatus, filled: int, quantity: int) -> OrderStatus:
    """The status of an order of ``quantity`` shares after ``filled`` of them: fills say more than words."""
    if filled <= 0:
        return current
    return status_after(current, OrderStatus.FILLED if filled >= quantity else OrderStatus.PARTIALLY_FILLED)


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
    close: what slippage is measured against. A trailing stop follows the best price since then at a distance of
    ``trail_amount`` (money per share) or ``trail_fraction`` (of that price). ``parent_id`` names the order whose fills
    this one protects: it sleeps until the parent fills and is never larger than what the parent has filled. Of the orders
    that share an ``oca_group`` a fill of one takes as many shares from the others.

    Raises ``ValueError`` for prices that its type does not have, or lacks.
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
    trail_amount: Decimal | None = None
    trail_fraction: Decimal | None = None

    def __post_init__(self) -> None:
        name = f"order {self.client_order_id}"
        if self.quantity <= 0:
            raise ValueError(f"{name}: quantity {self.quantity} is not positive")
        for what, price in (
            ("reference price", self.reference_price),
            ("limit price", self.limit_price),
            ("stop price", self.stop_price),
            ("trail amount", self.trail_amount),
            ("trail fraction", self.trail_fraction),
        ):
            if price is not None and not (price.is_finite() and price > 0):
                raise ValueError(f"{name}: {what} {price} is not positive")
        kind = self.order_type
        if (self.limit_price is not None) is not (kind in LIMITED):
            raise ValueError(f"{name}: a {kind} order {'needs a' if kind in LIMITED else 'has no'} limit price")
        if (self.stop_price is not None) is not (kind in STOPPED):
            raise ValueError(f"{name}: a {kind} order {'needs a' if kind in STOPPED else 'has no'} stop price")
        trails = (self.trail_amount is not None) + (self.trail_fraction is not None)
        if trails != (kind is OrderType.TRAILING_STOP):
            raise ValueError(f"{name}: a trailing stop, and no other order, has a trail amount or a trail fraction")
        if self.trail_fraction is not None and self.trail_fraction >= 1:
            raise ValueError(f"{name}: trail fraction {self.trail_fraction} is not below 1")
        if kind in AUCTIONS and self.time_in_force is not TimeInForce.DAY:
            raise ValueError(f"{name}: a {kind} order has its auction and no time in force but DAY")


def highest_price(intent: OrderIntent, last_price: Decimal | None = None) -> Decimal:
    """The highest price per share at which an order can be worth what it trades, as things stand.

    That of a limit order is its limit or the price it was decided at; of a stop its stop; of a trailing stop that buys how far the
    price may rise before it follows; of any without a limit the last price where that is higher.
    """
    highest = intent.reference_price
    if intent.stop_price is not None and intent.stop_price > highest:
        highest = intent.stop_price
    if intent.limit_price is not None:
        return max(highest, intent.limit_price)
    if last_price is not None and last_price > highest:
        highest = last_price
    if intent.side is Side.BUY:
        if intent.trail_fraction is not None:
            highest *= 1 + intent.trail_fraction
        elif intent.trail_amount is not None:
            highest += intent.trail_amount
    return highest


@dataclass(frozen=True, slots=True)
class OrderAmendment:
    """A change of a working order: what it shall be from now on. What is None stays as it is.

    ``number`` counts the amendments of one order from 1. ``quantity`` is the new total, those filled included, and never
    more than before: more shares are another order. ``status`` is SUBMITTED (saved, about to be sent), ACCEPTED or
    REJECTED.
    """

    client_order_id: str
    number: int
    amended_at: datetime
    status: OrderStatus
    quantity: int | None = None
    limit_price: Decimal | None = None
    stop_price: Decimal | None = None
    trail_amount: Decimal | None = None
    trail_fraction: Decimal | None = None

    def applied_to(self, intent: OrderIntent) -> OrderIntent:
        """The intent as amended; raises ``ValueError`` for a quantity above the intent's or prices it cannot have."""
        if self.quantity is not None and self.quantity > intent.quantity:
            raise ValueError(
                f"order {intent.client_order_id}: an amendment to {self.quantity} shares adds to {intent.quantity}"
            )
        changes = {
            name: value
            for name in ("quantity", "limit_price", "stop_price", "trail_amount", "trail_fraction")
            if (value := getattr(self, name)) is not None
        }
        return replace(intent, **changes)


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
    A broker that corrects an execution reports it again under another ``exec_id``: both carry the same ``lineage``,
    and the higher ``revision`` replaces the lower, in whatever order they come. ``client_order_id`` is empty where the
    order was made elsewhere.
    """

    exec_id: str
    client_order_id: str
    symbol: str
    side: Side
    quantity: int
    price: Decimal
    commission: Decimal | None
    executed_at: datetime
    lineage: str = ""
    revision: int = 0

    def __post_init__(self) -> None:
        if self.quantity <= 0 or not (self.price.is_finite() and self.price > 0):
            raise ValueError(f"execution {self.exec_id}: quantity {self.quantity} at {self.price} is not an execution")
        if self.commission is not None and not self.commission.is_finite():
            raise ValueError(f"execution {self.exec_id}: commission {self.commission} is not an amount")
        if not self.lineage:
            object.__setattr__(self, "lineage", self.exec_id)


def to_the_micro(execution: Execution) -> Execution:
    """As the ledger can hold it: a book that counts finer would never equal a fold over its fills."""
    price, commission = round_money(execution.price), execution.commission
    commission = None if commission is None else round_money(commission)
    return (
        execution
        if price == execution.price and commission == execution.commission
        else replace(execution, price=price, commission=commission)
    )


INFERRED = "inferred"
"""The source of a fill that no execution was seen of: it follows from what the broker says of its order."""
CLAIMED = "claimed"
"""The source of a fill that was made elsewhere and that a person said belongs to the book."""


@dataclass(frozen=True, slots=True)
class Fill:
    """An execution in the ledger: whose session it belongs to, and where it was learned from."""

    execution: Execution
    session_id: str
    account: str
    source: str

    @property
    def is_inferred(self) -> bool:
        """Whether it stands in for executions that were not seen, and gives way to them."""
        return self.source == INFERRED


@dataclass(frozen=True, slots=True)
class OpenOrder:
    """An order that may still fill: the intent (as amended), its status and the shares filled so far.

    ``attempts`` counts how often it was handed to the broker, ``amendments`` how often a change was wanted.
    ``cancel_asked_at`` is the session's time at which a cancel was wanted first.
    """

    intent: OrderIntent
    status: OrderStatus
    filled: int
    attempts: int = 0
    amendments: int = 0
    cancel_asked_at: datetime | None = None

    @property
    def remaining(self) -> int:
        """Shares that can still fill, never negative."""
        return max(self.intent.quantity - self.filled, 0)

    @property
    def signed_remaining(self) -> int:
        """What the position would change by if the rest filled."""
        return self.intent.side.sign * self.remaining
