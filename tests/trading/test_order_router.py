import threading
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.store import open_store
from trading.bars import Bar, BarSlice
from trading.brokers.paper import PaperBroker
from trading.decisions import Action
from trading.errors import (
    BrokerUnavailable,
    HookMayNotTrade,
    LeaseLost,
    OrderRefused,
    OutcomeUnknown,
    StoreError,
)
from trading.hooks import Happening, Observers
from trading.order_router import OrderDelta, OrderRouter, OrderScope
from trading.orders import (
    Execution,
    OpenOrder,
    OrderAmendment,
    OrderEvent,
    OrderIntent,
    OrderStatus,
    OrderType,
    Side,
    TimeInForce,
)
from trading.ports import Acknowledgement, BrokerAccount, BrokerOrder, LedgerEntries, OrderReport
from trading.risk_callbacks import ApprovedOrder, PreTradeVerdict
from trading.settings import OrderSettings, PaperSettings, SizingSettings
from trading.sizing import CannotSize

OPEN = datetime(2026, 1, 5, 14, 30, tzinfo=UTC)
SCOPE = OrderScope("2026-01-05.paper.sma", "sma", "paper", date(2026, 1, 5))


def at(minute: int) -> datetime:
    return OPEN + timedelta(minutes=minute)


class Wire:
    """A broker behind a line that can fail: each answer that is set is given once, then everything is accepted."""

    source = "wire"
    connections = 1
    executions_kept_since = None

    def __init__(self) -> None:
        self.answers: list[Exception] = []
        self.arrives = True
        self.slow = False
        self.on_its_way: dict[str, BrokerOrder] = {}
        self.amended: list[OrderAmendment] = []
        self.sent: list[OrderIntent] = []
        self.cancelled: list[str] = []
        self.orders: dict[str, BrokerOrder] = {}
        self.news: list[OrderReport | Execution] = []

    def submit(self, intent: OrderIntent) -> Acknowledgement:
        self.sent.append(intent)
        order_id = intent.client_order_id
        if self.arrives:
            (self.on_its_way if self.slow else self.orders)[order_id] = BrokerOrder(
                order_id, f"B{len(self.sent)}", intent.symbol, intent.side, intent.quantity, 0, OrderStatus.ACCEPTED
            )
        if self.answers:
            raise self.answers.pop(0)
        return Acknowledgement(order_id, f"B{len(self.sent)}", OrderStatus.ACCEPTED)

    def cancel(self, client_order_id: str) -> None:
        self.cancelled.append(client_order_id)
        if self.answers:
            raise self.answers.pop(0)

    def replace(self, amendment: OrderAmendment) -> None:
        self.amended.append(amendment)
        if self.answers:
            raise self.answers.pop(0)

    def find_order(self, client_order_id: str) -> BrokerOrder | None:
        if self.answers:
            raise self.answers.pop(0)
        return self.orders.get(client_order_id)

    def poll(self) -> tuple[OrderReport | Execution, ...]:
        news, self.news = tuple(self.news), []
        return news

    def executions(self, since: datetime | None) -> tuple[Execution, ...]:
        return tuple(
            one for one in self.news if isinstance(one, Execution) and (since is None or one.executed_at >= since)
        )

    def account(self) -> BrokerAccount:
        return BrokerAccount("paper", Decimal(0), (), ())


class Desk:
    """A router with everything it was asked to save."""

    def __init__(self, broker: Wire | PaperBroker | None = None, **orders: object) -> None:
        self.broker = broker or Wire()
        self.saved = LedgerEntries()
        self.waited = 0
        self.known: dict[str, OpenOrder] = {}
        self.router = OrderRouter(
            SCOPE,
            SizingSettings(),
            OrderSettings.model_validate(orders),
            self.broker,
            self.saved.add,
            lambda ids: {name: self.known[name] for name in ids if name in self.known},
            self._settle,
        )

    def _settle(self) -> None:
        """The settle time passes; what was on its way arrives."""
        self.waited += 1
        if isinstance(self.broker, Wire):
            self.broker.orders |= self.broker.on_its_way

    def intent(self, side: Side, quantity: int, minute: int = 0, symbol: str = "SPY") -> OrderIntent:
        return self.router.intent(symbol, side, quantity, Decimal(100), at(minute), at(minute + 1))

    def place(self, side: Side, quantity: int, minute: int = 0, symbol: str = "SPY") -> str:
        intent = self.intent(side, quantity, minute, symbol)
        self.router.place_order(approved(intent))
        return intent.client_order_id

    def delta(self, action: Action, position: int, size: int = 100) -> OrderDelta:
        return self.router.calculate_shares_and_action(action, "SPY", position, lambda: size)

    @property
    def statuses(self) -> list[OrderStatus]:
        return [order.status for order in self.router.get_open_orders().values()]


def resolved(router: OrderRouter, moment: datetime) -> list[OrderEvent]:
    events: list[OrderEvent] = []
    router.resolve(moment, events)
    return events


def approved(intent: OrderIntent) -> ApprovedOrder:
    return ApprovedOrder(intent, PreTradeVerdict(intent.quantity, ()))


def wired(desk: Desk) -> Wire:
    assert isinstance(desk.broker, Wire)
    return desk.broker


def executed(order_id: str, quantity: int, exec_id: str = "x") -> Execution:
    return Execution(exec_id, order_id, "SPY", Side.BUY, quantity, Decimal(100), Decimal(1), at(1))


# From a target to an order


@pytest.mark.parametrize(
    ("action", "position", "target", "side", "quantity"),
    [
        (Action.BUY, 0, 100, Side.BUY, 100),
        # What has the wanted direction is kept as it is, whatever a new position would be.
        (Action.BUY, 30, 30, None, 0),
        (Action.BUY, 300, 300, None, 0),
        (Action.SELL, 70, 0, Side.SELL, 70),
        (Action.SELL, 0, 0, None, 0),
        (Action.HOLD, 70, 70, None, 0),
        (Action.HOLD, 0, 0, None, 0),
        # A short position that is there from elsewhere is not made larger, and a BUY turns it.
        (Action.SELL, -40, -40, None, 0),
        (Action.BUY, -40, 100, Side.BUY, 140),
    ],
)
def test_the_order_is_what_lies_between_the_position_and_what_is_wanted(
    action: Action, position: int, target: int, side: Side | None, quantity: int
) -> None:
    assert Desk().delta(action, position) == OrderDelta(target, side, quantity, ())


@pytest.mark.parametrize(
    ("action", "position", "target", "side", "quantity"),
    [
        (Action.SELL, 0, -100, Side.SELL, 100),
        (Action.SELL, 70, -100, Side.SELL, 170),
        (Action.SELL, -30, -30, None, 0),
        (Action.BUY, -30, 100, Side.BUY, 130),
    ],
)
def test_where_shorts_are_allowed_selling_goes_on_below_zero(
    action: Action, position: int, target: int, side: Side | None, quantity: int
) -> None:
    assert Desk(allow_short=True).delta(action, position) == OrderDelta(target, side, quantity, ())


@pytest.mark.parametrize(
    ("weight", "position", "allow_short", "target"),
    [
        # A tenth of 99,950 at 100 are 99.95 shares; a part of one is not bought, on neither side.
        (0.1, 0, False, 99),
        (-0.1, 0, True, -99),
        (-0.1, 0, False, 0),
        (-0.1, 50, False, 0),
        (0.0, 50, True, 0),
        # The band is a tenth of the target: 90 to 108 shares are left alone, 89 and 109 are not.
        (0.1, 90, False, 90),
        (0.1, 89, False, 99),
        (0.1, 108, False, 108),
        (0.1, 109, False, 99),
        (-0.1, -90, True, -90),
        (0.1, -95, True, 99),
    ],
)
def test_a_weight_is_a_fraction_of_equity_in_whole_shares(
    weight: float, position: int, allow_short: bool, target: int
) -> None:
    router = Desk(allow_short=allow_short).router
    assert router.weighted_target(weight, "SPY", position, Decimal(100), Decimal(99_950)) == target


def test_what_is_on_its_way_counts_to_a_weight() -> None:
    desk = Desk()
    desk.place(Side.BUY, 60)
    assert desk.router.weighted_target(0.1, "SPY", 40, Decimal(100), Decimal(100_000)) == 100
    assert desk.router.weighted_target(0.06, "SPY", 0, Decimal(100), Decimal(100_000)) == 60


@pytest.mark.parametrize(
    ("price", "equity"), [(None, 100_000), (Decimal(0), 100_000), (Decimal(100), 0), (Decimal(100), -1)]
)
def test_a_weight_of_nothing_known_is_no_size_but_nothing_is_always_nothing(price: Decimal | None, equity: int) -> None:
    router = Desk().router
    with pytest.raises(CannotSize):
        router.weighted_target(0.1, "SPY", 0, price, Decimal(equity))
    assert router.weighted_target(0.0, "SPY", 70, price, Decimal(equity)) == 0


def test_a_size_is_asked_for_only_when_a_position_is_opened() -> None:
    def size() -> int:
        raise AssertionError("asked")

    router = Desk().router
    router.calculate_shares_and_action(Action.SELL, "SPY", 50, size)
    router.calculate_shares_and_action(Action.BUY, "SPY", 50, size)
    router.calculate_shares_and_action(Action.HOLD, "SPY", 0, size)


def test_an_order_that_works_in_the_wanted_direction_is_enough() -> None:
    desk = Desk()
    desk.place(Side.BUY, 100)
    assert desk.delta(Action.BUY, 0) == OrderDelta(100, None, 0, ())
    # 40 of it filled: still the same 100.
    desk.router.note_fill(next(iter(desk.router.get_open_orders())), 40)
    assert desk.delta(Action.BUY, 40) == OrderDelta(100, None, 0, ())


def test_an_opposing_order_is_cancelled_and_not_counted_on() -> None:
    desk = Desk()
    bought = desk.place(Side.BUY, 50)
    # 100 are held and 50 might come: only what is held is sold.
    assert desk.delta(Action.SELL, 100) == OrderDelta(0, Side.SELL, 100, (bought,))
    # Nothing is held: there is nothing to sell, only something to cancel.
    assert desk.delta(Action.SELL, 0) == OrderDelta(0, None, 0, (bought,))


def test_a_changed_mind_cancels_the_exit_and_buys_nothing_twice() -> None:
    desk = Desk()
    sold = desk.place(Side.SELL, 100)
    assert desk.delta(Action.BUY, 100, size=100) == OrderDelta(100, None, 0, (sold,))


def test_orders_of_another_symbol_do_not_matter() -> None:
    desk = Desk()
    desk.place(Side.BUY, 50, symbol="QQQ")
    assert desk.delta(Action.BUY, 0) == OrderDelta(100, Side.BUY, 100, ())
    assert (desk.router.working_shares("SPY", Side.BUY), desk.router.working_shares("QQQ", Side.BUY)) == (0, 50)


def test_open_buys_promise_their_cash_and_sales_promise_none() -> None:
    desk = Desk()
    desk.place(Side.BUY, 50)
    desk.place(Side.SELL, 10, minute=1)
    desk.router.note_fill(next(iter(desk.router.get_open_orders())), 20)
    assert desk.router.promised_cash(lambda _symbol: 10) == Decimal(3_000)


WORKING = st.lists(st.tuples(st.sampled_from(Side), st.integers(1, 300)), max_size=4)


@given(
    action=st.sampled_from(Action),
    position=st.integers(0, 300),
    working=WORKING,
    size=st.integers(0, 300),
)
def test_without_shorts_no_order_sells_more_than_is_held(
    action: Action, position: int, working: list[tuple[Side, int]], size: int
) -> None:
    desk = Desk()
    selling = 0
    for minute, (side, quantity) in enumerate(working):
        # Working sales never exceed what is held: that is what is to be kept true.
        quantity = min(quantity, position - selling) if side is Side.SELL else quantity
        if quantity:
            desk.place(side, quantity, minute)
            selling += quantity if side is Side.SELL else 0
    delta = desk.delta(action, position, size)
    if delta.side is Side.SELL:
        assert selling + delta.quantity <= position
    assert delta.quantity >= 0
    assert (delta.side is None) == (delta.quantity == 0)
    sides = {order_id: order.intent.side for order_id, order in desk.router.get_open_orders().items()}
    assert all(sides[order_id] is not delta.side for order_id in delta.cancels)


@given(
    action=st.sampled_from([Action.BUY, Action.SELL]),
    position=st.integers(-300, 300),
    working=WORKING,
    size=st.integers(1, 300),
    allow_short=st.booleans(),
)
def test_an_order_that_fills_while_the_others_are_cancelled_reaches_the_target(
    action: Action, position: int, working: list[tuple[Side, int]], size: int, allow_short: bool
) -> None:
    desk = Desk(allow_short=allow_short)
    for minute, (side, quantity) in enumerate(working):
        desk.place(side, quantity, minute)
    delta = desk.delta(action, position, size)
    if delta.side is None:
        return
    kept = [
        order.signed_remaining
        for order_id, order in desk.router.get_open_orders().items()
        if order_id not in delta.cancels
    ]
    assert position + sum(kept) + delta.side.sign * delta.quantity == delta.target_quantity


# From an order to the broker


def test_an_intent_is_saved_before_it_is_sent_and_the_steps_come_back() -> None:
    desk = Desk()
    intent = desk.intent(Side.BUY, 10)
    events = desk.router.place_order(approved(intent))
    assert desk.saved.intents == wired(desk).sent == [intent]
    assert desk.saved.order_events == []
    assert [(event.status, event.broker_order_id) for event in events] == [
        (OrderStatus.SUBMITTED, None),
        (OrderStatus.ACCEPTED, "B1"),
    ]
    assert desk.statuses == [OrderStatus.ACCEPTED]


def test_an_intent_that_cannot_be_saved_is_not_sent(tmp_path: Path) -> None:
    path = tmp_path / "ledger.duckdb"
    with open_store(path):
        pass
    with duckdb.connect(str(path)) as connection:
        connection.execute("ALTER TABLE orders RENAME COLUMN reference_price TO something_else")
    wire = Wire()
    with open_store(path) as store:

        def save(entries: LedgerEntries) -> None:
            store.ledger.commit(SCOPE.session_id, entries)

        router = OrderRouter(SCOPE, SizingSettings(), OrderSettings(), wire, save)
        intent = router.intent("SPY", Side.BUY, 10, Decimal(100), OPEN, OPEN)
        with pytest.raises(StoreError):
            router.place_order(approved(intent))
    assert wire.sent == []
    assert router.get_open_orders() == {}


def test_several_orders_of_a_bar_are_saved_together_before_the_first_is_sent() -> None:
    desk = Desk()
    sent_when_saved: list[int] = []
    router = OrderRouter(
        SCOPE,
        SizingSettings(),
        OrderSettings(),
        desk.broker,
        lambda entries: sent_when_saved.extend(len(wired(desk).sent) for _ in entries.intents),
    )
    both = [router.intent(symbol, Side.BUY, 10, Decimal(100), OPEN, OPEN) for symbol in ("SPY", "QQQ")]
    router.place_orders([approved(intent) for intent in both])
    assert sent_when_saved == [0, 0]
    assert wired(desk).sent == both


def test_the_same_order_again_is_sent_once() -> None:
    desk = Desk()
    for _ in range(3):
        desk.place(Side.BUY, 10)
    assert len(wired(desk).sent) == 1


def test_an_order_is_approved_for_no_more_than_risk_let_through() -> None:
    with pytest.raises(ValueError, match="10 shares, approved 9"):
        ApprovedOrder(Desk().intent(Side.BUY, 10), PreTradeVerdict(9, ()))


def test_a_refused_order_is_over_and_says_why() -> None:
    desk = Desk()
    wired(desk).answers = [OrderRefused("not today")]
    events = desk.router.place_order(approved(desk.intent(Side.BUY, 10)))
    assert [(event.status, event.detail) for event in events][-1] == (OrderStatus.REJECTED, "not today")
    assert desk.router.get_open_orders() == {}


def test_silence_that_stays_leaves_an_order_unknown_and_it_counts_as_working() -> None:
    desk = Desk()
    wired(desk).answers = [BrokerUnavailable("line is dead"), BrokerUnavailable("still dead")]
    desk.place(Side.BUY, 100)
    assert desk.statuses == [OrderStatus.UNKNOWN]
    assert desk.delta(Action.BUY, 0) == OrderDelta(100, None, 0, ())
    assert len(wired(desk).sent) == 1


def test_after_silence_the_broker_is_asked_by_id_before_anything_is_sent_again() -> None:
    desk = Desk()
    wired(desk).answers = [OutcomeUnknown("no answer")]
    [*_, found] = desk.router.place_order(approved(desk.intent(Side.BUY, 100)))
    assert (found.status, found.detail, found.broker_order_id) == (OrderStatus.ACCEPTED, "found at the broker", "B1")
    assert (len(wired(desk).sent), desk.waited) == (1, 0)


def test_an_order_that_arrives_late_is_found_after_the_settle_time() -> None:
    desk = Desk()
    wired(desk).answers, wired(desk).slow = [OutcomeUnknown("no answer")], True
    desk.place(Side.BUY, 100)
    assert desk.statuses == [OrderStatus.ACCEPTED]
    assert (len(wired(desk).sent), desk.waited) == (1, 1)


def test_an_order_that_was_not_there_twice_is_sent_again_under_the_same_id() -> None:
    desk = Desk()
    wired(desk).answers, wired(desk).arrives = [OutcomeUnknown("no answer")], False
    order_id = desk.place(Side.BUY, 100)
    assert [intent.client_order_id for intent in wired(desk).sent] == [order_id, order_id]
    assert desk.waited == 1
    # The second sending is written down before it happens.
    assert [(event.status, event.detail) for event in desk.saved.order_events] == [
        (OrderStatus.UNKNOWN, "no answer"),
        (OrderStatus.SUBMITTED, "attempt 2"),
    ]
    assert desk.router.get_open_orders()[order_id].attempts == 2


def test_attempts_are_capped_and_then_the_order_is_over() -> None:
    desk = Desk(max_attempts=2)

    class Deaf(Wire):
        def submit(self, intent: OrderIntent) -> Acknowledgement:
            self.sent.append(intent)
            raise OutcomeUnknown("no answer")

    desk = Desk(Deaf(), max_attempts=2)
    events = desk.router.place_order(approved(desk.intent(Side.BUY, 100)))
    assert (events[-1].status, events[-1].detail) == (OrderStatus.EXPIRED, "never reached the broker")
    assert len(wired(desk).sent) == 2
    assert desk.router.exhausted("SPY") is None
    desk.place(Side.BUY, 100, minute=1)
    assert desk.router.exhausted("SPY") == 2


def test_a_runner_that_lost_its_lease_sends_nothing() -> None:
    wire = Wire()

    def lost() -> None:
        raise LeaseLost("another runner has it")

    router = OrderRouter(SCOPE, SizingSettings(), OrderSettings(), wire, LedgerEntries().add, may_send=lost)
    intent = router.intent("SPY", Side.BUY, 10, Decimal(100), OPEN, OPEN)
    with pytest.raises(LeaseLost):
        router.place_order(approved(intent))
    assert wire.sent == []


def test_an_unknown_order_that_never_arrived_is_over_at_the_next_bar() -> None:
    desk = Desk()
    intent = desk.intent(Side.BUY, 100)
    desk.router.recover([OpenOrder(intent, OrderStatus.UNKNOWN, 0, 1)])
    [event] = resolved(desk.router, at(2))
    assert (event.status, event.detail) == (OrderStatus.EXPIRED, "never reached the broker")
    # Whether it is still wanted is decided anew, and judged by risk anew.
    assert desk.delta(Action.BUY, 0).quantity == 100


def test_an_order_found_filled_waits_for_its_executions() -> None:
    desk = Desk()
    intent = desk.intent(Side.BUY, 100)
    desk.router.recover([OpenOrder(intent, OrderStatus.SUBMITTED, 0)])
    order_id = intent.client_order_id
    wired(desk).orders[order_id] = BrokerOrder(order_id, "B1", "SPY", "BUY", 100, 100, OrderStatus.FILLED)
    [event] = resolved(desk.router, at(1))
    assert event.status is OrderStatus.ACCEPTED
    assert desk.router.working_shares("SPY", Side.BUY) == 100


@pytest.mark.parametrize("before", [OrderStatus.SUBMITTED, OrderStatus.CANCEL_PENDING])
def test_an_order_found_cancelled_waits_for_the_executions_it_had(before: OrderStatus) -> None:
    desk = Desk()
    intent = desk.intent(Side.BUY, 100)
    order_id = intent.client_order_id
    desk.router.recover([OpenOrder(intent, before, 0)])
    wired(desk).orders[order_id] = BrokerOrder(order_id, "B1", "SPY", "BUY", 100, 40, OrderStatus.CANCELLED)
    resolved(desk.router, at(1))
    # Were it over by now, a decision would buy the 40 a second time.
    assert desk.delta(Action.BUY, 0).quantity == 0
    desk.router.note_fill(order_id, 40)
    wired(desk).news = [OrderReport(order_id, "B1", OrderStatus.CANCELLED, at(1))]
    assert [event.status for event in desk.router.collect().events] == [OrderStatus.CANCELLED]
    assert desk.router.get_open_orders() == {}


def test_a_broker_that_is_silent_when_asked_is_not_taken_for_a_no() -> None:
    desk = Desk()
    desk.router.recover([OpenOrder(desk.intent(Side.BUY, 100), OrderStatus.UNKNOWN, 0)])
    wired(desk).answers = [BrokerUnavailable("still dead")]
    with pytest.raises(BrokerUnavailable):
        desk.router.resolve(at(2), [])
    assert desk.statuses == [OrderStatus.UNKNOWN]


class HalfDeaf(Wire):
    """Answers for SPY alone, and has nothing."""

    def find_order(self, client_order_id: str) -> BrokerOrder | None:
        if "SPY" not in client_order_id:
            raise BrokerUnavailable("silence")
        return None


def test_a_broker_that_falls_silent_between_two_answers_takes_none_of_them_back() -> None:
    desk = Desk(HalfDeaf())
    one, other = desk.intent(Side.BUY, 100), desk.intent(Side.BUY, 50, symbol="QQQ")
    desk.router.recover([OpenOrder(intent, OrderStatus.UNKNOWN, 0) for intent in (other, one)])
    events: list[OrderEvent] = []
    with pytest.raises(BrokerUnavailable):
        desk.router.resolve(at(2), events)
    assert [(event.client_order_id, event.status) for event in events] == [(one.client_order_id, OrderStatus.EXPIRED)]
    assert list(desk.router.get_open_orders()) == [other.client_order_id]


# A bar that was interrupted and comes again


def again(_: OpenOrder) -> bool:
    return True


def test_an_interrupted_bar_finds_what_it_found_before() -> None:
    desk = Desk()
    intent = desk.intent(Side.BUY, 100)
    desk.router.recover([OpenOrder(intent, OrderStatus.CREATED, 0)], again)
    assert desk.delta(Action.BUY, 0).quantity == 100
    assert resolved(desk.router, at(1)) == []


def test_an_intent_that_was_not_sent_before_the_crash_is_sent_when_its_bar_comes_again() -> None:
    desk = Desk()
    intent = desk.intent(Side.BUY, 100)
    desk.router.recover([OpenOrder(intent, OrderStatus.CREATED, 0)], again)
    events = desk.router.place_order(approved(intent))
    assert [event.status for event in events] == [OrderStatus.SUBMITTED, OrderStatus.ACCEPTED]
    assert wired(desk).sent == [intent]
    assert desk.saved.intents == []


def test_an_intent_that_was_sent_before_the_crash_is_not_sent_again_and_leaves_the_same_steps() -> None:
    undisturbed, desk = Desk(), Desk()
    intent = desk.intent(Side.BUY, 100)
    wanted = undisturbed.router.place_order(approved(intent))
    wired(desk).orders = wired(undisturbed).orders
    order_id = intent.client_order_id
    desk.router.recover([OpenOrder(intent, OrderStatus.CREATED, 0)], again)
    # The broker tells all of the day again; it is heard when the bar is done.
    wired(desk).news = [
        OrderReport(order_id, "B1", status, at(1)) for status in (OrderStatus.ACCEPTED, OrderStatus.FILLED)
    ]
    assert not desk.router.collect()
    desk.router.note_fill(order_id, 100)
    assert desk.router.place_order(approved(intent)) == wanted
    assert wired(desk).sent == []
    left: list[OrderEvent] = []
    desk.router.bar_done(at(1), left)
    assert left == []
    assert [event.status for event in desk.router.collect().events] == [OrderStatus.FILLED]


def test_an_order_that_is_not_decided_again_is_asked_for() -> None:
    desk = Desk()
    arrived, lost = desk.intent(Side.BUY, 100), desk.intent(Side.BUY, 50, symbol="QQQ")
    for intent, there in ((arrived, True), (lost, False)):
        if there:
            order_id = intent.client_order_id
            wired(desk).orders[order_id] = BrokerOrder(order_id, "B1", "SPY", "BUY", 100, 0, OrderStatus.ACCEPTED)
    desk.router.recover([OpenOrder(intent, OrderStatus.CREATED, 0) for intent in (arrived, lost)], again)
    events: list[OrderEvent] = []
    desk.router.bar_done(at(1), events)
    assert [(event.client_order_id, event.status) for event in events] == [
        (arrived.client_order_id, OrderStatus.ACCEPTED),
        (lost.client_order_id, OrderStatus.EXPIRED),
    ]


def test_a_cancel_that_an_interrupted_bar_asked_for_is_open_again_for_that_bar() -> None:
    desk = Desk()
    intent = desk.intent(Side.SELL, 100, minute=-5)
    order_id = intent.client_order_id
    order = OpenOrder(intent, OrderStatus.CANCEL_PENDING, 0, 1, cancel_asked_at=at(1))
    desk.router.recover([order], again)
    wired(desk).news = [OrderReport(order_id, "B1", OrderStatus.CANCELLED, at(1))]
    assert not desk.router.collect()
    delta = desk.delta(Action.BUY, 0)
    assert delta.cancels == (order_id,)
    assert desk.router.execute(delta.cancels, (), at(1)) == []
    assert desk.saved.order_events == [OrderEvent(order_id, at(1), OrderStatus.CANCEL_PENDING)]
    desk.router.bar_done(at(1), [])
    assert [event.status for event in desk.router.collect().events] == [OrderStatus.CANCELLED]


def test_a_fill_in_part_that_came_before_the_cancel_is_told_before_the_cancel_is_confirmed() -> None:
    desk = Desk()
    intent = desk.intent(Side.SELL, 100, minute=-5)
    order_id = intent.client_order_id
    desk.router.recover([OpenOrder(intent, OrderStatus.CANCEL_PENDING, 0, 1, cancel_asked_at=at(1))], again)
    wired(desk).news = [
        OrderReport(order_id, "B1", status, at(0)) for status in (OrderStatus.PARTIALLY_FILLED, OrderStatus.CANCELLED)
    ]
    assert [event.status for event in desk.router.collect().events] == [OrderStatus.PARTIALLY_FILLED]
    desk.router.execute((order_id,), (), at(1))
    desk.router.bar_done(at(1), [])
    assert [event.status for event in desk.router.collect().events] == [OrderStatus.CANCELLED]


@pytest.mark.parametrize("minute", [-2, 2])
def test_what_another_bar_was_interrupted_in_works_before_the_next_decision(minute: int) -> None:
    desk = Desk()
    intent, cancelled = desk.intent(Side.BUY, 100), desk.intent(Side.BUY, 30, minute=-9, symbol="QQQ")
    desk.router.recover(
        [
            OpenOrder(intent, OrderStatus.CREATED, 0),
            OpenOrder(cancelled, OrderStatus.CANCEL_PENDING, 0, 1, cancel_asked_at=at(1)),
        ],
        again,
    )
    for one in (intent, cancelled):
        order_id = one.client_order_id
        wired(desk).orders[order_id] = BrokerOrder(
            order_id, "B1", one.symbol, "BUY", one.quantity, 0, OrderStatus.ACCEPTED
        )
    desk.router.take_up(at(1))
    assert len(desk.router.decided_again) == 2
    desk.router.take_up(at(minute))
    assert desk.router.decided_again == frozenset()
    assert desk.delta(Action.BUY, 0).quantity == 0
    assert [event.status for event in resolved(desk.router, at(minute))] == [OrderStatus.ACCEPTED]
    assert wired(desk).cancelled == [cancelled.client_order_id]


def test_less_than_was_intended_is_not_sent_under_the_old_name() -> None:
    desk = Desk()
    intent = desk.intent(Side.BUY, 100)
    desk.router.recover([OpenOrder(intent, OrderStatus.CREATED, 0)], again)
    [event] = desk.router.place_order(approved(replace(intent, quantity=60)))
    assert event.status is OrderStatus.EXPIRED
    assert wired(desk).sent == []


# Amending


def limit_desk() -> tuple[Desk, str]:
    desk = Desk(order_type="LIMIT", limit_offset_bps="10")
    return desk, desk.place(Side.BUY, 100)


def test_an_amendment_is_written_down_before_and_after() -> None:
    desk, order_id = limit_desk()
    done = desk.router.replace_order(order_id, at(1), quantity=60, limit_price=Decimal(99))
    assert done is not None
    assert (done.status, done.number) == (OrderStatus.ACCEPTED, 1)
    assert [amendment.status for amendment in desk.saved.amendments] == [OrderStatus.SUBMITTED, OrderStatus.ACCEPTED]
    order = desk.router.get_open_orders()[order_id]
    assert (order.intent.quantity, order.intent.limit_price, order.remaining) == (60, Decimal(99), 60)
    assert [amendment.quantity for amendment in wired(desk).amended] == [60]


def test_a_refused_amendment_leaves_the_order_as_it_was() -> None:
    desk, order_id = limit_desk()
    wired(desk).answers = [OrderRefused("too late")]
    done = desk.router.replace_order(order_id, at(1), limit_price=Decimal(99))
    assert done is not None
    assert done.status is OrderStatus.REJECTED
    assert desk.router.get_open_orders()[order_id].intent.limit_price == Decimal("100.1")


@pytest.mark.parametrize(("theirs", "status"), [("99", OrderStatus.ACCEPTED), ("100.1", OrderStatus.REJECTED)])
def test_an_amendment_without_an_answer_is_settled_by_what_the_broker_has(theirs: str, status: OrderStatus) -> None:
    desk, order_id = limit_desk()
    wired(desk).answers = [OutcomeUnknown("no answer")]
    wired(desk).orders[order_id] = BrokerOrder(
        order_id, "B1", "SPY", "BUY", 100, 0, OrderStatus.ACCEPTED, OrderType.LIMIT, Decimal(theirs)
    )
    done = desk.router.replace_order(order_id, at(1), limit_price=Decimal(99))
    assert done is not None
    assert done.status is status


def test_a_trail_that_no_broker_tells_is_not_guessed_after_silence() -> None:
    desk = Desk(order_type="TRAILING_STOP")
    order_id = desk.place(Side.SELL, 100)
    wired(desk).answers = [OutcomeUnknown("no answer")]
    done = desk.router.replace_order(order_id, at(1), trail_fraction=Decimal("0.02"))
    assert done is not None
    assert done.status is OrderStatus.SUBMITTED
    assert desk.router.get_open_orders()[order_id].intent.trail_fraction == Decimal("0.01")


def test_more_shares_are_another_order() -> None:
    desk, order_id = limit_desk()
    with pytest.raises(ValueError, match="an amendment to 200 shares adds to 100"):
        desk.router.replace_order(order_id, at(1), quantity=200)
    assert desk.saved.amendments == []
    assert desk.router.replace_order("never there", at(1), quantity=1) is None


@pytest.mark.parametrize(
    ("kind", "side", "limit", "stop", "trail"),
    [
        ("MARKET", Side.BUY, None, None, None),
        ("LIMIT", Side.BUY, "100.1", None, None),
        ("LIMIT", Side.SELL, "99.9", None, None),
        ("STOP", Side.BUY, None, "100.2", None),
        ("STOP_LIMIT", Side.SELL, "99.9", "99.8", None),
        ("TRAILING_STOP", Side.SELL, None, None, "0.01"),
        ("LIMIT_ON_CLOSE", Side.BUY, "100.1", None, None),
    ],
)
def test_an_intent_has_the_configured_type_and_prices(
    kind: str, side: Side, limit: str | None, stop: str | None, trail: str | None
) -> None:
    desk = Desk(order_type=kind, limit_offset_bps=10, stop_offset_bps=20)
    intent = desk.intent(side, 10)
    assert intent.order_type is OrderType(kind)
    assert (intent.limit_price, intent.stop_price, intent.trail_fraction) == tuple(
        None if text is None else Decimal(text) for text in (limit, stop, trail)
    )
    assert (
        desk.router.market_intent("SPY", side, 10, Decimal(100), at(0), at(1), "flatten").order_type is OrderType.MARKET
    )


def test_orders_that_protect_a_position_are_no_step_towards_a_target() -> None:
    desk = Desk()
    protecting = replace(
        desk.intent(Side.SELL, 100),
        client_order_id="stop",
        parent_id="entry",
        order_type=OrderType.STOP,
        stop_price=Decimal(95),
        time_in_force=TimeInForce.GTC,
    )
    desk.router.recover([OpenOrder(protecting, OrderStatus.ACCEPTED, 0)])
    assert desk.delta(Action.HOLD, 100) == OrderDelta(100, None, 0, ())
    assert desk.delta(Action.BUY, 100) == OrderDelta(100, None, 0, ())
    assert desk.delta(Action.SELL, 100) == OrderDelta(0, Side.SELL, 100, ("stop",))


# News


def test_late_and_repeated_reports_are_absorbed() -> None:
    desk = Desk()
    order_id = desk.place(Side.BUY, 10)

    def told(*statuses: OrderStatus) -> list[OrderStatus]:
        reports = [OrderReport(order_id, "B1", status, at(1)) for status in statuses]
        wired(desk).news = [*reports, *([executed(order_id, 10)] if OrderStatus.FILLED in statuses else [])]
        return [event.status for event in desk.router.collect().events]

    assert told(OrderStatus.ACCEPTED, OrderStatus.SUBMITTED) == []
    assert told(OrderStatus.PARTIALLY_FILLED, OrderStatus.PARTIALLY_FILLED) == [OrderStatus.PARTIALLY_FILLED]
    assert told(OrderStatus.ACCEPTED, OrderStatus.FILLED, OrderStatus.FILLED, OrderStatus.CANCELLED) == [
        OrderStatus.FILLED
    ]
    assert desk.router.get_open_orders() == {}


def test_an_order_that_is_told_as_filled_before_its_executions_counts_as_working_until_they_come() -> None:
    desk = Desk()
    order_id = desk.place(Side.BUY, 10)
    wired(desk).news = [OrderReport(order_id, "B1", OrderStatus.FILLED, at(1)), executed(order_id, 4, "x1")]
    assert [event.status for event in desk.router.collect().events] == []
    desk.router.note_fill(order_id, 4)
    assert desk.delta(Action.BUY, 4) == OrderDelta(10, None, 0, ())
    wired(desk).news = [executed(order_id, 6, "x2")]
    assert [event.status for event in desk.router.collect().events] == [OrderStatus.FILLED]
    assert desk.router.get_open_orders() == {}


def test_an_order_whose_rest_the_broker_took_away_is_filled_with_less() -> None:
    desk = Desk()
    protecting = replace(desk.intent(Side.SELL, 100), parent_id="entry")
    desk.router.recover([OpenOrder(protecting, OrderStatus.ACCEPTED, 60)])
    wired(desk).news = [OrderReport(protecting.client_order_id, "B1", OrderStatus.FILLED, at(1))]
    assert [event.status for event in desk.router.collect().events] == [OrderStatus.FILLED]


def test_an_execution_of_an_order_made_elsewhere_is_told_apart() -> None:
    desk = Desk()
    wired(desk).news = [OrderReport("stranger", "B9", OrderStatus.FILLED, at(1)), executed("stranger", 5)]
    news = desk.router.collect()
    assert (news.events, news.fills, [execution.exec_id for execution in news.external]) == ([], [], ["x"])


def test_a_fill_of_an_order_that_is_over_belongs_to_its_session() -> None:
    desk = Desk()
    intent = OrderIntent("over", "2026-01-02.paper.sma", "paper", at(0), "SPY", Side.BUY, 10, Decimal(100), at(0))
    desk.known = {"over": OpenOrder(intent, OrderStatus.CANCELLED, 0)}
    wired(desk).news = [executed("over", 5)]
    assert [(fill.session_id, fill.source) for fill in desk.router.collect().fills] == [
        ("2026-01-02.paper.sma", "wire")
    ]


def test_a_fill_belongs_to_the_session_that_ordered_it() -> None:
    desk = Desk()
    intent = OrderIntent("old", "2026-01-02.paper.sma", "paper", at(0), "SPY", Side.BUY, 10, Decimal(100), at(0))
    desk.router.recover([OpenOrder(intent, OrderStatus.ACCEPTED, 0)])
    wired(desk).news = [executed("old", 5)]
    assert [fill.session_id for fill in desk.router.collect().fills] == ["2026-01-02.paper.sma"]


def test_a_cancel_is_asked_for_once_and_confirmed_by_news() -> None:
    desk = Desk()
    order_id = desk.place(Side.BUY, 10)
    assert desk.router.cancel_order(order_id, at(1)) == []
    assert desk.saved.order_events == [OrderEvent(order_id, at(1), OrderStatus.CANCEL_PENDING)]
    assert desk.router.cancel_order(order_id, at(2)) == []
    assert desk.router.cancel_order("never there", at(2)) == []
    assert wired(desk).cancelled == [order_id]
    # It may still fill until the broker says otherwise.
    assert desk.router.working_shares("SPY", Side.BUY) == 10
    wired(desk).news = [OrderReport(order_id, "B1", OrderStatus.CANCELLED, at(2))]
    desk.router.collect()
    assert desk.router.get_open_orders() == {}


def test_a_decision_goes_all_the_way_by_hand() -> None:
    desk = Desk(PaperBroker("paper", PaperSettings(), OPEN))

    def approve(delta: OrderDelta) -> ApprovedOrder | None:
        assert delta.side is not None
        return approved(desk.intent(delta.side, delta.quantity))

    def act(action: Action, approve_it: object = approve) -> list[OrderStatus]:
        events = desk.router.calculate_and_execute_action(
            action, "SPY", 0, lambda: 100, approve_it, at(1)  # type: ignore[arg-type]
        )  # fmt: skip
        return [event.status for event in events]

    assert act(Action.HOLD) == []
    assert act(Action.BUY, lambda _: None) == []
    assert act(Action.BUY) == [OrderStatus.SUBMITTED, OrderStatus.ACCEPTED]
    assert act(Action.SELL) == []
    assert [event.status for event in desk.saved.order_events] == [OrderStatus.CANCEL_PENDING]


def test_an_order_of_a_real_account_fills_once() -> None:
    desk = Desk(PaperBroker("paper", PaperSettings(), OPEN))
    desk.place(Side.BUY, 10)
    assert isinstance(desk.broker, PaperBroker)
    desk.broker.see(BarSlice(at(1), {"SPY": Bar("SPY", at(1), *[Decimal(100)] * 4, 1_000)}))
    news = desk.router.collect()
    assert [event.status for event in news.events] == [OrderStatus.FILLED]
    assert [fill.execution.quantity for fill in news.fills] == [10]
    assert not desk.router.collect()
    assert desk.router.broker_account().positions[0].quantity == 10


@pytest.mark.parametrize("asynchronous", [False, True])
def test_nothing_is_placed_or_cancelled_from_inside_a_hook(asynchronous: bool) -> None:
    desk = Desk()
    order_id = desk.place(Side.BUY, 10)
    refused: list[str] = []
    done = threading.Event()

    def trade() -> None:
        for attempt in (
            lambda: desk.place(Side.BUY, 99, minute=5),
            lambda: desk.router.cancel_order(order_id, at(1)),
        ):
            try:
                attempt()
            except HookMayNotTrade as error:
                refused.append(str(error))
        done.set()

    async def trade_later(happening: Happening) -> None:
        del happening
        trade()

    observers = Observers()
    observers.register("trade_executed", trade_later if asynchronous else lambda _: trade())
    observers.emit(Happening("trade_executed", SCOPE.session_id, None))
    assert done.wait(5)
    observers.close()
    assert len(refused) == 2
    assert (len(wired(desk).sent), wired(desk).cancelled, desk.statuses) == (1, [], [OrderStatus.ACCEPTED])
