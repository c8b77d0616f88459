"""Where the bars of a session come from, on which day, and by which clock."""

from datetime import date, datetime, timedelta

from storage.store import Store
from trading.calendar import TradingCalendar
from trading.clocks.attentive_clock import AttentiveClock
from trading.clocks.bar_clock import BarClock
from trading.clocks.paced_clock import PacedClock
from trading.errors import DataNotFit
from trading.feeds.bar_files import FileBars
from trading.feeds.recorded import RecordedFeed
from trading.feeds.synthetic import SyntheticFeed
from trading.ports import BarSource, Clock, Feed
from trading.sessions import Mode, SessionState, session_id
from trading.settings import FeedKind, Settings
from trading.trading_hours import TradingHours

_ATTENDED_EVERY = timedelta(seconds=0.5)
"""How soon a session notices what an operator asks of it."""


def feed_kind(settings: Settings, session_date: date | None) -> FeedKind:
    """The feed that is meant: the one named, else recorded with a file, the broker's own with one that has bars, recorded with a
    date, else synthetic."""
    if settings.feed.kind is not None:
        return settings.feed.kind
    if settings.broker.kind == "ib" and settings.feed.bars is None:
        return FeedKind.IB
    return FeedKind.RECORDED if session_date is not None or settings.feed.bars is not None else FeedKind.SYNTHETIC


def past_feed(settings: Settings, mode: Mode, hours: TradingHours, bars: BarSource) -> Feed:
    """Where a session that was traded had its bars from, to read them again; ``bars`` are the stored ones.

    The bars of a live session are those that were stored since. Raises ``ConfigurationError`` where its file is not there any more.
    """
    calendar = TradingCalendar(settings.session.exchange, hours.session_date)
    kind = FeedKind.SYNTHETIC if mode is Mode.SYNTHETIC else FeedKind.RECORDED
    source = file_source(settings) if kind is FeedKind.RECORDED else None
    return feed_of(settings, kind, calendar, BarClock(hours.opens_at), bars if source is None else source)


def file_source(settings: Settings) -> BarSource | None:
    """The bars of the file that is named; None where none is. Raises ``ConfigurationError`` where it is not there."""
    feed = settings.feed
    if feed.bars is None:
        return None
    return FileBars(
        feed.bars, settings.session.timeframe, symbol=feed.symbol, timezone=feed.timezone, timestamp=feed.timestamp
    )


def next_date(settings: Settings, kind: FeedKind, account: str, store: Store, bars: BarSource) -> date:
    """The day that is meant when none is named: the invented market goes on, a recording has its newest day."""
    if kind is FeedKind.SYNTHETIC:
        first = settings.feed.synthetic.first_date
        last = _last_date(store, account, settings)
        if last is None:
            calendar = TradingCalendar(settings.session.exchange, first)
            return first if calendar.is_session(first) else calendar.next_session_date(first)
        unfinished = _unfinished(store, account, settings, last)
        return unfinished or TradingCalendar(settings.session.exchange, last).next_session_date(last)
    symbol = settings.session.symbols[0]
    span = bars.span(symbol)
    if span is None:
        known = bars.symbols()
        raise DataNotFit(
            f"There are no bars of {symbol} in {bars.name}, which has {', '.join(known[:20]) or 'none at all'}. "
            "Name another symbol with --symbols, or import its bars with 'openbell import-bars'."
        )
    return _session_date_at(settings, span[1])


def _last_date(store: Store, account: str, settings: Settings) -> date | None:
    """The newest date that the strategy has a session on, or that the account has traded under any strategy."""
    own = store.ledger.last_session_date(account, settings.strategy)
    newest = store.ledger.last_bar_time(account)
    if newest is None:
        return own
    traded = TradingCalendar(settings.session.exchange, newest.date()).exchange_date(newest)
    return traded if own is None else max(own, traded)


def _unfinished(store: Store, account: str, settings: Settings, day: date) -> date | None:
    record = store.ledger.find_session(session_id(day, account, settings.strategy))
    return day if record is not None and record.state is not SessionState.COMPLETED else None


def _session_date_at(settings: Settings, moment: datetime) -> date:
    calendar = TradingCalendar(settings.session.exchange, moment.date())
    day = calendar.exchange_date(moment)
    return day if calendar.is_session(day) else calendar.previous_session_date(day)


def session_clock(settings: Settings, begins_at: datetime, wall: Clock, in_real_time: bool) -> AttentiveClock:
    """The session's time, and somebody to be told while it is waited for: the wall's where it is traded ``in_real_time``, else the
    pace that is set, from ``begins_at`` on: the opening bell, or where the session goes on."""
    clock = wall if in_real_time else _clock(settings, begins_at)
    return AttentiveClock(clock, wall, _looks_up_after(settings), _ATTENDED_EVERY)


def is_in_real_time(settings: Settings, day: date, wall: Clock) -> bool:
    """Whether a recorded or invented day is traded as if it were made now: at pace ``live``, on its own day at the exchange."""
    if settings.session.pace != "live":
        return False
    now = wall.now()
    return TradingCalendar(settings.session.exchange, now.date()).exchange_date(now) == day


def _clock(settings: Settings, begins_at: datetime) -> Clock:
    pace = settings.session.pace
    if pace == "max":
        return BarClock(begins_at)
    return PacedClock(begins_at, 1.0 if pace == "live" else pace)


def _looks_up_after(settings: Settings) -> timedelta | None:
    """Session time between two looks of a waiting session: half a second of the wall, where bars are waited for."""
    pace = settings.session.pace
    if pace == "max":
        return None
    return _ATTENDED_EVERY * (1.0 if pace == "live" else pace)


def feed_of(settings: Settings, kind: FeedKind, calendar: TradingCalendar, clock: Clock, bars: BarSource) -> Feed:
    """The feed of this kind; ``bars`` are those of a recording."""
    timeframe = settings.session.timeframe
    if kind is FeedKind.SYNTHETIC:
        return SyntheticFeed(settings.feed.synthetic, calendar, timeframe, clock)
    return RecordedFeed(bars, timeframe, clock)
