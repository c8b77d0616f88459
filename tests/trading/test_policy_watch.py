import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from trading.decisions import Action, Decision, Signal
from trading.pnl_tracker import PnLTracker
from trading.policy_settings import PolicySettings
from trading.policy_watch import PolicyWatch
from trading.risk_events import RiskEvent, RiskEventHandler, RiskEventKind

AT = datetime(2026, 1, 5, 15, tzinfo=UTC)
CLOSE = datetime(2026, 1, 5, 21, tzinfo=UTC)
SYMBOLS = ("SPY", "QQQ")


class Untellable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("not even that")


@dataclass
class Speaker:
    """Says for each bar in turn what the test wrote down: signals, an exception, or something else altogether."""

    says: list[Any]
    seconds: float = 0.0
    name: str = "speaker"
    fingerprint: str = "speaker@1"
    warmup_bars: int = 1
    asked: int = field(default=0)

    def decide(self, window: object, holdings: object) -> Any:
        self.asked += 1
        time.sleep(self.seconds)
        said = self.says.pop(0)
        if isinstance(said, BaseException):
            raise said
        return said

    def decide_history(self, bars: object) -> None:
        return None


@dataclass
class Aged(Speaker):
    trained_until: datetime = datetime(2026, 1, 2, 20, 59, tzinfo=UTC)


def both(signal: Signal) -> Mapping[str, Signal]:
    return dict.fromkeys(SYMBOLS, signal)


def heard(speaker: Speaker, at: datetime = AT, timed: bool = True, **settings: Any) -> Mapping[str, Signal]:
    watch = PolicyWatch(speaker, PolicySettings(**settings), "s", RiskEventHandler(), timed)
    return watch.hear(SYMBOLS, None, PnLTracker(), at).signals  # type: ignore[arg-type]  # the speaker looks at no window


def test_what_is_said_is_heard() -> None:
    assert heard(Speaker([both(Signal(Action.BUY, 0.7))])) == both(Signal(Action.BUY, 0.7))


@pytest.mark.parametrize(
    ("said", "error"),
    [
        (RuntimeError("out of memory"), "RuntimeError: out of memory"),
        (SystemExit(3), "SystemExit: 3"),
        (None, "TypeError: the policy said None instead of a signal for each symbol"),
        ({}, "the policy said nothing about this symbol"),
        (dict.fromkeys(SYMBOLS, 1), "the policy said 1 instead of a signal"),
        (RuntimeError("x" * 1_000), "RuntimeError: " + "x" * 486),
        (RuntimeError("\ud800"), "RuntimeError: ?"),  # half a letter cannot be written down
        (Untellable(), "Untellable"),
    ],
)
def test_what_is_no_decision_is_no_order_and_says_why(said: Any, error: str) -> None:
    assert heard(Speaker([said])) == both(Signal(Action.HOLD, error=error))


def test_one_symbol_may_fail_and_the_other_not() -> None:
    said = heard(Speaker([{"SPY": Signal(Action.BUY), "QQQ": "sell"}]))
    assert said["SPY"] == Signal(Action.BUY)
    assert said["QQQ"].error == "the policy said 'sell' instead of a signal"


def test_what_comes_after_the_budget_is_not_traded_on() -> None:
    said = heard(Speaker([both(Signal(Action.BUY))], seconds=0.05), decision_budget_ms=Decimal(20))
    assert {signal.action for signal in said.values()} == {Action.HOLD}
    assert str(said["SPY"].error).endswith("and policy.decision_budget_ms is 20")
    # A replay of the past is in no hurry.
    assert heard(
        Speaker([both(Signal(Action.BUY))], seconds=0.05), timed=False, decision_budget_ms=Decimal(20)
    ) == both(Signal(Action.BUY))


@pytest.mark.parametrize(
    ("signal", "expected"),
    [
        (Signal(Action.BUY, 0.6), Signal(Action.BUY, 0.6)),
        (
            Signal(Action.SELL, 0.59),
            Signal(Action.HOLD, 0.59, note="SELL at 0.59, below policy.minimum_confidence 0.6"),
        ),
        (
            Signal.of_weight(0.1, 0.3),
            Signal(Action.HOLD, 0.3, note="BUY at 0.3, below policy.minimum_confidence 0.6"),
        ),
        (Signal(Action.HOLD, 0.1), Signal(Action.HOLD, 0.1)),
        (
            Signal(Action.BUY),
            Signal(Action.HOLD, error="BUY without a confidence, and policy.minimum_confidence is 0.6"),
        ),
    ],
)
def test_a_decision_with_too_little_confidence_holds(signal: Signal, expected: Signal) -> None:
    assert heard(Speaker([both(signal)]), minimum_confidence=0.6) == both(expected)


@pytest.mark.parametrize(("days", "fits"), [(3, True), (2, False)])
def test_a_model_that_is_too_old_is_not_asked(days: int, fits: bool) -> None:
    # From 2026-01-02 20:59 to 2026-01-05 15:00 are two days and eighteen hours.
    speaker = Aged([both(Signal(Action.BUY))])
    said = heard(speaker, max_age_days=days)
    assert speaker.asked == fits
    assert (said["SPY"].error is None) == fits
    if not fits:
        assert str(said["SPY"].error).startswith("the model has seen nothing since 2026-01-02, 2 days ago")


def test_built_in_policies_do_not_age() -> None:
    assert heard(Speaker([both(Signal(Action.BUY))]), max_age_days=1) == both(Signal(Action.BUY))


def watched(failures: list[bool], **settings: Any) -> list[bool]:
    """Whether a halt is due after each bar, of a policy that fails on SPY where the list says so."""
    speaker = Speaker(
        [{"SPY": "no" if failed else Signal(Action.HOLD), "QQQ": Signal(Action.HOLD)} for failed in failures]
    )
    watch = PolicyWatch(speaker, PolicySettings(**settings), "s", RiskEventHandler())
    due = []
    for bar in range(len(failures)):
        watch.hear(SYMBOLS, None, PnLTracker(), AT + timedelta(minutes=bar))  # type: ignore[arg-type]
        due.append(watch.halt_due("strategy:x", AT, CLOSE) is not None)
    return due


def test_failures_in_a_row_halt_and_are_counted_anew() -> None:
    no, yes = False, True
    three = {"failures_until_reduce_only": 3}
    assert watched([yes, yes, no, yes, yes, yes], **three) == [no, no, no, no, no, yes]
    assert watched([yes] * 7, **three) == [no, no, yes, no, no, yes, no]
    assert watched([yes], failures_until_reduce_only=1) == [yes]


def test_a_halt_says_who_failed_how_often_and_ends_at_the_close() -> None:
    watch = PolicyWatch(Speaker([{}]), PolicySettings(failures_until_reduce_only=1), "the session", RiskEventHandler())
    watch.hear(SYMBOLS, None, PnLTracker(), AT)  # type: ignore[arg-type]
    halt = watch.halt_due("strategy:x", AT, CLOSE)
    assert halt is not None
    assert (halt.scope, halt.rule, halt.halted_at, halt.expires_at) == ("strategy:x", "policy_failures", AT, CLOSE)
    assert halt.reason == "policy speaker failed once on SPY, at last because the policy said nothing about this symbol"


def test_a_restart_is_no_fresh_start_for_failures() -> None:
    def decided(error: str | None) -> Decision:
        return Decision("s", AT, "SPY", Action.HOLD, 0, None, 0.0, error)

    watch = PolicyWatch(Speaker([{}]), PolicySettings(failures_until_reduce_only=3), "s", RiskEventHandler())
    watch.take_up([decided("x"), decided(None), decided("x"), decided("x")])
    assert watch.halt_due("strategy:x", AT, CLOSE) is None
    watch.hear(("SPY",), None, PnLTracker(), AT)  # type: ignore[arg-type]
    assert watch.halt_due("strategy:x", AT, CLOSE) is not None


def test_failures_that_have_halted_before_a_restart_are_not_counted_again() -> None:
    def failed(minute: int) -> Decision:
        return Decision("s", AT + timedelta(minutes=minute), "SPY", Action.HOLD, 0, None, 0.0, "x")

    watch = PolicyWatch(Speaker([{}]), PolicySettings(failures_until_reduce_only=3), "s", RiskEventHandler())
    watch.take_up([failed(minute) for minute in range(4)])  # halted with the third, counted anew: one
    watch.hear(("SPY",), None, PnLTracker(), AT)  # type: ignore[arg-type]
    assert watch.halt_due("strategy:x", AT, CLOSE) is None


def test_a_warmup_that_fails_says_so_when_the_policy_is_asked() -> None:
    class Cold(Speaker):
        def warm_up(self, window: object, symbols: object) -> None:
            raise RuntimeError("no bars")

    watch = PolicyWatch(Cold([both(Signal(Action.BUY))]), PolicySettings(), "s", RiskEventHandler())
    watch.warm_up(SYMBOLS, None)  # type: ignore[arg-type]
    assert watch.hear(SYMBOLS, None, PnLTracker(), AT).signals == both(Signal(Action.BUY))  # type: ignore[arg-type]


def test_a_model_from_beyond_the_calendar_is_never_too_old() -> None:
    assert heard(Aged([both(Signal(Action.BUY))], trained_until=datetime(9999, 12, 31, tzinfo=UTC))) == both(
        Signal(Action.BUY)
    )


def test_someone_is_told_of_each_failure() -> None:
    events, told = RiskEventHandler(), list[RiskEvent]()
    events.subscribe(told.append, [RiskEventKind.POLICY_FAILED])
    watch = PolicyWatch(Speaker([{"SPY": Signal(Action.BUY)}]), PolicySettings(), "s", events)
    watch.hear(SYMBOLS, None, PnLTracker(), AT)  # type: ignore[arg-type]
    assert events.drain()
    assert [(event.kind, event.at, event.facts["symbol"]) for event in told] == [
        (RiskEventKind.POLICY_FAILED, AT, "QQQ")
    ]
    assert told[0].message == "policy speaker decided nothing on QQQ: the policy said nothing about this symbol"
