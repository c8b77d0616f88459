"""What one bar does to one order: the fill rules of the simulated market, without quantities and without memory.

A bar tells four prices and not their order between open and close. Where the order matters, what is certain counts first
(the open comes before everything else, the close after everything else), and of what may have happened the worse for the
account. The rules for a buy; a sale is its mirror:

- MARKET: at the open.
- LIMIT: an open at or below the limit fills at the open. Else the bar must trade through the limit (a low below it), and
  the fill is at the limit; a low that only touches it fills nothing, because others were first in the queue.
- STOP: an open at or above the stop fills at the open (the gap is the trader's loss), else a high at or above it at the stop.
  Once reached it is a market order: what is left fills at the next opens.
- STOP_LIMIT: reached as a stop, from then on a limit order. Reached at the open it is judged as one in the same bar. Reached
  later in the bar it fills there if the stop itself lies within the limit, and else works from the next bar on.
- TRAILING_STOP: a stop at its distance from the best price before this bar, the bar's own open included; only a bar that leaves
  it alone moves the best price further. Where the close then lies at or beyond the moved stop, it was crossed after the new best
  price: filled at that stop.
- MARKET_ON_OPEN, LIMIT_ON_OPEN: at the open of the session's first bar, a limit only if the open is within it.

Fills are worse than these prices by ``slippage_bps``, save that a limit is never exceeded. IOC and FOK take what fills at the open and
nothing later. Orders for the close trade at the close (``closing_price``).
"""

from decimal import Decimal
from typing import NamedTuple

from trading.bars import Bar
from trading.brokers.paper_order import PaperOrder
from trading.money import round_money
from trading.orders import OrderType, Side, TimeInForce

_BASIS_POINTS = Decimal(10_000)

AT_ONCE = frozenset({TimeInForce.IOC, TimeInForce.FOK})
"""Judged once, at the first open they meet."""
ON_OPEN = frozenset({OrderType.MARKET_ON_OPEN, OrderType.LIMIT_ON_OPEN})
ON_CLOSE = frozenset({OrderType.MARKET_ON_CLOSE, OrderType.LIMIT_ON_CLOSE})


class Judgement(NamedTuple):
    """What a bar says to an order. ``price`` is what it fills at, None where it does not.

    ``at_open``: the fill is the bar's first price, before anything else of the bar. ``is_triggered`` and ``best_price`` are those of
    the order after the bar.
    """

    price: Decimal | None
    at_open: bool
    is_triggered: bool
    best_price: Decimal | None


def judge(order: PaperOrder, bar: Bar, slippage_bps: Decimal) -> Judgement:
    """What ``bar`` does to a working order of its symbol that is not for the close."""
    kind = order.terms.order_type
    if kind is OrderType.MARKET or kind is OrderType.MARKET_ON_OPEN:
        return Judgement(slipped(bar.open, order.terms.side, slippage_bps), True, False, None)
    found = _RULES[kind](order, bar, slippage_bps)
    if order.terms.time_in_force in AT_ONCE and not found.at_open:
        return Judgement(None, False, order.is_triggered, order.best_price)
    return found


def slipped(price: Decimal, side: Side, slippage_bps: Decimal) -> Decimal:
    """The price worse by the slippage: higher for a buy, lower for a sale."""
    return round_money(price * (1 + side.sign * slippage_bps / _BASIS_POINTS))


def closing_price(order: PaperOrder, close: Decimal, slippage_bps: Decimal) -> Decimal | None:
    """What an order for the close trades at; None where the close is beyond its limit."""
    limit = order.prices.limit_price
    price = slipped(close, order.terms.side, slippage_bps)
    if limit is None:
        return price
    return _within(price, limit, order.terms.side) if _is_within(close, limit, order.terms.side) else None


def _limit(order: PaperOrder, bar: Bar, slippage_bps: Decimal) -> Judgement:
    side, limit = order.terms.side, _known(order.prices.limit_price)
    state = order.is_triggered, order.best_price
    if _is_within(bar.open, limit, side):
        return Judgement(_within(slipped(bar.open, side, slippage_bps), limit, side), True, *state)
    through = bar.low < limit if side is Side.BUY else bar.high > limit
    return Judgement(limit if through else None, False, *state)


def _limit_on_open(order: PaperOrder, bar: Bar, slippage_bps: Decimal) -> Judgement:
    found = _limit(order, bar, slippage_bps)
    return found if found.at_open else Judgement(None, False, False, None)


def _stop(order: PaperOrder, bar: Bar, slippage_bps: Decimal) -> Judgement:
    side, stop = order.terms.side, order.prices.stop_price
    if order.is_triggered or _is_reached(bar.open, _known(stop), side):
        return Judgement(slipped(bar.open, side, slippage_bps), True, True, order.best_price)
    if _is_reached(_far_end(bar, side), _known(stop), side):
        return Judgement(slipped(_known(stop), side, slippage_bps), False, True, order.best_price)
    return Judgement(None, False, False, order.best_price)


def _stop_limit(order: PaperOrder, bar: Bar, slippage_bps: Decimal) -> Judgement:
    side, limit, stop = order.terms.side, _known(order.prices.limit_price), _known(order.prices.stop_price)
    if order.is_triggered or _is_reached(bar.open, stop, side):
        found = _limit(order, bar, slippage_bps)
        return Judgement(found.price, found.at_open, True, None)
    if not _is_reached(_far_end(bar, side), stop, side):
        return Judgement(None, False, False, None)
    price = _within(slipped(stop, side, slippage_bps), limit, side) if _is_within(stop, limit, side) else None
    return Judgement(price, False, True, None)


def _trailing_stop(order: PaperOrder, bar: Bar, slippage_bps: Decimal) -> Judgement:
    side, best = order.terms.side, _known(order.best_price)
    stop = trailing_stop_price(order, best)
    if order.is_triggered or _is_reached(bar.open, stop, side):
        return Judgement(slipped(bar.open, side, slippage_bps), True, True, best)
    # The open is certain to come before the bar's far end; the near end may come after it.
    best = min(best, bar.open) if side is Side.BUY else max(best, bar.open)
    stop = trailing_stop_price(order, best)
    if _is_reached(_far_end(bar, side), stop, side):
        return Judgement(slipped(stop, side, slippage_bps), False, True, best)
    best = min(best, bar.low) if side is Side.BUY else max(best, bar.high)
    stop = trailing_stop_price(order, best)
    if _is_reached(bar.close, stop, side):
        return Judgement(slipped(stop, side, slippage_bps), False, True, best)
    return Judgement(None, False, False, best)


def trailing_stop_price(order: PaperOrder, best: Decimal) -> Decimal:
    """Where a trailing stop stands once the best price was ``best``; may be below zero, and is then never reached."""
    amount, sign = order.prices.trail_amount, order.terms.side.sign
    if amount is not None:
        return best + sign * amount
    return round_money(best * (1 + sign * _known(order.prices.trail_fraction)))


_RULES = {
    OrderType.LIMIT: _limit,
    OrderType.STOP: _stop,
    OrderType.STOP_LIMIT: _stop_limit,
    OrderType.TRAILING_STOP: _trailing_stop,
    OrderType.LIMIT_ON_OPEN: _limit_on_open,
}


def _is_within(price: Decimal, limit: Decimal, side: Side) -> bool:
    """At the limit or better for the trader."""
    return price <= limit if side is Side.BUY else price >= limit


def _within(price: Decimal, limit: Decimal, side: Side) -> Decimal:
    """The price, never worse than the limit."""
    return min(price, limit) if side is Side.BUY else max(price, limit)


def _is_reached(price: Decimal, stop: Decimal, side: Side) -> bool:
    """At the stop or beyond it: where the trader did not want the market to go."""
    return price >= stop if side is Side.BUY else price <= stop


def _far_end(bar: Bar, side: Side) -> Decimal:
    """How far the bar went against a trader who waits to buy (its high) or to sell (its low)."""
    return bar.high if side is Side.BUY else bar.low


def _known(price: Decimal | None) -> Decimal:
    if price is None:
        raise ValueError("an order without the price that its type needs")  # an intent cannot be made so
    return price
