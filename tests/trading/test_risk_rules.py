from decimal import Decimal

import pytest

from trading.orders import Side
from trading.risk_rules import shares_within

BUY, SELL = Side.BUY, Side.SELL


@pytest.mark.parametrize(
    ("side", "position", "working", "exposed"),
    [
        (BUY, 0, 0, 0),
        (BUY, 40, 0, 40),
        (BUY, 40, 25, 65),
        # A position of the other side is closed first: no shares are exposed in the order's direction.
        (BUY, -40, 25, 25),
        (SELL, 40, 25, 25),
        (SELL, -40, 0, 40),
        (SELL, -40, 25, 65),
    ],
)
def test_what_is_exposed_counts_only_the_orders_own_direction(
    risk_view, side: Side, position: int, working: int, exposed: int
) -> None:
    assert risk_view(side=side, position=position, working=working).exposed == exposed


@pytest.mark.parametrize(
    ("limit", "stop", "worst"),
    [
        (None, None, "50"),
        ("49.99", None, "50"),
        ("50.01", None, "50.01"),
        (None, "49.99", "50"),
        (None, "50.02", "50.02"),
        ("50.03", "50.02", "50.03"),
        ("50.02", "50.03", "50.03"),
        ("49", "48", "50"),
    ],
)
def test_the_worst_price_is_the_highest_that_the_order_allows(
    risk_view, limit: str | None, stop: str | None, worst: str
) -> None:
    prices = {"limit_price": limit, "stop_price": stop}
    order = risk_view(**{name: None if price is None else Decimal(price) for name, price in prices.items()})
    assert order.worst_price == Decimal(worst)


@pytest.mark.parametrize(
    ("trails_up_to", "limit", "worst"),
    [("50.50", None, "50.50"), ("49", None, "50"), ("50.50", "50.60", "50.60"), ("50.60", "50.50", "50.60")],
)
def test_a_trailing_stop_allows_what_it_trails_up_to(
    risk_view, trails_up_to: str, limit: str | None, worst: str
) -> None:
    limit_price = None if limit is None else Decimal(limit)
    assert risk_view(trails_up_to=Decimal(trails_up_to), limit_price=limit_price).worst_price == Decimal(worst)


@pytest.mark.parametrize(
    ("side", "position", "opposing", "worth"),
    [
        (BUY, 0, 0, 0),
        # Sales of 30 shares of which none is held: 30 x 50.
        (BUY, 0, 30, 1_500),
        (BUY, 30, 30, 0),
        (BUY, 29, 30, 50),
        (BUY, 100, 30, 0),
        # Short 20 and 30 more on their way: 50 x 50.
        (BUY, -20, 30, 2_500),
        (SELL, -30, 30, 0),
        (SELL, -29, 30, 50),
        (SELL, 20, 30, 2_500),
    ],
)
def test_the_opposite_value_is_what_orders_of_the_other_side_could_make_of_the_position(
    risk_view, side: Side, position: int, opposing: int, worth: int
) -> None:
    assert risk_view(side=side, position=position, opposing=opposing).opposite_value == worth


@pytest.mark.parametrize(
    ("room", "price", "shares"),
    [
        ("100", "50", 2),
        ("99.99", "50", 1),
        ("49.99", "50", 0),
        ("0", "50", 0),
        ("0", "0", 0),
        ("-100", "50", 0),
        ("1", "0.3", 3),
    ],
)
def test_room_buys_whole_shares_rounded_down_and_never_fewer_than_none(room: str, price: str, shares: int) -> None:
    assert shares_within(Decimal(room), Decimal(price)) == shares


def test_room_at_no_price_cannot_be_told() -> None:
    with pytest.raises(ArithmeticError):
        shares_within(Decimal(100), Decimal(0))
