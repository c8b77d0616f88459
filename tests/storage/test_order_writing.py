"""Amendments, tries and orders asked for by name."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

from storage.store import Store
from trading.orders import OrderAmendment, OrderEvent, OrderStatus, OrderType, Side
from trading.ports import LedgerEntries


def amendment(book: Any, number: int, status: OrderStatus, **changes: Any) -> OrderAmendment:
    return OrderAmendment("o", number, book.at(number), status, **changes)


def commit(store: Store, book: Any, **entries: Any) -> None:
    store.ledger.commit(book.session, LedgerEntries(**entries))


def test_an_amendment_changes_its_order_when_the_broker_has_accepted_it(store: Store, book: Any) -> None:
    limit = replace(book.intent("o", Side.BUY, 100), order_type=OrderType.LIMIT, limit_price=Decimal("10"))
    commit(store, book, intents=[limit], fills=[book.fill(Side.BUY, 60, "10")])
    sent = amendment(book, 1, OrderStatus.SUBMITTED, limit_price=Decimal("10.50"), quantity=80)
    commit(store, book, amendments=[sent])
    assert store.ledger.find_orders(["o"])["o"].intent == limit
    for _ in range(2):
        commit(store, book, amendments=[replace(sent, status=OrderStatus.ACCEPTED)])
    [order] = store.ledger.open_orders("paper")
    assert order.intent == replace(limit, limit_price=Decimal("10.50"), quantity=80)
    assert (order.status, order.remaining) == (OrderStatus.PARTIALLY_FILLED, 20)
    commit(store, book, intents=[limit], amendments=[sent])  # told again: stays as amended and accepted
    assert store.ledger.open_orders("paper") == [order]
    assert store.connection.rows("SELECT number, status, quantity FROM order_amendments") == [(1, "ACCEPTED", 80)]


def test_an_order_that_is_amended_down_to_what_it_has_is_filled(store: Store, book: Any) -> None:
    commit(store, book, intents=[book.intent("o", Side.BUY, 100)], fills=[book.fill(Side.BUY, 60, "10")])
    commit(store, book, amendments=[amendment(book, 1, OrderStatus.ACCEPTED, quantity=60)])
    assert store.ledger.find_orders(["o"])["o"].status is OrderStatus.FILLED


def test_a_refused_amendment_changes_nothing_and_stays_refused(store: Store, book: Any) -> None:
    commit(store, book, intents=[book.intent("o", Side.BUY, 100)])
    for status in (OrderStatus.SUBMITTED, OrderStatus.REJECTED, OrderStatus.ACCEPTED):
        commit(store, book, amendments=[amendment(book, 1, status, quantity=50)])
    assert store.ledger.find_orders(["o"])["o"].intent.quantity == 100
    assert store.connection.rows("SELECT status FROM order_amendments") == [("REJECTED",)]


def test_an_acceptance_that_comes_late_does_not_undo_a_later_amendment(store: Store, book: Any) -> None:
    stop = replace(book.intent("o", Side.SELL, 100), order_type=OrderType.STOP, stop_price=Decimal("9"))
    commit(store, book, intents=[stop])
    first = amendment(book, 1, OrderStatus.SUBMITTED, stop_price=Decimal("9.10"), quantity=80)
    second = amendment(book, 2, OrderStatus.SUBMITTED, stop_price=Decimal("9.20"))
    commit(store, book, amendments=[first, second])
    for it in (second, first):
        commit(store, book, amendments=[replace(it, status=OrderStatus.ACCEPTED)])
    assert store.ledger.find_orders(["o"])["o"].intent == replace(stop, stop_price=Decimal("9.20"), quantity=80)


def test_a_trailing_stop_is_read_back_as_it_was_saved_and_amended(store: Store, book: Any) -> None:
    trailing = replace(
        book.intent("o", Side.SELL, 10), order_type=OrderType.TRAILING_STOP, trail_fraction=Decimal("0.015")
    )
    commit(store, book, intents=[trailing])
    assert store.ledger.find_orders(["o"])["o"].intent == trailing
    commit(store, book, amendments=[amendment(book, 1, OrderStatus.ACCEPTED, trail_fraction=Decimal("0.02"))])
    assert store.ledger.find_orders(["o"])["o"].intent == replace(trailing, trail_fraction=Decimal("0.02"))


def test_each_time_that_an_order_is_sent_is_counted_once(store: Store, book: Any) -> None:
    first = OrderEvent("o", book.at(0), OrderStatus.SUBMITTED)
    again = OrderEvent("o", book.at(0), OrderStatus.SUBMITTED, "attempt 2")
    commit(store, book, intents=[book.intent("o", Side.BUY, 1)], order_events=[first])
    for _ in range(2):
        commit(store, book, order_events=[first, again])
    assert store.ledger.open_orders("paper")[0].attempts == 2


def test_orders_are_found_by_name_and_by_time_wherever_they_stand(store: Store, book: Any) -> None:
    intents = [book.intent(f"o{minute}", Side.BUY, 1, minute=minute) for minute in range(4)]
    commit(store, book, intents=intents, order_events=[OrderEvent("o2", book.at(2), OrderStatus.CANCELLED)])
    commit(store, book, intents=[replace(book.intent("elsewhere", Side.BUY, 1, minute=3), account="other")])
    found = store.ledger.find_orders(["o2", "nobody's", "o0"])
    assert {name: order.status for name, order in found.items()} == {
        "o0": OrderStatus.CREATED,
        "o2": OrderStatus.CANCELLED,
    }
    assert store.ledger.find_orders([]) == {}
    assert [order.intent for order in store.ledger.orders_since("paper", book.at(1))] == intents[1:]


def test_an_order_that_is_taken_up_again_goes_on_from_there_once(store: Store, book: Any) -> None:
    commit(
        store,
        book,
        intents=[book.intent("o", Side.BUY, 10)],
        order_events=[OrderEvent("o", book.at(1), OrderStatus.CANCELLED)],
    )
    again = OrderEvent("o", book.at(2), OrderStatus.ACCEPTED, "works at the broker")
    commit(store, book, reopened=[again])
    assert store.ledger.open_orders("paper")[0].status is OrderStatus.ACCEPTED
    commit(store, book, fills=[book.fill(Side.BUY, 10, "1")])
    commit(store, book, reopened=[again])
    assert store.ledger.find_orders(["o"])["o"].status is OrderStatus.FILLED
