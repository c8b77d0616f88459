"""The composition root: the one file that turns settings into adapters. It knows every adapter and no Prefect.

A notebook uses it as the flow does::

    with assemble(Settings(), date(2026, 1, 5)) as desk:
        print(desk.agent.run_session())
"""

import contextlib
import functools
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path

from storage.door import open_door
from storage.questions import accounts_of
from storage.runners import this_runner
from storage.store import Store, open_store
from tasks.policy_composition import as_it_began, assemble_policy, assemble_shadow, build_policy, under_its_name
from trading.account_at_rest import reconciler_at_rest
from trading.brokers.paper import PaperBroker
from trading.brokers.paper_file import PaperFile
from trading.calendar import TradingCalendar, TradingHours
from trading.clocks.attentive_clock import AttentiveClock
from trading.clocks.bar_clock import BarClock
from trading.clocks.paced_clock import PacedClock
from trading.clocks.wall_clock import WallClock
from trading.errors import (
    BrokerUnavailable,
    ConfigurationError,
    DataNotFit,
    SessionHeld,
    StoreBusy,
    Unreconciled,
)
from trading.feeds.bar_files import FileBars
from trading.feeds.recorded import RecordedFeed
from trading.feeds.synthetic import SyntheticFeed
from trading.hooks import Observers
from trading.orchestrator_agent import OrchestratorAgent, TradingPorts
from trading.ports import BarSource, Clock, Feed
from trading.reconciler import Reconciler
from trading.sessions import Mode, SessionState, session_id
from trading.settings import FeedKind, Settings
from trading.stop_at_rest import StopAtRest
from trading.stops import StopStep

_ATTENDED_EVERY = timedelta(seconds=0.5)
"""How soon a session notices what an operator asks of it."""
_HELD_FOR_SECONDS = 3.0
"""How long a session waits for a database that somebody else has open: a query takes less, a session more."""


@dataclass(frozen=True, slots=True)
class Desk:
    """A session ready to run: its agent, its hours and the open store."""

    agent: OrchestratorAgent
    hours: TradingHours
    store: Store


def feed_kind(settings: Settings, session_date: date | None) -> FeedKind:
    """The feed that is meant: the one named, else recorded with a date or a file, else synthetic."""
    if settings.feed.kind is not None:
        return settings.feed.kind
    return FeedKind.RECORDED if session_date is not None or settings.feed.bars is not None else FeedKind.SYNTHETIC


def account_name(settings: Settings, kind: FeedKind) -> str:
    """The account that is meant: the one named, else one apart for invented prices."""
    return settings.session.account or ("synthetic" if kind is FeedKind.SYNTHETIC else "paper")


def paper_account_path(settings: Settings, account: str) -> Path:
    """The file of the simulated account: the one named, else beside the database."""
    named = settings.broker.paper.path
    if named is not None:
        return named
    store = settings.store.path
    # Only the usual ending gives way: ledgers of other names keep accounts of their own.
    return store.with_name(f"{store.name.removesuffix('.duckdb')}.{account}.sqlite")


@dataclass(frozen=True, slots=True)
class ReconciliationDesk:
    """An account ready to be compared with its broker, outside of any session."""

    reconciler: Reconciler
    account: str
    store: Store


@contextlib.contextmanager
def assemble_reconciliation(settings: Settings, account: str | None, repairs: bool) -> Iterator[ReconciliationDesk]:
    """Open the ledger and the account's broker; without ``repairs`` both only for looking.

    ``account`` is the one named in the settings, or the ledger's only one, where none is given. Makes neither a database
    nor an account. Raises ``ConfigurationError``, ``StoreError`` (``StoreBusy`` while a session trades), ``Unreconciled``
    where there is no account to ask.
    """
    with contextlib.ExitStack() as stack:
        if not settings.store.path.exists():
            raise ConfigurationError(f"There is no database {settings.store.path}. Name another with --db.")
        store = stack.enter_context(open_store(settings.store.path, read_only=not repairs))
        named = account_in(store, account or settings.session.account)
        path = paper_account_path(settings, named)
        if not path.exists():
            raise Unreconciled(
                f"The broker cannot be asked: there is no paper account {path}. That says nothing about what is held. Name "
                "the file with broker.paper.path, or the account with --account."
            )
        file = PaperFile(path, named, read_only=True)
        stack.callback(file.close)
        broker = PaperBroker(named, settings.broker.paper, WallClock().now(), file)
        settle = functools.partial(time.sleep, float(settings.orders.settle_seconds))
        yield ReconciliationDesk(reconciler_at_rest(settings, named, broker, store.ledger, settle), named, store)


@dataclass(frozen=True, slots=True)
class StopDesk:
    """The ledger, held alone, and a way to stop each of its accounts while nobody trades it."""

    store: Store
    settings: Settings

    def controls(
        self, account: str, strategy: str | None, told: Callable[[StopStep], None], closing: contextlib.ExitStack
    ) -> StopAtRest:
        """What stops the account; its broker is connected when it is first needed, and left with ``closing``."""
        settings = self.settings

        def connect() -> PaperBroker:
            path = paper_account_path(settings, account)
            if not path.exists():
                raise BrokerUnavailable(
                    f"The broker cannot be asked: there is no paper account {path}. That says nothing about what works there. "
                    "Name the file with broker.paper.path."
                )
            file = PaperFile(path, account)
            closing.callback(file.close)
            return PaperBroker(account, settings.broker.paper, WallClock().now(), file)

        settle = functools.partial(time.sleep, float(settings.orders.settle_seconds))
        return StopAtRest(settings, account, self.store.ledger, connect, settle, strategy, told)


@contextlib.contextmanager
def assemble_stop(settings: Settings) -> Iterator[StopDesk]:
    """Open the ledger to stop what nobody trades. Makes the database where there is none: a halt stands before the first session.

    Raises ``StoreBusy`` while another process holds it, or another ``StoreError``.
    """
    with open_store(settings.store.path) as store:
        yield StopDesk(store, settings)


def account_in(store: Store, named: str | None) -> str:
    """The account that is meant: the one named, else the only one of the ledger; raises ``ConfigurationError``."""
    known = accounts_of(store)
    if named is None and len(known) == 1:
        return known[0]
    if named in known:
        return named
    there = f"it has {', '.join(known)}" if known else "it has none: no session was traded yet"
    asked = (
        "Several accounts could be meant" if named is None and known else f"There is no account {named or ''}".strip()
    )
    raise ConfigurationError(f"{asked} in the database {store.path}: {there}. Name one with --account.")


@contextlib.contextmanager
def assemble(settings: Settings, session_date: date | None, observers: Observers | None = None) -> Iterator[Desk]:
    """Open everything that the session needs and close it afterwards.

    Raises ``ConfigurationError``, ``ClosedDay``, ``DataNotFit``, ``PolicyNotFit``, ``SessionHeld``, ``StoreError`` or
    ``BrokerUnavailable`` before anything is traded.
    """
    kind = feed_kind(settings, session_date)
    account = account_name(settings, kind)
    settings = under_its_name(settings, None)
    if not settings.policy.is_trained:
        build_policy(settings.policy)
    if session_date is not None:
        TradingCalendar(settings.session.exchange, session_date).hours(session_date)
    source = _file_source(settings) if kind is FeedKind.RECORDED else None
    if kind is FeedKind.RECORDED and source is None and not settings.store.path.exists():
        raise DataNotFit(
            f"There is no database {settings.store.path} to take recorded bars from. Import some with 'openbell "
            "import-bars FILE --symbol SYMBOL', name a file with --bars, or trade a synthetic market (--feed synthetic)."
        )
    with contextlib.ExitStack() as stack:
        store = _store_to_trade_with(settings.store.path, stack)
        stack.enter_context(open_door(store, settings.store.serve))
        bars = source if source is not None else store.bars_of(settings.session.timeframe)
        day = session_date or _next_date(settings, kind, account, store, bars)
        calendar = TradingCalendar(settings.session.exchange, day)
        hours = calendar.hours(day)
        begun = session_id(day, account, settings.strategy)
        policy = assemble_policy(as_it_began(settings, store, begun), settings, store)
        shadow = assemble_shadow(settings, store, begun)
        wall = WallClock()
        clock = AttentiveClock(_clock(settings, hours.opens_at), wall, _looks_up_after(settings), _ATTENDED_EVERY)
        feed = _feed(settings, kind, calendar, clock, bars)
        # Raises now what it would raise at the first bar, before an account is made for nothing.
        feed.stream(settings.session.symbols, hours, None)
        file = PaperFile(paper_account_path(settings, account), account)
        stack.callback(file.close)
        broker = PaperBroker(account, settings.broker.paper, hours.opens_at, file)
        if broker.has_traded and store.ledger.opening_cash(account) is None:
            raise Unreconciled(
                f"The paper account {file.path} has traded before, and {settings.store.path} knows nothing of it: it belongs "
                "to another database. Move the file away to start a new account, or name another with broker.paper.path "
                "or --account."
            )
        runner = this_runner(uuid.uuid4().hex)
        ports = TradingPorts(calendar, clock, wall, feed, broker, policy, store.ledger, broker, runner, shadow)
        agent = OrchestratorAgent(settings, account, hours, ports, observers)
        # A session that nobody closed must not hold the database, and its lease, from a thread of its own.
        stack.callback(agent.leave)
        clock.attend = agent.attend
        yield Desk(agent, hours, store)


def _store_to_trade_with(path: Path, stack: contextlib.ExitStack) -> Store:
    """The opened store. A reader, or a killed process that is still being cleared away, is waited for a little.

    Raises ``SessionHeld`` where another process keeps the file.
    """
    asked_until = time.monotonic() + _HELD_FOR_SECONDS
    while True:
        try:
            return stack.enter_context(open_store(path))
        except StoreBusy as error:
            if time.monotonic() >= asked_until:
                raise SessionHeld(
                    f"Nothing is traded: {error} Two sessions at once need a database and an account each."
                ) from error
        time.sleep(0.1)


def past_feed(settings: Settings, mode: Mode, hours: TradingHours, bars: BarSource) -> Feed:
    """Where a session that was traded had its bars from, to read them again; ``bars`` are the stored ones.

    The bars of a live session are those that were stored since. Raises ``ConfigurationError`` where its file is not there any more.
    """
    calendar = TradingCalendar(settings.session.exchange, hours.session_date)
    kind = FeedKind.SYNTHETIC if mode is Mode.SYNTHETIC else FeedKind.RECORDED
    source = _file_source(settings) if kind is FeedKind.RECORDED else None
    return _feed(settings, kind, calendar, BarClock(hours.opens_at), bars if source is None else source)


def _file_source(settings: Settings) -> BarSource | None:
    feed = settings.feed
    if feed.bars is None:
        return None
    return FileBars(
        feed.bars, settings.session.timeframe, symbol=feed.symbol, timezone=feed.timezone, timestamp=feed.timestamp
    )


def _next_date(settings: Settings, kind: FeedKind, account: str, store: Store, bars: BarSource) -> date:
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
            f"{bars.name} has no bars of {symbol}; it has {', '.join(known[:20]) or 'none at all'}. "
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


def _clock(settings: Settings, opens_at: datetime) -> Clock:
    pace = settings.session.pace
    if pace == "max":
        return BarClock(opens_at)
    return PacedClock(opens_at, 1.0 if pace == "live" else pace)


def _looks_up_after(settings: Settings) -> timedelta | None:
    """Session time between two looks of a waiting session: half a second of the wall, where bars are waited for."""
    pace = settings.session.pace
    if pace == "max":
        return None
    return _ATTENDED_EVERY * (1.0 if pace == "live" else pace)


def _feed(settings: Settings, kind: FeedKind, calendar: TradingCalendar, clock: Clock, bars: BarSource) -> Feed:
    timeframe = settings.session.timeframe
    if kind is FeedKind.SYNTHETIC:
        return SyntheticFeed(settings.feed.synthetic, calendar, timeframe, clock)
    return RecordedFeed(bars, timeframe, clock)
