"""Fitted estimators as arithmetic on arrays: scalers, linear models and dense networks; trees are in ``tree_ensembles``.

Each does what scikit-learn does, in the same order, without its checks of every call (240 us for a logistic regression).
"""

import warnings
from typing import Any

import numpy as np

from trading.bundles.network_file import Activation
from trading.policies.networks import BLOCK, DenseLayers, softmax
from trading.policies.scoring import Rows
from trading.policies.tree_ensembles import Evaluate, compile_ensemble, two_columns

_LINEAR_REGRESSORS = frozenset(
    {
        "LinearRegression",
        "Ridge",
        "RidgeCV",
        "Lasso",
        "LassoCV",
        "ElasticNet",
        "ElasticNetCV",
        "BayesianRidge",
        "ARDRegression",
    }
    | {
        "HuberRegressor",
        "QuantileRegressor",
        "SGDRegressor",
        "LinearSVR",
        "Lars",
        "LarsCV",
        "LassoLars",
        "LassoLarsCV",
        "LassoLarsIC",
    }
)


def compile_estimator(estimator: Any) -> Evaluate | None:
    """The estimator as arithmetic on arrays; None where a part of it has no such form."""
    steps = [step for _, step in estimator.steps] if type(estimator).__name__ == "Pipeline" else [estimator]
    *before, last = steps
    scalers = [_scaler(step) for step in before if step not in (None, "passthrough")]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        final = _linear(last) or _network(last) or compile_ensemble(last)
    if final is None or None in scalers:
        return None
    if not scalers:
        return final

    def evaluate(rows: Rows) -> Rows:
        for scale in scalers:
            rows = scale(rows)  # type: ignore[misc]
        return final(rows)

    return evaluate


def _scaler(step: Any) -> Evaluate | None:
    kind = type(step).__name__
    if kind == "StandardScaler":
        return _shifted(step.mean_ if step.with_mean else None, step.scale_ if step.with_std else None)
    if kind == "RobustScaler":
        return _shifted(step.center_ if step.with_centering else None, step.scale_ if step.with_scaling else None)
    if kind == "MaxAbsScaler" and not getattr(step, "clip", False):
        return _shifted(None, step.scale_)
    if kind == "MinMaxScaler" and not step.clip:
        return lambda rows: rows * step.scale_ + step.min_
    return None


def _shifted(centre: Rows | None, spread: Rows | None) -> Evaluate:
    """As scikit-learn computes it, in the same order, so that trees behind it see the same bits."""

    def scale(rows: Rows) -> Rows:
        rows = rows if centre is None else rows - centre
        return rows if spread is None else rows / spread

    return scale


def _linear(model: Any) -> Evaluate | None:
    kind, finish = type(model).__name__, _unchanged
    if kind in _LINEAR_REGRESSORS:
        pass
    elif kind in ("LogisticRegression", "LogisticRegressionCV") or (
        kind == "SGDClassifier" and model.loss == "log_loss"
    ):
        binary = len(model.classes_) == 2
        if kind == "SGDClassifier" and not binary:
            return None
        finish = _two_classes if binary else softmax
    else:
        return None
    weights = np.ascontiguousarray(np.atleast_2d(model.coef_).T, dtype=np.float64)
    constant = np.ravel(np.asarray(model.intercept_, dtype=np.float64))
    return lambda rows: finish(rows @ weights + constant)


def _network(model: Any) -> Evaluate | None:
    if type(model).__name__ not in ("MLPClassifier", "MLPRegressor") or model.activation not in tuple(Activation):
        return None
    finishes: dict[str, Evaluate] = {"softmax": softmax, "logistic": _two_classes, "identity": _unchanged}
    finish = finishes.get(model.out_activation_)
    if finish is None or (model.out_activation_ == "logistic" and len(model.classes_) != 2):
        return None
    layers = DenseLayers(
        [np.asarray(weight, dtype=np.float64) for weight in model.coefs_],
        [np.asarray(bias, dtype=np.float64) for bias in model.intercepts_],
        Activation(model.activation),
    )

    def evaluate(rows: Rows) -> Rows:
        if len(rows) <= BLOCK:
            return finish(layers(rows))
        return np.concatenate([finish(layers(rows[start : start + BLOCK])) for start in range(0, len(rows), BLOCK)])

    return evaluate


def _unchanged(sums: Rows) -> Rows:
    return sums


def _two_classes(sums: Rows) -> Rows:
    return two_columns(sums[:, 0])
