"""Compiled trees answer as scikit-learn does: between thresholds, exactly on them, and one bit beside them."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.linear_model import LogisticRegression
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from trading.errors import PolicyNotFit
from trading.policies.tree_ensembles import Tree, Trees, compile_ensemble, two_columns

Rows = NDArray[np.float64]

DRAW = np.random.default_rng(17)
ROWS = DRAW.normal(size=(600, 5)) * [1.0, 100.0, 0.001, 1.0, 10.0]
NOISE = DRAW.normal(size=600)
TWO = np.where(ROWS[:, 0] + NOISE > 0, "BUY", "SELL")
THREE = np.where(np.abs(NOISE) < 0.3, "HOLD", TWO)
NUMBERS = ROWS[:, 0] + 0.5 * NOISE

ENSEMBLES: dict[str, tuple[Any, NDArray[Any]]] = {
    "tree": (DecisionTreeClassifier(random_state=1), THREE),
    "tree of one leaf": (DecisionTreeClassifier(min_samples_leaf=600), TWO),
    "regression tree": (DecisionTreeRegressor(max_depth=6, random_state=1), NUMBERS),
    "forest": (RandomForestClassifier(30, random_state=1), THREE),
    "forest of stumps": (RandomForestClassifier(30, max_depth=1, random_state=1), TWO),
    "regression forest": (RandomForestRegressor(20, random_state=1), NUMBERS),
    "extra trees": (ExtraTreesClassifier(30, random_state=1), TWO),
    "extra regression trees": (ExtraTreesRegressor(20, min_samples_leaf=5, random_state=1), NUMBERS),
    "boosting of two": (GradientBoostingClassifier(n_estimators=20, random_state=1), TWO),
    "boosting of three": (GradientBoostingClassifier(n_estimators=10, random_state=1), THREE),
    "exponential boosting": (GradientBoostingClassifier(n_estimators=20, loss="exponential", random_state=1), TWO),
    "boosting from zero": (GradientBoostingClassifier(n_estimators=10, init="zero", random_state=1), TWO),
    "regression boosting": (GradientBoostingRegressor(n_estimators=20, random_state=1), NUMBERS),
    "quantile boosting": (GradientBoostingRegressor(n_estimators=20, loss="quantile", random_state=1), NUMBERS),
    "huber boosting": (GradientBoostingRegressor(n_estimators=20, loss="huber", random_state=1), NUMBERS),
    "hist boosting of two": (HistGradientBoostingClassifier(max_iter=20, random_state=1), TWO),
    "hist boosting of three": (HistGradientBoostingClassifier(max_iter=15, random_state=1), THREE),
    "hist regression": (HistGradientBoostingRegressor(max_iter=20, random_state=1), NUMBERS),
    "hist of absolute errors": (HistGradientBoostingRegressor(max_iter=10, loss="absolute_error"), NUMBERS),
    "hist poisson": (HistGradientBoostingRegressor(max_iter=15, loss="poisson"), np.abs(NUMBERS)),
    "hist gamma": (HistGradientBoostingRegressor(max_iter=15, loss="gamma"), np.abs(NUMBERS) + 0.1),
}


def answers(estimator: Any, rows: Rows) -> Rows:
    if hasattr(estimator, "predict_proba"):
        return np.asarray(estimator.predict_proba(rows))
    return np.asarray(estimator.predict(rows))[:, None]


def thresholds(estimator: Any) -> Rows:
    """Of every split."""
    if hasattr(estimator, "_predictors"):
        nodes = np.concatenate([tree.nodes for stage in estimator._predictors for tree in stage])
        return np.asarray(nodes["num_threshold"][nodes["is_leaf"] == 0])
    trees = np.ravel(estimator.estimators_) if hasattr(estimator, "estimators_") else [estimator]
    return np.concatenate([tree.tree_.threshold[tree.tree_.children_left >= 0] for tree in trees])


def telling_rows(estimator: Any) -> Rows:
    """Rows anywhere, rows made of thresholds, and rows one bit above and below thresholds, in both precisions."""
    draw = np.random.default_rng(23)
    anywhere = draw.normal(size=(500, 5)) * [1.0, 100.0, 0.001, 1.0, 10.0]
    splits = thresholds(estimator)
    if not len(splits):
        return anywhere
    on = draw.choice(splits, size=(500, 5))
    single = on.astype(np.float32)
    around = [np.nextafter(on, sign * np.inf) for sign in (-1, 1)]
    around_single = [np.nextafter(single, np.float32(sign * np.inf)).astype(np.float64) for sign in (-1, 1)]
    return np.concatenate([anywhere, on, single.astype(np.float64), *around, *around_single])


@pytest.mark.parametrize(("estimator", "labels"), ENSEMBLES.values(), ids=ENSEMBLES)
def test_compiled_trees_answer_as_scikit_learn_does(estimator: Any, labels: NDArray[Any]) -> None:
    estimator.fit(ROWS, labels)
    evaluate = compile_ensemble(estimator)
    assert evaluate is not None
    rows = telling_rows(estimator)
    assert np.abs(evaluate(rows) - answers(estimator, rows)).max() <= 1e-12
    alone = np.concatenate([evaluate(rows[number : number + 1]) for number in range(0, len(rows), 50)])
    assert np.abs(alone - evaluate(rows)[::50]).max() <= 1e-12


def test_a_tree_by_hand() -> None:
    # x0 <= 1: 10; else x1 <= -2: 20, else 30. Nodes are not in the order of their levels.
    tree = Tree(
        left=np.array([1, -1, 3, -1, -1]), right=np.array([2, -1, 4, -1, -1]), feature=np.array([0, -2, 1, -2, -2]),
        threshold=np.array([1.0, -2, -2.0, -2, -2]), values=np.array([[0.0], [10], [0], [20], [30]]),
    )  # fmt: skip
    rows = np.array([[1.0, 9], [1.1, -2], [1.1, -1.9], [-5, -5]])
    [(part, leaves)] = Trees([tree, tree], single_precision=False).leaves(rows)
    assert part == slice(0, 4)
    assert leaves.tolist() == [[[10.0], [10.0]], [[20.0], [20.0]], [[30.0], [30.0]], [[10.0], [10.0]]]


def test_probabilities_of_two_classes_far_from_zero() -> None:
    # 1 / (1 + exp(-ln 3)) = 3/4; at +-2000 exp would overflow.
    found = two_columns(np.array([np.log(3.0), 2_000.0, -2_000.0]))
    assert found == pytest.approx(np.array([[0.25, 0.75], [0.0, 1.0], [1.0, 0.0]]))


def test_what_is_no_ensemble_is_not_compiled() -> None:
    assert compile_ensemble(LogisticRegression().fit(ROWS, TWO)) is None


def test_boosting_that_starts_from_another_model_is_not_compiled() -> None:
    boosting = GradientBoostingClassifier(n_estimators=3, init=LogisticRegression(max_iter=5_000)).fit(ROWS[:, :1], TWO)
    assert compile_ensemble(boosting) is None


def test_a_number_beyond_float32_is_an_error_as_in_scikit_learn() -> None:
    evaluate = compile_ensemble(DecisionTreeClassifier(max_depth=2).fit(ROWS, TWO))
    assert evaluate is not None
    with pytest.raises(ValueError, match="too large for float32"):
        evaluate(np.full((1, 5), 1e39))


STEP: dict[str, tuple[list[int], list[int], list[float]]] = {
    "a child outside of the tree": ([1, -1, -1], [7, -1, -1], [0.0, 0, 0]),
    "a child before its parent": ([1, 0, -1], [2, 2, -1], [0.0, 0, 0]),
    "a leaf that is not marked as one": ([1, -7, -1], [2, -1, -1], [0.0, 0, 0]),
    "one child only": ([1, -1, -1], [-1, -1, -1], [0.0, 0, 0]),
    "a threshold that is no number": ([1, -1, -1], [2, -1, -1], [float("nan"), 0, 0]),
    "no nodes": ([], [], []),
}


@pytest.mark.parametrize(("left", "right", "threshold"), STEP.values(), ids=STEP)
def test_trees_that_lead_nowhere_are_refused(left: list[int], right: list[int], threshold: list[float]) -> None:
    with pytest.raises(PolicyNotFit, match="leads nowhere"):
        Tree(
            np.array(left, dtype=np.intp), np.array(right, dtype=np.intp), np.zeros(len(left), dtype=np.intp),
            np.array(threshold, dtype=np.float64), np.ones((len(left), 1)),
        )  # fmt: skip


def test_a_node_with_two_parents_is_refused() -> None:
    tree = Tree(
        left=np.array([1, 2, -1]), right=np.array([2, 2, -1]), feature=np.zeros(3, dtype=np.intp),
        threshold=np.zeros(3), values=np.ones((3, 1)),
    )  # fmt: skip
    with pytest.raises(PolicyNotFit, match="two parents"):
        Trees([tree], single_precision=True)
