"""From a model's scores to words, by the map that is stored with the model. Codes never leave it."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from trading.bundles.manifest import ActionMap, Bands, Choice, TargetWeight
from trading.decisions import Action, Signal
from trading.policies.scoring import Rows

_NEAR = 1e-6
"""Scores that are this near to another decision, relative to their size, are worked out again one by one: in a batch the last
digits of a float may come out otherwise."""
_CODES = {Action.BUY: 1, Action.SELL: -1, Action.HOLD: 0}


def outputs_of(actions: ActionMap) -> int:
    """How many columns of scores the map needs."""
    return len(actions.actions) if isinstance(actions, Choice) else 1


def gives_weights(actions: ActionMap) -> bool:
    """Whether any of its answers is a target weight."""
    if isinstance(actions, Choice):
        return any(not isinstance(action, Action) for action in actions.actions)
    return isinstance(actions, TargetWeight)


def signal_of(actions: ActionMap, scores: Sequence[float], are_probabilities: bool) -> Signal:
    """The decision on one row of scores; one that is not finite has failed."""
    if not all(map(math.isfinite, scores)):
        return Signal(Action.HOLD, error=f"the model said {', '.join(f'{score:g}' for score in scores)}")
    if isinstance(actions, Choice):
        best = max(range(len(scores)), key=scores.__getitem__)
        confidence = min(max(scores[best], 0.0), 1.0) if are_probabilities else None
        action = actions.actions[best]
        return Signal(action, confidence) if isinstance(action, Action) else Signal.of_weight(action, confidence)
    score = scores[0]
    if isinstance(actions, Bands):
        word = Action.BUY if score > actions.buy_above else Action.SELL if score < actions.sell_below else Action.HOLD
        return Signal(word)
    return Signal.of_weight(min(max(score * actions.scale, actions.lowest), actions.highest))


def answer_of(actions: ActionMap, scores: Sequence[float]) -> Action | float:
    """The decision as a golden sample keeps it: a word, or a target weight."""
    signal = signal_of(actions, scores, are_probabilities=False)
    return signal.action if signal.target_weight is None else signal.target_weight


def codes_of(actions: Choice | Bands, scores: Rows) -> NDArray[np.int8]:
    """The decisions on N rows of finite scores at once: 1 BUY, -1 SELL, 0 HOLD. Only for maps without weights."""
    if isinstance(actions, Bands):
        score = scores[:, 0]
        return (score > actions.buy_above).astype(np.int8) - (score < actions.sell_below).astype(np.int8)
    codes = np.array([_CODES[action] for action in actions.actions if isinstance(action, Action)], dtype=np.int8)
    chosen: NDArray[np.int8] = codes[scores.argmax(axis=1)]
    return chosen


def near_another(actions: Choice | Bands, scores: Rows) -> NDArray[np.bool_]:
    """Rows whose decision could be another one if the last digits of their scores were others."""
    if isinstance(actions, Bands):
        score = scores[:, 0]
        levels = np.array([actions.sell_below, actions.buy_above])
        distance = np.abs(score[:, None] - levels)
        return np.asarray((distance <= _NEAR * np.maximum(np.abs(levels), np.abs(score[:, None]))).any(axis=1))
    if scores.shape[1] < 2:
        return np.zeros(len(scores), dtype=np.bool_)
    best = np.partition(scores, -2, axis=1)[:, -2:]
    return np.asarray(best[:, 1] - best[:, 0] <= _NEAR * np.maximum(np.abs(best).max(axis=1), 1e-300))
