"""What the gateway needs of a market: its time, its bars, its instruments, and who answers requests for data."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Protocol
from zoneinfo import ZoneInfo

from trading.bars import BarSlice
from trading.rehearsal_gateway.connected_client import ConnectedClient, Handler
from trading.trading_hours import TradingHours

OnSlice = Callable[[BarSlice, timedelta], Awaitable[None] | None]
"""Told the bars of one moment and how long they are, when they are over."""


@dataclass(frozen=True, slots=True)
class Instrument:
    """A share as contracts name it."""

    symbol: str
    con_id: int
    primary_exchange: str = "NYSE"
    currency: str = "USD"
    sec_type: str = "STK"
    min_tick: Decimal = Decimal("0.01")

    @property
    def trading_class(self) -> str:
        """TWS names the class of a share after the share."""
        return self.symbol


@dataclass(frozen=True, slots=True)
class DeliveredBar:
    """A bar on its way to a client, as numbers of the wire: faults may make nonsense of it. ``time`` is its open, aware UTC."""

    symbol: str
    time: datetime
    open: float
    high: float
    low: float
    close: float
    volume: float
    average: float
    count: int


BarFaults = Callable[[DeliveredBar, str], Sequence[DeliveredBar]]
"""What is delivered in place of a live bar: itself as a rule; nothing, something else or more where a fault is at work. The text names
the stream: all bars of five seconds are one, each request that keeps bars up to date has its own."""


class Market(Protocol):
    """Time and prices. ``run`` plays; everything else answers about the present moment."""

    @property
    def symbols(self) -> tuple[str, ...]:
        """All symbols that can be traded."""
        ...

    @property
    def exchange_zone(self) -> ZoneInfo:
        """The zone of the exchange's wall clock."""
        ...

    def now(self) -> datetime:
        """The market's time, aware UTC, never going back."""
        ...

    async def run(self, on_slice: OnSlice) -> None:
        """Play until the end. ``on_slice`` is awaited for every moment of the session when its bars are over, also where it
        has none (an empty slice), before the bars are delivered to clients. Cancelled to stop."""
        ...

    def last_price(self, symbol: str) -> Decimal | None:
        """The newest price, None before the first bar that is known."""
        ...

    def hours(self, now: datetime) -> TradingHours | None:
        """The session of the exchange date of ``now``; None where there is none."""
        ...

    def instrument(self, symbol: str) -> Instrument | None:
        """The instrument under this symbol, None where there is none."""
        ...

    def instrument_of(self, con_id: int) -> Instrument | None:
        """The instrument under this contract id, None where there is none."""
        ...


class MarketData(Protocol):
    """Who answers requests for data and delivers live bars (a market that has both may be one object)."""

    @property
    def handlers(self) -> Mapping[int, Handler]:
        """By the number of the incoming message: who answers it."""
        ...

    def use_faults(self, faults: BarFaults) -> None:
        """From now on each live bar (5 seconds, or kept up to date) goes to clients as ``faults`` says."""
        ...

    def forget(self, client: ConnectedClient) -> None:
        """End all subscriptions of a client: it has gone, or its data was lost (1101)."""
        ...
