"""Orders in the broker's words and back, in one table.

An order's type and time in force together make ours: an order for the open is a market or limit order in force OPG.
"""

from decimal import Decimal

from trading.errors import OrderRefused
from trading.interactive_brokers.messages import WireOrder
from trading.orders import OrderIntent, OrderType, Side, TimeInForce

_TYPES: dict[OrderType, tuple[str, str | None]] = {
    OrderType.MARKET: ("MKT", None),
    OrderType.LIMIT: ("LMT", None),
    OrderType.STOP: ("STP", None),
    OrderType.STOP_LIMIT: ("STP LMT", None),
    OrderType.TRAILING_STOP: ("TRAIL", None),
    OrderType.MARKET_ON_OPEN: ("MKT", "OPG"),
    OrderType.LIMIT_ON_OPEN: ("LMT", "OPG"),
    OrderType.MARKET_ON_CLOSE: ("MOC", None),
    OrderType.LIMIT_ON_CLOSE: ("LOC", None),
}
"""Our type: the broker's, and its time in force where that is part of the type."""
_OURS = {(wire, in_force == "OPG"): kind for kind, (wire, in_force) in _TYPES.items()}
_REDUCE_WITH_BLOCK = 2
"""Members of a group are reduced by each other's fills, and only one of them is at an exchange at a time: no overfill."""


def wire_order(intent: OrderIntent, account: str, parent_order_id: int = 0, transmit: bool = True) -> WireOrder:
    """The order that an intent asks for, every field set that a preset of the gateway could otherwise set."""
    kind, in_force = _TYPES[intent.order_type]
    stop = intent.stop_price if intent.stop_price is not None else intent.trail_amount
    percent = None if intent.trail_fraction is None else intent.trail_fraction * 100
    return WireOrder(
        intent.side.value,
        Decimal(intent.quantity),
        kind,
        in_force or intent.time_in_force.value,
        intent.client_order_id,
        account,
        intent.limit_price,
        stop,
        percent,
        parent_order_id,
        intent.oca_group or "",
        _REDUCE_WITH_BLOCK if intent.oca_group else 0,
        transmit,
    )


def order_type_of(order: WireOrder) -> OrderType:
    """Our type of an order of the broker's; of kinds we do not have, the nearest: those are orders made elsewhere."""
    found = _OURS.get((order.order_type, order.time_in_force == "OPG"))
    if found is not None:
        return found
    return OrderType.LIMIT if order.limit_price else OrderType.MARKET


def side_of(action: str) -> Side:
    """BUY or SELL; the broker also says BOT, SLD and SSHORT."""
    return Side.BUY if action in ("BUY", "BOT") else Side.SELL


def prices_of(order: WireOrder) -> tuple[Decimal | None, Decimal | None]:
    """Limit and stop price as far as the order's type has them. The broker writes 0 for none; a trail is no price."""
    limited = order.order_type in ("LMT", "STP LMT", "LOC")
    stopped = order.order_type in ("STP", "STP LMT")
    return (order.limit_price or None) if limited else None, (order.aux_price or None) if stopped else None


def require_on_tick(intent: OrderIntent, tick: Decimal | None) -> None:
    """Raise ``OrderRefused`` for a price between two steps of the instrument: the gateway answers it with a bare warning."""
    if not tick:
        return
    for name, price in (("limit", intent.limit_price), ("stop", intent.stop_price)):
        if price is not None and price % tick:
            raise OrderRefused(
                f"Order {intent.client_order_id} is not sent: its {name} price {price} is not on {intent.symbol}'s step of "
                f"{tick}. Set orders.tick_size = {tick}."
            )


def in_force_of(order: WireOrder) -> TimeInForce:
    """How long an order works; what we do not have counts as for the day."""
    return TimeInForce(order.time_in_force) if order.time_in_force in TimeInForce.__members__ else TimeInForce.DAY
