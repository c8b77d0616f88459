"""What a session meets outside: its day, its time, its bars and who executes; recorded and invented markets here, others by the same values."""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date

from storage.store import Store
from tasks.broker_composition import TradingBroker, account_name, broker_to_trade_with
from tasks.feed_composition import feed_of, is_in_real_time, next_date, session_clock
from trading.appointments import require_time_left
from trading.calendar import TradingCalendar
from trading.clocks.wall_clock import the_wall
from trading.orchestrator_agent import OrchestratorAgent
from trading.ports import BarSource, Clock, Feed
from trading.sessions import session_id
from trading.settings import FeedKind, Settings
from trading.trading_hours import TradingHours


@dataclass(frozen=True, slots=True)
class Venue:
    """Where one session trades. ``settings`` are those it is traded with; ``account`` is what the ledger calls the account.

    ``connect_broker`` is called once, when all else is known to be fit. ``begin`` is told of the agent once that is made.
    ``begins_now``: its market waits for nobody (``TradingPorts``).
    """

    settings: Settings
    account: str
    calendar: TradingCalendar
    hours: TradingHours
    clock: Clock
    feed: Feed
    connect_broker: Callable[[], TradingBroker]
    begin: Callable[[OrchestratorAgent], None]
    begins_now: bool = False


def stored_venue(
    settings: Settings,
    kind: FeedKind,
    session_date: date | None,
    store: Store,
    source: BarSource | None,
    closing: contextlib.ExitStack,
) -> Venue:
    """A day of a recording (``source``, else the stored bars) or of an invented market, with a simulated account.

    Today at pace ``live`` it follows the wall, as a live market does: the bell is waited for, and who comes late has missed what was.
    Raises ``ClosedDay``, ``SessionOver``, ``DataNotFit`` or ``ConfigurationError``.
    """
    account = account_name(settings, kind)
    bars = source if source is not None else store.bars_of(settings.session.timeframe)
    day = session_date or next_date(settings, kind, account, store, bars)
    calendar = TradingCalendar(settings.session.exchange, day)
    hours = calendar.hours(day)
    wall = the_wall()
    in_real_time = is_in_real_time(settings, day, wall)
    found = store.ledger.find_session(session_id(day, account, settings.strategy))
    last_bar = found.last_bar_time if found is not None else None
    if in_real_time:
        require_time_left(wall.now(), hours, last_bar is not None)
    # One that goes on at a pace does not wait again for as long as it has traded.
    is_paced = settings.session.pace != "max"
    begins_at = hours.opens_at if last_bar is None or not is_paced else last_bar + settings.session.timeframe.length
    clock = session_clock(settings, begins_at, wall, in_real_time)
    feed = feed_of(settings, kind, calendar, clock, bars)
    # Raises now what it would raise at the first bar, before an account is made for nothing.
    feed.stream(settings.session.symbols, hours, None)

    def connect_broker() -> TradingBroker:
        return broker_to_trade_with(settings, account, hours.opens_at, store.ledger, closing)

    def begin(agent: OrchestratorAgent) -> None:
        clock.attend = agent.attend

    return Venue(settings, account, calendar, hours, clock, feed, connect_broker, begin, begins_now=in_real_time)
