"""Between a decision and an order: what the decision asks for, and what risk lets through.

The gate gathers what the rules need to know, keeps the halts that stand, watches losses and the end of the day, and turns a
decision into an approved order or into reasons. Live bars and replays pass through the same one.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal

from trading.bars import MISSING, Column, to_epoch_us
from trading.calendar import TradingHours
from trading.closing_steps import ClosingStep, ClosingSteps
from trading.decisions import Action, Halt, RiskCheck, Verdict
from trading.errors import NotApproved
from trading.exposures import Exposures
from trading.halt_latches import HaltLatches
from trading.loss_watch import SYMBOL_LOSS, UNTOLD_LOSS, LossWatch, Trip
from trading.money import ZERO, from_micros, to_micros
from trading.order_router import OrderDelta, OrderRouter
from trading.order_tape import OrderTape
from trading.orders import Fill, OpenOrder, OrderIntent, OrderStatus, OrderType, Side
from trading.pnl_tracker import PnLTracker
from trading.ports import LedgerEntries, MarketWindow
from trading.risk_callbacks import (
    ApprovedOrder,
    PreTradeVerdict,
    ThrottleLimits,
    pre_trade_check,
    risk_checks_of,
)
from trading.risk_events import RiskEvent, RiskEventHandler, RiskEventKind
from trading.risk_rules import RiskView, TailRisk
from trading.risk_settings import RiskSettings
from trading.rule_book import rules_from
from trading.sessions import SessionRecord
from trading.settings import Settings
from trading.sizing import CannotSize, SizingBasis, average_true_range
from trading.value_at_risk import TailScenarios

FLATTEN_RULE = "flatten_before_close"
WITHDRAWN_RULE = "entries_withdrawn"
_CLOSING_TYPES = (OrderType.MARKET, OrderType.MARKET_ON_CLOSE)
_MICROSECOND = timedelta(microseconds=1)


@dataclass(slots=True)
class Assessment:
    """What one bar's decisions came to so far: approved orders, reasons, and cash that the former will take.

    ``ordered`` is the money that they trade; ``exposures`` is the book with them, once somebody asked.
    """

    approved: list[ApprovedOrder] = field(default_factory=list)
    cancels: list[str] = field(default_factory=list)
    checks: list[RiskCheck] = field(default_factory=list)
    reserved_cash: Decimal = ZERO
    ordered: Decimal = ZERO
    exposures: Exposures | None = None


class RiskGate:
    """The gate of one session. Owned by the thread that trades.

    ``now`` is the session's clock, which says how old a decided bar is; None where bars are as old as they are.
    """

    def __init__(
        self,
        record: SessionRecord,
        hours: TradingHours,
        settings: Settings,
        router: OrderRouter,
        tracker: PnLTracker,
        events: RiskEventHandler,
        now: Callable[[], datetime] | None = None,
    ) -> None:
        self._record = record
        self._hours = hours
        self._settings = settings
        self._router = router
        self._tracker = tracker
        self._events = events
        self._now = now
        self._paper = settings.broker.paper
        self._atr_bars = settings.sizing.atr_bars
        self.bar_length = settings.session.timeframe.length
        self._bar_microseconds = self.bar_length // _MICROSECOND
        self._account_scope = f"account:{record.account}"
        self._approved: dict[str, int] = {}
        self._traded_symbols: set[str] = set()
        self._symbol_floors: list[tuple[str, int, Decimal]] = []
        self._step_told = ClosingStep.OPEN
        self.latches = HaltLatches()
        self.tape = OrderTape()
        self.bars_kept = 0
        """How many bars the session's window has room for; set by who knows it."""
        self.closing = ClosingSteps.of(settings.closing, hours, self.bar_length)
        self._set_limits(settings.risk)
        self.watch = LossWatch(settings.risk, self.bar_length)
        self.begin_day(tracker.starting_equity, tracker.starting_equity, tracker.high_water_mark)

    # Limits

    @property
    def limits(self) -> RiskSettings:
        """The limits in force."""
        return self._risk

    def cannot_look_back(self, risk: RiskSettings) -> str:
        """Why the session keeps too few bars for these limits; empty where it keeps enough."""
        needed = tails_look_back(risk)
        if needed <= self.bars_kept:
            return ""
        return (
            f"Value-at-risk and expected shortfall over {risk.value_at_risk_bars} bars need {needed} bars, and the session keeps "
            f"{self.bars_kept}: set them before it starts, or value_at_risk_bars to at most {max(self.bars_kept - 1, 0)}."
        )

    def change_limits(self, risk: RiskSettings) -> None:
        """Ask these limits from now on. What has tripped stays tripped."""
        self._set_limits(risk)
        self.watch.change_limits(risk)
        self._set_symbol_floors()

    def _set_limits(self, risk: RiskSettings) -> None:
        self._risk = risk
        self._rules = rules_from(self._settings, risk)
        self._throttle = ThrottleLimits.of(risk)
        self.tape.duplicate_window = timedelta(seconds=risk.duplicate_window_seconds)
        self._entries_from = self._hours.opens_at + timedelta(minutes=risk.no_entry_first_minutes)
        self._entries_until = self._hours.closes_at - timedelta(minutes=risk.no_entry_last_minutes)
        self._tails = (
            TailScenarios(risk.value_at_risk_bars, risk.value_at_risk_confidence, risk.value_at_risk_horizon_bars)
            if tails_look_back(risk)
            else None
        )

    # Halts and locks

    def take_up_halts(self, halts: Iterable[Halt]) -> None:
        """Obey these halts from now on."""
        self.latches.take_up(halts)
        self._latch_watch()

    def clear_halts(self, scope: str, at: datetime) -> int:
        """Obey halts of exactly this scope no more; how many there were."""
        cleared = self.latches.clear(scope)
        self._resumed(cleared, at, "cleared")
        return len(cleared)

    @property
    def halted(self) -> str | None:
        """Why no new risk is taken anywhere; None while trading is free."""
        return self.latches.halted

    def halted_for(self, symbol: str) -> str | None:
        """Why no new risk is taken in this symbol; None while it is free."""
        return self.latches.halted_for(symbol)

    def lock(self, reasons: Mapping[str, str]) -> None:
        """From now on take no new risk in exactly these symbols, besides what halts forbid."""
        self.latches.lock(reasons)

    def lock_everything(self, reason: str) -> None:
        """Take no new risk in any symbol until the next ``lock``: nobody knows what the account holds."""
        self.latches.lock_everything(reason)

    def _resumed(self, halts: Sequence[Halt], at: datetime, how: str) -> None:
        if not halts:
            return
        self._latch_watch()
        for halt in halts:
            self.tell(RiskEventKind.RESUMED, at, f"the halt of {halt.scope} ({halt.reason}) was {how}")

    def _latch_watch(self) -> None:
        self.watch.latch(halt.rule for halt in self.latches.standing if halt.scope == self._account_scope)

    # Losses

    def begin_day(
        self,
        starting_equity: Decimal,
        highest_today: Decimal,
        highest_ever: Decimal,
        recent: Sequence[tuple[datetime, Decimal]] = (),
    ) -> None:
        """Take up the account's day (see ``LossWatch.begin_day``); ``recent`` are equities by the ends of their bars."""
        begun = (self._hours.opens_at, starting_equity)
        self.watch.begin_day(starting_equity, highest_today, highest_ever, [begun, *recent])
        self._set_symbol_floors()

    def note_fills(self, new: Sequence[Fill], moved: Iterable[str]) -> None:
        """These executions were booked, and the positions of ``moved`` or their cost are others than before."""
        self.tape.note_fills(new)
        self._traded_symbols.update(moved)

    def check_losses(self, bar_time: datetime, entries: LedgerEntries) -> list[Halt]:
        """Halt what has reached a loss limit by the end of this bar; the halts that are new, which are in ``entries`` too.

        Also ends the halts whose own end has come. Losses that cannot be told halt the account.
        """
        at = bar_time + self.bar_length
        if at < self._hours.closes_at:
            # At the close the session is over too: what halted it until then does not halt it a second time.
            self._resumed(self.latches.expire(at), at, "over")
        try:
            trips = self._look_for_losses(at)
        except (ArithmeticError, ValueError, KeyError) as error:
            reason = f"what the account has lost cannot be told ({type(error).__name__}: {error})"
            trips = [Trip(UNTOLD_LOSS, reason, ZERO, ZERO)]
        return (
            [halt for trip in trips if (halt := self._trip(trip, bar_time, at, entries)) is not None] if trips else []
        )

    def _look_for_losses(self, at: datetime) -> Sequence[Trip]:
        tracker = self._tracker
        trips = self.watch.look(at, tracker.equity)
        if self._traded_symbols:
            trips = [*trips, *self._look_at_trades()]
        for symbol, sign, floor in self._symbol_floors:
            price = tracker.price(symbol)
            if price is not None and (price <= floor if sign > 0 else price >= floor):
                trip = self.watch.look_at_symbol(tracker, symbol)
                trips = trips if trip is None else [*trips, trip]
        return trips

    def _look_at_trades(self) -> list[Trip]:
        """What fills since the last bar trip; positions have other prices to be watched for from now on."""
        tracker, traded = self._tracker, self._traded_symbols
        trips = self.watch.look_at_trades(tracker, self.tape.traded_today)
        closed = (symbol for symbol in sorted(traded) if not tracker.quantity(symbol))
        trips += [trip for symbol in closed if (trip := self.watch.look_at_symbol(tracker, symbol)) is not None]
        traded.clear()
        self._set_symbol_floors()
        return trips

    def _set_symbol_floors(self) -> None:
        floors = ((symbol, self.watch.symbol_floor(self._tracker, symbol)) for symbol in self._tracker.held_symbols)
        self._symbol_floors = [(symbol, *floor) for symbol, floor in floors if floor is not None]

    def _trip(self, trip: Trip, bar_time: datetime, at: datetime, entries: LedgerEntries) -> Halt | None:
        if trip.near:
            self.tell(
                RiskEventKind.LIMIT_NEAR,
                at,
                f"{trip.rule}: {trip.reason}",
                rule=trip.rule,
                observed=trip.observed,
                limit_value=trip.limit_value,
            )
            return None
        scope = self._account_scope if trip.symbol is None else f"symbol:{trip.symbol}"
        if self.latches.stands(scope, trip.rule):
            return None
        ends = None if trip.lasting else self._hours.closes_at
        halt = Halt(scope, trip.reason, at, ends, self._record.session_id, trip.rule)
        self.take_up_halts([halt])
        entries.halts.append(halt)
        check = self._check(
            bar_time, trip.symbol, None, trip.rule, Verdict.HALTED, trip.reason, trip.observed, trip.limit_value
        )
        entries.risk_checks.append(check)
        self._events.emit_checks([check])
        return halt

    # Many bars at once

    def bars_before_a_trip(self, equity: Column, closes: Mapping[str, Column]) -> int:
        """How many of these bars come surely before one on which a loss trips (equity and held symbols' closes in micros)."""
        quiet = self.watch.bars_before_a_trip(equity)
        for symbol, sign, floor in self._symbol_floors:
            close, level = closes[symbol][:quiet], to_micros(floor)
            lost = close <= level + 1 if sign > 0 else close >= level - 1
            if lost.any() and not self.latches.stands(f"symbol:{symbol}", SYMBOL_LOSS):
                quiet = int(lost.argmax())
        return quiet

    # The end of the day

    def closing_step(self, bar_time: datetime) -> ClosingStep:
        """How far the day is closed at the end of this bar."""
        return self.closing.at(bar_time + self.bar_length)

    def close_out(self, bar_time: datetime, assessment: Assessment) -> None:
        """Add what has to go at the end of this bar whatever was decided: entries that may no longer be, positions before the close.

        Cancelled are orders that would open or add where a halt stands or the day is being closed; when it is flattened, all
        but market orders that close. What is closed is the position less what is on its way out already, so that nothing is
        closed twice; what a cancel brings back is closed with the next bar.
        """
        at = bar_time + self.bar_length
        step = self.closing.at(at)
        if step > self._step_told:
            self._tell_step(step, at)
        open_orders = self._router.working_orders
        if open_orders and (step >= ClosingStep.REDUCE_ONLY or self.latches.standing):
            self._withdraw(open_orders, step, bar_time, assessment)
        if step >= ClosingStep.FLATTEN:
            for symbol in self._tracker.held_symbols:
                self._flatten(symbol, open_orders, step, bar_time, at, assessment)

    def _withdraw(
        self, open_orders: Mapping[str, OpenOrder], step: ClosingStep, bar_time: datetime, assessment: Assessment
    ) -> None:
        decided = set(assessment.cancels)
        for order_id, order in open_orders.items():
            symbol, exits = order.intent.symbol, self.only_exits(order)
            if step >= ClosingStep.FLATTEN:
                stays = exits and order.intent.order_type in _CLOSING_TYPES
            else:
                stays = exits or (step < ClosingStep.REDUCE_ONLY and self.latches.latched_for(symbol) is None)
            if stays or order_id in decided or order.status is OrderStatus.CANCEL_PENDING:
                continue
            assessment.cancels.append(order_id)
            self.tape.note_cancels(1, bar_time + self.bar_length)
            why = (
                self.latches.latched_for(symbol)
                or f"the session closes at {self._hours.local(self._hours.closes_at):%H:%M}"
            )
            observed = Decimal(order.remaining)
            check = self._check(bar_time, symbol, order_id, WITHDRAWN_RULE, Verdict.REFUSED, why, observed, None)
            assessment.checks.append(check)
            self._events.emit_checks([check])

    def only_exits(self, order: OpenOrder) -> bool:
        """Whether all that an open order can still fill reduces the position, or protects what its parent opens."""
        held = self._tracker.quantity(order.intent.symbol)
        if order.intent.parent_id is not None:
            return held != 0
        return held * order.intent.side.sign < 0 and order.remaining <= abs(held)

    def _flatten(
        self,
        symbol: str,
        open_orders: Mapping[str, OpenOrder],
        step: ClosingStep,
        bar_time: datetime,
        at: datetime,
        assessment: Assessment,
    ) -> None:
        held, price = self._tracker.quantity(symbol), self._tracker.price(symbol)
        side = Side.SELL if held > 0 else Side.BUY
        on_its_way = sum(
            order.remaining
            for order in open_orders.values()
            if order.intent.symbol == symbol and order.intent.side is side and order.intent.parent_id is None
        )
        quantity = abs(held) - on_its_way
        if quantity <= 0 or price is None:
            return
        intent = self._router.market_intent(symbol, side, quantity, price, bar_time, at, "close")
        if step is ClosingStep.MARKET_ON_CLOSE:
            intent = self._router.on_close(intent)
        closes = f"{self._hours.local(self._hours.closes_at):%H:%M}"
        check = self._check(
            bar_time,
            symbol,
            intent.client_order_id,
            FLATTEN_RULE,
            Verdict.FLATTENED,
            f"{quantity} of {held} {symbol} are closed before the close at {closes}",
            Decimal(held),
            None,
        )
        assessment.checks.append(check)
        self._events.emit_checks([check])
        self._accept(ApprovedOrder(intent, PreTradeVerdict(quantity, ())), assessment)

    def _tell_step(self, step: ClosingStep, at: datetime) -> None:
        self._step_told = step
        held = ", ".join(f"{self._tracker.quantity(symbol)} {symbol}" for symbol in self._tracker.held_symbols)
        minutes = (self._hours.closes_at - at).total_seconds() / 60
        words = step.name.lower().replace("_", " ")
        message = f"{minutes:g} minutes before the close: {words}; held: {held or 'nothing'}"
        self.tell(RiskEventKind.CLOSING, at, message, step=words)

    def left_open(self, bar_time: datetime) -> list[RiskCheck]:
        """An alarm for each position that is open after the close though none should be; ``bar_time`` is the last bar's."""
        if not self.closing.begins:
            return []
        checks = []
        for symbol in self._tracker.held_symbols:
            held = self._tracker.quantity(symbol)
            reason = f"{held} {symbol} are still held after the close"
            checks.append(self._check(bar_time, symbol, None, FLATTEN_RULE, Verdict.ALARM, reason, Decimal(held), ZERO))
        self._events.emit_checks(checks)
        return checks

    # One decision

    def assess(
        self, action: Action, symbol: str, bar_time: datetime, window: MarketWindow, assessment: Assessment
    ) -> int:
        """Add to ``assessment`` what ``action`` leads to; returns the position it asks for (signed shares).

        While the day is flattened what is held or ordered is not a decision's any more (``close_out``).
        """
        if self.closing_step(bar_time) >= ClosingStep.FLATTEN and (
            self._tracker.quantity(symbol) or self._router.has_open_orders(symbol)
        ):
            return 0
        delta = self._delta(action, symbol, bar_time, window, assessment)
        price = self._tracker.price(symbol)
        refused = False
        if delta.side is not None and price is not None:
            refused = not self._approve(symbol, delta.side, delta.quantity, price, bar_time, window, assessment)
        if delta.cancels and not (self._are_exits(symbol, delta) and (refused or self.halted_for(symbol) is not None)):
            assessment.cancels += delta.cancels
            self.tape.note_cancels(len(delta.cancels), bar_time + self.bar_length)
        return delta.target_quantity

    def require_approved(self, order: ApprovedOrder) -> None:
        """Raise ``NotApproved`` for an order that did not come from here and does more than reduce a position."""
        intent = order.intent
        if self._approved.get(intent.client_order_id, 0) >= intent.quantity:
            return
        held = self._tracker.quantity(intent.symbol)
        on_its_way = self._router.working_shares(intent.symbol, intent.side, besides=intent.client_order_id)
        if held * intent.side.sign < 0 and intent.quantity + on_its_way <= abs(held):
            return
        raise NotApproved(
            f"Order {intent.client_order_id} ({intent.side} {intent.quantity} {intent.symbol}) was not approved by risk and does "
            f"more than reduce the position of {held}. It was not sent: place what RiskGate.assess or .approve returns."
        )

    def approve(self, symbol: str, side: Side, quantity: int, bar_time: datetime, window: MarketWindow) -> Assessment:
        """What risk makes of one order that somebody wants besides the decisions, on the bar ``bar_time``.

        The assessment has the approved order, if any of it may be sent, and all objections. Raises ``CannotSize`` without a price.
        """
        price = self._tracker.price(symbol)
        if price is None:
            raise CannotSize(f"no price for {symbol}")
        assessment = Assessment()
        self._approve(symbol, side, quantity, price, bar_time, window, assessment)
        return assessment

    def _are_exits(self, symbol: str, delta: OrderDelta) -> bool:
        """Whether the orders that stand in the way are on their way out of a position: calling those back adds risk."""
        return bool(delta.cancels) and self._tracker.quantity(symbol) * delta.target_quantity > 0

    def position_size(self, symbol: str, window: MarketWindow) -> int:
        """Whole shares of a new position at the last price; raises ``CannotSize``."""
        price = self._tracker.price(symbol)
        if price is None:
            raise CannotSize(f"no price for {symbol}")
        return self._router.calculate_position_size(
            SizingBasis(symbol, price, self._tracker.equity, self._tracker.cash, window)
        )

    def _delta(
        self, action: Action, symbol: str, bar_time: datetime, window: MarketWindow, assessment: Assessment
    ) -> OrderDelta:
        position = self._tracker.quantity(symbol)
        try:
            return self._router.calculate_shares_and_action(
                action, symbol, position, lambda: self.position_size(symbol, window)
            )
        except CannotSize as error:
            assessment.checks.append(
                self._check(bar_time, symbol, None, "sizing", Verdict.REFUSED, str(error), None, None)
            )
            return OrderDelta(position, None, 0, ())

    def _approve(
        self,
        symbol: str,
        side: Side,
        wanted: int,
        price: Decimal,
        bar_time: datetime,
        window: MarketWindow,
        assessment: Assessment,
    ) -> bool:
        """Ask risk about the order; whether any of it may be sent."""
        at = bar_time + self.bar_length
        intent = self._router.intent(symbol, side, wanted, price, bar_time, at)
        view = self.view_of(intent, window, assessment)
        verdict = pre_trade_check(view, self._rules, self._throttle, self._router.minimum_quantity, self._risk.lot_size)
        if verdict.objections:
            checks = risk_checks_of(verdict, self._record.session_id, bar_time, symbol, intent.client_order_id)
            assessment.checks += checks
            self._events.emit_checks(checks)
        if verdict.refused:
            return False
        # A purchase takes its money also where it covers a short position.
        taking = verdict.quantity if side is Side.BUY else max(verdict.quantity - (view.quantity - view.adding), 0)
        if taking:
            commission = max(self._paper.commission_minimum, self._paper.commission_per_share * taking)
            assessment.reserved_cash += taking * view.worst_price + commission
        if verdict.quantity != wanted:
            intent = self._router.intent(symbol, side, verdict.quantity, price, bar_time, at)
        self._accept(ApprovedOrder(intent, verdict), assessment)
        return True

    def _accept(self, order: ApprovedOrder, assessment: Assessment) -> None:
        assessment.approved.append(order)
        assessment.ordered += order.intent.quantity * order.intent.reference_price
        self._approved[order.intent.client_order_id] = order.verdict.quantity
        self.tape.note_order(order.intent)

    def forget_approvals(self) -> None:
        """A bar is over: what it approved was sent, and is approved for nothing else."""
        if self._approved:
            self._approved.clear()

    def view_of(self, intent: OrderIntent, window: MarketWindow, assessment: Assessment) -> RiskView:
        """What the rules are shown of an order, beside what was approved before it in the same bar."""
        symbol, side, quantity, price = intent.symbol, intent.side, intent.quantity, intent.reference_price
        tracker, router = self._tracker, self._router
        open_orders = router.working_orders
        if assessment.exposures is None:
            assessment.exposures = Exposures(tracker, open_orders.values())
        exposures = assessment.exposures
        exposures.add_new(assessment.approved)
        position = tracker.quantity(symbol)
        working = router.working_shares(symbol, side) if open_orders else 0
        # Shares that a working order closes already cannot be closed again.
        reducing = min(max(-position * side.sign - working, 0), quantity)
        times = window.times(symbol, 2)
        closes = window.closes(symbol, 2)
        return RiskView(
            symbol=symbol,
            side=side,
            quantity=quantity,
            adding=quantity - reducing,
            price=price,
            position=position,
            working=working,
            equity=tracker.equity,
            free_cash=self._free_cash(open_orders) - assessment.reserved_cash,
            average_volume=self._average_volume(symbol, window),
            spread_bps=None,
            volatility_fraction=self._volatility(symbol, price, window),
            halted=self.halted_for(symbol),
            opposing=exposures.opposing(symbol, side),
            previous_price=from_micros(int(closes[-2])) if len(closes) > 1 else None,
            limit_price=intent.limit_price,
            stop_price=intent.stop_price,
            missing_bars=self._missing_bars(times),
            price_age_seconds=self._price_age(intent.created_at),
            entries_closed=self._entries_closed(intent.created_at),
            session_date=self._hours.session_date,
            others=exposures.besides(symbol),
            activity=self.tape.before(intent, open_orders, assessment.ordered, len(assessment.approved)),
            tail=None if self._tails is None else self._tail(symbol, side, price, position, window),
        )

    def _tail(
        self, symbol: str, side: Side, price: Decimal, position: int, window: MarketWindow
    ) -> Callable[[int], TailRisk]:
        """The book's tail with so many shares more in the order's direction, working orders of it filled; estimated when asked."""
        tracker, tails = self._tracker, self._tails
        book = None
        told: dict[int, TailRisk] = {}
        exposed = max(position * side.sign, 0) + self._router.working_shares(symbol, side)

        def with_added(shares: int) -> TailRisk:
            nonlocal book
            if shares in told:
                return told[shares]
            if tails is None:
                raise ValueError("no tail is estimated")
            if book is None:
                worth = {other: held * mark for other, held, mark in tracker.holdings if other != symbol}
                book = tails.of_book(window, worth, symbol)
            told[shares] = risk = book.with_added(side.sign * (exposed + shares) * price)
            return risk

        return with_added

    def _free_cash(self, open_orders: Mapping[str, OpenOrder]) -> Decimal:
        """Equity that nothing is bound by: what positions of either side and working orders are worth is taken off.

        Without short positions that is the cash less what working purchases will take; the proceeds of a short sale
        are no money to spend.
        """
        tracker = self._tracker
        promised = self._router.promised_cash(tracker.quantity, tracker.price) if open_orders else ZERO
        return tracker.cash + 2 * tracker.short_value - promised

    def _average_volume(self, symbol: str, window: MarketWindow) -> Decimal | None:
        volumes: list[int] = window.volumes(symbol, self._risk.participation_bars).tolist()
        if not volumes or MISSING in volumes:
            return None
        return Decimal(sum(volumes)) / len(volumes)

    def _volatility(self, symbol: str, price: Decimal, window: MarketWindow) -> Decimal | None:
        """Average true range of the bars there are, at most as many as are set, as a fraction of the price."""
        available = window.available(symbol)
        if not available or not price > 0:
            return None
        if available == 1:
            return from_micros(int(window.highs(symbol, 1)[0] - window.lows(symbol, 1)[0])) / price
        true_range = average_true_range(window, symbol, min(self._atr_bars, available - 1))
        return None if true_range is None else true_range / price

    def _missing_bars(self, times: Column) -> int:
        """Bars of the session that did not come between the newest and the one before it, or the open."""
        if not len(times):
            return 0
        opens_at = to_epoch_us(self._hours.opens_at)
        newest = int(times[-1])
        before = max(int(times[0]) if len(times) > 1 else 0, opens_at - self._bar_microseconds)
        return max((newest - before) // self._bar_microseconds - 1, 0)

    def _price_age(self, bar_ends_at: datetime) -> Decimal:
        if self._now is None:
            return ZERO
        return Decimal(max((self._now() - bar_ends_at) // _MICROSECOND, 0)).scaleb(-6)

    def _entries_closed(self, at: datetime) -> str | None:
        step = self.closing.at(at)
        if step >= ClosingStep.REDUCE_ONLY:
            closes = self._hours.local(self._hours.closes_at)
            return f"only reductions before the close at {closes:%H:%M}"
        if at < self._entries_from:
            return f"no entries before {self._hours.local(self._entries_from):%H:%M}"
        if at >= self._entries_until and self._risk.no_entry_last_minutes:
            return f"no entries from {self._hours.local(self._entries_until):%H:%M} on"
        return None

    # Telling

    def tell(self, kind: RiskEventKind, at: datetime, message: str, **facts: object) -> None:
        """Tell who asked for it; returns at once."""
        if self._events.wants(kind):
            self._events.emit(RiskEvent(kind, self._record.session_id, at, message, facts=facts))

    def _check(
        self,
        bar_time: datetime,
        symbol: str | None,
        client_order_id: str | None,
        rule: str,
        verdict: Verdict,
        reason: str,
        observed: Decimal | None,
        limit_value: Decimal | None,
    ) -> RiskCheck:
        return RiskCheck(
            self._record.session_id, bar_time, symbol, client_order_id, rule, verdict, reason, observed, limit_value
        )


def tails_look_back(risk: RiskSettings) -> int:
    """Bars that limits of the book's tail look back on; 0 where there is no such limit."""
    limited = risk.max_value_at_risk_fraction is not None or risk.max_expected_shortfall_fraction is not None
    return risk.value_at_risk_bars + 1 if limited else 0
