"""Fitting a classifier or a regressor of scikit-learn on rows of the training data, and on nothing else."""

import inspect
from collections.abc import Sequence
from datetime import date
from importlib.metadata import version
from typing import Any

import numpy as np

from trading.bundles.manifest import Bands, Choice, Weights
from trading.decisions import Action
from trading.errors import ConfigurationError
from trading.training.estimators import fit_estimator, kind_of, make_estimator, save_estimator
from trading.training.fitted_models import Answers, FittedModel
from trading.training.labels import BUY, HOLD, SELL
from trading.training.model_quality import Importance, feature_importance
from trading.training.training_data import WORDS, Rows, RowsBySymbol, TrainingData

_GOLDEN_FROM_ROWS = 20_000
"""Rows that golden samples are chosen from: so many that a rare decision is among them."""
_IMPORTANCE_ROWS = 2_000
"""Unseen rows of a fold that importances are taken on."""


def fit_on(data: TrainingData, rows: RowsBySymbol, dates: Sequence[date]) -> FittedModel:
    """The estimator of the settings, fitted on the trainable ones of ``rows``, which lie in the sessions of ``dates``.

    Whatever scales is part of the estimator and fitted with it. Raises ``ConfigurationError`` where it cannot be fitted.
    """
    train = data.train
    rows = data.trainable(rows)
    count = sum(map(len, rows.values()))
    if not count:
        raise ConfigurationError(
            f"There is no bar to train on from {dates[0]} to {dates[-1]}: none has both a label and all its features. Give more sessions, "
            "a shorter label, or features that are warm earlier."
        )
    classifies = train.kind == "classifier"
    unfitted = make_estimator(train.estimator_name, train.parameters, train.seed)
    if kind_of(unfitted) != train.kind:
        raise ConfigurationError(f"{train.estimator_name} is a {kind_of(unfitted)}, and train.kind is {train.kind}.")
    parts = data.held_out(rows, dates) if _stops_by_later_rows(unfitted) else None
    seen, values, sides = data.pooled(rows if parts is None else parts[0])
    labels = sides if classifies else values
    if classifies and len(np.unique(sides)) < 2:
        raise ConfigurationError(
            f"All {len(sides):,} labels from {dates[0]} to {dates[-1]} are {WORDS[int(sides[0])]}: there is nothing to tell apart. Make "
            "train.label.band_fraction smaller, or the horizon longer."
        )
    later = None
    if parts is not None:
        later_seen, later_values, later_sides = data.pooled(parts[1])
        known = np.isin(later_sides, sides) if classifies else np.ones(len(later_seen), dtype=np.bool_)
        if known.any():
            later = (later_seen[known], (later_sides if classifies else later_values)[known])
    estimator = fit_estimator(train.estimator_name, train.parameters, seen, labels, seed=train.seed, later=later)
    actions: Choice | Bands = (
        Choice(actions=tuple(Action(WORDS[int(side)]) for side in estimator.classes_))
        if classifies
        else Bands(sell_below=train.sell_below_fraction, buy_above=train.buy_above_fraction)
    )
    return FittedModel(
        kind=train.kind,
        weights=Weights(format="skops", file="model.skops"),
        content=save_estimator(estimator, data.features.labels),
        actions=actions,
        scaling=None,
        requires={"scikit-learn": version("scikit-learn")},
        libraries={name: version(name) for name in ("scikit-learn", "skops", "scipy", "numpy")},
        labels=data.features.labels,
        answer=lambda asked: _answers(estimator, actions, asked),
        samples=_sampled(data.pooled(rows)[0], _GOLDEN_FROM_ROWS),
        rows=count,
        estimator=estimator,
    )


def probabilities(model: FittedModel, rows: Rows) -> dict[int, Rows]:
    """For BUY and SELL (in the codes of labels) the probability that a classifier gives each row; 0 for one that it never saw."""
    assert isinstance(model.actions, Choice)
    said = np.asarray(model.estimator.predict_proba(rows), dtype=np.float64) if len(rows) else np.empty((0, 0))
    columns = {word: place for place, word in enumerate(model.actions.actions)}
    return {
        side: said[:, columns[Action(WORDS[side])]]
        if Action(WORDS[side]) in columns and len(rows)
        else np.zeros(len(rows))
        for side in (BUY, SELL)
    }


def importance_on(data: TrainingData, model: FittedModel, rows: RowsBySymbol) -> tuple[Importance, ...]:
    """Permutation importance on rows that it was not fitted on; empty where none of them has a label."""
    seen, values, sides = data.pooled(data.trainable(rows))
    if not len(seen):
        return ()
    labels = sides if model.kind == "classifier" else values
    both = _sampled(np.column_stack([seen, labels.astype(np.float64)]), _IMPORTANCE_ROWS)
    told = both[:, -1].astype(np.int64) if model.kind == "classifier" else both[:, -1]
    return feature_importance(model.estimator, model.labels, both[:, :-1], told, seed=data.train.seed, repeats=3)


def _stops_by_later_rows(estimator: Any) -> bool:
    """Whether ``fit_estimator`` shows it rows to stop by; any other would only lose them."""
    stops = getattr(estimator, "early_stopping", False) is True
    return stops and "X_val" in inspect.signature(estimator.fit).parameters


def _sampled(rows: Rows, most: int) -> Rows:
    """At most so many of the rows, spread evenly."""
    taken = np.unique(np.linspace(0, len(rows) - 1, min(len(rows), most)).round().astype(np.int64))
    return rows[taken]


def _answers(estimator: Any, actions: Choice | Bands, rows: Rows) -> Answers:
    if isinstance(actions, Choice):
        scores = np.asarray(estimator.predict_proba(rows), dtype=np.float64)
        words = tuple(Action(str(actions.actions[column])) for column in scores.argmax(axis=1).tolist())
        return Answers(scores, words)
    predicted = np.asarray(estimator.predict(rows), dtype=np.float64).reshape(-1, 1)
    codes = np.where(
        predicted[:, 0] > actions.buy_above, BUY, np.where(predicted[:, 0] < actions.sell_below, SELL, HOLD)
    )
    return Answers(predicted, tuple(Action(WORDS[code]) for code in codes.tolist()))
