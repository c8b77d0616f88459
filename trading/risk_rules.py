"""What a pre-trade rule is: it is shown an order with the account as it would be after it, and answers how much it allows.

Rules are small frozen classes with their limits as fields and one pure method. Where they stand: orders by themselves
(``order_rules``), positions and the book (``position_rules``), the market (``market_rules``), what was traded and lost
(``activity_rules``). Only what adds risk is their business: shares that reduce a position are never theirs to refuse (see
``risk_callbacks.pre_trade_check``). They see the account in the worst case, with every open order that makes it worse filled.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from typing import Protocol

from trading.money import ZERO
from trading.orders import Side


@dataclass(frozen=True, slots=True)
class OtherPositions:
    """The book without the order's own symbol, with all open orders of the side that makes it worse filled, in money.

    ``gross`` adds up longs and shorts; ``net_up`` is the signed sum if every open purchase fills, ``net_down`` if every open
    sale does. ``count`` are the symbols held or about to be; ``held`` says whether the order's own is one besides.
    """

    gross: Decimal
    net_up: Decimal
    net_down: Decimal
    count: int
    held: bool


@dataclass(frozen=True, slots=True)
class Activity:
    """What was sent and traded before the order, in session time.

    ``alike`` are the quantities of orders of the same symbol and side within the window; ``traded_last_hour`` and
    ``traded_today`` are money, open orders included; ``trades`` are orders of the session that traded or may still.
    ``day_trades`` are round trips within a day in the sessions that count, positions opened today included. ``turns`` counts how
    often the symbol's orders changed sides, this one included where it does; ``since_last_order`` is how long ago the symbol's last
    order was made, None where there was none.
    """

    orders_last_second: int
    orders_in_session: int
    alike: tuple[int, ...]
    cancels_last_minute: int
    traded_last_hour: Decimal
    traded_today: Decimal
    trades: int
    day_trades: int
    opened_today: bool
    turns: int = 0
    since_last_order: timedelta | None = None


@dataclass(frozen=True, slots=True)
class TailRisk:
    """What the book may lose at a confidence, as positive money: at least (``value_at_risk``), and on average beyond that."""

    value_at_risk: Decimal
    expected_shortfall: Decimal


@dataclass(frozen=True, slots=True)
class RiskView:
    """An order about to be placed, and everything the rules may know about it.

    ``position`` is signed shares; ``working`` are shares of open orders in the order's own direction (positive),
    ``opposing`` those in the other. ``adding`` are the order's shares that open or add to a position (the rest reduces one).
    ``free_cash`` is cash not yet promised to open orders. ``price`` is the bar's close, 0 where none is known, and
    ``previous_price`` the close before it, None where there is none. ``limit_price`` and ``stop_price`` are the order's own.
    ``average_volume``, ``spread_bps`` and ``volatility_fraction`` are None where the feed cannot tell. ``missing_bars`` counts
    bars that did not come right before the decided one. ``halted``, ``entries_closed`` and ``resting`` (the broker is about to be
    away) say why no new risk is taken now, None where it may be; ``late`` says why the session takes none at all, empty where it does. ``tail`` tells the book's risk with so many of the adding shares, None where it is not limited;
    ``tail_at_most`` is more than it can be with all of them, None where that is not known. ``trails_up_to`` is how high a
    trailing stop that buys lets the price rise before it follows; None for other orders.
    """

    symbol: str
    side: Side
    quantity: int
    adding: int
    price: Decimal
    position: int
    working: int
    equity: Decimal
    free_cash: Decimal
    average_volume: Decimal | None
    spread_bps: Decimal | None
    volatility_fraction: Decimal | None
    halted: str | None
    opposing: int
    previous_price: Decimal | None
    limit_price: Decimal | None
    stop_price: Decimal | None
    missing_bars: int
    price_age_seconds: Decimal
    entries_closed: str | None
    session_date: date
    others: OtherPositions
    activity: Activity
    tail: Callable[[int], TailRisk] | None
    tail_at_most: Decimal | None = None
    trails_up_to: Decimal | None = None
    resting: str | None = None
    late: str = ""

    exposed: int = field(init=False)
    """Shares held and promised in the order's direction before it (never negative)."""
    worst_price: Decimal = field(init=False)
    """The highest price that the order allows as things stand: its limit or stop where that is beyond the last price."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "exposed", max(self.position * self.side.sign, 0) + self.working)
        object.__setattr__(
            self, "worst_price", _highest(self.price, self.limit_price, self.stop_price, self.trails_up_to)
        )

    @property
    def opposite_value(self) -> Decimal:
        """What the symbol's position would be worth if the open orders of the other side filled and this one did not."""
        return max(self.opposing - self.position * self.side.sign, 0) * self.price


@dataclass(frozen=True, slots=True)
class Objection:
    """A rule's answer when it does not agree: how many adding shares it allows, what it saw and what its limit is."""

    rule: str
    allowed: int
    reason: str
    observed: Decimal | None = None
    limit_value: Decimal | None = None


class Rule(Protocol):
    """One pre-trade rule."""

    @property
    def name(self) -> str: ...

    def object_to(self, view: RiskView) -> Objection | None:
        """None when all ``view.adding`` shares are within the limit."""
        ...


def _highest(price: Decimal, *others: Decimal | None) -> Decimal:
    """The highest of the prices there are; not a number where one of them is none."""
    for other in others:
        if other is not None:
            price = price if price.is_nan() or (not other.is_nan() and other <= price) else other
    return price


def shares_within(room: Decimal, price: Decimal) -> int:
    """Whole shares that ``room`` of money pays for at ``price``, never negative."""
    return int(room / price) if room > ZERO else 0
