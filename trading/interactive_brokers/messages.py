"""What the gateway says, in values of our own: whatever library speaks its protocol, the rest of the adapter sees these.

Numbers are as they were told, save that what TWS writes for "not set" is None. Money is Decimal; prices of bars stay
floats, because they may be nonsense and are judged elsewhere.
"""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal


@dataclass(frozen=True, slots=True)
class Instrument:
    """A contract. ``symbol`` is the broker's own; ``contract_id`` is 0 where it is not known yet."""

    symbol: str
    contract_id: int = 0
    security_type: str = "STK"
    exchange: str = "SMART"
    primary_exchange: str = ""
    currency: str = "USD"
    local_symbol: str = ""


@dataclass(frozen=True, slots=True)
class InstrumentDetails:
    """What the broker tells of a contract. ``hours`` are its liquid hours as text, in ``zone``."""

    instrument: Instrument
    name: str
    minimum_tick: Decimal
    zone: str
    hours: str
    minimum_size: Decimal | None = None


@dataclass(frozen=True, slots=True)
class WireOrder:
    """An order as it stands on the wire. ``perm_id``, ``order_id`` and ``client_id`` are 0 where they were not told."""

    action: str
    quantity: Decimal
    order_type: str
    time_in_force: str
    order_ref: str = ""
    account: str = ""
    limit_price: Decimal | None = None
    aux_price: Decimal | None = None
    trailing_percent: Decimal | None = None
    parent_id: int = 0
    oca_group: str = ""
    oca_type: int = 0
    transmit: bool = True
    order_id: int = 0
    client_id: int = 0
    perm_id: int = 0


@dataclass(frozen=True, slots=True)
class OrderTold:
    """An order that is open, or was changed just now (``openOrder``)."""

    order: WireOrder
    instrument: Instrument
    status: str
    warning: str = ""


@dataclass(frozen=True, slots=True)
class CompletedTold:
    """An order that is over (``completedOrder``); it names neither order id nor client."""

    order: WireOrder
    instrument: Instrument
    status: str
    filled: Decimal | None
    ended: str = ""


@dataclass(frozen=True, slots=True)
class StatusTold:
    """Where an order stands (``orderStatus``)."""

    order_id: int
    client_id: int
    perm_id: int
    status: str
    filled: Decimal
    remaining: Decimal
    average_price: Decimal | None
    why_held: str = ""


@dataclass(frozen=True, slots=True)
class ExecutionTold:
    """One execution; ``side`` is BOT or SLD. ``request_id`` is -1 where nobody asked."""

    exec_id: str
    order_id: int
    client_id: int
    perm_id: int
    order_ref: str
    account: str
    instrument: Instrument
    side: str
    shares: Decimal
    price: Decimal
    executed_at: datetime
    request_id: int = -1


@dataclass(frozen=True, slots=True)
class CommissionTold:
    """What an execution cost; None where the gateway said nothing that is an amount."""

    exec_id: str
    commission: Decimal | None
    currency: str


@dataclass(frozen=True, slots=True)
class ErrorTold:
    """An error, a warning or a mere notice: which of them says its code. ``request_id`` is an order id or a request's, -1 for none."""

    request_id: int
    code: int
    text: str


@dataclass(frozen=True, slots=True)
class PositionTold:
    """A position of any account of the login; ``average_cost`` per share, commissions included."""

    account: str
    instrument: Instrument
    quantity: Decimal
    average_cost: Decimal


@dataclass(frozen=True, slots=True)
class AccountValueTold:
    """One line of an account's balances."""

    account: str
    tag: str
    value: str
    currency: str


@dataclass(frozen=True, slots=True)
class BarTold:
    """A bar of a subscription or an answer. ``time`` is its open, aware UTC; any number may be NaN."""

    request_id: int
    time: datetime
    open: float
    high: float
    low: float
    close: float
    volume: float


@dataclass(frozen=True, slots=True)
class LineLost:
    """The socket is gone."""

    reason: str


Message = (
    OrderTold
    | CompletedTold
    | StatusTold
    | ExecutionTold
    | CommissionTold
    | ErrorTold
    | PositionTold
    | BarTold
    | LineLost
)
