"""The flow that keeps the house, on a real Prefect server: a backup each night, and what is old gone from disk and server."""

import os
import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from prefect import flow, tags, task
from prefect.artifacts import create_markdown_artifact
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.states import Scheduled

from flows.housekeeping import housekeeping
from storage.backups_kept import backups_in
from storage.store import open_store
from tasks.backing_up import back_up
from tasks.dry_run_copies import settings_of_dry_run
from tasks.old_runs import remove_old_runs
from trading.settings import Settings, parse_settings

pytestmark = pytest.mark.usefixtures("prefect_server")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    made = parse_settings({"store": {"path": str(tmp_path / "ledger.duckdb")}}, "the test")
    with open_store(made.store.path):
        pass
    return made


def leave_copies(settings: Settings, days_old: float) -> list[Path]:
    """What a dry run left so long ago."""
    copy = settings_of_dry_run(settings).store.path
    left = [copy, copy.with_name(f"{copy.name}.lock"), copy.with_name("ledger.dry-run.paper.sqlite")]
    for file in left:
        file.write_bytes(b"x" * 1000)
        at = (datetime.now(UTC) - timedelta(days=days_old)).timestamp()
        os.utime(file, (at, at))
    return left


def test_a_night_makes_a_backup_and_takes_away_what_is_old(
    settings: Settings, tmp_path: Path, artifacts: Callable[[State[Any]], dict[str, str]]
) -> None:
    now = datetime.now(UTC)
    for days in (400, 40):
        back_up(settings, None, now - timedelta(days=days))
    copies = leave_copies(settings, 8)
    account = tmp_path / "ledger.paper.sqlite"
    sqlite3.connect(account).close()

    looked = housekeeping(True, settings=settings, most_runs=0, return_state=True)
    assert looked.is_completed()
    shown = artifacts(looked)["housekeeping"]
    assert "would be removed" in shown
    assert "ledger.dry-run.duckdb" in shown
    assert len(backups_in(tmp_path / "backups")) == 2
    assert all(file.exists() for file in copies)

    done = housekeeping(False, backups_kept_weeks=7, settings=settings, most_runs=0, return_state=True)
    assert done.is_completed()
    older, newest = backups_in(tmp_path / "backups").values()
    assert newest.made_at >= now  # tonight's
    assert timedelta(days=39) < now - older.made_at < timedelta(days=41)  # of the sixth week before
    assert not any(file.exists() for file in copies)
    assert account.exists()
    shown = artifacts(done)["housekeeping"]
    assert "made" in shown
    assert "copy of a dry run" in shown


def test_a_backup_that_fails_takes_away_no_other(settings: Settings, tmp_path: Path) -> None:
    old = back_up(settings, None, datetime.now(UTC) - timedelta(days=400)).folder
    newer = back_up(settings, None, datetime.now(UTC) - timedelta(days=300)).folder
    settings.store.path.write_text("no database any more")
    done = housekeeping(settings=settings, most_runs=0, return_state=True)
    assert (done.is_failed(), done.name) == (True, "NoBackup")
    assert "not a DuckDB database" in str(done.message)
    assert list(backups_in(tmp_path / "backups")) == [old, newer]


@task
def something() -> None:
    create_markdown_artifact("a page", key="old-run-of-a-test")


@flow(name="old-run-of-a-test")
def a_run() -> None:
    something()


def counts(run: UUID) -> tuple[int, int, int]:
    """Flow runs, task runs and artifacts that the server has of a run."""
    with get_client(sync_client=True) as client:

        def count(path: Any, body: dict[str, Any]) -> int:
            answer = client.request("POST", path, json=body)
            answer.raise_for_status()
            return int(answer.json())

        one = {"flow_runs": {"id": {"any_": [str(run)]}}}
        return (
            count("/flow_runs/count", one),
            count("/task_runs/count", one),
            count("/artifacts/count", {"artifacts": {"flow_run_id": {"any_": [str(run)]}}}),
        )


def test_old_runs_of_ours_go_with_what_belongs_to_them() -> None:
    tag = f"ours-{uuid4().hex}"  # other tests' runs stay
    with tags(tag):
        mine = a_run(return_state=True).state_details.flow_run_id
    others = a_run(return_state=True).state_details.flow_run_id
    with get_client(sync_client=True) as client:
        asked = datetime.now(UTC) - timedelta(days=90)
        waiting = client.create_flow_run(a_run, state=Scheduled(scheduled_time=asked), tags=[tag]).id
        assert mine is not None
        assert others is not None
        assert counts(mine) == counts(others) == (1, 1, 1)

        # Everything on this server is younger than a minute: what was scheduled 90 days ago is all that is old.
        young = remove_old_runs(client, datetime.now(UTC) - timedelta(days=60), 100, True, [tag])
        assert (young.ended, young.never_began) == (0, 1)
        assert counts(waiting)[0] == 1
        gone = remove_old_runs(client, datetime.now(UTC) - timedelta(days=60), 100, False, [tag])
        assert (gone.never_began, gone.left, gone.error) == (1, False, "")
        assert counts(waiting)[0] == 0

        # As of tomorrow this run is old too.
        done = remove_old_runs(client, datetime.now(UTC) + timedelta(days=1), 1, False, [tag])
        assert (done.ended, done.artifacts, done.left, done.error) == (1, 1, False, "")
    assert counts(mine) == (0, 0, 0)
    assert counts(others) == (1, 1, 1)
