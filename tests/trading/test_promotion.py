"""The gate between stages, with returns that can be worked out by hand."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from trading.bars import Timeframe
from trading.errors import ConfigurationError
from trading.policy_records import BundleFacts, PolicyRecord, Stage, fingerprint_prefix, require_promotable
from trading.promotion import (
    Contest,
    Evaluation,
    PaperRecord,
    UnseenWindow,
    Verdict,
    expected_luck,
    judge,
    trials_on,
)
from trading.promotion_settings import PromotionSettings

LENIENT = PromotionSettings(min_unseen_sessions=2, unseen_sessions=60)


def days(count: int) -> tuple[date, ...]:
    return tuple(date(2026, 1, 5) + timedelta(days=place) for place in range(count))


def evaluation(
    *returns: float, drawdown: float = 0.01, orders: int = 10, refused: int = 0, failures: int = 0
) -> Evaluation:
    return Evaluation(days(len(returns)), returns, drawdown, orders, refused, failures)


def contest(candidate: Evaluation, champion: Evaluation | None = None, trials: int = 1, held: float = 0.01) -> Contest:
    sessions = candidate.sessions
    zeros = [0.0] * len(sessions)
    return Contest(
        UnseenWindow(("SPY",), "XNYS", Timeframe.MINUTE_1, sessions),
        candidate,
        champion,
        {
            "flat": Evaluation(sessions, tuple(zeros), 0.0, 0),
            "buy_and_hold": Evaluation(sessions, tuple(zeros), held, 2),
        },
        trials,
    )


def said(verdict: Verdict) -> dict[str, bool]:
    return {finding.rule: finding.passed for finding in verdict.findings}


def to_paper(contested: Contest, settings: PromotionSettings = LENIENT) -> Verdict:
    return judge(settings, Stage.PAPER, Stage.CANDIDATE, contested)


def test_a_candidate_that_earns_as_much_as_the_champion_is_promoted() -> None:
    same = evaluation(0.01, -0.02, 0.03)
    verdict = to_paper(contest(same, same))
    assert verdict.promotes
    assert verdict.objections == ()
    assert said(verdict) == dict.fromkeys(
        ["traded", "failures", "refused", "unseen_sessions", "returns", "drawdown"], True
    )


def test_the_returns_are_compared_session_by_session() -> None:
    # Differences -0.01, -0.03, -0.02: mean -0.02, deviation 0.01, standard error 0.01 / sqrt(3) = 0.005774.
    verdict = to_paper(contest(evaluation(0.0, 0.0, 0.0), evaluation(0.01, 0.03, 0.02)))
    assert verdict.figures["mean_difference"] == pytest.approx(-0.02)
    assert verdict.figures["standard_error"] == pytest.approx(0.01 / math.sqrt(3))
    [finding] = [one for one in verdict.findings if one.rule == "returns"]
    assert (finding.observed, finding.limit) == (pytest.approx(-0.02), pytest.approx(-0.0057735, abs=1e-7))
    assert not finding.passed
    assert not verdict.promotes


@pytest.mark.parametrize(("standard_errors", "passes"), [("3.46", False), ("3.47", True)])
def test_worse_within_the_noise_passes(standard_errors: str, passes: bool) -> None:
    # -0.02 is 3.4641 standard errors of 0.0057735.
    settings = LENIENT.model_copy(update={"worse_by_standard_errors": Decimal(standard_errors)})
    verdict = to_paper(contest(evaluation(0.0, 0.0, 0.0), evaluation(0.01, 0.03, 0.02)), settings)
    assert said(verdict)["returns"] is passes


def test_a_constant_shortfall_has_no_noise_to_hide_in() -> None:
    verdict = to_paper(contest(evaluation(0.25, 0.5, 0.75), evaluation(0.5, 0.75, 1.0)))
    assert verdict.figures["standard_error"] == 0.0
    assert said(verdict)["returns"] is False


def test_without_a_champion_flat_and_the_drawdown_of_holding_are_what_it_is_compared_with() -> None:
    # Against flat: mean -0.01, deviation 0.01, standard error 0.005774: 1.73 of them below.
    losing = evaluation(0.0, -0.01, -0.02, drawdown=0.06)
    verdict = to_paper(contest(losing, held=0.05))
    assert said(verdict)["returns"] is False
    assert said(verdict)["drawdown"] is True  # 1.5 times 0.05 is 0.075
    assert "champion" not in verdict.figures
    assert said(to_paper(contest(losing, held=0.03)))["drawdown"] is False  # 0.045


def test_the_best_of_many_has_to_show_more() -> None:
    # Of 10 standard normals the largest is expected near 1.54 (exactly), 1.57 by the formula: with one error of slack
    # it needs 0.57 of them; 0.005 / (0.01 / sqrt(3)) = 0.87 passes, and fails against the best of 100 (2.53 - 1).
    better = evaluation(0.015, 0.005, -0.005)
    champion = evaluation(0.0, 0.0, 0.0)
    assert said(to_paper(contest(better, champion, trials=1)))["returns"]
    assert said(to_paper(contest(better, champion, trials=10)))["returns"]
    assert not said(to_paper(contest(better, champion, trials=100)))["returns"]


@pytest.mark.parametrize(("trials", "luck"), [(0, 0.0), (1, 0.0), (10, 1.5746), (100, 2.5306)])
def test_luck_grows_with_trials(trials: int, luck: float) -> None:
    assert expected_luck(trials) == pytest.approx(luck, abs=1e-4)


@pytest.mark.parametrize(
    ("drawdown", "champions", "passes"),
    [(0.06, 0.04, True), (0.0601, 0.04, False), (0.02, 0.0, True), (0.0201, 0.0, False)],
)
def test_the_drawdown_is_allowed_a_factor_and_a_floor(drawdown: float, champions: float, passes: bool) -> None:
    verdict = to_paper(contest(evaluation(0.0, 0.0, drawdown=drawdown), evaluation(0.0, 0.0, drawdown=champions)))
    assert said(verdict)["drawdown"] is passes


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"orders": 0}, "traded"),
        ({"failures": 1}, "failures"),
        ({"orders": 9, "refused": 1}, "refused"),  # 11.1 %
    ],
)
def test_what_went_wrong_in_the_replay_speaks_against_it(change: dict[str, int], rule: str) -> None:
    verdict = to_paper(contest(replace(evaluation(0.01, 0.02), **change)))
    assert [name for name, passed in said(verdict).items() if not passed] == [rule]
    assert not verdict.promotes
    assert len(verdict.objections) == 1


def test_one_refused_order_in_ten_is_borne() -> None:
    assert to_paper(contest(evaluation(0.01, 0.02, orders=10, refused=1))).promotes


def test_too_few_unseen_sessions_are_not_enough() -> None:
    settings = PromotionSettings(min_unseen_sessions=3)
    assert said(to_paper(contest(evaluation(0.01, 0.02)), settings))["unseen_sessions"] is False
    assert to_paper(contest(evaluation(0.01, 0.02, 0.01)), settings).promotes


@pytest.mark.parametrize("returns", [[], [0.01]])
def test_what_cannot_be_compared_is_not_promoted(returns: Sequence[float]) -> None:
    assert said(to_paper(contest(evaluation(*returns))))["returns"] is False


def test_policies_that_traded_other_sessions_are_not_compared() -> None:
    other = replace(evaluation(0.01, 0.01), sessions=(date(2026, 1, 5), date(2026, 1, 9)))
    verdict = to_paper(contest(evaluation(0.01, 0.02), other))
    assert said(verdict)["returns"] is False
    assert verdict.figures["mean_difference"] is None


@pytest.mark.parametrize(
    ("stage", "paper", "against"),
    [
        (Stage.PAPER, PaperRecord(5, 0), []),
        (Stage.PAPER, PaperRecord(4, 0), ["paper_sessions"]),
        (Stage.PAPER, PaperRecord(5, 1), ["paper_failures"]),
        (Stage.CANDIDATE, PaperRecord(5, 0), ["at_paper"]),
        (Stage.ARCHIVED, None, ["at_paper", "paper_sessions"]),
    ],
)
def test_live_asks_what_it_has_shown_at_paper(stage: Stage, paper: PaperRecord | None, against: list[str]) -> None:
    verdict = judge(LENIENT, Stage.LIVE, stage, contest(evaluation(0.01, 0.02)), paper)
    assert [name for name, passed in said(verdict).items() if not passed] == against
    assert verdict.promotes is (not against)


@pytest.mark.parametrize(
    ("returns", "to", "champion", "passes"),
    [
        # Two sessions of -3 % and +2 %: -0.5 % each, with a standard error of 2.5 %.
        ((-0.03, 0.02), Stage.PAPER, None, True),
        ((-0.03, 0.02), Stage.LIVE, None, False),
        ((-0.03, 0.02), Stage.LIVE, evaluation(-0.03, 0.02), True),
        ((-0.02, 0.02), Stage.LIVE, None, True),
    ],
)
def test_the_first_that_comes_to_live_must_not_have_lost(
    returns: tuple[float, ...], to: Stage, champion: Evaluation | None, passes: bool
) -> None:
    verdict = judge(LENIENT, to, Stage.PAPER, contest(evaluation(*returns), champion), PaperRecord(5, 0))
    assert said(verdict)["returns"] is passes


def test_nobody_who_was_not_asked_anything_is_promoted() -> None:
    assert not Verdict((), {}).promotes


def test_the_figures_say_what_was_compared() -> None:
    figures = to_paper(contest(evaluation(0.5, -0.5), evaluation(0.0, 0.0), trials=3)).figures
    assert (figures["sessions"], figures["first_session"], figures["last_session"]) == (2, "2026-01-05", "2026-01-06")
    assert figures["candidate"]["mean_return"] == 0.0
    assert figures["candidate"]["total_return"] == -0.25  # 1.5 x 0.5 - 1
    assert (figures["trials"], figures["symbols"]) == (3, ["SPY"])
    assert {"champion", "flat", "buy_and_hold"} <= set(figures)


def test_a_return_that_is_no_number_is_no_evaluation() -> None:
    with pytest.raises(ValueError, match="no number"):
        evaluation(0.01, math.nan)
    with pytest.raises(ValueError, match="no number"):
        evaluation(0.01, drawdown=math.inf)
    with pytest.raises(ValueError, match="1 returns for 2 sessions"):
        Evaluation(days(2), (0.01,), 0.0, 1)


def record_of(facts: BundleFacts, stage: Stage = Stage.CANDIDATE) -> PolicyRecord:
    manifest = facts.manifest
    return PolicyRecord(
        facts.fingerprint,
        manifest.name,
        manifest.version,
        manifest.kind,
        stage,
        facts.path,
        manifest.created,
        manifest.created,
        {},
        manifest,
    )


def test_those_count_as_tried_that_were_made_when_the_window_was_known(bundle_facts: Callable[..., Any]) -> None:
    first = datetime(2026, 1, 5, 14, 30, tzinfo=UTC)
    later, before = "2026-01-06T00:00:00Z", "2026-01-04T00:00:00Z"
    tried = record_of(bundle_facts("a", created=later))
    made_before = record_of(bundle_facts("b", created=before))
    fitted_on_it = record_of(bundle_facts("c", created=later, until="2026-01-05T20:59:00Z"))
    unreadable = replace(tried, manifest=None)
    assert trials_on(first, [tried, tried, made_before, fitted_on_it, unreadable]) == 2
    assert trials_on(first, [made_before]) == 1


@pytest.mark.parametrize("stage", [Stage.CANDIDATE, Stage.ARCHIVED, Stage.RETIRED])
@pytest.mark.parametrize("to", [Stage.PAPER, Stage.LIVE])
def test_what_was_replaced_or_taken_back_can_be_promoted_again(
    bundle_facts: Callable[..., Any], stage: Stage, to: Stage
) -> None:
    require_promotable(record_of(bundle_facts("a"), stage), to)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("trend@01234567", ("trend", "01234567")),
        ("01234567", (None, "01234567")),
        ("deadbeef01", (None, "deadbeef01")),
        ("trend", None),
        ("0123456", None),
        ("DEADBEEF", None),
    ],
)
def test_a_fingerprint_is_told_from_a_name(text: str, found: tuple[str | None, str] | None) -> None:
    assert fingerprint_prefix(text) == found


@pytest.mark.parametrize("text", ["trend@0123456", "trend@", "trend@xyz01234", "@01234567"])
def test_what_stands_behind_an_at_has_to_be_digits(text: str) -> None:
    with pytest.raises(ConfigurationError, match="is no fingerprint"):
        fingerprint_prefix(text)


def test_settings_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(ValueError, match="must not be more than unseen_sessions"):
        PromotionSettings(unseen_sessions=10, min_unseen_sessions=11)


def test_a_bundles_facts_hold_what_it_came_from(bundle_facts: Callable[..., Any]) -> None:
    facts = bundle_facts("a", path=Path("/there"))
    assert facts.lineage["data"]["last"] == "2026-01-02T20:59:00Z"
    assert (facts.lineage["seed"], facts.lineage["settings"]) == (7, {"folds": 5})
