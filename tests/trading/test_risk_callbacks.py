from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading.decisions import Halt, RiskCheck, Verdict
from trading.hooks import Observers
from trading.orders import Side
from trading.risk_callbacks import (
    RiskEvent,
    RiskEventHandler,
    RiskEventKind,
    ThrottleLimits,
    check_daily_loss_limit,
    emergency_stop,
    pre_trade_check,
    risk_checks_of,
    rules_from,
    throttle_size,
)
from trading.risk_rules import MaxOrderShares, NotHalted, Objection, RiskView
from trading.settings import Settings

AT = datetime(2026, 1, 5, 14, 30, tzinfo=UTC)
LIMITS = ThrottleLimits(Decimal("0.10"), Decimal(50), Decimal("0.02"))
ORDER = RiskView(
    symbol="SPY",
    side=Side.BUY,
    quantity=100,
    adding=100,
    price=Decimal(50),
    position=0,
    working=0,
    equity=Decimal(1_000_000),
    free_cash=Decimal(1_000_000),
    average_volume=Decimal(10_000),
    spread_bps=None,
    volatility_fraction=None,
    halted=None,
)


@dataclass(frozen=True)
class Failing:
    name: str = "failing"

    def object_to(self, view: RiskView) -> Objection | None:
        raise ZeroDivisionError(view.symbol)


def view(**changes: object) -> RiskView:
    return replace(ORDER, **changes)  # type: ignore[arg-type]


# All rules together


def test_an_order_within_every_limit_passes_without_a_word() -> None:
    verdict = pre_trade_check(ORDER, rules_from(Settings()), LIMITS)
    assert (verdict.quantity, verdict.objections, verdict.refused) == (100, (), False)


def test_the_least_allowance_counts_and_every_reason_is_kept() -> None:
    rules = (MaxOrderShares(80), MaxOrderShares(60), MaxOrderShares(70))
    verdict = pre_trade_check(ORDER, rules, LIMITS)
    assert verdict.quantity == 60
    assert [objection.allowed for objection in verdict.objections] == [80, 60, 70]


def test_a_rule_that_raises_refuses() -> None:
    verdict = pre_trade_check(ORDER, (Failing(), MaxOrderShares(80)), LIMITS)
    assert verdict.refused
    assert verdict.objections[0].reason == "the rule could not tell (ZeroDivisionError: SPY)"


def test_a_reduction_passes_whatever_the_rules_say() -> None:
    hopeless = view(
        adding=0, position=-100, halted="all", price=Decimal(0), equity=Decimal(-5), free_cash=Decimal(-5),
        average_volume=None,
    )  # fmt: skip
    verdict = pre_trade_check(hopeless, (Failing(), *rules_from(Settings())), LIMITS)
    assert (verdict.quantity, verdict.objections) == (100, ())


def test_a_refused_order_that_also_reduces_becomes_the_reduction() -> None:
    verdict = pre_trade_check(view(quantity=150, adding=50, position=-100, halted="all"), (NotHalted(),), LIMITS)
    assert (verdict.quantity, verdict.refused) == (100, False)


NOT_A_NUMBER = Decimal("NaN")


@pytest.mark.parametrize(
    "unknown",
    [
        {"price": NOT_A_NUMBER},
        {"equity": NOT_A_NUMBER},
        {"free_cash": NOT_A_NUMBER},
        {"average_volume": NOT_A_NUMBER},
        {"spread_bps": NOT_A_NUMBER},
        {"volatility_fraction": NOT_A_NUMBER},
        {"price": Decimal("Infinity")},
    ],
)
def test_what_is_not_a_number_refuses(unknown: dict[str, Decimal]) -> None:
    assert pre_trade_check(view(**unknown), rules_from(Settings()), LIMITS).refused
    # ... and still lets a position go.
    reducing = view(**unknown, adding=0, position=-100)
    assert pre_trade_check(reducing, rules_from(Settings()), LIMITS).quantity == 100


@pytest.mark.parametrize(("limit", "sent"), [(10, 10), (9, 0)])
def test_what_is_left_of_an_order_must_be_worth_sending(limit: int, sent: int) -> None:
    verdict = pre_trade_check(ORDER, (MaxOrderShares(limit),), LIMITS, minimum_quantity=10)
    assert verdict.quantity == sent
    assert [objection.rule for objection in verdict.objections][1:] == ([] if sent else ["minimum_quantity"])


def test_a_reduction_may_be_smaller_than_that() -> None:
    turning = view(quantity=8, adding=3, position=-5)
    assert pre_trade_check(turning, (MaxOrderShares(2),), LIMITS, minimum_quantity=10).quantity == 7


def test_objections_become_rows() -> None:
    verdict = pre_trade_check(view(halted="x"), (NotHalted(), MaxOrderShares(80)), LIMITS)
    rows = risk_checks_of(verdict, "s", AT, "SPY", "o")
    assert [(row.rule, row.verdict, row.client_order_id, row.observed, row.limit_value) for row in rows] == [
        ("halted", Verdict.REFUSED, "o", None, None),
        ("max_order_shares", Verdict.TRIMMED, "o", Decimal(100), Decimal(80)),
    ]


def amounts(least: int, most: int) -> st.SearchStrategy[Decimal]:
    return st.integers(least, most).map(lambda number: Decimal(number).scaleb(-2))


VIEWS = st.builds(
    lambda side, quantity, position, **more: RiskView(
        symbol="SPY",
        side=side,
        quantity=quantity,
        adding=quantity - min(max(-position * side.sign, 0), quantity),
        position=position,
        **more,
    ),
    side=st.sampled_from(Side),
    quantity=st.integers(1, 5_000),
    position=st.integers(-3_000, 3_000),
    price=amounts(0, 100_000),
    working=st.integers(0, 500),
    equity=amounts(-1_000_000, 100_000_000),
    free_cash=amounts(-1_000_000, 100_000_000),
    average_volume=st.none() | amounts(0, 10_000_000),
    spread_bps=st.none() | amounts(0, 30_000),
    volatility_fraction=st.none() | st.integers(0, 100).map(lambda mille: Decimal(mille) / 1_000),
    halted=st.none() | st.just("halted"),
)


@given(view=VIEWS, allow_short=st.booleans())
def test_whatever_is_asked_what_is_approved_breaks_no_limit(view: RiskView, allow_short: bool) -> None:
    settings = Settings.model_validate(
        {"orders": {"allow_short": allow_short}, "risk": {"max_order_notional": "20000"}}
    )
    risk = settings.risk
    verdict = pre_trade_check(view, rules_from(settings), LIMITS)
    reducing = view.quantity - view.adding
    added = verdict.quantity - reducing
    assert reducing <= verdict.quantity <= view.quantity
    if added == 0:
        return
    held = max(view.position * view.side.sign, 0) + view.working + added
    assert view.halted is None
    assert allow_short or view.side is Side.BUY
    assert added <= risk.max_order_shares
    assert added * view.price <= 20_000
    assert held <= risk.max_position_shares
    assert held * view.price <= risk.max_position_fraction * view.equity
    assert added * view.price + max(Decimal(1), Decimal("0.005") * added) <= view.free_cash
    assert view.average_volume is not None
    assert added <= view.average_volume / 10
    assert pre_trade_check(
        replace(view, quantity=verdict.quantity, adding=added), rules_from(settings), LIMITS
    ).quantity


# The throttle


@pytest.mark.parametrize(
    ("volume", "carried"), [("1001", None), ("1000", None), ("999", 99), ("10", 1), ("9", 0), ("0", 0)]
)
def test_an_order_takes_at_most_its_share_of_the_volume(volume: str, carried: int | None) -> None:
    objection = throttle_size(100, view(average_volume=Decimal(volume)), LIMITS)
    assert (None if objection is None else objection.allowed) == carried


def test_a_volume_that_is_not_known_carries_nothing() -> None:
    objection = throttle_size(100, view(average_volume=None), LIMITS)
    assert objection is not None
    assert (objection.allowed, objection.reason) == (0, "no volume is known for SPY")


def test_without_a_participation_limit_volume_does_not_matter() -> None:
    assert throttle_size(100, view(average_volume=None), replace(LIMITS, max_participation_fraction=None)) is None


@pytest.mark.parametrize(("spread", "carried"), [("50", None), ("100", 50), ("51", 98), ("5000", 1)])
def test_a_wide_spread_shrinks_an_order_in_proportion(spread: str, carried: int | None) -> None:
    objection = throttle_size(100, view(spread_bps=Decimal(spread)), LIMITS)
    assert (None if objection is None else objection.allowed) == carried


@pytest.mark.parametrize(("volatility", "carried"), [("0.02", None), ("0.04", 50), ("0.03", 66)])
def test_high_volatility_shrinks_an_order_in_proportion(volatility: str, carried: int | None) -> None:
    objection = throttle_size(100, view(volatility_fraction=Decimal(volatility)), LIMITS)
    assert (None if objection is None else objection.allowed) == carried


def test_the_reasons_multiply() -> None:
    # A tenth of 800 is 80; a spread twice too wide leaves 40, volatility twice too high 20.
    busy = view(average_volume=Decimal(800), spread_bps=Decimal(100), volatility_fraction=Decimal("0.04"))
    objection = throttle_size(100, busy, LIMITS)
    assert objection is not None
    assert objection.allowed == 20
    assert objection.reason == "more than its share of the average volume and the spread is wide and volatility is high"


@given(view=VIEWS, quantity=st.integers(1, 10**9))
def test_the_throttle_never_enlarges_and_never_goes_below_zero(view: RiskView, quantity: int) -> None:
    objection = throttle_size(quantity, view, LIMITS)
    if objection is not None:
        assert 0 <= objection.allowed < quantity


# The day's loss


@pytest.mark.parametrize(
    ("equity", "reached"), [("99000.01", False), ("99000", True), ("98000", True), ("101000", False)]
)
def test_the_days_loss_halts_when_it_reaches_the_limit(equity: str, reached: bool) -> None:
    objection = check_daily_loss_limit(Decimal(100_000), Decimal(equity), Decimal(1_000))
    assert (objection is not None) is reached


def test_the_reason_names_loss_and_limit() -> None:
    objection = check_daily_loss_limit(Decimal(100_000), Decimal("98765.432"), Decimal(1_000))
    assert objection is not None
    assert objection.reason == "the day has lost 1234.57 of at most 1000.00"
    assert (objection.observed, objection.limit_value) == (Decimal("1234.568"), Decimal(1_000))


def test_without_a_limit_no_loss_halts() -> None:
    assert check_daily_loss_limit(Decimal(100_000), Decimal(0), None) is None


def test_a_loss_that_cannot_be_told_halts() -> None:
    assert check_daily_loss_limit(Decimal(100_000), NOT_A_NUMBER, Decimal(1_000)) is not None


# Who is told


def a_check(verdict: Verdict) -> RiskCheck:
    return RiskCheck("s", AT, "SPY", "o", "halted", verdict, "because", None, None)


def test_subscribers_hear_the_kinds_they_asked_for() -> None:
    observers = Observers()
    handler = RiskEventHandler(observers)
    everything: list[RiskEvent] = []
    halts: list[RiskEvent] = []
    handler.subscribe(everything.append)
    handler.subscribe(halts.append, [RiskEventKind.HALTED])
    handler.emit_checks([a_check(verdict) for verdict in Verdict])
    observers.close()
    assert [event.kind for event in everything] == ["trimmed", "refused", "halted"]
    assert [(event.kind, event.message, event.at) for event in halts] == [("halted", "because", AT)]


# Emergency stop


class Controls:
    """A session to be stopped that writes down what it was told; ``broken`` steps raise."""

    def __init__(self, *broken: str, left: tuple[str, ...] = ()) -> None:
        self.told: list[str] = []
        self._broken = broken
        self._left = left

    def _do(self, step: str, *done: str) -> list[str]:
        self.told.append(step)
        if step in self._broken:
            raise RuntimeError(f"{step} is broken")
        return list(done)

    def latch(self, halt: Halt) -> None:
        assert (halt.scope, halt.reason, halt.halted_at, halt.expires_at) == ("all", "out", AT, None)
        self._do("latch")

    def cancel_open_orders(self, at: datetime) -> list[str]:
        assert at == AT
        return self._do("cancel", "o1", "o2")

    def flatten_positions(self, at: datetime) -> list[str]:
        assert at == AT
        return self._do("flatten", "o3")

    def exposure_at_broker(self) -> list[str]:
        return self._do("look", *self._left)


def test_a_stop_halts_first_cancels_flattens_and_looks() -> None:
    controls = Controls()
    report = emergency_stop(controls, "out", AT, flatten=True)
    assert controls.told == ["latch", "cancel", "flatten", "look"]
    assert report.succeeded
    assert report.steps == ("halt: done", "cancel: o1, o2", "flatten: o3", "look at the broker: done")


def test_a_stop_flattens_only_when_it_is_asked_to() -> None:
    controls = Controls()
    emergency_stop(controls, "out", AT)
    assert controls.told == ["latch", "cancel", "look"]


@pytest.mark.parametrize("broken", ["latch", "cancel", "flatten", "look"])
def test_a_stop_goes_on_when_a_step_fails_and_does_not_claim_success(broken: str) -> None:
    controls = Controls(broken)
    report = emergency_stop(controls, "out", AT, flatten=True)
    assert controls.told == ["latch", "cancel", "flatten", "look"]
    assert not report.succeeded
    [failure] = report.failures
    assert failure.endswith(f"{broken} is broken")


def test_a_stop_that_leaves_something_has_not_succeeded() -> None:
    report = emergency_stop(Controls(left=("50 SPY are held",)), "out", AT)
    assert (report.succeeded, report.failures, report.left) == (False, (), ("50 SPY are held",))
