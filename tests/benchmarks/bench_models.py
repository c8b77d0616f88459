"""What a decision of a trained model costs: ten symbols of one bar, and a whole replay at once. Rows of features are at hand."""

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from trading.bundles.network_file import Activation, Answers, Dense, Lstm, Network, write_network
from trading.policies.scorer_of import load_scorer
from trading.policies.scoring import Scorer
from trading.training.estimators import fit_estimator, save_estimator

MILLISECONDS, MICROSECONDS = 1_000.0, 1_000_000.0
FEATURES = tuple(f"feature{number}" for number in range(20))
SYMBOLS, BARS = 10, 2_000
REPLAY_ROWS = 980_000
DRAW = np.random.default_rng(7)
HISTORY = DRAW.normal(size=(20_000, len(FEATURES)))
LABELS = np.array(["BUY", "HOLD", "SELL"])[np.digitize(HISTORY[:, 0] + DRAW.normal(size=len(HISTORY)), [-0.5, 0.5])]


def floats(*shape: int) -> NDArray[np.float32]:
    return (DRAW.normal(size=shape) / np.sqrt(shape[-1])).astype(np.float32)


def actor(lstm: int = 0) -> Scorer:
    """Two hidden layers of 64 and three actions, as stable-baselines3 makes them; with ``lstm`` so many recurrent neurons before."""
    first = lstm or len(FEATURES)
    layers = tuple(Dense(floats(out, into), floats(out)) for into, out in ((first, 64), (64, 64), (64, 3)))
    cells = (Lstm(floats(4 * lstm, len(FEATURES)), floats(4 * lstm, lstm), floats(4 * lstm)),) if lstm else ()
    return load_scorer(
        "arrays", write_network(Network(FEATURES, Activation.TANH, Answers.PROBABILITIES, layers, cells))
    )


def fitted(name: str, **parameters: Any) -> Callable[[], Scorer]:
    return lambda: load_scorer("skops", save_estimator(fit_estimator(name, parameters, HISTORY, LABELS), FEATURES))


MODELS: dict[str, tuple[Callable[[], Scorer], float | None]] = {
    "MLP agent": (actor, 2),
    "recurrent agent, 256 neurons": (lambda: actor(256), None),
    "logistic regression": (fitted("logistic_regression"), 2),
    "forest of 100 trees": (fitted("random_forest", min_samples_leaf=20), 10),
    "forest of 100 full trees": (fitted("random_forest", min_samples_leaf=1), 10),
    "boosting of 100 stages": (fitted("gradient_boosting", early_stopping=False), 10),
    "mlp of scikit-learn": (fitted("mlp", max_iter=5, early_stopping=False), None),
}
"""With the milliseconds that p99 of a bar may take."""


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_ten_symbols_of_one_bar(name: str, figures: Any) -> None:
    make, at_most = MODELS[name]
    scorer = make()
    rows = DRAW.normal(size=(BARS, SYMBOLS, len(FEATURES)))
    taken, states = [], None
    for bar in rows:
        started = time.perf_counter()
        scores, states = scorer.score(bar, states)
        taken.append((time.perf_counter() - started) * MILLISECONDS)
        assert scores.shape == (SYMBOLS, 3)
    note = f"{SYMBOLS} symbols, {len(FEATURES)} features, {BARS:,} bars"
    figures.add(f"{name}, a bar, p99", statistics.quantiles(taken, n=100)[98], "ms", at_most=at_most, note=note)
    figures.add(f"{name}, a bar, median", statistics.median(taken), "ms")


def test_one_row_of_an_mlp_agent(figures: Any) -> None:
    scorer, rows, taken = actor(), DRAW.normal(size=(BARS, 1, len(FEATURES))), []
    for row in rows:
        started = time.perf_counter()
        scorer.score(row)
        taken.append((time.perf_counter() - started) * MICROSECONDS)
    figures.add("MLP agent, one row, median", statistics.median(taken), "us", at_most=15)


def test_a_replay_at_once(figures: Any) -> None:
    rows = DRAW.normal(size=(REPLAY_ROWS, len(FEATURES)))
    scorer = actor()
    started = time.perf_counter()
    scores, _ = scorer.score(rows)
    taken = time.perf_counter() - started
    assert scores.shape == (REPLAY_ROWS, 3)
    figures.add("MLP agent, decisions of a replay", taken, "s", at_most=3, note="98,000 bars x 10 symbols")
    for name in ("logistic regression", "forest of 100 trees", "boosting of 100 stages"):
        scorer = MODELS[name][0]()
        some = rows[:20_000]
        started = time.perf_counter()
        scorer.score(some)
        figures.add(f"{name}, many rows", (time.perf_counter() - started) * MICROSECONDS / len(some), "us/row")
