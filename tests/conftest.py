"""Fixtures that several rooms share: one Prefect server for the whole suite, a quiet Prefect, and facts of trained policies."""

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
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


@pytest.fixture
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
