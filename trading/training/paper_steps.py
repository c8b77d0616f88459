"""One symbol's account at the paper broker, a bar at a time: what an agent is trained on.

The one rule: nothing here has rules of its own. Decisions become orders by the session's ``RiskGate`` and ``OrderRouter``, fills are
priced and charged by the paper broker's functions and booked by ``PnLTracker``, as in ``trading.history_replay``. What is left
out is what no agent can see: the ledger, the order's way to the broker and back, and bars on which nothing can happen.
"""

from collections import deque
from datetime import datetime, timedelta
from decimal import Decimal

import numpy as np

from trading.assessment import Assessment
from trading.bars import BarColumns, from_epoch_us, to_epoch_us
from trading.brokers.paper import PaperBroker
from trading.brokers.paper_commission import commission_of
from trading.brokers.paper_fill_rules import slipped
from trading.closing_steps import ClosingStep
from trading.decisions import Action, Signal
from trading.errors import ConfigurationError
from trading.market_window import HistoryWindow
from trading.money import from_micros, to_micros
from trading.order_router import OrderRouter, OrderScope
from trading.orders import (
    Execution,
    Fill,
    OpenOrder,
    OrderEvent,
    OrderIntent,
    OrderStatus,
    OrderType,
    Side,
    TimeInForce,
)
from trading.pnl_tracker import PnLTracker
from trading.ports import LedgerEntries
from trading.risk_events import RiskEventHandler
from trading.risk_gate import RiskGate
from trading.sessions import Mode, SessionRecord, SessionState, session_id
from trading.settings import Settings
from trading.trading_hours import TradingHours

ACCOUNT = "training"
_SOURCE = "paper"


def require_steppable(settings: Settings, bars: BarColumns) -> None:
    """Raise ``ConfigurationError`` for settings under which a bar cannot be told from its prices alone, and for bars of another length."""
    orders, paper = settings.orders, settings.broker.paper
    if orders.order_type is not OrderType.MARKET or orders.time_in_force is not TimeInForce.DAY:
        raise ConfigurationError(
            f"Agents are trained with MARKET orders for the DAY, not with {orders.order_type} {orders.time_in_force}: set "
            'orders.order_type = "MARKET" and orders.time_in_force = "DAY".'
        )
    if paper.max_volume_fraction is not None:
        raise ConfigurationError(
            f"Agents are trained without fills in parts: set broker.paper.max_volume_fraction to off, not to {paper.max_volume_fraction}."
        )
    if settings.stopping.flatten_on_loss:
        raise ConfigurationError(
            "Agents are trained without emergency stops: set stopping.flatten_on_loss = false. Losses halt all the same."
        )
    length = settings.session.timeframe.length // timedelta(microseconds=1)
    if len(bars) > 1 and int(np.diff(bars.time).min()) < length:
        raise ConfigurationError(
            f"Bars of {bars.symbol} follow one another sooner than after {settings.session.timeframe}: give bars of that length in ascending "
            "order, or set session.timeframe to theirs."
        )


class PaperSteps:
    """The account of one symbol. ``bars`` must have passed validation and may begin before the first session (warmup).

    A session is ``begin_session``, then for each of its bars ``see`` and ``decide``, then ``end_session``. Money is int micros.
    Raises ``ConfigurationError`` (see ``require_steppable``).
    """

    def __init__(self, settings: Settings, bars: BarColumns) -> None:
        require_steppable(settings, bars)
        self._settings = settings
        self._paper = settings.broker.paper
        self._symbol = bars.symbol
        self._bars = bars
        self._window = HistoryWindow({bars.symbol: bars})
        self._length = settings.session.timeframe.length
        self._allow_short = settings.orders.allow_short
        self._events = RiskEventHandler()
        self._open_prices: list[int] = bars.open.tolist()
        self._closes: list[int] = bars.close.tolist()
        self._volumes: list[int] = bars.volume.tolist()
        self._times: list[int] = bars.time.tolist()
        self.open_account()

    # The account

    def open_account(self) -> None:
        """Start again with an account that has its first cash and nothing else."""
        self._tracker = PnLTracker(self._settings.book.cost_basis)
        self._tracker.initialize_portfolio_state(self._paper.initial_cash)
        self._working: dict[str, OrderIntent] = {}
        self._closing_prices: dict[str, int] = {}
        self._highest_since: Decimal | None = None
        self._day_trades: deque[int] = deque(maxlen=max(self._settings.risk.pattern_day_trader.sessions - 1, 0))
        self._executions = 0
        self._close = 0
        self._take_up_book()

    def _take_up_book(self) -> None:
        """What the book says between two fills, as whole numbers."""
        tracker = self._tracker
        self.held = tracker.quantity(self._symbol)
        """Signed shares that are held."""
        self.cash = to_micros(tracker.cash)
        self.basis = to_micros(tracker.cost_basis)
        """Signed cost of what is held, opening commissions included."""
        self.equity = self.cash + self.held * self._close
        """Cash and what is held, at the newest close."""

    @property
    def market_value(self) -> int:
        """What is held, at the newest close; negative where it is short."""
        return self.held * self._close

    @property
    def unrealized_fraction(self) -> float:
        """Unrealized P&L, net of the opening commission, as a fraction of cost; 0 where nothing is held."""
        basis = self.basis
        return (self.held * self._close - basis) / abs(basis) if self.held and basis else 0.0

    @property
    def halted_for_good(self) -> str | None:
        """Why no session starts after this one: a halt that only a person ends; None where none stands."""
        return next((halt.reason for halt in self._gate.latches.standing if halt.expires_at is None), None)

    # A session

    def begin_session(self, hours: TradingHours) -> range:
        """Begin a session later than the one before; the rows of its bars."""
        settings, tracker = self._settings, self._tracker
        tracker.roll_day()
        record = SessionRecord(
            session_id(hours.session_date, ACCOUNT, settings.strategy),
            settings.strategy,
            ACCOUNT,
            hours.session_date,
            Mode.RECORDED,
            SessionState.RUNNING,
            hours.opens_at,
            "",
            "",
            tracker.equity,
            tracker.realized,
        )
        scope = OrderScope(record.session_id, record.strategy, ACCOUNT, hours.session_date)
        # The router says what is ordered; nothing is sent through it, so that its broker hears of nothing.
        unheard = PaperBroker(ACCOUNT, self._paper, hours.opens_at)
        self._router = OrderRouter(scope, settings.sizing, settings.orders, unheard, lambda _: None)
        self._gate = RiskGate(record, hours, settings, self._router, tracker, self._events)
        highest = tracker.high_water_mark
        if settings.risk.drawdown_since is not None:
            highest = tracker.starting_equity if self._highest_since is None else self._highest_since
        self._gate.begin_day(tracker.starting_equity, tracker.starting_equity, highest)
        self._gate.tape.take_up((), (), (), {self._symbol: self.held} if self.held else {}, sum(self._day_trades))
        self._hours = hours
        self._unwritten = LedgerEntries()
        self._highest_today = 0
        first, last = np.searchsorted(self._bars.time, (to_epoch_us(hours.opens_at), to_epoch_us(hours.closes_at)))
        self._first = int(first)
        self._opens_of_bars = [from_epoch_us(time) for time in self._times[first:last]]
        flattens = self._gate.closing.begin_of(ClosingStep.FLATTEN)
        self._flattens = flattens
        self._withdraws = min(self._gate.closing.begin_of(ClosingStep.REDUCE_ONLY), flattens - self._length)
        return range(int(first), int(last))

    def see(self, row: int) -> tuple[Execution, ...]:
        """The next bar: orders of earlier ones trade at its open, and what is held is worth its close. What was executed."""
        filled: tuple[Execution, ...] = ()
        if self._working and self._volumes[row]:
            filled = self._trade(row)
        self._close = close = self._closes[row]
        self.equity = equity = self.cash + self.held * close
        if equity > self._highest_today:
            self._highest_today = equity
        return filled

    def _trade(self, row: int) -> tuple[Execution, ...]:
        bar_time = self._opens_of_bars[row - self._first]
        executed = []
        # Bars are a length apart: none had begun when an order of the one before was made.
        for order_id, intent in list(self._working.items()):
            if intent.order_type is OrderType.MARKET_ON_CLOSE:
                self._closing_prices[order_id] = self._closes[row]
            else:
                executed.append(self._execute(intent, self._open_prices[row], bar_time))
        return tuple(executed)

    def _execute(self, intent: OrderIntent, price: int, at: datetime) -> Execution:
        """Fill an order wholly at a price of the market (micros), and book it."""
        paid = slipped(from_micros(price), intent.side, self._paper.slippage_bps)
        commission = commission_of(self._paper, intent.quantity, intent.quantity * paid)
        self._executions += 1
        execution = Execution(
            str(self._executions),
            intent.client_order_id,
            self._symbol,
            intent.side,
            intent.quantity,
            paid,
            commission,
            at,
        )
        fill = Fill(execution, intent.session_id, ACCOUNT, _SOURCE)
        self._end(intent.client_order_id, OrderStatus.FILLED, at)
        self._tracker.update_position(fill)
        self._gate.note_fills([fill], [self._symbol])
        self._take_up_book()
        return execution

    def decide(self, signal: Signal, row: int) -> None:
        """Decide on the bar that was seen last. What comes of it is sent, and trades with a later bar."""
        bar_time = self._opens_of_bars[row - self._first]
        price = from_micros(self._close)
        self._tracker.mark({self._symbol: price})
        self._gate.check_losses(bar_time, self._unwritten)
        working, at = self._working, bar_time + self._length
        flattens = at >= self._flattens and (self.held or working)
        asks = not flattens and self._changes_something(signal)
        if not asks and not (working and (at >= self._withdraws or self._gate.latches.standing)) and not flattens:
            return
        if asks and self._only_leaves(signal):
            intent = self._router.intent(self._symbol, Side.SELL, self.held, price, bar_time, at)
            self._gate.tape.note_order(intent)
            self._send(intent)
            return
        assessment = Assessment()
        if asks:
            self._window.move_to({self._symbol: row})
            self._gate.assess(signal, self._symbol, bar_time, self._window, assessment)
        if working or flattens:
            self._gate.close_out(bar_time, assessment)
        for order_id in assessment.cancels:
            self._end(order_id, OrderStatus.CANCELLED, at)
        for approved in assessment.approved:
            self._send(approved.intent)
        self._gate.forget_approvals()

    def _send(self, intent: OrderIntent) -> None:
        self._working[intent.client_order_id] = intent
        self._router.recover((OpenOrder(intent, OrderStatus.ACCEPTED, 0, 1),))

    def _only_leaves(self, signal: Signal) -> bool:
        """Whether the decision sells all that is held, and nothing is on its way: no rule ever has a say in that, so none is asked."""
        return signal.action is Action.SELL and self.held > 0 and not self._allow_short and not self._working

    def _changes_something(self, signal: Signal) -> bool:
        """Whether the decision may ask for another position than the one held or ordered: the others are kept as they are."""
        action = signal.action
        if action is Action.HOLD or signal.target_weight is not None:
            return action is not Action.HOLD
        expected = self.held
        for intent in self._working.values():
            expected += intent.side.sign * intent.quantity
        if action is Action.BUY:
            return expected <= 0
        return expected > 0 or (self._allow_short and expected == 0)

    def end_session(self) -> tuple[Execution, ...]:
        """The close: orders for the closing auction trade, all others expire. What was executed."""
        closes_at, executed = self._hours.closes_at, []
        for order_id, intent in list(self._working.items()):
            price = self._closing_prices.pop(order_id, None)
            if price is None:
                self._end(order_id, OrderStatus.EXPIRED, closes_at)
            else:
                executed.append(self._execute(intent, price, closes_at))
        tracker, since = self._tracker, self._settings.risk.drawdown_since
        if self.held:
            tracker.mark({self._symbol: from_micros(self._close)})
        highest = from_micros(self._highest_today)
        tracker.high_water_mark = max(tracker.high_water_mark, highest)
        if since is not None and self._highest_today and self._hours.session_date >= since:
            self._highest_since = highest if self._highest_since is None else max(self._highest_since, highest)
        self._day_trades.append(self._gate.tape.day_trades_today)
        return tuple(executed)

    def _end(self, order_id: str, status: OrderStatus, at: datetime) -> None:
        del self._working[order_id]
        self._closing_prices.pop(order_id, None)
        self._router.apply(OrderEvent(order_id, at, status))
