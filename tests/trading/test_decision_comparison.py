"""Rows of decisions beside each other: what counts as the same, and what is told of what does not."""

import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from trading.bars import Bar, BarSlice
from trading.decision_comparison import DecisionComparison, Said, compare_decisions, said_in
from trading.decisions import Action, Decision, ShadowDecision, Signal
from trading.market_window import LiveWindow
from trading.pnl_tracker import PnLTracker
from trading.policy_settings import PolicySettings
from trading.policy_watch import PolicyWatch
from trading.ports import Holdings, MarketWindow
from trading.risk_events import RiskEventHandler

OPENS = datetime(2026, 1, 5, 14, 30, tzinfo=UTC)


def said(minute: int = 0, symbol: str = "SPY", action: Action = Action.BUY, **more: Any) -> Said:
    return Said(OPENS + timedelta(minutes=minute), symbol, action, **more)


def only_difference(one: Said, other: Said) -> tuple[str, ...]:
    [difference] = compare_decisions([one], [other]).differences
    assert (difference.recorded, difference.again) == (one, other)
    return difference.fields


def test_rows_that_say_the_same_are_the_same_in_whatever_order_they_come() -> None:
    rows = [said(0), said(0, "QQQ", Action.HOLD, error="no model"), said(1, confidence=0.6, note="held back")]
    assert compare_decisions(rows, rows[::-1]) == DecisionComparison(3, 0, ())
    assert compare_decisions(rows, rows).first_difference is None


def test_confidences_a_billionth_apart_are_the_same() -> None:
    row = said(confidence=0.5)
    assert compare_decisions([row], [replace(row, confidence=0.5 + 0.9e-9)]).same == 1
    assert only_difference(row, replace(row, confidence=0.5 + 1.1e-9)) == ("confidence",)


def test_a_confidence_and_none_are_not_the_same() -> None:
    assert only_difference(said(confidence=0.0), said()) == ("confidence",)


def test_every_field_that_differs_is_named() -> None:
    one = said(action=Action.HOLD, error="no model", target_weight=0.1)
    other = said(action=Action.BUY, note="held back", target_weight=0.2)
    assert only_difference(one, other) == ("action", "error", "note", "target_weight")


def test_a_row_that_only_one_has_is_a_difference() -> None:
    compared = compare_decisions([said(0), said(1)], [said(1), said(2)])
    assert (compared.compared, compared.same) == (3, 1)
    missing, new = compared.differences
    assert (missing.recorded, missing.again, missing.fields) == (said(0), None, ("row",))
    assert (new.recorded, new.again, new.fields) == (None, said(2), ("row",))


def test_the_first_difference_is_the_earliest_bar_and_on_it_the_first_symbol() -> None:
    recorded = [said(minute, symbol) for minute in (3, 1, 2) for symbol in ("SPY", "QQQ")]
    again = [
        replace(row, action=Action.SELL) if row.bar_time >= OPENS + timedelta(minutes=2) else row for row in recorded
    ]
    compared = compare_decisions(recorded, again)
    first = compared.first_difference
    assert first is not None
    assert (first.bar_time, first.symbol) == (OPENS + timedelta(minutes=2), "QQQ")
    assert (compared.same, len(compared.differences)) == (2, 4)


class Slow:
    """Takes two milliseconds to say BUY."""

    name = fingerprint = "slow"
    warmup_bars = 1

    def decide(self, window: MarketWindow, holdings: Holdings) -> Mapping[str, Signal]:
        del holdings
        time.sleep(0.002)
        return dict.fromkeys(window.symbols, Signal(Action.BUY))

    def decide_history(self, bars: object) -> None:
        del bars


def test_what_a_watch_calls_too_late_is_counted_apart_and_no_other_error_is() -> None:
    window = LiveWindow(["SPY"], 8, 1 << 20, timedelta(days=1))
    one = Decimal(1)
    window.advance(BarSlice(OPENS, {"SPY": Bar("SPY", OPENS, one, one, one, one, 1)}))
    watch = PolicyWatch(Slow(), PolicySettings(decision_budget_ms=Decimal(1)), "s", RiskEventHandler())
    heard = watch.hear(["SPY"], window, PnLTracker(), OPENS).signals["SPY"]
    late = said(action=heard.action, error=heard.error)
    failed = said(1, action=Action.HOLD, error="ValueError: the decision took a turn")
    compared = compare_decisions([late, failed], [said(0), said(1)])
    assert (compared.compared, compared.too_late) == (1, 1)
    assert [difference.recorded for difference in compared.differences] == [failed]


def test_two_rows_of_one_bar_and_symbol_cannot_be_compared() -> None:
    with pytest.raises(ValueError, match="2 rows of 1"):
        compare_decisions([said(), said()], [said()])


def test_recorded_rows_are_compared_by_what_the_policy_said() -> None:
    decision = Decision("s", OPENS, "SPY", Action.BUY, 100, 0.7, 3.5, None, "note")
    assert said_in(decision) == said(confidence=0.7, note="note")
    shadow = ShadowDecision("s", OPENS, "SPY", "probe@0", Action.SELL, -0.25, 0.7, 3.5, None)
    assert said_in(shadow) == said(action=Action.SELL, confidence=0.7, target_weight=-0.25)
