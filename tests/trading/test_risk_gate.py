from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading.assessment import Assessment
from trading.bars import Bar, BarSlice
from trading.brokers.paper import PaperBroker
from trading.calendar import TradingCalendar
from trading.decisions import Action, Halt, Signal, Verdict
from trading.market_window import LiveWindow
from trading.order_router import OrderRouter, OrderScope
from trading.orders import Execution, Fill, OrderIntent, Side
from trading.pnl_tracker import PnLTracker
from trading.ports import LedgerEntries
from trading.risk_callbacks import ApprovedOrder, PreTradeVerdict, RiskEventHandler
from trading.risk_gate import RiskGate
from trading.sessions import Mode, SessionRecord, SessionState
from trading.settings import Settings

DAY = date(2026, 1, 5)
HOURS = TradingCalendar("XNYS", DAY).hours(DAY)
RECORD = SessionRecord(
    "2026-01-05.paper.sma", "sma", "paper", DAY, Mode.RECORDED, SessionState.RUNNING, HOURS.opens_at, "{}", "f",
    Decimal(100_000), Decimal(0),
)  # fmt: skip
NOW = datetime(2026, 1, 5, 15, 0, tzinfo=UTC)


class Gate:
    """A gate with a book, a window of thirty bars at 100 of 10,000 shares, and whatever is held."""

    broker: type[PaperBroker] = PaperBroker

    def __init__(self, held: Mapping[str, int] | None = None, **sections: Any) -> None:
        settings = Settings.model_validate(sections)
        self.saved: list[OrderIntent] = []
        scope = OrderScope(RECORD.session_id, "sma", "paper", DAY)
        broker = self.broker("paper", settings.broker.paper, HOURS.opens_at)
        self.router = OrderRouter(scope, settings.sizing, settings.orders, broker, self._save)
        self.tracker = PnLTracker()
        fills = [
            Execution(f"x-{symbol}", "o", symbol, Side.BUY if shares > 0 else Side.SELL, abs(shares), Decimal(100), Decimal(0), NOW)
            for symbol, shares in (held or {}).items()
        ]  # fmt: skip
        self.tracker.initialize_portfolio_state(
            Decimal(100_000),
            [Fill(execution, RECORD.session_id, "paper", "paper") for execution in fills],
            dict.fromkeys(held or {}, Decimal(100)),
        )
        self.gate = RiskGate(RECORD, HOURS, settings, self.router, self.tracker, RiskEventHandler())
        self.window = LiveWindow(["SPY", "QQQ"], 64, 1 << 20, timedelta(days=1))

    def _save(self, entries: LedgerEntries) -> None:
        self.saved += entries.intents

    def price(self, price: str = "100", volume: int | None = 10_000) -> "Gate":
        for minute in range(30):
            at = HOURS.opens_at + timedelta(minutes=minute)
            one = [Bar(symbol, at, *[Decimal(price)] * 4, volume) for symbol in ("SPY", "QQQ")]
            self.window.advance(BarSlice(at, {bar.symbol: bar for bar in one}))
        self.tracker.mark({"SPY": Decimal(price), "QQQ": Decimal(price)})
        return self

    def assess(self, action: Action, *symbols: str) -> Assessment:
        assessment = Assessment()
        for symbol in symbols or ("SPY",):
            self.gate.assess(Signal(action), symbol, NOW, self.window, assessment)
        return assessment


def sent(assessment: Assessment) -> list[tuple[str, Side, int]]:
    return [(order.intent.symbol, order.intent.side, order.intent.quantity) for order in assessment.approved]


def reasons(assessment: Assessment) -> list[tuple[str, Verdict]]:
    return [(check.rule, check.verdict) for check in assessment.checks]


def test_an_order_within_the_limits_is_approved_as_it_is() -> None:
    # A tenth of 100,000 at 100.
    assessment = Gate().price().assess(Action.BUY)
    assert (sent(assessment), assessment.checks) == ([("SPY", Side.BUY, 100)], [])
    # 100 x 100, and the least commission of 1.
    assert assessment.reserved_cash == Decimal(10_001)


class RestsFromThree(PaperBroker):
    """Away from 15:01 UTC on, which is when a bar of 15:00 ends."""

    def no_new_orders(self, at: datetime) -> str | None:
        return "the broker restarts at 15:05" if at >= NOW + timedelta(minutes=1) else None


class AtNight(Gate):
    broker = RestsFromThree


def test_before_the_broker_rests_nothing_is_added_and_everything_can_be_closed() -> None:
    assessment = AtNight().price().assess(Action.BUY)
    assert sent(assessment) == []
    assert [(check.rule, check.verdict, check.reason) for check in assessment.checks] == [
        ("broker_resting", Verdict.REFUSED, "the broker restarts at 15:05")
    ]
    assert sent(AtNight({"SPY": 70}).price().assess(Action.SELL)) == [("SPY", Side.SELL, 70)]
    # A bar earlier it takes orders.
    earlier, gate = Assessment(), AtNight().price()
    gate.gate.assess(Signal(Action.BUY), "SPY", NOW - timedelta(minutes=1), gate.window, earlier)
    assert sent(earlier) == [("SPY", Side.BUY, 100)]


def test_an_exit_that_works_is_not_called_back_before_the_broker_rests() -> None:
    desk = AtNight({"SPY": 70}).price()
    selling = desk.router.market_intent("SPY", Side.SELL, 70, Decimal(100), NOW - timedelta(minutes=2), NOW, "main")
    desk.router.place_order(ApprovedOrder(selling, PreTradeVerdict(70, ())))
    assert desk.assess(Action.BUY).cancels == []


def test_a_session_that_began_late_opens_nothing_closes_all_and_calls_no_exit_back() -> None:
    desk = Gate().price()
    desk.gate.only_reduce("it begins 30 minutes after the bell")
    assessment = desk.assess(Action.BUY)
    assert sent(assessment) == []
    assert reasons(assessment) == [("late_start", Verdict.REFUSED)]
    holding = Gate({"SPY": 70}).price()
    holding.gate.only_reduce("it begins 30 minutes after the bell")
    assert sent(holding.assess(Action.SELL)) == [("SPY", Side.SELL, 70)]
    selling = holding.router.market_intent("SPY", Side.SELL, 70, Decimal(100), NOW - timedelta(minutes=2), NOW, "main")
    holding.router.place_order(ApprovedOrder(selling, PreTradeVerdict(70, ())))
    assert holding.assess(Action.BUY).cancels == []


def test_the_commission_of_an_order_is_expected_as_set_whoever_executes_it() -> None:
    expected = {"expected_commission_per_share": "0.02", "expected_commission_minimum": "0.50"}
    desk = Gate(orders=expected, broker={"kind": "ib"}).price()
    # 100 x 100, and 100 x 0.02.
    assert desk.assess(Action.BUY).reserved_cash == Decimal(10_002)


def test_an_order_is_trimmed_to_the_least_limit_and_says_so() -> None:
    assessment = Gate(risk={"max_order_shares": 60, "max_position_shares": 40}).price().assess(Action.BUY)
    assert sent(assessment) == [("SPY", Side.BUY, 40)]
    assert reasons(assessment) == [("max_order_shares", Verdict.TRIMMED), ("max_position_shares", Verdict.TRIMMED)]


def test_without_volume_nothing_is_added_and_everything_can_be_closed() -> None:
    assert reasons(Gate().price(volume=None).assess(Action.BUY)) == [("throttle_size", Verdict.REFUSED)]
    assert reasons(Gate().price(volume=0).assess(Action.BUY)) == [("throttle_size", Verdict.REFUSED)]
    assert sent(Gate({"SPY": 70}).price(volume=None).assess(Action.SELL)) == [("SPY", Side.SELL, 70)]


def test_a_throttled_order_is_a_share_of_the_average_volume() -> None:
    # A tenth of 300 shares.
    assert sent(Gate().price(volume=300).assess(Action.BUY)) == [("SPY", Side.BUY, 30)]


def test_without_a_price_nothing_is_decided() -> None:
    assessment = Gate().assess(Action.BUY)
    assert sent(assessment) == []
    assert [check.reason for check in assessment.checks] == ["no price for SPY"]


@pytest.mark.parametrize("scope", ["all", "account:paper", "strategy:sma", "symbol:SPY"])
def test_a_halt_refuses_to_add_and_lets_a_position_go(scope: str) -> None:
    desk = Gate({"QQQ": 70}).price()
    desk.gate.take_up_halts([Halt(scope, "stop", NOW)])
    assert reasons(desk.assess(Action.BUY, "SPY")) == [("halted", Verdict.REFUSED)]
    assert sent(desk.assess(Action.SELL, "QQQ")) == [("QQQ", Side.SELL, 70)]


def test_a_halt_of_a_symbol_is_for_that_symbol() -> None:
    desk = Gate().price()
    desk.gate.take_up_halts([Halt("symbol:SPY", "stop", NOW)])
    assert desk.gate.halted is None
    assert sent(desk.assess(Action.BUY, "SPY", "QQQ")) == [("QQQ", Side.BUY, 100)]


def test_the_days_loss_halts_once_at_its_limit() -> None:
    others = ("max_daily_loss_fraction", "max_session_drawdown_fraction", "max_drawdown_fraction")
    others += ("max_drawdown_speed_fraction", "max_symbol_loss")
    desk = Gate({"SPY": 100}, risk=dict.fromkeys(others)).price("100")
    entries = LedgerEntries()
    # 100 shares from 100 to 90.01 lose 999; to 90 the limit of 1,000.
    for price, halts in (("90.01", 0), ("90", 1), ("80", 1), ("100", 1)):
        desk.tracker.mark({"SPY": Decimal(price)})
        desk.gate.check_losses(NOW, entries)
        assert len(entries.halts) == halts
    [halt], [check] = entries.halts, entries.risk_checks
    assert (halt.scope, halt.halted_at, halt.expires_at, halt.rule) == (
        "account:paper",
        NOW + timedelta(minutes=1),
        HOURS.closes_at,
        "max_daily_loss",
    )
    assert (check.rule, check.verdict, check.observed, check.limit_value) == (
        "max_daily_loss",
        Verdict.HALTED,
        1000,
        1000,
    )
    assert desk.gate.halted == "the day has lost 1000.00 of at most 1000.00"


def test_a_symbol_that_has_lost_too_much_halts_alone() -> None:
    desk = Gate({"SPY": 100, "QQQ": 10}).price("100")
    entries = LedgerEntries()
    # 100 shares from 100 to 95 lose 500; of the account that is half a per cent.
    desk.tracker.mark({"SPY": Decimal("95.01")})
    assert desk.gate.check_losses(NOW, entries) == []
    desk.tracker.mark({"SPY": Decimal("95")})
    [halt] = desk.gate.check_losses(NOW, entries)
    assert (halt.scope, halt.rule, halt.expires_at) == ("symbol:SPY", "max_symbol_loss", HOURS.closes_at)
    assert desk.gate.check_losses(NOW, entries) == []
    assert desk.gate.halted is None
    assert reasons(desk.assess(Action.BUY, "QQQ")) == []


def test_a_loss_that_cannot_be_told_halts_until_the_close() -> None:
    desk = Gate({"SPY": 100}).price("100")
    desk.tracker.mark({"SPY": Decimal("NaN")})
    entries = LedgerEntries()
    [halt] = desk.gate.check_losses(NOW, entries)
    assert (halt.scope, halt.rule) == ("account:paper", "unknown_loss")
    assert desk.gate.halted is not None


@pytest.mark.parametrize(
    ("orders", "now", "free"),
    [
        # 100 shares at 100 are bound at once, and at 110 when the market has moved there and nothing was filled yet.
        ({}, "100", "90000"),
        ({}, "110", "89000"),
        ({}, "90", "90000"),
        # A stop is bought at 105 or more, a limit at 101 and never above.
        ({"order_type": "STOP", "stop_offset_bps": "500"}, "100", "89500"),
        ({"order_type": "STOP", "stop_offset_bps": "500"}, "110", "89000"),
        ({"order_type": "LIMIT", "limit_offset_bps": "100"}, "110", "89900"),
    ],
)
def test_an_open_order_binds_what_it_would_cost_now(orders: dict[str, str], now: str, free: str) -> None:
    desk = Gate(orders=orders, risk={"max_position_fraction": "1"}, sizing={"method": "fixed_shares", "shares": 100})
    desk.price()
    desk.router.place_orders(desk.assess(Action.BUY).approved)
    desk.tracker.mark({"SPY": Decimal(now)})
    other = desk.router.intent("QQQ", Side.BUY, 10, Decimal(100), NOW, NOW + timedelta(minutes=1))
    assert desk.gate.view_of(other, desk.window, Assessment()).free_cash == Decimal(free)


def test_a_reduction_may_be_of_any_size() -> None:
    assert sent(Gate({"SPY": 900}, risk={"max_order_shares": 10}).price().assess(Action.SELL)) == [
        ("SPY", Side.SELL, 900)
    ]


def test_a_turn_that_may_not_add_is_a_plain_exit() -> None:
    desk = Gate({"SPY": 70}, orders={"allow_short": True}, risk={"max_position_shares": 1}).price()
    desk.gate.take_up_halts([Halt("all", "stop", NOW)])
    assert sent(desk.assess(Action.SELL)) == [("SPY", Side.SELL, 70)]


@given(
    held=st.integers(-300, 300),
    action=st.sampled_from(Action),
    allow_short=st.booleans(),
    price=st.sampled_from(["0.01", "1", "99.99", "100000"]),
    volume=st.none() | st.integers(0, 10_000),
    halted=st.booleans(),
)
def test_no_decision_takes_a_position_beyond_its_limits(
    held: int, action: Action, allow_short: bool, price: str, volume: int | None, halted: bool
) -> None:
    desk = Gate({"SPY": held} if held else {}, orders={"allow_short": allow_short}).price(price, volume)
    if halted:
        desk.gate.take_up_halts([Halt("all", "stop", NOW)])
    for _, side, quantity in sent(desk.assess(action)):
        after = held + side.sign * quantity
        grown = abs(after) > abs(held) or after * held < 0
        if halted or volume is None or volume < 10:
            assert not grown
        if grown:
            assert abs(after) <= 1_000
            assert abs(after) * Decimal(price) <= desk.tracker.equity / 10
        assert allow_short or after >= min(held, 0)
