"""scikit-learn estimators in a session: loaded without pickle, and asked without scikit-learn's overhead where that is possible.

Scalers, linear models, dense networks and trees are computed with numpy (``compiled``). What that comes to is compared with
scikit-learn when the estimator is loaded; an estimator that differs, or is of another kind, is asked itself.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from trading.bundles.network_file import MAX_FEATURES
from trading.bundles.skops_files import read_estimator
from trading.errors import PolicyNotFit
from trading.policies.compiled_estimators import compile_estimator
from trading.policies.scoring import Rows, States
from trading.policies.tree_ensembles import Evaluate, check_trees

TOLERANCE = 1e-9
"""How much compiled answers may differ from those of scikit-learn, relative to the largest."""
_CANNOT = (ValueError, TypeError, LookupError, AttributeError, RuntimeError, ArithmeticError)


def load_estimator(content: bytes) -> "EstimatorScorer":
    """The estimator of a skops file as ``write_estimator`` makes it: a classifier with probabilities, or a regressor of one number.

    Raises ``PolicyNotFit`` for any other content, before anything of a type that is not trusted is made.
    """
    estimator = read_estimator(content)
    for part in parts_of(estimator):
        try:
            check_trees(part)
        except _CANNOT as error:
            raise PolicyNotFit(
                f"{type(part).__name__} of the estimator's file is not as it was fitted ({error})."
            ) from error
    obey_no_file(estimator)
    return EstimatorScorer(estimator, take_feature_names(estimator))


class EstimatorScorer:
    """A fitted estimator as a ``Scorer``: a column of probabilities for each class, or one column of predictions."""

    def __init__(self, estimator: Any, features: tuple[str, ...] = ()) -> None:
        from sklearn.base import is_classifier, is_regressor

        self._classifies = bool(is_classifier(estimator))
        if not self._classifies and not is_regressor(estimator):
            raise PolicyNotFit(f"{type(estimator).__name__} is no classifier and no regressor.")
        if self._classifies and not hasattr(estimator, "predict_proba"):
            raise PolicyNotFit(
                f"{_last(estimator)} says no probabilities. Fit it inside a CalibratedClassifierCV, or with a loss that has them."
            )
        fitted_on = getattr(estimator, "n_features_in_", None)
        if not isinstance(fitted_on, int) or not 0 < fitted_on <= MAX_FEATURES:
            raise PolicyNotFit(f"The estimator was fitted on {fitted_on} features; it needs 1 to {MAX_FEATURES}.")
        self._inputs: int = fitted_on
        if features and len(features) != self._inputs:
            raise PolicyNotFit(f"The estimator names {len(features)} features and was fitted on {self._inputs}.")
        self.features = features
        """Labels of the inputs in order; empty where it was fitted without."""
        self.classes: tuple[Any, ...] = tuple(np.asarray(estimator.classes_).tolist()) if self._classifies else ()
        """What the columns stand for, in order; empty for a regressor."""
        self._asked = _asked(estimator, self._classifies)
        self._outputs = len(self.classes) if self._classifies else 1
        probes = _probes(estimator, self._inputs)
        expected = self._answer_to(probes)
        self._evaluate = _proved(estimator, probes, expected)
        self.compiled = self._evaluate is not None
        """Whether numpy alone answers."""

    @property
    def inputs(self) -> int:
        return self._inputs

    @property
    def outputs(self) -> int:
        return self._outputs

    @property
    def state_size(self) -> int:
        return 0

    @property
    def are_probabilities(self) -> bool:
        return self._classifies

    def score(self, rows: Rows, states: States | None = None) -> tuple[Rows, States | None]:
        if rows.ndim != 2 or rows.shape[1] != self._inputs:
            raise ValueError(f"rows of {self._inputs} features are needed, not {rows.shape}")
        if len(rows) == 0:
            return np.empty((0, self._outputs)), None
        return (self._asked if self._evaluate is None else self._evaluate)(rows), None

    def _answer_to(self, probes: Rows) -> Rows:
        try:
            answers = self._asked(probes)
        except _CANNOT as error:
            raise PolicyNotFit(f"The estimator cannot be asked ({type(error).__name__}: {error}).") from error
        if answers.shape != (len(probes), self._outputs):
            raise PolicyNotFit(
                f"The estimator answers {answers.shape} to {len(probes)} rows; {self._outputs} columns are expected."
            )
        if not np.isfinite(answers).all():
            raise PolicyNotFit("The estimator answers with numbers that are not finite.")
        return answers


def parts_of(estimator: Any) -> Iterator[Any]:
    """An estimator and every object within it that has attributes, in lists, arrays and dictionaries too."""
    seen: set[int] = set()
    waiting = [estimator]
    while waiting:
        one = waiting.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        if isinstance(one, dict):
            waiting += one.values()
        elif isinstance(one, list | tuple | set):
            waiting += one
        elif isinstance(one, np.ndarray):
            waiting += one.ravel().tolist() if one.dtype == object else []
        elif hasattr(one, "__dict__") and not isinstance(one, type):
            yield one
            waiting += vars(one).values()


def obey_no_file(estimator: Any) -> None:
    """One thread and no chatter, whatever was saved: several threads are slower for the few rows of a bar."""
    for part in parts_of(estimator):
        if "n_jobs" in vars(part):
            part.n_jobs = 1
        if "verbose" in vars(part):
            part.verbose = 0


def take_feature_names(estimator: Any) -> tuple[str, ...]:
    """The labels that it was fitted with, taken off it and all its parts: they make it warn when it is asked with arrays."""
    names = tuple(str(name) for name in getattr(estimator, "feature_names_in_", ()))
    for part in parts_of(estimator):
        vars(part).pop("feature_names_in_", None)
    return names


def _asked(estimator: Any, classifies: bool) -> Evaluate:
    """scikit-learn's own answers."""

    def ask(rows: Rows) -> Rows:
        answers = estimator.predict_proba(rows) if classifies else estimator.predict(rows)
        return np.asarray(answers, dtype=np.float64).reshape(len(rows), -1)

    return ask


def _last(estimator: Any) -> str:
    return type(estimator.steps[-1][1] if hasattr(estimator, "steps") else estimator).__name__


def _proved(estimator: Any, probes: Rows, expected: Rows) -> Evaluate | None:
    """The compiled estimator where there is one that answers as scikit-learn does, else None."""
    try:
        evaluate = compile_estimator(estimator)
        found = expected if evaluate is None else evaluate(probes)
    except _CANNOT:
        return None  # It has answered itself, so it can be asked itself.
    scale = max(1.0, float(np.abs(expected).max()))
    agrees = found.shape == expected.shape and bool(np.abs(found - expected).max() <= TOLERANCE * scale)
    return evaluate if agrees else None


def _probes(estimator: Any, inputs: int) -> Rows:
    """Rows around where the estimator was fitted, as far as a scaler in it tells, and far from there."""
    centre, spread = np.zeros(inputs), np.ones(inputs)
    for part in parts_of(estimator):
        mean, scale = getattr(part, "mean_", None), getattr(part, "scale_", None)
        if (
            isinstance(mean, np.ndarray)
            and isinstance(scale, np.ndarray)
            and mean.shape == scale.shape == (inputs,)
            and mean.dtype == scale.dtype == np.float64
        ):
            centre, spread = mean, scale
    drawn = np.random.default_rng(0).normal(size=(24, inputs))
    near_and_far = np.concatenate([drawn[:16], 0.01 * drawn[16:20], 20 * drawn[20:]])
    return np.asarray(centre + spread * near_and_far, dtype=np.float64)
