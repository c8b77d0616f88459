"""An order in the gateway: what a client asked for, and how far it has come in the words of TWS."""

from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from trading.brokers.paper_fill_rules import ON_CLOSE, ON_OPEN
from trading.brokers.paper_order import PaperOrder
from trading.orders import STOPPED, OrderStatus, OrderType
from trading.rehearsal_gateway.market_port import Instrument
from trading.rehearsal_gateway.order_ticket import OrderTicket


class TwsStatus(StrEnum):
    """Statuses as clients read them."""

    PENDING_SUBMIT = "PendingSubmit"
    PRE_SUBMITTED = "PreSubmitted"
    SUBMITTED = "Submitted"
    FILLED = "Filled"
    CANCELLED = "Cancelled"
    INACTIVE = "Inactive"


class Stage(StrEnum):
    """Where an order is: held until it is transmitted, refused by the exchange, or in the account's book."""

    HELD = "held"
    INACTIVE = "inactive"
    DROPPED = "dropped"
    """Over without ever having come to the book."""
    BOOKED = "booked"


@dataclass(frozen=True, slots=True)
class Identity:
    """Who made an order and under which number; both 0 for one made by hand. ``perm_id`` is for ever."""

    perm_id: int
    client_id: int
    order_id: int

    @property
    def is_by_hand(self) -> bool:
        """Whether it was made in TWS itself, by no client."""
        return self.order_id == 0


@dataclass(frozen=True, slots=True)
class GatewayOrder:
    """``ticket`` is what was asked for last, ``parent`` the permId of the parent or 0."""

    identity: Identity
    account: str
    instrument: Instrument
    ticket: OrderTicket
    stage: Stage
    made_at: datetime
    parent: int = 0
    amendments: int = 0
    ended_at: datetime | None = None
    detail: str = ""

    @property
    def book_id(self) -> str:
        """Its name in the account's book."""
        return str(self.identity.perm_id)

    def at_stage(self, stage: Stage, ended_at: datetime | None = None, detail: str = "") -> "GatewayOrder":
        """The order at another stage."""
        return replace(self, stage=stage, ended_at=ended_at, detail=detail)


@dataclass(frozen=True, slots=True)
class Standing:
    """What is told of an order: its status and how much of it was traded at what average price; ``commission`` None where none
    is known."""

    status: TwsStatus
    quantity: int
    filled: int = 0
    average_price: Decimal = Decimal(0)
    commission: Decimal | None = None
    why_held: str = ""

    @property
    def remaining(self) -> int:
        """Shares that may still trade; those that were left when it ended."""
        return self.quantity - self.filled

    @property
    def is_over(self) -> bool:
        """Whether nothing of it trades any more."""
        return self.status in (TwsStatus.FILLED, TwsStatus.CANCELLED)


def standing_of(order: GatewayOrder, booked: PaperOrder | None, parent_filled: int, is_open: bool) -> Standing:
    """How an order stands. ``parent_filled`` are the shares its parent has filled, ``is_open`` whether the exchange trades."""
    quantity = int(order.ticket.quantity)
    if order.stage is Stage.HELD:
        return Standing(TwsStatus.PENDING_SUBMIT, quantity)
    if order.stage is Stage.INACTIVE:
        return Standing(TwsStatus.INACTIVE, quantity)
    if booked is None:
        return Standing(TwsStatus.CANCELLED, quantity)
    status, why_held = _status_of(order, booked, parent_filled, is_open)
    average = booked.value / booked.filled if booked.filled else Decimal(0)
    # An order that its group or parent left less of is told with what it was asked for once it has ended.
    shown = quantity if status is TwsStatus.CANCELLED else booked.quantity
    return Standing(
        status,
        max(shown, booked.filled),
        booked.filled,
        average,
        booked.commission if booked.filled else None,
        why_held,
    )


def _status_of(order: GatewayOrder, booked: PaperOrder, parent_filled: int, is_open: bool) -> tuple[TwsStatus, str]:
    if booked.status is OrderStatus.FILLED:
        return TwsStatus.FILLED, ""
    if booked.status.is_final:
        return TwsStatus.CANCELLED, ""
    if order.parent and not parent_filled:
        return TwsStatus.PRE_SUBMITTED, "child"
    kind = booked.terms.order_type
    if (kind in STOPPED or kind is OrderType.TRAILING_STOP) and not booked.is_triggered:
        return TwsStatus.PRE_SUBMITTED, "trigger"
    if kind in ON_OPEN or kind in ON_CLOSE or not is_open:
        return TwsStatus.PRE_SUBMITTED, ""
    # A market order is told as accepted and then as filled, never as one that waits in the book.
    if kind is OrderType.MARKET and not booked.filled:
        return TwsStatus.PRE_SUBMITTED, ""
    return TwsStatus.SUBMITTED, ""
