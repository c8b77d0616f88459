from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading.orders import (
    Execution,
    OpenOrder,
    OrderIntent,
    OrderStatus,
    Side,
    client_order_id,
    may_become,
    status_after,
    status_with_fills,
)

AT = datetime(2026, 1, 5, 14, 30, tzinfo=UTC)
MONDAY = date(2026, 1, 5)

# Row: where an order stands. Column: what is reported next, in the same order. x: the order takes the step.
STATUSES = [
    "CREATED",
    "SUBMITTED",
    "UNKNOWN",
    "ACCEPTED",
    "PARTIALLY_FILLED",
    "CANCEL_PENDING",
    "REJECTED",
    "EXPIRED",
    "CANCELLED",
    "FILLED",
]
TABLE = """
    CREATED           . x x x x x x x x x
    SUBMITTED         . . x x x x x x x x
    UNKNOWN           . . . x x x x x x x
    ACCEPTED          . . . . x x x x x x
    PARTIALLY_FILLED  . . . . . x x x x x
    CANCEL_PENDING    . . . . . . x x x x
    REJECTED          . . . . . . . x x x
    EXPIRED           . . . . . . . . x x
    CANCELLED         . . . . . . . . . x
    FILLED            . . . . . . . . . .
"""
STEPS = {
    (line.split()[0], following): mark == "x"
    for line in TABLE.strip().splitlines()
    for following, mark in zip(STATUSES, line.split()[1:], strict=True)
}


def test_the_table_names_every_status() -> None:
    assert set(STATUSES) == {str(status) for status in OrderStatus}
    assert len(STEPS) == len(OrderStatus) ** 2


@pytest.mark.parametrize(("current", "following"), STEPS)
def test_an_order_takes_exactly_the_steps_of_the_table(current: str, following: str) -> None:
    assert may_become(OrderStatus(current), OrderStatus(following)) is STEPS[current, following]


@given(
    st.lists(st.sampled_from(OrderStatus), max_size=8).flatmap(
        lambda news: st.tuples(st.just(news), st.permutations(news))
    )
)
def test_the_order_in_which_news_comes_makes_no_difference(news: tuple[list[OrderStatus], list[OrderStatus]]) -> None:
    def after(reports: list[OrderStatus]) -> OrderStatus:
        status = OrderStatus.CREATED
        for reported in reports + reports[:2]:  # repeats included
            status = status_after(status, reported)
        return status

    assert after(news[0]) is after(news[1])


def test_fills_say_more_than_words() -> None:
    assert status_with_fills(OrderStatus.SUBMITTED, 40, 100) is OrderStatus.PARTIALLY_FILLED
    assert status_with_fills(OrderStatus.CANCELLED, 40, 100) is OrderStatus.CANCELLED
    assert status_with_fills(OrderStatus.CANCELLED, 100, 100) is OrderStatus.FILLED
    assert status_with_fills(OrderStatus.REJECTED, 120, 100) is OrderStatus.FILLED
    assert status_with_fills(OrderStatus.ACCEPTED, 0, 100) is OrderStatus.ACCEPTED


def test_an_order_that_is_over_is_over() -> None:
    assert {status for status in OrderStatus if status.is_final} == {
        OrderStatus.FILLED,
        OrderStatus.CANCELLED,
        OrderStatus.REJECTED,
        OrderStatus.EXPIRED,
    }


def folded(reports: list[OrderStatus]) -> OrderStatus:
    status = OrderStatus.SUBMITTED
    for report in reports:
        if may_become(status, report):
            status = report
    return status


LIVES = st.sampled_from(
    [
        [OrderStatus.ACCEPTED, OrderStatus.PARTIALLY_FILLED, OrderStatus.FILLED],
        [OrderStatus.ACCEPTED, OrderStatus.FILLED],
        [OrderStatus.ACCEPTED, OrderStatus.CANCEL_PENDING, OrderStatus.CANCELLED],
        [OrderStatus.ACCEPTED, OrderStatus.PARTIALLY_FILLED, OrderStatus.CANCEL_PENDING, OrderStatus.FILLED],
        [OrderStatus.ACCEPTED, OrderStatus.EXPIRED],
        [OrderStatus.REJECTED],
    ]
)


@given(life=LIVES, data=st.data())
def test_repeated_and_shuffled_messages_end_where_the_order_ended(life: list[OrderStatus], data: st.DataObject) -> None:
    repeated = life + data.draw(st.lists(st.sampled_from(life), max_size=6))
    assert folded(data.draw(st.permutations(repeated))) is life[-1]


@given(st.lists(st.sampled_from(OrderStatus), max_size=8), st.lists(st.sampled_from(OrderStatus), max_size=8))
def test_an_order_that_is_over_stays_over(before: list[OrderStatus], late: list[OrderStatus]) -> None:
    if folded(before).is_final:
        assert folded(before + late).is_final


# Names


def test_the_name_of_an_intent_is_a_function_of_what_is_intended() -> None:
    name = client_order_id("sma", "paper", MONDAY, AT, "SPY")
    # Written down once: it must never change, or a restart would send an order twice.
    assert name == "260105-143000-SPY-f6ada43815"
    assert name == client_order_id("sma", "paper", MONDAY, AT, "SPY", "main")


@pytest.mark.parametrize(
    "other",
    [
        ("sma2", "paper", MONDAY, AT, "SPY"),
        ("sma", "live", MONDAY, AT, "SPY"),
        ("sma", "paper", date(2026, 1, 6), AT, "SPY"),
        ("sma", "paper", MONDAY, AT.replace(minute=31), "SPY"),
        ("sma", "paper", MONDAY, AT, "QQQ"),
        ("sma", "paper", MONDAY, AT, "SPY", "flatten"),
        # Parts do not run into each other.
        ("smapaper", "", MONDAY, AT, "SPY"),
    ],
)
def test_every_part_of_an_intent_is_in_its_name(other: tuple[str, str, date, datetime, str]) -> None:
    assert client_order_id(*other) != client_order_id("sma", "paper", MONDAY, AT, "SPY")


@given(
    strategy=st.text("abcXYZ_-", min_size=1, max_size=40),
    account=st.text("abcXYZ_-", min_size=1, max_size=40),
    symbol=st.text("ABC.- ", min_size=1, max_size=12),
    at=st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
)
def test_a_name_fits_the_reference_field_of_a_broker(strategy: str, account: str, symbol: str, at: datetime) -> None:
    assert len(client_order_id(strategy, account, at.date(), at, symbol, "flatten-3")) <= 40


# Values that refuse nonsense


def intent(**changes: object) -> OrderIntent:
    return replace(OrderIntent("o", "s", "paper", AT, "SPY", Side.BUY, 10, Decimal(100), AT), **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("quantity", [0, -1])
def test_an_intent_is_for_shares(quantity: int) -> None:
    with pytest.raises(ValueError, match="is not positive"):
        intent(quantity=quantity)


@pytest.mark.parametrize("price", ["0", "-1", "NaN", "Infinity", "-Infinity"])
def test_an_intent_and_an_execution_have_a_price(price: str) -> None:
    with pytest.raises(ValueError, match="is not positive"):
        intent(reference_price=Decimal(price))
    with pytest.raises(ValueError, match="is not an execution"):
        Execution("x", "o", "SPY", Side.BUY, 10, Decimal(price), None, AT)


@pytest.mark.parametrize("commission", ["NaN", "Infinity"])
def test_a_commission_is_an_amount(commission: str) -> None:
    with pytest.raises(ValueError, match="is not an amount"):
        Execution("x", "o", "SPY", Side.BUY, 10, Decimal(100), Decimal(commission), AT)


def test_what_is_left_of_an_order_is_signed_and_never_negative() -> None:
    sale = OpenOrder(intent(side=Side.SELL), OrderStatus.ACCEPTED, 4)
    assert (sale.remaining, sale.signed_remaining) == (6, -6)
    assert OpenOrder(intent(), OrderStatus.ACCEPTED, 11).remaining == 0


def test_sides_are_opposites() -> None:
    assert (Side.BUY.sign, Side.SELL.sign) == (1, -1)
    assert Side.BUY.opposite is Side.SELL
    assert Side.SELL.opposite is Side.BUY
