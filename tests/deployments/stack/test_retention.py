"""What Prefect's server keeps and how long, read as the server reads it."""

import asyncio
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from uuid import uuid4

import pytest
from prefect.settings import PREFECT_HOME, Settings, temporary_settings

from deployments.stack.retention import retention_settings


def test_the_server_understands_what_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in retention_settings().items():
        monkeypatch.setenv(name, value)
    server = Settings().server
    vacuum = server.services.db_vacuum
    assert vacuum.enabled_vacuum_types == {"events", "flow_runs", "orphans"}
    assert server.events.retention_period == timedelta(days=7)
    assert vacuum.retention_period == timedelta(days=60)
    assert vacuum.event_retention_overrides == {"prefect.flow-run.heartbeat": timedelta(days=1)}
    assert vacuum.loop_seconds == 3600
    assert vacuum.batch_size == 100


def test_a_server_that_is_started_again_knows_who_holds_slots(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in retention_settings().items():
        monkeypatch.setenv(name, value)
    storage = import_module(Settings().server.concurrency.lease_storage).ConcurrencyLeaseStorage
    with temporary_settings(updates={PREFECT_HOME: tmp_path}):
        held = asyncio.run(storage().create_lease([uuid4()], timedelta(seconds=60)))
        # Another process has another one of these.
        assert asyncio.run(storage().read_lease(held.id)) is not None
