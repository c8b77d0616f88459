"""The composition root: turns settings into a session ready to run. It and the rooms beside it know every adapter and no Prefect.

A notebook uses it as the flow does::

    with assemble(Settings(), date(2026, 1, 5)) as desk:
        print(desk.agent.run_session())
"""

import contextlib
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

from storage.door import open_door
from storage.runners import this_runner
from storage.store import Store, open_store
from tasks.broker_composition import account_name, sending_nothing
from tasks.dry_run import begin_dry_run
from tasks.feed_composition import feed_kind, file_source
from tasks.policy_composition import as_it_began, assemble_policy, assemble_shadow, build_policy, under_its_name
from tasks.venue import stored_venue
from trading.appointments import appointed_date
from trading.calendar import TradingCalendar
from trading.clocks.wall_clock import the_wall
from trading.errors import ConfigurationError, DataNotFit, SessionHeld, StoreBusy
from trading.hooks import Observers
from trading.orchestrator_agent import OrchestratorAgent, TradingPorts
from trading.sessions import session_id
from trading.settings import FeedKind, Settings
from trading.trading_hours import TradingHours

_HELD_FOR_SECONDS = 3.0
"""How long a session waits for a database that somebody else has open: a query takes less, a session more."""
_AN_APPOINTMENT_WAITS_SECONDS = 60.0
"""How long one that a schedule made does: nobody is there to start it again, and an import or a replay that writes a month is over by then."""


@dataclass(frozen=True, slots=True)
class Desk:
    """A session ready to run: its agent, its hours and the open store."""

    agent: OrchestratorAgent
    hours: TradingHours
    store: Store


@contextlib.contextmanager
def assemble(
    settings: Settings,
    session_date: date | None,
    observers: Observers | None = None,
    dry_run: bool = False,
    scheduled_at: datetime | None = None,
) -> Iterator[Desk]:
    """Open everything that the session needs and close it afterwards.

    With ``dry_run`` it is a session that sends nothing, on a copy of the ledger (``tasks.dry_run``). ``scheduled_at`` is when a
    schedule wanted it: without a ``session_date`` it is for that day at the exchange, which has to be today (``AppointmentMissed``).

    Raises ``ConfigurationError``, ``ClosedDay``, ``DataNotFit``, ``PolicyNotFit``, ``SessionHeld``, ``BrokerNotReady``, another
    ``RefusedToTrade``, ``StoreError`` or ``BrokerUnavailable`` before anything is traded.
    """
    kind = feed_kind(settings, session_date)
    _require_sense(settings, kind)
    # A schedule's day says nothing about the feed: that is the one of a session without a date.
    appointed = None if session_date is not None or scheduled_at is None else _appointed(settings, scheduled_at)
    settings = under_its_name(settings, None)
    if not settings.policy.is_trained:
        build_policy(settings.policy)
    if session_date is not None:
        TradingCalendar(settings.session.exchange, session_date).hours(session_date)
    source = file_source(settings) if kind is FeedKind.RECORDED else None
    if kind is FeedKind.RECORDED and source is None and not settings.store.path.exists():
        raise DataNotFit(
            f"There is no database {settings.store.path} to take recorded bars from. Import some with 'openbell "
            "import-bars FILE --symbol SYMBOL', name a file with --bars, or trade a synthetic market (--feed synthetic)."
        )
    with contextlib.ExitStack() as stack:
        if dry_run:
            settings = begin_dry_run(settings, account_name(settings, kind), stack)
        patience = _HELD_FOR_SECONDS if scheduled_at is None else _AN_APPOINTMENT_WAITS_SECONDS
        store = _store_to_trade_with(settings.store.path, stack, patience)
        stack.enter_context(open_door(store, settings.store.serve))
        if kind is FeedKind.IB:
            # Whoever trades elsewhere does not wait for what it takes to import.
            from tasks.ib_composition import ib_venue

            venue = ib_venue(settings, session_date, store, stack, appointed)
        else:
            venue = stored_venue(settings, kind, session_date or appointed, store, source, stack)
        settings, hours = venue.settings, venue.hours
        begun = session_id(hours.session_date, venue.account, settings.strategy)
        policy = assemble_policy(as_it_began(settings, store, begun), settings, store)
        shadow = assemble_shadow(settings, store, begun)
        trading = venue.connect_broker()
        ports = TradingPorts(
            calendar=venue.calendar,
            clock=venue.clock,
            wall=the_wall(),
            feed=venue.feed,
            broker=sending_nothing(trading.broker) if dry_run else trading.broker,
            policy=policy,
            ledger=store.ledger,
            market=trading.market,
            runner=this_runner(uuid.uuid4().hex),
            shadow=shadow,
            begins_now=venue.begins_now,
        )
        agent = OrchestratorAgent(settings, venue.account, hours, ports, observers)
        # A session that nobody closed must not hold the database, and its lease, from a thread of its own.
        stack.callback(agent.leave)
        venue.begin(agent)
        yield Desk(agent, hours, store)


def _appointed(settings: Settings, scheduled_at: datetime) -> date:
    return appointed_date(settings.session.exchange, scheduled_at, the_wall().now())


def _require_sense(settings: Settings, kind: FeedKind) -> None:
    """Raises ``ConfigurationError`` for what does not go together."""
    if settings.broker.kind == "ib" and kind is not FeedKind.IB:
        raise ConfigurationError(
            f"An account at Interactive Brokers is not traded on {kind} bars. Take its own with feed ib, or trade those bars on the "
            "simulated account with broker paper; 'openbell gateway' plays a stored day to broker ib."
        )
    if kind is not FeedKind.IB:
        return
    if settings.feed.bars is not None:
        raise ConfigurationError(
            f"The file {settings.feed.bars} would not be read with feed ib. Leave out one of them."
        )
    if settings.session.pace not in ("max", "live"):
        raise ConfigurationError(
            f"session.pace = {settings.session.pace} does not apply with feed ib: the time is the server's. Leave it out."
        )


def _store_to_trade_with(path: Path, stack: contextlib.ExitStack, patience_seconds: float) -> Store:
    """The opened store. Whoever has it open for a moment, or a killed process that is still being cleared away, is waited for.

    Raises ``SessionHeld`` where another process keeps the file.
    """
    asked_until = time.monotonic() + patience_seconds
    while True:
        try:
            return stack.enter_context(open_store(path))
        except StoreBusy as error:
            if time.monotonic() >= asked_until:
                raise SessionHeld(
                    f"Nothing is traded: {error} Two sessions at once need a database and an account each."
                ) from error
        time.sleep(0.1)
