"""How long Prefect's server keeps things, read as the server reads it."""

from datetime import timedelta

import pytest
from prefect.settings import Settings

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
