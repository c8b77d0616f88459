from dataclasses import replace
from decimal import Decimal

import pytest

from trading.orders import Side
from trading.risk_rules import (
    BuyingPower,
    KnownPrice,
    MaxOrderNotional,
    MaxOrderShares,
    MaxPositionFraction,
    MaxPositionShares,
    NotHalted,
    RiskView,
    Rule,
    ShortSelling,
)

ORDER = RiskView(
    symbol="SPY",
    side=Side.BUY,
    quantity=100,
    adding=100,
    price=Decimal(50),
    position=0,
    working=0,
    equity=Decimal(100_000),
    free_cash=Decimal(100_000),
    average_volume=Decimal(10_000),
    spread_bps=None,
    volatility_fraction=None,
    halted=None,
)
"""A purchase of 100 shares at 50: 5,000."""


def view(**changes: object) -> RiskView:
    """The order above with changes; what it adds is all of it unless the test says otherwise."""
    if "quantity" in changes and "adding" not in changes:
        changes["adding"] = changes["quantity"]
    return replace(ORDER, **changes)  # type: ignore[arg-type]


def allowed(rule: Rule, **changes: object) -> int | None:
    """Shares that the rule allows; None where it agrees with all of them."""
    objection = rule.object_to(view(**changes))
    return None if objection is None else objection.allowed


def test_no_new_risk_while_a_halt_stands() -> None:
    assert allowed(NotHalted()) is None
    objection = NotHalted().object_to(view(halted="fat finger"))
    assert objection is not None
    assert (objection.allowed, objection.reason) == (0, "trading is halted: fat finger")


@pytest.mark.parametrize("price", ["0", "-1"])
def test_no_price_no_new_risk(price: str) -> None:
    assert allowed(KnownPrice(), price=Decimal(price)) == 0


@pytest.mark.parametrize(
    ("shorts", "side", "answer"),
    [(False, Side.SELL, 0), (True, Side.SELL, None), (False, Side.BUY, None), (True, Side.BUY, None)],
)
def test_selling_what_is_not_held_must_be_allowed(shorts: bool, side: Side, answer: int | None) -> None:
    assert allowed(ShortSelling(shorts), side=side) == answer


@pytest.mark.parametrize(("quantity", "answer"), [(499, None), (500, None), (501, 500), (10**9, 500)])
def test_an_order_has_at_most_so_many_shares(quantity: int, answer: int | None) -> None:
    assert allowed(MaxOrderShares(500), quantity=quantity) == answer


@pytest.mark.parametrize(("quantity", "answer"), [(99, None), (100, None), (101, 100)])
def test_an_order_is_worth_at_most_so_much(quantity: int, answer: int | None) -> None:
    assert allowed(MaxOrderNotional(Decimal(5_000)), quantity=quantity) == answer


def test_the_worth_of_an_order_is_rounded_down_to_whole_shares() -> None:
    # 4,999.99 / 50 = 99.9998.
    assert allowed(MaxOrderNotional(Decimal("4999.99"))) == 99


@pytest.mark.parametrize(
    ("position", "working", "side", "answer"),
    [
        (900, 0, Side.BUY, None),
        (901, 0, Side.BUY, 99),
        (400, 500, Side.BUY, None),
        (400, 501, Side.BUY, 99),
        (1_000, 0, Side.BUY, 0),
        (1_500, 0, Side.BUY, 0),
        (-900, 0, Side.SELL, None),
        (-901, 0, Side.SELL, 99),
        # A position of the other side is what the order closes first, not room for more.
        (-500, 0, Side.BUY, None),
    ],
)
def test_a_position_has_at_most_so_many_shares_with_all_that_works(
    position: int, working: int, side: Side, answer: int | None
) -> None:
    assert allowed(MaxPositionShares(1_000), position=position, working=working, side=side) == answer


@pytest.mark.parametrize(
    ("position", "working", "answer"),
    [(100, 0, None), (101, 0, 99), (50, 50, None), (50, 51, 99), (200, 0, 0), (300, 0, 0)],
)
def test_a_position_is_at_most_its_fraction_of_equity(position: int, working: int, answer: int | None) -> None:
    # A tenth of 100,000 is 10,000: 200 shares at 50.
    rule = MaxPositionFraction(Decimal("0.10"))
    assert allowed(rule, position=position, working=working) == answer


def test_what_the_fraction_saw_is_a_fraction() -> None:
    objection = MaxPositionFraction(Decimal("0.10")).object_to(view(position=300))
    assert objection is not None
    # 400 shares at 50 of 100,000.
    assert (objection.observed, objection.limit_value) == (Decimal("0.2"), Decimal("0.10"))


@pytest.mark.parametrize("equity", ["0", "-1"])
def test_an_account_without_equity_takes_no_risk(equity: str) -> None:
    assert allowed(MaxPositionFraction(Decimal("0.10")), equity=Decimal(equity)) == 0


POWER = BuyingPower(Decimal("0.005"), Decimal("1"))


@pytest.mark.parametrize(
    ("cash", "answer"),
    [
        # 100 x 50 and the least commission of 1.
        ("5001", None),
        ("5000.99", 99),
        # (2,501 - 1) / 50.005 = 49.995.
        ("2501", 49),
        ("1", 0),
        ("-300", 0),
    ],
)
def test_an_order_is_paid_with_its_commission_from_free_cash(cash: str, answer: int | None) -> None:
    assert allowed(POWER, free_cash=Decimal(cash)) == answer


def test_a_large_order_pays_its_commission_per_share() -> None:
    # 1,000 x 50 and 5.00.
    assert allowed(POWER, quantity=1_000, free_cash=Decimal("50005")) is None
    assert allowed(POWER, quantity=1_000, free_cash=Decimal("50004.99")) == 999


def test_a_short_sale_needs_cash_as_well() -> None:
    assert allowed(POWER, side=Side.SELL, free_cash=Decimal("100")) == 1


def test_a_purchase_pays_for_the_short_that_it_covers_first() -> None:
    # 100 shares cover (5,000), 100 add (5,000) and the commission is 1: with 7,501 there is 2,500 left to add, 49 shares.
    covering = {"position": -100, "quantity": 200, "adding": 100}
    assert allowed(POWER, free_cash=Decimal("10001"), **covering) is None
    assert allowed(POWER, free_cash=Decimal("7501"), **covering) == 49
    assert allowed(POWER, free_cash=Decimal("5001"), **covering) == 0


def test_a_sale_that_turns_a_position_brings_what_it_closes() -> None:
    turning = {"side": Side.SELL, "position": 100, "quantity": 200, "adding": 100}
    assert allowed(POWER, free_cash=Decimal("5001"), **turning) is None
