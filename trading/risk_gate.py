"""Between a decision and an order: what the decision asks for, and what risk lets through.

The gate gathers what the rules need to know, keeps the halts that stand, and turns a decision into an approved order
or into reasons. Live bars and replays pass through the same one.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from trading.bars import MISSING
from trading.calendar import TradingHours
from trading.decisions import Action, Halt, RiskCheck, Verdict
from trading.money import ZERO
from trading.order_router import OrderDelta, OrderRouter
from trading.orders import Side
from trading.pnl_tracker import PnLTracker
from trading.ports import LedgerEntries, MarketWindow
from trading.risk_callbacks import (
    ApprovedOrder,
    RiskEventHandler,
    ThrottleLimits,
    check_daily_loss_limit,
    pre_trade_check,
    risk_checks_of,
    rules_from,
)
from trading.risk_rules import RiskView
from trading.sessions import SessionRecord
from trading.settings import Settings
from trading.sizing import CannotSize, SizingBasis, average_true_range


@dataclass(slots=True)
class Assessment:
    """What one bar's decisions came to so far: approved orders, reasons, and cash that the former will take."""

    approved: list[ApprovedOrder] = field(default_factory=list)
    cancels: list[str] = field(default_factory=list)
    checks: list[RiskCheck] = field(default_factory=list)
    reserved_cash: Decimal = ZERO


class RiskGate:
    """The gate of one session. Owned by the thread that trades."""

    def __init__(
        self,
        record: SessionRecord,
        hours: TradingHours,
        settings: Settings,
        router: OrderRouter,
        tracker: PnLTracker,
        events: RiskEventHandler,
    ) -> None:
        self._record = record
        self._hours = hours
        self._router = router
        self._tracker = tracker
        self._events = events
        self._rules = rules_from(settings)
        self._risk = settings.risk
        self._throttle = ThrottleLimits(
            self._risk.max_participation_fraction, self._risk.max_spread_bps, self._risk.max_volatility_fraction
        )
        self._paper = settings.broker.paper
        self._atr_bars = settings.sizing.atr_bars
        self._bar_length = settings.session.timeframe.length
        self._halts: dict[str, Halt] = {}
        self._locks: Mapping[str, str] = {}
        self._all_locked: str | None = None

    # Halts and locks

    def take_up_halts(self, halts: Iterable[Halt]) -> None:
        """Obey these halts from now on."""
        self._halts.update({halt.scope: halt for halt in halts})

    @property
    def halted(self) -> str | None:
        """Why no new risk is taken anywhere; None while trading is free."""
        return next((halt.reason for scope, halt in self._halts.items() if not scope.startswith("symbol:")), None)

    def halted_for(self, symbol: str) -> str | None:
        """Why no new risk is taken in this symbol; None while it is free."""
        if self._all_locked is not None:
            return self._all_locked
        if symbol in self._locks:
            return self._locks[symbol]
        if not self._halts:
            return None
        own = self._halts.get(f"symbol:{symbol}")
        return own.reason if own is not None else self.halted

    def lock(self, reasons: Mapping[str, str]) -> None:
        """From now on take no new risk in exactly these symbols, besides what halts forbid."""
        self._locks = reasons
        self._all_locked = None

    def lock_everything(self, reason: str) -> None:
        """Take no new risk in any symbol until the next ``lock``: nobody knows what the account holds."""
        self._all_locked = reason

    @property
    def loss_floor(self) -> Decimal | None:
        """Equity at which the day's loss halts trading; None where there is no limit or it was reached."""
        if self._risk.max_daily_loss is None or self._loss_scope in self._halts:
            return None
        return self._tracker.starting_equity - self._risk.max_daily_loss

    def check_loss(self, bar_time: datetime, entries: LedgerEntries) -> None:
        """Halt the account for the rest of the session once the day's loss has reached its limit."""
        if self.loss_floor is None:
            return
        objection = check_daily_loss_limit(
            self._tracker.starting_equity, self._tracker.equity, self._risk.max_daily_loss
        )
        if objection is None:
            return
        at = bar_time + self._bar_length
        halt = Halt(self._loss_scope, objection.reason, at, self._hours.closes_at, self._record.session_id)
        self._halts[halt.scope] = halt
        entries.halts.append(halt)
        check = RiskCheck(
            self._record.session_id,
            bar_time,
            None,
            None,
            objection.rule,
            Verdict.HALTED,
            objection.reason,
            objection.observed,
            objection.limit_value,
        )
        entries.risk_checks.append(check)
        self._events.emit_checks([check])

    # One decision

    def assess(
        self, action: Action, symbol: str, bar_time: datetime, window: MarketWindow, assessment: Assessment
    ) -> int:
        """Add to ``assessment`` what ``action`` leads to; returns the position it asks for (signed shares)."""
        delta = self._delta(action, symbol, bar_time, window, assessment)
        price = self._tracker.price(symbol)
        refused = False
        if delta.side is not None and price is not None:
            refused = not self._approve(symbol, delta.side, delta.quantity, price, bar_time, window, assessment)
        if not (self._are_exits(symbol, delta) and (refused or self.halted_for(symbol) is not None)):
            assessment.cancels += delta.cancels
        return delta.target_quantity

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
                RiskCheck(
                    self._record.session_id, bar_time, symbol, None, "sizing", Verdict.REFUSED, str(error), None, None
                )
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
        view = self._view(symbol, side, wanted, price, window, assessment.reserved_cash)
        verdict = pre_trade_check(view, self._rules, self._throttle, self._router.minimum_quantity)
        at = bar_time + self._bar_length
        intent = self._router.intent(symbol, side, verdict.quantity or wanted, price, bar_time, at)
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
            assessment.reserved_cash += taking * price + commission
        assessment.approved.append(ApprovedOrder(intent, verdict))
        return True

    def _view(
        self, symbol: str, side: Side, quantity: int, price: Decimal, window: MarketWindow, reserved: Decimal
    ) -> RiskView:
        position = self._tracker.quantity(symbol)
        working = self._router.working_shares(symbol, side)
        # Shares that a working order closes already cannot be closed again.
        reducing = min(max(-position * side.sign - working, 0), quantity)
        true_range = average_true_range(window, symbol, self._atr_bars)
        return RiskView(
            symbol=symbol,
            side=side,
            quantity=quantity,
            adding=quantity - reducing,
            price=price,
            position=position,
            working=working,
            equity=self._tracker.equity,
            free_cash=self._free_cash() - reserved,
            average_volume=self._average_volume(symbol, window),
            spread_bps=None,
            volatility_fraction=None if true_range is None else true_range / price,
            halted=self.halted_for(symbol),
        )

    def _free_cash(self) -> Decimal:
        """Equity that nothing is bound by: what positions of either side and working orders are worth is taken off.

        Without short positions that is the cash less what working purchases will take; the proceeds of a short sale
        are no money to spend.
        """
        promised = self._router.promised_cash(self._tracker.quantity)
        return self._tracker.cash + 2 * self._tracker.short_value - promised

    def _average_volume(self, symbol: str, window: MarketWindow) -> Decimal | None:
        volumes: list[int] = window.volumes(symbol, self._risk.participation_bars).tolist()
        if not volumes or MISSING in volumes:
            return None
        return Decimal(sum(volumes)) / len(volumes)

    @property
    def _loss_scope(self) -> str:
        return f"account:{self._record.account}"
