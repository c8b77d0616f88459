"""Each rule at its limit, just under it and just over it. The order is 100 SPY at 50 unless a case says otherwise."""

from decimal import Decimal
from typing import Any

import pytest

from trading.orders import Side
from trading.position_rules import (
    BuyingPower,
    MaxConcentration,
    MaxGrossExposure,
    MaxLeverage,
    MaxNetExposure,
    MaxPositionFraction,
    MaxPositionNotional,
    MaxPositions,
    MaxPositionShares,
)
from trading.risk_rules import Rule

BUY, SELL = Side.BUY, Side.SELL
NOT_A_NUMBER, ENDLESS = Decimal("NaN"), Decimal("Infinity")


def others(gross: str = "0", up: str | None = None, down: str | None = None, **more: Any) -> dict[str, Any]:
    """The rest of the book; where only its gross is given it is long."""
    return {
        "others": {
            "gross": Decimal(gross),
            "net_up": Decimal(gross if up is None else up),
            "net_down": Decimal(gross if down is None else down),
            **more,
        }
    }


# One position


@pytest.mark.parametrize(
    ("side", "case", "answer"),
    [
        (BUY, {"position": 899}, None),
        (BUY, {"position": 900}, None),
        (BUY, {"position": 901}, 99),
        (BUY, {"position": 400, "working": 500}, None),
        (BUY, {"position": 400, "working": 501}, 99),
        (BUY, {"position": 1_000}, 0),
        (BUY, {"position": 1_500}, 0),
        (SELL, {"position": -899}, None),
        (SELL, {"position": -900}, None),
        (SELL, {"position": -901}, 99),
        (SELL, {"position": -400, "working": 501}, 99),
        (SELL, {"position": -1_500}, 0),
        # A position of the other side is what the order closes first, not room for more.
        (BUY, {"position": -500, "quantity": 1_500, "adding": 1_000}, None),
        (BUY, {"position": -500, "quantity": 1_501, "adding": 1_001}, 1_000),
        (SELL, {"position": 500, "quantity": 1_501, "adding": 1_001}, 1_000),
    ],
)
def test_a_position_has_at_most_so_many_shares(allowed, side: Side, case: dict[str, Any], answer: int | None) -> None:
    assert allowed(MaxPositionShares(1_000), side=side, **case) == answer


@pytest.mark.parametrize(
    ("side", "case", "answer"),
    [
        # 10,000 are 200 shares at 50.
        (BUY, {"position": 99}, None),
        (BUY, {"position": 100}, None),
        (BUY, {"position": 101}, 99),
        (BUY, {"position": 50, "working": 50}, None),
        (BUY, {"position": 50, "working": 51}, 99),
        (BUY, {"position": 200}, 0),
        (BUY, {"position": 300}, 0),
        (SELL, {"position": -100}, None),
        (SELL, {"position": -101}, 99),
        (SELL, {"position": -300}, 0),
        (BUY, {"position": -100, "quantity": 300, "adding": 200}, None),
        (BUY, {"position": -100, "quantity": 301, "adding": 201}, 200),
        # At 50.01 only 199 (9,951.99) are within.
        (BUY, {"position": 100, "limit_price": Decimal("50.01")}, 99),
        (SELL, {"position": -100, "stop_price": Decimal("50.01")}, 99),
    ],
)
def test_a_position_is_worth_at_most_so_much(allowed, side: Side, case: dict[str, Any], answer: int | None) -> None:
    assert allowed(MaxPositionNotional(Decimal(10_000)), side=side, **case) == answer
    # A tenth of an equity of 100,000 is the same money.
    assert allowed(MaxPositionFraction(Decimal("0.10")), side=side, **case) == answer


@pytest.mark.parametrize(("limit", "answer"), [("5000", None), ("5000.01", None), ("4999.99", 99), ("49.99", 0)])
def test_a_position_of_one_order_is_worth_at_most_so_much(allowed, limit: str, answer: int | None) -> None:
    assert allowed(MaxPositionNotional(Decimal(limit))) == answer


@pytest.mark.parametrize(
    ("equity", "answer"),
    # A tenth: 5,000, then 4,999.999, then 49.99 for which no share is to be had.
    [("50000", None), ("49999.99", 99), ("499.90", 0), ("500", 1), ("0", 0), ("-1", 0), ("0.01", 0)],
)
@pytest.mark.parametrize("side", Side)
def test_a_position_is_at_most_its_fraction_of_equity(allowed, side: Side, equity: str, answer: int | None) -> None:
    assert allowed(MaxPositionFraction(Decimal("0.10")), side=side, equity=Decimal(equity)) == answer


def test_what_one_position_would_be_is_told(risk_view) -> None:
    large = risk_view(position=300)  # 400 shares, 20,000, a fifth of the equity
    shares = MaxPositionShares(350).object_to(large)
    assert (shares.rule, shares.observed, shares.limit_value) == ("max_position_shares", 400, 350)
    assert shares.reason == "the position would be too large"
    money = MaxPositionNotional(Decimal(15_000)).object_to(large)
    assert (money.rule, money.observed, money.limit_value) == ("max_position_notional", 20_000, 15_000)
    assert money.reason == "the position would be worth too much"
    fraction = MaxPositionFraction(Decimal("0.10")).object_to(large)
    assert (fraction.rule, fraction.observed, fraction.limit_value) == (
        "max_position_fraction",
        Decimal("0.2"),
        Decimal("0.10"),
    )
    assert fraction.reason == "the position would be too much of the account"


# The book


@pytest.mark.parametrize(
    ("side", "case", "answer"),
    [
        # 20,000 less 15,000 elsewhere are the order's 5,000.
        (BUY, others("14999.99"), None),
        (BUY, others("15000"), None),
        (BUY, others("15000.01"), 99),
        (SELL, others("15000"), None),
        (SELL, others("15000.01"), 99),
        (BUY, others("19950.01"), 0),
        (BUY, others("20000"), 0),
        (BUY, others("30000"), 0),
        # 300 shares of its own are 15,000.
        (BUY, {"position": 300}, None),
        (BUY, {"position": 301}, 99),
        (BUY, {"position": 200, "working": 101}, 99),
        (SELL, {"position": -301}, 99),
        # At 50.01 the 400 shares are 20,004.
        (BUY, {"position": 300, "limit_price": Decimal("50.01")}, 99),
        # Turning from short to long leaves only what it opens: 400 x 50.
        (BUY, {"position": -100, "quantity": 500, "adding": 400}, None),
        (BUY, {"position": -100, "quantity": 501, "adding": 401}, 400),
    ],
)
def test_all_positions_together_are_at_most_so_much(
    allowed, side: Side, case: dict[str, Any], answer: int | None
) -> None:
    assert allowed(MaxGrossExposure(Decimal(20_000)), side=side, **case) == answer
    # A fifth of an equity of 100,000 is the same money.
    assert allowed(MaxLeverage(Decimal("0.2")), side=side, **case) == answer


def test_open_orders_of_the_other_side_count_where_they_are_worse(risk_view) -> None:
    # 401 shares sold short would be 20,050, whatever the purchase of 100 comes to.
    objection = MaxGrossExposure(Decimal(20_000)).object_to(risk_view(opposing=401))
    assert objection.observed == 20_050
    assert MaxGrossExposure(Decimal(20_000)).object_to(risk_view(opposing=400)) is None


@pytest.mark.parametrize(
    ("equity", "answer"), [("2500", None), ("2499.99", 99), ("25", 1), ("24.99", 0), ("0", 0), ("-1", 0), ("0.01", 0)]
)
@pytest.mark.parametrize("side", Side)
def test_the_account_is_leveraged_at_most_so_far(allowed, side: Side, equity: str, answer: int | None) -> None:
    # Twice 2,500 is what the order is worth.
    assert allowed(MaxLeverage(Decimal(2)), side=side, equity=Decimal(equity)) == answer


def test_what_the_book_would_be_is_told(risk_view) -> None:
    large = risk_view(**others("25000"))  # 30,000 with the order
    gross = MaxGrossExposure(Decimal(20_000)).object_to(large)
    assert (gross.rule, gross.observed, gross.limit_value) == ("max_gross_exposure", 30_000, 20_000)
    assert gross.reason == "all positions together would be too large"
    leverage = MaxLeverage(Decimal("0.2")).object_to(large)
    assert (leverage.rule, leverage.observed, leverage.limit_value) == ("max_leverage", Decimal("0.3"), Decimal("0.2"))
    assert leverage.reason == "the account would be leveraged too far"


@pytest.mark.parametrize("rule", [MaxLeverage(Decimal(1)), MaxPositionFraction(Decimal(1))])
def test_an_account_without_equity_says_so(risk_view, rule: Rule) -> None:
    objection = rule.object_to(risk_view(equity=Decimal(-5)))
    assert (objection.rule, objection.reason) == (rule.name, "equity is -5")
    assert (objection.observed, objection.limit_value) == (-5, 0)


@pytest.mark.parametrize(
    ("side", "case", "answer"),
    [
        # Long 15,000 elsewhere and 5,000 more; sales look at the book as it would be after all open sales.
        (BUY, others("90000", up="14999.99", down="-99999"), None),
        (BUY, others("90000", up="15000", down="-99999"), None),
        (BUY, others("90000", up="15000.01", down="-99999"), 99),
        (SELL, others("90000", up="99999", down="-14999.99"), None),
        (SELL, others("90000", up="99999", down="-15000"), None),
        (SELL, others("90000", up="99999", down="-15000.01"), 99),
        (BUY, others("90000", up="20000", down="20000"), 0),
        (BUY, others("90000", up="30000", down="30000"), 0),
        # Leaning to the other side is room: 20,000 + 10,000 - 30,000.
        (BUY, others("90000", up="-10000", down="-10000", count=1) | {"position": 500}, None),
        (BUY, others("90000", up="-10000", down="-10000", count=1) | {"position": 501}, 99),
        (SELL, others("90000", up="10000", down="10000", count=1) | {"position": -500}, None),
        (SELL, others("90000", up="10000", down="10000", count=1) | {"position": -501}, 99),
        (BUY, {"position": 250, "working": 50}, None),
        (BUY, {"position": 250, "working": 51}, 99),
        # 100 of 600 shares cover: 500 open, of which 400 are 20,000.
        (BUY, {"position": -100, "quantity": 500, "adding": 400}, None),
        (BUY, {"position": -100, "quantity": 600, "adding": 500}, 400),
        (SELL, {"position": 100, "quantity": 600, "adding": 500}, 400),
        # Held long and sold further than it reaches: nothing left for what would be added.
        (SELL, {"position": 0, "working": 400}, 0),
        (BUY, {"position": 300, "limit_price": Decimal("50.01")}, 99),
    ],
)
def test_the_book_leans_at_most_so_far_to_one_side(
    allowed, side: Side, case: dict[str, Any], answer: int | None
) -> None:
    assert allowed(MaxNetExposure(Decimal(20_000)), side=side, **case) == answer


def test_how_far_it_would_lean_is_told(risk_view) -> None:
    objection = MaxNetExposure(Decimal(20_000)).object_to(risk_view(side=SELL, **others("25000", down="-25000")))
    assert (objection.rule, objection.observed, objection.limit_value) == ("max_net_exposure", 30_000, 20_000)
    assert objection.reason == "the book would lean too far to one side"


@pytest.mark.parametrize(
    ("limit", "from_fraction", "case", "answer"),
    [
        # Up to half of the equity (50,000) it is not asked: 45,000 elsewhere and 5,000 are all of it.
        ("0.01", "0.5", others("45000"), None),
        # Beyond, 5,000 of 50,000.01 are more than a hundredth: 49,999.99 leave 99 shares below the free 50,000.
        ("0.01", "0.5", others("45000.01"), 99),
        # A quarter: 5,000 of 20,000.
        ("0.25", "0", others("15000"), None),
        ("0.25", "0", others("15000.01"), None),
        # A third of 14,999.99 is 4,999.99: 99 shares.
        ("0.25", "0", others("14999.99"), 99),
        ("0.25", "0", others("0"), 0),
        ("0.25", "0", others("149.99"), 0),
        ("0.25", "0", others("150"), 1),
        # Held shares count: 100 held and 100 more of 40,000.
        ("0.25", "0", others("30000") | {"position": 100}, None),
        ("0.25", "0", others("29999") | {"position": 100}, 99),
        ("0.25", "0", others("29999") | {"position": 50, "working": 50}, 99),
        ("0.25", "0", others("1000") | {"position": 100}, 0),
        # The free part is a floor under what the fraction leaves: 7,000 less 3,000, 80 shares.
        ("0.25", "0.07", others("3000"), 80),
        # With all of the book allowed to be one symbol nothing is refused.
        ("1", "0", others("0"), None),
        ("1", "0", others("100"), None),
        ("0.25", "0", others("15000") | {"limit_price": Decimal("50.01")}, 99),
    ],
)
@pytest.mark.parametrize("side", Side)
def test_one_symbol_is_at_most_so_much_of_the_book(
    allowed, side: Side, limit: str, from_fraction: str, case: dict[str, Any], answer: int | None
) -> None:
    if side is SELL and "position" in case:
        case = {**case, "position": -case["position"]}
    assert allowed(MaxConcentration(Decimal(limit), Decimal(from_fraction)), side=side, **case) == answer


def test_how_concentrated_it_would_be_is_told(risk_view) -> None:
    objection = MaxConcentration(Decimal("0.25"), Decimal(0)).object_to(risk_view(**others("5000")))
    assert (objection.rule, objection.observed, objection.limit_value) == (
        "max_concentration_fraction",
        Decimal("0.5"),
        Decimal("0.25"),
    )
    assert objection.reason == "one symbol would be too much of the book"


@pytest.mark.parametrize(
    ("count", "held", "answer"),
    [(18, False, None), (19, False, None), (20, False, 0), (21, False, 0), (25, True, None)],
)
@pytest.mark.parametrize("side", Side)
def test_so_many_symbols_are_held_at_a_time(allowed, side: Side, count: int, held: bool, answer: int | None) -> None:
    assert allowed(MaxPositions(20), side=side, **others(count=count, held=held)) == answer


def test_how_many_would_be_held_is_told(risk_view) -> None:
    objection = MaxPositions(20).object_to(risk_view(**others(count=24)))
    assert (objection.rule, objection.observed, objection.limit_value) == ("max_positions", 25, 20)
    assert objection.reason == "too many positions would be open"


# The cash


POWER = BuyingPower(Decimal("0.005"), Decimal("1"))


@pytest.mark.parametrize(
    ("cash", "answer"),
    [
        # 100 x 50 and the least commission of 1.
        ("5001.01", None),
        ("5001", None),
        ("5000.99", 99),
        # (2,501 - 1) / 50.005 = 49.995.
        ("2501", 49),
        # One share is 50.005 beside the 1.
        ("51.01", 1),
        ("51", 0),
        ("1", 0),
        ("0", 0),
        ("-300", 0),
    ],
)
@pytest.mark.parametrize("side", Side)
def test_an_order_is_paid_with_its_commission_from_free_cash(
    allowed, side: Side, cash: str, answer: int | None
) -> None:
    assert allowed(POWER, side=side, free_cash=Decimal(cash)) == answer


def test_a_large_order_pays_its_commission_per_share(allowed) -> None:
    # 1,000 x 50 and 5.00.
    assert allowed(POWER, quantity=1_000, free_cash=Decimal("50005")) is None
    assert allowed(POWER, quantity=1_000, free_cash=Decimal("50004.99")) == 999


def test_an_order_is_paid_at_the_worst_price_it_allows(allowed) -> None:
    # 100 x 51 and 1.
    assert allowed(POWER, limit_price=Decimal(51), free_cash=Decimal("5101")) is None
    # (5,100.99 - 1) / 51.005 = 99.99.
    assert allowed(POWER, limit_price=Decimal(51), free_cash=Decimal("5100.99")) == 99
    assert allowed(POWER, stop_price=Decimal(51), free_cash=Decimal("5100.99")) == 99


@pytest.mark.parametrize(
    ("equity", "cash", "answer"),
    [
        # Two per cent of 100,000 stay: 5,001 and 2,000.
        ("100000", "7001", None),
        ("100000", "7000.99", 99),
        ("100000", "2000", 0),
        # Nothing is reserved of what is not there.
        ("-100000", "5001", None),
        ("-100000", "5000.99", 99),
    ],
)
def test_a_reserve_stays_untouched(allowed, equity: str, cash: str, answer: int | None) -> None:
    rule = BuyingPower(Decimal("0.005"), Decimal("1"), Decimal("0.02"))
    assert allowed(rule, equity=Decimal(equity), free_cash=Decimal(cash)) == answer


@pytest.mark.parametrize(("cash", "answer"), [("10001", None), ("10000.99", 99), ("7501", 49), ("5001", 0)])
def test_a_purchase_pays_for_the_short_that_it_covers_first(allowed, cash: str, answer: int | None) -> None:
    # 100 shares cover (5,000), 100 add (5,000) and the commission is 1: with 7,501 there is 2,500 left to add, 49 shares.
    assert allowed(POWER, free_cash=Decimal(cash), position=-100, quantity=200, adding=100) == answer


def test_a_sale_that_turns_a_position_brings_what_it_closes(allowed) -> None:
    turning = {"side": SELL, "position": 100, "quantity": 200, "adding": 100}
    assert allowed(POWER, free_cash=Decimal("5001"), **turning) is None
    assert allowed(POWER, free_cash=Decimal("5000.99"), **turning) == 99


def test_what_an_order_costs_is_told(risk_view) -> None:
    rule = BuyingPower(Decimal("0.005"), Decimal("1"), Decimal("0.02"))
    objection = rule.object_to(risk_view(free_cash=Decimal(3_000)))
    assert (objection.rule, objection.observed, objection.limit_value) == ("buying_power", 5_001, 1_000)
    assert objection.reason == "not enough free cash"


# What cannot be told


FREE = BuyingPower(Decimal(0), Decimal(0))
MOST = Decimal(10**9)
OF_PRICES: list[Rule] = [
    MaxPositionNotional(MOST),
    MaxPositionFraction(Decimal(10)),
    MaxGrossExposure(MOST),
    MaxNetExposure(MOST),
    MaxLeverage(Decimal(10)),
    MaxConcentration(Decimal("0.5"), Decimal("0.1")),
    FREE,
]


@pytest.mark.parametrize("rule", OF_PRICES, ids=lambda rule: rule.name)
@pytest.mark.parametrize(
    "unusable",
    [
        {"price": NOT_A_NUMBER},
        {"price": Decimal(0)},
        {"price": ENDLESS},
        {"limit_price": NOT_A_NUMBER},
        {"stop_price": NOT_A_NUMBER},
    ],
    ids=str,
)
@pytest.mark.parametrize("side", Side)
def test_without_a_price_nothing_is_added(refused, side: Side, rule: Rule, unusable: dict[str, Any]) -> None:
    assert refused(rule, side=side, **unusable)


@pytest.mark.parametrize(
    ("rule", "unusable"),
    [
        # An intent has no such limit; were there one, these are asked always or mostly.
        (MaxPositionFraction(Decimal(10)), {"limit_price": ENDLESS}),
        (MaxLeverage(Decimal(10)), {"limit_price": ENDLESS}),
        (FREE, {"limit_price": ENDLESS}),
        (MaxPositionFraction(Decimal(10)), {"equity": NOT_A_NUMBER}),
        (MaxPositionFraction(Decimal(10)), {"equity": Decimal(0)}),
        (MaxLeverage(Decimal(10)), {"equity": NOT_A_NUMBER}),
        (MaxLeverage(Decimal(10)), {"equity": Decimal(0)}),
        (MaxConcentration(Decimal("0.5"), Decimal("0.1")), {"equity": NOT_A_NUMBER}),
        # Without equity nothing is free, and all of the book would be one symbol.
        (MaxConcentration(Decimal("0.5"), Decimal("0.1")), {"equity": Decimal(0)}),
        (MaxConcentration(Decimal("0.5"), Decimal("0.1")), {"equity": Decimal(-100_000)}),
        (BuyingPower(Decimal(0), Decimal(0), Decimal("0.02")), {"equity": NOT_A_NUMBER}),
        (FREE, {"free_cash": NOT_A_NUMBER}),
        (FREE, {"free_cash": Decimal(0)}),
        (MaxGrossExposure(MOST), {"others": {"gross": NOT_A_NUMBER}}),
        (MaxGrossExposure(MOST), {"others": None}),
        (MaxLeverage(Decimal(10)), {"others": {"gross": NOT_A_NUMBER}}),
        (MaxConcentration(Decimal("0.5"), Decimal("0.1")), {"others": {"gross": NOT_A_NUMBER}}),
        (MaxNetExposure(MOST), {"others": {"net_up": NOT_A_NUMBER, "net_down": NOT_A_NUMBER}}),
        (MaxNetExposure(MOST), {"others": None}),
        (MaxPositions(20), {"others": None}),
        (MaxPositions(20), {"others": {"count": NOT_A_NUMBER}}),
    ],
)
@pytest.mark.parametrize("side", Side)
def test_what_cannot_be_told_refuses(refused, side: Side, rule: Rule, unusable: dict[str, Any]) -> None:
    assert refused(rule, side=side, **unusable)


@pytest.mark.parametrize("rule", [MaxLeverage(Decimal(1)), MaxPositionFraction(Decimal(1))])
def test_the_least_equity_is_equity(risk_view, rule: Rule) -> None:
    objection = rule.object_to(risk_view(equity=Decimal("0.50")))
    # 5,000 of it.
    assert (objection.observed, objection.limit_value, objection.allowed) == (10_000, 1, 0)
