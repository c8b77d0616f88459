"""What risk costs: the whole rule set for one order, and a bar on which nothing is ordered.

Every limit that can be switched on is on, value-at-risk and expected shortfall included, none of them speaks, and the book has
what a busy book has.
"""

import random
import statistics
import time
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from trading.assessment import Assessment
from trading.bars import Bar, BarSlice
from trading.brokers.paper import PaperBroker
from trading.calendar import TradingCalendar
from trading.market_window import LiveWindow
from trading.order_router import OrderRouter, OrderScope
from trading.orders import Execution, Fill, OpenOrder, OrderIntent, OrderStatus, Side
from trading.pnl_tracker import PnLTracker
from trading.ports import LedgerEntries
from trading.risk_callbacks import pre_trade_check
from trading.risk_events import RiskEventHandler
from trading.risk_gate import RiskGate
from trading.sessions import Mode, SessionRecord, SessionState
from trading.settings import Settings
from trading.value_at_risk import TailScenarios

MICROSECONDS = 1_000_000.0
DAY = date(2026, 1, 6)
HOURS = TradingCalendar("XNYS", DAY).hours(DAY)
HELD = ("AAA", "BBB", "CCC")
SYMBOLS = (*HELD, "DDD")
A_MINUTE = timedelta(minutes=1)
ORDERS, BARS = 2_000, 20_000

EVERYTHING_ON: dict[str, Any] = {
    "min_order_notional": 1,
    "max_gross_exposure": 10_000_000,
    "max_net_exposure": 10_000_000,
    "max_concentration_fraction": Decimal("0.9"),
    "max_value_at_risk_fraction": Decimal("0.9"),
    "max_expected_shortfall_fraction": Decimal("0.9"),
    "not_tradable": ["ZZZ"],
    "max_orders_per_session": 1_000_000,
    "max_orders_per_second": 1_000_000,
    "max_duplicate_orders": 1_000_000,
    "max_trades_per_session": 1_000_000,
    "pattern_day_trader": {"enabled": True, "brokers": ["paper"], "minimum_equity": 1},
}


class Desk:
    """A gate at one in the afternoon: three positions, some open orders, a day's history of four symbols."""

    def __init__(self, working: int = 1, **risk: Any) -> None:
        settings = Settings.model_validate(
            {
                "session": {"symbols": SYMBOLS},
                # The day of two thousand minutes has no close; the rule of the closing minutes is asked all the same.
                "closing": {"hold_overnight": True},
                "risk": {**EVERYTHING_ON, **risk},
                "orders": {"order_type": "LIMIT", "limit_offset_bps": 1, "tick_size": "0.01"},
            }
        )
        record = SessionRecord(
            "bench", "bench", "paper", DAY, Mode.RECORDED, SessionState.RUNNING, HOURS.opens_at, "{}", "f",
            Decimal(100_000), Decimal(0),
        )  # fmt: skip
        self.bars = settings.risk.value_at_risk_bars + 1
        self.window = LiveWindow(SYMBOLS, self.bars, 1 << 28, timedelta(days=40))
        self.tracker = PnLTracker()
        fills = [
            Fill(Execution(f"x{symbol}", symbol, symbol, Side.BUY, 50, Decimal(100), Decimal(1), HOURS.opens_at), "bench", "paper", "p")
            for symbol in HELD
        ]  # fmt: skip
        self.tracker.initialize_portfolio_state(Decimal(100_000), fills, dict.fromkeys(HELD, Decimal(100)))
        scope = OrderScope("bench", "bench", "paper", DAY)
        broker = PaperBroker("paper", settings.broker.paper, HOURS.opens_at)
        self.router = OrderRouter(scope, settings.sizing, settings.orders, broker, lambda _: None)
        at = HOURS.opens_at + A_MINUTE
        self.router.recover(
            OpenOrder(OrderIntent(f"o{number}", "bench", "paper", at, symbol, Side.BUY, 5, Decimal(100), at), OrderStatus.ACCEPTED, 0)
            for number, symbol in enumerate(SYMBOLS[:working])
        )  # fmt: skip
        self.gate = RiskGate(record, HOURS, settings, self.router, self.tracker, RiskEventHandler())
        self.gate.note_fills(fills, HELD)
        self.at = datetime(2026, 1, 6, 18, 0, tzinfo=UTC) - self.bars * A_MINUTE
        self._walk = random.Random(7)
        self._cents = dict.fromkeys(SYMBOLS, 10_000)
        for _ in range(self.bars):
            self.advance()

    def advance(self) -> None:
        """The next minute: prices walk by some cents, and not away."""
        self.at += A_MINUTE
        bars = {}
        for symbol, cents in self._cents.items():
            self._cents[symbol] = cents + round(self._walk.gauss((10_000 - cents) / 100, 5))
            close = Decimal(self._cents[symbol]) / 100
            bars[symbol] = Bar(symbol, self.at, close, close + Decimal("0.05"), close - Decimal("0.05"), close, 50_000)
        self.window.advance(BarSlice(self.at, bars))
        self.tracker.mark({symbol: bar.close for symbol, bar in bars.items()})


def orders(desk: Desk) -> list[float]:
    """Microseconds for each of many orders, one a bar, each for another symbol than the one before."""
    taken = []
    for number in range(ORDERS):
        desk.advance()
        symbol = SYMBOLS[number % len(SYMBOLS)]
        price = desk.tracker.price(symbol)
        assert price is not None
        intent = desk.router.intent(symbol, Side.BUY, 10, price, desk.at, desk.at + A_MINUTE)
        started = time.perf_counter()
        view = desk.gate.view_of(intent, desk.window, Assessment())
        verdict = pre_trade_check(view, desk.gate._rules, desk.gate._throttle)
        taken.append((time.perf_counter() - started) * MICROSECONDS)
        assert verdict.quantity == 10, verdict.objections
    return taken


def test_the_whole_rule_set_for_one_order(figures: Any) -> None:
    desk = Desk()
    taken = orders(desk)
    note = f"{len(desk.gate._rules)} rules, the throttle, and all they look at; 3 positions, 1 open order"
    figures.add("risk of one order, median", statistics.median(taken), "us", at_most=50, note=note)
    figures.add("risk of one order, p99", statistics.quantiles(taken, n=100)[98], "us")
    busy = statistics.median(orders(Desk(working=4)))
    figures.add("risk of one order, median, 4 open orders", busy, "us")


def test_the_tail_costs_no_more_after_a_longer_history(figures: Any) -> None:
    without = statistics.median(orders(Desk(max_value_at_risk_fraction="off", max_expected_shortfall_fraction="off")))
    figures.add("risk of one order without tails, median", without, "us", at_most=50)
    early, late = told(Desk()), told(Desk(), after=5_000)
    figures.add("tail of the book told, median", early, "us", note="250 returns of 4 symbols, one of them new")
    figures.add("the same after 5,000 bars", late / early, "x", at_most=1.2)


def told(desk: Desk, after: int = 0) -> float:
    """Microseconds to tell value-at-risk and expected shortfall, one bar after the other, once so many have passed."""
    for _ in range(after):
        desk.advance()
    tails = TailScenarios(250, Decimal("0.99"), 390)
    worth = {symbol: held * price for symbol, held, price in desk.tracker.holdings}
    taken = []
    for _ in range(ORDERS):
        desk.advance()
        started = time.perf_counter()
        tails.of_book(desk.window, worth, "DDD").with_added(Decimal(1_000))
        taken.append((time.perf_counter() - started) * MICROSECONDS)
    return statistics.median(taken)


def test_a_bar_without_orders(figures: Any) -> None:
    desk = Desk()
    for order_id in list(desk.router.get_open_orders()):
        desk.router._open.pop(order_id)
    entries = LedgerEntries()
    bar_times = [desk.at + number * timedelta(milliseconds=1) for number in range(BARS)]
    taken = []
    for bar_time in bar_times:
        assessment = Assessment()
        started = time.perf_counter()
        desk.gate.check_losses(bar_time, entries)
        desk.gate.close_out(bar_time, assessment)
        taken.append((time.perf_counter() - started) * MICROSECONDS)
    assert not entries.halts
    figures.add("risk of a bar without orders, median", statistics.median(taken), "us", at_most=2, note="3 positions")


@pytest.fixture(autouse=True)
def _quiet() -> None:
    """Nothing listens: what telling costs is measured nowhere else either."""
