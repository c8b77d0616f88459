"""The gate between the stages of policies: a candidate and the champion, replayed on sessions that neither was fitted on.

The rule: it only judges values. What cannot be told speaks against the candidate, and every rule is asked.
"""

import math
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Protocol

from trading.bars import Timeframe
from trading.policy_records import PolicyRecord, Stage
from trading.promotion_settings import PromotionSettings
from trading.training.sharpe import expected_maximum_sharpe

FLAT, BUY_AND_HOLD = "flat", "buy_and_hold"
YARDSTICKS = (FLAT, BUY_AND_HOLD)
"""Built-in policies that are replayed beside the two."""


@dataclass(frozen=True, slots=True)
class UnseenWindow:
    """Whole sessions after both policies were trained, oldest first, with the bars that both are shown."""

    symbols: tuple[str, ...]
    exchange: str
    timeframe: Timeframe
    sessions: tuple[date, ...]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What a policy came to when the sessions were replayed one after another on a fresh paper account.

    ``returns`` are fractions of the equity that each session began with, after commissions and slippage. ``drawdown`` is the
    deepest fall below the highest equity at any bar, as a fraction of it. Of the ``orders`` that were sent ``refused`` were
    turned away by the broker; what risk does not let through is not sent. ``failures`` counts decisions with an error.
    """

    sessions: tuple[date, ...]
    returns: tuple[float, ...]
    drawdown: float
    orders: int
    refused: int = 0
    failures: int = 0

    def __post_init__(self) -> None:
        if len(self.returns) != len(self.sessions):
            raise ValueError(f"{len(self.returns)} returns for {len(self.sessions)} sessions")
        if not all(map(math.isfinite, (*self.returns, self.drawdown))):
            raise ValueError("a return or the drawdown is no number")

    @property
    def mean_return(self) -> float:
        """Per session; 0 without one."""
        return statistics.fmean(self.returns) if self.returns else 0.0

    @property
    def total_return(self) -> float:
        """Of all sessions after one another, as a fraction."""
        return math.prod(1.0 + one for one in self.returns) - 1.0


class Evaluate(Protocol):
    """Replays a policy; given to the gate by whoever can read its bundle and the bars."""

    def __call__(self, policy: PolicyRecord | str, window: UnseenWindow) -> Evaluation:
        """What the policy (a registered one, or the name of a built-in one) makes of every session of the window.

        Its own orders and fills go nowhere but into the answer. Raises an ``OpenbellError`` where it cannot be told.
        """
        ...


@dataclass(frozen=True, slots=True)
class PaperRecord:
    """What a policy has shown at paper: completed sessions of days after its training, and its decisions with an error."""

    sessions: int
    failures: int


@dataclass(frozen=True, slots=True)
class Contest:
    """All that is compared. ``champion`` is None where nobody is at the stage; ``trials`` as ``trials_on`` counts them."""

    window: UnseenWindow
    candidate: Evaluation
    champion: Evaluation | None
    yardsticks: Mapping[str, Evaluation]
    trials: int = 1


@dataclass(frozen=True, slots=True)
class Finding:
    """What one rule of the gate found. ``observed`` and ``limit`` are in the same unit; None where it cannot tell."""

    rule: str
    passed: bool
    words: str
    observed: float | None = None
    limit: float | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the gate says, with what every rule found and the figures that it compared."""

    findings: tuple[Finding, ...]
    figures: Mapping[str, Any]

    @property
    def promotes(self) -> bool:
        """Whether every rule passed, and any was asked."""
        return bool(self.findings) and all(finding.passed for finding in self.findings)

    @property
    def objections(self) -> tuple[str, ...]:
        """Why not, in words; empty where it promotes."""
        return tuple(finding.words for finding in self.findings if not finding.passed)


def judge(
    settings: PromotionSettings, to: Stage, stage: Stage, contest: Contest, paper: PaperRecord | None = None
) -> Verdict:
    """Whether a policy that is at ``stage`` may come to ``to``. ``paper`` is needed for live."""
    findings = [
        *_has_worked(settings, contest.candidate),
        _has_been_shown_enough(settings, contest),
        _is_not_worse(settings, to, contest),
        _has_not_fallen_deeper(settings, contest),
    ]
    if to is Stage.LIVE:
        findings += _was_at_paper(settings, stage, paper or PaperRecord(0, 0))
    return Verdict(tuple(findings), figures(contest, paper))


def trials_on(first: datetime, policies: Iterable[PolicyRecord]) -> int:
    """How many policies could have been chosen by looking at a window whose first bar opens at ``first``: at least 1.

    Those that were made after its bars were known, and not fitted on them. The best of many looks good by luck.
    """
    made = [one for one in policies if one.trained_until is not None and one.trained_until < first <= one.created_at]
    return max(len(made), 1)


def expected_luck(trials: int) -> float:
    """Expected largest of so many standard normal numbers: what the best of many trials without skill shows; 0 of one."""
    return expected_maximum_sharpe(1.0, max(trials, 1))


def _has_worked(settings: PromotionSettings, candidate: Evaluation) -> list[Finding]:
    refused = candidate.refused / candidate.orders if candidate.orders else 0.0
    most = float(settings.max_refused_fraction)
    return [
        Finding(
            "traded",
            candidate.orders > 0,
            f"it sent {candidate.orders} orders" if candidate.orders else "it sent no order at all",
            candidate.orders,
            1,
        ),
        Finding(
            "failures",
            candidate.failures == 0,
            f"{candidate.failures} of its decisions failed",
            candidate.failures,
            0,
        ),
        Finding(
            "refused",
            refused <= most,
            f"the broker refused {candidate.refused} of its {candidate.orders} orders ({refused:.1%}, at most {most:.1%})",
            refused,
            most,
        ),
    ]


def _has_been_shown_enough(settings: PromotionSettings, contest: Contest) -> Finding:
    seen, least = len(contest.candidate.sessions), settings.min_unseen_sessions
    return Finding(
        "unseen_sessions",
        seen >= least,
        f"{seen} sessions with stored bars are after the training of both, and {least} are needed",
        seen,
        least,
    )


def _is_not_worse(settings: PromotionSettings, to: Stage, contest: Contest) -> Finding:
    """The paired difference of returns, less what luck gives the best of many trials, is not below zero beyond its noise.

    The first that comes to live must not be below flat at all: nobody has to trade.
    """
    against = "the champion" if contest.champion is not None else FLAT
    compared = _difference(contest)
    if compared is None:
        return Finding("returns", False, f"the sessions of it and of {against} are not the same, or fewer than 2")
    mean, error = compared
    limit = error * (expected_luck(contest.trials) - float(settings.worse_by_standard_errors))
    if to is Stage.LIVE and contest.champion is None:
        limit = max(limit, 0.0)
    tried = f", the best of {contest.trials} tried" if contest.trials > 1 else ""
    return Finding(
        "returns",
        mean >= limit,
        f"its return per session is {mean:+.4%} against {against} (standard error {error:.4%}{tried}), at least {limit:+.4%} "
        "is needed",
        mean,
        limit,
    )


def _has_not_fallen_deeper(settings: PromotionSettings, contest: Contest) -> Finding:
    reference = contest.champion or contest.yardsticks.get(BUY_AND_HOLD)
    against = "the champion" if contest.champion is not None else BUY_AND_HOLD
    fallen = contest.candidate.drawdown
    limit = float(settings.drawdown_floor_fraction)
    if reference is not None:
        limit = max(limit, float(settings.max_drawdown_factor) * reference.drawdown)
    return Finding(
        "drawdown",
        fallen <= limit,
        f"its drawdown is {fallen:.2%}, and {limit:.2%} is allowed"
        + (f" ({reference.drawdown:.2%} of {against})" if reference is not None else ""),
        fallen,
        limit,
    )


def _was_at_paper(settings: PromotionSettings, stage: Stage, paper: PaperRecord) -> list[Finding]:
    least = settings.min_paper_sessions
    return [
        Finding("at_paper", stage is Stage.PAPER, f"it is at {stage}, and only what is at paper comes to live"),
        Finding(
            "paper_sessions",
            paper.sessions >= least,
            f"it completed {paper.sessions} sessions at paper, and {least} are needed",
            paper.sessions,
            least,
        ),
        Finding(
            "paper_failures",
            paper.failures == 0,
            f"{paper.failures} of its decisions at paper failed",
            paper.failures,
            0,
        ),
    ]


def figures(contest: Contest, paper: PaperRecord | None) -> dict[str, Any]:
    """What was compared, for people and for the record. Returns and drawdowns are fractions, after costs."""
    compared = _difference(contest)
    mean, error = compared or (None, None)
    sessions = contest.window.sessions
    contenders = {"candidate": contest.candidate, "champion": contest.champion, **contest.yardsticks}
    return {
        "symbols": list(contest.window.symbols),
        "sessions": len(sessions),
        "first_session": sessions[0].isoformat() if sessions else None,
        "last_session": sessions[-1].isoformat() if sessions else None,
        "trials": contest.trials,
        "mean_difference": mean,
        "standard_error": error,
        **{name: _told(one) for name, one in contenders.items() if one is not None},
        **({} if paper is None else {"paper": {"sessions": paper.sessions, "failures": paper.failures}}),
    }


def _told(evaluation: Evaluation) -> dict[str, Any]:
    return {
        "mean_return": evaluation.mean_return,
        "total_return": evaluation.total_return,
        "drawdown": evaluation.drawdown,
        "orders": evaluation.orders,
        "refused": evaluation.refused,
        "failures": evaluation.failures,
    }


def _difference(contest: Contest) -> tuple[float, float] | None:
    """Mean of candidate's less reference's return per session, and its standard error; None where they cannot be paired."""
    reference = contest.champion if contest.champion is not None else contest.yardsticks.get(FLAT)
    candidate = contest.candidate
    if reference is None or reference.sessions != candidate.sessions or len(candidate.sessions) < 2:
        return None
    apart = [ours - theirs for ours, theirs in zip(candidate.returns, reference.returns, strict=True)]
    return statistics.fmean(apart), statistics.stdev(apart) / math.sqrt(len(apart))
