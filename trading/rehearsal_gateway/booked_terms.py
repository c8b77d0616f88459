"""Orders in the words of the account's book: how a ticket becomes an intent, and a change of it another order."""

from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal

from trading.brokers.paper_order import OrderPrices, PaperOrder
from trading.money import ZERO
from trading.orders import OrderIntent, OrderType, Side
from trading.rehearsal_gateway.gateway_order import GatewayOrder
from trading.rehearsal_gateway.order_checks import Refusal, Terms, rejected
from trading.rehearsal_gateway.order_ticket import OrderTicket

_AN_INSTANT = timedelta(microseconds=1)
_LEAST_PRICE = Decimal("0.000001")


def intent_of(order: GatewayOrder, terms: Terms, now: datetime, last_price: Decimal | None) -> OrderIntent | Refusal:
    """The order as the account's book takes it; refused where it would follow a price that there is not yet."""
    ticket = order.ticket
    side = Side.BUY if ticket.action == "BUY" else Side.SELL
    price = last_price
    if terms.order_type is OrderType.TRAILING_STOP:
        price = _followed_price(ticket, terms, side) or price
        if price is None and not order.parent:
            return rejected("There is no price yet that a trailing stop could follow")
    return OrderIntent(
        order.book_id,
        "",
        order.account,
        # An order trades with bars that begin at or after the moment at which it came.
        now - _AN_INSTANT,
        order.instrument.symbol,
        side,
        int(ticket.quantity),
        price or terms.limit_price or terms.stop_price or Decimal(1),
        now,
        terms.order_type,
        terms.time_in_force,
        terms.limit_price,
        terms.stop_price,
        str(order.parent) if order.parent else None,
        ticket.oca_group or None,
        terms.trail_amount,
        terms.trail_fraction,
    )


def amended_order(
    booked: PaperOrder, ticket: OrderTicket, terms: Terms, now: datetime, last_price: Decimal | None
) -> PaperOrder:
    """A working order as the ticket wants it from now on; never for less than it has filled."""
    agreed = replace(booked.terms, order_type=terms.order_type, time_in_force=terms.time_in_force)
    best = None
    if terms.order_type is OrderType.TRAILING_STOP:
        best = _followed_price(ticket, terms, agreed.side) or booked.best_price or last_price
    return replace(
        booked,
        terms=agreed,
        quantity=max(int(ticket.quantity), booked.filled),
        prices=OrderPrices(terms.limit_price, terms.stop_price, terms.trail_amount, terms.trail_fraction),
        works_after=max(booked.works_after, now - _AN_INSTANT),
        best_price=best,
        amendments=booked.amendments + 1,
    )


def _followed_price(ticket: OrderTicket, terms: Terms, side: Side) -> Decimal | None:
    """The price that a trailing stop has followed so far, where the client has said where its stop stands."""
    stop = ticket.trail_stop_price
    if stop is None or stop <= 0:
        return None
    if terms.trail_amount is not None:
        return max(stop - side.sign * terms.trail_amount, _LEAST_PRICE)
    return stop / (1 + side.sign * (terms.trail_fraction or ZERO))
