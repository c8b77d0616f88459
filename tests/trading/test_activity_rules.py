"""Each rule at its limit, just under it and just over it. The order is 100 SPY at 50 unless a case says otherwise."""

from collections.abc import Callable
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest

from trading.activity_rules import (
    ChangesOfMind,
    Cooldown,
    DailyTurnover,
    ExpectedShortfall,
    HourlyTurnover,
    PatternDayTrader,
    TradesPerSession,
    ValueAtRisk,
)
from trading.orders import Side
from trading.risk_rules import Rule, TailRisk

BUY, SELL = Side.BUY, Side.SELL
NOT_A_NUMBER = Decimal("NaN")
HOURLY, DAILY = (HourlyTurnover, "traded_last_hour"), (DailyTurnover, "traded_today")


# Changes of mind

MINUTE = timedelta(minutes=1)


@pytest.mark.parametrize(
    ("since", "answer"),
    [
        (None, None),
        (0 * MINUTE, 0),
        (3 * MINUTE - timedelta(microseconds=1), 0),
        (3 * MINUTE, None),
        (9 * MINUTE, None),
    ],
)
def test_a_symbol_is_left_alone_after_an_order(allowed, since: timedelta | None, answer: int | None) -> None:
    assert allowed(Cooldown(3, MINUTE), activity={"since_last_order": since}) == answer


@pytest.mark.parametrize(("turns", "answer"), [(0, None), (2, None), (3, 0), (4, 0)])
def test_a_mind_is_changed_so_often_at_most(allowed, turns: int, answer: int | None) -> None:
    assert allowed(ChangesOfMind(2), activity={"turns": turns}) == answer


@pytest.mark.parametrize("rule", [Cooldown(3, MINUTE), ChangesOfMind(0)])
def test_a_position_can_be_left_at_any_time(refused, rule: Rule) -> None:
    hasty = {"since_last_order": MINUTE, "turns": 1}
    assert refused(rule, activity=hasty)
    assert not refused(rule, activity=hasty, position=-100, quantity=100, adding=0)


def test_what_was_too_hasty_is_told_in_bars_and_turns(risk_view) -> None:
    view = risk_view(activity={"since_last_order": 2.5 * MINUTE, "turns": 4})
    found, turned = Cooldown(3, MINUTE).object_to(view), ChangesOfMind(2).object_to(view)
    assert found is not None
    assert turned is not None
    assert (found.rule, found.observed, found.limit_value) == ("cooldown_bars", 2, 3)
    assert (turned.rule, turned.observed, turned.limit_value) == ("max_changes_per_session", 4, 2)


# Turnover


@pytest.mark.parametrize(("kind", "counted"), [HOURLY, DAILY])
@pytest.mark.parametrize("side", Side)
@pytest.mark.parametrize(
    ("traded", "case", "answer"),
    [
        # Half of 100,000; the order is 5,000.
        ("44999.99", {}, None),
        ("45000", {}, None),
        ("45000.01", {}, 99),
        ("49950", {}, 1),
        ("49950.01", {}, 0),
        ("50000", {}, 0),
        ("60000", {}, 0),
        # 100 x 50.01 = 5,001.
        ("44999", {"limit_price": Decimal("50.01")}, None),
        ("44999.01", {"limit_price": Decimal("50.01")}, 99),
        # 60 of 100 shares reduce and are traded all the same: only the 40 that add give way.
        ("45000", {"quantity": 100, "adding": 40}, None),
        ("45000.01", {"quantity": 100, "adding": 40}, 39),
        ("46999.99", {"quantity": 100, "adding": 40}, 0),
        ("49000", {"quantity": 100, "adding": 40}, 0),
    ],
)
def test_so_much_is_traded_at_most(
    allowed, kind: Callable[[Decimal], Rule], counted: str, side: Side, traded: str, case: dict[str, Any], answer: int
) -> None:
    assert allowed(kind(Decimal("0.5")), side=side, activity={counted: Decimal(traded)}, **case) == answer


@pytest.mark.parametrize(("kind", "counted"), [HOURLY, DAILY])
@pytest.mark.parametrize(
    ("equity", "answer"), [("10000", None), ("9999.99", 99), ("100", 1), ("99.99", 0), ("0", 0), ("-1", 0)]
)
def test_turnover_is_a_multiple_of_equity(
    allowed, kind: Callable[[Decimal], Rule], counted: str, equity: str, answer: int | None
) -> None:
    assert allowed(kind(Decimal("0.5")), equity=Decimal(equity), activity={counted: Decimal(0)}) == answer


def test_each_turnover_counts_its_own_time(allowed) -> None:
    activity = {"traded_last_hour": Decimal(1_000), "traded_today": Decimal(99_000)}
    assert allowed(HourlyTurnover(Decimal(1)), activity=activity) is None
    assert allowed(DailyTurnover(Decimal(1)), activity=activity) == 20


@pytest.mark.parametrize(
    ("rule", "name", "when"),
    [
        (HourlyTurnover(Decimal("0.5")), "max_hourly_turnover", "an hour"),
        (DailyTurnover(Decimal("0.5")), "max_daily_turnover", "the day"),
    ],
)
def test_how_much_would_be_traded_is_told(risk_view, rule: Rule, name: str, when: str) -> None:
    activity = {"traded_last_hour": Decimal(55_000), "traded_today": Decimal(55_000)}
    objection = rule.object_to(risk_view(activity=activity))
    assert (objection.rule, objection.observed, objection.limit_value) == (name, Decimal("0.6"), Decimal("0.5"))
    assert objection.reason == f"too much would be traded within {when}"
    broke = rule.object_to(risk_view(equity=Decimal(-3)))
    assert (broke.rule, broke.observed, broke.limit_value, broke.reason) == (name, -3, 0, "equity is -3")


# Trades


@pytest.mark.parametrize(("trades", "answer"), [(0, None), (498, None), (499, None), (500, 0), (501, 0)])
@pytest.mark.parametrize("side", Side)
def test_so_many_orders_of_a_session_trade(allowed, side: Side, trades: int, answer: int | None) -> None:
    assert allowed(TradesPerSession(500), side=side, activity={"trades": trades}) == answer


def test_how_many_would_trade_is_told(risk_view) -> None:
    objection = TradesPerSession(500).object_to(risk_view(activity={"trades": 500}))
    assert (objection.rule, objection.observed, objection.limit_value) == ("max_trades_per_session", 501, 500)
    assert objection.reason == "too many trades in the session"


UNTIL = date(2027, 10, 20)
GUARD = PatternDayTrader(3, Decimal(25_000), UNTIL)
SMALL = {"equity": Decimal("24999.99"), "session_date": UNTIL}


@pytest.mark.parametrize(
    ("done", "opened_today", "answer"),
    [
        # What is opened now may become one round trip more; what was opened today is counted as one already.
        (1, False, None),
        (2, False, None),
        (3, False, 0),
        (4, False, 0),
        (2, True, None),
        (3, True, None),
        (4, True, 0),
    ],
)
@pytest.mark.parametrize("side", Side)
def test_a_small_account_opens_no_round_trip_too_many(
    allowed, side: Side, done: int, opened_today: bool, answer: int | None
) -> None:
    activity = {"day_trades": done, "opened_today": opened_today}
    assert allowed(GUARD, side=side, **SMALL, activity=activity) == answer


@pytest.mark.parametrize(
    ("equity", "day", "answer"),
    [
        ("24999.99", UNTIL, 0),
        ("25000", UNTIL, None),
        ("25000.01", UNTIL, None),
        ("24999.99", date(2027, 10, 19), 0),
        ("24999.99", date(2027, 10, 21), None),
    ],
)
def test_a_larger_account_and_a_later_day_are_free_of_it(allowed, equity: str, day: date, answer: int | None) -> None:
    assert allowed(GUARD, equity=Decimal(equity), session_date=day, activity={"day_trades": 9}) == answer


def test_without_any_round_trip_allowed_nothing_is_opened(allowed) -> None:
    assert allowed(PatternDayTrader(0, Decimal(25_000), UNTIL), **SMALL) == 0


def test_how_many_round_trips_it_would_be_is_told(risk_view) -> None:
    objection = GUARD.object_to(risk_view(**SMALL, activity={"day_trades": 4}))
    assert (objection.rule, objection.observed, objection.limit_value) == ("pattern_day_trader", 5, 3)
    assert objection.reason == "5 round trips within a day, with equity below 25000"


# The tail


def tail(per_share: str, held: str = "0", beyond: str = "2") -> Callable[[int], TailRisk]:
    """A book that may lose ``held`` and so much more with each share; the shortfall is ``beyond`` times that."""

    def risk(shares: int) -> TailRisk:
        loss = Decimal(held) + shares * Decimal(per_share)
        return TailRisk(loss, loss * Decimal(beyond))

    return risk


@pytest.mark.parametrize("side", Side)
@pytest.mark.parametrize(
    ("limit", "risk", "answer"),
    [
        # A hundredth of 100,000 is 1,000: 100 shares that may lose 10 each.
        ("0.01", tail("10"), None),
        ("0.01", tail("9.99"), None),
        # 99 x 10.01 = 990.99.
        ("0.01", tail("10.01"), 99),
        ("0.01", tail("20"), 50),
        ("0.01", tail("1000"), 1),
        ("0.01", tail("1000.01"), 0),
        # 500 are lost already.
        ("0.01", tail("10", "500"), 50),
        ("0.01", tail("10", "1000"), 0),
        ("0.01", tail("10", "1000.01"), 0),
        # The order hedges, but not enough.
        ("0.01", tail("-10", "3000"), 0),
        ("0.01", tail("-10", "2000"), None),
    ],
)
def test_the_book_may_lose_at_most_so_much(
    allowed, side: Side, limit: str, risk: Callable[[int], TailRisk], answer: int | None
) -> None:
    assert allowed(ValueAtRisk(Decimal(limit)), side=side, tail=risk) == answer
    # Twice that is lost on average beyond it.
    assert allowed(ExpectedShortfall(2 * Decimal(limit)), side=side, tail=risk) == answer


def test_a_hedge_is_allowed_as_far_as_it_hedges(allowed) -> None:
    # From 900 down to 400 at 50 shares and up again: 1,000 are reached with 110.
    def risk(shares: int) -> TailRisk:
        loss = Decimal(900 - 10 * shares if shares < 50 else 400 + 10 * (shares - 50))
        return TailRisk(loss, loss)

    assert allowed(ValueAtRisk(Decimal("0.01")), quantity=110, tail=risk) is None
    assert allowed(ValueAtRisk(Decimal("0.01")), quantity=111, tail=risk) == 110
    assert allowed(ValueAtRisk(Decimal("0.01")), quantity=5_000, tail=risk) == 110


def test_a_book_beyond_its_limit_takes_nothing_that_would_not_bring_it_back(allowed) -> None:
    # From 1,005 down to 995 with one share, and up again.
    def beyond(shares: int) -> TailRisk:
        loss = Decimal(1_005 - 10 * shares if shares < 2 else 1_100)
        return TailRisk(loss, loss)

    assert allowed(ValueAtRisk(Decimal("0.01")), tail=beyond) == 0

    # At its limit it may: from 1,000 down to 500 and up again, 1,000 are reached with 100.
    def at_the_limit(shares: int) -> TailRisk:
        loss = Decimal(1_000 - 10 * shares if shares < 50 else 500 + 10 * (shares - 50))
        return TailRisk(loss, loss)

    assert allowed(ValueAtRisk(Decimal("0.01")), quantity=150, tail=at_the_limit) == 100


@pytest.mark.parametrize(
    ("at_most", "estimated"), [("999.99", False), ("1000", False), ("1000.000001", True), (None, True)]
)
@pytest.mark.parametrize("rule", [ValueAtRisk(Decimal("0.01")), ExpectedShortfall(Decimal("0.01"))])
def test_a_book_that_cannot_lose_so_much_is_not_estimated(
    allowed, rule: Rule, at_most: str | None, estimated: bool
) -> None:
    asked: list[int] = []

    def risk(shares: int) -> TailRisk:
        asked.append(shares)
        return TailRisk(Decimal(1), Decimal(1))

    bound = None if at_most is None else Decimal(at_most)
    assert allowed(rule, tail=risk, tail_at_most=bound) is None
    assert asked == ([100] if estimated else [])


def test_only_the_shares_that_add_are_estimated(allowed) -> None:
    assert allowed(ValueAtRisk(Decimal("0.01")), quantity=500, adding=100, tail=tail("10")) is None


@pytest.mark.parametrize(
    ("rule", "name"),
    [
        (ValueAtRisk(Decimal("0.01")), "max_value_at_risk_fraction"),
        (ExpectedShortfall(Decimal("0.02")), "max_expected_shortfall_fraction"),
    ],
)
def test_what_the_book_may_lose_is_told(risk_view, rule: Rule, name: str) -> None:
    objection = rule.object_to(risk_view(tail=tail("20")))
    observed = Decimal("0.02") if isinstance(rule, ValueAtRisk) else Decimal("0.04")
    assert (objection.rule, objection.observed, objection.limit_value) == (name, observed, rule.limit)
    assert objection.reason == "the book could lose too much"
    # Of no equity there is no fraction: then it is money.
    broke = rule.object_to(risk_view(tail=tail("20", beyond="1"), equity=Decimal(0)))
    assert (broke.allowed, broke.observed) == (0, 2_000)


# What cannot be told


def no_history(shares: int) -> TailRisk:
    raise LookupError(f"too little history for {shares}")


TAILS = [ValueAtRisk(Decimal(1)), ExpectedShortfall(Decimal(1))]
TURNOVERS = [HourlyTurnover(Decimal(1_000)), DailyTurnover(Decimal(1_000))]


@pytest.mark.parametrize(
    ("rule", "unusable"),
    [
        *((rule, {"tail": None}) for rule in TAILS),
        *((rule, {"tail": no_history}) for rule in TAILS),
        *((rule, {"tail": tail("NaN")}) for rule in TAILS),
        *((rule, {"tail": tail("1"), "equity": NOT_A_NUMBER}) for rule in TAILS),
        *((rule, {"tail": tail("1"), "tail_at_most": NOT_A_NUMBER}) for rule in TAILS),
        *((rule, {"tail": no_history, "tail_at_most": None}) for rule in TAILS),
        *((rule, {"tail": None, "tail_at_most": Decimal(0)}) for rule in TAILS),
        *((rule, {"tail": tail("1"), "equity": Decimal(0)}) for rule in TAILS),
        *((rule, {"tail": tail("1"), "equity": Decimal(-1)}) for rule in TAILS),
        *((rule, {"equity": NOT_A_NUMBER}) for rule in TURNOVERS),
        *((rule, {"equity": Decimal(0)}) for rule in TURNOVERS),
        *((rule, {"price": NOT_A_NUMBER}) for rule in TURNOVERS),
        *((rule, {"price": Decimal(0)}) for rule in TURNOVERS),
        *((rule, {"limit_price": NOT_A_NUMBER}) for rule in TURNOVERS),
        *((rule, {"activity": None}) for rule in TURNOVERS),
        (HourlyTurnover(Decimal(1)), {"activity": {"traded_last_hour": NOT_A_NUMBER}}),
        (DailyTurnover(Decimal(1)), {"activity": {"traded_today": NOT_A_NUMBER}}),
        (TradesPerSession(500), {"activity": None}),
        (GUARD, {"equity": NOT_A_NUMBER}),
        (GUARD, {"session_date": None}),
        (GUARD, {"equity": Decimal(1), "activity": None}),
    ],
)
@pytest.mark.parametrize("side", Side)
def test_what_cannot_be_told_refuses(refused, side: Side, rule: Rule, unusable: dict[str, Any]) -> None:
    assert refused(rule, side=side, **unusable)


def test_the_least_equity_is_equity(risk_view) -> None:
    little = risk_view(equity=Decimal("0.50"), tail=tail("20"))
    # 5,000 and 2,000 of it.
    assert DailyTurnover(Decimal(1)).object_to(little).observed == 10_000
    assert ValueAtRisk(Decimal("0.01")).object_to(little).observed == 4_000


@pytest.mark.parametrize("rule", TAILS)
def test_a_tail_that_nobody_estimated_is_a_fault_that_says_so(risk_view, rule: Rule) -> None:
    with pytest.raises(ValueError, match=r"^the tail of the book's returns was not estimated$"):
        rule.object_to(risk_view(tail=None))
