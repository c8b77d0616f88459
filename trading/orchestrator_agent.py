"""The facade: builds the five parts from settings and ports, and runs a whole session by delegating to them.

A notebook trades a session with it alone; the Prefect flow drives the same steps, one task each. The order of the
steps is the order of ``run_session``.
"""

import contextlib
import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from trading.appointments import LateStart, Punctuality
from trading.assessment import Assessment
from trading.bar_validation import BarsRefused
from trading.bars import BarColumns, BarSlice
from trading.calendar import TradingCalendar
from trading.decisions import Action, DataFinding, Halt
from trading.differences import Discrepancy, DiscrepancyKind, Reconciliation
from trading.errors import (
    AlreadyTraded,
    BrokerUnavailable,
    DataNotFit,
    Halted,
    LeaseLost,
    RefusedToTrade,
    StoppedEarly,
    StoreError,
    Unreconciled,
)
from trading.execution_loop import AssessedBar, DecidedBar, ExecutionLoop, RoutedBar
from trading.hooks import Callback, HookEvent, Observers, session_observers
from trading.lease_keeper import LeaseKeeper
from trading.leases import Runner
from trading.live_data_loader import LiveDataLoader
from trading.opening_cash import cash_before_trades
from trading.operator_desk import OperatorDesk
from trading.operator_requests import OperatorRequest
from trading.order_router import OrderDelta, OrderRouter, OrderScope
from trading.order_views import tails_look_back
from trading.orders import OpenOrder, OrderEvent, OrderStatus, Side
from trading.pnl_tracker import PnLTracker, PortfolioState, ProfitAndLoss
from trading.policy_settings import PolicyChoice
from trading.ports import Broker, Clock, Feed, Ledger, LedgerEntries, Policy, Remembering, SimulatedMarket, Unwaiting
from trading.reconciler import Reconciler
from trading.reconciliation_answer import answer_reconcile_request
from trading.risk_callbacks import ApprovedOrder, StopReport
from trading.risk_events import RiskEventKind, session_risk_events
from trading.risk_settings import RiskSettings
from trading.risk_takeup import changed_limits, take_up_risk
from trading.sessions import SessionRecord, SessionState, SessionSummary, session_id
from trading.settings import Settings
from trading.trading_hours import TradingHours

_log = logging.getLogger(__name__)

_STOPS_WITHIN = timedelta(seconds=10)
"""How long a session that is being ended may take to stop: Prefect kills it after half a minute."""
_LOOKED_AGAIN_AFTER = timedelta(seconds=0.5)


@dataclass(frozen=True, slots=True)
class TradingPorts:
    """Everything outside that a session talks to, ready for use. ``clock`` is the session's time, ``wall`` the person's.

    ``runner`` is who trades, for the session's lease; without one the session is not guarded against a second runner in
    the same process. ``shadow`` is a policy that decides beside the first and never trades. ``begins_now``: the market waits for
    nobody, so that a session which comes late begins with the newest bar that is over, and what was before is its warmup.
    """

    calendar: TradingCalendar
    clock: Clock
    wall: Clock
    feed: Feed
    broker: Broker
    policy: Policy
    ledger: Ledger
    market: SimulatedMarket | None = None
    runner: Runner | None = None
    shadow: Policy | None = None
    begins_now: bool = False


class OrchestratorAgent:
    """One session of one strategy in one account. Made for one session, used by one thread."""

    def __init__(
        self,
        settings: Settings,
        account: str,
        hours: TradingHours,
        ports: TradingPorts,
        observers: Observers | None = None,
    ) -> None:
        self.settings = settings
        self.hours = hours
        self._ports = ports
        self._account = account
        self._observers = observers if observers is not None else session_observers()
        self.session_id = session_id(hours.session_date, account, settings.strategy)
        self.pnl_tracker = PnLTracker(settings.book.cost_basis)
        self.live_data_loader = LiveDataLoader(
            ports.feed, ports.calendar, settings.session.timeframe, settings.validation
        )
        scope = OrderScope(self.session_id, settings.strategy, account, hours.session_date)
        self._lease = LeaseKeeper(ports.ledger, ports.wall)
        self.order_router = OrderRouter(
            scope,
            settings.sizing,
            settings.orders,
            ports.broker,
            self._save,
            ports.ledger.find_orders,
            self._settle,
            self._lease.require,
        )
        self.risk_events = session_risk_events()
        self._compared_at: datetime | None = None
        self._connections = ports.broker.connections
        self._warmup: dict[str, BarColumns] = {}
        self._begins_at: datetime | None = None
        self._begun_late = False
        self._record: SessionRecord | None = None
        self._loop: ExecutionLoop | None = None
        self._operator_desk: OperatorDesk | None = None

    # The session, step by step

    def run_session(self, should_stop: Callable[[], bool] = bool) -> SessionSummary:
        """Trade the whole session: every step in its order. Blocks until the close.

        Raises ``RefusedToTrade`` (nothing was sent) or ``StoppedEarly``; a session that was completed before is not
        traded again, its summary is returned. ``should_stop`` is asked between bars.
        """
        if self.open_session().state is SessionState.COMPLETED:
            return self.summary()
        try:
            self.load_warmup_or_refuse()
            self.validate_data()
            self.reconcile_or_refuse()
            for moment, findings in self.live_bars():
                self.reconcile_if_due(moment.bar_time)
                self.process_new_bar(moment, findings)
                if should_stop():
                    raise StoppedEarly(f"Session {self.session_id} was stopped on request.")
            self.end_of_session()
            self.reconcile("close")
        except BaseException as error:
            self.abandon_session(error, str(error))
            raise
        try:
            return self.close_session(SessionState.COMPLETED)
        finally:
            self._lease.give_back()

    def open_session(self) -> SessionRecord:
        """Bring the book up from the ledger and write the session down as running, or take it up where it stopped.

        A COMPLETED record comes back as it is and nothing else is done. Raises ``AlreadyTraded`` when the day was
        traded with another policy or symbols, or would rewrite what the account did later; ``Halted`` while a halt
        covers the session.
        """
        ledger = self._ports.ledger
        found = ledger.find_session(self.session_id)
        # What never had a bar binds nothing: whoever mends the settings starts anew.
        if found is not None and found.last_bar_time is not None:
            self._require_same_session(found)
            if found.state is SessionState.COMPLETED:
                self._record = found
                return found
        resumed = found if found is not None and found.last_bar_time is not None else None
        if self._ports.runner is not None:
            self._lease.take(self.session_id, self._ports.runner)
        try:
            return self._open(resumed, found)
        except (
            BaseException
        ):  # whatever ended it, also an interrupt: nobody should wait for a session that is not traded
            self._lease.give_back()
            raise

    def _open(self, resumed: SessionRecord | None, found: SessionRecord | None) -> SessionRecord:
        ledger, settings = self._ports.ledger, self.settings
        day = resumed if resumed is not None else self._begun_before(found)
        self._load_book(resumed, day)
        self._require_chronology(resumed)
        late = self.require_welcome(resumed)
        self._record = record = self._running(resumed, late)
        self._loop = loop = ExecutionLoop(
            record,
            self.hours,
            settings,
            self._ports.policy,
            self.order_router,
            self.pnl_tracker,
            self.live_data_loader,
            ledger,
            self._observers,
            self._ports.market,
            self.risk_events,
            self._seconds_since,
            self._ports.shadow,
        )
        if resumed is not None:
            self._take_up_policies(loop)
        take_up_risk(loop.gate, self.pnl_tracker, ledger, self._ports.calendar, settings, record, self.hours)
        self._operator_desk = OperatorDesk(self, loop, self._ports, self._account)
        self.operator_desk.obey_before_start(partial(self.standing_halts, resumed))
        ledger.open_session(record)
        if self._ports.market is not None:
            self._ports.market.begin_session(resumed is not None)
        self.operator_desk.take_up_stops()
        self.reconciler = Reconciler(
            self._account,
            self._ports.broker,
            ledger,
            self.pnl_tracker,
            self.order_router,
            loop.bookkeeper,
            settings,
            self.session_id,
            self._settle,
        )
        if late is not None:
            self._begun_late = True
            self._tell_late(late)
        return record

    def require_welcome(self, resumed: SessionRecord | None = None) -> LateStart | None:
        """How late the session would begin now; None where it is on time, or waits for nobody's bell. Raises ``TooLate``.

        One that goes on (``resumed``) began when it began.
        """
        if not self._ports.begins_now or resumed is not None:
            return None
        return self._require_welcome(timedelta(seconds=self._seconds_since(self.hours.opens_at)))

    def _require_welcome(self, since_bell: timedelta) -> LateStart | None:
        late = Punctuality.of(self.settings.session).judge(since_bell, self.hours)
        if late is not None:
            late.require_welcome(self.session_id)
        return late

    def _tell_late(self, late: LateStart) -> None:
        follows = (
            "it opens and adds nothing, and exits pass" if late.only_reduces else "it trades from the newest bar on"
        )
        message = f"session {self.session_id} is late: {late.reason}; {follows}"
        _log.warning("%s", message)
        self.loop.gate.tell(
            RiskEventKind.LATE_START, self.session_time, message, policy=str(late.policy), minutes=late.minutes
        )

    def _judge_first_bar(self, moment: BarSlice) -> None:
        """The first bar comes late where the machine slept through the bell, or its clock was set: then the session begins late too."""
        record = self._record
        if not self._ports.begins_now or self.loop.last_bar_time is not None or record is None or record.only_reduces:
            return
        ends_at = min(moment.bar_time + self.settings.session.timeframe.length, self.hours.closes_at)
        if (
            self._begun_late
            or timedelta(seconds=self._seconds_since(ends_at)) <= Punctuality.of(self.settings.session).allowed
        ):
            return
        late = self._require_welcome(timedelta(seconds=self._seconds_since(self.hours.opens_at)))
        if late is None:
            return
        if late.only_reduces:
            self._record = replace(record, only_reduces=late.only_reduces)
            self._ports.ledger.open_session(self._record)
            self.loop.gate.only_reduce(late.only_reduces)
        self._begun_late = True
        self._tell_late(late)

    def _take_up_policies(self, loop: ExecutionLoop) -> None:
        """What policies remember, and how often they failed, goes on where the session stopped."""
        ledger = self._ports.ledger
        loop.watch.take_up(ledger.decisions_of(self.session_id))
        for policy in (self._ports.policy, self._ports.shadow):
            if isinstance(policy, Remembering):
                kept = ledger.policy_states(self.session_id, policy.fingerprint)
                policy.take_up_states({state.symbol: state.state for state in kept})

    def standing_halts(self, resumed: SessionRecord | None = None) -> list[Halt]:
        """Halts that cover the session or one of its symbols. Raises ``Halted`` when one keeps it from starting.

        A session that is taken up again goes on under its halts, because it may hold positions to reduce.
        """
        session = self.settings.session
        at = self.hours.opens_at if resumed is None else resumed.last_bar_time or self.hours.opens_at
        halts = self._ports.ledger.active_halts(self._account, self.settings.strategy, session.symbols, at)
        general = next((halt for halt in halts if not halt.scope.startswith("symbol:")), None)
        if general is not None and resumed is None:
            raise Halted(
                f"Session {self.session_id} does not start: a halt of {general.scope} stands ({general.reason}). Clear it "
                f"with 'openbell resume --scope {general.scope}' once its reason is gone."
            )
        return halts

    def load_warmup_data(self) -> dict[str, BarColumns]:
        """Read the bars that the policy needs before its first decision, from this session's past."""
        self._begins_at = self._first_bar
        self._warmup = self.live_data_loader.load_warmup_data(
            self.settings.session.symbols, self._look_back, self.hours, self._begins_at
        )
        return self._warmup

    def load_warmup_or_refuse(self, load: Callable[[], object] | None = None) -> None:
        """The warmup, loaded by ``load`` where it is retried from outside. Raises ``DataNotFit`` where nobody tells its bars."""
        try:
            (load or self.load_warmup_data)()
        except BrokerUnavailable as error:
            raise DataNotFit(
                f"Session {self.session_id} is not traded: the bars before it were not told ({error}). Start it again once the "
                "broker answers; 'openbell doctor' looks closer."
            ) from error

    def validate_data(self) -> list[DataFinding]:
        """Judge the warmup, record what is wrong with it, and fill the window with what is fit.

        Raises ``DataNotFit`` when a finding is set to refuse; what was found is recorded either way.
        """
        try:
            until = self._begins_at or self._now
            _, findings = self.live_data_loader.validate_data(self._warmup, self._look_back, self.hours, until)
        except BarsRefused as refused:
            self._ports.ledger.commit(self.session_id, LedgerEntries(findings=list(refused.findings)))
            raise
        if findings:
            self._ports.ledger.commit(self.session_id, LedgerEntries(findings=findings))
        self.loop.gate.bars_kept = self.live_data_loader.bars_kept
        self.loop.warm_up()
        return findings

    def reconcile(self, stage: str) -> list[Discrepancy]:
        """Take the broker's news in, compare ledger and broker, repair what follows from the broker's own records.

        ``stage`` is open, scheduled, reconnect or close. Symbols whose position cannot be explained are locked until
        it can; what else is left is recorded. Returns what was found. Raises ``BrokerUnavailable`` when the broker does
        not answer (silence is never "flat"; no new risk is taken until it has), ``Unreconciled`` at the open when not one
        symbol of the session may be traded, or the book is not what its fills make it.
        """
        done = self._reconcile(stage)
        if stage == "open":
            self._require_something_to_trade(done)
        return list(done.discrepancies)

    def reconcile_or_refuse(self, reconcile: Callable[[], object] | None = None) -> None:
        """The comparison at the open, done by ``reconcile`` where it is retried from outside.

        Raises ``Unreconciled`` where the broker does not answer: nobody knows what the account holds.
        """
        try:
            (reconcile or partial(self.reconcile, "open"))()
        except BrokerUnavailable as error:
            _log.error("session_id=%s not reconciled at its open: %s", self.session_id, error)
            raise Unreconciled(
                f"Session {self.session_id} is not traded: the broker of account {self._account} did not answer, and silence is "
                f"never flat ({error}). Start it again once the broker answers; 'openbell reconcile --account "
                f"{self._account}' tells whether it does."
            ) from error

    def _reconcile(self, stage: str, claim: Collection[str] = ()) -> Reconciliation:
        gate = self.loop.gate
        connections = self._ports.broker.connections
        try:
            at = self._now
            # News comes once: it is committed before the broker is asked anything that it may not answer.
            self._book_news(at)
            self._resolve(at)
            self._book_news(at)
            done = self.reconciler.reconcile(stage, at, claim)
        except BrokerUnavailable as error:
            self.loop.unheard = True
            gate.lock_everything(f"the broker did not answer the comparison at {self._now.isoformat()}: {error}")
            raise
        gate.lock({lock.symbol: lock.reason for lock in self.reconciler.locks()})
        self._compared_at, self._connections = self._now, connections
        self.loop.unheard = False
        self.loop.announce(HookEvent.RECONCILED, self.loop.last_bar_time, {"reconciliation": done})
        return done

    def reconciliation_due(self, bar_time: datetime) -> str | None:
        """The stage of the comparison that is due before the bar of ``bar_time`` is decided; None where none is."""
        if self.loop.unheard or self._ports.broker.connections != self._connections:
            return "reconnect"
        every = self.settings.reconciliation.every_minutes
        if every is None or self._compared_at is None:
            return None
        return "scheduled" if bar_time - self._compared_at >= timedelta(minutes=every) else None

    def reconcile_if_due(self, bar_time: datetime) -> None:
        """Do what ``reconciliation_due`` says; a broker that is silent is asked again before the next bar."""
        stage = self.reconciliation_due(bar_time)
        if stage is None:
            return
        try:
            self.reconcile(stage)
        except BrokerUnavailable as error:
            _log.warning("not reconciled session_id=%s stage=%s error=%s", self.session_id, stage, error)

    def _require_something_to_trade(self, done: Reconciliation) -> None:
        locked = {lock.symbol for lock in self.reconciler.locks()}
        broken = [found for found in done.remaining if found.kind is DiscrepancyKind.BOOK]
        if not broken and not locked.issuperset(self.settings.session.symbols):
            return
        first = next((found for found in done.remaining if found in broken or found.symbol in locked), None)
        said = (
            ""
            if first is None
            else f"; first: {first.kind} {first.subject}: ledger {first.ours}, broker {first.brokers}; {first.proposed_repair}"
        )
        raise Unreconciled(
            f"Ledger and broker of account {self._account} disagree in {len(done.remaining)} point(s){said}. Nothing is "
            f"traded until they agree: look with 'openbell reconcile --account {self._account}'. All points: "
            f"openbell sql \"select * from discrepancies where session_id = '{self.session_id}'\"."
        )

    def attend(self) -> None:
        """Between two bars: hear what an operator asks for, and catch up with a broker that was away.

        Nothing before the session's first bar or while one is being processed.
        """
        if self._loop is None or not self._loop.between_bars:
            return
        if self._ports.broker.connections != self._connections:
            self.reconcile_if_due(self._now)
        self.operator_desk.attend()

    def reconcile_for(self, request: OperatorRequest) -> Mapping[str, Any]:
        """What a person is answered who asks the session to reconcile."""

        def reconcile(claim: tuple[str, ...]) -> Reconciliation:
            return self._reconcile("manual", claim)

        return answer_reconcile_request(request, self.reconciler, self._now, reconcile)

    def live_bars(self) -> Iterator[tuple[BarSlice, list[DataFinding]]]:
        """The session's bars as they come, validated; those processed before a restart are not repeated.

        A finding that refuses to go on is recorded. Raises ``StoppedEarly`` for it in mid-session, ``BarsRefused``
        while nothing was traded.
        """
        self.loop.announce_start()
        try:
            for moment, findings in self.live_data_loader.live_bars(
                self.settings.session.symbols, self.hours, self._decided_until
            ):
                self._judge_first_bar(moment)
                yield moment, findings
        except BarsRefused as refused:
            self._ports.ledger.commit(self.session_id, LedgerEntries(findings=list(refused.findings)))
            if self.loop.last_bar_time is None:
                raise
            raise StoppedEarly(str(refused)) from refused

    def process_new_bar(self, moment: BarSlice, findings: Sequence[DataFinding] = ()) -> RoutedBar:
        """One bar, all the way: decide -> risk -> route."""
        return self.route(self.assess(self.generate_action(moment, findings)))

    def generate_action(self, moment: BarSlice, findings: Sequence[DataFinding] = ()) -> DecidedBar:
        """Stage one of a bar (see ``ExecutionLoop.generate_action``)."""
        return self.loop.generate_action(moment, findings)

    def assess(self, decided: DecidedBar) -> AssessedBar:
        """Stage two of a bar (see ``ExecutionLoop.assess``)."""
        assessed = self.loop.assess(decided)
        self.operator_desk.before_commit(assessed.halts, decided.entries)
        return assessed

    def route(self, assessed: AssessedBar) -> RoutedBar:
        """Stage three of a bar (see ``ExecutionLoop.route``); a stop that is on its way goes on after it."""
        routed = self.loop.route(assessed)
        self.operator_desk.after_bar()
        return routed

    def end_of_session(self) -> None:
        """The bell: a simulated market closes, and what it still had to say is booked."""
        if self._ports.market is not None:
            self._ports.market.end_of_session(self.hours.closes_at)
        missing = self.live_data_loader.missing_at_close(self.settings.session.symbols, self.hours)
        entries = LedgerEntries(findings=missing)
        self.loop.book_reports(entries, self.hours.closes_at)
        if self.loop.last_bar_time is not None:
            entries.risk_checks += self.loop.gate.left_open(self.loop.last_bar_time)
        if entries:
            self._ports.ledger.commit(self.session_id, entries)
        self.operator_desk.give_up(self.hours.closes_at, "the session is over")

    def close_session(self, state: SessionState, reason: str = "") -> SessionSummary:
        """Write the session's end and let the observers finish; returns what it came to."""
        self._ports.ledger.close_session(self.session_id, state, self._ports.wall.now(), reason)
        self._lease.give_back()
        account = self.pnl_tracker.get_portfolio_state()
        self.loop.announce_stop(
            {"state": state, "reason": reason, "portfolio": account, "halted": self.loop.gate.halted}
        )
        self._leave_observers()
        return self.summary()

    def abandon_session(self, error: BaseException, reason: str) -> None:
        """Write down that the session ended with ``error`` and why, as well as that can be done.

        A ledger that cannot be written keeps the session as RUNNING; starting it again goes on where it stopped.
        """
        nothing_traded = self.loop.last_bar_time is None
        refused = isinstance(error, RefusedToTrade) and nothing_traded
        state = SessionState.REFUSED if refused else SessionState.STOPPED
        try:
            self.close_session(state, reason or type(error).__name__)
        except (StoreError, LeaseLost):
            _log.exception("session end not recorded session_id=%s", self.session_id)
        finally:
            self._lease.give_back()

    def leave(self) -> None:
        """Give the lease back and let the observers finish, however the session ended; a second time does nothing."""
        self._lease.give_back()
        self._leave_observers()

    def _leave_observers(self) -> None:
        self._observers.close()
        self.risk_events.close()

    def summary(self) -> SessionSummary:
        """What the session came to, from the ledger alone."""
        return self._ports.ledger.summary(self.session_id)

    # The five parts, by delegation

    @property
    def loop(self) -> ExecutionLoop:
        """The execution loop; there once the session is open."""
        if self._loop is None:
            raise RuntimeError("open_session() comes before everything else")
        return self._loop

    @property
    def operator_desk(self) -> OperatorDesk:
        """Who answers operators and stops the session; there once the session is open."""
        if self._operator_desk is None:
            raise RuntimeError("open_session() comes before everything else")
        return self._operator_desk

    def register_hook(self, event: str, callback: Callback) -> None:
        """Observe ``event``; allowed before and after the session is opened."""
        self._observers.register(HookEvent(event), callback)

    def start_live_trading_loop(self, should_stop: Callable[[], bool] = bool) -> int:
        """Trade the session's bars (see ``ExecutionLoop.start_live_trading_loop``)."""
        return self.loop.start_live_trading_loop(self.loop.last_bar_time, should_stop)

    def calculate_shares_and_action(self, action: Action, symbol: str) -> OrderDelta:
        """The order that ``action`` would ask for now; sends nothing."""
        return self.order_router.calculate_shares_and_action(
            action, symbol, self.pnl_tracker.quantity(symbol), lambda: self.calculate_position_size(symbol)
        )

    def calculate_position_size(self, symbol: str) -> int:
        """Whole shares of a new position now; raises ``CannotSize``."""
        return self.loop.gate.position_size(symbol, self.live_data_loader.window)

    def place_order(self, approved: ApprovedOrder) -> list[OrderEvent]:
        """Save the intent and send it (see ``OrderRouter.place_order``)."""
        return self._committed(self.order_router.place_order(approved))

    def cancel_order(self, client_order_id: str) -> list[OrderEvent]:
        """Ask for an open order to be cancelled."""
        return self._committed(self.order_router.cancel_order(client_order_id, self._now))

    def get_open_orders(self) -> dict[str, OpenOrder]:
        """Orders that may still fill, by client_order_id."""
        return self.order_router.get_open_orders()

    def get_portfolio_state(self) -> PortfolioState:
        """The account at this moment."""
        return self.pnl_tracker.get_portfolio_state()

    def calculate_pnl(self) -> ProfitAndLoss:
        """Realized and unrealized P&L and fees of the account."""
        return self.pnl_tracker.calculate_pnl()

    def synchronize_portfolio_state_with_broker(self) -> list[Discrepancy]:
        """Compare the book with the broker's now; changes nothing."""
        return self.pnl_tracker.synchronize_portfolio_state_with_broker(self.order_router.broker_account())

    def approve(self, symbol: str, side: Side, quantity: int) -> Assessment:
        """What risk makes of one order on the newest bar (see ``RiskGate.approve``): what it approves can be placed."""
        return self.loop.gate.approve(
            symbol, side, quantity, self._now - self.loop.bar_length, self.live_data_loader.window
        )

    def emergency_stop(self, reason: str, flatten: bool = False, scope: str = "all") -> StopReport:
        """Halt ``scope``, cancel its orders, optionally close its positions; until the broker shows it, over the next bars.

        Returns how it stands after the first pass (see ``emergency_stop.EmergencyStop``).
        """
        return self.operator_desk.stop(scope, reason, flatten, "code").report

    def stop_for_good(self, reason: str, flatten: bool) -> StopReport:
        """Stop the account when the session is about to end, with what can be done until then; the halt outlives it."""
        wall = self._ports.wall
        # From here on: where the broker is silent the first pass alone may take longer.
        give_up_at = wall.now() + _STOPS_WITHIN
        stopping = self.operator_desk.stop(f"account:{self._account}", reason, flatten, "a person")
        while stopping.stop.ended_at is None and wall.now() < give_up_at:
            wall.wait_until(wall.now() + _LOOKED_AGAIN_AFTER)
            stopping.advance(self.session_time)
        self.operator_desk.give_up(self.session_time, "the session was ended")
        if self.loop.between_bars:
            with contextlib.suppress(BrokerUnavailable):  # what it did not say now it says when the session goes on
                self._book_news(self._now)
        return stopping.report

    # Inside

    def _seconds_since(self, moment: datetime) -> float:
        clock = self._ports.clock
        return clock.seconds_since(moment) if isinstance(clock, Unwaiting) else (clock.now() - moment).total_seconds()

    @property
    def session_time(self) -> datetime:
        """The session's clock, never before what was done last."""
        return max(self._ports.clock.now(), self._now)

    @property
    def _now(self) -> datetime:
        """The session's time: never before its open, and at a bar's end once bars were processed."""
        last = self.loop.last_bar_time
        if last is None:
            return self.hours.opens_at
        return min(last + self.settings.session.timeframe.length, self.hours.closes_at)

    @property
    def _first_bar(self) -> datetime:
        """The open of the first bar that is decided on."""
        if not self._ports.begins_now:
            return self._now
        length, opens_at = self.settings.session.timeframe.length, self.hours.opens_at
        over = (min(self._ports.clock.now(), self.hours.closes_at) - opens_at) // length
        return max(self._now, opens_at + (over - 1) * length)

    @property
    def _decided_until(self) -> datetime | None:
        """The last bar that is not decided on any more; None where none is past."""
        last = self.loop.last_bar_time
        if self._begins_at is None or self._begins_at <= self.hours.opens_at:
            return last
        before = self._begins_at - self.settings.session.timeframe.length
        return before if last is None else max(last, before)

    @property
    def _look_back(self) -> int:
        limits = self.settings.risk if self._loop is None else self._loop.gate.limits
        beside = () if self._ports.shadow is None else (self._ports.shadow,)
        return bars_looked_back_on(self.settings, limits, (self._ports.policy, *beside))

    def _save(self, entries: LedgerEntries) -> None:
        self._ports.ledger.commit(self.session_id, entries)

    def _settle(self) -> None:
        """Wait as long as an order can still turn up at the broker. A simulated one has it or has not."""
        if self._ports.market is None:
            wall = self._ports.wall
            wall.wait_until(wall.now() + timedelta(seconds=float(self.settings.orders.settle_seconds)))

    def _book_news(self, at: datetime) -> None:
        entries = LedgerEntries()
        self.loop.book_reports(entries, at)
        if entries:
            self._ports.ledger.commit(self.session_id, entries)

    def _resolve(self, at: datetime) -> None:
        events: list[OrderEvent] = []
        try:
            self.order_router.resolve(at, events)
        finally:
            self._committed(events)

    def _committed(self, events: list[OrderEvent]) -> list[OrderEvent]:
        if events:
            self._ports.ledger.commit(self.session_id, LedgerEntries(order_events=events))
        return events

    def _decided_again(self, resumed: SessionRecord | None) -> Callable[[OpenOrder], bool]:
        """Whether an interrupted bar that comes again has decided this order, or its cancel."""
        length = self.settings.session.timeframe.length
        last = None if resumed is None else resumed.last_bar_time

        def again(order: OpenOrder) -> bool:
            if order.intent.session_id == self.session_id and (last is None or order.intent.bar_time > last):
                return True
            asked = order.cancel_asked_at
            if order.status is not OrderStatus.CANCEL_PENDING or asked is None:
                return False
            return asked > (self.hours.opens_at if last is None else last + length)

        return again

    def _begun_before(self, found: SessionRecord | None) -> SessionRecord | None:
        """The record of a session that stopped before its first bar, as long as nobody has traded in its day since.

        It may have fills already, of orders that earlier days left working: what the day began with was before them.
        """
        last = self._ports.ledger.last_bar_time(self._account)
        return found if last is None or last < self.hours.opens_at else None

    def _load_book(self, resumed: SessionRecord | None, day: SessionRecord | None) -> None:
        ledger = self._ports.ledger
        cash = ledger.opening_cash(self._account)
        if cash is None:
            cash = cash_before_trades(self._ports.broker)
        fills = ledger.fills(self._account)
        self.pnl_tracker.initialize_portfolio_state(
            cash, fills, ledger.last_prices(self._account), ledger.high_water_mark(self._account)
        )
        # Orders of earlier sessions fill today too, and another session of the account may have traded today.
        hours = self.hours
        todays = [fill for fill in fills if hours.opens_at <= fill.execution.executed_at <= hours.closes_at]
        marks = ledger.marks_before(self._account, hours.session_date)
        if day is not None:
            self.pnl_tracker.resume_day(day.starting_equity, day.starting_realized_pnl, todays, marks)
        elif todays:
            self.pnl_tracker.rebase_day(todays, marks)
        self.order_router.recover(ledger.open_orders(self._account), self._decided_again(resumed))

    def _running(self, resumed: SessionRecord | None, late: LateStart | None) -> SessionRecord:
        if resumed is not None:
            return replace(resumed, state=SessionState.RUNNING)
        return SessionRecord(
            self.session_id,
            self.settings.strategy,
            self._account,
            self.hours.session_date,
            self._ports.feed.mode,
            SessionState.RUNNING,
            self._ports.wall.now(),
            self.settings.model_dump_json(),
            self._ports.policy.fingerprint,
            self.pnl_tracker.starting_equity,
            self.pnl_tracker.starting_realized,
            only_reduces="" if late is None else late.only_reduces,
        )

    def _require_same_session(self, found: SessionRecord) -> None:
        before = Settings.model_validate_json(found.settings)
        comparable = [_what_decides(settings) for settings in (before, self.settings)]
        # Limits may have been changed while it ran, and the file be as it was at any time of that.
        made = self._ports.ledger.limit_changes(self.session_id)
        if any(changed_limits(before.risk, made[:count]) == self.settings.risk for count in range(len(made) + 1)):
            comparable[1]["risk"] = comparable[0]["risk"]
        changed = [name for name in comparable[0] if comparable[0][name] != comparable[1][name]]
        if found.policy_fingerprint != self._ports.policy.fingerprint:
            changed.append("policy")
        if found.mode != self._ports.feed.mode:
            changed.append("feed")
        changed = list(dict.fromkeys(changed))
        if changed:
            raise AlreadyTraded(
                f"Session {self.session_id} was traded before with other {' and '.join(changed)} "
                f"(policy {found.policy_fingerprint} on {', '.join(before.session.symbols)}). A day is traded once: "
                "name another strategy (--strategy) or account (--account), or use another database (--db)."
            )

    def _require_chronology(self, resumed: SessionRecord | None) -> None:
        """An account with anything open goes forward in time.

        A position that was opened later cannot be valued on an earlier day, and a session that stopped is not taken
        up once the account has gone on without it.
        """
        # What the account did before this session began is no news to it, whenever in the day that was.
        last = self._ports.ledger.last_bar_time(self._account, resumed)
        held = self.pnl_tracker.held_symbols
        if resumed is not None:
            in_its_past = last is not None and resumed.last_bar_time is not None and last > resumed.last_bar_time
        else:
            open_still = bool(held) or bool(self.order_router.get_open_orders())
            in_its_past = last is not None and last >= self.hours.opens_at and open_still
        if not in_its_past or last is None:
            return
        holding = f" and holds {', '.join(held)}" if held else ""
        raise AlreadyTraded(
            f"Account {self._account} has traded up to {self.hours.local(last).date().isoformat()}{holding}; a session "
            f"on {self.hours.session_date.isoformat()} would trade in its past. Name another account (--account) or "
            "use another database (--db)."
        )


def bars_looked_back_on(settings: Settings, limits: RiskSettings, policies: Iterable[Policy]) -> int:
    """How many bars a session's decisions, sizes and risk look back on, the longest of them."""
    return max(
        *(policy.warmup_bars for policy in policies),
        settings.sizing.atr_bars + 1,
        limits.participation_bars,
        tails_look_back(limits),
    )


def _what_decides(settings: Settings) -> dict[str, object]:
    """The settings that a session is bound to once it has traded, by section: all but pace, punctuality, display and places.

    Which feed was meant is told by the session's mode, which policy by its fingerprint.
    """
    document = settings.model_dump(
        exclude={
            "session": {"pace", "granularity", "strategy", "account", "late_policy", "late_after_minutes"},
            "feed": {"kind"},
            "policy": set(PolicyChoice.model_fields) | {"shadow"},
            "store": True,
            "train": True,
            "promotion": True,
            "alerts": True,
            # How the broker is reached; whose account it is says the session's own.
            "broker": {"paper": {"path"}, "ib": True},
        }
    )
    return {**document.pop("session"), **document}
