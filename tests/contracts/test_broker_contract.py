"""What ``trading.ports.Broker`` promises, asked of every adapter (``VENUES`` in conftest.py)."""

import contextlib
import itertools
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trading.errors import OrderRefused
from trading.lots import Position
from trading.money import ZERO, round_money
from trading.orders import Execution, OrderAmendment, OrderStatus, status_after
from trading.ports import BrokerOrder, OrderReport
from trading.settings import CostBasis

Venue = Any
News = Sequence[OrderReport | Execution]


def order(venue: Venue, name: str) -> BrokerOrder:
    found = venue.broker.find_order(name)
    assert found is not None
    return found


def amendment(venue: Venue, name: str, number: int = 1, **changes: Any) -> OrderAmendment:
    return OrderAmendment(name, number, venue.now, OrderStatus.SUBMITTED, **changes)


def statuses(news: News, name: str) -> list[OrderStatus]:
    return [one.status for one in news if isinstance(one, OrderReport) and one.client_order_id == name]


def executed(news: News) -> list[Execution]:
    return [one for one in news if isinstance(one, Execution)]


def heard(news: News, name: str) -> OrderStatus:
    """What a listener who folds the news knows of an order."""
    status = OrderStatus.CREATED
    for said in statuses(news, name):
        status = status_after(status, said)
    return status


# Sending


def test_the_same_id_again_is_the_same_order(venue: Venue) -> None:
    first = venue.broker.submit(venue.intent("a"))
    assert first.client_order_id == "a"
    assert venue.broker.submit(venue.intent("a")).broker_order_id == first.broker_order_id
    venue.reconnect()
    assert venue.broker.submit(venue.intent("a")).broker_order_id == first.broker_order_id
    assert len(venue.broker.account().open_orders) == 1
    venue.trade()
    again = venue.broker.submit(venue.intent("a"))
    assert (again.broker_order_id, again.status) == (first.broker_order_id, OrderStatus.FILLED)
    venue.trade()
    assert [held.quantity for held in venue.broker.account().positions] == [10]


def test_two_orders_have_two_numbers_also_across_connections(venue: Venue) -> None:
    numbers = []
    for name in "abc":
        numbers.append(venue.broker.submit(venue.intent(name)).broker_order_id)
        venue.reconnect()
    assert len(set(numbers)) == 3


def test_an_order_is_found_from_its_sending_on_and_for_ever(venue: Venue) -> None:
    assert venue.broker.find_order("a") is None
    venue.broker.submit(venue.intent("a", "LIMIT", "SELL", limit_price="105"))
    found = order(venue, "a")
    assert (found.symbol, found.side, found.quantity, found.filled) == ("SPY", "SELL", 10, 0)
    assert (found.order_type, found.limit_price, found.average_price) == ("LIMIT", Decimal(105), None)
    venue.trade("106 107 105 106")
    venue.reconnect()
    assert (order(venue, "a").status, order(venue, "a").filled) == (OrderStatus.FILLED, 10)
    assert venue.broker.find_order("b") is None


def test_a_child_whose_parent_never_came_is_refused_and_not_kept(venue: Venue) -> None:
    with pytest.raises(OrderRefused):
        venue.broker.submit(venue.intent("child", "STOP", "SELL", stop_price="95", parent_id="nobody"))
    assert venue.broker.find_order("child") is None
    assert venue.broker.account().open_orders == ()


# Cancelling


def test_a_cancel_ends_an_order_once(venue: Venue) -> None:
    venue.broker.submit(venue.intent("a", "LIMIT", limit_price="90"))
    venue.trade()
    for _ in range(2):
        venue.broker.cancel("a")
        venue.reconnect()
    assert order(venue, "a").status is OrderStatus.CANCELLED
    assert heard(venue.broker.poll(), "a") is OrderStatus.CANCELLED
    venue.trade("85 86 84 85")
    assert venue.broker.account().positions == ()


def test_cancelling_what_is_over_or_never_came_does_nothing(venue: Venue) -> None:
    venue.broker.submit(venue.intent("a"))
    venue.trade()
    venue.broker.cancel("a")
    venue.broker.cancel("never came")
    assert order(venue, "a").status is OrderStatus.FILLED
    assert venue.broker.find_order("never came") is None


def test_a_cancel_keeps_what_was_filled(venue: Venue) -> None:
    venue.broker.submit(venue.intent("a"))
    venue.trade(volume=40)
    venue.broker.cancel("a")
    assert (order(venue, "a").status, order(venue, "a").filled) == (OrderStatus.CANCELLED, 4)
    assert [held.quantity for held in venue.broker.account().positions] == [4]


# Changing


def test_a_change_keeps_the_order_and_its_id(venue: Venue) -> None:
    number = venue.broker.submit(venue.intent("a", "LIMIT", limit_price="90")).broker_order_id
    venue.trade()
    change = amendment(venue, "a", quantity=7, limit_price=Decimal(95))
    for _ in range(2):
        venue.broker.replace(change)
        venue.reconnect()
    changed = order(venue, "a")
    assert (changed.broker_order_id, changed.quantity, changed.limit_price) == (number, 7, Decimal(95))
    venue.trade("94 95 93 94")
    assert [held.quantity for held in venue.broker.account().positions] == [7]


def test_a_change_that_cannot_be_is_refused(venue: Venue) -> None:
    with pytest.raises(OrderRefused):
        venue.broker.replace(amendment(venue, "never came", quantity=1))
    venue.broker.submit(venue.intent("a"))
    with pytest.raises(OrderRefused):
        venue.broker.replace(amendment(venue, "a", quantity=11))
    with pytest.raises(OrderRefused):
        venue.broker.replace(amendment(venue, "a", stop_price=Decimal(90)))
    venue.trade()
    with pytest.raises(OrderRefused):
        venue.broker.replace(amendment(venue, "a", quantity=5))
    assert (order(venue, "a").quantity, order(venue, "a").filled) == (10, 10)


# News


def test_news_comes_at_least_once_and_all_of_the_day_after_connecting(venue: Venue) -> None:
    venue.broker.submit(venue.intent("a"))
    venue.trade(volume=40)
    first = venue.broker.poll()
    venue.trade()
    second = venue.broker.poll()
    known = {one.exec_id: one for one in executed([*first, *second])}
    assert sum(one.quantity for one in known.values()) == 10
    assert heard([*first, *second], "a") is OrderStatus.FILLED
    venue.reconnect()
    # An adapter whose connection cannot be lost has told everything.
    again = venue.broker.poll() or [*first, *second]
    assert {one.exec_id: one for one in executed(again)} == known
    assert heard(again, "a") is OrderStatus.FILLED
    assert heard(list(reversed(again)), "a") is OrderStatus.FILLED


def test_asking_for_executions_takes_no_news_away(venue: Venue) -> None:
    venue.broker.submit(venue.intent("a"))
    venue.trade()
    asked = venue.broker.executions(None)
    assert executed(venue.broker.poll()) == list(asked)
    assert venue.broker.executions(None) == asked


def test_executions_can_be_asked_from_a_moment_on(venue: Venue) -> None:
    for name in "ab":
        venue.broker.submit(venue.intent(name))
        venue.trade()
    first, second = venue.broker.executions(None)
    assert venue.broker.executions(first.executed_at) == (first, second)
    assert venue.broker.executions(second.executed_at) == (second,)
    kept_since = venue.broker.executions_kept_since
    assert kept_since is None or kept_since <= first.executed_at


def test_connections_are_counted(venue: Venue) -> None:
    assert venue.broker.connections >= 1


def test_its_fills_say_where_they_are_from(venue: Venue) -> None:
    assert venue.broker.source


# Books


def assert_books_agree(venue: Venue, names: Sequence[str]) -> None:
    """Executions, orders, positions and cash tell one story."""
    account, executions = venue.broker.account(), venue.broker.executions(None)
    cash, positions = venue.initial_cash, {}
    for one in executions:
        assert one.commission is not None
        cash -= one.side.sign * one.quantity * one.price + one.commission
        positions.setdefault(one.symbol, Position(CostBasis.AVERAGE)).apply(one)
    assert abs(account.cash - cash) <= venue.cash_is_told_within
    held = {symbol: position for symbol, position in positions.items() if position.quantity}
    assert {position.symbol: position.quantity for position in account.positions} == {
        symbol: position.quantity for symbol, position in held.items()
    }
    for position in account.positions:
        assert position.average_cost == round_money(held[position.symbol].basis / position.quantity)
    open_orders = {one.client_order_id: one for one in account.open_orders}
    assert set(open_orders) <= set(names), "nothing is made elsewhere"
    for name in names:
        found = venue.broker.find_order(name)
        if found is None:
            continue
        own = [one for one in executions if one.client_order_id == name]
        assert found.filled == sum(one.quantity for one in own) <= found.quantity
        assert (found.status is OrderStatus.FILLED) == (found.filled == found.quantity)
        assert (name in open_orders) == (not found.status.is_final)
        assert name not in open_orders or open_orders[name] == found
        if own:
            value = sum((one.quantity * one.price for one in own), ZERO)
            assert found.average_price == round_money(value / found.filled)
            assert sum((one.commission or ZERO for one in own), ZERO) > 0
        else:
            assert found.average_price is None


def test_the_books_agree_after_every_step_of_a_day(venue: Venue) -> None:
    names = ["a", "b", "c"]
    venue.broker.submit(venue.intent("a", quantity=50))
    venue.trade(volume=200)
    assert_books_agree(venue, names)
    venue.broker.submit(venue.intent("b", "LIMIT", "SELL", 80, limit_price="104"))
    venue.trade("103 106 102 105", volume=600)
    assert_books_agree(venue, names)
    venue.reconnect()
    venue.broker.submit(venue.intent("c", "STOP", "BUY", 30, stop_price="107"))
    venue.trade("106 108 105 107")
    assert_books_agree(venue, names)
    assert {order(venue, name).status for name in names} == {OrderStatus.FILLED}
    assert venue.broker.account().positions == ()


def test_commissions_of_parts_are_those_of_the_whole(venue: Venue, make_venue: Callable[[], Venue]) -> None:
    whole = make_venue()
    for one, volume in ((venue, 1_000), (whole, 1_000_000)):
        one.broker.submit(one.intent("a", quantity=400))
        for _ in range(4):
            one.trade(volume=volume)
    parts = [one.commission for one in venue.broker.executions(None)]
    assert len(parts) == 4
    assert [sum(parts)] == [one.commission for one in whole.broker.executions(None)]


# Anything in any order

_PRICES = st.integers(95, 105).map(str)
_BARS = st.lists(st.integers(94, 106), min_size=4, max_size=4).map(
    lambda four: f"{four[0]} {max(four)} {min(four)} {four[1]}"
)


def _terms(kind: str) -> st.SearchStrategy[dict[str, Any]]:
    wanted: dict[str, st.SearchStrategy[Any]] = {}
    if "LIMIT" in kind:
        wanted["limit_price"] = _PRICES
    if kind in ("STOP", "STOP_LIMIT"):
        wanted["stop_price"] = _PRICES
    if kind == "TRAILING_STOP":
        wanted["trail_amount"] = st.sampled_from(["0.5", "2"])
    return st.fixed_dictionaries({"kind": st.just(kind), **wanted})


_SENDS = st.tuples(
    st.just("send"),
    st.sampled_from(["MARKET", "LIMIT", "STOP", "STOP_LIMIT", "TRAILING_STOP"]).flatmap(_terms),
    st.sampled_from(["BUY", "SELL"]),
    st.integers(1, 12),
    st.sampled_from(["DAY", "GTC", "IOC", "FOK"]),
    st.sampled_from([None, None, "g", "h"]),
    st.one_of(st.none(), st.integers(0, 5)),
)
_STEPS = st.lists(
    st.one_of(
        _SENDS,
        st.tuples(st.just("bar"), _BARS, st.sampled_from([0, 30, 70, 1_000])),
        st.tuples(st.just("cancel"), st.integers(0, 8)),
        st.tuples(st.just("replace"), st.integers(0, 8), st.integers(1, 12)),
        st.tuples(st.just("reconnect")),
    ),
    max_size=25,
)


_AS_THEY_ARE = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


@given(steps=_STEPS)
@settings(suppress_health_check=_AS_THEY_ARE)
def test_whatever_is_asked_in_whatever_order_the_books_agree(
    make_near_venue: Callable[[], Venue], steps: list[Any]
) -> None:
    do_whatever_is_asked(make_near_venue(), steps)


@given(steps=_STEPS)
@settings(suppress_health_check=_AS_THEY_ARE, max_examples=12)
def test_whatever_is_asked_over_a_wire_the_books_agree(make_far_venue: Callable[[], Venue], steps: list[Any]) -> None:
    do_whatever_is_asked(make_far_venue(), steps)


def do_whatever_is_asked(venue: Venue, steps: list[Any]) -> None:
    sent: dict[str, Any] = {}
    told: list[OrderReport | Execution] = []
    numbers = itertools.count(1)
    for step in steps:
        match step:
            case ("send", terms, side, quantity, tif, group, parent):
                name = f"o{len(sent)}"
                parent_id = None if parent is None else f"o{parent}"
                intent = venue.intent(
                    name, side=side, quantity=quantity, tif=tif, oca_group=group, parent_id=parent_id, **terms
                )
                sent[name] = intent
                try:
                    venue.broker.submit(intent)
                except OrderRefused:
                    assert group is not None or parent is not None
            case ("bar", prices, volume):
                venue.trade(prices, volume)
            case ("cancel", number):
                venue.broker.cancel(f"o{number}")
            case ("replace", number, quantity):
                # There may be no such order, or a smaller one.
                with contextlib.suppress(OrderRefused):
                    venue.broker.replace(amendment(venue, f"o{number}", next(numbers), quantity=quantity))
            case _:
                venue.reconnect()
        told += venue.broker.poll()
        assert_books_agree(venue, list(sent))
        filled = {name: found.filled for name in sent if (found := venue.broker.find_order(name)) is not None}
        for name, count in filled.items():
            assert count <= sent[name].quantity
        for group in ("g", "h"):
            members = [name for name in filled if sent[name].oca_group == group]
            most = max((sent[name].quantity for name in members), default=0)
            assert sum(filled[name] for name in members) <= most
        for parent_id in filled:
            children = [name for name in filled if sent[name].parent_id == parent_id]
            assert sum(filled[name] for name in children) <= filled[parent_id]
    known = {one.exec_id: one for one in executed(told)}
    assert sorted(known) == sorted(one.exec_id for one in venue.broker.executions(None))
    for name in sent:
        found = venue.broker.find_order(name)
        if found is not None:
            # However often it was told, and in whichever order it is heard.
            assert heard(told, name) is found.status
            assert heard(told[::-1], name) is found.status
