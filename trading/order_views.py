"""What the rules are shown of an order: gathered from the book, the router, the tape, the market and the clock."""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from decimal import Decimal

from trading.assessment import Assessment
from trading.bars import MISSING, Column, to_epoch_us
from trading.closing_steps import ClosingStep, ClosingSteps
from trading.exposures import Exposures
from trading.halt_latches import HaltLatches
from trading.money import ZERO, from_micros, round_money
from trading.order_router import OrderRouter
from trading.order_tape import OrderTape
from trading.orders import OpenOrder, OrderIntent, OrderType, Side, highest_price
from trading.pnl_tracker import PnLTracker
from trading.ports import MarketWindow
from trading.risk_rules import RiskView, TailRisk
from trading.risk_settings import RiskSettings
from trading.sizing import average_true_range
from trading.trading_hours import TradingHours
from trading.value_at_risk import TailScenarios, TooLittleHistory

_MICROSECOND = timedelta(microseconds=1)


class OrderViews:
    """Makes the views of one session's orders.

    ``now`` is the session's clock, which says how old a decided bar is; None where bars are as old as they are.
    """

    def __init__(
        self,
        hours: TradingHours,
        risk: RiskSettings,
        bar_length: timedelta,
        atr_bars: int,
        router: OrderRouter,
        tracker: PnLTracker,
        latches: HaltLatches,
        tape: OrderTape,
        steps: ClosingSteps,
        seconds_since: Callable[[datetime], float] | None,
    ) -> None:
        self._hours = hours
        self._bar_microseconds = bar_length // _MICROSECOND
        self._atr_bars = atr_bars
        self._router = router
        self._tracker = tracker
        self._latches = latches
        self._tape = tape
        self._steps = steps
        self._seconds_since = seconds_since
        self.late = ""
        """Why the session only reduces, as it began late; empty where it may open and add."""
        self.change_limits(risk)

    def change_limits(self, risk: RiskSettings) -> None:
        """Show what these limits need from now on."""
        self._risk = risk
        self._entries_from = self._hours.opens_at + timedelta(minutes=risk.no_entry_first_minutes)
        self._entries_until = self._hours.closes_at - timedelta(minutes=risk.no_entry_last_minutes)
        self._tails = (
            TailScenarios(risk.value_at_risk_bars, risk.value_at_risk_confidence, risk.value_at_risk_horizon_bars)
            if tails_look_back(risk)
            else None
        )

    def view_of(self, intent: OrderIntent, window: MarketWindow, assessment: Assessment) -> RiskView:
        """What the rules are shown of an order, beside what was approved before it in the same bar."""
        symbol, side, quantity, price = intent.symbol, intent.side, intent.quantity, intent.reference_price
        tracker, open_orders = self._tracker, self._router.working_orders
        if assessment.exposures is None:
            assessment.exposures = Exposures(tracker, open_orders.values())
        exposures = assessment.exposures
        exposures.add_new(assessment.approved)
        position = tracker.quantity(symbol)
        working, opposing = exposures.ordered(symbol, side)
        # Shares that a working order closes already cannot be closed again.
        reducing = min(max(-position * side.sign - working, 0), quantity)
        times = window.times(symbol, 2)
        closes = window.closes(symbol, 2)
        exposed = max(position * side.sign, 0) + working
        tail, at_most = self._tail(side, quantity - reducing, price, exposed, symbol, window)
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
            halted=self._latches.halted_for(symbol),
            opposing=opposing,
            previous_price=from_micros(int(closes[-2])) if len(closes) > 1 else None,
            limit_price=intent.limit_price,
            stop_price=intent.stop_price,
            missing_bars=self._missing_bars(times),
            price_age_seconds=self._price_age(intent.created_at),
            entries_closed=self.entries_closed(intent.created_at),
            session_date=self._hours.session_date,
            others=exposures.besides(symbol),
            activity=self._tape.before(intent, open_orders, assessment.ordered, len(assessment.approved)),
            tail=tail,
            tail_at_most=at_most,
            trails_up_to=highest_price(intent) if intent.order_type is OrderType.TRAILING_STOP else None,
            resting=self._router.no_new_orders(intent.created_at),
            late=self.late,
        )

    def _tail(
        self, side: Side, quantity: int, price: Decimal, exposed: int, symbol: str, window: MarketWindow
    ) -> tuple[Callable[[int], TailRisk] | None, Decimal | None]:
        """The book's tail with so many shares more in the order's direction, working orders of it filled; and its upper bound.

        The tail is estimated when it is asked for, and raises ``TooLittleHistory``; the bound is not known then.
        """
        tails = self._tails
        if tails is None:
            return None, None
        worth = {other: held * mark for other, held, mark in self._tracker.holdings if other != symbol}
        book = None
        told: dict[int, TailRisk] = {}

        def with_added(shares: int) -> TailRisk:
            nonlocal book
            if shares not in told:
                if book is None:
                    book = tails.of_book(window, worth, symbol)
                told[shares] = book.with_added(side.sign * (exposed + shares) * price)
            return told[shares]

        try:
            return with_added, tails.at_most(window, worth, symbol, (exposed + quantity) * price)
        except TooLittleHistory:
            return with_added, None

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
        if self._seconds_since is None:
            return ZERO
        return round_money(Decimal(max(self._seconds_since(bar_ends_at), 0.0)))

    def entries_closed(self, at: datetime) -> str | None:
        """Why nothing may be opened or added at the end of a bar; None where it may."""
        step = self._steps.at(at)
        if step >= ClosingStep.REDUCE_ONLY:
            closes = self._hours.local(self._hours.closes_at)
            return f"only reductions before the close at {closes:%H:%M}"
        if at < self._entries_from:
            return f"no entries before {self._hours.local(self._entries_from):%H:%M}"
        if at >= self._entries_until and self._risk.no_entry_last_minutes:
            return f"no entries from {self._hours.local(self._entries_until):%H:%M} on"
        return None


def tails_look_back(risk: RiskSettings) -> int:
    """Bars that limits of the book's tail look back on; 0 where there is no such limit."""
    limited = risk.max_value_at_risk_fraction is not None or risk.max_expected_shortfall_fraction is not None
    return risk.value_at_risk_bars + 1 if limited else 0
