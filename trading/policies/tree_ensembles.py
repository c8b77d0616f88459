"""Trees of scikit-learn as flat arrays: all trees are walked for all rows at once, one level at a time.

scikit-learn walks a forest tree by tree, with some 80 us of checks for each. Comparisons here are those of scikit-learn to the
bit: its trees and forests see float32, histogram gradient boosting float64, and a value on a threshold goes left.

Nothing in a file is believed: indices that lead out of a tree would crash scikit-learn itself, and are refused
(``check_trees``) before anything is asked.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trading.errors import PolicyNotFit
from trading.policies.networks import softmax
from trading.policies.scoring import Rows

_Floats = NDArray[np.float64]
_Indices = NDArray[np.intp]

LANES = 50_000
"""Pairs of a row and a tree that are walked at once, which bounds the memory."""
_SHALLOW = 6
"""Levels that all of them are walked down before the first are put aside."""


@dataclass(frozen=True, slots=True)
class Tree:
    """One tree, its root first. ``left`` and ``right`` are node numbers, -1 on leaves; ``values`` is (nodes x K)."""

    left: _Indices
    right: _Indices
    feature: _Indices
    threshold: _Floats
    values: _Floats

    def __post_init__(self) -> None:
        nodes = len(self.left)
        inner = self.left >= 0
        numbers = np.arange(nodes)[inner]
        # Children come after their parent in every tree that scikit-learn grows, so that no walk can go round in circles.
        sound = nodes > 0 and bool(
            # scikit-learn takes -1 alone for the mark of a leaf, and follows any other number.
            (self.left >= -1).all()
            and (self.right >= -1).all()
            and ((self.right >= 0) == inner).all()
            and (self.left[inner] > numbers).all()
            and (self.right[inner] > numbers).all()
            and (self.left[inner] < nodes).all()
            and (self.right[inner] < nodes).all()
            and np.isfinite(self.threshold[inner]).all()
            and np.isfinite(self.values).all()
        )
        if not sound:
            raise PolicyNotFit("A tree of the model leads nowhere: its nodes or numbers were changed after training.")

    @property
    def features(self) -> int:
        """Features that it needs a row to have."""
        inner = self.left >= 0
        if inner.any() and self.feature[inner].min() < 0:
            raise PolicyNotFit(
                "A tree of the model asks for a feature before the first: it was changed after training."
            )
        return int(self.feature[inner].max(initial=-1)) + 1


class Trees:
    """Many trees of the same kind, side by side."""

    def __init__(self, trees: list[Tree], single_precision: bool) -> None:
        self._single = single_precision
        layout = [_siblings_together(tree) for tree in trees]
        starts = np.cumsum([0] + [len(left) for left, *_ in layout])
        self._roots = starts[:-1].astype(np.intp)
        # A leaf is its own left child behind a threshold that no number exceeds: walking on from it stays there.
        self._left = np.concatenate([left + start for (left, *_), start in zip(layout, starts[:-1], strict=True)])
        self._feature = np.concatenate([feature for _, feature, _, _, _ in layout])
        self._threshold = np.concatenate([threshold for _, _, threshold, _, _ in layout])
        self._values = np.concatenate([values for _, _, _, values, _ in layout])
        self._depth = max(depth for *_, depth in layout)

    @property
    def count(self) -> int:
        return len(self._roots)

    @property
    def outputs(self) -> int:
        """Numbers that a leaf holds."""
        return int(self._values.shape[1])

    def leaves(self, rows: Rows) -> Iterator[tuple[slice, _Floats]]:
        """For blocks of rows: which, and the values of the leaves they come to (rows x trees x K)."""
        block = max(1, LANES // self.count)
        for start in range(0, len(rows), block):
            part = slice(start, min(start + block, len(rows)))
            yield part, self._values.take(self._walk(rows[part]), axis=0)

    def _walk(self, rows: Rows) -> _Indices:
        """Leaves of all rows in all trees, tree after tree, so that a tree's nodes stay in the cache for all rows."""
        seen = self._seen(rows)
        at = np.repeat(self._roots, len(rows))
        offset = np.tile(np.arange(len(rows), dtype=np.intp) * rows.shape[1], self.count)
        leaves, lanes = at, np.arange(len(at))
        for level in range(self._depth):
            # All indices are in range by construction; "clip" spares numpy a copy of each result to find that out.
            where = self._feature.take(at, mode="clip")
            where += offset
            right = seen.take(where, mode="clip") > self._threshold.take(at, mode="clip")
            at = self._left.take(at, mode="clip")
            at += right
            if level >= _SHALLOW and level % 3 == 0:
                # Most leaves are not as deep as the deepest: those that have arrived are put aside.
                going = self._left.take(at, mode="clip") != at
                if np.count_nonzero(going) < 0.7 * len(at):
                    leaves[lanes] = at
                    at, offset, lanes = at[going], offset[going], lanes[going]
        leaves[lanes] = at
        return leaves.reshape(self.count, len(rows)).T

    def _seen(self, rows: Rows) -> _Floats:
        if not self._single:
            return np.ascontiguousarray(rows).ravel()
        with np.errstate(over="ignore"):
            single = rows.astype(np.float32)
        if not np.isfinite(single).all():
            raise ValueError("a feature is too large for float32, which the trees compare in")
        return single.astype(np.float64).ravel()


Evaluate = Callable[[Rows], Rows]


def check_trees(part: Any) -> None:
    """Look at the trees of one estimator, not at those of estimators within it.

    Raises ``PolicyNotFit`` where one of them leads nowhere, or asks for more features or columns than it will be handed.
    """
    kind, own = type(part).__name__, vars(part)
    features = own.get("n_features_in_", 0)
    if not {"tree_", "estimators_", "_predictors"} & set(own):
        return  # Never fitted: the pattern that an ensemble's trees were made after.
    if kind in _SINGLE:
        _expect(tree_of(part.tree_).features <= features)
    elif kind in _FORESTS:
        _expect(all(type(one).__name__ in _SINGLE and one.n_features_in_ == features for one in part.estimators_))
    elif kind in _BOOSTING:
        grid = part.estimators_
        _expect(isinstance(grid, np.ndarray) and grid.ndim == 2 and grid.shape[1] == part.n_trees_per_iteration_)
        trees = grid.ravel()
        _expect(all(type(one).__name__ in _SINGLE and one.n_features_in_ == features for one in trees))
        _expect(all(one.tree_.value.shape[1:] == (1, 1) for one in trees))
    elif kind in _HIST_BOOSTING:
        _expect(all(hist_tree_of(tree).features <= features for stage in part._predictors for tree in stage))


def _expect(sound: bool) -> None:
    if not sound:
        raise PolicyNotFit("The model's trees do not go with its features: they were changed after training.")


def compile_ensemble(estimator: Any) -> Evaluate | None:
    """What ``predict_proba`` (classifiers) or ``predict`` (one column) answers, as a function of rows; None where it is no ensemble
    that can be compiled. Raises ``PolicyNotFit`` for trees that were changed.
    """
    kind = type(estimator).__name__
    if kind in _FORESTS:
        return _forest(estimator.estimators_)
    if kind in _SINGLE:
        return _forest([estimator])
    if kind in _BOOSTING:
        return _boosting(estimator)
    if kind in _HIST_BOOSTING:
        return _hist_boosting(estimator)
    return None


_FORESTS = {"RandomForestClassifier", "RandomForestRegressor", "ExtraTreesClassifier", "ExtraTreesRegressor"}
_SINGLE = {"DecisionTreeClassifier", "DecisionTreeRegressor", "ExtraTreeClassifier", "ExtraTreeRegressor"}
_BOOSTING = {"GradientBoostingClassifier", "GradientBoostingRegressor"}
_HIST_BOOSTING = {"HistGradientBoostingClassifier", "HistGradientBoostingRegressor"}


def _forest(fitted: list[Any]) -> Evaluate:
    trees = Trees([tree_of(tree.tree_) for tree in fitted], single_precision=True)

    def evaluate(rows: Rows) -> Rows:
        sums = np.empty((len(rows), trees.outputs))
        for part, leaves in trees.leaves(rows):
            leaves.sum(axis=1, out=sums[part])
        return sums / trees.count

    return evaluate


def _boosting(estimator: Any) -> Evaluate | None:
    grid = estimator.estimators_
    trees = Trees([tree_of(tree.tree_) for tree in grid.ravel()], single_precision=True)
    initial = estimator._raw_predict_init(np.zeros((1, estimator.n_features_in_), dtype=np.float32))[0]
    constant = estimator.init_ == "zero" or type(estimator.init_).__name__.startswith("Dummy")
    link = _link(estimator) if constant else None
    if link is None:
        return None
    return _boosted(trees, grid.shape[1], initial, estimator.learning_rate, link)


def _hist_boosting(estimator: Any) -> Evaluate | None:
    grid = estimator._predictors
    trees = Trees([hist_tree_of(tree) for stage in grid for tree in stage], single_precision=False)
    link = _link(estimator)
    if link is None:
        return None
    return _boosted(trees, len(grid[0]), np.ravel(estimator._baseline_prediction), 1.0, link)


def _boosted(trees: Trees, columns: int, initial: _Floats, rate: float, link: Evaluate) -> Evaluate:
    """Trees come stage by stage, one for each column."""

    def evaluate(rows: Rows) -> Rows:
        sums = np.empty((len(rows), columns))
        for part, leaves in trees.leaves(rows):
            sums[part] = leaves.reshape(len(leaves), -1, columns).sum(axis=1)
        return link(initial + rate * sums)

    return evaluate


def _link(estimator: Any) -> Evaluate | None:
    """From sums of trees to answers, by the loss that they were fitted to."""
    loss = estimator.loss
    if hasattr(estimator, "classes_"):
        if loss not in ("log_loss", "exponential"):
            return None
        if len(estimator.classes_) > 2:
            return softmax
        steepness = 2.0 if loss == "exponential" else 1.0
        return lambda sums: two_columns(steepness * sums[:, 0])
    if loss in ("poisson", "gamma"):
        return np.exp
    return (lambda sums: sums) if loss in ("squared_error", "absolute_error", "quantile", "huber") else None


def two_columns(logits: _Floats) -> Rows:
    """Probabilities of the first and the second class: ``1 / (1 + exp(-logit))`` is the second's, without an overflow."""
    small = np.exp(-np.abs(logits))
    second = np.where(logits >= 0, 1.0, small) / (1.0 + small)
    return np.stack([1.0 - second, second], axis=1)


def tree_of(tree: Any) -> Tree:
    """A ``sklearn.tree._tree.Tree`` (one output). Raises ``PolicyNotFit`` where it leads nowhere."""
    return Tree(
        tree.children_left.astype(np.intp), tree.children_right.astype(np.intp), tree.feature.astype(np.intp),
        tree.threshold.astype(np.float64), tree.value[:, 0, :].astype(np.float64),
    )  # fmt: skip


def hist_tree_of(predictor: Any) -> Tree:
    """A ``TreePredictor`` of histogram gradient boosting. Raises ``PolicyNotFit`` where it leads nowhere or has categories."""
    nodes = predictor.nodes
    inner = nodes["is_leaf"] == 0
    if (nodes["is_categorical"][inner] != 0).any():
        raise PolicyNotFit("A tree of the model splits by category; features are numbers here.")
    left, right = (np.where(inner, nodes[side].astype(np.int64), -1).astype(np.intp) for side in ("left", "right"))
    # A split between finite values and missing ones has an infinite threshold: every number goes left.
    threshold = np.where(np.isposinf(nodes["num_threshold"]), np.finfo(np.float64).max, nodes["num_threshold"])
    return Tree(
        left, right, nodes["feature_idx"].astype(np.intp), threshold, nodes["value"].astype(np.float64)[:, None]
    )


def _siblings_together(tree: Tree) -> tuple[_Indices, _Indices, _Floats, _Floats, int]:
    """(left, feature, threshold, values, depth) with nodes renumbered level by level, so that right is left + 1."""
    order, depth = [np.zeros(1, dtype=np.intp)], 0
    while (inner := order[-1][tree.left[order[-1]] >= 0]).size:
        order.append(np.stack([tree.left[inner], tree.right[inner]], axis=1).ravel())
        depth += 1
        if sum(map(len, order)) > len(tree.left):
            raise PolicyNotFit("A tree of the model has a node with two parents: it was changed after training.")
    old = np.concatenate(order)
    new = np.empty(len(tree.left), dtype=np.intp)
    new[old] = np.arange(len(old))
    is_inner = tree.left[old] >= 0
    left = np.where(is_inner, new[tree.left[old]], np.arange(len(old)))
    feature = np.where(is_inner, tree.feature[old], 0)
    threshold = np.where(is_inner, tree.threshold[old], np.inf)
    return left, feature, threshold, tree.values[old], depth
