"""scikit-learn estimators for training: pipelines offered by name, or one of one's own, fitted so that a session can load them."""

import copy
import difflib
import importlib
import inspect
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from trading.bundles.skops_files import write_estimator
from trading.errors import ConfigurationError, PolicyNotFit

Rows = NDArray[np.float64]
Labels = NDArray[Any]

_SCALED: Mapping[str, tuple[str, str, Mapping[str, Any]]] = {
    "logistic_regression": ("sklearn.linear_model", "LogisticRegression", {"max_iter": 1_000}),
    "mlp": ("sklearn.neural_network", "MLPClassifier", {"hidden_layer_sizes": (64, 64), "early_stopping": True}),
    "ridge": ("sklearn.linear_model", "Ridge", {}),
    "mlp_regressor": (
        "sklearn.neural_network",
        "MLPRegressor",
        {"hidden_layer_sizes": (64, 64), "early_stopping": True},
    ),
}
_LEAVES = {"n_estimators": 100, "min_samples_leaf": 50}
_PLAIN: Mapping[str, tuple[str, str, Mapping[str, Any]]] = {
    "random_forest": ("sklearn.ensemble", "RandomForestClassifier", _LEAVES),
    "extra_trees": ("sklearn.ensemble", "ExtraTreesClassifier", _LEAVES),
    "gradient_boosting": ("sklearn.ensemble", "HistGradientBoostingClassifier", {"early_stopping": True}),
    "random_forest_regressor": ("sklearn.ensemble", "RandomForestRegressor", _LEAVES),
    "extra_trees_regressor": ("sklearn.ensemble", "ExtraTreesRegressor", _LEAVES),
    "gradient_boosting_regressor": ("sklearn.ensemble", "HistGradientBoostingRegressor", {"early_stopping": True}),
}
ESTIMATORS = tuple(sorted({*_SCALED, *_PLAIN}))
"""Names that ``make_estimator`` knows. Those of linear models and networks are pipelines with a ``StandardScaler`` before the model."""


def make_estimator(name: str, parameters: Mapping[str, Any], seed: int) -> Any:
    """An unfitted estimator: one of ``ESTIMATORS``, or what ``module:function`` returns when it is called with ``parameters``.

    Every part that draws lots gets the seed, unless its own ``random_state`` is set. Raises ``ConfigurationError`` for a name or a
    parameter that there is not.
    """
    estimator = _own(name, parameters) if ":" in name else _offered(name, parameters)
    draws = {
        key: seed
        for key, value in estimator.get_params().items()
        if key.split("__")[-1] == "random_state" and value is None
    }
    return estimator.set_params(**draws)


def fit_estimator(
    name: str,
    parameters: Mapping[str, Any],
    rows: Rows,
    labels: Labels,
    *,
    weights: Rows | None = None,
    seed: int = 0,
    later: tuple[Rows, Labels] | None = None,
) -> Any:
    """``make_estimator``, fitted on rows (N x F) and labels (N): words or whole numbers for a classifier, floats for a regressor.

    ``weights`` (N) says how much a row counts. ``later``: rows and labels after those, purged, on which estimators that can (gradient
    boosting) see when to stop; without them they stop by rows drawn from ``rows``, whose labels overlap with their
    neighbours', and so stop late. Raises ``ConfigurationError`` where they do not go together, are not finite, or where
    the estimator cannot be fitted on them.
    """
    if (
        rows.ndim != 2
        or len(rows) == 0
        or labels.shape != (len(rows),)
        or (weights is not None and weights.shape != labels.shape)
    ):
        raise ConfigurationError(f"Rows {rows.shape} and labels {labels.shape} do not go together, or there are none.")
    if not np.isfinite(rows).all():
        raise ConfigurationError("Rows to fit on must be finite; leave out those in which a feature is not warm yet.")
    estimator = make_estimator(name, parameters, seed)
    try:
        return estimator.fit(rows, labels, **_weighted(estimator, weights), **_stopped_by(estimator, later))
    except (ValueError, TypeError) as error:
        raise ConfigurationError(f"{name} cannot be fitted with these parameters and labels: {error}") from error


def save_estimator(estimator: Any, features: Sequence[str]) -> bytes:
    """The fitted estimator as a skops file that carries the labels of its inputs; the same estimator is the same bytes.

    Raises ``ConfigurationError`` when the labels are not as many as its inputs, or when no session would load it.
    """
    if len(features) != estimator.n_features_in_:
        raise ConfigurationError(
            f"The estimator was fitted on {estimator.n_features_in_} features, not on {len(features)}."
        )
    labelled = copy.deepcopy(estimator)
    first = labelled
    while hasattr(first, "steps"):
        # A pipeline has the names of its first step.
        first = first.steps[0][1]
    first.feature_names_in_ = np.array(features, dtype=object)
    try:
        return write_estimator(labelled)
    except PolicyNotFit as error:
        raise ConfigurationError(f"No session would load this estimator. {error}") from error


def _offered(name: str, parameters: Mapping[str, Any]) -> Any:
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import StandardScaler

    if name not in ESTIMATORS:
        near = difflib.get_close_matches(name, ESTIMATORS, n=1)
        raise ConfigurationError(
            f"There is no estimator {name}"
            + (f"; did you mean {near[0]}?" if near else f"; there are {', '.join(ESTIMATORS)}.")
        )
    module, kind, defaults = {**_SCALED, **_PLAIN}[name]
    chosen = getattr(importlib.import_module(module), kind)
    known = inspect.signature(chosen.__init__).parameters
    for key in parameters:
        if key not in known or key == "self":
            near = difflib.get_close_matches(key, known, n=1)
            raise ConfigurationError(f"{name} has no parameter {key}" + (f"; did you mean {near[0]}?" if near else "."))
    # TOML and JSON have lists where scikit-learn wants tuples.
    given = {key: tuple(value) if isinstance(value, list) else value for key, value in parameters.items()}
    model = chosen(**{**defaults, **given})
    return Pipeline([("scale", StandardScaler()), ("model", model)]) if name in _SCALED else model


def _own(path: str, parameters: Mapping[str, Any]) -> Any:
    module, _, function = path.partition(":")
    try:
        made = getattr(importlib.import_module(module), function)(**parameters)
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise ConfigurationError(f"{path} did not return an estimator: {error}") from error
    if not hasattr(made, "fit") or not hasattr(made, "get_params"):
        raise ConfigurationError(f"{path} returned {type(made).__name__}, which is no scikit-learn estimator.")
    return made


def _weighted(estimator: Any, weights: Rows | None) -> dict[str, Rows]:
    """Weights under the name by which the estimator takes them: a pipeline hands them to its last step."""
    if weights is None:
        return {}
    prefix = f"{estimator.steps[-1][0]}__" if hasattr(estimator, "steps") else ""
    last = estimator.steps[-1][1] if hasattr(estimator, "steps") else estimator
    if "sample_weight" not in inspect.signature(last.fit).parameters:
        raise ConfigurationError(
            f"{type(last).__name__} takes no weights. Train without them, or with another estimator."
        )
    return {f"{prefix}sample_weight": weights}


def _stopped_by(estimator: Any, later: tuple[Rows, Labels] | None) -> dict[str, Any]:
    if later is None or "X_val" not in inspect.signature(estimator.fit).parameters or not estimator.early_stopping:
        return {}
    return {"X_val": later[0], "y_val": later[1]}


Kind = Literal["classifier", "regressor"]


def kind_of(estimator: Any) -> Kind:
    """What the bundle calls it. Raises ``ConfigurationError`` where it is neither."""
    from sklearn.base import is_classifier, is_regressor

    if is_classifier(estimator):
        return "classifier"
    if is_regressor(estimator):
        return "regressor"
    raise ConfigurationError(f"{type(estimator).__name__} is no classifier and no regressor.")
