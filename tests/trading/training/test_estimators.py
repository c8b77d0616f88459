"""Estimators by name and of one's own: fitted the same each time, and loadable by a session."""

import sys
import types
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from trading.errors import ConfigurationError
from trading.policies.scorer_of import load_scorer
from trading.training.estimators import ESTIMATORS, fit_estimator, kind_of, make_estimator, save_estimator
from trading.training.model_quality import calibration, feature_importance

DRAW = np.random.default_rng(31)
ROWS = DRAW.normal(size=(400, 3))
WORDS = np.where(ROWS[:, 1] + 0.5 * DRAW.normal(size=400) > 0, "BUY", "SELL")
NUMBERS = ROWS[:, 1] + 0.1 * DRAW.normal(size=400)
WEIGHTS = DRAW.uniform(0.5, 1.5, size=400)
FEATURES = ("returns(bars=1)", "rsi(bars=14)", "hour")
SMALLER: dict[str, dict[str, Any]] = {
    "mlp": {"hidden_layer_sizes": [8], "max_iter": 500},
    "mlp_regressor": {"hidden_layer_sizes": [8], "max_iter": 500},
}


def labels_of(name: str) -> NDArray[Any]:
    return NUMBERS if name.endswith("_regressor") or name == "ridge" else WORDS


@pytest.mark.parametrize("name", ESTIMATORS)
def test_every_estimator_offered_is_fitted_saved_and_loaded_alike_each_time(name: str) -> None:
    labels, parameters = labels_of(name), SMALLER.get(name, {})
    fitted = [fit_estimator(name, parameters, ROWS, labels, weights=WEIGHTS, seed=5) for _ in range(2)]
    first, second = (save_estimator(estimator, FEATURES) for estimator in fitted)
    assert first == second
    scorer: Any = load_scorer("skops", first)
    expected = fitted[0].predict_proba(ROWS) if labels is WORDS else fitted[0].predict(ROWS)[:, None]
    assert np.abs(scorer.score(ROWS)[0] - expected).max() <= 1e-12
    assert scorer.compiled
    assert scorer.features == FEATURES
    assert kind_of(fitted[0]) == ("classifier" if labels is WORDS else "regressor")


def test_weights_count() -> None:
    # All rows that say SELL count nothing, but for one: almost everything is a BUY then.
    weights = np.where(WORDS == "BUY", 1.0, 1e-9)
    fitted = fit_estimator("logistic_regression", {}, ROWS, WORDS, weights=weights)
    assert (fitted.predict(ROWS) == "BUY").mean() > 0.99
    assert 0.3 < (fit_estimator("logistic_regression", {}, ROWS, WORDS).predict(ROWS) == "BUY").mean() < 0.7


def test_parameters_reach_the_model() -> None:
    assert len(fit_estimator("random_forest", {"n_estimators": 7}, ROWS, WORDS).estimators_) == 7
    assert make_estimator("mlp", {"hidden_layer_sizes": [5, 4]}, 0).steps[-1][1].hidden_layer_sizes == (5, 4)


def test_the_seed_reaches_what_draws_lots() -> None:
    assert make_estimator("mlp", {}, 11).steps[-1][1].random_state == 11
    assert make_estimator("mlp", {"random_state": 3}, 11).steps[-1][1].random_state == 3


def test_boosting_stops_by_the_rows_that_come_later() -> None:
    # Later labels say nothing: no stage helps there, and it stops as soon as it may (10 stages without a gain).
    later = (ROWS[:100], np.random.default_rng(1).choice(["BUY", "SELL"], 100))
    stopped = fit_estimator("gradient_boosting", {"n_iter_no_change": 10}, ROWS, WORDS, later=later)
    assert stopped.n_iter_ < 20
    alone = fit_estimator("gradient_boosting", {"n_iter_no_change": 10}, ROWS, WORDS)
    assert alone.n_iter_ > stopped.n_iter_
    assert fit_estimator("logistic_regression", {}, ROWS, WORDS, later=later).n_features_in_ == 3


@pytest.fixture
def own_models() -> Iterator[str]:
    """A module of a quant's own, importable as own_models."""
    module = types.ModuleType("own_models")
    module.__dict__["regularised"] = lambda strength: make_pipeline(StandardScaler(), LogisticRegression(C=strength))
    module.__dict__["nothing"] = lambda: 5
    sys.modules["own_models"] = module
    yield "own_models"
    del sys.modules["own_models"]


def test_an_estimator_of_ones_own(own_models: str) -> None:
    fitted = fit_estimator(f"{own_models}:regularised", {"strength": 0.125}, ROWS, WORDS)
    assert fitted.steps[-1][1].C == 0.125
    assert load_scorer("skops", save_estimator(fitted, FEATURES)).outputs == 2


@pytest.mark.parametrize(
    ("name", "parameters", "reason"),
    [
        ("random_forrest", {}, "There is no estimator random_forrest; did you mean random_forest"),
        ("oracle", {}, "There is no estimator oracle; there are extra_trees, "),
        ("random_forest", {"n_estimatrs": 5}, "random_forest has no parameter n_estimatrs; did you mean n_estimators"),
        ("random_forest", {"n_estimators": -5}, "random_forest cannot be fitted with these parameters"),
        ("own_models:missing", {}, "own_models:missing did not return an estimator"),
        ("no_such_module:model", {}, "no_such_module:model did not return an estimator"),
        ("own_models:regularised", {"width": 5}, "own_models:regularised did not return an estimator"),
        ("own_models:nothing", {}, "own_models:nothing returned int, which is no scikit-learn estimator"),
    ],
)
@pytest.mark.usefixtures("own_models")
def test_what_cannot_be_fitted_is_refused(name: str, parameters: dict[str, Any], reason: str) -> None:
    with pytest.raises(ConfigurationError, match=reason):
        fit_estimator(name, parameters, ROWS, WORDS)


def test_rows_that_do_not_go_together_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="do not go together"):
        fit_estimator("ridge", {}, ROWS, NUMBERS[1:])
    with pytest.raises(ConfigurationError, match="must be finite"):
        fit_estimator("ridge", {}, np.full_like(ROWS, np.nan), NUMBERS)
    with pytest.raises(ConfigurationError, match="fitted on 3 features, not on 2"):
        save_estimator(fit_estimator("ridge", {}, ROWS, NUMBERS), FEATURES[:2])


def test_an_estimator_that_no_session_would_load_is_not_saved() -> None:
    with pytest.raises(
        ConfigurationError, match=r"No session would load this estimator\. .*not trusted: sklearn\.svm\._classes\.SVC"
    ):
        save_estimator(SVC().fit(ROWS, WORDS), FEATURES)


def test_saving_leaves_the_estimator_as_it_was() -> None:
    fitted = HistGradientBoostingClassifier(max_iter=2).fit(ROWS, WORDS)
    save_estimator(fitted, FEATURES)
    assert not hasattr(fitted, "feature_names_in_")


def test_calibration_by_hand() -> None:
    # Two bins: (0.1, 0.3) of which neither came true, and (0.6, 1.0) of which one did.
    # Brier: (0.01 + 0.09 + 0.36 + 0.00) / 4 = 0.115.
    found = calibration(np.array([0.6, 0.1, 1.0, 0.3]), np.array([False, False, True, False]), bins=2)
    assert found.predicted == (pytest.approx(0.2), pytest.approx(0.8))
    assert found.observed == (0.0, 0.5)
    assert found.rows == (2, 2)
    assert found.brier == pytest.approx(0.115)


def test_calibration_of_fewer_rows_than_bins_has_a_bin_for_each() -> None:
    assert calibration(np.array([0.5]), np.array([True])).rows == (1,)
    with pytest.raises(ConfigurationError, match="do not go together"):
        calibration(np.zeros(0), np.zeros(0, dtype=np.bool_))
    with pytest.raises(ConfigurationError, match="between 0 and 1"):
        calibration(np.array([1.5]), np.array([True]))


def test_the_feature_that_labels_come_from_matters_most() -> None:
    fitted = fit_estimator("ridge", {}, ROWS[:300], NUMBERS[:300])
    importances = feature_importance(fitted, FEATURES, ROWS[300:], NUMBERS[300:], seed=2)
    assert importances[0].feature == "rsi(bars=14)"
    assert importances[0].mean > 0.5
    assert abs(importances[1].mean) < 0.05
    assert importances == feature_importance(fitted, FEATURES, ROWS[300:], NUMBERS[300:], seed=2)
