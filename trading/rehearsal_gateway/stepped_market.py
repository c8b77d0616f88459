"""A market whose time moves only by command: for tests that say every bar themselves."""

import asyncio
import zlib
from collections.abc import Awaitable, Iterable
from datetime import datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

from trading.bars import Bar, BarSlice
from trading.rehearsal_gateway.market_port import Instrument, OnSlice
from trading.trading_hours import TradingHours


class SteppedMarket:
    """One session. ``show`` plays bars, ``advance_to`` lets time pass without any."""

    def __init__(self, symbols: Iterable[str], hours: TradingHours, starts_at: datetime) -> None:
        self.symbols = tuple(symbols)
        self.exchange_zone: ZoneInfo = hours.zone
        self._hours = hours
        self._now = starts_at
        self._last: dict[str, Decimal] = {}
        self._on_slice: OnSlice | None = None
        self._is_played = asyncio.Event()
        self._instruments = {
            symbol: Instrument(symbol, zlib.crc32(symbol.encode()) & 0x3FFFFFFF) for symbol in self.symbols
        }

    def now(self) -> datetime:
        return self._now

    async def run(self, on_slice: OnSlice) -> None:
        self._on_slice = on_slice
        self._is_played.set()
        await asyncio.Event().wait()

    async def show(self, bars: Iterable[Bar], length: timedelta = timedelta(minutes=1)) -> None:
        """Trade bars of one moment: time is then their end. Waits until the market is played."""
        shown = {bar.symbol: bar for bar in bars}
        (opened_at,) = {bar.bar_time for bar in shown.values()}
        self._last |= {bar.symbol: bar.close for bar in shown.values()}
        await self._pass(BarSlice(opened_at, shown), length)

    async def advance_to(self, moment: datetime) -> None:
        """Let time pass; never back."""
        await self._pass(BarSlice(moment, {}), timedelta())

    async def _pass(self, moment: BarSlice, length: timedelta) -> None:
        await self._is_played.wait()
        self._now = max(self._now, moment.bar_time + length)
        if self._on_slice is not None:
            told = self._on_slice(moment, length)
            if isinstance(told, Awaitable):
                await told

    def last_price(self, symbol: str) -> Decimal | None:
        return self._last.get(symbol)

    def hours(self, now: datetime) -> TradingHours | None:
        return self._hours if now.astimezone(self._hours.zone).date() == self._hours.session_date else None

    def instrument(self, symbol: str) -> Instrument | None:
        return self._instruments.get(symbol)

    def instrument_of(self, con_id: int) -> Instrument | None:
        return next((one for one in self._instruments.values() if one.con_id == con_id), None)
