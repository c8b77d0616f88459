"""An order and those that protect it go to a broker that takes them in one go, and what its answers come to."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest

from trading.brokers.paper import PaperBroker
from trading.errors import BrokerError, BrokerUnavailable, LeaseLost, OrderRefused, OutcomeUnknown
from trading.order_router import OrderRouter, OrderScope
from trading.orders import (
    Execution,
    OpenOrder,
    OrderAmendment,
    OrderEvent,
    OrderIntent,
    OrderStatus,
    OrderType,
    Side,
)
from trading.ports import Acknowledgement, BrokerAccount, BrokerOrder, LedgerEntries, OrderReport, SendsTogether
from trading.risk_callbacks import ApprovedOrder, PreTradeVerdict
from trading.settings import OrderSettings, PaperSettings, SizingSettings

OPEN = datetime(2026, 1, 5, 14, 30, tzinfo=UTC)
SCOPE = OrderScope("2026-01-05.paper.sma", "sma", "paper", date(2026, 1, 5))
AWAY = OutcomeUnknown("no answer")


class OneByOne:
    """A broker that keeps what arrives; what is in ``lost`` does not arrive, as often as it says, and is not answered."""

    source = "scripted"
    connections = 1
    executions_kept_since = None

    def __init__(self) -> None:
        self.heard: list[tuple[str, ...]] = []
        self.lost: dict[str, int] = {}
        self.refused: set[str] = set()
        self.unanswered: set[str] = set()
        self.orders: dict[str, BrokerOrder] = {}

    def submit(self, intent: OrderIntent) -> Acknowledgement:
        self.heard.append((intent.client_order_id,))
        return self._take(intent)

    def _take(self, intent: OrderIntent) -> Acknowledgement:
        name = intent.client_order_id
        if self.lost.get(name, 0) > 0:
            self.lost[name] -= 1
            raise AWAY
        if name in self.refused:
            raise OrderRefused("not today")
        self.orders[name] = BrokerOrder(
            name, f"B-{name}", intent.symbol, intent.side, intent.quantity, 0, OrderStatus.ACCEPTED
        )
        if name in self.unanswered:
            raise AWAY
        return Acknowledgement(name, f"B-{name}", OrderStatus.ACCEPTED)

    def find_order(self, client_order_id: str) -> BrokerOrder | None:
        return self.orders.get(client_order_id)

    def cancel(self, client_order_id: str) -> None:
        self.heard.append((f"cancel {client_order_id}",))

    def replace(self, amendment: OrderAmendment) -> None:
        raise OrderRefused("not here")

    def poll(self) -> tuple[OrderReport | Execution, ...]:
        return ()

    def executions(self, since: datetime | None) -> tuple[Execution, ...]:
        return ()

    def account(self) -> BrokerAccount:
        return BrokerAccount("paper", Decimal(0), (), ())


class Together(OneByOne):
    """The same, taking several at once. ``whole`` is raised instead of answers; ``tells`` is how many answers it gives."""

    def __init__(self) -> None:
        super().__init__()
        self.whole: BrokerError | None = None
        self.tells: int | None = None

    def submit_together(self, intents: Sequence[OrderIntent]) -> list[Acknowledgement | BrokerError]:
        self.heard.append(tuple(intent.client_order_id for intent in intents))
        if self.whole is not None:
            raise self.whole
        answers: list[Acknowledgement | BrokerError] = []
        for intent in intents:
            try:
                answers.append(self._take(intent))
            except BrokerError as error:
                answers.append(error)
        return answers[: self.tells]


class Desk:
    """A router, what it was asked to save, and a bracket: an entry with a stop and a target."""

    def __init__(self, broker: OneByOne | PaperBroker, may_send: BaseException | None = None) -> None:
        self.saved = LedgerEntries()
        self._may_send = may_send
        self.router = OrderRouter(
            SCOPE, SizingSettings(), OrderSettings(), broker, self.saved.add, may_send=self._asked
        )
        entry = self.named("entry", Side.BUY)
        self.bracket = [
            entry,
            replace(
                self.named("stop", Side.SELL), parent_id="entry", order_type=OrderType.STOP, stop_price=Decimal(95)
            ),
            replace(
                self.named("target", Side.SELL), parent_id="entry", order_type=OrderType.LIMIT, limit_price=Decimal(110)
            ),
        ]

    def _asked(self) -> None:
        if self._may_send is not None:
            raise self._may_send

    def named(self, name: str, side: Side, symbol: str = "SPY") -> OrderIntent:
        at = OPEN + timedelta(minutes=1)
        return replace(self.router.intent(symbol, side, 100, Decimal(100), OPEN, at), client_order_id=name)

    def place(self, *intents: OrderIntent) -> list[OrderEvent]:
        return self.router.place_orders(
            [ApprovedOrder(intent, PreTradeVerdict(intent.quantity, ())) for intent in intents]
        )

    @property
    def statuses(self) -> dict[str, OrderStatus]:
        return {name: order.status for name, order in self.router.get_open_orders().items()}


ALL_ACCEPTED = dict.fromkeys(("entry", "stop", "target"), OrderStatus.ACCEPTED)


def test_a_bracket_goes_in_one_go_and_every_leg_has_its_steps() -> None:
    broker = Together()
    desk = Desk(broker)
    events = desk.place(*desk.bracket)
    assert broker.heard == [("entry", "stop", "target")]
    assert desk.saved.intents == desk.bracket
    assert desk.statuses == ALL_ACCEPTED
    for name in ALL_ACCEPTED:
        assert [(event.status, event.broker_order_id) for event in events if event.client_order_id == name] == [
            (OrderStatus.SUBMITTED, None),
            (OrderStatus.ACCEPTED, f"B-{name}"),
        ]


def test_children_find_their_parent_among_the_orders_of_a_bar() -> None:
    broker = Together()
    desk = Desk(broker)
    entry, stop, target = desk.bracket
    other = desk.named("other", Side.BUY, "QQQ")
    elsewhere = replace(desk.named("late stop", Side.SELL, "IWM"), parent_id="an order of yesterday")
    desk.place(stop, elsewhere, entry, other, target)
    assert broker.heard == [("entry", "stop", "target"), ("other",), ("late stop",)]


def test_a_broker_that_takes_one_order_at_a_time_gets_them_so() -> None:
    broker = OneByOne()
    desk = Desk(broker)
    desk.place(*desk.bracket)
    assert broker.heard == [("entry",), ("stop",), ("target",)]
    assert desk.statuses == ALL_ACCEPTED
    assert not isinstance(PaperBroker("paper", PaperSettings(), OPEN), SendsTogether)


@pytest.mark.parametrize("before", [OrderStatus.CREATED, OrderStatus.ACCEPTED])
def test_a_bracket_of_which_a_leg_was_sent_before_goes_on_one_by_one(before: OrderStatus) -> None:
    broker = Together()
    desk = Desk(broker)
    # Its bar was interrupted: whether the entry arrived is asked first.
    desk.router.recover(
        [OpenOrder(desk.bracket[0], before, 0, 1)], decided_again=lambda _: before is OrderStatus.CREATED
    )
    desk.place(*desk.bracket)
    assert broker.heard == [("entry",), ("stop",), ("target",)][before is OrderStatus.ACCEPTED :]
    assert desk.statuses == ALL_ACCEPTED


def test_the_same_bracket_again_is_sent_once() -> None:
    broker = Together()
    desk = Desk(broker)
    desk.place(*desk.bracket)
    assert desk.place(*desk.bracket) == []
    assert len(broker.heard) == 1


def test_a_leg_without_an_answer_is_asked_for_and_found() -> None:
    broker = Together()
    broker.unanswered = {"stop"}
    desk = Desk(broker)
    events = desk.place(*desk.bracket)
    assert broker.heard == [("entry", "stop", "target")]
    assert desk.statuses == ALL_ACCEPTED
    assert [(event.status, event.detail) for event in events if event.client_order_id == "stop"] == [
        (OrderStatus.SUBMITTED, ""),
        (OrderStatus.UNKNOWN, "no answer"),
        (OrderStatus.ACCEPTED, "found at the broker"),
    ]


def test_a_leg_that_never_arrived_is_sent_again_alone() -> None:
    broker = Together()
    broker.lost = {"target": 1}
    desk = Desk(broker)
    desk.place(*desk.bracket)
    assert broker.heard == [("entry", "stop", "target"), ("target",)]
    assert desk.statuses == ALL_ACCEPTED
    assert [(event.client_order_id, event.detail) for event in desk.saved.order_events] == [
        ("target", "no answer"),
        ("target", "attempt 2"),
    ]


class Vanishing(Together):
    """Its line is gone after a bracket was sent, before anyone could be asked what arrived."""

    def __init__(self) -> None:
        super().__init__()
        self.is_away = False

    def submit_together(self, intents: Sequence[OrderIntent]) -> list[Acknowledgement | BrokerError]:
        answers = super().submit_together(intents)
        self.is_away = True
        return answers

    def find_order(self, client_order_id: str) -> BrokerOrder | None:
        if self.is_away:
            raise BrokerUnavailable("the line is gone")
        return super().find_order(client_order_id)


def test_a_stop_that_was_lost_with_the_line_is_sent_again_when_its_entry_is_there() -> None:
    broker = Vanishing()
    broker.lost = {"stop": 1}
    desk = Desk(broker)
    desk.place(*desk.bracket)
    assert desk.statuses["stop"] is OrderStatus.UNKNOWN
    broker.is_away = False
    desk.router.resolve(OPEN + timedelta(minutes=2), [])
    assert broker.heard == [("entry", "stop", "target"), ("stop",)]
    assert desk.statuses == ALL_ACCEPTED


def test_a_stop_whose_entry_was_lost_too_is_not_sent_again() -> None:
    broker = Vanishing()
    broker.lost = {"entry": 1, "stop": 1, "target": 1}
    desk = Desk(broker)
    desk.place(*desk.bracket)
    broker.is_away = False
    events: list[OrderEvent] = []
    desk.router.resolve(OPEN + timedelta(minutes=2), events)
    assert broker.heard == [("entry", "stop", "target")]
    assert {event.client_order_id: event.status for event in events} == dict.fromkeys(
        ("entry", "stop", "target"), OrderStatus.EXPIRED
    )


@pytest.mark.parametrize("whole", [AWAY, BrokerUnavailable("the line is dead")])
def test_silence_about_all_of_them_is_an_unknown_outcome_of_each(whole: BrokerError) -> None:
    broker = Together()
    broker.whole = whole
    desk = Desk(broker)
    desk.place(*desk.bracket)
    # None of them is there; the parent is sent first.
    assert broker.heard == [("entry", "stop", "target"), ("entry",), ("stop",), ("target",)]
    assert desk.statuses == ALL_ACCEPTED


def test_a_leg_that_the_broker_says_nothing_of_is_asked_for() -> None:
    broker = Together()
    broker.tells = 1
    desk = Desk(broker)
    desk.place(*desk.bracket)
    assert broker.heard == [("entry", "stop", "target")]
    assert desk.statuses == ALL_ACCEPTED


def test_what_would_protect_a_refused_entry_is_not_sent_on_its_own() -> None:
    broker = Together()
    broker.refused, broker.lost = {"entry"}, {"stop": 9, "target": 9}
    desk = Desk(broker)
    events = desk.place(*desk.bracket)
    assert broker.heard == [("entry", "stop", "target")]
    assert desk.statuses == {}
    assert [(event.client_order_id, event.status) for event in events if event.status.is_final] == [
        ("entry", OrderStatus.REJECTED),
        ("stop", OrderStatus.EXPIRED),
        ("target", OrderStatus.EXPIRED),
    ]


def test_a_refused_leg_leaves_the_others() -> None:
    broker = Together()
    broker.refused = {"target"}
    desk = Desk(broker)
    events = desk.place(*desk.bracket)
    assert desk.statuses == {"entry": OrderStatus.ACCEPTED, "stop": OrderStatus.ACCEPTED}
    assert [event.detail for event in events if event.status is OrderStatus.REJECTED] == ["not today"]


def test_a_runner_that_lost_its_lease_hands_none_of_them_over() -> None:
    broker = Together()
    desk = Desk(broker, LeaseLost("another runner has it"))
    with pytest.raises(LeaseLost):
        desk.place(*desk.bracket)
    assert broker.heard == []
    assert desk.statuses == {}
