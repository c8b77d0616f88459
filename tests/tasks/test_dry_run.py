"""A session that does everything but send, on copies of ledger and simulated account."""

import hashlib
from pathlib import Path
from typing import Any

import pytest

from storage.questions import ask
from storage.store import open_store
from tasks.composition import assemble
from tasks.dry_run_copies import is_dry_run, settings_of_dry_run
from trading.errors import ConfigurationError, SessionHeld
from trading.sessions import SessionState
from trading.settings import Settings


def quick(folder: Path, policy: str = "buy_and_hold", **sections: Any) -> Settings:
    """A session of 13 bars on the invented market, which holds what it has over night."""
    document = {
        "session": {"timeframe": "30min"},
        "store": {"path": folder / "l.duckdb"},
        "policy": {"name": policy},
        "closing": {"hold_overnight": True},
    }
    return Settings.model_validate(document | sections)


def contents(folder: Path) -> dict[str, str]:
    """What every file that is no dry run's says."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.iterdir())
        if ".dry-run" not in path.name
    }


def statuses(folder: Path) -> list[tuple[Any, ...]]:
    question = "select status, detail, count(*) from order_events group by all order by 3 desc"
    return list(ask(folder / "l.dry-run.duckdb", question).rows)


def test_every_order_is_written_down_and_none_is_sent(tmp_path: Path) -> None:
    with assemble(quick(tmp_path), None, dry_run=True) as desk:
        summary = desk.agent.run_session()
    assert (summary.state, summary.bars, summary.fills) == (SessionState.COMPLETED, 13, 0)
    assert summary.orders > 0
    rejected = [row for row in statuses(tmp_path) if row[0] == "REJECTED"]
    assert rejected == [("REJECTED", "dry run: not sent", summary.orders)]


def test_ledger_and_account_stay_as_they_are_to_the_byte(tmp_path: Path) -> None:
    with assemble(quick(tmp_path), None) as desk:
        assert desk.agent.run_session().fills == 1
    before = contents(tmp_path)
    with assemble(quick(tmp_path, "flat"), None, dry_run=True) as desk:
        summary = desk.agent.run_session()
    assert contents(tmp_path) == before
    # It knows what the account holds: that is what it would have sold on Tuesday, at every bar anew.
    assert (summary.fills, summary.discrepancies) == (0, 0)
    assert summary.orders >= 1
    held = ask(tmp_path / "l.dry-run.duckdb", "select count(*) from positions").rows
    assert held == ((1,),)


def test_each_dry_run_begins_with_the_ledger_as_it_is_now(tmp_path: Path) -> None:
    with assemble(quick(tmp_path), None, dry_run=True) as desk:
        first = desk.agent.run_session().session_id
    with assemble(quick(tmp_path), None, dry_run=True) as desk:
        # The first run has left nothing: the day can be run again.
        assert desk.agent.run_session().session_id == first
    with assemble(quick(tmp_path), None) as desk:
        desk.agent.run_session()
    with assemble(quick(tmp_path), None, dry_run=True) as desk:
        assert desk.agent.session_id > first


def test_a_session_may_trade_the_ledger_meanwhile(tmp_path: Path) -> None:
    with assemble(quick(tmp_path), None) as trading:
        trading.agent.open_session()
        with assemble(quick(tmp_path, "flat"), None, dry_run=True) as dry:
            assert dry.agent.run_session().state is SessionState.COMPLETED
        assert trading.agent.run_session().fills == 1


def test_two_dry_runs_of_a_ledger_exclude_each_other(tmp_path: Path) -> None:
    with (
        assemble(quick(tmp_path), None, dry_run=True) as desk,
        pytest.raises(SessionHeld, match="Another dry run is at work"),
        assemble(quick(tmp_path), None, dry_run=True),
    ):
        desk.agent.open_session()
    with assemble(quick(tmp_path), None, dry_run=True) as desk:
        assert desk.agent.run_session().state is SessionState.COMPLETED


def test_a_named_account_file_is_copied_too(tmp_path: Path) -> None:
    settings = quick(tmp_path, broker={"paper": {"path": tmp_path / "mine.sqlite"}})
    with assemble(settings, None) as desk:
        desk.agent.run_session()
    before = contents(tmp_path)
    with assemble(settings, None, dry_run=True) as desk:
        desk.agent.run_session()
    assert contents(tmp_path) == before
    assert (tmp_path / "mine.dry-run.sqlite").exists()


def test_a_dry_run_of_a_dry_run_is_refused(tmp_path: Path) -> None:
    acting = settings_of_dry_run(quick(tmp_path))
    assert acting.store.path == tmp_path / "l.dry-run.duckdb"
    assert is_dry_run(acting.store.path)
    with pytest.raises(ConfigurationError, match="copy of a dry run itself"), assemble(acting, None, dry_run=True):
        pass


def test_halts_of_the_ledger_hold_in_a_dry_run(tmp_path: Path) -> None:
    from datetime import UTC, datetime

    from trading.decisions import Halt
    from trading.errors import Halted

    with open_store(tmp_path / "l.duckdb") as store:
        store.ledger.record_halt(Halt("all", "fat finger", datetime(2026, 1, 5, tzinfo=UTC)))
    with assemble(quick(tmp_path), None, dry_run=True) as desk, pytest.raises(Halted, match="fat finger"):
        desk.agent.open_session()
