"""The nightly housekeeping as Prefect tasks: each does one thing, says what it took away, and leaves the others to their work.

Nothing is retried: all of it comes again the next night.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

from prefect import task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import get_client
from prefect.logging import get_run_logger
from prefect.settings import PREFECT_HOME

from storage.backup import Backup
from storage.tidying import fold_log
from tasks.backing_up import back_up, backup_place, backups_folder, remove, too_old
from tasks.health_checks import room_checks
from tasks.leftovers import Removed, leftovers, size_of, take_away
from tasks.old_runs import remove_old_runs
from tasks.run_record import API_ERRORS
from trading.checks import CheckState
from trading.errors import StoreBusy, StoreError
from trading.settings import Settings

_API_SECONDS = 60.0


@task(name="back-up", task_run_name="backup", cache_policy=NO_CACHE, persist_result=False, retries=0)
def back_up_ledger(settings: Settings, folder: Path | None, now: datetime) -> Backup | None:
    """A new backup of ledger and simulated accounts, None where there is no ledger yet. A session that trades is not kept waiting."""
    if not settings.store.path.exists():
        get_run_logger().info("db=%s is not there yet: nothing to back up", settings.store.path)
        return None
    made = back_up(settings, backup_place(settings, folder, now), now)
    get_run_logger().info("backup=%s rows=%d bytes=%d", made.folder, made.manifest.rows, made.manifest.bytes)
    return made


@task(name="remove-backups", task_run_name="old backups", cache_policy=NO_CACHE, persist_result=False, retries=0)
def remove_old_backups(
    settings: Settings, folder: Path | None, now: datetime, keep_days: int, keep_weeks: int, dry_run: bool
) -> list[Removed]:
    """Backups of this ledger beyond the last days and weeks; the newest always stays. What cannot be done is left for the next night."""
    removed = []
    try:
        for backup in too_old(settings, backups_folder(settings, folder), now, keep_days, keep_weeks):
            one = Removed("backup", str(backup), size_of(backup))
            if not dry_run:
                remove(backup)
            removed.append(one)
    except StoreError as error:
        get_run_logger().warning("old backups are left: %s", error)
    return removed


@task(name="remove-leftovers", task_run_name="leftovers", cache_policy=NO_CACHE, persist_result=False, retries=0)
def remove_leftovers(
    settings: Settings, folder: Path | None, now: datetime, keep_days: int, dry_run: bool
) -> list[Removed]:
    """Copies of dry runs and drafts of ended processes."""
    removed = []
    for one, path in list(leftovers(settings, backups_folder(settings, folder), now, timedelta(days=keep_days))):
        if not dry_run:
            take_away(path)
        removed.append(one)
    return removed


@task(name="remove-runs", task_run_name="old {what}", cache_policy=NO_CACHE, persist_result=False, retries=0)
def remove_runs(what: str, tags: Sequence[str], before: datetime, most: int, dry_run: bool) -> list[Removed]:
    """Old flow runs with all the ``tags`` and what belongs to them; a server that is away is logged and costs nothing else."""
    try:
        with get_client(httpx_settings={"timeout": _API_SECONDS}, sync_client=True) as client:
            done = remove_old_runs(client, before, most, dry_run, tags)
    except API_ERRORS as error:
        get_run_logger().warning("old %s not removed error=%s", what, error)
        return []
    get_run_logger().info(
        "ended=%d never_began=%d artifacts=%d left=%s error=%s",
        done.ended,
        done.never_began,
        done.artifacts,
        done.left,
        done.error,
    )
    counted = {
        f"{what} that ended": done.ended,
        f"{what} that never began": done.never_began,
        f"artifacts of {what}": done.artifacts,
    }
    more = "; more are left for the next night" if done.left else f"; ended by {done.error}" if done.error else ""
    when = f"before {before:%Y-%m-%d}{more}"
    return [Removed(kind, f"{count} {when}") for kind, count in counted.items() if count]


@task(name="fold-log", task_run_name="database", cache_policy=NO_CACHE, persist_result=False, retries=0)
def tidy_database(settings: Settings) -> list[Removed]:
    """The database's log folded into it where nobody holds it; a session that trades is left alone."""
    path = settings.store.path
    if not path.exists():
        return []
    try:
        before, after = fold_log(path)
    except StoreBusy as error:
        get_run_logger().info("left alone: %s", error)
        return []
    except StoreError as error:
        get_run_logger().warning("not tidied: %s", error)
        return []
    return [Removed("free blocks and log of the database", str(path), before - after)] if after < before else []


@task(name="look-at-room", task_run_name="room", cache_policy=NO_CACHE, persist_result=False, retries=0)
def look_at_room(settings: Settings, folder: Path | None) -> list[str]:
    """What is short now, in sentences; the health check tells of it with an event."""
    looked = room_checks(settings, backups_folder(settings, folder), Path(PREFECT_HOME.value()))
    return [f"{one.check.found}. {one.check.next_step}" for one in looked if one.check.state is not CheckState.OK]


@task(name="publish-housekeeping", task_run_name="publish", cache_policy=NO_CACHE, persist_result=False, retries=0)
def publish_housekeeping(backup: Backup | None, removed: Sequence[Removed], dry_run: bool) -> None:
    """Everything that was made and taken away, as a table; an API that is away is logged and costs nothing else."""
    did = "would be removed" if dry_run else "removed"
    rows: list[dict[str, object]] = [
        {"done": did, "kind": one.kind, "what": one.what, "MB": _megabytes(one.bytes)} for one in removed
    ]
    if backup is not None:
        rows.insert(
            0,
            {"done": "made", "kind": "backup", "what": str(backup.folder), "MB": _megabytes(backup.manifest.bytes)},
        )
    try:
        create_table_artifact(
            rows or [{"done": "nothing to remove", "kind": "", "what": "", "MB": ""}],
            key="housekeeping",
            description="What the night's housekeeping made and took away",
        )
    except API_ERRORS as error:
        get_run_logger().warning("housekeeping not published error=%s", error)


def _megabytes(count: int | None) -> str:
    return "" if count is None else f"{count / 1e6:,.1f}"
