"""What a gateway says of orders, message by message, and what is believed of it. Numbers of messages are by hand."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trading.interactive_brokers.broker_orders import BrokerOrders, KnownOrder
from trading.interactive_brokers.messages import (
    CommissionTold,
    CompletedTold,
    ErrorTold,
    ExecutionTold,
    Instrument,
    Message,
    OrderTold,
    StatusTold,
    WireOrder,
)
from trading.orders import Execution, OrderStatus, OrderType, Side
from trading.ports import OrderReport

OURS = 17
"""Our client id."""
ACCOUNT = "DU1234567"
NOW = datetime(2026, 1, 5, 15, 0, tzinfo=UTC)
SPY = Instrument("SPY", 756733)


def wire(
    reference: str = "A",
    quantity: int = 100,
    number: int = 5,
    perm_id: int = 0,
    client_id: int = OURS,
    account: str = ACCOUNT,
    limit: str = "10",
    in_force: str = "DAY",
) -> WireOrder:
    """A limit order to buy."""
    return WireOrder(
        "BUY",
        Decimal(quantity),
        "LMT",
        in_force,
        reference,
        account,
        Decimal(limit),
        order_id=number,
        client_id=client_id,
        perm_id=perm_id,
    )


def shown(word: str, order: WireOrder) -> OrderTold:
    return OrderTold(order, SPY, word)


def standing(word: str, filled: int = 0, perm_id: int = 900, number: int = 5, client_id: int = OURS) -> StatusTold:
    return StatusTold(
        number, client_id, perm_id, word, Decimal(filled), Decimal(100 - filled), Decimal("10.5") if filled else None
    )


def executed(
    shares: int,
    exec_id: str = "0000e0d5.63a1b2c3.01.01",
    perm_id: int = 900,
    number: int = 5,
    reference: str = "A",
    client_id: int = OURS,
    account: str = ACCOUNT,
    price: str = "10",
    side: str = "BOT",
) -> ExecutionTold:
    return ExecutionTold(
        exec_id, number, client_id, perm_id, reference, account, SPY, side, Decimal(shares), Decimal(price), NOW
    )


def completed(
    word: str, order: WireOrder, filled: int | None = None, quantity: int | None = None, ended: str = ""
) -> CompletedTold:
    """An order that is over, as TWS tells it: without its numbers."""
    told = replace(order, order_id=0, client_id=0)
    if quantity is not None:
        told = replace(told, quantity=Decimal(quantity))
    return CompletedTold(told, SPY, word, None if filled is None else Decimal(filled), ended)


class Desk:
    """Orders of one account that hear messages, and what was told of them."""

    def __init__(self) -> None:
        self.orders = BrokerOrders(ACCOUNT, OURS, lambda instrument: instrument.symbol)
        self.reports: list[OrderReport] = []
        self.executions: list[Execution] = []

    def hear(self, *messages: Message) -> "Desk":
        for message in messages:
            self.orders.hear(message)
        return self

    def send(self, order: WireOrder) -> "Desk":
        self.orders.sent("SPY", order)
        return self

    def ask(self, *answer: Message, is_complete: bool = True) -> "Desk":
        """Ask which orders are open (and the rest of the day), hear the answer, and settle."""
        asked = self.orders.clock
        self.hear(*answer)
        self.orders.settle(asked, is_complete)
        return self

    def listen(self) -> list[OrderStatus]:
        """The standings of the newest reports."""
        told = self.orders.news(NOW)
        reports = [one for one in told if isinstance(one, OrderReport)]
        self.reports += reports
        self.executions += [one for one in told if isinstance(one, Execution)]
        return [one.status for one in reports]

    def order(self, reference: str = "A") -> KnownOrder:
        found = self.orders.find(reference)
        assert found is not None
        return found

    def status(self, reference: str = "A") -> OrderStatus:
        return self.orders.status(self.order(reference))

    def is_in_doubt(self, reference: str = "A") -> bool:
        return self.order(reference) in self.orders.doubts


@pytest.fixture
def desk() -> Desk:
    """One order on its way: 100 SPY, number 5, reference A."""
    return Desk().send(wire())


# What the words come to


@pytest.mark.parametrize(
    ("word", "status"),
    [
        ("ApiPending", OrderStatus.SUBMITTED),
        ("PendingSubmit", OrderStatus.SUBMITTED),
        ("PreSubmitted", OrderStatus.ACCEPTED),
        ("Submitted", OrderStatus.ACCEPTED),
        ("PendingCancel", OrderStatus.CANCEL_PENDING),
    ],
)
def test_a_word_that_needs_no_question_is_told_at_once(desk: Desk, word: str, status: OrderStatus) -> None:
    desk.hear(standing(word))
    assert desk.listen() == [status]
    assert not desk.is_in_doubt()


@pytest.mark.parametrize("word", ["Cancelled", "ApiCancelled", "Inactive", "SomethingNew"])
def test_a_word_that_sounds_like_an_end_is_no_news_before_the_broker_was_asked(desk: Desk, word: str) -> None:
    desk.hear(standing("PreSubmitted"))
    desk.listen()
    desk.hear(standing(word))
    assert desk.listen() == []
    assert desk.is_in_doubt()
    assert desk.status() is OrderStatus.ACCEPTED


@pytest.mark.parametrize("word", ["Cancelled", "ApiCancelled", "Inactive", "SomethingNew"])
def test_an_order_that_is_listed_as_open_works_on_whatever_was_said(desk: Desk, word: str) -> None:
    desk.hear(standing("PreSubmitted"), standing(word))
    desk.ask(shown("Submitted", wire(perm_id=900)), standing("Submitted"))
    assert desk.listen() == [OrderStatus.ACCEPTED]
    assert not desk.is_in_doubt()


@pytest.mark.parametrize("word", ["Cancelled", "ApiCancelled"])
def test_an_order_that_is_no_longer_listed_after_such_a_word_is_over(desk: Desk, word: str) -> None:
    desk.hear(standing("PreSubmitted"), standing(word)).ask(is_complete=False)
    assert desk.listen() == [OrderStatus.CANCELLED]


def test_a_filled_order_is_told_with_its_executions_before_its_end(desk: Desk) -> None:
    desk.hear(
        shown("PreSubmitted", wire(perm_id=900)),
        standing("PreSubmitted"),
        executed(100),
        shown("Filled", wire(perm_id=900)),
        standing("Filled", 100),
    )
    assert desk.listen() == [OrderStatus.FILLED]
    assert [(one.quantity, one.client_order_id) for one in desk.executions] == [(100, "A")]


def test_an_order_that_has_not_been_told_is_no_news(desk: Desk) -> None:
    assert desk.listen() == []
    assert list(desk.orders.open_orders()) == []


def test_the_same_standing_is_told_once(desk: Desk) -> None:
    desk.hear(standing("Submitted"), standing("Submitted"))
    assert desk.listen() == [OrderStatus.ACCEPTED]
    desk.hear(standing("Submitted"))
    assert desk.listen() == []


# Executions that come late, twice or corrected


def test_an_end_waits_for_the_executions_that_it_speaks_of(desk: Desk) -> None:
    desk.hear(standing("Submitted"))
    desk.listen()
    desk.hear(standing("Filled", 100))
    assert desk.listen() == []
    assert desk.is_in_doubt()
    desk.hear(executed(100))
    assert desk.listen() == [OrderStatus.FILLED]
    assert not desk.is_in_doubt()


def test_a_cancel_after_a_partial_fill_waits_for_the_executions_too(desk: Desk) -> None:
    desk.hear(standing("Submitted"), standing("Cancelled", 40)).ask(is_complete=False)
    assert desk.listen() == []
    desk.hear(executed(40))
    assert desk.listen() == [OrderStatus.CANCELLED]
    assert desk.orders.filled(desk.order()) == 40


def test_one_execution_of_two_is_not_enough_for_an_end(desk: Desk) -> None:
    desk.hear(standing("Filled", 100), executed(60, "e.1.01"))
    assert desk.listen() == []
    desk.hear(executed(40, "e.2.01"))
    assert desk.listen() == [OrderStatus.FILLED]


def test_an_execution_that_is_told_twice_counts_once(desk: Desk) -> None:
    desk.hear(standing("Submitted"), executed(40), executed(40), standing("Submitted", 40))
    assert desk.listen() == [OrderStatus.PARTIALLY_FILLED]
    assert [one.quantity for one in desk.executions] == [40]
    assert desk.orders.filled(desk.order()) == 40


def test_a_correction_takes_the_place_of_what_it_corrects(desk: Desk) -> None:
    desk.hear(standing("Filled", 100), executed(100, "e0d5.1.01", price="10"))
    assert desk.listen() == [OrderStatus.FILLED]
    desk.hear(executed(90, "e0d5.1.02", price="11"))
    desk.listen()
    assert [(one.lineage, one.revision, one.quantity) for one in desk.executions] == [
        ("e0d5.1", 1, 100),
        ("e0d5.1", 2, 90),
    ]
    assert desk.orders.filled(desk.order()) == 90
    assert desk.orders.seen(desk.order()).average_price == Decimal("11.000000")


def test_a_correction_that_comes_before_what_it_corrects_stands(desk: Desk) -> None:
    desk.hear(standing("Filled", 100), executed(90, "e0d5.1.02"), executed(100, "e0d5.1.01"))
    desk.listen()
    assert desk.orders.filled(desk.order()) == 90
    assert [one.quantity for one in desk.orders.executions.counting()] == [90]


def test_a_correction_whose_first_is_no_longer_told_does_not_keep_an_end_waiting(desk: Desk) -> None:
    """After a reconnect only the correction may be told; the status still counts what it corrected."""
    desk.hear(standing("Filled", 100), executed(90, "e0d5.1.02"))
    assert desk.listen() == [OrderStatus.FILLED]
    assert desk.orders.filled(desk.order()) == 90


def test_a_correction_of_one_execution_does_not_stand_for_another_that_is_late(desk: Desk) -> None:
    desk.hear(standing("Filled", 100), executed(60, "e.1.01"), executed(50, "e.1.02"))
    assert desk.listen() == []
    desk.hear(executed(40, "e.2.01"))
    assert desk.listen() == [OrderStatus.FILLED]
    assert desk.orders.filled(desk.order()) == 90


def test_a_correction_of_an_order_made_elsewhere_changes_no_other_order() -> None:
    first, second = (wire("", 100, number, perm, client_id=0) for number, perm in ((0, 801), (0, 802)))
    desk = Desk().hear(shown("Submitted", first), shown("Submitted", second))
    desk.hear(standing("Submitted", 70, 802, 0, 0))
    desk.hear(
        executed(100, "x.1.01", 801, 0, "", client_id=0),
        executed(90, "x.1.02", 801, 0, "", client_id=0),
    )
    filled = {one.order.perm_id: desk.orders.filled(one) for one in desk.orders.open_orders()}
    assert filled == {801: 90, 802: 70}


def test_a_fill_of_an_earlier_day_keeps_no_end_waiting_for_ever() -> None:
    """The gateway keeps the executions of the current day alone: 60 of yesterday are in no answer."""
    order = wire(quantity=100, perm_id=900, in_force="GTC")
    desk = Desk()
    desk.orders.begin_line()
    desk.ask(shown("Submitted", order), standing("Submitted", 60))
    assert not desk.is_in_doubt()
    assert desk.listen() == [OrderStatus.PARTIALLY_FILLED]
    desk.hear(standing("Filled", 100))
    assert desk.listen() == []  # today's forty are still awaited
    desk.hear(executed(40))
    assert desk.listen() == [OrderStatus.FILLED]
    assert desk.orders.filled(desk.order()) == 100


def test_executions_without_a_known_order_make_one() -> None:
    desk = Desk().hear(executed(40, "e.1.01"), executed(60, "e.2.01"))
    order = desk.orders.seen(desk.order())
    assert (order.quantity, order.filled, order.side, order.broker_order_id) == (100, 100, Side.BUY, "900")
    desk.ask(executed(40, "e.1.01"), executed(60, "e.2.01"))
    assert desk.listen() == [OrderStatus.FILLED]


def test_a_commission_makes_an_execution_news_again(desk: Desk) -> None:
    desk.hear(standing("Filled", 100), executed(100))
    desk.listen()
    assert [one.commission for one in desk.executions] == [None]
    desk.hear(CommissionTold("0000e0d5.63a1b2c3.01.01", Decimal("1.25"), "USD"))
    desk.listen()
    assert [one.commission for one in desk.executions] == [None, Decimal("1.25")]


# Errors


def test_error_110_alone_is_a_doubt_and_then_a_refusal(desk: Desk) -> None:
    """The gateway says nothing else of such an order, and its own list does not have it."""
    desk.hear(ErrorTold(5, 110, "The price does not conform to the minimum price variation"))
    assert desk.listen() == []
    assert desk.is_in_doubt()
    desk.ask(is_complete=False)
    desk.orders.end_refused(desk.order())
    assert desk.listen() == [OrderStatus.REJECTED]
    assert desk.reports[-1].detail.startswith("110:")


def test_10349_shows_an_order_as_cancelled_that_works(desk: Desk) -> None:
    desk.hear(
        shown("PreSubmitted", wire(perm_id=900)),
        ErrorTold(5, 10349, "Order TIF was set to DAY based on order preset."),
        standing("Cancelled"),
    )
    assert OrderStatus.CANCELLED not in desk.listen()
    desk.ask(shown("Submitted", wire(perm_id=900)), standing("Submitted"))
    assert desk.listen() in ([OrderStatus.ACCEPTED], [])
    assert desk.status() is OrderStatus.ACCEPTED
    # What it was said to be is forgotten: at the end of the day it is cancelled, not rejected.
    desk.hear(standing("Cancelled")).ask()
    assert desk.listen() == [OrderStatus.CANCELLED]


def test_warning_399_leaves_an_order_as_it_is(desk: Desk) -> None:
    desk.hear(standing("PreSubmitted"), ErrorTold(5, 399, "Warning: your order will not be placed before 09:30"))
    assert desk.listen() == [OrderStatus.ACCEPTED]
    assert not desk.is_in_doubt()
    assert desk.reports[-1].detail.startswith("399:")


def test_inactive_with_a_refusal_is_rejected_even_when_it_is_still_listed(desk: Desk) -> None:
    desk.hear(shown("Inactive", wire(perm_id=900)), standing("Inactive"), ErrorTold(5, 201, "Order rejected"))
    desk.ask(shown("Inactive", wire(perm_id=900)), standing("Inactive"), is_complete=False)
    assert desk.listen() == [OrderStatus.REJECTED]


def test_inactive_without_a_refusal_that_is_listed_is_held_and_open(desk: Desk) -> None:
    desk.hear(shown("Inactive", wire(perm_id=900)), standing("Inactive"))
    desk.ask(shown("Inactive", wire(perm_id=900)), standing("Inactive"))
    assert desk.listen() == [OrderStatus.SUBMITTED]
    assert not desk.is_in_doubt()
    assert [one.reference for one in desk.orders.open_orders()] == ["A"]


def test_inactive_without_a_refusal_that_is_not_listed_is_rejected(desk: Desk) -> None:
    desk.hear(shown("Inactive", wire(perm_id=900)), standing("Inactive")).ask(is_complete=False)
    assert desk.listen() == [OrderStatus.REJECTED]


def test_a_change_that_failed_is_shown_as_cancelled_and_the_order_works(desk: Desk) -> None:
    order = wire(perm_id=900)
    desk.hear(shown("Submitted", order), standing("Submitted"))
    desk.listen()
    changed = replace(order, limit_price=Decimal(11))
    desk.hear(shown("Submitted", changed), ErrorTold(5, 201, "Order rejected"), standing("Cancelled"))
    assert desk.listen() == []
    desk.ask(shown("Submitted", order), standing("Submitted"))
    assert desk.status() is OrderStatus.ACCEPTED
    assert desk.orders.seen(desk.order()).limit_price == Decimal(10)


def test_an_order_that_worked_and_whose_change_was_refused_ends_as_cancelled(desk: Desk) -> None:
    order = wire(perm_id=900)
    desk.hear(shown("Submitted", order), ErrorTold(5, 10300, "a code that nobody knows"))
    desk.ask(shown("Submitted", order), standing("Submitted"))
    desk.hear(standing("Cancelled")).ask()
    assert desk.listen() == [OrderStatus.CANCELLED]


def test_a_cancel_that_came_too_late_is_no_refusal(desk: Desk) -> None:
    desk.hear(standing("Submitted"), ErrorTold(5, 10148, "OrderId 5 cannot be cancelled, state: Filled"))
    assert desk.is_in_doubt()
    desk.ask(executed(100), completed("Filled", wire(perm_id=900), 100))
    assert desk.listen() == [OrderStatus.FILLED]


def test_a_cancel_in_the_order_in_which_tws_tells_it(desk: Desk) -> None:
    desk.hear(standing("Submitted"), standing("PendingCancel"))
    assert desk.listen() == [OrderStatus.CANCEL_PENDING]
    desk.hear(standing("Cancelled"), ErrorTold(5, 202, "Order Canceled - reason:"))
    desk.ask(completed("Cancelled", wire(perm_id=900), 0))
    assert desk.listen() == [OrderStatus.CANCELLED]


def test_an_error_about_a_question_is_about_no_order(desk: Desk) -> None:
    desk.hear(standing("Submitted"), ErrorTold(6, 200, "No security definition"), ErrorTold(-1, 2104, "farm is OK"))
    assert not desk.is_in_doubt()


def test_an_error_whose_code_nobody_knows_is_asked_about(desk: Desk) -> None:
    desk.hear(standing("Submitted"), ErrorTold(5, 99999, "?"))
    assert desk.is_in_doubt()


# Answers and what crosses them


def test_an_end_that_comes_after_the_order_was_listed_is_asked_about_again(desk: Desk) -> None:
    """The cancel happens while the answer to an older question is on its way."""
    desk.hear(standing("Submitted"), ErrorTold(5, 99999, "?"))
    desk.ask(
        shown("Submitted", wire(perm_id=900)),
        standing("Submitted"),
        standing("Cancelled"),
        ErrorTold(5, 202, "Order Canceled"),
    )
    assert desk.is_in_doubt()
    desk.ask()
    assert desk.listen() == [OrderStatus.CANCELLED]


def test_a_doubt_that_is_younger_than_the_question_waits_for_the_next(desk: Desk) -> None:
    desk.hear(standing("Submitted"))
    desk.ask(standing("Cancelled"))
    assert desk.is_in_doubt()
    assert OrderStatus.CANCELLED not in desk.listen()


def test_an_order_that_moved_while_all_was_asked_is_not_ended_by_not_being_listed(desk: Desk) -> None:
    desk.ask(shown("PreSubmitted", wire(perm_id=900)))
    desk.ask(executed(40))
    assert desk.status() is OrderStatus.PARTIALLY_FILLED


def test_an_order_that_is_gone_from_a_complete_answer_is_over(desk: Desk) -> None:
    desk.hear(standing("Submitted")).ask()
    assert desk.listen() == [OrderStatus.CANCELLED]


def test_an_order_that_is_gone_from_the_open_ones_alone_is_not_over(desk: Desk) -> None:
    desk.hear(standing("Submitted")).ask(is_complete=False)
    assert desk.listen() == [OrderStatus.ACCEPTED]


def test_an_order_that_was_thought_to_be_over_and_works_is_taken_up_again(desk: Desk) -> None:
    desk.hear(standing("Submitted"), standing("Cancelled")).ask()
    assert desk.listen() == [OrderStatus.CANCELLED]
    desk.hear(shown("Submitted", wire(perm_id=900)))
    assert desk.listen() == [OrderStatus.ACCEPTED]


def test_nothing_takes_a_complete_fill_back(desk: Desk) -> None:
    desk.hear(executed(100), standing("Filled", 100))
    desk.listen()
    desk.hear(standing("Submitted", 0), standing("Cancelled", 0), ErrorTold(5, 201, "?")).ask()
    assert desk.listen() == []
    assert desk.status() is OrderStatus.FILLED


def test_completed_orders_say_how_an_order_ended() -> None:
    desk = Desk()
    desk.ask(
        completed("Filled", wire("F", perm_id=1), 100),
        executed(100, "f.1.01", 1, reference="F"),
        completed("Cancelled", wire("C", perm_id=2), 0),
        completed("Inactive", wire("R", perm_id=3), 0),
    )
    assert {one: desk.status(one) for one in "FCR"} == {
        "F": OrderStatus.FILLED,
        "C": OrderStatus.CANCELLED,
        "R": OrderStatus.REJECTED,
    }


def test_a_completed_order_that_is_told_without_its_quantity_keeps_the_one_that_is_known(desk: Desk) -> None:
    """TWS tells 0 as the total of an order that is over, and what it has filled."""
    desk.hear(standing("Submitted"), executed(40))
    desk.ask(completed("Cancelled", wire(perm_id=900), 40, quantity=0))
    seen = desk.orders.seen(desk.order())
    assert (seen.quantity, seen.filled, seen.status) == (100, 40, OrderStatus.CANCELLED)


def test_a_filled_order_that_is_told_without_its_quantity_was_for_what_it_filled() -> None:
    desk = Desk().ask(completed("Filled", wire(perm_id=900), 100, quantity=0), executed(100))
    seen = desk.orders.seen(desk.order())
    assert (seen.quantity, seen.filled, seen.status) == (100, 100, OrderStatus.FILLED)


# Who is who


def test_an_order_keeps_its_permanent_id_when_its_number_comes_back_as_anothers(desk: Desk) -> None:
    """A restarted gateway counts from one again: number 5 is another order now."""
    desk.hear(standing("Submitted", perm_id=900))
    desk.orders.begin_line()
    desk.ask(
        shown("Submitted", wire("B", number=5, perm_id=901)),
        shown("Submitted", wire("A", number=3, perm_id=900)),
    )
    desk.hear(standing("Submitted", 40, perm_id=901, number=5))
    assert {one: desk.orders.filled(desk.order(one)) for one in "AB"} == {"A": 0, "B": 40}
    assert {one: desk.orders.number_of(desk.order(one)) for one in "AB"} == {"A": 3, "B": 5}
    desk.hear(ErrorTold(5, 399, "about B"))
    assert (desk.order("A").remark, desk.order("B").remark) == ("", "399: about B")


def test_an_execution_of_the_morning_does_not_take_the_number_of_an_order_that_works() -> None:
    """Open orders are told first, then the executions: of an order that had the same number before a restart."""
    desk = Desk()
    desk.orders.begin_line()
    desk.ask(
        shown("Submitted", wire("B", number=5, perm_id=901)),
        executed(100, "m.1.01", perm_id=900, number=5, reference="A"),
    )
    desk.hear(ErrorTold(5, 399, "about B"))
    assert desk.orders.number_of(desk.order("B")) == 5
    assert (desk.order("A").remark, desk.order("B").remark) == ("", "399: about B")


def test_a_standing_of_another_permanent_id_is_not_taken_for_the_order_with_that_number(desk: Desk) -> None:
    desk.hear(standing("Submitted", perm_id=900, number=5))
    desk.hear(standing("Filled", 100, perm_id=777, number=5))
    assert desk.status() is OrderStatus.ACCEPTED


def test_numbers_are_forgotten_with_their_line(desk: Desk) -> None:
    desk.hear(standing("Submitted"))
    desk.orders.begin_line()
    assert desk.orders.number_of(desk.order()) is None
    desk.hear(ErrorTold(5, 201, "about somebody else"))
    assert not desk.is_in_doubt()


def test_a_new_line_brings_everything_of_the_day_once_more(desk: Desk) -> None:
    desk.hear(standing("Filled", 100), executed(100))
    desk.listen()
    desk.orders.begin_line()
    assert desk.listen() == [OrderStatus.FILLED]
    assert [one.exec_id for one in desk.executions] == ["0000e0d5.63a1b2c3.01.01"] * 2


def test_an_order_that_no_answer_came_of_is_found_by_its_reference(desk: Desk) -> None:
    """Sent, the line lost, and the gateway had taken it."""
    desk.orders.begin_line()
    desk.ask(shown("Submitted", wire(number=5, perm_id=900)))
    assert desk.order().order.perm_id == 900
    assert len(list(desk.orders.open_orders())) == 1


def test_two_orders_under_one_reference_stay_two(desk: Desk) -> None:
    desk.hear(shown("Submitted", wire(number=5, perm_id=900)), shown("Submitted", wire(number=6, perm_id=901)))
    assert sorted(one.order.perm_id for one in desk.orders.open_orders()) == [900, 901]


def test_orders_and_executions_of_other_accounts_are_not_heard(desk: Desk) -> None:
    other = wire("X", number=8, perm_id=950, account="DU7654321")
    desk.hear(
        shown("Submitted", other),
        standing("Submitted", 10, 950, 8),
        executed(10, "o.1.01", 950, 8, "X", account="DU7654321"),
        completed("Filled", other, 10),
    )
    assert desk.orders.find("X") is None
    assert desk.orders.executions.counting() == ()


def test_numbers_of_this_client_in_other_accounts_are_taken_too(desk: Desk) -> None:
    """A new order under such a number would change the order of the other account."""
    desk.hear(shown("Submitted", wire("X", number=41, perm_id=950, account="DU7654321")))
    assert desk.orders.highest_order_id == 41
    desk.hear(executed(10, "o.1.01", 951, 57, "Y", account="DU7654321"))
    assert desk.orders.highest_order_id == 57


def test_an_order_made_by_hand_is_open_and_has_no_reference(desk: Desk) -> None:
    desk.hear(shown("Submitted", wire("", number=0, perm_id=950, client_id=0)))
    [seen] = [desk.orders.seen(one) for one in desk.orders.open_orders()]
    assert (seen.client_order_id, seen.broker_order_id, seen.order_type) == ("", "950", OrderType.LIMIT)
    assert desk.listen() == []


def test_another_clients_order_is_not_confused_with_ours_of_the_same_number(desk: Desk) -> None:
    desk.hear(standing("Submitted", perm_id=900))
    desk.hear(shown("Submitted", wire("Z", number=5, perm_id=960, client_id=3)))
    desk.hear(standing("Filled", 100, perm_id=960, client_id=3))
    assert desk.status("A") is OrderStatus.ACCEPTED
    assert desk.status("Z") is OrderStatus.FILLED


def test_where_this_clients_orders_alone_were_told_those_of_others_are_not_over(desk: Desk) -> None:
    desk.hear(shown("Submitted", wire("Z", number=2, perm_id=960, client_id=3)))
    desk.orders.settle(desk.orders.clock, is_complete=True, own_only=True)
    assert desk.status("Z") is OrderStatus.ACCEPTED


def test_sending_again_under_the_same_number_is_the_same_order(desk: Desk) -> None:
    desk.send(wire())
    desk.hear(standing("Submitted"))
    assert len(list(desk.orders.open_orders())) == 1


def test_an_order_that_is_sent_again_begins_without_the_doubt_of_the_first_time(desk: Desk) -> None:
    desk.hear(ErrorTold(5, 201, "refused"))
    assert desk.is_in_doubt()
    desk.send(wire())
    assert not desk.is_in_doubt()


def test_an_order_whose_number_was_taken_gets_another(desk: Desk) -> None:
    desk.hear(ErrorTold(5, 103, "Duplicate order id"))
    desk.orders.forget_number("A")
    assert not desk.is_in_doubt()
    desk.send(wire(number=1005))
    desk.hear(ErrorTold(5, 201, "of whoever has that number"), standing("Submitted", number=1005))
    assert desk.status() is OrderStatus.ACCEPTED
    assert not desk.is_in_doubt()


# In any order

PERMANENT = wire(perm_id=900)
STORIES: dict[str, tuple[list[Message], list[Message], OrderStatus, int]] = {
    # What was told, what an answer to everything tells afterwards, where the order stands, shares filled.
    "filled": (
        [
            shown("PreSubmitted", PERMANENT),
            standing("PreSubmitted"),
            executed(100),
            shown("Filled", PERMANENT),
            standing("Filled", 100),
            CommissionTold("0000e0d5.63a1b2c3.01.01", Decimal(1), "USD"),
        ],
        [executed(100), completed("Filled", PERMANENT, 100)],
        OrderStatus.FILLED,
        100,
    ),
    "filled in two": (
        [
            standing("Submitted"),
            executed(60, "e.1.01"),
            standing("Submitted", 60),
            executed(40, "e.2.01"),
            standing("Filled", 100),
        ],
        [executed(60, "e.1.01"), executed(40, "e.2.01"), completed("Filled", PERMANENT, 100, 0)],
        OrderStatus.FILLED,
        100,
    ),
    "corrected": (
        [
            shown("Submitted", PERMANENT),
            executed(60, "e.1.01"),
            executed(50, "e.1.02"),
            executed(40, "e.2.01"),
            standing("Filled", 100),
        ],
        [executed(50, "e.1.02"), executed(40, "e.2.01"), completed("Filled", PERMANENT, 100)],
        OrderStatus.FILLED,
        90,
    ),
    "cancelled": (
        [
            shown("Submitted", PERMANENT),
            standing("Submitted"),
            standing("PendingCancel"),
            standing("Cancelled"),
            ErrorTold(5, 202, "Order Canceled"),
        ],
        [completed("Cancelled", PERMANENT, 0)],
        OrderStatus.CANCELLED,
        0,
    ),
    "cancelled after a partial fill": (
        [
            shown("Submitted", PERMANENT),
            standing("Submitted", 40),
            executed(40),
            standing("Cancelled", 40),
            ErrorTold(5, 202, "Order Canceled"),
        ],
        [executed(40), completed("Cancelled", PERMANENT, 40)],
        OrderStatus.CANCELLED,
        40,
    ),
    "refused": (
        [standing("Inactive"), shown("Inactive", PERMANENT), ErrorTold(5, 201, "Order rejected")],
        [completed("Inactive", PERMANENT, 0)],
        OrderStatus.REJECTED,
        0,
    ),
    "told as cancelled, and works": (
        [
            shown("PreSubmitted", PERMANENT),
            ErrorTold(5, 10349, "Order TIF was set to DAY"),
            standing("Cancelled"),
            ErrorTold(5, 399, "will not be placed before the open"),
        ],
        [shown("Submitted", PERMANENT), standing("Submitted")],
        OrderStatus.ACCEPTED,
        0,
    ),
    "told as cancelled, works, and is filled in part": (
        [
            ErrorTold(5, 10349, "Order TIF was set to DAY"),
            standing("Cancelled"),
            executed(40),
            standing("Submitted", 40),
        ],
        [shown("Submitted", PERMANENT), standing("Submitted", 40), executed(40)],
        OrderStatus.PARTIALLY_FILLED,
        40,
    ),
}


def hear_story(messages: Iterable[Message], answer: Sequence[Message], truth: OrderStatus) -> Desk:
    """Hear messages one by one and listen after each: no end is told that is not true, nor before its executions."""
    desk = Desk().send(wire())
    for message in messages:
        desk.hear(message)
        for status in desk.listen():
            assert status is truth or not status.is_final
    desk.ask(*answer)
    desk.listen()
    return desk


@pytest.mark.parametrize("name", STORIES)
@given(data=st.data())
@settings(max_examples=50, deadline=None)
def test_true_messages_in_any_order_and_any_number_end_in_the_truth(name: str, data: st.DataObject) -> None:
    story, answer, truth, filled = STORIES[name]
    messages = data.draw(st.permutations(story + data.draw(st.lists(st.sampled_from(story), max_size=3))))
    told = data.draw(st.permutations(answer))
    desk = hear_story(messages, told, truth)
    for _ in range(2):  # what crossed the first answer is settled by the second
        desk.ask(*answer)
        desk.listen()
    assert desk.status() is truth
    assert desk.orders.filled(desk.order()) == filled
    assert not desk.is_in_doubt()
    assert desk.reports[-1].status is truth
    newest = {one.lineage: one for one in sorted(desk.executions, key=lambda one: one.revision)}
    assert sum(one.quantity for one in newest.values()) == filled
    assert len(list(desk.orders.open_orders())) == (0 if truth.is_final else 1)
