from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading.money import from_micros, round_money, to_cents, to_micros


@pytest.mark.parametrize(
    ("amount", "rounded"),
    [("1.0000005", "1.000000"), ("1.0000015", "1.000002"), ("-1.0000005", "-1.000000"), ("1.00000051", "1.000001")],
)
def test_money_is_rounded_at_six_places_half_to_even(amount: str, rounded: str) -> None:
    assert round_money(Decimal(amount)) == Decimal(rounded)
    assert to_micros(Decimal(amount)) == int(Decimal(rounded) * 1_000_000)


def test_cents_are_for_people() -> None:
    assert [str(to_cents(Decimal(amount))) for amount in ("1.005", "1.015", "-2.5", "7")] == [
        "1.00",
        "1.02",
        "-2.50",
        "7.00",
    ]


@given(st.integers(-(2**63) + 1, 2**63 - 1))
def test_micros_and_decimals_are_the_same_amount(micros: int) -> None:
    assert to_micros(from_micros(micros)) == micros


@given(st.decimals(-(10**11), 10**11, places=6), st.integers(0, 10**6))
def test_price_times_whole_quantity_needs_no_rounding(price: Decimal, quantity: int) -> None:
    assert round_money(price * quantity) == price * quantity
    assert to_micros(price) * quantity == to_micros(price * quantity)


@pytest.mark.parametrize("amount", ["NaN", "Infinity"])
def test_what_is_not_an_amount_has_no_micros(amount: str) -> None:
    with pytest.raises((ArithmeticError, ValueError)):
        to_micros(Decimal(amount))
