"""Quotes made of bars: the last price is the newest close, bid and ask lie one step of prices beside it.

Who has not subscribed is told so and, where delayed data was asked for, sees what was a quarter of an hour ago.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from trading.bars import BarColumns
from trading.rehearsal_gateway.bar_answers import delivered
from trading.rehearsal_gateway.bar_requests import sessions_until
from trading.rehearsal_gateway.connected_client import ConnectedClient, Handler
from trading.rehearsal_gateway.contract_answers import read_description
from trading.rehearsal_gateway.data_permissions import DELAYED, LIVE, DataPermissions
from trading.rehearsal_gateway.data_subscriptions import Subscriptions
from trading.rehearsal_gateway.instruments import Listing
from trading.rehearsal_gateway.live_bars import as_delivered
from trading.rehearsal_gateway.market import DayMarket
from trading.rehearsal_gateway.market_port import DeliveredBar
from trading.rehearsal_gateway.message_kinds import Incoming
from trading.rehearsal_gateway.refusals import Refused, answered
from trading.rehearsal_gateway.wire import FieldReader

DELAY = timedelta(minutes=15)
_SIZE = 100
_BEHIND = timedelta(seconds=5)


@dataclass(frozen=True, slots=True)
class _Ticks:
    """Numbers of ticks on the wire."""

    bid: int
    ask: int
    last: int
    high: int
    low: int
    volume: int
    close: int
    opened: int
    time: int


_LIVE_TICKS = _Ticks(1, 2, 4, 6, 7, 8, 9, 14, 45)
_DELAYED_TICKS = _Ticks(66, 67, 68, 72, 73, 74, 75, 76, 88)


@dataclass(slots=True)
class _Quoted:
    """One subscription and the day so far as it has been told."""

    instrument: Listing
    is_live: bool
    day: date | None = None
    last: float = 0.0
    high: float = 0.0
    low: float = 0.0
    volume: float = 0


class Quotes:
    """Handlers of requests for quotes, and their delivery."""

    def __init__(self, market: DayMarket, permissions: DataPermissions) -> None:
        self._market = market
        self._permissions = permissions
        self._kinds: dict[ConnectedClient, int] = {}
        self.subscriptions: Subscriptions[_Quoted] = Subscriptions()
        self.handlers: Mapping[int, Handler] = {
            Incoming.reqMktData: answered(self._subscribe),
            Incoming.cancelMktData: answered(self._cancel),
            Incoming.reqMarketDataType: self._use_kind,
        }

    def forget(self, client: ConnectedClient) -> None:
        """End what a client has asked for."""
        self.subscriptions.forget(client)
        self._kinds.pop(client, None)

    def _use_kind(self, client: ConnectedClient, fields: FieldReader) -> None:
        self._kinds[client] = fields.integer(LIVE)

    def _subscribe(self, client: ConnectedClient, request_id: int, fields: FieldReader) -> None:
        asked = read_description(fields)
        fields.skip()  # no delta-neutral contract
        generic, is_snapshot = fields.text(), fields.flag()
        instrument = self._market.instruments.the_one(asked)
        if generic:
            raise Refused(321, f"Not modelled by the rehearsal gateway: generic ticks {generic}")
        is_live = self._permissions.has(instrument)
        if not is_live:
            if self._kinds.get(client, LIVE) < DELAYED:
                raise Refused(
                    354, "Requested market data is not subscribed.Displaying delayed market data is available."
                )
            client.error(request_id, 10167, "Requested market data is not subscribed. Displaying delayed market data.")
        quoted = _Quoted(instrument, is_live)
        if not is_snapshot:
            self.subscriptions.add(client, request_id, instrument.symbol, quoted)
        client.send(58, 1, request_id, LIVE if is_live else DELAYED)
        client.send(81, request_id, instrument.min_tick, "9c0001", 3)
        self._tell_day_so_far(client, request_id, quoted)
        if is_snapshot:
            client.send(57, 1, request_id)

    def _cancel(self, client: ConnectedClient, request_id: int, _fields: FieldReader) -> None:
        if not self.subscriptions.end(client, request_id):
            raise Refused(300, f"Can't find EId with tickerId:{request_id}")

    def deliver(self, symbol: str, bars: Sequence[DeliveredBar]) -> None:
        """Tell new quotes of a symbol: of ``bars`` where they are live, else of what was a quarter of an hour ago."""
        for client, request_id, quoted in self.subscriptions.to(symbol):
            for bar in bars if quoted.is_live else self._delayed(symbol):
                _tell(client, request_id, quoted, bar)

    def _delayed(self, symbol: str) -> list[DeliveredBar]:
        until = self._market.known_until - DELAY
        known = self._market.past.known_in_five_seconds(symbol, until - _BEHIND, until, until)
        return [as_delivered(bar) for bar in known]

    def _tell_day_so_far(self, client: ConnectedClient, request_id: int, quoted: _Quoted) -> None:
        market, symbol = self._market, quoted.instrument.symbol
        until = market.known_until - (timedelta() if quoted.is_live else DELAY)
        [earlier, latest] = sessions_until(until, 2, market.calendar)
        today = market.calendar.exchange_date(until)
        ended = earlier if latest.session_date == today else latest
        ticks = _LIVE_TICKS if quoted.is_live else _DELAYED_TICKS
        before = market.past.known(symbol, ended.opens_at, ended.closes_at, until)
        if len(before):
            close = int(before.close[-1]) / 1e6
            client.send(1, 6, request_id, ticks.close, close, 0, 0)
            client.send(1, 6, request_id, ticks.last, close, _SIZE, 0)
        so_far = market.past.known(symbol, latest.opens_at, latest.closes_at, until)
        if latest.session_date == today and len(so_far):
            _tell(client, request_id, quoted, _as_one(so_far))


def _as_one(bars: BarColumns) -> DeliveredBar:
    """The day so far as one bar, as of its newest part."""
    whole = [as_delivered(bar) for bar in bars]
    last = whole[-1]
    high, low = max(bar.high for bar in whole), min(bar.low for bar in whole)
    shares = int(sum(bar.volume for bar in whole))
    return delivered(last.symbol, last.time, whole[0].open, high, low, last.close, shares, last.average)


def _tell(client: ConnectedClient, request_id: int, quoted: _Quoted, bar: DeliveredBar) -> None:
    ticks = _LIVE_TICKS if quoted.is_live else _DELAYED_TICKS
    step = float(quoted.instrument.min_tick)

    def price(tick: int, value: float, size: float = 0) -> None:
        client.send(1, 6, request_id, tick, value, size, 0)

    # Sessions of the exchanges that are played lie within one day of UTC.
    if quoted.day != bar.time.date():
        if quoted.day is not None:
            price(ticks.close, quoted.last)
        quoted.day, quoted.high, quoted.low, quoted.volume = bar.time.date(), -math.inf, math.inf, 0
        price(ticks.opened, bar.open)
    quoted.last = bar.close
    price(ticks.bid, round(bar.close - step, 6), _SIZE)
    price(ticks.ask, round(bar.close + step, 6), _SIZE)
    if bar.volume > 0:
        price(ticks.last, bar.close, bar.volume)
        client.send(46, 6, request_id, ticks.time, int(bar.time.timestamp()) + 5)
    if bar.high > quoted.high:
        quoted.high = bar.high
        price(ticks.high, bar.high)
    if bar.low < quoted.low:
        quoted.low = bar.low
        price(ticks.low, bar.low)
    quoted.volume += bar.volume
    client.send(2, 6, request_id, ticks.volume, quoted.volume)
