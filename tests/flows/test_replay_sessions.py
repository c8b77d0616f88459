"""The flow replay-sessions on a real Prefect server."""

from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import State

from flows.replay_sessions import replay_sessions
from storage.store import open_store
from trading.bars import BarColumns, Timeframe
from trading.settings import Settings

pytestmark = pytest.mark.usefixtures("prefect_server")


def test_a_run_shows_each_month_its_progress_and_its_page(
    tmp_path: Path,
    market_that_reverts: Callable[..., BarColumns],
    artifacts: Callable[[State[Any]], dict[str, Any]],
) -> None:
    with open_store(tmp_path / "ledger.duckdb") as store:
        store.bars_of(Timeframe.MINUTE_5).import_bars([market_that_reverts(sessions=25)])
    settings = Settings.model_validate(
        {
            "session": {"timeframe": "5min"},
            "policy": {"parameters": {"fast": 3, "slow": 8}},
            "store": {"path": tmp_path / "ledger.duckdb"},
        }
    )
    state = replay_sessions(settings, date(2026, 1, 26), None, "replay-mine", return_state=True)
    assert state.is_completed(), state.message
    answer = state.result()
    assert answer["sessions"] == 11
    found = artifacts(state)
    assert found["replay-progress"] == 100
    assert "# Replay replay-mine" in found["replay"]
    assert "traded 11 sessions from 2026-01-26 to 2026-02-09" in found["replay"]
    assert "![Equity and drawdown](data:image/png;base64," in found["replay"]
    assert "2026-02-09" in str(found["replay-sessions"])
    run = FlowRunFilter(id=FlowRunFilterId(any_=[state.state_details.flow_run_id]))
    with get_client(sync_client=True) as client:
        names = {task.name for task in client.read_task_runs(flow_run_filter=run)}
    assert names == {"bars and policy", "2026-01", "2026-02", "publish"}

    refused = replay_sessions(settings, date(2026, 1, 31), date(2026, 2, 1), return_state=True)
    assert refused.is_failed()
    assert "no session from 2026-01-31 to 2026-02-01" in str(refused.message)
