"""Executions as round trips: from flat to flat, or to the other side."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from trading.money import ZERO, round_money
from trading.orders import Execution, Side


@dataclass(frozen=True, slots=True)
class RoundTrip:
    """A position from its first share to its last. ``side`` is BUY for a long one.

    ``invested`` is what its opening executions were worth, ``pnl`` what all of it made net of commissions, in units of the currency.
    """

    symbol: str
    side: Side
    opened_at: datetime
    closed_at: datetime
    shares: int
    invested: Decimal
    pnl: Decimal

    @property
    def made_money(self) -> bool:
        """Whether anything is left after costs."""
        return self.pnl > 0


@dataclass(slots=True)
class _Going:
    """A round trip that is not over; ``cash`` is what it has brought in so far (negative: taken)."""

    side: Side
    opened_at: datetime
    held: int = 0
    shares: int = 0
    invested: Decimal = ZERO
    cash: Decimal = ZERO


def round_trips(fills: Iterable[Execution]) -> list[RoundTrip]:
    """The round trips that are over, in the order in which they ended; what is still held is none.

    An execution that flips a position ends one trip and begins another; its commission is split by shares, as the book does.
    """
    going: dict[str, _Going] = {}
    over = []
    for fill in fills:
        trip = going.get(fill.symbol)
        commission = fill.commission or ZERO
        closing = min(fill.quantity, abs(trip.held)) if trip is not None and trip.side is not fill.side else 0
        opening = fill.quantity - closing
        paid_to_close = commission if not opening else round_money(commission * closing / fill.quantity)
        if trip is not None and closing:
            trip.held -= closing
            trip.cash -= fill.side.sign * closing * fill.price + paid_to_close
            if not trip.held:
                over.append(
                    RoundTrip(
                        fill.symbol, trip.side, trip.opened_at, fill.executed_at, trip.shares, trip.invested, trip.cash
                    )
                )
                del going[fill.symbol]
        if opening:
            trip = going.setdefault(fill.symbol, _Going(fill.side, fill.executed_at))
            trip.held += opening
            trip.shares += opening
            trip.invested += opening * fill.price
            trip.cash -= fill.side.sign * opening * fill.price + commission - paid_to_close
    return over
