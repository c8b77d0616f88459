from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading.activity_rules import (
    DailyTurnover,
    ExpectedShortfall,
    HourlyTurnover,
    PatternDayTrader,
    TradesPerSession,
    ValueAtRisk,
)
from trading.decisions import Verdict
from trading.market_rules import FreshPrice, KnownPrice, NoDataGap
from trading.order_rules import (
    BrokerAwake,
    CancelsPerMinute,
    DuplicateOrders,
    EntryWindow,
    MaxOrderNotional,
    MaxOrderShares,
    MinOrderNotional,
    NotHalted,
    OnTime,
    OrdersPerSecond,
    OrdersPerSession,
    PriceCollar,
    ShortSelling,
    TickSize,
    Tradable,
)
from trading.orders import OrderIntent, Side
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
from trading.risk_callbacks import (
    ApprovedOrder,
    PreTradeVerdict,
    ThrottleLimits,
    check_daily_loss_limit,
    pre_trade_check,
    risk_checks_of,
    throttle_size,
)
from trading.risk_rules import Activity, Objection, OtherPositions, RiskView, Rule
from trading.risk_settings import RiskSettings
from trading.rule_book import rules_from
from trading.settings import Settings

AT = datetime(2026, 1, 5, 14, 30, tzinfo=UTC)
LIMITS = ThrottleLimits(Decimal("0.10"), Decimal(50), Decimal("0.02"))
NOT_A_NUMBER = Decimal("NaN")


@dataclass(frozen=True)
class Failing:
    name: str = "failing"

    def object_to(self, view: RiskView) -> Objection | None:
        raise ZeroDivisionError(view.symbol)


@dataclass(frozen=True)
class Allowing:
    """Allows so many shares, however few."""

    allowed: int
    name: str = "allowing"

    def object_to(self, view: RiskView) -> Objection | None:
        return Objection(self.name, self.allowed, f"no more than that of {view.symbol}")


def rules(**risk: Any) -> tuple[Rule, ...]:
    return rules_from(Settings.model_validate({"risk": risk}))


def kinds(asked: tuple[Rule, ...]) -> list[type]:
    return [type(rule) for rule in asked]


# All rules together


def test_an_order_within_every_limit_passes_without_a_word(risk_view) -> None:
    verdict = pre_trade_check(risk_view(), rules(), LIMITS)
    assert (verdict.quantity, verdict.objections, verdict.refused) == (100, (), False)


def test_the_least_allowance_counts_and_every_reason_is_kept(risk_view) -> None:
    verdict = pre_trade_check(risk_view(), (MaxOrderShares(80), MaxOrderShares(60), MaxOrderShares(70)), LIMITS)
    assert verdict.quantity == 60
    assert [objection.allowed for objection in verdict.objections] == [80, 60, 70]


def test_a_rule_that_raises_refuses(risk_view) -> None:
    verdict = pre_trade_check(risk_view(), (Failing(), MaxOrderShares(80)), LIMITS)
    assert verdict.refused
    assert (verdict.objections[0].rule, verdict.objections[0].allowed) == ("failing", 0)
    assert verdict.objections[0].reason == "the rule could not tell (ZeroDivisionError: SPY)"


def test_a_rule_can_allow_no_fewer_than_none(risk_view) -> None:
    assert pre_trade_check(risk_view(), (Allowing(-50),), LIMITS).quantity == 0
    turning = risk_view(quantity=150, adding=50, position=-100)
    assert pre_trade_check(turning, (Allowing(-50),), LIMITS).quantity == 100


def test_the_market_has_the_last_word(risk_view) -> None:
    # A tenth of 300 shares.
    verdict = pre_trade_check(risk_view(average_volume=Decimal(300)), (MaxOrderShares(80),), LIMITS)
    assert verdict.quantity == 30
    assert [objection.rule for objection in verdict.objections] == ["max_order_shares", "throttle_size"]
    smaller = pre_trade_check(risk_view(average_volume=Decimal(900)), (MaxOrderShares(80),), LIMITS)
    assert smaller.quantity == 80


def test_the_market_is_asked_to_carry_what_the_limits_leave(risk_view) -> None:
    # Of 100 wanted 20 are left, and a tenth of 150 carries 15 of them: more than half.
    half = replace(LIMITS, skip_fraction=Decimal("0.5"))
    thin = risk_view(average_volume=Decimal(150))
    assert pre_trade_check(thin, (MaxOrderShares(20),), half).quantity == 15
    assert pre_trade_check(thin, (MaxOrderShares(31),), half).quantity == 0
    # Where nothing is left the market is asked about what was wanted: every reason is kept.
    verdict = pre_trade_check(risk_view(halted="x", average_volume=Decimal(150)), (NotHalted(),), LIMITS)
    assert [(one.rule, one.allowed) for one in verdict.objections] == [("halted", 0), ("throttle_size", 15)]


def test_a_throttle_that_cannot_tell_refuses_in_its_own_name(risk_view) -> None:
    verdict = pre_trade_check(risk_view(spread_bps=NOT_A_NUMBER), (), LIMITS)
    assert verdict.refused
    [objection] = verdict.objections
    assert objection.rule == "throttle_size"
    assert "the rule could not tell (InvalidOperation" in objection.reason


def test_one_share_is_an_order(risk_view) -> None:
    assert pre_trade_check(risk_view(quantity=1), (), LIMITS).quantity == 1
    assert pre_trade_check(risk_view(quantity=1), (), LIMITS, minimum_quantity=2).quantity == 0
    # 50 are worth less than 51.
    assert pre_trade_check(risk_view(), (MinOrderNotional(Decimal(51)), MaxOrderShares(1)), LIMITS).quantity == 0


def test_what_is_refused_is_not_judged_as_what_is_sent(risk_view) -> None:
    rules_asked = (NotHalted(), MinOrderNotional(Decimal(5_000)))
    verdict = pre_trade_check(risk_view(halted="x"), rules_asked, LIMITS)
    assert [one.rule for one in verdict.objections] == ["halted"]


def test_a_reduction_passes_whatever_the_rules_say(risk_view) -> None:
    hopeless = risk_view(
        adding=0, position=-100, halted="all", price=Decimal(0), equity=Decimal(-5), free_cash=Decimal(-5),
        average_volume=None, entries_closed="too late", missing_bars=99,
    )  # fmt: skip
    verdict = pre_trade_check(hopeless, (Failing(), *rules()), LIMITS, minimum_quantity=500, lot_size=77)
    assert (verdict.quantity, verdict.objections) == (100, ())


def test_a_refused_order_that_also_reduces_becomes_the_reduction(risk_view) -> None:
    turning = risk_view(quantity=150, adding=50, position=-100, halted="all")
    verdict = pre_trade_check(turning, (NotHalted(),), LIMITS)
    assert (verdict.quantity, verdict.refused) == (100, False)


@pytest.mark.parametrize(
    "unknown",
    [
        {"price": NOT_A_NUMBER},
        {"equity": NOT_A_NUMBER},
        {"free_cash": NOT_A_NUMBER},
        {"average_volume": NOT_A_NUMBER},
        {"spread_bps": NOT_A_NUMBER},
        {"volatility_fraction": NOT_A_NUMBER},
        {"previous_price": NOT_A_NUMBER},
        {"limit_price": NOT_A_NUMBER},
        {"stop_price": NOT_A_NUMBER},
        {"others": {"gross": NOT_A_NUMBER}},
        {"activity": {"traded_today": NOT_A_NUMBER}},
        {"price": Decimal("Infinity")},
        {"price": Decimal(0)},
        {"equity": Decimal(0)},
        {"free_cash": Decimal(0)},
        {"average_volume": Decimal(0)},
        {"average_volume": None},
        {"volatility_fraction": None},
        {"others": None},
        {"activity": None},
    ],
    ids=str,
)
@pytest.mark.parametrize("side", Side)
def test_what_is_not_known_refuses_and_still_lets_a_position_go(risk_view, side: Side, unknown: dict[str, Any]) -> None:
    asked = rules_from(Settings.model_validate({"orders": {"allow_short": True}}))
    assert pre_trade_check(risk_view(side=side, **unknown), asked, LIMITS).refused
    reducing = risk_view(**unknown, adding=0, side=side, position=-100 * side.sign)
    assert pre_trade_check(reducing, asked, LIMITS).quantity == 100


# What is left of an order


@pytest.mark.parametrize(("limit", "sent"), [(11, 11), (10, 10), (9, 0)])
def test_what_is_left_of_an_order_must_be_worth_sending(risk_view, limit: int, sent: int) -> None:
    verdict = pre_trade_check(risk_view(), (MaxOrderShares(limit),), LIMITS, minimum_quantity=10)
    assert verdict.quantity == sent
    least = [objection for objection in verdict.objections if objection.rule == "minimum_quantity"]
    assert [(one.allowed, one.observed, one.limit_value) for one in least] == ([] if sent else [(0, 9, 10)])
    assert {one.reason for one in least} <= {"too few shares are left to send"}


def test_a_small_order_is_judged_as_what_is_left_of_one(risk_view) -> None:
    assert pre_trade_check(risk_view(quantity=9), (), LIMITS, minimum_quantity=10).quantity == 0
    assert pre_trade_check(risk_view(quantity=10), (), LIMITS, minimum_quantity=10).quantity == 10


def test_a_refused_order_is_not_called_too_small_as_well(risk_view) -> None:
    verdict = pre_trade_check(risk_view(halted="all"), (NotHalted(),), LIMITS, minimum_quantity=10)
    assert [objection.rule for objection in verdict.objections] == ["halted"]


def test_a_reduction_may_be_smaller_than_that(risk_view) -> None:
    turning = risk_view(quantity=8, adding=3, position=-5)
    assert pre_trade_check(turning, (MaxOrderShares(2),), LIMITS, minimum_quantity=10).quantity == 7


@pytest.mark.parametrize(
    ("quantity", "adding", "lot", "sent"),
    [
        (100, 100, 1, 100),
        (100, 100, 100, 100),
        (199, 199, 100, 100),
        (99, 99, 100, 0),
        (100, 100, 30, 90),
        # Only what adds comes in lots: 55 reduce.
        (105, 50, 20, 95),
        (60, 5, 20, 55),
    ],
)
def test_what_adds_comes_in_whole_lots(risk_view, quantity: int, adding: int, lot: int, sent: int) -> None:
    order = risk_view(quantity=quantity, adding=adding, position=adding - quantity)
    verdict = pre_trade_check(order, (), LIMITS, lot_size=lot)
    assert verdict.quantity == sent
    odd = [objection for objection in verdict.objections if objection.rule == "lot_size"]
    if sent == quantity:
        assert odd == []
    else:
        [objection] = odd
        assert objection.reason == "not in whole lots"
        assert (objection.allowed, objection.observed, objection.limit_value) == (
            sent - (quantity - adding),
            adding,
            lot,
        )


def test_lots_are_cut_from_what_the_rules_left_and_then_judged_as_too_small(risk_view) -> None:
    # 59 of 100 are allowed, 50 of them are whole lots, and fewer than 51 are not sent.
    verdict = pre_trade_check(risk_view(), (MaxOrderShares(59),), LIMITS, minimum_quantity=51, lot_size=25)
    assert verdict.quantity == 0
    assert [(one.rule, one.allowed) for one in verdict.objections] == [
        ("max_order_shares", 59),
        ("lot_size", 50),
        ("minimum_quantity", 0),
    ]


def test_what_is_sent_is_compared_with_what_was_sent(risk_view) -> None:
    # 100 are wanted each time and 60 are left each time.
    again = risk_view(activity={"alike": (60, 60)})
    verdict = pre_trade_check(again, (DuplicateOrders(3, 60), MaxOrderShares(60)), LIMITS)
    assert verdict.quantity == 0
    assert [(one.rule, one.allowed) for one in verdict.objections] == [
        ("max_order_shares", 60),
        ("max_duplicate_orders", 0),
    ]
    assert pre_trade_check(again, (DuplicateOrders(3, 60), MaxOrderShares(61)), LIMITS).quantity == 61
    turning = risk_view(quantity=110, adding=80, position=-30, activity={"alike": (90, 90)})
    assert pre_trade_check(turning, (DuplicateOrders(3, 60), MaxOrderShares(60)), LIMITS).quantity == 30


def test_what_is_sent_must_be_worth_enough(risk_view) -> None:
    # 60 x 50 = 3,000.
    enough = (MinOrderNotional(Decimal(3_000)), MaxOrderShares(60))
    assert pre_trade_check(risk_view(), enough, LIMITS).quantity == 60
    too_little = (MinOrderNotional(Decimal("3000.01")), MaxOrderShares(60))
    assert pre_trade_check(risk_view(), too_little, LIMITS).quantity == 0


def test_a_rule_that_objects_twice_is_told_once(risk_view) -> None:
    verdict = pre_trade_check(risk_view(), (MinOrderNotional(Decimal("5000.01")), MaxOrderShares(60)), LIMITS)
    assert [objection.rule for objection in verdict.objections] == ["min_order_notional", "max_order_shares"]


# What comes of it


def test_objections_become_rows(risk_view) -> None:
    verdict = pre_trade_check(risk_view(halted="x"), (NotHalted(), MaxOrderShares(80)), LIMITS)
    rows = risk_checks_of(verdict, "s", AT, "SPY", "o")
    assert [(row.rule, row.verdict, row.client_order_id, row.observed, row.limit_value) for row in rows] == [
        ("halted", Verdict.REFUSED, "o", None, None),
        ("max_order_shares", Verdict.TRIMMED, "o", Decimal(100), Decimal(80)),
    ]
    assert {(row.session_id, row.bar_time, row.symbol) for row in rows} == {("s", AT, "SPY")}
    assert [row.reason for row in rows] == ["trading is halted: x", "the order is too large"]


@pytest.mark.parametrize(("approved", "fits"), [(101, True), (100, True), (99, False), (0, False)])
def test_an_order_is_never_larger_than_what_was_approved(approved: int, fits: bool) -> None:
    intent = OrderIntent("o", "s", "paper", AT, "SPY", Side.BUY, 100, Decimal(50), AT)
    if fits:
        assert ApprovedOrder(intent, PreTradeVerdict(approved, ())).intent is intent
    else:
        with pytest.raises(ValueError, match=f"order o: 100 shares, approved {approved}"):
            ApprovedOrder(intent, PreTradeVerdict(approved, ()))


# Which rules are asked


OFF: list[tuple[dict[str, Any], type]] = [
    ({"max_order_notional": "1"}, MaxOrderNotional),
    ({"min_order_notional": "1"}, MinOrderNotional),
    ({"max_price_deviation_fraction": "0.1"}, PriceCollar),
    ({"max_duplicate_orders": 3}, DuplicateOrders),
    ({"max_orders_per_second": 3}, OrdersPerSecond),
    ({"max_orders_per_session": 3}, OrdersPerSession),
    ({"max_cancels_per_minute": 3}, CancelsPerMinute),
    ({"max_position_notional": "1"}, MaxPositionNotional),
    ({"max_gross_exposure": "1"}, MaxGrossExposure),
    ({"max_net_exposure": "1"}, MaxNetExposure),
    ({"max_leverage": "1"}, MaxLeverage),
    ({"max_concentration_fraction": "0.5"}, MaxConcentration),
    ({"max_positions": 3}, MaxPositions),
    ({"max_gap_bars": 3}, NoDataGap),
    ({"max_hourly_turnover": "1"}, HourlyTurnover),
    ({"max_daily_turnover": "1"}, DailyTurnover),
    ({"max_trades_per_session": 3}, TradesPerSession),
    ({"max_value_at_risk_fraction": "0.1"}, ValueAtRisk),
    ({"max_expected_shortfall_fraction": "0.1"}, ExpectedShortfall),
]
OF_LOSSES = {
    "max_daily_loss",
    "max_daily_loss_fraction",
    "max_session_drawdown_fraction",
    "max_drawdown_fraction",
    "max_drawdown_speed_fraction",
    "max_losing_streak",
    "max_symbol_loss",
}
OF_THE_THROTTLE = {"max_participation_fraction", "max_impact_bps"}


def can_be_off() -> set[str]:
    """Settings of ``[risk]`` that take the word off, by trying."""
    found = set()
    for name in RiskSettings.model_fields:
        try:
            off = RiskSettings.model_validate({name: "off"})
        except ValueError:
            continue
        if getattr(off, name) is None:
            found.add(name)
    return found


def test_every_limit_that_can_be_off_is_tested_to_be_off() -> None:
    of_rules = {name for setting, _ in OFF for name in setting}
    assert can_be_off() == of_rules | OF_LOSSES | OF_THE_THROTTLE | {"max_price_age_seconds"}


@pytest.mark.parametrize(("setting", "kind"), OFF, ids=lambda one: next(iter(one)) if isinstance(one, dict) else "")
def test_a_limit_is_on_with_its_value_and_off_with_the_word(setting: Mapping[str, Any], kind: type) -> None:
    [name] = setting
    assert kind in kinds(rules(**setting))
    assert kind not in kinds(rules(**{name: "off"}))
    assert kind not in kinds(rules(**{name: None}))
    # Nothing else goes with it.
    left = set(kinds(rules(**setting))) - set(kinds(rules(**{name: "off"})))
    assert left == {kind}


def test_an_old_price_matters_at_the_pace_of_the_market_alone() -> None:
    def asked(pace: str, limit: str) -> list[type]:
        settings = {"session": {"pace": pace}, "risk": {"max_price_age_seconds": limit}}
        return kinds(rules_from(Settings.model_validate(settings)))

    assert FreshPrice in asked("live", "90")
    assert FreshPrice not in asked("live", "off")
    assert FreshPrice not in asked("max", "90")
    assert FreshPrice not in asked("60", "90")


def test_symbols_are_barred_where_any_are_named() -> None:
    assert Tradable not in kinds(rules())
    assert Tradable(frozenset({"QQQ", "SPY"})) in rules(not_tradable=["SPY", "QQQ"])


def test_prices_lie_on_a_grid_where_one_is_set() -> None:
    def asked(tick: str) -> tuple[Rule, ...]:
        return rules_from(Settings.model_validate({"orders": {"tick_size": tick}}))

    assert TickSize(Decimal("0.05")) in asked("0.05")
    assert TickSize not in kinds(asked("off"))


def test_round_trips_are_counted_where_the_guard_is_on_for_the_kind_of_broker() -> None:
    def asked(**guard: Any) -> list[type]:
        return kinds(rules(pattern_day_trader=guard))

    assert PatternDayTrader in asked(enabled=True, brokers=["paper"])
    assert PatternDayTrader not in asked(enabled=False, brokers=["paper"])
    assert PatternDayTrader not in asked(enabled=True, brokers=["ib"])
    assert PatternDayTrader not in asked()


def test_the_rules_have_the_limits_of_the_settings() -> None:
    settings = Settings.model_validate(
        {
            "orders": {"allow_short": True},
            "broker": {"paper": {"commission_per_share": "0.01", "commission_minimum": "2"}},
            "risk": {
                "max_order_shares": 11,
                "max_order_notional": "12",
                "min_order_notional": "13",
                "max_price_deviation_fraction": "0.14",
                "max_duplicate_orders": 15,
                "duplicate_window_seconds": 16,
                "max_orders_per_second": 17,
                "max_orders_per_session": 18,
                "max_cancels_per_minute": 19,
                "max_position_shares": 20,
                "max_position_notional": "21",
                "max_position_fraction": "0.22",
                "max_gross_exposure": "23",
                "max_net_exposure": "24",
                "max_leverage": "25",
                "max_concentration_fraction": "0.26",
                "concentration_from_fraction": "0.27",
                "max_positions": 28,
                "cash_reserve_fraction": "0.29",
                "max_gap_bars": 30,
                "max_hourly_turnover": "31",
                "max_daily_turnover": "32",
                "max_trades_per_session": 33,
                "pattern_day_trader": {"enabled": True, "brokers": ["paper"], "max_day_trades": 34,
                                       "minimum_equity": "35", "until": "2026-03-06"},
                "max_value_at_risk_fraction": "0.37",
                "max_expected_shortfall_fraction": "0.38",
            },
        }
    )  # fmt: skip
    assert rules_from(settings) == (
        KnownPrice(),
        NotHalted(),
        OnTime(),
        EntryWindow(),
        BrokerAwake(),
        ShortSelling(True),
        MaxOrderShares(11),
        MaxOrderNotional(Decimal(12)),
        MinOrderNotional(Decimal(13)),
        PriceCollar(Decimal("0.14")),
        DuplicateOrders(15, 16),
        OrdersPerSecond(17),
        OrdersPerSession(18),
        CancelsPerMinute(19),
        MaxPositionShares(20),
        MaxPositionNotional(Decimal(21)),
        MaxPositionFraction(Decimal("0.22")),
        MaxGrossExposure(Decimal(23)),
        MaxNetExposure(Decimal(24)),
        MaxLeverage(Decimal(25)),
        MaxConcentration(Decimal("0.26"), Decimal("0.27")),
        MaxPositions(28),
        BuyingPower(Decimal("0.01"), Decimal(2), Decimal("0.29")),
        NoDataGap(30),
        HourlyTurnover(Decimal(31)),
        DailyTurnover(Decimal(32)),
        TradesPerSession(33),
        PatternDayTrader(34, Decimal(35), date(2026, 3, 6)),
        ValueAtRisk(Decimal("0.37")),
        ExpectedShortfall(Decimal("0.38")),
    )
    assert len({rule.name for rule in rules_from(settings)}) == 30


def test_limits_that_were_changed_are_asked_instead_of_the_sessions() -> None:
    settings = Settings()
    changed = settings.risk.model_copy(update={"max_order_shares": 7, "max_positions": None})
    asked = rules_from(settings, changed)
    assert MaxOrderShares(7) in asked
    assert MaxPositions not in kinds(asked)


def test_the_throttle_has_the_limits_of_the_settings() -> None:
    risk = RiskSettings.model_validate(
        {
            "max_participation_fraction": "0.2",
            "max_spread_bps": "30",
            "max_volatility_fraction": "0.04",
            "max_impact_bps": "50",
            "throttle_skip_fraction": "0.6",
        }
    )
    assert ThrottleLimits.of(risk) == ThrottleLimits(
        Decimal("0.2"), Decimal(30), Decimal("0.04"), Decimal(50), Decimal("0.6")
    )


# All of them together, on whatever comes


def amounts(least: int, most: int) -> st.SearchStrategy[Decimal]:
    return st.integers(least, most).map(lambda number: Decimal(number).scaleb(-2))


VIEWS = st.builds(
    lambda side, quantity, position, **more: RiskView(
        symbol="SPY",
        side=side,
        quantity=quantity,
        adding=quantity - min(max(-position * side.sign, 0), quantity),
        position=position,
        halted=more.pop("halted"),
        opposing=0,
        stop_price=None,
        missing_bars=0,
        price_age_seconds=Decimal(0),
        entries_closed=None,
        session_date=date(2026, 1, 5),
        activity=Activity(0, 0, (), 0, Decimal(0), Decimal(0), 0, 0, opened_today=False),
        tail=None,
        **more,
    ),
    side=st.sampled_from(Side),
    quantity=st.integers(1, 5_000),
    position=st.integers(-3_000, 3_000),
    price=amounts(0, 100_000),
    previous_price=st.none() | amounts(1, 100_000),
    limit_price=st.none() | amounts(1, 100_000),
    working=st.integers(0, 500),
    equity=amounts(-1_000_000, 100_000_000),
    free_cash=amounts(-1_000_000, 100_000_000),
    average_volume=st.none() | amounts(0, 10_000_000),
    spread_bps=st.none() | amounts(0, 30_000),
    volatility_fraction=st.none() | st.integers(0, 100).map(lambda mille: Decimal(mille) / 1_000),
    halted=st.none() | st.just("halted"),
    others=st.builds(
        lambda gross, lean, count: OtherPositions(gross, gross * lean / 10, gross * lean / 10, count, held=False),
        amounts(0, 20_000_000),
        st.integers(-10, 10),
        st.integers(0, 30),
    ),
)


@given(view=VIEWS, allow_short=st.booleans())
def test_whatever_is_asked_what_is_approved_breaks_no_limit(view: RiskView, allow_short: bool) -> None:
    settings = Settings.model_validate(
        {
            "orders": {"allow_short": allow_short},
            "risk": {"max_order_notional": "20000", "max_gross_exposure": "150000", "max_net_exposure": "100000",
                     "max_price_deviation_fraction": "off"},
        }
    )  # fmt: skip
    risk = settings.risk
    verdict = pre_trade_check(view, rules_from(settings), LIMITS)
    reducing = view.quantity - view.adding
    added = verdict.quantity - reducing
    assert reducing <= verdict.quantity <= view.quantity
    if added == 0:
        return
    held = max(view.position * view.side.sign, 0) + view.working + added
    worst = max(view.price, view.limit_price or view.price)
    assert view.halted is None
    assert view.price > 0
    assert allow_short or view.side is Side.BUY
    assert added <= risk.max_order_shares
    assert added * worst <= 20_000
    assert held <= risk.max_position_shares
    assert held * worst <= min(risk.max_position_fraction * view.equity, Decimal(100_000))
    assert held * worst + view.others.gross <= min(view.equity, Decimal(150_000))
    lean = view.others.net_up * view.side.sign
    signed = view.position * view.side.sign + view.working + verdict.quantity
    assert lean + signed * worst <= 100_000
    assert view.others.count < 20
    assert added * worst + max(Decimal(1), Decimal("0.005") * added) <= view.free_cash - view.equity / 50
    assert view.average_volume is not None
    assert added <= view.average_volume / 10
    again = pre_trade_check(replace(view, quantity=verdict.quantity, adding=added), rules_from(settings), LIMITS)
    assert again.quantity == verdict.quantity or view.spread_bps is not None or view.volatility_fraction is not None


# The throttle


def carried(quantity: int, view: RiskView, limits: ThrottleLimits = LIMITS) -> int | None:
    objection = throttle_size(quantity, view, limits)
    return None if objection is None else objection.allowed


@pytest.mark.parametrize(
    ("volume", "answer"),
    [("1001", None), ("1000", None), ("999.99", 99), ("999", 99), ("10", 1), ("9.99", 0), ("0", 0)],
)
@pytest.mark.parametrize("side", Side)
def test_an_order_takes_at_most_its_share_of_the_volume(risk_view, side: Side, volume: str, answer: int | None) -> None:
    assert carried(100, risk_view(side=side, average_volume=Decimal(volume))) == answer


def test_its_share_of_the_volume_is_told(risk_view) -> None:
    objection = throttle_size(100, risk_view(average_volume=Decimal(400)), LIMITS)
    assert (objection.rule, objection.observed, objection.limit_value) == (
        "throttle_size",
        Decimal("0.25"),
        Decimal("0.10"),
    )
    assert objection.reason == "more than its share of the average volume"


@pytest.mark.parametrize("volume", [None, Decimal(0), Decimal(-1)])
def test_a_volume_that_is_not_known_carries_nothing(risk_view, volume: Decimal | None) -> None:
    objection = throttle_size(100, risk_view(average_volume=volume), LIMITS)
    assert (objection.rule, objection.allowed, objection.observed) == ("throttle_size", 0, volume)
    assert objection.reason == "no volume is known for SPY"


def test_without_limits_of_volume_it_does_not_matter(risk_view) -> None:
    free = replace(LIMITS, max_participation_fraction=None)
    unknown = risk_view(average_volume=None)
    assert carried(100, unknown, free) is None
    assert carried(100, unknown, replace(free, max_impact_bps=Decimal(25))) == 0
    assert carried(10**9, risk_view(), free) is None


@pytest.mark.parametrize(
    ("spread", "answer"),
    [(None, None), ("49.9", None), ("50", None), ("50.01", 99), ("51", 98), ("100", 50), ("5000", 1)],
)
def test_a_wide_spread_shrinks_an_order_in_proportion(risk_view, spread: str | None, answer: int | None) -> None:
    assert carried(100, risk_view(spread_bps=None if spread is None else Decimal(spread))) == answer


@pytest.mark.parametrize(
    ("volatility", "answer"),
    [("0", None), ("0.0199", None), ("0.02", None), ("0.0201", 99), ("0.03", 66), ("0.04", 50)],
)
def test_high_volatility_shrinks_an_order_in_proportion(risk_view, volatility: str, answer: int | None) -> None:
    assert carried(100, risk_view(volatility_fraction=Decimal(volatility))) == answer


@pytest.mark.parametrize("volatility", [None, Decimal("-0.01")])
def test_a_volatility_that_cannot_be_told_carries_nothing(risk_view, volatility: Decimal | None) -> None:
    objection = throttle_size(100, risk_view(volatility_fraction=volatility), LIMITS)
    assert (objection.rule, objection.allowed, objection.observed) == ("throttle_size", 0, volatility)
    assert objection.reason == "the volatility of SPY cannot be told"


@pytest.mark.parametrize(
    ("wild", "observed", "limit", "reason"),
    [
        ({"spread_bps": Decimal(100)}, "100", "50", "the spread is wide"),
        ({"volatility_fraction": Decimal("0.04")}, "0.04", "0.02", "volatility is high"),
    ],
)
def test_what_the_market_is_like_is_told(
    risk_view, wild: dict[str, Decimal], observed: str, limit: str, reason: str
) -> None:
    objection = throttle_size(100, risk_view(**wild), LIMITS)
    assert (objection.observed, objection.limit_value) == (Decimal(observed), Decimal(limit))
    assert objection.reason == reason


IMPACT = ThrottleLimits(None, Decimal(50), Decimal(1), Decimal(25))


@pytest.mark.parametrize(
    ("quantity", "answer"),
    # A bar moves by 1% (100 bps): 25 bps are a quarter of that, and the square of it is a sixteenth of 10,000 shares: 625.
    [(624, None), (625, None), (626, 625), (10_000, 625)],
)
@pytest.mark.parametrize("side", Side)
def test_an_order_moves_the_price_by_at_most_so_much(risk_view, side: Side, quantity: int, answer: int | None) -> None:
    assert carried(quantity, risk_view(side=side, quantity=quantity), IMPACT) == answer


@pytest.mark.parametrize(
    ("volatility", "volume", "answer"),
    [
        ("0.02", "10000", 156),
        ("0.005", "10000", 2_500),
        ("0.01", "1000", 62),
        ("0.0025", "10000", None),
        ("0", "1", None),
    ],
)
def test_impact_is_volatility_times_the_root_of_the_share(
    risk_view, volatility: str, volume: str, answer: int | None
) -> None:
    # 10,000 / 64, 10,000 / 4, 1,000 / 16, 10,000, and no limit where nothing moves.
    still = risk_view(volatility_fraction=Decimal(volatility), average_volume=Decimal(volume))
    assert carried(10_000, still, IMPACT) == answer


def test_the_impact_is_told_in_basis_points(risk_view) -> None:
    # 100 bps times the root of 2,500 of 10,000.
    objection = throttle_size(2_500, risk_view(), IMPACT)
    assert (objection.observed, objection.limit_value) == (50, 25)
    assert objection.reason == "it would move the price"


@pytest.mark.parametrize(
    ("volume", "answer"),
    # A tenth of 500 shares are 50 of 100: just worth it. 49.9 are 49 and are not.
    [("501", 50), ("500", 50), ("499", 0), ("1000", None)],
)
def test_what_is_left_has_to_be_worth_sending(risk_view, volume: str, answer: int | None) -> None:
    half = replace(LIMITS, skip_fraction=Decimal("0.5"))
    assert carried(100, risk_view(average_volume=Decimal(volume)), half) == answer


def test_an_order_that_is_not_worth_sending_says_so(risk_view) -> None:
    half = replace(LIMITS, skip_fraction=Decimal("0.5"))
    objection = throttle_size(100, risk_view(average_volume=Decimal(499)), half)
    assert objection.reason == "more than its share of the average volume and what is left is not worth sending"


@pytest.mark.parametrize(
    ("market", "reason"),
    [
        # Exactly its share, exactly the spread, exactly the volatility, exactly the impact: none of them is a reason.
        ({"average_volume": 1_000, "spread_bps": 100}, "the spread is wide"),
        ({"spread_bps": 50, "volatility_fraction": "0.04"}, "volatility is high"),
        ({"volatility_fraction": "0.02", "spread_bps": 100}, "the spread is wide"),
    ],
)
def test_what_is_at_its_limit_is_no_reason(risk_view, market: dict[str, Any], reason: str) -> None:
    order = risk_view(**{name: Decimal(value) for name, value in market.items()})
    assert throttle_size(100, order, LIMITS).reason == reason


def test_an_impact_at_its_limit_is_no_reason(risk_view) -> None:
    # A spread twice too wide leaves 625 of 1,250, which is what 25 bps carry.
    objection = throttle_size(1_250, risk_view(spread_bps=Decimal(100)), IMPACT)
    assert (objection.allowed, objection.reason) == (625, "the spread is wide")


def test_the_reasons_multiply(risk_view) -> None:
    # A tenth of 800 is 80; a spread twice too wide leaves 40, volatility twice too high 20.
    busy = risk_view(average_volume=Decimal(800), spread_bps=Decimal(100), volatility_fraction=Decimal("0.04"))
    objection = throttle_size(100, busy, LIMITS)
    assert objection.allowed == 20
    assert objection.reason == "more than its share of the average volume and the spread is wide and volatility is high"
    # At 4% a bar 25 bps are a sixteenth: 800 / 256.
    assert carried(100, busy, replace(LIMITS, max_impact_bps=Decimal(25))) == 3


@given(view=VIEWS, quantity=st.integers(1, 10**9), impact=st.none() | st.integers(1, 1_000).map(Decimal))
def test_the_throttle_never_enlarges_and_never_goes_below_zero(
    view: RiskView, quantity: int, impact: Decimal | None
) -> None:
    objection = throttle_size(quantity, view, replace(LIMITS, max_impact_bps=impact, skip_fraction=Decimal("0.1")))
    if objection is not None:
        assert 0 <= objection.allowed < quantity


# The day's loss


@pytest.mark.parametrize(
    ("equity", "reached"),
    [("99000.01", False), ("99000", True), ("98999.99", True), ("98000", True), ("101000", False)],
)
def test_the_days_loss_halts_when_it_reaches_the_limit(equity: str, reached: bool) -> None:
    objection = check_daily_loss_limit(Decimal(100_000), Decimal(equity), Decimal(1_000))
    assert (objection is not None) is reached


def test_the_reason_names_loss_and_limit() -> None:
    objection = check_daily_loss_limit(Decimal(100_000), Decimal("98765.432"), Decimal(1_000))
    assert objection == Objection(
        "max_daily_loss", 0, "the day has lost 1234.57 of at most 1000.00", Decimal("1234.568"), Decimal(1_000)
    )


def test_without_a_limit_no_loss_halts() -> None:
    assert check_daily_loss_limit(Decimal(100_000), Decimal(0), None) is None


@pytest.mark.parametrize("equity", [NOT_A_NUMBER, Decimal("-Infinity")])
def test_a_loss_that_cannot_be_told_halts(equity: Decimal) -> None:
    assert check_daily_loss_limit(Decimal(100_000), equity, Decimal(1_000)) is not None
