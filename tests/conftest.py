"""Fixtures that several rooms share: one Prefect server for the whole suite, a quiet Prefect, and facts of trained policies."""

import os
import tempfile
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from trading.bars import BarColumns
    from trading.policy_records import BundleFacts

# Before anything imports Prefect: no telemetry, and a home of its own so that a person's profile stays untouched.
os.environ["DO_NOT_TRACK"] = "1"
os.environ["PREFECT_SERVER_ANALYTICS_ENABLED"] = "false"
os.environ["PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL"] = "WARNING"
os.environ["PREFECT_HOME"] = tempfile.mkdtemp(prefix="openbell-prefect-")
os.environ.pop("PREFECT_API_URL", None)
os.environ.pop("PREFECT_PROFILE", None)


@pytest.fixture(scope="session")
def prefect_server() -> Iterator[str]:
    """The address of a real Prefect server with a database of its own; ``PREFECT_API_URL`` points there meanwhile."""
    from prefect.settings import PREFECT_API_URL
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=90):
        address = PREFECT_API_URL.value()
        os.environ["PREFECT_API_URL"] = address
        try:
            yield address
        finally:
            del os.environ["PREFECT_API_URL"]


@pytest.fixture(scope="session")
def bundle_facts() -> "Callable[..., BundleFacts]":
    """Makes what a bundle says of itself: ``digits`` begin its fingerprint, ``until`` is the newest bar that it has seen."""
    from trading.bundles.manifest import Manifest
    from trading.policy_records import BundleFacts

    def make(
        digits: str = "0",
        name: str = "trend",
        until: str = "2026-01-02T20:59:00Z",
        created: str = "2026-01-02T22:00:00Z",
        metrics: "dict[str, Any] | None" = None,
        path: Path = Path("/bundles/trend"),
        **other: Any,
    ) -> BundleFacts:
        document = {
            "kind": "classifier",
            "name": name,
            "version": "1",
            "created": created,
            "exchange": "XNYS",
            "timeframe": "1min",
            "trained": {
                "symbols": ["SPY"],
                "first": "2025-12-01T14:30:00Z",
                "last": until,
                "bars": 8_000,
                "data_fingerprint": "d",
            },
            "features": [{"name": "rsi", "parameters": {"bars": 14}}],
            "feature_version": 1,
            "actions": {"kind": "choice", "actions": ["HOLD", "BUY", "SELL"]},
            "weights": {"format": "skops", "file": "model.skops"},
            "lineage": {"settings": {"folds": 5}, "code_version": "1.0", "seed": 7},
            "files": {"model.skops": "0" * 64},
        }
        manifest = Manifest.model_validate({**document, **other})
        return BundleFacts(f"{name}@{digits.ljust(16, '0')}", manifest, path, metrics or {})

    return make


@pytest.fixture(scope="session")
def bundle_that_says() -> "Callable[..., BundleFacts]":
    """Writes a whole bundle whose model says one word on every bar of SPY, and tells of it as it is registered."""
    import numpy as np

    from trading.bundles.folder import write_bundle
    from trading.bundles.manifest import Golden, Manifest
    from trading.bundles.network_file import Activation, Answers, Dense, Network, write_network
    from trading.features.spec import FEATURE_VERSION
    from trading.policy_records import BundleFacts

    def write(
        folder: Path,
        word: str,
        name: str = "stubborn",
        until: str = "2026-01-02T20:59:00Z",
        created: str = "2026-01-03T00:00:00Z",
    ) -> BundleFacts:
        labels, words = ("return(bars=1)",), ("BUY", "SELL", "HOLD")
        scores = tuple(2.0 if one == word else 1.0 for one in words)
        network = Network(
            labels, Activation.TANH, Answers.VALUES, (Dense(np.zeros((3, 1)), np.array(scores, dtype=np.float64)),)
        )
        manifest = Manifest.model_validate(
            {
                "kind": "dqn",
                "name": name,
                "version": "1",
                "created": created,
                "exchange": "XNYS",
                "timeframe": "1min",
                "trained": {
                    "symbols": ["SPY"],
                    "first": "2025-12-01T14:30:00Z",
                    "last": until,
                    "bars": 8_000,
                    "data_fingerprint": "d",
                },
                "features": [{"name": "return", "parameters": {"bars": 1}}],
                "feature_version": FEATURE_VERSION,
                "actions": {"kind": "choice", "actions": words},
                "weights": {"format": "arrays", "file": "actor.npz"},
                "files": {},
            }
        )
        golden = Golden.model_validate(
            {"features": labels, "observations": ((0.01,),), "scores": (scores,), "actions": (word,)}
        )
        written = write_bundle(folder, manifest, write_network(network), golden)
        return BundleFacts(written.fingerprint, written.manifest, written.folder)

    return write


@pytest.fixture
def market_that_reverts() -> "Callable[..., BarColumns]":
    """Makes 5-minute bars of whole sessions from 2026-01-05 on.

    ``pull`` is the part of its distance from 100 that the logarithm of the price loses with each bar: with 0 it is a random walk, of
    which nothing can be learned. A bar opens where the one before closed. ``step`` is the deviation of a bar's return.
    """
    import numpy as np

    from trading.bars import BarColumns, to_epoch_us
    from trading.calendar import TradingCalendar

    def make(
        sessions: int = 20, pull: float = 0.3, step: float = 0.002, seed: int = 1, symbol: str = "SPY"
    ) -> BarColumns:
        calendar = TradingCalendar("XNYS", date(2026, 1, 5))
        hours = calendar.sessions_between(date(2026, 1, 5), date(2026, 12, 31))[:sessions]
        times = np.concatenate([to_epoch_us(one.opens_at) + 300_000_000 * np.arange(78) for one in hours])
        noise = np.random.default_rng(seed).normal(0.0, step, len(times))
        away = [0.0]
        for one in noise.tolist():
            away.append((1.0 - pull) * away[-1] + one)
        prices = np.round(100 * np.exp(away), 2)
        opens, closes = ((1_000_000 * side).round().astype(np.int64) for side in (prices[:-1], prices[1:]))
        high, low = np.maximum(opens, closes), np.minimum(opens, closes)
        return BarColumns(symbol, times, opens, high, low, closes, np.full(len(times), 10_000, dtype=np.int64))

    return make
