"""A gateway for rehearsals out of settings: which day is played, whose bars, by which clock. It knows no Prefect."""

import dataclasses
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path

import numpy as np

from storage.store import open_store
from trading.bars import BarColumns, from_epoch_us, to_epoch_us
from trading.calendar import TradingCalendar
from trading.clocks.bar_clock import BarClock
from trading.errors import DataNotFit
from trading.feeds.bar_files import FileBars
from trading.feeds.recorded import RecordedFeed
from trading.feeds.synthetic import SyntheticFeed
from trading.ports import BarSource, Feed
from trading.rehearsal_gateway.connected_client import ConnectedClient, Handler
from trading.rehearsal_gateway.gateway_settings import ExecutionTimes, GatewaySettings
from trading.rehearsal_gateway.instruments import Instruments
from trading.rehearsal_gateway.market import DayMarket
from trading.rehearsal_gateway.market_clock import MarketClock
from trading.rehearsal_gateway.market_data import MarketDataDesk
from trading.rehearsal_gateway.message_kinds import Incoming
from trading.rehearsal_gateway.past_bars import PastBars, ReadBars
from trading.rehearsal_gateway.server import RehearsalGateway
from trading.rehearsal_gateway.wire import FieldReader
from trading.rehearsal_gateway.wire_times import IN_UTC, NO_ZONE, WireTimes
from trading.sessions import Mode
from trading.settings import FeedKind, Settings
from trading.trading_hours import TradingHours

STARTS_BEFORE_OPEN = timedelta(minutes=5)
_REMEMBERED = timedelta(days=400)
_MOST_SYMBOLS = 500


@dataclass(frozen=True, slots=True)
class GatewayAsked:
    """What a person asks of a gateway beside the settings. None: what the day, or the bars, suggest.

    ``speed`` None: time moves by command only. ``accounts`` are names and their first cash. ``time_zone`` is a zone's name,
    ``UTC``, ``none`` for times without one, or empty for the exchange's.
    """

    day: date | None = None
    symbols: Sequence[str] | None = None
    speed: float | None = 1.0
    start: time | None = None
    waits_for_client: bool = False
    accounts: Mapping[str, Decimal] = field(default_factory=lambda: {"DU1234567": Decimal(1_000_000)})
    port: int = 0
    control_port: int | None = None
    state: Path | None = None
    faults: Path | None = None
    time_zone: str = ""
    is_paced: bool = True
    ambiguous: Sequence[str] = ()
    without_data: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """A gateway that has not been started yet. ``bars`` says in words where they come from."""

    gateway: RehearsalGateway
    market: DayMarket
    hours: TradingHours
    mode: Mode
    bars: str


def assemble_gateway(settings: Settings, asked: GatewayAsked) -> Rehearsal:
    """Read the bars and put the gateway together; to be called on the event loop that it will live on.

    The database is read and left again, so that the session which is rehearsed can have it. Raises ``ConfigurationError``,
    ``ClosedDay``, ``DataNotFit`` or ``StoreError``.
    """
    source = _source(settings, asked)
    symbols = _symbols(settings, asked, source)
    day = asked.day or _newest_day(settings, source, symbols)
    calendar = TradingCalendar(settings.session.exchange, day)
    hours = calendar.hours(day)
    timeframe = settings.session.timeframe
    clock = BarClock(hours.opens_at)
    feed: Feed
    if source is None:
        feed = SyntheticFeed(settings.feed.synthetic, calendar, timeframe, clock)
    else:
        feed = RecordedFeed(source, timeframe, clock)
    # Raises where the day has no bars.
    feed.stream(symbols, hours, None)

    instruments = Instruments(_on_wire(symbols), ambiguous=_on_wire(asked.ambiguous))
    market_clock = MarketClock(_start(asked, hours), asked.speed)
    market = DayMarket(instruments, PastBars(_reader(feed), timeframe), calendar, hours, market_clock)
    times = WireTimes(hours.zone, asked.time_zone)
    data = MarketDataDesk(market, times, asked.is_paced, _on_wire(asked.without_data))
    gateway = RehearsalGateway(market, _gateway_settings(settings, asked, times), data)
    if asked.waits_for_client:
        _begin_with_first_client(gateway, market, data)
    else:
        market.begin()
    name = source.name if source is not None else f"an invented market (seed {settings.feed.synthetic.seed})"
    return Rehearsal(gateway, market, hours, feed.mode, name)


def _source(settings: Settings, asked: GatewayAsked) -> BarSource | None:
    """Recorded bars; None for an invented market."""
    feed, timeframe = settings.feed, settings.session.timeframe
    if feed.bars is not None:
        return FileBars(feed.bars, timeframe, symbol=feed.symbol, timezone=feed.timezone, timestamp=feed.timestamp)
    if feed.kind is FeedKind.SYNTHETIC or (asked.day is None and feed.kind is not FeedKind.RECORDED):
        return None
    path = settings.store.path
    if not path.exists():
        raise DataNotFit(
            f"There is no database {path} to take recorded bars from. Import some with 'openbell import-bars FILE --symbol "
            "SYMBOL', name a file with --bars, or play an invented market with --feed synthetic."
        )
    with open_store(path, read_only=True) as store:
        stored = store.bars_of(timeframe)
        return _BarsInMemory(stored, asked.symbols, asked.day)


def _symbols(settings: Settings, asked: GatewayAsked, source: BarSource | None) -> tuple[str, ...]:
    if asked.symbols:
        return tuple(asked.symbols)
    symbols = settings.session.symbols if source is None else source.symbols()
    if not symbols or len(symbols) > _MOST_SYMBOLS:
        has = f"{len(symbols)} symbols" if symbols else "no bars at all"
        raise DataNotFit(f"{source.name if source else 'The market'} has {has}. Name those to play with --symbols.")
    return tuple(symbols)


def _newest_day(settings: Settings, source: BarSource | None, symbols: Sequence[str]) -> date:
    if source is None:
        first = settings.feed.synthetic.first_date
        calendar = TradingCalendar(settings.session.exchange, first)
        return first if calendar.is_session(first) else calendar.next_session_date(first)
    span = source.span(symbols[0])
    if span is None:
        known = ", ".join(source.symbols()[:20]) or "none at all"
        raise DataNotFit(
            f"There are no bars of {symbols[0]} in {source.name}, which has {known}. Name another with --symbols."
        )
    calendar = TradingCalendar(settings.session.exchange, span[1].date())
    day = calendar.exchange_date(span[1])
    return day if calendar.is_session(day) else calendar.previous_session_date(day)


def _start(asked: GatewayAsked, hours: TradingHours) -> datetime:
    if asked.start is None:
        return hours.opens_at - STARTS_BEFORE_OPEN
    return datetime.combine(hours.session_date, asked.start, tzinfo=hours.zone).astimezone(hours.opens_at.tzinfo)


def _gateway_settings(settings: Settings, asked: GatewayAsked, times: WireTimes) -> GatewaySettings:
    written = {NO_ZONE: ExecutionTimes.UNZONED, IN_UTC: ExecutionTimes.UTC}.get(times.style, ExecutionTimes.ZONED)
    return GatewaySettings(
        accounts=asked.accounts,
        paper=settings.broker.paper,
        state=asked.state,
        faults=asked.faults,
        port=asked.port,
        control_port=asked.control_port,
        time_zone=times.exchange_zone_name if times.style in (NO_ZONE, IN_UTC) else times.style,
        execution_times=written,
    )


def _reader(feed: Feed) -> ReadBars:
    def read(symbol: str, start: datetime, end: datetime) -> BarColumns:
        return dataclasses.replace(feed.history(symbol.replace(" ", "."), start, end), symbol=symbol)

    return read


def _on_wire(symbols: Sequence[str]) -> tuple[str, ...]:
    """Symbols as Interactive Brokers writes them."""
    return tuple(symbol.replace(".", " ") for symbol in symbols)


def _begin_with_first_client(gateway: RehearsalGateway, market: DayMarket, data: MarketDataDesk) -> None:
    """Time begins when a client is ready for it: it has asked for live data, or sent an order."""
    for kind in (Incoming.reqRealTimeBars, Incoming.reqHistoricalData, Incoming.reqMktData, Incoming.placeOrder):
        gateway.handlers[kind] = _beginning(gateway.handlers[kind], kind is Incoming.placeOrder, market, data)


def _beginning(handler: Handler, always: bool, market: DayMarket, data: MarketDataDesk) -> Handler:
    def handle(client: ConnectedClient, fields: FieldReader) -> Awaitable[None] | None:
        answer = handler(client, fields)
        if always or data.streams_to(client):
            market.begin()
        return answer

    return handle


class _BarsInMemory:
    """The stored bars of some symbols (all where none are named) up to and including ``day``, as a ``BarSource``."""

    def __init__(self, stored: BarSource, symbols: Sequence[str] | None, day: date | None) -> None:
        self.name = stored.name
        known = stored.symbols()
        self._bars: dict[str, BarColumns] = {}
        for symbol in known if symbols is None else [one for one in symbols if one in known]:
            span = stored.span(symbol)
            if span is not None:
                last = span[1] if day is None else datetime.combine(day, time.max, tzinfo=span[1].tzinfo)
                self._bars[symbol] = stored.between(symbol, last - _REMEMBERED, last + timedelta(days=1))

    def symbols(self) -> tuple[str, ...]:
        """All symbols that were read."""
        return tuple(sorted(self._bars))

    def between(self, symbol: str, start: datetime, end: datetime) -> BarColumns:
        """Bars whose open lies in ``[start, end)``, by time."""
        bars = self._bars.get(symbol)
        if bars is None:
            return BarColumns.empty(symbol)
        first, last = np.searchsorted(bars.time, [to_epoch_us(start), to_epoch_us(end)]).tolist()
        return bars.take(slice(first, last))

    def span(self, symbol: str) -> tuple[datetime, datetime] | None:
        """Opens of the first and the last bar of ``symbol``, None where there are none."""
        bars = self._bars.get(symbol)
        if bars is None or not len(bars):
            return None
        return from_epoch_us(bars.time[0]), from_epoch_us(bars.time[-1])
