"""Promoting with and against the gate, on a registry and stored bars; the replays' outcomes are given."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from storage.policy_registry import champion, register, stage_changes
from storage.store import open_store
from tasks.manual_promotion import promote_by_hand, registered_policies, rollback_by_hand
from tasks.promotion_in_words import contenders, findings, outcome, promotion_in_words, rollback_in_words, window
from trading.bars import BarColumns, to_epoch_us
from trading.errors import ConfigurationError, DataNotFit, NotPromoted
from trading.policy_records import BundleFacts, PolicyRecord, Stage
from trading.promotion import Evaluation, UnseenWindow
from trading.settings import Settings

Facts = Callable[..., BundleFacts]
AT = datetime(2026, 1, 2, 23, tzinfo=UTC)


class Replays:
    """What replays would come to: the same return in every session, by the first digit of the fingerprint, and by name."""

    def __init__(self, **returns: float) -> None:
        self.returns = returns
        self.asked: list[tuple[str, UnseenWindow]] = []

    def __call__(self, policy: PolicyRecord | str, window: UnseenWindow) -> Evaluation:
        name = policy if isinstance(policy, str) else policy.fingerprint.split("@")[1][0]
        self.asked.append((name, window))
        return Evaluation(window.sessions, (self.returns.get(name, 0.0),) * len(window.sessions), 0.0, 10)


def unfit(policy: PolicyRecord | str, window: UnseenWindow) -> Evaluation:
    raise DataNotFit(f"{policy} has no bars on {window.sessions[0]}")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A registry whose policies were trained until Friday 2026-01-02, and bars of Monday to Friday after it."""
    settings = Settings.model_validate(
        {
            "store": {"path": tmp_path / "ledger.duckdb"},
            "promotion": {"min_unseen_sessions": 3, "min_paper_sessions": 0},
        }
    )
    opens = [datetime(2026, 1, 5, 14, 30, tzinfo=UTC) + timedelta(days=day) for day in range(5)]
    price = np.full(5, 100_000_000, dtype=np.int64)
    times = np.array([to_epoch_us(one) for one in opens], dtype=np.int64)
    with open_store(settings.store.path) as store:
        store.bars.import_bars([BarColumns("SPY", times, price, price, price, price, price)])
    return settings


def registered(settings: Settings, *facts: BundleFacts) -> None:
    with open_store(settings.store.path) as store:
        for place, one in enumerate(facts):
            register(store.connection, one, AT + timedelta(minutes=place), "ada")


def stages(settings: Settings) -> dict[str, str]:
    return {one.fingerprint.split("@")[1][0]: str(one.stage) for one in registered_policies(settings)}


def test_the_first_is_compared_with_flat_and_promoted(settings: Settings, bundle_facts: Facts) -> None:
    registered(settings, bundle_facts("a"))
    replays = Replays(a=0.01)
    answer = promote_by_hand(settings, "trend", Stage.PAPER, evaluate=replays)
    assert (answer["promoted"], answer["replaced"], answer["forced"]) == (True, None, False)
    assert answer["policy"] == "trend@a000000000000000"
    assert answer["gate"]["figures"]["mean_difference"] == pytest.approx(0.01)
    assert [name for name, _ in replays.asked] == ["a", "flat", "buy_and_hold"]
    assert [day.day for day in replays.asked[0][1].sessions] == [5, 6, 7, 8, 9]
    assert replays.asked[0][1].symbols == ("SPY",)
    assert stages(settings) == {"a": "paper"}
    with open_store(settings.store.path, read_only=True) as store:
        change = stage_changes(store.connection, "trend")[-1]
    assert change.gate == {**answer["gate"], "forced": False}
    assert change.reason == "the gate agreed"


def test_one_that_is_worse_than_the_champion_is_refused_and_nothing_changes(
    settings: Settings, bundle_facts: Facts
) -> None:
    registered(settings, bundle_facts("a"), bundle_facts("b"))
    promote_by_hand(settings, "trend@a0000000", Stage.PAPER, evaluate=Replays(a=0.02))
    answer = promote_by_hand(settings, "trend", Stage.PAPER, evaluate=Replays(a=0.02, b=0.01))
    assert (answer["promoted"], answer["policy"]) == (False, "trend@b000000000000000")
    assert [one["rule"] for one in answer["gate"]["findings"] if not one["passed"]] == ["returns"]
    assert stages(settings) == {"a": "paper", "b": "candidate"}
    better = promote_by_hand(settings, "trend", Stage.PAPER, evaluate=Replays(a=0.02, b=0.03))
    assert (better["promoted"], better["replaced"]) == (True, "trend@a000000000000000")
    assert better["gate"]["champion"] == "trend@a000000000000000"
    assert stages(settings) == {"a": "archived", "b": "paper"}


def test_the_window_begins_after_both_were_trained(settings: Settings, bundle_facts: Facts) -> None:
    seen_tuesday = bundle_facts("a", until="2026-01-06T20:59:00Z")
    registered(settings, seen_tuesday, bundle_facts("b"))
    promote_by_hand(settings, "trend@a0000000", Stage.PAPER, evaluate=Replays(a=0.01))
    replays = Replays(a=0.01, b=0.01)
    assert promote_by_hand(settings, "trend", Stage.PAPER, evaluate=replays)["promoted"]
    assert {tuple(day.day for day in window.sessions) for _, window in replays.asked} == {(7, 8, 9)}


def test_without_an_unseen_session_nothing_is_promoted(settings: Settings, bundle_facts: Facts) -> None:
    registered(settings, bundle_facts("a", until="2026-01-09T20:59:00Z"))
    with pytest.raises(NotPromoted, match=r"no stored 1min bars of SPY after 2026-01-09 20:59 UTC"):
        promote_by_hand(settings, "trend", Stage.PAPER, evaluate=Replays())
    assert stages(settings) == {"a": "candidate"}


def test_many_that_were_tried_on_the_window_count(settings: Settings, bundle_facts: Facts) -> None:
    late = "2026-01-10T00:00:00Z"  # after the window's bars were known
    registered(settings, *(bundle_facts(digit, created=late) for digit in "abc"))
    assert (
        promote_by_hand(settings, "trend@a0000000", Stage.PAPER, evaluate=Replays(a=0.01))["gate"]["figures"]["trials"]
        == 3
    )


def test_force_overrides_with_a_reason_and_keeps_what_the_gate_said(settings: Settings, bundle_facts: Facts) -> None:
    registered(settings, bundle_facts("a"))
    with pytest.raises(ConfigurationError, match="give a reason"):
        promote_by_hand(settings, "trend", Stage.PAPER, force=True, reason="  ", evaluate=Replays(a=-0.01))
    answer = promote_by_hand(settings, "trend", Stage.PAPER, True, "we watch it", Replays(a=-0.01))
    assert (answer["promoted"], answer["forced"]) == (True, True)
    assert answer["gate"]["promotes"] is False
    with open_store(settings.store.path, read_only=True) as store:
        change = stage_changes(store.connection, "trend")[-1]
    assert (change.reason, change.gate and change.gate["forced"]) == ("we watch it", True)
    assert change.gate is not None
    assert [one["rule"] for one in change.gate["findings"] if not one["passed"]] == ["returns"]


def test_force_that_agrees_with_the_gate_overrides_nothing(settings: Settings, bundle_facts: Facts) -> None:
    registered(settings, bundle_facts("a"))
    answer = promote_by_hand(settings, "trend", Stage.PAPER, True, "sure", Replays(a=0.01))
    assert (answer["promoted"], answer["forced"]) == (True, False)


def test_replays_that_fail_refuse_unless_forced(settings: Settings, bundle_facts: Facts) -> None:
    registered(settings, bundle_facts("a"))
    with pytest.raises(DataNotFit, match="has no bars on 2026-01-05"):
        promote_by_hand(settings, "trend", Stage.PAPER, evaluate=unfit)
    assert stages(settings) == {"a": "candidate"}
    answer = promote_by_hand(settings, "trend", Stage.PAPER, True, "a demonstration", unfit)
    assert answer["forced"]
    assert "has no bars on 2026-01-05" in answer["gate"]["not_asked"]
    assert stages(settings) == {"a": "paper"}


def test_a_name_means_the_newest_candidate_and_for_live_the_one_at_paper(
    settings: Settings, bundle_facts: Facts
) -> None:
    registered(settings, bundle_facts("a"), bundle_facts("b"))
    replays = Replays()
    with pytest.raises(
        ConfigurationError, match=r"No policy of the name trend is at paper, from where one comes to live"
    ):
        promote_by_hand(settings, "trend", Stage.LIVE, evaluate=replays)
    assert promote_by_hand(settings, "trend", Stage.PAPER, evaluate=replays)["policy"].startswith("trend@b")
    live = promote_by_hand(settings, "trend", Stage.LIVE, evaluate=replays)
    assert (live["policy"][6], live["promoted"]) == ("b", True)
    assert live["gate"]["figures"]["paper"] == {"sessions": 0, "failures": 0}
    assert stages(settings) == {"a": "candidate", "b": "live"}


def test_a_candidate_does_not_come_to_live_directly(settings: Settings, bundle_facts: Facts) -> None:
    registered(settings, bundle_facts("a"))
    answer = promote_by_hand(settings, "a0000000", Stage.LIVE, evaluate=Replays(a=0.01))
    assert not answer["promoted"]
    assert [one["rule"] for one in answer["gate"]["findings"] if not one["passed"]] == ["at_paper"]


def test_a_champion_that_changed_during_the_replays_stops_the_promotion(
    settings: Settings, bundle_facts: Facts
) -> None:
    registered(settings, bundle_facts("a"), bundle_facts("b"))

    def meanwhile(policy: PolicyRecord | str, window: UnseenWindow) -> Evaluation:
        with open_store(settings.store.path) as store:  # the database is free while policies are replayed
            now = champion(store.connection, "trend", Stage.PAPER)
        if now is None:
            promote_by_hand(settings, "trend@a0000000", Stage.PAPER, evaluate=Replays(a=0.01))
        return Replays(b=0.05)(policy, window)

    with pytest.raises(NotPromoted, match=r"is trend@a000000000000000 by now"):
        promote_by_hand(settings, "trend@b0000000", Stage.PAPER, evaluate=meanwhile)
    assert stages(settings) == {"a": "paper", "b": "candidate"}


def test_while_another_holds_the_database_no_stage_changes(settings: Settings, bundle_facts: Facts) -> None:
    registered(settings, bundle_facts("a"))
    with open_store(settings.store.path, read_only=True):  # the same process may not open it in another way
        with pytest.raises(NotPromoted, match="Stages are changed between sessions"):
            promote_by_hand(settings, "trend", Stage.PAPER, evaluate=Replays())
        with pytest.raises(NotPromoted, match="Stages are changed between sessions"):
            rollback_by_hand(settings, "trend", Stage.PAPER)


def test_a_rollback_puts_the_previous_champion_back(settings: Settings, bundle_facts: Facts) -> None:
    registered(settings, bundle_facts("a"), bundle_facts("b"))
    for digit in "ab":
        promote_by_hand(settings, f"trend@{digit}0000000", Stage.PAPER, evaluate=Replays())
    answer = rollback_by_hand(settings, "trend", Stage.PAPER, "it trades too much")
    assert (answer["policy"][6], answer["retired"][6], answer["stage"]) == ("a", "b", "paper")
    assert stages(settings) == {"a": "paper", "b": "retired"}
    assert "trend@b000000000000000 is retired." in rollback_in_words(answer)


def test_somebody_has_to_be_named(settings: Settings) -> None:
    for change in (
        lambda: promote_by_hand(settings, "", Stage.PAPER, evaluate=Replays()),
        lambda: rollback_by_hand(settings, "", Stage.PAPER),
    ):
        with pytest.raises(ConfigurationError, match="No policy was named"):
            change()


def test_no_database_is_no_registry(tmp_path: Path) -> None:
    settings = Settings.model_validate({"store": {"path": tmp_path / "none.duckdb"}})
    for change in (
        lambda: promote_by_hand(settings, "trend", Stage.PAPER),
        lambda: rollback_by_hand(settings, "trend", Stage.PAPER),
    ):
        with pytest.raises(ConfigurationError, match="no registered policy"):
            change()
    assert not settings.store.path.exists()


def test_the_outcome_is_told_with_every_rule_and_every_replay(settings: Settings, bundle_facts: Facts) -> None:
    registered(settings, bundle_facts("a"), bundle_facts("b"))
    promote_by_hand(settings, "trend@a0000000", Stage.PAPER, evaluate=Replays(a=0.02))
    answer: dict[str, Any] = promote_by_hand(settings, "trend", Stage.PAPER, evaluate=Replays(a=0.02, b=0.01))
    gate = answer["gate"]
    assert outcome(answer) == "trend@b000000000000000 is not promoted to paper. Nothing was changed."
    assert window(gate) == "Replayed on 5 sessions that neither has seen, 2026-01-05 to 2026-01-09, SPY; after costs."
    # 1.01 to the fifth is 1.0510, 1.02 to the fifth 1.1041.
    assert [(name, total) for name, total, *_ in contenders(gate)] == [
        ("candidate", "+5.10%"),
        ("champion", "+10.41%"),
        ("flat", "+0.00%"),
        ("buy_and_hold", "+0.00%"),
    ]
    assert [rule for rule, said, _ in findings(gate) if said == "REFUSES"] == ["returns"]
    page = promotion_in_words(answer)
    assert "| returns | REFUSES | its return per session is -1.0000% against the champion" in page
    assert "| candidate | +5.10% |" in page
