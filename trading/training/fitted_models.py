"""A model after its fit, whoever trained it: its weights as a bundle keeps them, and what its own library makes of rows.

Golden samples are taken from here, and never from what a session computes: they are what that has to agree with.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trading.bundles.manifest import ActionMap, Bands, Choice, Golden, PolicyKind, Scaling, Weights
from trading.decisions import Action
from trading.training.model_quality import Importance
from trading.training.training_data import Rows

GOLDEN_ROWS = 64
_NEAR_A_CHOICE = 1e-5
_NEAR_A_LEVEL = 1e-7


@dataclass(frozen=True, slots=True)
class Answers:
    """What the library says of N rows: scores (N x K), and the decision of each as a word or a weight."""

    scores: Rows
    actions: tuple[Action | float, ...]


@dataclass(frozen=True, slots=True)
class FittedModel:
    """``content`` is the file that ``weights`` names. ``samples`` are raw rows that golden ones can be chosen from.

    Where the model has a memory they are one sequence from its beginning, and all of them are taken. ``estimator`` is that of
    scikit-learn, None for an agent. ``learning`` are steps and return of an agent's evaluations while it learned.
    """

    kind: PolicyKind
    weights: Weights
    content: bytes
    actions: ActionMap
    scaling: Scaling | None
    requires: Mapping[str, str]
    libraries: Mapping[str, str]
    labels: tuple[str, ...]
    answer: Callable[[Rows], Answers]
    samples: Rows
    rows: int
    remembers: bool = False
    estimator: Any = None
    learning: tuple[tuple[int, float], ...] = ()


def golden_of(model: FittedModel) -> Golden:
    """Up to ``GOLDEN_ROWS`` samples that cover every decision which occurs among the model's samples.

    Rows on which the last digit of a float could turn the decision are left out where there are others.
    """
    answers = model.answer(model.samples)
    # What comes after a row of a sequence changes nothing of it, so that its beginning is one too.
    chosen = np.arange(min(len(model.samples), GOLDEN_ROWS)) if model.remembers else _spread(model.actions, answers)
    return Golden(
        features=model.labels,
        observations=tuple(map(tuple, model.samples[chosen].tolist())),
        scores=tuple(map(tuple, answers.scores[chosen].tolist())),
        actions=tuple(answers.actions[row] for row in chosen.tolist()),
    )


def _spread(actions: ActionMap, answers: Answers) -> NDArray[np.int64]:
    """Rows spread evenly over each decision, as many of one as of another where there are enough."""
    clear = np.flatnonzero(~_is_near(actions, answers.scores))
    asked = clear if len(clear) else np.arange(len(answers.actions))
    by_word: dict[object, list[int]] = {}
    for row in asked.tolist():
        said = answers.actions[row]
        # Weights are as good as never the same: they are one kind of decision.
        by_word.setdefault(said if isinstance(said, Action) else "weight", []).append(row)
    taken: list[int] = []
    # The rarest first, so that what it leaves goes to the others.
    for place, rows in enumerate(sorted(by_word.values(), key=len)):
        share = (GOLDEN_ROWS - len(taken)) // (len(by_word) - place)
        picks = np.unique(np.linspace(0, len(rows) - 1, min(share, len(rows))).round().astype(np.int64))
        taken += [rows[pick] for pick in picks.tolist()]
    return np.array(sorted(taken), dtype=np.int64)


def _is_near(actions: ActionMap, scores: Rows) -> NDArray[np.bool_]:
    if isinstance(actions, Bands):
        levels = np.array([actions.sell_below, actions.buy_above])
        return np.asarray((np.abs(scores[:, :1] - levels) <= _NEAR_A_LEVEL).any(axis=1))
    if isinstance(actions, Choice) and scores.shape[1] > 1:
        best = np.partition(scores, -2, axis=1)[:, -2:]
        return np.asarray(best[:, 1] - best[:, 0] <= _NEAR_A_CHOICE * np.maximum(np.abs(best).max(axis=1), 1.0))
    return np.zeros(len(scores), dtype=np.bool_)


def decision_importance(model: FittedModel, rows: Rows, *, seed: int, repeats: int = 3) -> tuple[Importance, ...]:
    """For an agent, of which nobody knows the right answer: the fraction of its decisions that change when a feature is shuffled.

    Most important first. Empty for one with a memory, whose rows belong together. A weight has changed by more than 0.01.
    """
    if model.remembers or not len(rows):
        return ()
    draws = np.random.default_rng(seed)
    before = _as_numbers(model.answer(rows).actions)
    found = []
    for column, label in enumerate(model.labels):
        changed = []
        for _ in range(repeats):
            shuffled = rows.copy()
            shuffled[:, column] = draws.permutation(shuffled[:, column])
            changed.append(float((np.abs(_as_numbers(model.answer(shuffled).actions) - before) > 0.01).mean()))
        found.append(Importance(label, float(np.mean(changed)), float(np.std(changed))))
    return tuple(sorted(found, key=lambda one: (-one.mean, one.feature)))


_NUMBERS = {Action.BUY: 1.0, Action.SELL: -1.0, Action.HOLD: 0.0}


def _as_numbers(actions: Sequence[Action | float]) -> Rows:
    return np.array([_NUMBERS[said] if isinstance(said, Action) else said for said in actions], dtype=np.float64)
