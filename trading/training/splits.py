"""Walking forward: train on what came before, test on the sessions after, and let nothing of the test into the training.

Whole sessions are the unit, so that a split can be named by its dates. Between training and test lie two gaps: labels that look into
the test are dropped (purge), and so are the last sessions before it (embargo), because features of the test's first bars still look
back on them. Lopez de Prado 2018, *Advances in Financial Machine Learning*, chapter 7. Training never comes after its test here,
so that his embargo after the test has nothing to do.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
from numpy.typing import NDArray

from trading.bars import BarColumns
from trading.errors import ConfigurationError
from trading.trading_hours import TradingHours
from trading.training.labels import UNLABELLED, Positions, session_numbers


@dataclass(frozen=True, slots=True)
class WalkForward:
    """How a history is split. ``train_sessions`` is the least that the first fold is trained on.

    With ``rolling`` every fold is trained on exactly so many sessions, else on all since the first. ``embargo_sessions`` before each
    test are left out. Raises ``ConfigurationError`` for numbers that are no split.
    """

    folds: int
    test_sessions: int
    train_sessions: int
    embargo_sessions: int = 0
    rolling: bool = False

    def __post_init__(self) -> None:
        if min(self.folds, self.test_sessions, self.train_sessions) < 1 or self.embargo_sessions < 0:
            raise ConfigurationError(
                f"Walking forward needs at least one fold, one session to train on and one to test: folds = {self.folds}, "
                f"train_sessions = {self.train_sessions}, test_sessions = {self.test_sessions}, embargo_sessions = {self.embargo_sessions}."
            )

    @property
    def sessions_needed(self) -> int:
        """The least number of sessions that give all folds."""
        return self.train_sessions + self.embargo_sessions + self.folds * self.test_sessions


@dataclass(frozen=True, slots=True)
class Fold:
    """One step: rows to train on and rows to test on, ascending, and the sessions that they come from.

    Rows outside all sessions are in neither. ``test`` are all bars of the test's sessions, labelled or not: they are traded.
    """

    number: int
    train: Positions
    test: Positions
    train_dates: tuple[date, ...]
    test_dates: tuple[date, ...]
    purged: int
    """Rows of the training's sessions that were left out because their label looks into the test."""


def walk_forward(
    bars: BarColumns, sessions: Sequence[TradingHours], label_end: NDArray[np.int64], plan: WalkForward
) -> tuple[Fold, ...]:
    """Folds over ascending ``sessions``, oldest first; the last one ends with the last session, and tests follow one another.

    ``label_end`` is for each bar the last row that its label looks at (``Labels.end``). Rows without a label are trained on by
    nobody. Raises ``ConfigurationError`` where there are too few sessions, or a fold has nothing to train on.
    """
    if len(label_end) != len(bars):
        raise ValueError(f"{len(bars)} bars and {len(label_end)} ends of labels")
    if len(sessions) < plan.sessions_needed:
        raise ConfigurationError(
            f"{len(sessions)} sessions are too few: {plan.folds} folds of {plan.test_sessions} to test, after {plan.train_sessions} to train "
            f"and {plan.embargo_sessions} between, need {plan.sessions_needed}. Give more bars, or fewer or shorter folds."
        )
    numbers = session_numbers(bars, sessions)
    begins = len(sessions) - plan.folds * plan.test_sessions
    folds = []
    for number in range(plan.folds):
        tested = begins + number * plan.test_sessions
        trained_until = tested - plan.embargo_sessions
        trained = trained_until - plan.train_sessions if plan.rolling else 0
        test = np.flatnonzero((numbers >= tested) & (numbers < tested + plan.test_sessions))
        labelled = np.flatnonzero((numbers >= trained) & (numbers < trained_until) & (label_end != UNLABELLED))
        train = labelled[label_end[labelled] < test[0]] if len(test) else labelled
        if not len(train) or not len(test):
            what = "train on" if not len(train) else "test on"
            raise ConfigurationError(
                f"Fold {number + 1} has no bar to {what} between {sessions[trained].session_date} and "
                f"{sessions[tested + plan.test_sessions - 1].session_date}. Are there bars of all sessions, and labels within them?"
            )
        folds.append(
            Fold(
                number + 1,
                train,
                test,
                tuple(hours.session_date for hours in sessions[trained:trained_until]),
                tuple(hours.session_date for hours in sessions[tested : tested + plan.test_sessions]),
                len(labelled) - len(train),
            )
        )
    return tuple(folds)
