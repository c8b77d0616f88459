"""Whole sessions with policies that ask for weights, remember, fail, or only watch: on real ledgers, and killed in between."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest

from storage.policy_decisions import shadow_decisions_of
from tasks.policy_composition import assemble_policy
from trading.bars import Bar
from trading.bundles.folder import Bundle
from trading.bundles.network_file import Lstm
from trading.decisions import Action, Signal
from trading.policies.buy_and_hold import BuyAndHold
from trading.policies.flat import Flat
from trading.ports import Holdings, MarketWindow, Policy
from trading.settings import Settings

MakeBundle = Callable[..., Bundle]
MakeDesk = Callable[..., Any]
Facts = Callable[..., dict[str, list[tuple[object, ...]]]]

HALF_HOURS = {"session": {"timeframe": "30min"}}
TREND = [{"name": "return"}]
RECORD = ("decisions", "orders", "fills", "equity", "risk_checks", "halts", "shadow_decisions", "policy_states")
CELL = Lstm(np.array([[60.0], [0.0], [90.0], [20.0]]), np.full((4, 1), 0.5), np.array([0, 1.5, 0, 0.5]))


class Says:
    """Says for each bar in turn what the test wrote down, of every symbol; then HOLD."""

    name = fingerprint = "says"
    warmup_bars = 1

    def __init__(self, *says: Signal | Exception) -> None:
        self._says = list(says)

    def decide(self, window: MarketWindow, holdings: Holdings) -> Mapping[str, Signal]:
        said = self._says.pop(0) if self._says else Signal(Action.HOLD)
        if isinstance(said, Exception):
            raise said
        return dict.fromkeys(window.symbols, said)

    def decide_history(self, bars: object) -> None:
        return None


def bought(path: Path) -> list[tuple[Any, ...]]:
    with duckdb.connect(str(path), read_only=True) as connection:
        return connection.execute("SELECT side, quantity FROM orders ORDER BY bar_time").fetchall()


def test_a_weight_is_a_fraction_of_equity_and_is_resized_beyond_the_band(
    at_desk: MakeDesk, tmp_path: Path, tape: Any
) -> None:
    opens = datetime(2026, 1, 5, 14, 30, tzinfo=UTC)
    price = Decimal(100)
    day = [Bar("SPY", opens + timedelta(minutes=30 * n), price, price, price, price, 100_000) for n in range(8)]
    free = {"slippage_bps": 0, "commission_per_share": 0, "commission_minimum": 0}
    # 10 % of 100,000 at 100 are 100 shares; 10.5 % are 105, within a tenth of the target; 12 % are 120; 0 closes.
    says = Says(*(Signal.of_weight(weight) for weight in (0.1, 0.105, 0.12, -0.5, 0.0)))
    with at_desk(
        source=tape(day), decider=says, broker={"paper": free}, risk={"max_position_fraction": 1}, **HALF_HOURS
    ) as desk:
        desk.agent.run_session()
        decided = desk.store.ledger.decisions_of(desk.agent.session_id)
    assert bought(tmp_path / "ledger.duckdb") == [("BUY", 100), ("BUY", 20), ("SELL", 120)]
    assert [(str(one.action), one.target_quantity) for one in decided[:5]] == [
        ("BUY", 100),
        ("BUY", 100),
        ("BUY", 120),
        ("SELL", 0),  # no shorts are allowed
        ("SELL", 0),
    ]


def test_flat_closes_a_short_position_and_opens_none(at_desk: MakeDesk, tmp_path: Path) -> None:
    shorts = {"orders": {"allow_short": True}, "sizing": {"method": "fixed_shares", "shares": 10}, **HALF_HOURS}
    with at_desk(decider=Says(Signal(Action.SELL)), **shorts) as desk:
        desk.agent.run_session()
        assert desk.agent.pnl_tracker.quantity("SPY") == -10
    with at_desk(date(2026, 1, 6), decider=Flat(), **shorts) as desk:
        desk.agent.run_session()
        assert desk.agent.pnl_tracker.quantity("SPY") == 0
    assert bought(tmp_path / "ledger.duckdb") == [("SELL", 10), ("BUY", 10)]


def test_a_weight_that_no_account_carries_is_a_failed_decision(at_desk: MakeDesk, facts: Facts, tmp_path: Path) -> None:
    class Wild(Says):
        def decide(self, window: MarketWindow, holdings: Holdings) -> Mapping[str, Signal]:
            return {symbol: Signal.of_weight(1e16) for symbol in window.symbols}

    with at_desk(decider=Wild(), **HALF_HOURS) as desk:
        summary = desk.agent.run_session()
    assert (summary.bars, summary.orders) == (13, 0)
    errors = {str(row[6]) for row in facts(tmp_path / "ledger.duckdb", "decisions")["decisions"]}
    assert errors == {"ValueError: target weight 1e+16 is not a fraction of equity, or beyond 10.0"}


def test_a_shadow_decides_is_recorded_and_never_trades(at_desk: MakeDesk, facts: Facts, tmp_path: Path) -> None:
    with at_desk(decider=Flat(), shadow=BuyAndHold(), **HALF_HOURS) as desk:
        summary = desk.agent.run_session()
        shadowed = shadow_decisions_of(desk.store.connection, summary.session_id)
    assert (summary.bars, summary.orders) == (13, 0)
    assert [str(one.action) for one in shadowed] == ["BUY"] * 13
    assert {one.fingerprint for one in shadowed} == {"buy_and_hold"}
    found = facts(tmp_path / "ledger.duckdb", "decisions")
    assert {row[3] for row in found["decisions"]} == {"SELL"}


def test_a_shadow_that_fails_is_recorded_and_halts_nothing(at_desk: MakeDesk) -> None:
    broken = Says(*[RuntimeError("shadow")] * 13)
    with at_desk(decider=BuyAndHold(), shadow=broken, **HALF_HOURS) as desk:
        summary = desk.agent.run_session()
        shadowed = shadow_decisions_of(desk.store.connection, summary.session_id)
    assert (summary.fills, summary.halted) == (1, False)
    assert {one.error for one in shadowed} == {"RuntimeError: shadow"}


def test_a_policy_that_keeps_failing_may_only_reduce(at_desk: MakeDesk, facts: Facts, tmp_path: Path) -> None:
    failed = [RuntimeError("no model")] * 3
    says = Says(Signal(Action.BUY), *failed, Signal(Action.SELL), Signal(Action.BUY), Signal(Action.BUY))
    policy = {"failures_until_reduce_only": 3}
    with at_desk(decider=says, policy=policy, sizing={"method": "fixed_shares", "shares": 10}, **HALF_HOURS) as desk:
        summary = desk.agent.run_session()
    assert bought(tmp_path / "ledger.duckdb") == [("BUY", 10), ("SELL", 10)]
    assert summary.halted
    found = facts(tmp_path / "ledger.duckdb", "halts", "risk_checks")
    assert [row[:2] for row in found["halts"]] == [("strategy:sma_crossover", "policy_failures")]
    assert {row[4] for row in found["risk_checks"]} == {"policy_failures", "halted"}


def killed_and_resumed(
    at_desk: MakeDesk, folder: Path, after: int, policies: Callable[[], Mapping[str, Policy]], **sections: Any
) -> None:
    """A session whose process ends in the middle of the bar after ``after``, and the same session started again."""
    with at_desk(folder=folder, **policies(), **sections) as desk:
        agent = desk.agent
        agent.open_session()
        agent.load_warmup_data()
        agent.validate_data()
        agent.reconcile("open")
        moments = agent.live_bars()
        for _ in range(after):
            agent.process_new_bar(*next(moments))
        agent.assess(agent.generate_action(*next(moments)))
        agent.leave()
    with at_desk(folder=folder, **policies(), **sections) as desk:
        desk.agent.run_session()


@pytest.mark.parametrize("after", [1, 6, 12])
def test_a_memory_survives_a_killed_session(
    at_desk: MakeDesk, facts: Facts, network_bundle: MakeBundle, tmp_path: Path, after: int
) -> None:
    bundle = network_bundle([[-6.0], [0.0], [6.0]], TREND, timeframe="30min", memory=CELL, kind="recurrent_ppo")
    settings = Settings.model_validate({"policy": {"bundle": str(bundle.folder)}, **HALF_HOURS})

    def policies() -> dict[str, Policy]:
        return {
            "decider": assemble_policy(settings.policy, settings, None),
            "shadow": BuyAndHold(),
        }

    whole, killed = tmp_path / "whole", tmp_path / "killed"
    whole.mkdir()
    killed.mkdir()
    with at_desk(folder=whole, **policies(), **HALF_HOURS) as desk:
        desk.agent.run_session()
    killed_and_resumed(at_desk, killed, after, policies, **HALF_HOURS)
    undisturbed = facts(whole / "ledger.duckdb", *RECORD)
    assert facts(killed / "ledger.duckdb", *RECORD) == undisturbed
    assert len(undisturbed["policy_states"]) == 1
    assert len({row[5] for row in undisturbed["decisions"]}) == 13  # what it remembers moves its confidence


def test_failures_are_counted_over_a_restart(at_desk: MakeDesk, facts: Facts, tmp_path: Path) -> None:
    lives: list[Sequence[Signal | Exception]] = [[RuntimeError("a")] * 3, [RuntimeError("b")] * 2]

    def policies() -> dict[str, Policy]:
        return {"decider": Says(*lives.pop(0))}

    killed_and_resumed(at_desk, tmp_path, 2, policies, policy={"failures_until_reduce_only": 4}, **HALF_HOURS)
    [halt] = facts(tmp_path / "ledger.duckdb", "halts")["halts"]
    # Bars 1 and 2 failed before; 3 and 4 after the restart: halted at the end of the fourth.
    assert halt[2] == datetime(2026, 1, 5, 14, 30, tzinfo=UTC) + timedelta(minutes=4 * 30)


def test_a_trained_policy_that_is_too_old_trades_nothing_and_says_so(
    at_desk: MakeDesk, facts: Facts, network_bundle: MakeBundle, tmp_path: Path
) -> None:
    bundle = network_bundle([[-500.0], [0.0], [500.0]], TREND, timeframe="30min")
    settings = Settings.model_validate({"policy": {"bundle": str(bundle.folder), "max_age_days": 90}, **HALF_HOURS})
    policy = assemble_policy(settings.policy, settings, None)
    with at_desk(date(2026, 6, 1), decider=policy, policy={"max_age_days": 90}, **HALF_HOURS) as desk:
        summary = desk.agent.run_session()
    assert (summary.bars, summary.orders, summary.halted) == (13, 0, True)
    errors = {str(row[6]) for row in facts(tmp_path / "ledger.duckdb", "decisions")["decisions"]}
    assert errors == {
        "the model has seen nothing since 2026-01-02, 149 days ago, and policy.max_age_days is 90: train it again"
    }
