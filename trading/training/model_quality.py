"""How good an estimator's answers are on rows that it was not fitted on: calibration of its probabilities, and what it looks at."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trading.errors import ConfigurationError

Rows = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Calibration:
    """What probabilities promise of one class and what came true, in bins of equally many rows.

    ``predicted`` and ``observed`` are means per bin (fractions), ``rows`` its size; ``brier`` is the mean squared difference of
    probability and outcome over all rows (0 is perfect; always saying the base rate b gives b x (1 - b)).
    """

    predicted: tuple[float, ...]
    observed: tuple[float, ...]
    rows: tuple[int, ...]
    brier: float


def calibration(probabilities: Rows, happened: NDArray[np.bool_], bins: int = 10) -> Calibration:
    """Calibration of the probabilities (N) of one class, where ``happened`` (N) says whether it was that class.

    Raises ``ConfigurationError`` without rows, or where a probability is outside of 0 to 1.
    """
    if probabilities.shape != happened.shape or probabilities.ndim != 1 or len(probabilities) == 0:
        raise ConfigurationError(
            f"Probabilities {probabilities.shape} and outcomes {happened.shape} do not go together."
        )
    if not ((probabilities >= 0) & (probabilities <= 1)).all():
        raise ConfigurationError("Probabilities are between 0 and 1.")
    order = np.argsort(probabilities, kind="stable")
    parts = [part for part in np.array_split(order, bins) if len(part)]
    came = happened.astype(np.float64)
    return Calibration(
        predicted=tuple(float(probabilities[part].mean()) for part in parts),
        observed=tuple(float(came[part].mean()) for part in parts),
        rows=tuple(len(part) for part in parts),
        brier=float(np.mean((probabilities - came) ** 2)),
    )


@dataclass(frozen=True, slots=True)
class Importance:
    """How much worse the score gets when a feature's values are shuffled among the rows: mean and deviation over repeats.

    The score is that of the estimator: accuracy for a classifier, R2 for a regressor. About zero: the model does without it.
    """

    feature: str
    mean: float
    deviation: float


def feature_importance(
    estimator: Any, features: Sequence[str], rows: Rows, labels: NDArray[Any], *, seed: int, repeats: int = 5
) -> tuple[Importance, ...]:
    """Permutation importances on unseen rows, most important first; of correlated features each hides the other's."""
    from sklearn.inspection import permutation_importance

    if rows.shape[1:] != (len(features),):
        raise ConfigurationError(f"Rows of {len(features)} features are needed, not {rows.shape}.")
    found = permutation_importance(estimator, rows, labels, n_repeats=repeats, random_state=seed, n_jobs=1)
    importances = [
        Importance(feature, float(mean), float(deviation))
        for feature, mean, deviation in zip(features, found.importances_mean, found.importances_std, strict=True)
    ]
    return tuple(sorted(importances, key=lambda one: (-one.mean, one.feature)))
