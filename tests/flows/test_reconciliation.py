"""The reconciliation flow on a real Prefect server: what it does, how it ends, what a person finds there."""

from pathlib import Path
from typing import Any

import duckdb
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State

from flows.reconciliation import reconciliation
from tasks.composition import assemble
from trading.errors import Unreconciled
from trading.settings import Settings, parse_settings

pytestmark = pytest.mark.usefixtures("prefect_server")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Those of a session that was just traded."""
    made = parse_settings(
        {
            "session": {"timeframe": "30min", "symbols": ["AAA"]},
            "policy": {"name": "buy_and_hold"},
            "closing": {"hold_overnight": True},  # one order and one fill, to lose
            "feed": {"kind": "synthetic"},
            "store": {"path": str(tmp_path / "ledger.duckdb")},
        },
        "the test",
    )
    with assemble(made, None) as desk:
        desk.agent.run_session()
    return made


def lose_all_fills(settings: Settings) -> None:
    with duckdb.connect(str(settings.store.path)) as connection:
        connection.execute("DELETE FROM fills")
        connection.execute("UPDATE orders SET status = 'ACCEPTED', filled_quantity = 0")


def artifacts(state: State[Any]) -> dict[str, dict[str, Any]]:
    with get_client(sync_client=True) as client:
        body = {"artifacts": {"flow_run_id": {"any_": [str(state.state_details.flow_run_id)]}}}
        found: list[dict[str, Any]] = client.request("POST", "/artifacts/filter", json=body).json()
    return {one["key"]: one for one in found}


def test_the_flow_compares_and_then_repairs(settings: Settings) -> None:
    agreed = reconciliation(settings, return_state=True)
    assert agreed.is_completed()
    lose_all_fills(settings)

    compared = reconciliation(settings, return_state=True)
    assert (compared.name, compared.is_failed()) == ("Unreconciled", True)
    shown = artifacts(compared)
    assert "missing_fill" in shown["reconciliation-discrepancies"]["data"]
    assert "1 differences between ledger and broker, 0 repairs, 1 left" in shown["reconciliation"]["data"]

    repaired = reconciliation(settings, account="synthetic", repair=True, return_state=True)
    assert repaired.is_completed()
    assert "booked BUY" in artifacts(repaired)["reconciliation"]["data"]
    with duckdb.connect(str(settings.store.path), read_only=True) as connection:
        assert connection.execute("SELECT count(*) FROM fills").fetchall() == [(1,)]


def test_a_broker_that_does_not_answer_fails_the_flow_with_words(settings: Settings) -> None:
    settings.store.path.with_name("ledger.synthetic.sqlite").unlink()
    state = reconciliation(settings, return_state=True)
    assert state.is_failed()
    assert "says nothing about what is held" in str(state.message)
    assert isinstance(state.result(raise_on_failure=False), Unreconciled)
