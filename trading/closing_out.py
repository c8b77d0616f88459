"""What goes at the end of a bar whatever was decided: entries that may no longer be, and positions before the close."""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from decimal import Decimal

from trading.assessment import Assessment
from trading.closing_steps import ClosingStep, ClosingSteps
from trading.decisions import RiskCheck, Verdict
from trading.halt_latches import HaltLatches
from trading.money import ZERO
from trading.order_router import OrderRouter
from trading.order_tape import OrderTape
from trading.orders import OpenOrder, OrderStatus, OrderType, Side
from trading.pnl_tracker import PnLTracker
from trading.risk_callbacks import ApprovedOrder, PreTradeVerdict
from trading.risk_events import RiskEventKind
from trading.risk_notes import RiskNotes
from trading.risk_settings import ClosingSettings
from trading.trading_hours import TradingHours

FLATTEN_RULE = "flatten_before_close"
WITHDRAWN_RULE = "entries_withdrawn"
_CLOSING_TYPES = (OrderType.MARKET, OrderType.MARKET_ON_CLOSE)


class ClosingOut:
    """Closes one session's day. ``accept`` takes what it sends."""

    def __init__(
        self,
        settings: ClosingSettings,
        hours: TradingHours,
        bar_length: timedelta,
        router: OrderRouter,
        tracker: PnLTracker,
        latches: HaltLatches,
        tape: OrderTape,
        notes: RiskNotes,
        accept: Callable[[ApprovedOrder, Assessment], None],
    ) -> None:
        self._hours = hours
        self._bar_length = bar_length
        self._router = router
        self._tracker = tracker
        self._latches = latches
        self._tape = tape
        self._notes = notes
        self._accept = accept
        self._step_told = ClosingStep.OPEN
        self.steps = ClosingSteps.of(settings, hours, bar_length)

    def close_out(self, bar_time: datetime, assessment: Assessment) -> None:
        """Add what has to go at the end of this bar whatever was decided: entries that may no longer be, positions before the close.

        Cancelled are orders that would open or add where a halt stands or the day is being closed; from the bar before it is
        flattened, all but market orders that close. What is closed is the position less what is on its way out already, so that nothing is
        closed twice; what a cancel brings back is closed with the next bar.
        """
        at = bar_time + self._bar_length
        step = self.steps.at(at)
        if step > self._step_told:
            self._tell_step(step, at)
        open_orders = self._router.working_orders
        if open_orders and (self.clears(at) or step >= ClosingStep.REDUCE_ONLY or self._latches.standing):
            self._withdraw(open_orders, step, bar_time, assessment)
        if step >= ClosingStep.FLATTEN:
            for symbol in self._tracker.held_symbols:
                self._flatten(symbol, open_orders, step, bar_time, at, assessment)

    def clears(self, at: datetime) -> bool:
        """Whether only market orders may be on their way out of a position from here on.

        From one bar before positions are flattened: a limit that is cancelled with them could still fill, and would be counted on.
        """
        return self.steps.clears_at(at, self._bar_length)

    def _withdraw(
        self, open_orders: Mapping[str, OpenOrder], step: ClosingStep, bar_time: datetime, assessment: Assessment
    ) -> None:
        decided, clears = set(assessment.cancels), self.clears(bar_time + self._bar_length)
        for order_id, order in open_orders.items():
            symbol, exits = order.intent.symbol, self.only_exits(order)
            if clears:
                stays = exits and order.intent.order_type in _CLOSING_TYPES
            else:
                stays = exits or (step < ClosingStep.REDUCE_ONLY and self._latches.latched_for(symbol) is None)
            if stays or order_id in decided or order.status is OrderStatus.CANCEL_PENDING:
                continue
            assessment.cancels.append(order_id)
            self._tape.note_cancels(1, bar_time + self._bar_length)
            why = (
                self._latches.latched_for(symbol)
                or f"the session closes at {self._hours.local(self._hours.closes_at):%H:%M}"
            )
            observed = Decimal(order.remaining)
            check = self._notes.check(bar_time, symbol, order_id, WITHDRAWN_RULE, Verdict.REFUSED, why, observed)
            assessment.checks.append(check)
            self._notes.tell_of([check])

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
        check = self._notes.check(
            bar_time,
            symbol,
            intent.client_order_id,
            FLATTEN_RULE,
            Verdict.FLATTENED,
            f"{quantity} of {held} {symbol} are closed before the close at {closes}",
            Decimal(held),
        )
        assessment.checks.append(check)
        self._notes.tell_of([check])
        self._accept(ApprovedOrder(intent, PreTradeVerdict(quantity, ())), assessment)

    def _tell_step(self, step: ClosingStep, at: datetime) -> None:
        self._step_told = step
        held = ", ".join(f"{self._tracker.quantity(symbol)} {symbol}" for symbol in self._tracker.held_symbols)
        minutes = (self._hours.closes_at - at).total_seconds() / 60
        words = step.name.lower().replace("_", " ")
        message = f"{minutes:g} minutes before the close: {words}; held: {held or 'nothing'}"
        self._notes.tell(RiskEventKind.CLOSING, at, message, step=words)

    def left_open(self, bar_time: datetime) -> list[RiskCheck]:
        """An alarm for each position that is open after the close though none should be; ``bar_time`` is the last bar's."""
        if not self.steps.begins:
            return []
        checks = []
        for symbol in self._tracker.held_symbols:
            held = self._tracker.quantity(symbol)
            reason = f"{held} {symbol} are still held after the close"
            checks.append(
                self._notes.check(bar_time, symbol, None, FLATTEN_RULE, Verdict.ALARM, reason, Decimal(held), ZERO)
            )
        self._notes.tell_of(checks)
        return checks
