"""Why an order would be refused, in the codes and words of TWS."""

from dataclasses import dataclass
from decimal import Decimal
from typing import NamedTuple

from trading.money import plainly
from trading.orders import OrderType, TimeInForce
from trading.rehearsal_gateway.market_port import Instrument
from trading.rehearsal_gateway.order_ticket import OrderTicket

_TYPES = {
    "MKT": OrderType.MARKET,
    "LMT": OrderType.LIMIT,
    "STP": OrderType.STOP,
    "STP LMT": OrderType.STOP_LIMIT,
    "STPLMT": OrderType.STOP_LIMIT,
    "TRAIL": OrderType.TRAILING_STOP,
    "MOC": OrderType.MARKET_ON_CLOSE,
    "LOC": OrderType.LIMIT_ON_CLOSE,
    "MOO": OrderType.MARKET_ON_OPEN,
    "LOO": OrderType.LIMIT_ON_OPEN,
}
_AT_THE_OPEN = {OrderType.MARKET: OrderType.MARKET_ON_OPEN, OrderType.LIMIT: OrderType.LIMIT_ON_OPEN}
_TIMES = {"": TimeInForce.DAY, "OPG": TimeInForce.DAY, **{str(one): one for one in TimeInForce}}


class Refusal(NamedTuple):
    """An error that ends an order. ``is_told_inactive``: the exchange refused it, and it is told as Inactive besides."""

    code: int
    text: str
    is_told_inactive: bool = False


@dataclass(frozen=True, slots=True)
class Terms:
    """What the simulated account needs to know of an order; prices its type does not have are None."""

    order_type: OrderType
    time_in_force: TimeInForce
    limit_price: Decimal | None = None
    stop_price: Decimal | None = None
    trail_amount: Decimal | None = None
    trail_fraction: Decimal | None = None


def rejected(reason: str) -> Refusal:
    """What the exchange or the risk desk would not take."""
    return Refusal(201, f"Order rejected - reason:{reason}", True)


def terms_of(ticket: OrderTicket, instrument: Instrument) -> Terms | Refusal:
    """The order in our words, or why it cannot be one."""
    if ticket.not_modelled:
        return Refusal(321, f"Not modelled by the rehearsal gateway: {', '.join(ticket.not_modelled)}")
    if ticket.action not in ("BUY", "SELL", "SSHORT"):
        return Refusal(321, f"Error validating request.-'bX' : cause - Invalid order action {ticket.action!r}")
    if ticket.quantity != ticket.quantity.to_integral_value():
        return Refusal(
            10243, "Fractional-sized order cannot be placed via API. Please reduce order size to a whole number."
        )
    if ticket.quantity <= 0:
        return Refusal(321, "Error validating request.-'bX' : cause - Order size must be greater than zero")
    kind, time = _TYPES.get(ticket.order_type.upper()), _TIMES.get(ticket.tif)
    if kind is None:
        return Refusal(387, f"Unsupported order type for this exchange and security type: {ticket.order_type}")
    if time is None:
        return Refusal(10052, f"Invalid time in force:{ticket.tif}")
    if ticket.tif == "OPG":
        if kind not in _AT_THE_OPEN:
            return Refusal(201, f"Order rejected - reason:{ticket.order_type} cannot have time in force OPG", True)
        kind = _AT_THE_OPEN[kind]
    return _priced(kind, time, ticket, instrument)


def _priced(kind: OrderType, time: TimeInForce, ticket: OrderTicket, instrument: Instrument) -> Terms | Refusal:
    limited = kind in (OrderType.LIMIT, OrderType.STOP_LIMIT, OrderType.LIMIT_ON_OPEN, OrderType.LIMIT_ON_CLOSE)
    stopped = kind in (OrderType.STOP, OrderType.STOP_LIMIT)
    for needed, price, what in ((limited, ticket.limit_price, "limit"), (stopped, ticket.aux_price, "stop")):
        if not needed:
            continue
        if price is None or not price.is_finite() or price <= 0:
            return Refusal(321, f"Error validating request.-'bX' : cause - You must enter a valid {what} price")
        if price % instrument.min_tick:
            return Refusal(
                110,
                "The price does not conform to the minimum price variation for this contract. "
                f"{plainly(price)} is no multiple of {plainly(instrument.min_tick)}",
            )
    auctions = (OrderType.MARKET_ON_CLOSE, OrderType.LIMIT_ON_CLOSE, OrderType.MARKET_ON_OPEN, OrderType.LIMIT_ON_OPEN)
    if kind in auctions and time is not TimeInForce.DAY:
        return Refusal(201, f"Order rejected - reason:{ticket.order_type} cannot have time in force {ticket.tif}", True)
    if kind is OrderType.TRAILING_STOP:
        return _trailing(time, ticket)
    return Terms(kind, time, ticket.limit_price if limited else None, ticket.aux_price if stopped else None)


def _trailing(time: TimeInForce, ticket: OrderTicket) -> Terms | Refusal:
    percent, amount = ticket.trailing_percent, ticket.aux_price
    if percent and 0 < percent < 100:
        return Terms(OrderType.TRAILING_STOP, time, trail_fraction=percent / 100)
    if amount and amount.is_finite() and amount > 0 and not percent:
        return Terms(OrderType.TRAILING_STOP, time, trail_amount=amount)
    return Refusal(321, "Error validating request.-'bX' : cause - You must enter a valid trailing amount or percent")
