"""What a trained policy costs in a session: features and decision of ten symbols on each bar, as the execution loop asks for them,
and the same of a whole history at once."""

import itertools
import statistics
import time
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from trading.bars import BarColumns, BarSlice, Timeframe
from trading.bundles.folder import Bundle, read_bundle, write_bundle
from trading.bundles.manifest import Golden, Manifest
from trading.bundles.network_file import Activation, Answers, Dense, Network, write_network
from trading.calendar import TradingCalendar
from trading.clocks.bar_clock import BarClock
from trading.features.feature_set import FeatureSet
from trading.features.spec import FEATURE_VERSION, FeatureSpec
from trading.feeds.synthetic import SyntheticFeed
from trading.market_window import LiveWindow
from trading.pnl_tracker import PnLTracker
from trading.policies.action_maps import answer_of
from trading.policies.bundle_policy import BundlePolicy, load_policy
from trading.policies.scorer_of import load_scorer
from trading.settings import Settings
from trading.training.estimators import fit_estimator, save_estimator

MILLISECONDS = 1_000.0
SYMBOLS = tuple(f"S{number}" for number in range(10))
BARS = 2_000
FIRST, LAST = date(2026, 1, 5), date(2026, 1, 14)
SPECS = [
    FeatureSpec(name=name, parameters=parameters)
    for name, parameters in (
        ("return", {"bars": 1}),
        ("return", {"bars": 5}),
        ("rsi", {"bars": 14}),
        ("ema_distance", {"bars": 20}),
        ("ema_spread", {"fast": 10, "slow": 30}),
        ("atr", {"bars": 14}),
        ("bollinger", {"bars": 20}),
        ("volume_zscore", {"bars": 20}),
        ("realised_volatility", {"bars": 30}),
        ("vwap_distance", {}),
        ("time_of_day", {}),
    )
]
FEATURES = FeatureSet(SPECS, Timeframe.MINUTE_1)
WORDS = np.array(["BUY", "HOLD", "SELL"])


@pytest.fixture(scope="module")
def market() -> dict[str, BarColumns]:
    """Eight synthetic sessions of ten symbols: a warmup and two thousand bars."""
    settings = Settings.model_validate({"session": {"symbols": SYMBOLS}})
    calendar = TradingCalendar("XNYS", FIRST)
    days = calendar.sessions_between(FIRST, LAST)
    feed = SyntheticFeed(settings.feed.synthetic, calendar, Timeframe.MINUTE_1, BarClock(days[0].opens_at))
    return {symbol: feed.history(symbol, days[0].opens_at, days[-1].closes_at) for symbol in SYMBOLS}


@pytest.fixture(scope="module")
def rows(market: dict[str, BarColumns]) -> NDArray[np.float64]:
    made = np.concatenate([FEATURES.history(bars) for bars in market.values()])
    return made[np.isfinite(made).all(axis=1)]


def network(_: NDArray[np.float64]) -> tuple[str, bytes]:
    """Two hidden layers of 64 and three actions, as stable-baselines3 makes them."""
    draw = np.random.default_rng(7)
    widths = (len(SPECS), 64, 64, 3)
    layers = tuple(
        Dense((draw.normal(size=(out, into)) / np.sqrt(into)).astype(np.float32), np.zeros(out, np.float32))
        for into, out in itertools.pairwise(widths)
    )
    return "arrays", write_network(Network(FEATURES.labels, Activation.TANH, Answers.PROBABILITIES, layers))


def estimator(name: str, **parameters: Any) -> Callable[[NDArray[np.float64]], tuple[str, bytes]]:
    def fitted(rows: NDArray[np.float64]) -> tuple[str, bytes]:
        some = rows[::5]
        noise = np.random.default_rng(3).normal(size=len(some))
        labels = WORDS[np.digitize(some[:, 0] / some[:, 0].std() + noise, [-0.5, 0.5])]
        return "skops", save_estimator(fit_estimator(name, parameters, some, labels), FEATURES.labels)

    return fitted


MODELS: dict[str, tuple[Callable[[NDArray[np.float64]], tuple[str, bytes]], float]] = {
    "MLP agent": (network, 2),
    "logistic regression": (estimator("logistic_regression"), 2),
    "forest of 100 trees": (estimator("random_forest", min_samples_leaf=20), 10),
    "boosting of 100 stages": (estimator("gradient_boosting", early_stopping=False), 10),
}
"""With the milliseconds that p99 of a bar may take."""


def bundle(name: str, rows: NDArray[np.float64], folder: Path) -> Bundle:
    """A whole bundle around the model, read back as a session reads it."""
    written_as, content = MODELS[name][0](rows)
    scorer = load_scorer(written_as, content)  # type: ignore[arg-type]
    observations = rows[:: max(len(rows) // 16, 1)]
    scores = scorer.score(observations)[0]
    manifest = Manifest.model_validate(
        {
            "kind": "ppo" if written_as == "arrays" else "classifier",
            "name": "bench",
            "version": "1",
            "created": "2026-01-02T22:00:00Z",
            "exchange": "XNYS",
            "timeframe": "1min",
            "trained": {
                "symbols": SYMBOLS,
                "first": "2025-12-01T14:30:00Z",
                "last": "2026-01-02T20:59:00Z",
                "bars": len(rows),
                "data_fingerprint": "synthetic",
            },
            "features": [spec.model_dump() for spec in SPECS],
            "feature_version": FEATURE_VERSION,
            "actions": {"kind": "choice", "actions": WORDS.tolist()},
            "weights": {"format": written_as, "file": f"model.{written_as}"},
            "files": {},
        }
    )
    golden = Golden(
        features=FEATURES.labels,
        observations=observations.tolist(),
        scores=scores.tolist(),
        actions=[answer_of(manifest.actions, row) for row in scores.tolist()],
    )
    return read_bundle(write_bundle(folder, manifest, content, golden).folder)


@pytest.mark.parametrize("name", MODELS)
def test_ten_symbols_of_each_bar(
    name: str, market: dict[str, BarColumns], rows: NDArray[np.float64], tmp_path: Path, figures: Any
) -> None:
    policy = load_policy(bundle(name, rows, tmp_path / "bundle"), Timeframe.MINUTE_1, "XNYS")
    window = LiveWindow(SYMBOLS, policy.warmup_bars, 1 << 28, timedelta(days=40))
    first = len(market[SYMBOLS[0]]) - BARS
    for bars in market.values():
        window.fill(bars.take(slice(0, first)))
    holdings = PnLTracker()
    taken = []
    for row in range(first, first + BARS):
        bars = {symbol: columns.bar(row) for symbol, columns in market.items()}
        window.advance(BarSlice(next(iter(bars.values())).bar_time, bars))
        started = time.perf_counter()
        signals = policy.decide(window, holdings)
        taken.append((time.perf_counter() - started) * MILLISECONDS)
        assert len(signals) == len(SYMBOLS)
    # The first bar seeds the streams from their warmup, once a session.
    seeded, *taken = taken
    percentiles = statistics.quantiles(taken, n=100)
    figures.add(f"{name}: features and decision of 10 symbols, p50", percentiles[49], "ms")
    figures.add(f"{name}: features and decision of 10 symbols, p99", percentiles[98], "ms", at_most=MODELS[name][1])
    figures.add(f"{name}: the first bar of a session", seeded, "ms")


@pytest.mark.parametrize("name", MODELS)
def test_a_whole_history(
    name: str, market: dict[str, BarColumns], rows: NDArray[np.float64], tmp_path: Path, figures: Any
) -> None:
    policy: BundlePolicy = load_policy(bundle(name, rows, tmp_path / "bundle"), Timeframe.MINUTE_1, "XNYS")
    started = time.perf_counter()
    decided = 0
    for bars in market.values():
        said = policy.decide_history(bars)
        assert said is not None
        decided += len(said.action)
    microseconds = (time.perf_counter() - started) / decided * MILLISECONDS * 1_000
    figures.add(f"{name}: features and decision in batch", microseconds, "us/bar")
