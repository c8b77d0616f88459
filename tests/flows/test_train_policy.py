"""The flow train-policy on a real Prefect server."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import State

from flows.train_policy import train_policy
from storage.store import open_store
from tasks.manual_promotion import registered_policies
from trading.bars import BarColumns, Timeframe
from trading.settings import Settings

pytestmark = pytest.mark.usefixtures("prefect_server")


@pytest.fixture
def settings(tmp_path: Path, market_that_reverts: Callable[..., BarColumns]) -> Settings:
    """Nine sessions of bars, and two folds of two."""
    with open_store(tmp_path / "ledger.duckdb") as store:
        store.bars_of(Timeframe.MINUTE_5).import_bars([market_that_reverts(sessions=9)])
    return Settings.model_validate(
        {
            "session": {"timeframe": "5min"},
            "store": {"path": tmp_path / "ledger.duckdb", "policies": tmp_path / "policies"},
            "train": {
                "name": "reverting",
                "features": [{"name": "return"}, {"name": "ema_distance", "parameters": {"bars": 3}}],
                "label": {"horizon_bars": 3},
                "walk_forward": {"folds": 2, "test_sessions": 2, "train_sessions": 4},
            },
        }
    )


def test_a_run_shows_each_fold_and_the_report(
    settings: Settings, artifacts: Callable[[State[Any]], dict[str, str]]
) -> None:
    state = train_policy(settings, return_state=True)
    assert state.is_completed(), state.message
    [record] = registered_policies(settings)
    page = artifacts(state)["train-policy"]
    assert f"# {record.fingerprint}" in page
    assert "## Fold 2: 2026-01-14 to 2026-01-15" in page
    assert "equity.png" in page
    run = FlowRunFilter(id=FlowRunFilterId(any_=[state.state_details.flow_run_id]))
    with get_client(sync_client=True) as client:
        names = {task.name for task in client.read_task_runs(flow_run_filter=run)}
    assert names >= {"fold 1, 2026-01-12 to 2026-01-13", "fold 2, 2026-01-14 to 2026-01-15", "fit and register"}


def test_a_run_that_cannot_train_fails_with_the_sentence(settings: Settings) -> None:
    few = {**settings.train.model_dump(), "last_date": "2026-01-07"}
    document = {**settings.model_dump(), "train": few}
    state = train_policy(Settings.model_validate(document), return_state=True)
    assert state.is_failed()
    assert "3 sessions are too few" in str(state.message)
    assert registered_policies(settings) == []
