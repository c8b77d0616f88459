"""Orders that work meet halts, refusals and a broker that gives no answer; a book meets late news."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from trading.assessment import Assessment
from trading.bars import Bar, BarSlice
from trading.brokers.paper import PaperBroker
from trading.calendar import TradingCalendar
from trading.decisions import Action, Halt, Signal
from trading.errors import BrokerUnavailable, OutcomeUnknown
from trading.market_window import LiveWindow
from trading.order_router import OrderRouter, OrderScope
from trading.orders import Execution, Fill, OrderEvent, OrderIntent, OrderStatus, Side
from trading.pnl_tracker import PnLTracker
from trading.policies.buy_and_hold import BuyAndHold
from trading.ports import Acknowledgement, BrokerAccount, BrokerOrder
from trading.risk_callbacks import ApprovedOrder, PreTradeVerdict, RiskEventHandler
from trading.risk_gate import RiskGate
from trading.sessions import Mode, SessionRecord, SessionState
from trading.settings import OrderSettings, Settings, SizingSettings

DAY = date(2026, 1, 5)
HOURS = TradingCalendar("XNYS", DAY).hours(DAY)
NOW = datetime(2026, 1, 5, 15, 0, tzinfo=UTC)
OPENS = HOURS.opens_at
SCOPE = OrderScope("2026-01-05.paper.sma", "sma", "paper", DAY)


def the_gate(held: int, **sections: Any):
    settings = Settings.model_validate(sections)
    broker = PaperBroker("paper", settings.broker.paper, OPENS)
    router = OrderRouter(SCOPE, settings.sizing, settings.orders, broker, lambda _entries: None)
    tracker = PnLTracker()
    fills = [
        Fill(
            Execution("x", "o", "SPY", Side.BUY, held, Decimal(100), Decimal(0), NOW),
            SCOPE.session_id,
            "paper",
            "paper",
        )
    ]
    tracker.initialize_portfolio_state(Decimal(100_000), fills, {"SPY": Decimal(100)})
    record = SessionRecord(
        SCOPE.session_id,
        "sma",
        "paper",
        DAY,
        Mode.RECORDED,
        SessionState.RUNNING,
        OPENS,
        "{}",
        "f",
        Decimal(100_000),
        Decimal(0),
    )
    gate = RiskGate(record, HOURS, settings, router, tracker, RiskEventHandler())
    window = LiveWindow(["SPY"], 64, 1 << 20, timedelta(days=1))
    for minute in range(30):
        at = OPENS + timedelta(minutes=minute)
        window.advance(BarSlice(at, {"SPY": Bar("SPY", at, *[Decimal(100)] * 4, 10_000)}))
    return gate, router, window


def place(router: OrderRouter, side: Side, quantity: int, minute: int = 0) -> str:
    at = OPENS + timedelta(minutes=minute)
    intent = router.intent("SPY", side, quantity, Decimal(100), at, at)
    router.place_order(ApprovedOrder(intent, PreTradeVerdict(quantity, ())))
    return intent.client_order_id


def test_shares_that_a_working_order_closes_are_not_closed_again() -> None:
    gate, router, window = the_gate(
        held=40, orders={"allow_short": True}, sizing={"method": "fixed_shares", "shares": 50}
    )
    place(router, Side.SELL, 40)
    gate.take_up_halts([Halt("all", "stop", NOW)])
    assessment = Assessment()
    gate.assess(Signal(Action.SELL), "SPY", NOW, window, assessment)
    # 40 are held and all 40 are being sold: 50 more would be a short position opened under a halt.
    assert [order.intent.quantity for order in assessment.approved] == []


def test_a_refused_purchase_does_not_cancel_the_exit_that_works() -> None:
    gate, router, window = the_gate(held=40)
    place(router, Side.SELL, 40)
    gate.take_up_halts([Halt("all", "stop", NOW)])
    assessment = Assessment()
    gate.assess(Signal(Action.BUY), "SPY", NOW, window, assessment)
    assert assessment.cancels == []


SMALL = {"sizing": {"method": "fixed_shares", "shares": 50}}


def test_a_policy_does_not_call_back_the_flatten_of_an_emergency_stop(at_desk, tape) -> None:
    bars = [Bar("SPY", OPENS + timedelta(minutes=minute), *[Decimal(100)] * 4, 100_000) for minute in range(6)]
    # A flatten of a bar without enough volume still works at the next decision.
    thin = [
        Bar("SPY", bar.bar_time, *[Decimal(100)] * 4, 100) if place_ == 2 else bar for place_, bar in enumerate(bars)
    ]
    with at_desk(
        source=tape(thin), decider=BuyAndHold(), broker={"paper": {"max_volume_fraction": "0.1"}}, **SMALL
    ) as desk:
        agent = desk.agent
        agent.open_session()
        agent.load_warmup_data()
        agent.validate_data()
        agent.reconcile("open")
        moments = agent.live_bars()
        for _ in range(2):
            agent.process_new_bar(*next(moments))
        assert agent.pnl_tracker.quantity("SPY") == 50
        agent.emergency_stop("out", flatten=True)
        for moment, findings in moments:
            agent.process_new_bar(moment, findings)
        assert agent.pnl_tracker.quantity("SPY") == 0


class Wire:
    source = "wire"

    def __init__(self) -> None:
        self.fails: list[Exception] = []
        self.cancelled: list[str] = []

    def _maybe(self) -> None:
        if self.fails:
            raise self.fails.pop(0)

    def submit(self, intent: OrderIntent) -> Acknowledgement:
        self._maybe()
        return Acknowledgement(intent.client_order_id, "B1", OrderStatus.ACCEPTED)

    def cancel(self, client_order_id: str) -> None:
        self._maybe()
        self.cancelled.append(client_order_id)

    def find_order(self, client_order_id: str) -> BrokerOrder | None:
        del client_order_id
        return None

    def poll(self):
        return ()

    def account(self) -> BrokerAccount:
        return BrokerAccount("paper", Decimal(0), (), ())


def wired() -> tuple[Wire, OrderRouter]:
    wire = Wire()
    return wire, OrderRouter(SCOPE, SizingSettings(), OrderSettings(), wire, lambda _entries: None)


def resolved(router: OrderRouter, moment: datetime) -> list[OrderEvent]:
    events: list[OrderEvent] = []
    router.resolve(moment, events)
    return events


def test_a_cancel_that_did_not_reach_the_broker_is_asked_for_again() -> None:
    wire, router = wired()
    order_id = place(router, Side.BUY, 10)
    wire.fails = [BrokerUnavailable("line is dead")]
    router.cancel_order(order_id, NOW)
    router.cancel_order(order_id, NOW + timedelta(minutes=1))
    assert wire.cancelled == [order_id]


def test_an_unconfirmed_order_that_was_cancelled_is_still_asked_for() -> None:
    wire, router = wired()
    wire.fails = [OutcomeUnknown("no answer")]
    order_id = place(router, Side.BUY, 10)
    router.cancel_order(order_id, NOW)
    # It never arrived: no report will ever end it, and the next session would find an order that is gone.
    [event] = resolved(router, NOW)
    assert event.status is OrderStatus.EXPIRED
    assert router.get_open_orders() == {}


def test_a_day_that_is_taken_up_again_keeps_its_win_rate() -> None:
    def fill(name, side, quantity, price):
        return Fill(Execution(name, "o", "SPY", side, quantity, Decimal(price), Decimal(0), NOW), "s", "paper", "paper")

    fills = [fill("1", Side.BUY, 20, "20"), fill("2", Side.SELL, 10, "21"), fill("3", Side.SELL, 10, "19")]
    tracker = PnLTracker()
    tracker.initialize_portfolio_state(Decimal(10_000), fills)
    tracker.resume_day(Decimal(10_000), Decimal(0), fills)
    assert tracker.get_portfolio_state().win_rate == Decimal("0.5")


def test_a_commission_that_becomes_known_is_booked() -> None:
    def fill(commission):
        return Fill(Execution("1", "o", "SPY", Side.BUY, 10, Decimal(20), commission, NOW), "s", "paper", "paper")

    tracker = PnLTracker()
    tracker.initialize_portfolio_state(Decimal(10_000), [fill(None)], {"SPY": Decimal(20)})
    tracker.update_position(fill(Decimal(1)))
    assert tracker.cash == Decimal(9_799)
