"""Fixtures that several rooms share: one Prefect server for the whole suite, and a quiet Prefect."""

import os
import tempfile
from collections.abc import Iterator

import pytest

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
