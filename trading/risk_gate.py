"""Between a decision and an order: what the decision asks for, and what risk lets through.

The gate turns a decision into an approved order or into reasons. What rules are shown is gathered by ``order_views``, losses are
watched by ``loss_halts``, the end of the day is ``closing_out``. Live bars and replays pass through the same one.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial

from trading.assessment import Assessment
from trading.bars import Column, to_epoch_us
from trading.closing_out import ClosingOut
from trading.closing_steps import ClosingStep, ClosingSteps
from trading.decisions import Halt, RiskCheck, Signal, Verdict
from trading.errors import NotApproved
from trading.halt_latches import HaltLatches
from trading.loss_halts import LossHalts
from trading.loss_watch import LossWatch
from trading.order_router import OrderDelta, OrderRouter
from trading.order_tape import OrderTape
from trading.order_views import OrderViews, tails_look_back
from trading.orders import Fill, OpenOrder, OrderIntent, Side, highest_price
from trading.pnl_tracker import PnLTracker
from trading.ports import LedgerEntries, MarketWindow
from trading.risk_callbacks import ApprovedOrder, ThrottleLimits, pre_trade_check, risk_checks_of
from trading.risk_events import RiskEventHandler, RiskEventKind
from trading.risk_notes import RiskNotes
from trading.risk_rules import RiskView
from trading.risk_settings import RiskSettings
from trading.rule_book import rules_from
from trading.sessions import SessionRecord
from trading.settings import Settings
from trading.sizing import CannotSize, SizingBasis
from trading.trading_hours import TradingHours


class RiskGate:
    """The gate of one session. Owned by the thread that trades.

    ``seconds_since`` tells how long ago a moment of the session's time was, which says how old a decided bar is; None where bars are
    as old as they are.
    """

    def __init__(
        self,
        record: SessionRecord,
        hours: TradingHours,
        settings: Settings,
        router: OrderRouter,
        tracker: PnLTracker,
        events: RiskEventHandler,
        seconds_since: Callable[[datetime], float] | None = None,
    ) -> None:
        self._hours = hours
        self._settings = settings
        self._router = router
        self._tracker = tracker
        self._commission = settings.expected_commission
        self.strategy_scope = f"strategy:{record.strategy}"
        """The scope of halts of the session's strategy."""
        self.closes_at = hours.closes_at
        self._approved: dict[str, OrderIntent] = {}
        self._by_hand: tuple[datetime, Assessment] | None = None
        self._notes = RiskNotes(record.session_id, events)
        self.bar_length = settings.session.timeframe.length
        self.bars_kept = 0
        """How many bars the session's window has room for; set by who knows it."""
        self.latches = HaltLatches()
        self.tape = OrderTape()
        risk, length = settings.risk, self.bar_length
        self._losses = LossHalts(record.account, hours, risk, length, tracker, self.latches, self.tape, self._notes)
        self._closing_out = ClosingOut(
            settings.closing, hours, length, router, tracker, self.latches, self.tape, self._notes, self._accept
        )
        self._views = OrderViews(
            hours,
            risk,
            length,
            settings.sizing.atr_bars,
            router,
            tracker,
            self.latches,
            self.tape,
            self._closing_out.steps,
            seconds_since,
        )
        self._views.late = record.only_reduces
        self._set_limits(risk)
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
        self._losses.change_limits(risk)
        self._views.change_limits(risk)

    def _set_limits(self, risk: RiskSettings) -> None:
        self._risk = risk
        self._rules = rules_from(self._settings, risk)
        self._throttle = ThrottleLimits.of(risk)
        self.tape.duplicate_window = timedelta(seconds=risk.duplicate_window_seconds)

    # Halts and locks

    def take_up_halts(self, halts: Iterable[Halt]) -> None:
        """Obey these halts from now on."""
        self.latches.take_up(halts)
        self._losses.follow_latches()

    def clear_halts(self, scope: str, at: datetime) -> int:
        """Obey halts of exactly this scope no more; how many there were."""
        cleared = self.latches.clear(scope)
        self._resumed(cleared, at, "cleared")
        return len(cleared)

    def halt(self, halt: Halt, bar_time: datetime, entries: LedgerEntries) -> list[Halt]:
        """Obey a halt that the session makes of itself, and write it down with its reason; nothing where its like stands."""
        if self.latches.stands(halt.scope, halt.rule):
            return []
        self.take_up_halts([halt])
        entries.halts.append(halt)
        check = self._notes.check(bar_time, halt.symbol, None, halt.rule, Verdict.HALTED, halt.reason)
        entries.risk_checks.append(check)
        self._notes.tell_of([check])
        return [halt]

    @property
    def halted(self) -> str | None:
        """Why no new risk is taken anywhere; None while trading is free."""
        return self.latches.halted

    def halted_for(self, symbol: str) -> str | None:
        """Why no new risk is taken in this symbol; None while it is free."""
        return self.latches.halted_for(symbol)

    def only_reduce(self, reason: str) -> None:
        """Take no new risk for the rest of the session, as it began late."""
        self._views.late = reason

    def lock(self, reasons: Mapping[str, str]) -> None:
        """From now on take no new risk in exactly these symbols, besides what halts forbid."""
        self.latches.lock(reasons)

    def lock_everything(self, reason: str) -> None:
        """Take no new risk in any symbol until the next ``lock``: nobody knows what the account holds."""
        self.latches.lock_everything(reason)

    def _resumed(self, halts: Sequence[Halt], at: datetime, how: str) -> None:
        if not halts:
            return
        self._losses.follow_latches()
        self._losses.look_again()
        for halt in halts:
            self.tell(RiskEventKind.RESUMED, at, f"the halt of {halt.scope} ({halt.reason}) was {how}")

    # Losses and the end of the day

    @property
    def watch(self) -> LossWatch:
        """What watches the account's losses."""
        return self._losses.watch

    def begin_day(
        self,
        starting_equity: Decimal,
        highest_today: Decimal,
        highest_ever: Decimal,
        recent: Sequence[tuple[datetime, Decimal]] = (),
    ) -> None:
        """Take up the account's day (see ``LossHalts.begin_day``)."""
        self._losses.begin_day(starting_equity, highest_today, highest_ever, recent)

    def note_fills(self, new: Sequence[Fill], moved: Iterable[str]) -> None:
        """These executions were booked, and the positions of ``moved`` or their cost are others than before."""
        self._losses.note_fills(new, moved)

    def check_losses(self, bar_time: datetime, entries: LedgerEntries) -> list[Halt]:
        """Halt what has reached a loss limit by the end of this bar; also ends the halts whose own end has come."""
        at = bar_time + self.bar_length
        if at < self._hours.closes_at:
            # At the close the session is over too: what halted it until then does not halt it a second time.
            self._resumed(self.latches.expire(at), at, "over")
        return self._losses.check_losses(bar_time, entries)

    def look_again(self) -> None:
        """Look at everything that the day has traded with the next bar, whether or not it trades again."""
        self._losses.look_again()

    def bars_before_a_trip(self, equity: Column, closes: Mapping[str, Column]) -> int:
        """How many of these bars come surely before one on which a loss trips (equity and held symbols' closes in micros)."""
        return self._losses.bars_before_a_trip(equity, closes)

    @property
    def closing(self) -> ClosingSteps:
        """When the steps of the day's end begin."""
        return self._closing_out.steps

    def closing_step(self, bar_time: datetime) -> ClosingStep:
        """How far the day is closed at the end of this bar."""
        return self._closing_out.steps.at(bar_time + self.bar_length)

    def close_out(self, bar_time: datetime, assessment: Assessment) -> None:
        """Add what has to go at the end of this bar whatever was decided (see ``ClosingOut.close_out``)."""
        self._closing_out.close_out(bar_time, assessment)

    def only_exits(self, order: OpenOrder) -> bool:
        """Whether all that an open order can still fill reduces the position, or protects what its parent opens."""
        return self._closing_out.only_exits(order)

    @property
    def has_anything_open(self) -> bool:
        """Whether a position is held or an order works."""
        return bool(self._tracker.held_symbols or self._router.get_open_orders())

    def left_open(self, bar_time: datetime) -> list[RiskCheck]:
        """An alarm for each position that is open after the close though none should be; ``bar_time`` is the last bar's."""
        return self._closing_out.left_open(bar_time)

    # One decision

    def assess(
        self, signal: Signal, symbol: str, bar_time: datetime, window: MarketWindow, assessment: Assessment
    ) -> int:
        """Add to ``assessment`` what ``signal`` leads to; returns the position it asks for (signed shares).

        While the day is flattened what is held or ordered is not a decision's any more (``close_out``).
        """
        if self.closing_step(bar_time) >= ClosingStep.FLATTEN and (
            self._tracker.quantity(symbol) or self._router.has_open_orders(symbol)
        ):
            return 0
        delta = self._delta(signal, symbol, bar_time, window, assessment)
        price = self._tracker.price(symbol)
        refused = False
        if delta.side is not None and price is not None:
            refused = not self._approve(symbol, delta.side, delta.quantity, price, bar_time, window, assessment)
        if delta.cancels and not (
            self._are_exits(symbol, delta) and (refused or self._takes_no_entry(symbol, bar_time))
        ):
            assessment.cancels += delta.cancels
            self.tape.note_cancels(len(delta.cancels), bar_time + self.bar_length)
        return delta.target_quantity

    def require_approved(self, orders: Sequence[ApprovedOrder]) -> None:
        """Raise ``NotApproved`` where one of these orders, sent together, did not come from here and does more than reduce.

        What was approved is approved as it is, to the last price, and not any more once a halt stands.
        """
        reduced: dict[tuple[str, Side], int] = {}
        for order in orders:
            intent = order.intent
            key = (intent.symbol, intent.side)
            before = reduced.get(key, 0)
            reduced[key] = before + intent.quantity
            if self._reduces(intent, before):
                continue
            if self._approved.get(intent.client_order_id) != intent:
                why = "was not approved by risk"
            elif (halted := self.halted_for(intent.symbol)) is not None:
                why = f"was approved before trading was halted ({halted})"
            else:
                continue
            raise NotApproved(
                f"Order {intent.client_order_id} ({intent.side} {intent.quantity} {intent.symbol}) {why} and does more than reduce the "
                f"position of {self._tracker.quantity(intent.symbol)}. It was not sent: place what RiskGate.assess or .approve returns."
            )

    def still_approved(
        self, approved: Sequence[ApprovedOrder], bar_time: datetime
    ) -> tuple[list[ApprovedOrder], list[RiskCheck]]:
        """What may still go of a bar's approved orders, and why the others may not: a halt can come after they were approved."""
        if not self.latches.standing:
            return list(approved), []
        kept, checks = [], []
        for order in approved:
            intent = order.intent
            halted = self.latches.latched_for(intent.symbol)
            if halted is None or self._reduces(intent, 0):
                kept.append(order)
            else:
                reason = f"trading is halted: {halted}"
                checks.append(
                    self._notes.check(
                        bar_time, intent.symbol, intent.client_order_id, "halted", Verdict.REFUSED, reason
                    )
                )
        self._notes.tell_of(checks)
        return kept, checks

    def _reduces(self, intent: OrderIntent, besides: int) -> bool:
        """Whether an order only reduces its position, with what is on its way and ``besides`` more shares going the same way."""
        held = self._tracker.quantity(intent.symbol)
        if held * intent.side.sign >= 0:
            return False
        on_its_way = self._router.working_shares(intent.symbol, intent.side, besides=intent.client_order_id)
        return intent.quantity + on_its_way + besides <= abs(held)

    def may_amend(self, intent: OrderIntent, amended: OrderIntent) -> None:
        """Raise ``NotApproved`` for a change that lets an order which may add trade at a worse price than risk has seen."""
        worse = (
            highest_price(amended) > highest_price(intent)
            if intent.side is Side.BUY
            else _lowest(amended) < _lowest(intent)
        )
        if worse and not self._reduces(amended, 0):
            raise NotApproved(
                f"Order {intent.client_order_id} may not be changed to a worse price: risk approved it as it is. Cancel it, and let a new "
                "order be approved."
            )

    def approve(self, symbol: str, side: Side, quantity: int, bar_time: datetime, window: MarketWindow) -> Assessment:
        """What risk makes of one order that somebody wants besides the decisions, on the newest bar ``bar_time``.

        The assessment has the approved order, if any of it may be sent, and all objections. What was approved on the same bar counts,
        placed or not. Raises ``CannotSize`` without a price of that bar.
        """
        price = self._tracker.price(symbol)
        times = window.times(symbol, 1)
        if price is None or not len(times) or int(times[0]) != to_epoch_us(bar_time):
            raise CannotSize(f"no price of {symbol} at {bar_time.isoformat()}")
        if self._by_hand is None or self._by_hand[0] != bar_time:
            self._by_hand = (bar_time, Assessment())
        asked = self._by_hand[1]
        orders, checks = len(asked.approved), len(asked.checks)
        self._approve(symbol, side, quantity, price, bar_time, window, asked)
        return Assessment(approved=asked.approved[orders:], checks=asked.checks[checks:])

    def _takes_no_entry(self, symbol: str, bar_time: datetime) -> bool:
        at = bar_time + self.bar_length
        return (
            self.halted_for(symbol) is not None
            or bool(self._views.late)
            or self._views.entries_closed(at) is not None
            or self._router.no_new_orders(at) is not None
        )

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
        self, signal: Signal, symbol: str, bar_time: datetime, window: MarketWindow, assessment: Assessment
    ) -> OrderDelta:
        position = self._tracker.quantity(symbol)
        try:
            if signal.target_weight is not None:
                target = self._router.weighted_target(
                    signal.target_weight, symbol, position, self._tracker.price(symbol), self._tracker.equity
                )
                return self._router.delta_to(target, symbol, position)
            return self._router.calculate_shares_and_action(
                signal.action, symbol, position, lambda: self.position_size(symbol, window)
            )
        except CannotSize as error:
            assessment.checks.append(self._notes.check(bar_time, symbol, None, "sizing", Verdict.REFUSED, str(error)))
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
        make = partial(self._router.intent, symbol, side)
        if self._closing_out.clears(at) and self._tracker.quantity(symbol) * side.sign < 0:
            make = partial(self._router.market_intent, symbol, side)
        intent = make(wanted, price, bar_time, at, "main")
        view = self.view_of(intent, window, assessment)
        verdict = pre_trade_check(view, self._rules, self._throttle, self._router.minimum_quantity, self._risk.lot_size)
        if verdict.objections:
            checks = risk_checks_of(verdict, self._notes.session_id, bar_time, symbol, intent.client_order_id)
            assessment.checks += checks
            self._notes.tell_of(checks)
        if verdict.refused:
            return False
        # A purchase takes its money also where it covers a short position.
        taking = verdict.quantity if side is Side.BUY else max(verdict.quantity - (view.quantity - view.adding), 0)
        if taking:
            commission = max(self._commission.minimum, self._commission.per_share * taking)
            assessment.reserved_cash += taking * view.worst_price + commission
        if verdict.quantity != wanted:
            intent = make(verdict.quantity, price, bar_time, at, "main")
        self._accept(ApprovedOrder(intent, verdict), assessment)
        return True

    def _accept(self, order: ApprovedOrder, assessment: Assessment) -> None:
        assessment.accept(order)
        self._approved[order.intent.client_order_id] = order.intent
        self.tape.note_order(order.intent)

    def forget_approvals(self) -> None:
        """A bar is over: what it approved was sent, and is approved for nothing else."""
        if self._approved:
            self._approved.clear()
            self._by_hand = None

    def view_of(self, intent: OrderIntent, window: MarketWindow, assessment: Assessment) -> RiskView:
        """What the rules are shown of an order, beside what was approved before it in the same bar."""
        return self._views.view_of(intent, window, assessment)

    def tell(self, kind: RiskEventKind, at: datetime, message: str, **facts: object) -> None:
        """Tell who asked for it; returns at once."""
        self._notes.tell(kind, at, message, **facts)


def _lowest(intent: OrderIntent) -> Decimal:
    """The lowest price at which a sale can fill by its own terms; zero where it has none."""
    return intent.limit_price or Decimal(0)
