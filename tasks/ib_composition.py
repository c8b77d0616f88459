"""Interactive Brokers out of settings: one connection, and what stands on it. Imported only where it is meant.

The rule: a connection that was made is closed, whatever ends the work; one that was not made is a refusal, never a simulation.
"""

import contextlib
import logging
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Literal

from storage.store import Store
from tasks.broker_composition import TradingBroker, account_name, broker_to_trade_with
from tasks.venue import Venue
from trading.appointments import require_time_left, require_today
from trading.calendar import TradingCalendar
from trading.checks import Check
from trading.errors import BrokerNotReady, BrokerUnavailable, ConfigurationError, RefusedToTrade
from trading.interactive_brokers.broker import IbBroker
from trading.interactive_brokers.connection import GatewayConnection
from trading.interactive_brokers.contracts import Contracts
from trading.interactive_brokers.doctor import GATEWAY_SETTINGS, examine
from trading.interactive_brokers.episodes import Alert
from trading.interactive_brokers.feed import IbFeed
from trading.interactive_brokers.gateway_visit import Examined
from trading.interactive_brokers.server_clock import ServerClock
from trading.orchestrator_agent import OrchestratorAgent
from trading.past_bars import PastBars
from trading.risk_events import RiskEvent, RiskEventHandler, RiskEventKind
from trading.sessions import session_id
from trading.settings import FeedKind, Settings
from trading.stop_at_rest import BrokerAtRest

_log = logging.getLogger(__name__)

_PLAYS_ANOTHER_TIME = timedelta(minutes=10)
"""A server whose time is so far from the machine's plays a stored day."""
_RATE_KNOWN_WITHIN_SECONDS = 4.0
_MOST_TOLD = 100


class Alerts:
    """What the connection has to tell people: into the log at once, and as risk events once a session can carry them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: list[Alert] = []
        self._events: RiskEventHandler | None = None
        self._session_id = ""

    def tell(self, alert: Alert) -> None:
        """On the connection's thread. What comes before the session is kept for it."""
        say = _log.info if alert.is_over else _log.warning
        say("broker_line=%s subject=%s over=%s %s", alert.kind, alert.subject, alert.is_over, alert.text)
        with self._lock:
            if self._events is None:
                self._kept = [*self._kept, alert][-_MOST_TOLD:]
            else:
                self._events.emit(self._event(alert))

    def carry(self, events: RiskEventHandler, session_id: str) -> None:
        """From now on alerts are the session's risk events; those that were kept are told first."""
        with self._lock:
            self._events, self._session_id = events, session_id
            kept, self._kept = self._kept, []
            for alert in kept:
                events.emit(self._event(alert))

    def leave(self) -> None:
        """The session is over: nobody hears of what comes now but the log."""
        with self._lock:
            self._events = None

    def _event(self, alert: Alert) -> RiskEvent:
        facts = {"episode": str(alert.kind), "subject": alert.subject, "is_over": alert.is_over}
        return RiskEvent(RiskEventKind.BROKER_LINE, self._session_id, alert.at, alert.text, facts=facts)


@dataclass(frozen=True, slots=True)
class _Line:
    """A connection that is open, and what was put on it before. ``broker`` is None where only bars are wanted."""

    connection: GatewayConnection
    contracts: Contracts
    broker: IbBroker | None
    alerts: Alerts


def ib_venue(
    settings: Settings,
    session_date: date | None,
    store: Store,
    closing: contextlib.ExitStack,
    appointed: date | None = None,
) -> Venue:
    """Today at the server, live: with the account there, or, for the broker paper, with a simulated one.

    Raises ``BrokerNotReady``, ``ConfigurationError`` for another day, ``AppointmentMissed`` where another was ``appointed`` (a server
    that plays a stored day has its own), ``ClosedDay``, and ``SessionOver`` for one that is past its close, unless a session of it has
    to be brought to its end.
    """
    trades = settings.broker.kind == "ib"
    named = account_name(settings, FeedKind.IB) or None
    line = _connected(settings, named, closing, with_broker=trades)
    account = named or line.connection.account
    clock = line.connection.clock
    day = _server_date(line, settings, session_date)
    if appointed is not None and not _plays_another_time(clock):
        require_today(appointed, day, settings.session.exchange)
    calendar = TradingCalendar(settings.session.exchange, day)
    hours = calendar.hours(day)
    found = store.ledger.find_session(session_id(day, account, settings.strategy))
    require_time_left(clock.now(), hours, found is not None and found.last_bar_time is not None)
    acting = settings.model_copy(
        update={
            "session": settings.session.model_copy(update={"pace": _pace(clock)}),
            "feed": settings.feed.model_copy(update={"kind": FeedKind.IB}),
        }
    )
    feed = IbFeed(line.connection, line.contracts, settings.session.timeframe)
    closing.callback(feed.end)
    closing.callback(line.alerts.leave)
    try:
        line.contracts.look_up(settings.session.symbols)
    except BrokerUnavailable as error:
        raise BrokerNotReady(f"{error} Nothing was traded.") from error

    def connect_broker() -> TradingBroker:
        if line.broker is None:
            return broker_to_trade_with(settings, account, hours.opens_at, store.ledger, closing)
        for symbol in settings.session.symbols:
            line.contracts.to_trade(symbol)
        return TradingBroker(line.broker, None)

    def begin(agent: OrchestratorAgent) -> None:
        feed.attend = agent.attend
        line.alerts.carry(agent.risk_events, agent.session_id)

    return Venue(acting, account, calendar, hours, clock, feed, connect_broker, begin, begins_now=True)


def connect_at_rest(settings: Settings, account: str, closing: contextlib.ExitStack) -> BrokerAtRest:
    """The broker of an account that nobody trades at the moment.

    Raises ``BrokerUnavailable``, also where another account is meant by the settings than the ledger's ``account``.
    """
    named = settings.session.account or settings.broker.ib.account
    with contextlib.ExitStack() as until_it_fits:
        try:
            line = _connected(settings, account if account == named else None, until_it_fits, with_broker=True)
        except RefusedToTrade as error:
            raise BrokerUnavailable(str(error)) from error
        connection = line.connection
        if line.broker is None or account not in (named, connection.account):
            raise BrokerUnavailable(
                f"Account {account} of the ledger cannot be asked for: the gateway is connected for {connection.account}. Say with "
                "session.account and broker.ib.account which account of the broker it is."
            )
        closing.push(until_it_fits.pop_all())
        return BrokerAtRest(line.broker, lambda: _closed(settings, connection.clock.now()))


@contextlib.contextmanager
def past_bars_at_ib(settings: Settings) -> Iterator[PastBars]:
    """Past bars of the server, over a line of their own: its client number is the next one, so that a session keeps its.

    Raises ``BrokerNotReady`` or another ``RefusedToTrade`` where there is no line.
    """
    ib = settings.broker.ib.model_copy(update={"client_id": settings.broker.ib.past_bars_client_id})
    apart = settings.model_copy(update={"broker": settings.broker.model_copy(update={"ib": ib})})
    with contextlib.ExitStack() as closing:
        line = _connected(apart, None, closing, with_broker=False)
        feed = IbFeed(line.connection, line.contracts, settings.session.timeframe)
        closing.callback(feed.end)
        yield PastBars("ib", "Interactive Brokers", line.connection.clock.now, feed.history)


def gateway_checks(settings: Settings) -> Iterator[Check]:
    """What is wrong between this machine and the gateway, one check after the other."""
    wanted = Examined(settings.broker.ib, settings.session.symbols, lambda now: _closed(settings, now))
    return examine(wanted)


def gateway_settings_in_words() -> tuple[str, ...]:
    """What a session needs of the gateway's own settings."""
    return GATEWAY_SETTINGS


def _closed(settings: Settings, now: datetime) -> str | None:
    """Why nothing trades now; None where the exchange is open."""
    calendar = TradingCalendar(settings.session.exchange, now.date())
    day = calendar.exchange_date(now)
    if calendar.is_session(day):
        hours = calendar.hours(day)
        if hours.opens_at <= now < hours.closes_at:
            return None
    return f"{settings.session.exchange} is closed; an order that is sent now would trade on another day"


def _connected(settings: Settings, account: str | None, closing: contextlib.ExitStack, with_broker: bool) -> _Line:
    alerts = Alerts()
    connection = GatewayConnection(settings.broker.ib, alerts.tell)
    contracts = Contracts(connection)
    # Made before the line: it takes part in making it.
    broker = IbBroker(connection, contracts, account) if with_broker else None
    closing.callback(connection.close)
    connection.open()
    return _Line(connection, contracts, broker, alerts)


def _server_date(line: _Line, settings: Settings, asked: date | None) -> date:
    """The exchange date of the server's time: the one day that can be traded there."""
    now = line.connection.clock.now()
    today = TradingCalendar(settings.session.exchange, now.date()).exchange_date(now)
    if asked is not None and asked != today:
        raise ConfigurationError(
            f"{asked.isoformat()} cannot be traded at Interactive Brokers: it is {today.isoformat()} there "
            f"({now.isoformat(timespec='seconds')}). Name no date to trade today; to trade a day of the past start "
            f"'openbell gateway --date {asked.isoformat()}' and connect to that."
        )
    return today


def _plays_another_time(clock: ServerClock) -> bool:
    return abs(clock.now() - datetime.now(UTC)) >= _PLAYS_ANOTHER_TIME


def _pace(clock: ServerClock) -> float | Literal["live", "max"]:
    """How fast the server's time goes where it plays another time than the machine's; it is ``live`` everywhere else."""
    if not _plays_another_time(clock):
        return "live"
    # The first few heartbeats tell; until then the clock believes that it goes as the wall does.
    give_up_at = time.monotonic() + _RATE_KNOWN_WITHIN_SECONDS
    while not clock.knows_rate and time.monotonic() < give_up_at:
        time.sleep(0.05)
    if clock.rate <= 0:
        return "max"  # a rehearsal that waits for its first question of bars: how fast it will go is not known
    return clock.rate if clock.rate > 1 else "live"
