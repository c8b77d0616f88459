"""The way of one bar: collect what the broker did, decide, check risk, route, commit.

There is exactly one way from a decision to an order and this module holds it. A bar is done in three stages, so that
whoever drives the loop (a notebook, a Prefect flow, a replay) can watch each; ``process_new_bar`` is all three.
Everything of a bar is committed in one transaction at its end; intents are committed before, when they are sent.
A bar that died in between is processed again: same decision, same order id, no second order.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from trading.assessment import Assessment
from trading.bars import BarSlice
from trading.bookkeeping import Bookkeeper
from trading.decisions import (
    Action,
    DataFinding,
    Decision,
    EquityPoint,
    Halt,
    PolicyState,
    RiskCheck,
    ShadowDecision,
    Signal,
    Verdict,
)
from trading.errors import BrokerUnavailable, StoppedEarly, StoreError
from trading.hooks import Callback, Happening, HookEvent, Observers, refuse_inside_hook
from trading.live_data_loader import LiveDataLoader
from trading.order_router import OrderRouter
from trading.orders import OpenOrder, OrderEvent, OrderStatus, OrderType
from trading.pnl_tracker import PnLTracker
from trading.policy_settings import PolicySettings
from trading.policy_watch import PolicyWatch
from trading.ports import Ledger, LedgerEntries, Policy, Remembering, SimulatedMarket
from trading.risk_callbacks import MINIMUM_QUANTITY, ApprovedOrder, PreTradeVerdict
from trading.risk_events import RiskEvent, RiskEventHandler, RiskEventKind
from trading.risk_gate import RiskGate
from trading.sessions import SessionRecord
from trading.settings import Settings
from trading.stops import Stop, StopAction, StopStep
from trading.trading_hours import TradingHours

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class DecidedBar:
    """After the first stage: what the policy wants. ``entries`` gathers the bar's facts on its way."""

    moment: BarSlice
    signals: Mapping[str, Signal]
    latency_ms: float
    entries: LedgerEntries


@dataclass(frozen=True, slots=True)
class AssessedBar:
    """After the second stage: what risk lets through."""

    decided: DecidedBar
    approved: tuple[ApprovedOrder, ...]
    cancels: tuple[str, ...]
    checks: tuple[RiskCheck, ...]
    halts: tuple[Halt, ...] = ()


@dataclass(frozen=True, slots=True)
class RoutedBar:
    """After the third stage: what was sent, and what the account is worth."""

    bar_time: datetime
    orders_sent: int
    fills: int
    equity: EquityPoint


@dataclass(frozen=True, slots=True)
class SymbolState:
    """What the loop knows of one symbol."""

    symbol: str
    position: int
    last_price: Decimal | None
    last_bar_time: datetime | None
    last_action: Action | None
    open_orders: tuple[OpenOrder, ...]


class ExecutionLoop:
    """The per-bar path of one session. Owned by one thread; observers are told on another."""

    def __init__(
        self,
        record: SessionRecord,
        hours: TradingHours,
        settings: Settings,
        policy: Policy,
        router: OrderRouter,
        tracker: PnLTracker,
        loader: LiveDataLoader,
        ledger: Ledger,
        observers: Observers,
        market: SimulatedMarket | None = None,
        risk_events: RiskEventHandler | None = None,
        seconds_since: Callable[[datetime], float] | None = None,
        shadow: Policy | None = None,
    ) -> None:
        self.session = record
        self.hours = hours
        self._settings = settings
        self._router = router
        self._tracker = tracker
        self._loader = loader
        self._ledger = ledger
        self._observers = observers
        self._market = market
        self.bar_length: timedelta = settings.session.timeframe.length
        self._unfinished: datetime | None = None
        self._last_action: dict[str, Action] = {}
        self._last_bar: dict[str, datetime] = {}
        self.last_bar_time = record.last_bar_time
        self._started = False
        self.unheard = False
        """Whether the broker did not answer since ledger and broker were compared last."""
        self.risk_events = risk_events if risk_events is not None else RiskEventHandler()
        self.watch = PolicyWatch(policy, settings.policy, record.session_id, self.risk_events)
        # A shadow is heard as it speaks: how far a policy is trusted is about orders, and it has none.
        trusted = PolicySettings(max_age_days=settings.policy.max_age_days)
        self.shadow = None if shadow is None else PolicyWatch(shadow, trusted, record.session_id, RiskEventHandler())
        self._remembering: list[Remembering] = []
        for one in (policy, shadow):
            if isinstance(one, Remembering):
                self._remembering.append(one)
        self.gate = RiskGate(record, hours, settings, router, tracker, self.risk_events, seconds_since)
        self.bookkeeper = Bookkeeper(router, tracker, record, hours, self.bar_length, self.gate.note_fills)
        router.may_place = self.gate.require_approved
        router.may_amend = self.gate.may_amend

    def warm_up(self) -> None:
        """Let the policies take in the warmup, before the open and on nobody's time."""
        for watch in (self.watch, self.shadow):
            if watch is not None:
                watch.warm_up(self._settings.session.symbols, self._loader.window)

    # Observing

    def register_hook(self, event: str, callback: Callback) -> None:
        """Call ``callback`` (plain or coroutine function) with each happening of ``event``; it can only watch.

        Raises ``ValueError`` for an event that does not exist.
        """
        self._observers.register(HookEvent(event), callback)

    def trading_state(self, symbol: str) -> SymbolState:
        """What is known of one symbol at this moment."""
        return SymbolState(
            symbol,
            self._tracker.quantity(symbol),
            self._tracker.price(symbol),
            self._last_bar.get(symbol),
            self._last_action.get(symbol),
            tuple(order for order in self._router.get_open_orders().values() if order.intent.symbol == symbol),
        )

    # Stopping (``trading.risk_callbacks.StopControls``)

    def latch(self, halt: Halt) -> None:
        """Take no new risk within the halt's scope, and commit it. Raises ``HookMayNotTrade`` inside a hook.

        One that cannot be committed (``StoreError``) is obeyed all the same for as long as this process lives.
        """
        refuse_inside_hook("a halt")
        self.gate.take_up_halts([halt])
        self._ledger.commit(self.session.session_id, LedgerEntries(halts=[halt]))

    def cancel_open_orders(self, at: datetime, symbol: str | None = None, spare_exits: bool = False) -> list[str]:
        """Ask for every open order (of ``symbol``) to be cancelled; returns the ids that were not asked for before.

        With ``spare_exits`` market orders stay that only close a position. Raises ``BrokerUnavailable``, after all of them
        were tried, when an ask did not reach the broker, and ``StoreError`` when the cancels could not be written down (they
        were asked for all the same).
        """
        self._router.take_up()
        wanted = [
            order
            for order in self._router.get_open_orders().values()
            if symbol in (None, order.intent.symbol)
            and not (spare_exits and order.intent.order_type is OrderType.MARKET and self.gate.only_exits(order))
        ]
        new = [order.intent.client_order_id for order in wanted if order.status is not OrderStatus.CANCEL_PENDING]
        self.gate.tape.note_cancels(len(new), at)
        asked = [order.intent.client_order_id for order in wanted]
        try:
            self._router.execute(asked, (), at)
        except StoreError:
            # A full disk keeps nobody from taking risk away: what becomes of it is learned from the broker.
            self._router.ask_to_cancel(asked)
            raise
        unasked = sorted(self._router.cancels_not_sent)
        if unasked:
            raise BrokerUnavailable(f"the cancel of {', '.join(unasked)} did not reach the broker")
        return new

    def flatten_positions(self, at: datetime, symbol: str | None = None, leg: str = "flatten") -> list[str]:
        """Send what closes every position (of ``symbol``), from positions and not from orders; returns the ids sent.

        Cancels that the broker has confirmed by now are booked first; an order that may still fill counts as filled,
        so that nothing is closed twice. ``leg`` must be new each time: a repeated flatten may find its earlier orders
        cancelled. After a ``StoreError`` the session goes on only from the ledger.
        """
        refuse_inside_hook("a flatten")
        unfinished, self._unfinished = self._unfinished, self._unfinished or self.last_bar_time or at
        entries = LedgerEntries()
        self._router.take_up()
        try:
            self.book_reports(entries, at)
        except BrokerUnavailable:
            self._unfinished = unfinished
            raise
        self._ask_for_unconfirmed(at, entries.order_events)
        decided_on = self.last_bar_time or at
        approved = []
        for held in self._tracker.held_symbols:
            if symbol not in (None, held):
                continue
            delta = self._router.delta_to(0, held, self._tracker.quantity(held))
            price = self._tracker.price(held)
            if delta.side is None or price is None:
                continue
            intent = self._router.market_intent(held, delta.side, delta.quantity, price, decided_on, at, leg)
            approved.append(ApprovedOrder(intent, PreTradeVerdict(delta.quantity, ())))
            self.gate.tape.note_order(intent)
        entries.order_events += self._router.place_orders(approved)
        self._ledger.commit(self.session.session_id, entries)
        self._unfinished = unfinished
        return [order.intent.client_order_id for order in approved]

    def exposure_at_broker(self, symbol: str | None = None, positions: bool = True) -> list[str]:
        """What the broker still has (of ``symbol``), in words: working orders and, where they count, positions."""
        account = self._router.broker_account()
        orders = [order for order in account.open_orders if symbol in (None, order.symbol)]
        held = [one for one in account.positions if positions and one.quantity and symbol in (None, one.symbol)]
        return [f"order {order.client_order_id or order.broker_order_id} is {order.status}" for order in orders] + [
            f"{position.quantity} {position.symbol} are held" for position in held
        ]

    def record(self, stop: Stop, steps: Sequence[StopStep]) -> None:
        """Commit how a stop stands, and tell of its new steps."""
        self._ledger.commit(self.session.session_id, LedgerEntries(stops=[stop], stop_steps=list(steps)))
        for step in steps:
            alarm = step.action is StopAction.ALARM
            self.risk_events.emit(
                RiskEvent(
                    RiskEventKind.ALARM if alarm else RiskEventKind.EMERGENCY_STOP,
                    self.session.session_id,
                    step.taken_at,
                    f"{step.action}: {step.detail}",
                    facts={"stop_id": stop.stop_id, "scope": stop.scope, "state": stop.state, "number": step.number},
                )
            )

    # The way of a bar

    def start_live_trading_loop(self, after: datetime | None = None, should_stop: Callable[[], bool] = bool) -> int:
        """Trade every bar of the session as it comes; returns how many. Blocks until the close.

        ``after``: the last bar that was fully processed before (a resumed session). ``should_stop`` is asked between
        bars.
        """
        self.announce_start()
        processed = 0
        try:
            for moment, findings in self._loader.live_bars(self._settings.session.symbols, self.hours, after):
                self.process_new_bar(moment, findings)
                processed += 1
                if should_stop():
                    break
        finally:
            self.announce_stop({"bars": processed})
        return processed

    def process_new_bar(self, moment: BarSlice, findings: Iterable[DataFinding] = ()) -> RoutedBar:
        """One bar, all the way: decide -> risk -> route."""
        return self.route(self.assess(self.generate_action(moment, findings)))

    def generate_action(self, moment: BarSlice, findings: Iterable[DataFinding] = ()) -> DecidedBar:
        """Stage one: book what the broker did, value the book at this bar, and ask the policy.

        A policy that raises or stays silent has decided nothing: those symbols hold, and the record says why.
        """
        if self._unfinished is not None:
            raise StoppedEarly(
                f"Bar {self._unfinished.isoformat()} of session {self.session.session_id} was not committed. What the broker "
                "has said since is only in memory; run the session again to go on from the ledger."
            )
        self._unfinished = moment.bar_time
        entries = LedgerEntries(bars=list(moment.bars.values()), findings=list(findings))
        if self._market is not None:
            self._market.see(moment)
        self._router.take_up(moment.bar_time + self.bar_length)
        self._hear_broker(entries, moment.bar_time)
        self._ask_for_unconfirmed(moment.bar_time + self.bar_length, entries.order_events)
        self._tracker.mark({symbol: bar.close for symbol, bar in moment.bars.items()})
        self._loader.cache_data(moment)
        signals, latency_ms = self._signals(moment) if moment.bars else ({}, 0.0)
        if self._observers.wants(HookEvent.ACTION_GENERATED):
            for symbol, signal in signals.items():
                self.announce(HookEvent.ACTION_GENERATED, moment.bar_time, {"symbol": symbol, "signal": signal})
        return DecidedBar(moment, signals, latency_ms, entries)

    def assess(self, decided: DecidedBar) -> AssessedBar:
        """Stage two: turn each decision into an order delta and let risk have its say. Nothing is sent.

        Orders approved for one symbol count against what the next one may use. What has to go before the close, or because
        of a halt, goes whatever was decided.
        """
        bar_time = decided.moment.bar_time
        halts = self.gate.check_losses(bar_time, decided.entries)
        halts += self._halt_after_failures(bar_time, decided.entries)
        assessment = Assessment()
        for symbol, signal in decided.signals.items():
            target = self.gate.assess(signal, symbol, bar_time, self._loader.window, assessment)
            decided.entries.decisions.append(
                Decision(
                    self.session.session_id,
                    bar_time,
                    symbol,
                    signal.action,
                    target,
                    signal.confidence,
                    decided.latency_ms,
                    signal.error,
                    signal.note,
                    signal.target_weight,
                )
            )
            self._last_action[symbol] = signal.action
            self._last_bar[symbol] = bar_time
        self.gate.close_out(bar_time, assessment)
        return AssessedBar(
            decided,
            tuple(assessment.approved),
            tuple(assessment.cancels),
            tuple(assessment.checks),
            tuple(halts),
        )

    def route(self, assessed: AssessedBar) -> RoutedBar:
        """Stage three: save intents, send orders, and commit everything the bar brought in one transaction.

        Never repeated by an orchestrator: what was not confirmed is asked for by id at the next bar.
        """
        decided = assessed.decided
        bar_time = decided.moment.bar_time
        entries = decided.entries
        at = bar_time + self.bar_length
        approved, halted = self.gate.still_approved(assessed.approved, bar_time)
        if assessed.cancels or approved:
            entries.order_events += self._router.execute(assessed.cancels, approved, at)
        self._after_interruption(at, entries.order_events)
        self._stop_what_never_arrives(approved, at, entries)
        self._ask_shadow(decided.moment, entries)
        self._remember(bar_time, entries)
        entries.risk_checks += [*assessed.checks, *halted]
        equity = self._tracker.equity_point(self.session.session_id, bar_time)
        entries.equity.append(equity)
        entries.marks = self._tracker.held_prices()
        self._ledger.commit(self.session.session_id, entries, last_bar_time=bar_time)
        self.last_bar_time = bar_time
        self._unfinished = None
        self.gate.forget_approvals()
        self._tell(assessed, equity)
        return RoutedBar(bar_time, len(approved), len(entries.fills), equity)

    def book_reports(self, entries: LedgerEntries, bar_time: datetime) -> None:
        """Take the broker's news into the book and into ``entries``. Raises ``BrokerUnavailable``."""
        for fill in self.bookkeeper.book_reports(entries, bar_time):
            self.announce(HookEvent.TRADE_EXECUTED, bar_time, {"fill": fill})

    def _hear_broker(self, entries: LedgerEntries, bar_time: datetime) -> None:
        """``book_reports``; after silence no new risk is taken until ledger and broker were compared."""
        try:
            self.book_reports(entries, bar_time)
        except BrokerUnavailable as error:
            _log.warning("no news of the broker session_id=%s error=%s", self.session.session_id, error)
            self.unheard = True
            self.gate.lock_everything(f"the broker did not answer at {bar_time.isoformat()}: {error}")

    def announce(self, event: HookEvent, bar_time: datetime | None, facts: Mapping[str, object]) -> None:
        """Tell the observers of ``event``."""
        self._observers.emit(Happening(event, self.session.session_id, bar_time, facts))

    @property
    def between_bars(self) -> bool:
        """Whether trading has begun and no bar is being processed."""
        return self._started and self._unfinished is None

    def announce_start(self) -> None:
        """Tell the observers, once, that trading begins."""
        if not self._started:
            self._started = True
            self.announce(HookEvent.TRADING_STARTED, None, {"symbols": self._settings.session.symbols})

    def announce_stop(self, facts: Mapping[str, object]) -> None:
        """Tell the observers, once, that trading is over; nothing where it never began."""
        if self._started:
            self._started = False
            self.announce(HookEvent.TRADING_STOPPED, self.last_bar_time, facts)

    def _signals(self, moment: BarSlice) -> tuple[Mapping[str, Signal], float]:
        """What the policy says of each symbol of the slice (a failed one holds and says why), and the milliseconds it took."""
        heard = self.watch.hear(tuple(moment.bars), self._loader.window, self._tracker, moment.bar_time)
        for symbol, signal in heard.signals.items():
            if signal.error is not None:
                self.announce(HookEvent.TRADE_ERROR, moment.bar_time, {"symbol": symbol, "error": signal.error})
        return heard.signals, heard.latency_ms

    def _halt_after_failures(self, bar_time: datetime, entries: LedgerEntries) -> list[Halt]:
        """A policy that keeps failing may only reduce: what it opened may have been wrong too."""
        halt = self.watch.halt_due(self.gate.strategy_scope, bar_time + self.bar_length, self.hours.closes_at)
        return [] if halt is None else self.gate.halt(halt, bar_time, entries)

    def _remember(self, bar_time: datetime, entries: LedgerEntries) -> None:
        """What policies remember goes with the bar's own commit, so that a bar that comes again is decided again alike."""
        for policy in self._remembering:
            entries.policy_states += [
                PolicyState(symbol, policy.fingerprint, bar_time, state) for symbol, state in policy.states().items()
            ]

    def _ask_shadow(self, moment: BarSlice, entries: LedgerEntries) -> None:
        """The shadow's turn comes when the orders are on their way: it holds up none."""
        shadow = self.shadow
        if shadow is None or not moment.bars:
            return
        heard = shadow.hear(tuple(moment.bars), self._loader.window, self._tracker, moment.bar_time)
        entries.shadow_decisions += [
            ShadowDecision(
                self.session.session_id,
                moment.bar_time,
                symbol,
                shadow.policy.fingerprint,
                signal.action,
                signal.target_weight,
                signal.confidence,
                heard.latency_ms,
                signal.error,
                signal.note,
            )
            for symbol, signal in heard.signals.items()
        ]

    def _ask_for_unconfirmed(self, at: datetime, events: list[OrderEvent]) -> None:
        """What became of orders whose sending was not confirmed; a broker that is silent is asked at the next bar."""
        with self._silence_is_no_answer():
            self._router.resolve(at, events)

    def _after_interruption(self, at: datetime, events: list[OrderEvent]) -> None:
        """The first bar after a restart is done: orders that it did not decide again are asked for."""
        with self._silence_is_no_answer():
            self._router.bar_done(at, events)

    @contextmanager
    def _silence_is_no_answer(self) -> Iterator[None]:
        try:
            yield
        except BrokerUnavailable as error:
            _log.warning("unconfirmed orders not asked for session_id=%s error=%s", self.session.session_id, error)

    def _stop_what_never_arrives(self, sent: Iterable[ApprovedOrder], at: datetime, entries: LedgerEntries) -> None:
        """A symbol whose orders keep getting lost is halted for the rest of the session: sending more is guessing."""
        for symbol in {order.intent.symbol for order in sent}:
            lost = self._router.exhausted(symbol)
            if lost is None or self.gate.halted_for(symbol) is not None:
                continue
            halt = Halt(
                f"symbol:{symbol}",
                f"{lost} orders of {symbol} in a row never reached the broker",
                at,
                self.hours.closes_at,
                self.session.session_id,
                "orders_lost",
            )
            entries.halts.append(halt)
            self.gate.take_up_halts([halt])

    def _tell(self, assessed: AssessedBar, equity: EquityPoint) -> None:
        bar_time = assessed.decided.moment.bar_time
        for check in assessed.checks:
            if check.rule == MINIMUM_QUANTITY:
                self.announce(HookEvent.ORDER_TOO_SMALL, bar_time, {"check": check})
            elif check.verdict is Verdict.REFUSED:
                self.announce(HookEvent.TRADE_BLOCKED, bar_time, {"check": check})
        for event in assessed.decided.entries.order_events:
            if event.status in (OrderStatus.REJECTED, OrderStatus.UNKNOWN):
                self.announce(HookEvent.TRADE_ERROR, bar_time, {"order_event": event, "error": event.detail})
        if self._observers.wants(HookEvent.BAR_PROCESSED):
            held = {symbol: self._tracker.quantity(symbol) for symbol in self._tracker.held_symbols}
            pnl = equity.equity - self._tracker.starting_equity
            facts = {
                "equity": equity,
                "session_pnl": pnl,
                "positions": held,
                "portfolio": self._tracker.get_portfolio_state(),
                "halted": self.gate.halted,
            }
            self.announce(HookEvent.BAR_PROCESSED, bar_time, facts)
