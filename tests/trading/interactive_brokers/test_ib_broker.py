"""The broker port over Interactive Brokers while the gateway lies, is late, or goes away. Its own book says what is true."""

import contextlib
import itertools
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from trading.errors import BrokerError, BrokerUnavailable, OrderRefused, OutcomeUnknown
from trading.ib_settings import IbSettings
from trading.interactive_brokers.broker import IbBroker
from trading.interactive_brokers.connection import GatewayConnection
from trading.interactive_brokers.contracts import Contracts
from trading.interactive_brokers.episodes import Alert, EpisodeKind
from trading.orders import Execution, OrderAmendment, OrderIntent, OrderStatus, OrderType, Side, TimeInForce
from trading.ports import BrokerOrder, OrderReport

OPEN = datetime(2026, 1, 5, 14, 30, tzinfo=UTC)
PATIENCE = 30.0
_numbers = itertools.count(1)


class Exchange:
    """The gateway's process: shown every minute by hand."""

    def __init__(self, gateway: Any) -> None:
        self.gateway = gateway
        self.minute = 0

    def ask(self, command: str, **told: Any) -> dict[str, Any]:
        answer: dict[str, Any] = self.gateway.ask({"command": command, **told})
        assert answer["ok"], answer
        return answer

    def fault(self, action: str, **told: Any) -> None:
        self.ask("fault", action=action, **told)

    def trade(self, price: str = "100", volume: int = 1_000_000) -> None:
        """The next minute, all of it at one price."""
        at = OPEN + timedelta(minutes=self.minute)
        self.minute += 1
        prices = dict.fromkeys(("open", "high", "low", "close"), price)
        self.ask("show_bar", bars=[{"symbol": "SPY", "time": at.isoformat(), **prices, "volume": volume}])

    def orders(self, reference: str) -> list[dict[str, Any]]:
        """Its orders under a reference: one, if nothing goes wrong."""
        return [one for one in self.ask("book")["orders"] if one["order_ref"] == reference]

    def price_of(self, reference: str) -> Decimal:
        """At which price its one execution of an order counts."""
        [found] = [
            one for one in self.ask("book")["executions"] if one["order_ref"] == reference and not one["is_replaced"]
        ]
        return Decimal(found["price"])

    def sent(self) -> int:
        """Orders and changes that arrived."""
        return int(self.ask("book")["messages_received"].get("placeOrder", 0))

    def has_fired(self, action: str) -> bool:
        return any(one["action"] == action for one in self.ask("book")["faults_fired"])


class Desk:
    """One session's broker, what it was told, and the exchange on the other side."""

    def __init__(self, exchange: Exchange, **settings: Any) -> None:
        self.exchange = exchange
        quick = {
            "answer_timeout_seconds": "10",
            "acknowledgement_timeout_seconds": "10",
            "heartbeat_seconds": "2",
            "reconnect_first_seconds": "0.02",
            "restart_at": "off",
        }
        chosen = IbSettings.model_validate({"port": exchange.gateway.port, "client_id": 17, **quick, **settings})
        self.alerts: list[Alert] = []
        self.connection = GatewayConnection(chosen, self.alerts.append)
        self.broker = IbBroker(self.connection, Contracts(self.connection))
        self.reports: list[OrderReport] = []
        self.executions: list[Execution] = []
        self.connection.open()

    def intent(self, kind: str = "LIMIT", side: str = "BUY", quantity: int = 100, **terms: Any) -> OrderIntent:
        """A new order; a limit order to buy waits far below the market."""
        if kind == "LIMIT":
            terms.setdefault("limit_price", "50")
        prices = {name: Decimal(value) if "price" in name else value for name, value in terms.items()}
        return OrderIntent(
            f"260105-{next(_numbers):06d}-SPY",
            "s",
            "DU1234567",
            OPEN,
            "SPY",
            Side(side),
            quantity,
            Decimal(100),
            OPEN,
            OrderType(kind),
            prices.pop("tif", TimeInForce.DAY),
            **prices,
        )

    def heard(self) -> None:
        """Everything that the gateway wrote before has been heard."""
        self.connection.ask(lambda line: line.current_time(), "the time")

    def poll(self) -> None:
        for one in self.broker.poll():
            (self.executions if isinstance(one, Execution) else self.reports).append(one)  # type: ignore[arg-type]

    def poll_until(self, holds: Callable[[], object]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not holds():
            assert time.monotonic() < deadline, (self.reports, self.executions)
            try:
                self.poll()
            except BrokerUnavailable:
                time.sleep(0.01)  # the line is being made again

    def until_back(self, after: int) -> None:
        deadline = time.monotonic() + PATIENCE
        while not (self.connection.is_up and self.connection.connections > after):
            assert time.monotonic() < deadline, self.connection.why_not
            time.sleep(0.005)

    def standings(self, order: OrderIntent) -> list[OrderStatus]:
        """What was reported of an order, in order."""
        return [one.status for one in self.reports if one.client_order_id == order.client_order_id]

    def fills(self, order: OrderIntent) -> list[Execution]:
        """Of each execution of an order the newest that was told."""
        told = {one.lineage: one for one in self.executions if one.client_order_id == order.client_order_id}
        return list(told.values())

    def leave_nothing(self) -> None:
        """Cancel what works, also where the gateway is still slow to answer."""
        deadline = time.monotonic() + PATIENCE
        while left := [one for one in self.broker.account().open_orders if one.client_order_id]:
            assert time.monotonic() < deadline, left
            for one in left:
                with contextlib.suppress(OutcomeUnknown):
                    self.broker.cancel(one.client_order_id)

    def found(self, order: OrderIntent) -> BrokerOrder:
        known = self.broker.find_order(order.client_order_id)
        assert known is not None
        return known


@pytest.fixture(scope="module")
def exchange(start_gateway: Callable[..., Any]) -> Iterator[Exchange]:
    """One gateway for all tests here: each has orders of its own and leaves none that works."""
    with start_gateway("--no-pacing", "--account", "DU1234567", "--account", "DU7654321") as gateway:
        gateway.ask({"command": "advance_to", "time": OPEN.isoformat()})
        yield Exchange(gateway)


def desk_of(exchange: Exchange, **settings: Any) -> Iterator[Desk]:
    made = Desk(exchange, account="DU1234567", **settings)
    try:
        yield made
        made.leave_nothing()
    finally:
        made.connection.close()


@pytest.fixture
def desk(exchange: Exchange) -> Iterator[Desk]:
    yield from desk_of(exchange)


@pytest.fixture
def impatient_desk(exchange: Exchange) -> Iterator[Desk]:
    """One that waits less than half a second for the first word on an order."""
    yield from desk_of(exchange, acknowledgement_timeout_seconds="0.4")


# Words that are not true


def test_an_order_that_is_told_as_cancelled_and_works_is_sent_once_and_fills_once(desk: Desk) -> None:
    desk.exchange.fault("lie_cancelled_10349")
    order = desk.intent("MARKET")
    sent = desk.exchange.sent()
    assert desk.broker.submit(order).status in (OrderStatus.ACCEPTED, OrderStatus.SUBMITTED)
    assert desk.broker.submit(order).client_order_id == order.client_order_id
    assert desk.exchange.sent() == sent + 1
    desk.exchange.trade()
    desk.poll_until(lambda: OrderStatus.FILLED in desk.standings(order))
    assert [one.quantity for one in desk.fills(order)] == [100]
    assert OrderStatus.CANCELLED not in desk.standings(order)
    assert desk.exchange.has_fired("lie_cancelled_10349")


def test_an_order_that_nothing_but_error_110_speaks_of_is_refused(desk: Desk) -> None:
    desk.exchange.fault("error_110")
    order = desk.intent()
    with pytest.raises(OrderRefused, match="110"):
        desk.broker.submit(order)
    assert [one["is_over"] for one in desk.exchange.orders(order.client_order_id)] in ([], [True])


def test_a_price_between_two_steps_never_leaves(desk: Desk) -> None:
    sent = desk.exchange.sent()
    with pytest.raises(OrderRefused, match="tick_size"):
        desk.broker.submit(desk.intent(limit_price="50.005"))
    assert desk.exchange.sent() == sent


def test_an_order_with_a_warning_works(desk: Desk) -> None:
    desk.exchange.fault("warn_399")
    order = desk.intent()
    assert desk.broker.submit(order).status is OrderStatus.ACCEPTED


@pytest.mark.parametrize("fault", [{"action": "reject"}, {"action": "inactive", "code": 201, "text": "no margin"}])
def test_an_order_that_is_refused_is_refused_and_its_reference_stays_refused(desk: Desk, fault: dict[str, Any]) -> None:
    desk.exchange.fault(**fault)
    order = desk.intent()
    with pytest.raises(OrderRefused, match="201"):
        desk.broker.submit(order)
    sent = desk.exchange.sent()
    with pytest.raises(BrokerError):
        desk.broker.submit(order)
    assert desk.exchange.sent() == sent


def test_an_order_that_is_inactive_and_nobody_says_why_gets_no_false_end(desk: Desk) -> None:
    desk.exchange.fault("inactive")
    order = desk.intent()
    with contextlib.suppress(BrokerError):
        desk.broker.submit(order)
    desk.poll()
    [true] = desk.exchange.orders(order.client_order_id)
    assert desk.found(order).status.is_final is true["is_over"]


def amend(order: OrderIntent, number: int = 1, **terms: Any) -> OrderAmendment:
    return OrderAmendment(order.client_order_id, number, OPEN, OrderStatus.SUBMITTED, **terms)


def test_a_change_that_is_taken(desk: Desk) -> None:
    order = desk.intent()
    desk.broker.submit(order)
    desk.broker.replace(amend(order, limit_price=Decimal("51"), quantity=60))
    [true] = desk.exchange.orders(order.client_order_id)
    assert (Decimal(true["limit_price"]), true["quantity"]) == (Decimal(51), 60)
    sent = desk.exchange.sent()
    desk.broker.replace(amend(order, 1, limit_price=Decimal("51"), quantity=60))
    assert desk.exchange.sent() == sent


def test_a_change_that_fails_leaves_the_order_as_it_was_though_it_is_told_as_cancelled(desk: Desk) -> None:
    order = desk.intent()
    desk.broker.submit(order)
    desk.exchange.fault("failed_modify", on="modify")
    with pytest.raises(OrderRefused):
        desk.broker.replace(amend(order, limit_price=Decimal("51")))
    desk.poll()
    assert not any(status.is_final for status in desk.standings(order))
    found = desk.found(order)
    assert (found.status, found.limit_price) == (OrderStatus.ACCEPTED, Decimal(50))


def test_a_change_that_is_not_answered_is_unknown_and_found_afterwards(impatient_desk: Desk) -> None:
    desk = impatient_desk
    order = desk.intent()
    desk.broker.submit(order)
    desk.exchange.fault("delay_answers", on="modify", seconds=0.8)
    with pytest.raises(OutcomeUnknown):
        desk.broker.replace(amend(order, limit_price=Decimal("51")))
    assert desk.found(order).limit_price == Decimal(51)


def test_a_cancel_of_what_is_over_does_nothing(desk: Desk) -> None:
    order = desk.intent("MARKET")
    desk.broker.submit(order)
    desk.exchange.trade()
    desk.broker.cancel(order.client_order_id)
    desk.poll()
    assert desk.standings(order)[-1] is OrderStatus.FILLED


def test_a_cancel_is_told_as_an_end_once_the_broker_was_asked(desk: Desk) -> None:
    order = desk.intent()
    desk.broker.submit(order)
    desk.broker.cancel(order.client_order_id)
    desk.poll_until(lambda: OrderStatus.CANCELLED in desk.standings(order))
    [true] = desk.exchange.orders(order.client_order_id)
    assert true["is_over"]


# Answers that are late, and lines that are lost


def test_an_acknowledgement_later_than_every_wait_makes_no_second_order(impatient_desk: Desk) -> None:
    desk = impatient_desk
    desk.exchange.fault("delay_answers", on="order", seconds=1.0)
    order = desk.intent()
    with pytest.raises(OutcomeUnknown):
        desk.broker.submit(order)
    assert desk.found(order).status in (OrderStatus.ACCEPTED, OrderStatus.SUBMITTED)
    desk.broker.submit(order)
    assert len(desk.exchange.orders(order.client_order_id)) == 1


@pytest.mark.parametrize("fault", ["drop_before_order", "drop_after_order"])
def test_a_line_that_is_lost_around_an_order_leaves_one_order(desk: Desk, fault: str) -> None:
    desk.exchange.fault(fault, on="order")
    order = desk.intent()
    before = desk.connection.connections
    with pytest.raises((OutcomeUnknown, BrokerUnavailable)):
        desk.broker.submit(order)
    desk.until_back(before)
    known = desk.broker.find_order(order.client_order_id)
    assert (known is not None) is (fault == "drop_after_order")
    assert desk.broker.submit(order).status is OrderStatus.ACCEPTED
    assert len(desk.exchange.orders(order.client_order_id)) == 1


def test_a_fill_that_was_never_told_is_told_after_the_reconnect(desk: Desk) -> None:
    order = desk.intent("MARKET")
    desk.broker.submit(order)
    desk.exchange.fault("drop_after_fill", on="fill")
    desk.exchange.trade("101")
    desk.poll_until(lambda: OrderStatus.FILLED in desk.standings(order))
    price = desk.exchange.price_of(order.client_order_id)
    assert [(one.quantity, one.price) for one in desk.fills(order)] == [(100, price)]


def test_a_bracket_that_is_cut_in_the_middle_is_finished_without_a_second_order(desk: Desk) -> None:
    parent = desk.intent()
    take = desk.intent(
        "LIMIT", "SELL", limit_price="150", parent_id=parent.client_order_id, oca_group=f"o{parent}"[:20]
    )
    stop = desk.intent("STOP", "SELL", stop_price="40", parent_id=parent.client_order_id, oca_group=f"o{parent}"[:20])
    family = [parent, take, stop]
    desk.exchange.fault("drop_mid_bracket", on="order", legs=2)
    before = desk.connection.connections
    outcomes = desk.broker.submit_together(family)
    assert any(isinstance(one, OutcomeUnknown | BrokerUnavailable) for one in outcomes)
    desk.until_back(before)
    for order in family:
        desk.broker.find_order(order.client_order_id)
    desk.broker.submit_together(family)
    assert [len(desk.exchange.orders(order.client_order_id)) for order in family] == [1, 1, 1]
    for order in family:
        desk.broker.cancel(order.client_order_id)


def test_numbers_that_begin_again_after_a_restart_change_no_order(desk: Desk) -> None:
    first = desk.intent()
    desk.broker.submit(first)
    before = desk.connection.connections
    desk.exchange.ask("restart", seconds=0.1, ids_rolled_back=True)
    desk.until_back(before)
    second = desk.intent(quantity=7, limit_price="49")
    desk.broker.submit(second)
    [one], [other] = (desk.exchange.orders(order.client_order_id) for order in (first, second))
    assert one["perm_id"] != other["perm_id"]
    assert other["order_id"] > one["order_id"]
    assert (one["quantity"], other["quantity"]) == (100, 7)
    # Nor has a question the number of an order.
    assert desk.connection.call(lambda line: line.next_order_id(), "a number") > other["order_id"]


def test_a_new_process_gives_no_number_that_was_given_today(exchange: Exchange) -> None:
    first = Desk(exchange, account="DU1234567")
    try:
        order = first.intent("MARKET")
        first.broker.submit(order)
        exchange.trade()
        first.poll_until(lambda: OrderStatus.FILLED in first.standings(order))
    finally:
        first.connection.close()
    exchange.ask("restart", seconds=0.0, ids_rolled_back=True)
    second = Desk(exchange, account="DU1234567")
    try:
        another = second.intent()
        second.broker.submit(another)
        [one], [other] = (exchange.orders(each.client_order_id) for each in (order, another))
        assert other["order_id"] > one["order_id"]
        assert (one["filled"], other["filled"]) == (100, 0)
        second.leave_nothing()
    finally:
        second.connection.close()


# Executions


def test_an_execution_that_is_told_twice_is_news_once(desk: Desk) -> None:
    desk.exchange.fault("duplicate_execution", on="fill")
    order = desk.intent("MARKET")
    desk.broker.submit(order)
    desk.exchange.trade()
    desk.poll_until(lambda: OrderStatus.FILLED in desk.standings(order))
    [fill] = desk.fills(order)
    assert [one.exec_id for one in desk.executions].count(fill.exec_id) <= 2  # the second time with its commission
    assert desk.found(order).filled == 100


def test_a_corrected_execution_replaces_the_first(desk: Desk) -> None:
    desk.exchange.fault("correct_execution", on="fill", price_by="0.25", quantity=90)
    order = desk.intent("MARKET")
    desk.broker.submit(order)
    desk.exchange.trade("100")
    desk.poll_until(lambda: desk.fills(order) and desk.fills(order)[0].revision > 1)
    [fill] = desk.fills(order)
    assert (fill.quantity, fill.price) == (90, desk.exchange.price_of(order.client_order_id))
    [first] = [one for one in desk.executions if one.lineage == fill.lineage and one.revision == 1][:1]
    assert (first.quantity, fill.price - first.price) == (100, Decimal("0.25"))
    counting = [one for one in desk.broker.executions(None) if one.client_order_id == order.client_order_id]
    assert [one.exec_id for one in counting] == [fill.exec_id]
    assert desk.found(order).filled == 90


@pytest.mark.parametrize("seconds", [0.5, -1])
def test_an_end_is_not_told_before_its_late_execution(desk: Desk, seconds: float) -> None:
    """Below zero: it is told only to who asks."""
    desk.exchange.fault("late_execution", on="fill", seconds=seconds)
    order = desk.intent("MARKET")
    desk.broker.submit(order)
    desk.exchange.trade()
    desk.poll_until(lambda: OrderStatus.FILLED in desk.standings(order) or desk.fills(order))
    assert [one.quantity for one in desk.fills(order)] == [100]
    desk.poll_until(lambda: OrderStatus.FILLED in desk.standings(order))


@pytest.mark.parametrize("seconds", [0.3, -1])
def test_a_commission_is_unknown_until_it_comes(desk: Desk, seconds: float) -> None:
    desk.exchange.fault("late_commission", on="fill", seconds=seconds)
    order = desk.intent("MARKET")
    desk.broker.submit(order)
    desk.exchange.trade()
    desk.poll_until(lambda: desk.fills(order))
    assert [one.commission for one in desk.fills(order)] == [None]
    if seconds < 0:
        desk.broker.executions(None)
    desk.poll_until(lambda: desk.fills(order)[0].commission is not None)
    assert desk.fills(order)[0].commission > 0  # type: ignore[operator]


def test_an_order_that_stays_in_doubt_is_told_of_once(exchange: Exchange) -> None:
    """It is told as filled, and for a while nobody knows of an execution."""
    for desk in desk_of(exchange, answer_timeout_seconds="1"):
        order = desk.intent("MARKET")
        desk.broker.submit(order)
        exchange.fault("late_execution", on="fill", seconds=2.5)
        exchange.trade()
        desk.poll_until(lambda: OrderStatus.FILLED in desk.standings(order))  # noqa: B023 - it ends here
        desk.poll()
        doubts = [one for one in desk.alerts if one.kind is EpisodeKind.ORDER_DOUBTFUL]
        assert [(one.subject, one.is_over) for one in doubts] == [
            (order.client_order_id, False),
            (order.client_order_id, True),
        ]


# Others in the account


def test_a_trade_by_hand_is_an_execution_without_a_reference(desk: Desk) -> None:
    desk.exchange.trade()
    before = {one.exec_id for one in desk.broker.executions(None)}
    desk.exchange.ask("external_trade", symbol="SPY", quantity=30, price="100")
    [made] = [one for one in desk.broker.executions(None) if one.exec_id not in before]
    assert (made.client_order_id, made.side, made.quantity) == ("", Side.BUY, 30)


def test_an_order_by_hand_is_open_and_not_ours(desk: Desk) -> None:
    terms = {"side": "BUY", "quantity": 10, "order_type": "LMT", "limit_price": "20"}
    desk.exchange.ask("external_order", symbol="SPY", **terms)
    by_hand = [one for one in desk.broker.account().open_orders if not one.client_order_id]
    assert [(one.quantity, one.limit_price) for one in by_hand] == [(10, Decimal(20))]


def test_another_accounts_trades_are_not_seen(desk: Desk) -> None:
    desk.exchange.trade()
    before = (desk.broker.account().positions, len(desk.broker.executions(None)))
    desk.exchange.ask("external_trade", symbol="SPY", quantity=500, price="100", account="DU7654321")
    assert (desk.broker.account().positions, len(desk.broker.executions(None))) == before


def test_average_cost_has_the_commissions_in_it(exchange: Exchange) -> None:
    other = Desk(exchange, account="DU7654321", client_id=18)
    try:
        for position in other.broker.account().positions:
            side = "SELL" if position.quantity > 0 else "BUY"
            other.broker.submit(other.intent("MARKET", side, abs(position.quantity)))
            exchange.trade()
        order = other.intent("MARKET", quantity=100)
        other.broker.submit(order)
        exchange.trade("100")
        other.poll_until(lambda: other.fills(order) and other.fills(order)[0].commission is not None)
        [fill] = other.fills(order)
        assert fill.commission is not None
        [position] = other.broker.account().positions
        expected = (100 * fill.price + fill.commission) / 100
        assert abs(position.average_cost - expected) < Decimal("0.0001")
        assert position.average_cost > fill.price
    finally:
        other.connection.close()
