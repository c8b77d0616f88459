"""Each rule at its limit, just under it and just over it; how much the market carries is tested with ``throttle_size``."""

from decimal import Decimal

import pytest

from trading.market_rules import FreshPrice, KnownPrice, NoDataGap
from trading.orders import Side

NOT_A_NUMBER, ENDLESS = Decimal("NaN"), Decimal("Infinity")


@pytest.mark.parametrize(
    ("price", "answer"),
    [("50", None), ("0.000001", None), ("0", 0), ("-0.000001", 0), ("-1", 0), ("Infinity", 0), ("-Infinity", 0)],
)
@pytest.mark.parametrize("side", Side)
def test_no_price_no_new_risk(allowed, side: Side, price: str, answer: int | None) -> None:
    assert allowed(KnownPrice(), side=side, price=Decimal(price)) == answer


def test_what_has_no_price_is_named(risk_view) -> None:
    objection = KnownPrice().object_to(risk_view(price=Decimal(0)))
    assert (objection.rule, objection.reason) == ("known_price", "no price for SPY")


@pytest.mark.parametrize(
    ("age", "answer"),
    [("0", None), ("89.999999", None), ("90", None), ("90.000001", 0), ("100000", 0), ("Infinity", 0)],
)
@pytest.mark.parametrize("side", Side)
def test_an_old_price_is_no_price(allowed, side: Side, age: str, answer: int | None) -> None:
    assert allowed(FreshPrice(Decimal(90)), side=side, price_age_seconds=Decimal(age)) == answer


def test_how_old_the_price_is_is_told(risk_view) -> None:
    objection = FreshPrice(Decimal(90)).object_to(risk_view(price_age_seconds=Decimal(91)))
    assert (objection.rule, objection.observed, objection.limit_value) == ("max_price_age_seconds", 91, 90)
    assert objection.reason == "the last price of SPY is old"


@pytest.mark.parametrize(("missing", "answer"), [(0, None), (4, None), (5, None), (6, 0), (400, 0)])
@pytest.mark.parametrize("side", Side)
def test_after_bars_that_did_not_come_nothing_is_opened(allowed, side: Side, missing: int, answer: int | None) -> None:
    assert allowed(NoDataGap(5), side=side, missing_bars=missing) == answer


def test_without_any_tolerance_one_missing_bar_is_too_many(allowed) -> None:
    assert allowed(NoDataGap(0), missing_bars=0) is None
    assert allowed(NoDataGap(0), missing_bars=1) == 0


def test_how_many_bars_are_missing_is_told(risk_view) -> None:
    objection = NoDataGap(5).object_to(risk_view(missing_bars=7))
    assert (objection.rule, objection.observed, objection.limit_value) == ("max_gap_bars", 7, 5)
    assert objection.reason == "7 bars of SPY are missing before this one"


@pytest.mark.parametrize(
    ("rule", "unusable"),
    [
        (KnownPrice(), {"price": NOT_A_NUMBER}),
        (KnownPrice(), {"price": Decimal("sNaN")}),
        (KnownPrice(), {"price": ENDLESS}),
        (KnownPrice(), {"price": None}),
        (FreshPrice(Decimal(90)), {"price_age_seconds": NOT_A_NUMBER}),
        (FreshPrice(Decimal(90)), {"price_age_seconds": None}),
        (NoDataGap(5), {"missing_bars": None}),
        (NoDataGap(5), {"missing_bars": NOT_A_NUMBER}),
    ],
)
@pytest.mark.parametrize("side", Side)
def test_what_cannot_be_told_refuses(refused, side: Side, rule: object, unusable: dict[str, object]) -> None:
    assert refused(rule, side=side, **unusable)
